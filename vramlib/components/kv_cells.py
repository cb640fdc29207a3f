"""llama.cpp's KV cache: cells allocated at start, quantized by the row, split between GPU and CPU by layer.

llama.cpp allocates every cell (``cells``) when the context is created, so the buffer depends on ``n_ctx``, never on the
tokens held.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

from vramlib.components.cells import (
    bytes_per_cell,
    bytes_per_state,
    context_cells,
    mask_cells,
    sliding_cells,
    window,
)
from vramlib.components.ggml import CACHE_TYPES, OUTPUT_FIRST_BUILD, block, build_number, offloaded, row_bytes
from vramlib.specs import Cache, ModelSpec, Scenario
from vramlib.units import minimum

__all__ = [
    "CACHE_TYPES", "build_number", "bytes_per_cell", "bytes_per_state", "context_cells", "mask_cells", "offloaded",
    "row_bytes", "scenario_bytes", "size_bytes", "sliding_cells", "used_bytes",
]  # fmt: skip


def size_bytes(
    model: ModelSpec,
    *,
    n_ctx: Any,
    n_seq_max: Any = 1,
    n_ubatch: Any = 512,
    cache_type_k: str = "f16",
    cache_type_v: str = "f16",
    kv_unified: bool = False,
    swa_full: bool = False,
    flash_attn: bool = True,
    n_gpu_layers: int = -1,
    output_first: bool = True,
) -> tuple[Any, Any]:
    """KV buffers that llama.cpp allocates at start, on the GPU and on the CPU.

    Formula: Σ over the offloaded layers' caches of streams · cells · bytes_per_cell + n_seq_max · bytes_per_state; the
    rest on the CPU

    Parameters
    ----------
    model : the model's inventory [-]
    n_ctx : context asked for, all sequences together [token]
    n_seq_max : sequences at once [-]
    n_ubatch : tokens of one micro-batch [token]
    cache_type_k : type of the keys [-]
    cache_type_v : type of the values; a quantized one needs flash attention [-]
    kv_unified : one pool for all sequences [-]
    swa_full : sliding layers as full ones [-]
    flash_attn : without it V is stored transposed, padded to the widest layer [-]
    n_gpu_layers : layers in GPU memory, counting the output as one; negative is all [-]
    output_first : as in ``offloaded`` [-]

    Returns
    -------
    GPU bytes [byte], CPU bytes [byte]

    Raises
    ------
    ValueError: a quantized V without flash attention.

    Examples
    --------
    >>> from vramlib import catalog
    >>> size_bytes(catalog.model("Llama-3.1-8B"), n_ctx=8192)
    (1073741824, 0)

    Source
    ------
    As in ``cells``; these follow their layer's device (``offload_kqv``, on by default).
    """
    if not flash_attn and block(cache_type_v)[0] > 1:
        raise ValueError(f"cache_type_v {cache_type_v!r} needs flash_attn; use f16, or turn flash_attn on")
    v_width = 0 if flash_attn else _widest_v(model)
    cells = context_cells(n_ctx, n_seq_max=n_seq_max, kv_unified=kv_unified)
    streams = 1 if kv_unified else n_seq_max

    def held(cache: Cache) -> Any:
        if cache.is_state:
            return n_seq_max * bytes_per_state(cache)
        kept, seen = cells, window(cache)
        if seen:
            kept = sliding_cells(
                cells, seen, n_ubatch=n_ubatch, n_seq_max=n_seq_max, kv_unified=kv_unified, swa_full=swa_full
            )
        row = bytes_per_cell(cache, cache_type_k=cache_type_k, cache_type_v=cache_type_v, v_width=v_width)
        return streams * kept * row

    on_gpu, _ = offloaded(model.num_hidden_layers, n_gpu_layers, output_first=output_first)
    halves = ((on_gpu.start, on_gpu.stop), (0, on_gpu.start))
    gpu, cpu = (sum(n * held(cache) for cache, n in _caches(model, *half)) for half in halves)
    return gpu, cpu


def _widest_v(model: ModelSpec) -> int:
    """Widest V row among the model's layers, when they differ; 0 when all are equal."""
    widths = {
        c.num_key_value_heads * c.v_head_dim
        for layer in model.layers
        for c in layer.caches
        if not c.is_state and not c.latent_dim
    }
    return max(widths) if len(widths) > 1 else 0


@functools.lru_cache(1024)
def _caches(model: ModelSpec, first: int, end: int) -> tuple[tuple[Cache, int], ...]:
    """What the layers of a range keep, each kind of cache once with how many there are."""
    return tuple(Counter(cache for layer in model.layers[first:end] for cache in layer.caches).items())


def scenario_bytes(s: Scenario) -> Any:
    """KV buffers of a llama.cpp scenario, summed over its GPUs.

    Formula: size_bytes on the GPU with the scenario's n_ctx, slots, cache types and offloaded layers

    Parameters
    ----------
    s : a scenario of engine llama.cpp [-]

    Returns
    -------
    Size of the KV buffers on GPUs [byte]

    Raises
    ------
    ValueError: a quantized V without flash attention.

    Source
    ------
    As ``size_bytes``.
    """
    on_gpu, _ = size_bytes(
        s.model,
        n_ctx=s.max_model_len,
        n_seq_max=s.n_seq_max,
        n_ubatch=s.n_ubatch,
        cache_type_k=s.cache_type_k or "f16",
        cache_type_v=s.cache_type_v or "f16",
        flash_attn=s.flash_attn,
        n_gpu_layers=s.n_gpu_layers,
        output_first=build_number(s.engine_version) >= OUTPUT_FIRST_BUILD,
    )
    return on_gpu


def used_bytes(s: Scenario) -> Any:
    """What the workload of a llama.cpp scenario really keeps in those buffers, summed over its GPUs.

    Formula: Σ offloaded layers of tokens the layer can see · bytes per cell, or sequences · bytes per state

    Parameters
    ----------
    s : a scenario of engine llama.cpp [-]

    Returns
    -------
    Bytes of cells and states in use, at most ``scenario_bytes`` [byte]

    Source
    ------
    As ``size_bytes``; a sliding layer keeps the tokens of its window.
    """
    types = {"cache_type_k": s.cache_type_k or "f16", "cache_type_v": s.cache_type_v or "f16"}
    width = 0 if s.flash_attn else _widest_v(s.model)
    first = build_number(s.engine_version) >= OUTPUT_FIRST_BUILD
    on_gpu, _ = offloaded(s.model.num_hidden_layers, s.n_gpu_layers, output_first=first)
    used: Any = 0
    for cache, layers in _caches(s.model, on_gpu.start, on_gpu.stop):
        if cache.kind == "cross":
            continue
        if cache.is_state:
            used = used + layers * s.num_sequences * bytes_per_state(cache)
            continue
        row = bytes_per_cell(cache, v_width=width, **types)
        for n, p, new in s.sequences:
            used = used + layers * n * row * (minimum(p + new, cache.window) if cache.window else p + new)
    return minimum(used, scenario_bytes(s))
