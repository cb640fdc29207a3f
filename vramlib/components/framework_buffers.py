"""Framework buffers: cuBLAS workspaces, CUDA graphs, and tensors that an engine keeps for every request slot.

Tokenizers are not here: they run on the CPU and take no GPU memory.
"""

from __future__ import annotations

from typing import Any

from vramlib.components import cuda_graphs, graph_kernels, kv_pool, prefill_padding
from vramlib.components.cuda_graphs import capture_sizes, captured_tokens, num_capture_sizes, num_graphs
from vramlib.components.model_weights import stage_layers
from vramlib.specs import ModelSpec, Part, Scenario, Term
from vramlib.units import MiB, ceil_div

__all__ = [
    "block_table_bytes", "capture_sizes", "charged_graph_bytes", "cublas_workspace_bytes", "cuda_graph_bytes",
    "graph_driver_bytes", "graph_pool_bytes", "num_capture_sizes", "num_graphs", "part", "persistent_bytes",
    "scenario_persistent_bytes", "size_bytes", "terms", "uses_v2_runner",
]  # fmt: skip

GRAPH_SOURCE = "vLLM 0.19, vllm/config/vllm.py _set_cudagraph_sizes"


def cublas_workspace_bytes(compute_capability: float) -> int:
    """Workspace that PyTorch gives cuBLAS for one handle and stream.

    Formula: 32 MiB on Hopper and later; else 2 · 4096 KiB + 8 · 16 KiB

    Examples
    --------
    >>> cublas_workspace_bytes(9.0), cublas_workspace_bytes(8.9)
    (33554432, 8519680)

    Source
    ------
    PyTorch, aten/src/ATen/cuda/CublasHandlePool.cpp parseChosenWorkspaceSize.
    """
    return 32 * MiB if compute_capability >= 9 else 2 * 4096 * 1024 + 8 * 16 * 1024


def graph_pool_bytes(s: Scenario) -> Any:
    """Private pool that all graphs of vLLM share: the widest batch's tensors, attention's partial results, cuBLAS.

    Formula: live set of the widest batch + partial results of FlashAttention 3 + one cuBLAS workspace

    Examples
    --------
    >>> from vramlib import resolve
    >>> graph_pool_bytes(resolve.scenario(model="Llama-3.1-8B", gpu="H100-80GB")) >> 20
    347
    """
    pieces, whole = captured_tokens(s)
    kept = cuda_graphs.live_bytes(s, pieces) + cuda_graphs.split_bytes(s, whole)
    return kept + cublas_workspace_bytes(s.gpu.compute_capability)


def graph_driver_bytes(s: Scenario, stage: int = 0, end: str = "value") -> Any:
    """What the driver keeps for vLLM's graphs: something for each, and for each kernel recorded in it.

    Formula: graphs · (1 MiB + kernels · bytes per kernel)

    Source
    ------
    Fitted on the runs of data/runs that print it, of vLLM 0.7 to 0.29: data/engines.json.
    """
    each = s.engine_spec.constants["cuda_graph_bytes_per_kernel"]
    kernels = graph_kernels.stage_kernels(s.model, s.pipeline_parallel_size, stage, s.quantization, end)
    fixed = s.engine_spec.value("cuda_graph_fixed_bytes")
    return num_graphs(s) * (fixed + kernels * each.get(end, each["value"]))


def cuda_graph_bytes(s: Scenario, stage: int = 0, end: str = "value") -> Any:
    """Private pool of the captured graphs, and the driver's memory for each of them.

    Formula: pool + graphs · (1 MiB + kernels · bytes per kernel); SGLang: pool + graphs · layers · bytes
    """
    if s.enforce_eager or s.engine not in ("vllm", "sglang"):
        return 0
    if s.engine == "vllm":
        return graph_pool_bytes(s) + graph_driver_bytes(s, stage, end)
    rows = s.engine_spec.constants
    pool, each = (
        rows[k].get(end, rows[k]["value"])
        for k in ("cuda_graph_pool_bytes", "cuda_graph_bytes_per_graph_layer")
    )
    return pool + _sglang_graphs(s) * _layers(s, stage) * each


def charged_graph_bytes(s: Scenario, stage: int = 0, end: str = "value") -> Any:
    """What vLLM takes off the pool for its graphs, from 0.20 on: with FlashInfer's workspace, which is first made then.

    Formula: graphs (+ VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE)

    Source
    ------
    vLLM 0.20-0.27, vllm/v1/worker/gpu_worker.py determine_available_memory, gpu_model_runner.py
    profile_cudagraph_memory; vllm/v1/attention/backends/flashinfer.py _get_workspace_buffer.
    """
    if s.enforce_eager:
        return 0
    workspace = prefill_padding.FLASHINFER_WORKSPACE if cuda_graphs.uses_flashinfer(s) else 0
    return cuda_graph_bytes(s, stage, end) + workspace


def _layers(s: Scenario, stage: int) -> int:
    return sum(n for _, n in stage_layers(s.model, s.pipeline_parallel_size, stage))


def _sglang_graphs(s: Scenario) -> int:
    from vramlib.components import sglang_pool

    return len(sglang_pool.cuda_graph_sizes(s.gpu.memory_bytes, s.tensor_parallel_size))


def persistent_bytes(
    vocab_size: int,
    max_num_seqs: Any,
    max_num_batched_tokens: Any,
    *,
    num_groups: int = 1,
    embeds_width: int = 0,
    b: int = 2,
) -> Any:
    """Tensors of vLLM's V2 model runner that exist for every request slot, whether a request uses them or not.

    Formula: 4·R·V + 8·R·⌈V/32⌉ + 4·R·(3200 + 1153 + 128) + T·(8·groups + 13) + T·d_model·b for multimodal
    inputs

    Parameters
    ----------
    vocab_size : V [element]
    max_num_seqs : R [-]
    max_num_batched_tokens : T [token]
    num_groups : KV cache groups [-]
    embeds_width : d_model where inputs_embeds is kept (multimodal models), else 0 [element]
    b : bytes of one activation [byte]

    Returns
    -------
    Bytes kept from start, block tables not included [byte]

    Examples
    --------
    >>> round(persistent_bytes(128_256, 1024, 8192) / 2**30, 2)
    0.54

    Source
    ------
    vLLM 0.33, vllm/v1/worker/gpu/states.py, input_batch.py, structured_outputs.py, sample/penalties.py,
    logit_bias.py.
    """
    penalties = 4 * max_num_seqs * vocab_size
    masks = 8 * max_num_seqs * ceil_div(vocab_size, 32)
    ids = 4 * max_num_seqs * (3200 + 1153 + 128)
    per_token = max_num_batched_tokens * (8 * num_groups + 13 + embeds_width * b)
    return penalties + masks + ids + per_token


def block_table_bytes(
    max_num_seqs: Any, max_model_len: Any, block_size: Any, *, copies: int = 2, num_groups: int = 1
) -> Any:
    """Block tables: one block id per block of the longest request, for every slot, made after the KV pool is sized.

    Formula: copies · 4 · R · ⌈ml / bs⌉ · groups

    Examples
    --------
    >>> block_table_bytes(1024, 131_072, 16) >> 20
    64

    Source
    ------
    vLLM 0.33, vllm/v1/worker/gpu/block_table.py.
    """
    return copies * 4 * max_num_seqs * ceil_div(max_model_len, block_size) * num_groups


def uses_v2_runner(s: Scenario) -> bool:
    """Whether this vLLM version runs this model with the V2 model runner by default."""
    if s.engine != "vllm":
        return False
    rule = s.engine_spec.value("v2_model_runner")
    m: ModelSpec = s.model
    if rule.get("all") or m.architecture in rule.get("architectures", ()):
        return True
    hybrid = any(c.is_state for layer, _ in m.layer_counts for c in layer.caches)
    return bool(rule.get("dense")) and not m.num_experts and not hybrid


def scenario_persistent_bytes(s: Scenario, stage: int = 0) -> Any:
    """Persistent tensors that are charged to the budget: 0 for the V1 runner, whose share is small [byte]."""
    if not uses_v2_runner(s):
        return 0
    pool = kv_pool.of(s, stage)
    width = s.model.hidden_size if s.model.towers else 0
    return persistent_bytes(
        s.model.vocab_size,
        s.max_num_seqs,
        s.max_num_batched_tokens,
        num_groups=pool.num_groups if pool else 1,
        embeds_width=width,
        b=s.dtype_bytes,
    )


def terms(s: Scenario, stage: int = 0) -> tuple[Term, ...]:
    """Workspace of cuBLAS, CUDA graphs, per-request tensors, block tables."""
    if s.engine == "llama.cpp":
        return (
            Term(name="none", bytes=0, formula="0", worked="ggml keeps its workspaces in the compute buffer"),
        )
    capability = s.gpu.compute_capability
    found = [
        Term(
            name="cuBLAS workspace",
            bytes=cublas_workspace_bytes(capability),
            formula="one per handle and stream",
            worked=f"{cublas_workspace_bytes(capability):,} B at compute capability {capability}",
            source="PyTorch, aten/src/ATen/cuda/CublasHandlePool.cpp",
        )
    ]
    if s.engine in ("vllm", "sglang"):
        found.append(_graph_term(s, stage))
    if s.engine == "vllm":
        found += _request_terms(s, stage)
    return tuple(found)


def _graph_term(s: Scenario, stage: int) -> Term:
    key = "cuda_graph_bytes_per_kernel" if s.engine == "vllm" else "cuda_graph_pool_bytes"
    return Term(
        name="CUDA graphs",
        bytes=cuda_graph_bytes(s, stage),
        formula="pool + graphs · (1 MiB + kernels · bytes per kernel)"
        if s.engine == "vllm"
        else "pool + graphs · layers · bytes per graph and layer",
        worked="0: enforce_eager" if s.enforce_eager else _graphs_worked(s, stage),
        source=f"{GRAPH_SOURCE}; {s.engine_spec.source(key)}",
        basis="modelled",
        low=cuda_graph_bytes(s, stage, "low"),
        high=cuda_graph_bytes(s, stage, "high"),
    )


def _graphs_worked(s: Scenario, stage: int) -> str:
    rows = s.engine_spec.constants
    if s.engine == "sglang":
        each = rows["cuda_graph_bytes_per_graph_layer"]["value"]
        pool = rows["cuda_graph_pool_bytes"]["value"]
        return f"{pool:,} + {_sglang_graphs(s)} · {_layers(s, stage)} · {each:,}"
    each, pool = rows["cuda_graph_bytes_per_kernel"]["value"], graph_pool_bytes(s)
    kernels = graph_kernels.stage_kernels(s.model, s.pipeline_parallel_size, stage, s.quantization)
    shown = f"{pool:,}" if isinstance(pool, int) else f"{pool}"
    return f"{shown} + {num_graphs(s)} · ({rows['cuda_graph_fixed_bytes']['value']:,} + {kernels} · {each:,})"


def _request_terms(s: Scenario, stage: int) -> list[Term]:
    pool = kv_pool.of(s, stage)
    groups, size = (pool.num_groups, pool.block_size) if pool else (1, s.block_size)
    v2 = uses_v2_runner(s)
    copies = 2 if v2 else 1
    found = [
        Term(
            name="block tables",
            bytes=block_table_bytes(s.max_num_seqs, s.max_model_len, size, copies=copies, num_groups=groups),
            formula="copies · 4 · R · ⌈ml / bs⌉ · groups",
            worked=f"{copies} · 4 · {s.max_num_seqs} · ⌈{s.max_model_len} / {size}⌉ · {groups}",
            source="vLLM 0.33, vllm/v1/worker/gpu/block_table.py; V1 runner: vllm/v1/worker/block_table.py",
        )
    ]
    if v2:
        found.append(
            Term(
                name="request state of the V2 runner",
                bytes=scenario_persistent_bytes(s, stage),
                formula="4·R·V + 8·R·⌈V/32⌉ + 17924·R + T·(8·groups + 13)",
                worked=f"R = {s.max_num_seqs}, V = {s.model.vocab_size}, "
                f"T = {s.max_num_batched_tokens}, groups = {groups}",
                source="vLLM 0.33, vllm/v1/worker/gpu/states.py, sample/penalties.py, sample/logit_bias.py",
            )
        )
    return found


def size_bytes(s: Scenario, stage: int = 0) -> Any:
    """Bytes of this part on one rank [byte]."""
    return sum(t.bytes for t in terms(s, stage))


def part(s: Scenario, stage: int = 0) -> Part:
    """The part with its formulas, numbers and sources."""
    return Part.of("framework_buffers", *terms(s, stage))
