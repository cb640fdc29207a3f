"""SGLang's static memory: a fraction of what was free before loading, minus weights, is the KV pool.

Read in SGLang 0.5.23. Tokens of the pool are its bytes over the bytes of one token in all layers; models with sliding
layers get two pools, models with recurrent layers a pool of states beside it. What is *not* here: the rows of one
token (``kv_cache.row_bytes``), CUDA graphs (``framework_buffers``).
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

from vramlib.components import kv_cache
from vramlib.components.sglang_defaults import (
    chunked_prefill_size,
    cuda_graph_sizes,
    mem_fraction_static,
    reserved_mib,
)
from vramlib.components.state import state_bytes
from vramlib.specs import DTYPE_BITS, Budget, Cache, Scenario
from vramlib.units import ceil_div, maximum, minimum, round_up, scale

__all__ = [
    "DEFAULT_MAX_RUNNING_REQUESTS", "cell_bytes", "chunked_prefill_size", "cuda_graph_sizes", "mamba_slots",
    "mem_fraction_static", "pool_bytes", "pool_tokens", "reserved_mib", "scenario_budget",
]  # fmt: skip

DEFAULT_MAX_RUNNING_REQUESTS = 2048  # least that the engine plans for when the flag is not given
SWA_FULL_TOKENS_RATIO = 0.8  # --swa-full-tokens-ratio
MAMBA_FULL_MEMORY_RATIO = 0.9  # --mamba-full-memory-ratio


def pool_bytes(free_before_load: Any, free_after_load: Any, fraction: Any) -> Any:
    """KV pool: what is free after loading, minus the share kept back.

    Formula: free_after − free_before · (1 − fraction)

    Parameters
    ----------
    free_before_load : free memory before the weights [byte]
    free_after_load : free memory after them [byte]
    fraction : ``--mem-fraction-static`` [-]

    Returns
    -------
    Pool; negative when the weights alone are over the fraction [byte]

    Examples
    --------
    >>> round(pool_bytes(28_718, 28_718 - 5_698, 0.911) / 100, 2)
    204.64

    Source
    ------
    SGLang 0.5.23, sglang/srt/mem_cache/kv_cache_configurator.py, _profile_available_bytes.
    """
    return scale(free_before_load, fraction) + free_after_load - free_before_load


def pool_tokens(
    pool: Any,
    full_bytes: int,
    *,
    swa_bytes: int = 0,
    page_size: Any = 1,
    ratio: float = SWA_FULL_TOKENS_RATIO,
) -> Any:
    """Tokens that a pool holds in its full-attention layers (in all layers when none is sliding).

    Formula: ⌊pool / (full + ratio · swa)⌋ rounded down to pages; all layers sliding: ⌊pool / swa⌋

    Parameters
    ----------
    pool : KV pool [byte]
    full_bytes : one token in all full layers of a rank [byte]
    swa_bytes : one token in all sliding layers of a rank [byte]
    page_size : ``--page-size`` [token]
    ratio : ``--swa-full-tokens-ratio`` [-]

    Returns
    -------
    Tokens [token]

    Examples
    --------
    >>> pool_tokens(10 * 2**30, 2 * 32 * 32 * 128 * 2)
    20480

    Source
    ------
    SGLang 0.5.23, sglang/srt/model_executor/pool_configurator.py.
    """
    share = _sliding_share(full_bytes, ratio)
    cell = share.denominator * full_bytes + share.numerator * swa_bytes
    tokens = maximum(pool, 0) * share.denominator // maximum(cell, 1)
    return tokens // page_size * page_size


def _sliding_share(full_bytes: int, ratio: float = SWA_FULL_TOKENS_RATIO) -> Fraction:
    """Tokens of the sliding layers' pool over those of the full layers' [-]."""
    return Fraction(ratio).limit_denominator(1000) if full_bytes else Fraction(1)


def _pool_bytes(tokens: Any, full: int, swa: int) -> Any:
    """The least pool that holds so many tokens, by the same division [byte]."""
    share = _sliding_share(full)
    return tokens * full + ceil_div(tokens * swa * share.numerator, share.denominator)


def mamba_slots(rest: Any, bytes_per_request: int, *, ratio: float = MAMBA_FULL_MEMORY_RATIO) -> Any:
    """States that fit when recurrent layers share the memory with the KV pool.

    Formula: ⌊rest · ratio / (1 + ratio) / bytes_per_request⌋

    Parameters
    ----------
    rest : memory for states and KV pool [byte]
    bytes_per_request : states of one sequence in all recurrent layers of a rank [byte]
    ratio : ``--mamba-full-memory-ratio``, states over KV pool [-]

    Returns
    -------
    Slots; the pool allocates one more [-]

    Examples
    --------
    >>> mamba_slots(19 * 2**30, 2**28)
    36

    Source
    ------
    SGLang 0.5.9 and later, handle_max_mamba_cache (sglang/srt/mem_cache/kv_cache_configurator.py).
    """
    return scale(maximum(rest, 0), ratio / (1 + ratio)) // bytes_per_request


def cell_bytes(s: Scenario, stage: int = 0) -> tuple[int, int, int]:
    """One token in all full layers, one in all sliding layers, and the states of one request, on one rank.

    Formula: Σ L · n_kv/tp · (d_head + d_v) · b_kv; MLA Σ L · (r_kv + d_rope) · b_kv

    Parameters
    ----------
    s : a scenario of engine sglang [-]
    stage : pipeline stage [-]

    Returns
    -------
    Full [byte], sliding [byte], states [byte]

    Source
    ------
    SGLang 0.5.23, sglang/srt/model_executor/pool_configurator.py, _compute_cell_size.
    """
    full = swa = states = 0
    for cache, layers in kv_cache.stage_caches(s, stage):
        if cache.is_state:
            states += layers * _request_state(s, cache)
        elif cache.kind in ("sliding", "chunked"):
            swa += layers * _row(s, cache)
        else:
            full += layers * _row(s, cache)
    return full, swa, states


def _row(s: Scenario, cache: Cache) -> int:
    bits = DTYPE_BITS[s.dtype]
    return kv_cache.row_bytes(
        cache, tp=s.tensor_parallel_size, kv_cache_dtype=s.kv_cache_dtype, dtype_bits=bits
    )


def _request_state(s: Scenario, cache: Cache) -> int:
    """State of one request in one layer; the recurrent part is 32-bit by default."""
    return state_bytes(cache, tp=s.tensor_parallel_size, conv_bits=DTYPE_BITS[s.dtype], state_bits=32)


def scenario_budget(s: Scenario, weights_bytes: Any, free_at_start: Any, stage: int = 0) -> Budget:
    """What SGLang reserves at start, and the pool that is left.

    Formula: requested = free · fraction; pool = requested − weights (− graphs when sized after capture, − states)

    Parameters
    ----------
    s : a scenario of engine sglang [-]
    weights_bytes : weights as loaded on this rank [byte]
    free_at_start : free memory before loading [byte]
    stage : pipeline stage [-]

    Returns
    -------
    The budget [-]

    Source
    ------
    SGLang 0.5.23, sglang/srt/mem_cache/kv_cache_configurator.py, _profile_available_bytes.
    """
    from vramlib.components import framework_buffers

    graphs = framework_buffers.cuda_graph_bytes(s, stage)
    charged = 0 if s.model.kv_lora_rank or s.enforce_eager else graphs
    full, swa, states = cell_bytes(s, stage)
    rest = pool_bytes(free_at_start, free_at_start - weights_bytes, s.gpu_memory_utilization) - charged
    slots = mamba_slots(rest, states) if states else 0
    persistent = (slots + 1) * states if states else 0
    reserved = Budget(
        requested_bytes=scale(free_at_start, s.gpu_memory_utilization),
        weights_bytes=weights_bytes,
        persistent_bytes=persistent,
        cuda_graph_bytes=graphs,
        kv_pool_bytes=rest - persistent,
        max_concurrency=slots,
        max_model_len_that_fits=s.max_model_len,
    )
    return _with_cells(s, reserved, full, swa) if full + swa else reserved


def _with_cells(s: Scenario, b: Budget, full: int, swa: int) -> Budget:
    """The same with the tokens that the pool holds, where a model has attention layers."""
    page, limit = s.block_size, s.model.max_position_embeddings or s.max_model_len
    tokens = pool_tokens(b.kv_pool_bytes, full, swa_bytes=swa, page_size=page)
    share = _sliding_share(full)
    return dataclasses.replace(
        b,
        bytes_per_block=page * full + page * swa * share.numerator // share.denominator,
        num_blocks=tokens // page,
        kv_pool_tokens=tokens,
        kv_bytes_per_token=full + swa,
        kv_bytes_at_max_model_len=_pool_bytes(round_up(s.max_model_len, page), full, swa),
        max_concurrency=tokens / s.max_model_len,
        max_model_len_that_fits=minimum(tokens, limit),
    )
