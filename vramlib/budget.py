"""What a preallocating engine reserves at start, by its own arithmetic, and the KV pool that this leaves.

Not demand: a pool that is reserved and empty is shown here and nowhere else. Like is compared with like:
these are the
figures that an engine prints in its start-up log.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

from vramlib.answers import chosen
from vramlib.components import (
    activations,
    compute_buffer,
    cuda_context,
    encoder,
    fragmentation,
    framework_buffers,
    kv_cache,
    kv_cells,
    kv_pool,
    model_weights,
    multi_process,
    prefill_padding,
)
from vramlib.specs import DTYPE_BITS, Budget, ModelSpec, Scenario
from vramlib.units import MiB, ceil_div, maximum, minimum, scale

OTHER_EXPERT_KERNELS = ("nvfp4", "mxfp4", "fp8", "fp8-block")
"""Formats whose experts run on kernels of FlashInfer, CUTLASS or Marlin, with a workspace of their own size."""
INDEXER_LOGITS = 512 * MiB
"""Scores of the sparse-attention indexer while prompts are read: VLLM_SPARSE_INDEXER_MAX_LOGITS_MB of vLLM 0.20."""


def of(s: Scenario) -> Budget | None:
    """The budget of a scenario's fullest rank; ``None`` for engines that do not preallocate.

    Formula: requested − weights − persistent − activation peak − non-torch (− graphs where charged) = KV pool

    Examples
    --------
    >>> from vramlib import resolve
    >>> given = dict(model="Llama-3.1-8B", gpu="H100-80GB", max_model_len=8192, gpu_memory_utilization=0.95)
    >>> b = of(resolve.scenario(**given))
    >>> round(b.kv_pool_bytes / 2**30, 1), b.num_blocks * 16 == b.kv_pool_tokens
    (58.1, True)

    Source
    ------
    vLLM 0.33, vllm/v1/worker/gpu_worker.py determine_available_memory; vllm/utils/mem_utils.py
    memory_profiling.
    """
    if s.engine == "llama.cpp":
        return _llamacpp(s)
    if s.engine not in ("vllm", "sglang"):
        return None
    stages = range(s.pipeline_parallel_size)
    one = _vllm if s.engine == "vllm" else _sglang
    return functools.reduce(_tighter, (one(s, stage) for stage in stages))


def _tighter(a: Budget, b: Budget) -> Budget:
    """The one of two stages with fewer blocks; a stage without blocks comes first."""
    if a.num_blocks is None or b.num_blocks is None:
        return a if a.num_blocks is None else b
    return chosen(b.num_blocks < a.num_blocks, b, a)


def weights_bytes(s: Scenario, stage: int = 0) -> int:
    """What an engine logs as the size of its model: weights and their rounding [byte]."""
    return model_weights.size_bytes(s, stage) + fragmentation.weight_rounding_bytes(s, stage)


def activation_peak_bytes(s: Scenario, stage: int = 0, end: str = "value") -> Any:
    """Peak that vLLM measures while it profiles: a full step, the sampler at every slot, workspaces, encoder.

    Formula: max(max(forward (+ MLA context expanded), sampler) + fused-MoE workspace + tensors between
    stages, vision tower) + encoder cache + pixels
    """
    last = stage == s.pipeline_parallel_size - 1
    tokens, rows = s.max_num_batched_tokens, s.max_num_seqs
    peak = activations.peak_bytes(s, tokens, rows, last_stage=last, end=end)
    if (
        s.model.kv_lora_rank
        and s.engine == "vllm"
        and not prefill_padding.indexer_workspace_bytes(s.model, 1)
    ):
        context = prefill_padding.mla_context_tokens(s.max_model_len, s.max_num_seqs, s.block_size)
        expanded = prefill_padding.mla_up_projection_bytes(
            s.model, context, tp=s.tensor_parallel_size, b=s.dtype_bytes
        )
        peak = maximum(peak, activations.step_forward_bytes(s, tokens, end=end) + expanded)
    if s.engine == "vllm" and prefill_padding.indexer_workspace_bytes(s.model, 1):
        peak = maximum(peak, activations.step_forward_bytes(s, tokens, end=end) + INDEXER_LOGITS)
    peak = peak + prefill_padding.kept_workspace_bytes(s) + activations.stage_tensor_bytes(s, tokens)
    if stage or not s.model.towers:
        return peak
    return maximum(peak, encoder.tower_bytes(s)) + encoder.cache_bytes(s) + encoder.pixel_bytes(s)


def activation_interval(s: Scenario, stage: int = 0) -> tuple[Any, Any]:
    """Low and high of the activation peak: its constants' intervals, and what small tensors and images add [byte].

    Low is without images, which a launch may switch off.
    """
    share = 0.08 if s.model.towers else 0.03
    low, high = activation_peak_bytes(s, stage, "low"), activation_peak_bytes(s, stage, "high")
    if s.quantization in OTHER_EXPERT_KERNELS:
        high = high + prefill_padding.kept_workspace_bytes(s)
    if s.model.towers:
        low = minimum(
            low, activation_peak_bytes(dataclasses.replace(s, model=_without_towers(s.model)), stage, "low")
        )
    return scale(low, 1 - share), scale(high, 1 + share)


def _without_towers(model: ModelSpec) -> ModelSpec:
    return dataclasses.replace(model, towers=())


def non_torch_bytes(s: Scenario, stage: int = -1) -> int:
    """What grows outside PyTorch while vLLM profiles: kernels, and with several ranks NCCL and all-reduce [byte].

    vLLM 0.6.4 and 0.6.5 count the context too.
    """
    grown = int(s.engine_spec.value("non_torch_growth_bytes")[multi_process.side(s, stage)])
    return grown + (s.gpu.cuda_context_bytes if s.engine_spec.value("charges_context") else 0)


def requested_bytes(s: Scenario) -> Any:
    """Share of the card's total memory that the engine plans with: ⌈total · u⌉ [byte].

    Examples
    --------
    >>> from vramlib import resolve
    >>> requested_bytes(resolve.scenario(model="Llama-3.1-8B", gpu_memory_bytes="10GiB", gpu_memory_utilization=0.5))
    5368709120
    """
    wanted = s.gpu.memory_bytes * s.gpu_memory_utilization
    if hasattr(wanted, "shape"):
        import numpy

        return numpy.ceil(wanted).astype("int64")
    return math.ceil(wanted)


def free_at_start_bytes(s: Scenario) -> Any:
    """Free memory when the engine takes its first snapshot: all but this process's context and NCCL [byte]."""
    early = sum(t.bytes for t in multi_process.communication_terms(s)[:1])
    return s.gpu.memory_bytes - cuda_context.base_bytes(s.gpu)[0] - early


def _vllm(s: Scenario, stage: int) -> Budget:
    requested, weights = requested_bytes(s), weights_bytes(s, stage)
    persistent, peak = framework_buffers.scenario_persistent_bytes(s, stage), activation_peak_bytes(s, stage)
    outside = non_torch_bytes(s, stage)
    charges = s.engine_spec.value("charges_cuda_graphs")
    size = framework_buffers.charged_graph_bytes if charges else framework_buffers.cuda_graph_bytes
    graphs = size(s, stage)
    pool = requested - weights - persistent - peak - outside - (graphs if charges else 0)
    return with_pool(
        s,
        stage,
        Budget(
            requested_bytes=requested,
            weights_bytes=weights,
            persistent_bytes=persistent,
            activation_peak_bytes=peak,
            non_torch_bytes=outside,
            cuda_graph_bytes=graphs,
            kv_pool_bytes=pool,
        ),
    )


def with_pool(s: Scenario, stage: int, b: Budget) -> Budget:
    """Blocks, tokens and requests that the pool holds; with decode context parallelism each rank holds its share.

    Source
    ------
    vLLM 0.20, vllm/v1/kv_cache_interface.py FullAttentionSpec.max_memory_usage_bytes: ⌈ml / ranks⌉ tokens.
    """
    plan = kv_pool.of(s, stage)
    bits, tp = DTYPE_BITS[s.dtype], s.tensor_parallel_size
    per_token = sum(
        n * kv_cache.row_bytes(c, tp=tp, kv_cache_dtype=s.kv_cache_dtype, dtype_bits=bits)
        for c, n in kv_cache.stage_caches(s, stage)
    )
    if plan is None:
        return dataclasses.replace(b, kv_bytes_per_token=per_token, max_model_len_that_fits=s.max_model_len)
    flight = kv_pool.in_flight_tokens(s)
    blocks = maximum(b.kv_pool_bytes, 0) // plan.bytes_per_block
    ranks = s.decode_context_parallel_size
    need = plan.blocks_per_request(ceil_div(s.max_model_len, ranks), flight)
    by_blocks = s.engine_spec.value("tokens_line") == "blocks"
    concurrency = blocks / need
    tokens = _whole(concurrency * s.max_model_len)
    if by_blocks:
        tokens = blocks // plan.num_groups * plan.block_size * ranks
    return dataclasses.replace(
        b,
        bytes_per_block=plan.bytes_per_block,
        num_blocks=blocks,
        kv_pool_tokens=tokens,
        kv_bytes_per_token=per_token,
        kv_bytes_at_max_model_len=need * plan.bytes_per_block,
        max_concurrency=concurrency,
        max_model_len_that_fits=longest(
            plan, _blocks_at(s, stage, b, plan), flight, s.model.max_position_embeddings or s.max_model_len
        ),
    )


def _blocks_at(s: Scenario, stage: int, b: Budget, plan: kv_pool.Pool) -> Callable[[Any], Any]:
    """Blocks that all ranks of a request hold together, by ``max_model_len``: MLA profiles a workspace that grows."""
    ranks = s.decode_context_parallel_size
    if not s.model.kv_lora_rank:
        blocks = maximum(b.kv_pool_bytes, 0) // plan.bytes_per_block * ranks
        return lambda _: blocks
    kept = b.kv_pool_bytes + activation_peak_bytes(s, stage)

    def blocks_at(length: Any) -> Any:
        peak = activation_peak_bytes(dataclasses.replace(s, max_model_len=length), stage)
        return maximum(kept - peak, 0) // plan.bytes_per_block * ranks

    return blocks_at


def null_block_bytes(s: Scenario, b: Budget) -> Any:
    """The one block of vLLM's pool that no request gets; SGLang keeps its spare page beside the pool [byte]."""
    return 0 if s.engine != "vllm" or b.bytes_per_block is None else b.bytes_per_block


def _whole(value: Any) -> Any:
    return value.astype("int64") if hasattr(value, "shape") else int(value)


def longest(plan: kv_pool.Pool, blocks_at: Callable[[Any], Any], in_flight: Any, limit: Any) -> Any:
    """Longest request whose blocks, and the null block, fit the pool: binary search over the forward formula [token].

    Formula: max T ≤ limit with blocks(T) + 1 ≤ num_blocks at max_model_len T, which never grows with T
    """
    low = maximum(blocks_at(limit), limit, 0) * 0
    high = low + limit
    for _ in range(max(1, int(getattr(limit, "max", lambda: limit)())).bit_length()):
        middle = (low + high + 1) // 2
        fits = (plan.blocks_per_request(middle, in_flight) + 1 <= blocks_at(middle)) * 1
        low, high = low + (middle - low) * fits, high - (high - middle + 1) * (1 - fits)
        high = maximum(high, low)
    return low


def _sglang(s: Scenario, stage: int) -> Budget:
    from vramlib.components import sglang_pool

    return sglang_pool.scenario_budget(s, weights_bytes(s, stage), free_at_start_bytes(s), stage)


def _llamacpp(s: Scenario) -> Budget:
    total = kv_cells.scenario_bytes(s)
    slots = s.n_seq_max
    return Budget(
        model_buffer_bytes=model_weights.size_bytes(s) * s.world_size,
        kv_buffer_bytes=total,
        compute_buffer_bytes=compute_buffer.scenario_total_bytes(s),
        kv_pool_tokens=s.max_model_len,
        kv_bytes_at_max_model_len=total,
        max_concurrency=slots / 1,
        max_model_len_that_fits=s.max_model_len,
    )
