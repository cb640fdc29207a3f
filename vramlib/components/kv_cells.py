"""llama.cpp's KV cache: cells allocated at start, quantized by the row, split between GPU and CPU by layer.

A *cell* holds the keys and values of one token. llama.cpp allocates every cell when the context is created,
so the buffer depends on ``n_ctx``, never on the tokens held. Sliding layers get fewer cells; recurrent layers
keep one fixed 32-bit state per sequence instead.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

from vramlib.components.ggml import CACHE_TYPES, OUTPUT_FIRST_BUILD, block, build_number, offloaded, row_bytes
from vramlib.specs import Cache, Layer, ModelSpec, Scenario
from vramlib.units import minimum, round_up

__all__ = [
    "CACHE_TYPES", "block", "build_number", "bytes_per_cell", "bytes_per_state", "context_cells", "layer_bytes",
    "mask_cells", "offloaded", "row_bytes", "scenario_bytes", "size_bytes", "sliding_cells",
]  # fmt: skip

CELL_PADDING = 256  # llama.cpp pads n_ctx and the sliding cache to 256 cells
STATE_BYTES = 4  # recurrent R and S tensors are float32 whatever the cache types say


def context_cells(n_ctx: Any, *, n_seq_max: Any = 1, kv_unified: bool = False) -> Any:
    """Cells of one stream of a full-attention layer.

    Formula: ru(n_ctx, 256) when one pool serves all sequences, else ru(ru(n_ctx, 256) / n_seq_max, 256)

    Parameters
    ----------
    n_ctx : context asked for, all sequences together [token]
    n_seq_max : sequences at once (``--parallel``) [-]
    kv_unified : one pool for all sequences (``--kv-unified``) instead of one stream each [-]

    Returns
    -------
    Cells per stream [token]

    Examples
    --------
    >>> context_cells(1000, n_seq_max=3)
    512

    Source
    ------
    ``llama_context`` constructor, n_ctx_seq (https://github.com/ggml-org/llama.cpp/blob/master/src/llama-context.cpp).
    """
    cells = round_up(n_ctx, CELL_PADDING)
    return cells if kv_unified else round_up(cells // n_seq_max, CELL_PADDING)


def sliding_cells(
    cells: Any,
    window: int,
    *,
    n_ubatch: Any = 512,
    n_seq_max: Any = 1,
    kv_unified: bool = False,
    swa_full: bool = False,
) -> Any:
    """Cells of one stream of a sliding-window layer.

    Formula: ru(min(cells, W · (n_seq_max if unified else 1) + n_ubatch), 256)

    Parameters
    ----------
    cells : cells of a full layer's stream [token]
    window : tokens the layer can see, W [token]
    n_ubatch : tokens of one micro-batch [token]
    n_seq_max : sequences at once [-]
    kv_unified : one pool for all sequences [-]
    swa_full : ``--swa-full``: as many cells as a full layer [-]

    Returns
    -------
    Cells per stream [token]

    Examples
    --------
    >>> sliding_cells(4096, 128)
    768

    Source
    ------
    ``llama_kv_cache_iswa`` constructor, size_swa
    (https://github.com/ggml-org/llama.cpp/blob/master/src/llama-kv-cache-iswa.cpp).
    """
    if swa_full:
        return cells
    seen = window * (n_seq_max if kv_unified else 1) + n_ubatch
    return round_up(minimum(cells, seen), CELL_PADDING)


def bytes_per_cell(
    cache: Cache, *, cache_type_k: str = "f16", cache_type_v: str = "f16", v_width: int = 0
) -> int:
    """Keys and values of one token in one layer.

    Formula: row(type_k, n_kv · d_k) + row(type_v, n_kv · d_v); MLA: row(type_k, r_kv + d_rope) alone

    Parameters
    ----------
    cache : what the layer keeps [-]
    cache_type_k : type of the keys [-]
    cache_type_v : type of the values [-]
    v_width : widest V row of the model, used where V is stored transposed; 0 is the layer's own [element]

    Returns
    -------
    Size of one cell [byte]

    Examples
    --------
    >>> bytes_per_cell(Cache(kind="full", num_key_value_heads=8, head_dim=128, v_head_dim=128))
    4096

    Source
    ------
    ``llama_kv_cache`` constructor, where MLA has no V tensor
    (https://github.com/ggml-org/llama.cpp/blob/master/src/llama-kv-cache.cpp).
    """
    if cache.latent_dim:
        return int(row_bytes(cache_type_k, cache.latent_dim))
    k = row_bytes(cache_type_k, cache.num_key_value_heads * cache.head_dim)
    v = row_bytes(cache_type_v, v_width or cache.num_key_value_heads * cache.v_head_dim)
    return int(k + v)


def bytes_per_state(cache: Cache) -> int:
    """Recurrent state of one sequence in one layer: convolution columns (R) and state (S), both 32-bit.

    Formula: 4 · ((K − 1) · conv_dim + state_elements)

    Parameters
    ----------
    cache : a Mamba, linear-attention or short-convolution state [-]

    Returns
    -------
    State of one sequence [byte]

    Examples
    --------
    >>> bytes_per_state(Cache(kind="linear", conv_dim=10_240, conv_kernel=4, state_elements=48 * 128 * 128))
    3268608

    Source
    ------
    ``n_embd_r``, ``n_embd_s`` in llama-hparams.cpp; R and S are float32 in ``llama_model::create_memory``
    (https://github.com/ggml-org/llama.cpp/blob/master/src/llama-memory-recurrent.cpp).
    """
    return STATE_BYTES * (max(cache.conv_kernel - 1, 0) * cache.conv_dim + cache.state_elements)


def _widest_v(model: ModelSpec) -> int:
    """Widest V row among the model's layers, when they differ; 0 when all are equal."""
    widths = {
        c.num_key_value_heads * c.v_head_dim
        for layer in model.layers
        for c in layer.caches
        if not c.is_state and not c.latent_dim
    }
    return max(widths) if len(widths) > 1 else 0


def layer_bytes(
    layer: Layer,
    *,
    n_ctx: Any,
    n_seq_max: Any = 1,
    n_ubatch: Any = 512,
    cache_type_k: str = "f16",
    cache_type_v: str = "f16",
    kv_unified: bool = False,
    swa_full: bool = False,
    v_width: int = 0,
) -> Any:
    """Cells and states that one layer allocates at start.

    Formula: Σ_caches streams · cells · bytes_per_cell + n_seq_max · bytes_per_state

    Parameters
    ----------
    layer : one layer of the model [-]
    n_ctx : context asked for, all sequences together [token]
    n_seq_max : sequences at once [-]
    n_ubatch : tokens of one micro-batch [token]
    cache_type_k : type of the keys [-]
    cache_type_v : type of the values [-]
    kv_unified : one pool for all sequences [-]
    swa_full : sliding layers as full ones [-]
    v_width : widest V row, when V is stored transposed (no flash attention) [element]

    Returns
    -------
    Size of the layer's cache [byte]

    Examples
    --------
    >>> cache = Cache(kind="full", num_key_value_heads=8, head_dim=128, v_head_dim=128)
    >>> layer_bytes(Layer(tensors=(), caches=(cache,)), n_ctx=4096)
    16777216

    Source
    ------
    As ``bytes_per_cell``, ``sliding_cells`` and ``bytes_per_state``.
    """
    cells = context_cells(n_ctx, n_seq_max=n_seq_max, kv_unified=kv_unified)
    streams = 1 if kv_unified else n_seq_max
    total: Any = 0
    for cache in layer.caches:
        if cache.is_state:
            total = total + n_seq_max * bytes_per_state(cache)
            continue
        kept = cells
        if cache.kind in ("sliding", "chunked") and cache.window:
            kept = sliding_cells(
                cells,
                cache.window,
                n_ubatch=n_ubatch,
                n_seq_max=n_seq_max,
                kv_unified=kv_unified,
                swa_full=swa_full,
            )
        per_cell = bytes_per_cell(
            cache, cache_type_k=cache_type_k, cache_type_v=cache_type_v, v_width=v_width
        )
        total = total + streams * kept * per_cell
    return total


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

    Formula: Σ over the offloaded layers of layer_bytes; the rest on the CPU

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
    >>> cache = Cache(kind="full", num_key_value_heads=8, head_dim=128, v_head_dim=128)
    >>> layer = Layer(tensors=(), caches=(cache,))
    >>> llama = ModelSpec(name="x", hidden_size=4096, num_hidden_layers=32, vocab_size=9, layers=(layer,) * 32)
    >>> size_bytes(llama, n_ctx=8192)
    (1073741824, 0)

    Source
    ------
    As ``layer_bytes``; cells follow their layer's device (``offload_kqv``, on by default).
    """
    if not flash_attn and block(cache_type_v)[0] > 1:
        raise ValueError(f"cache_type_v {cache_type_v!r} needs flash_attn; use f16, or turn flash_attn on")
    v_width = 0 if flash_attn else _widest_v(model)
    on_gpu, _ = offloaded(model.num_hidden_layers, n_gpu_layers, output_first=output_first)

    def total(first: int, end: int) -> Any:
        return sum(
            n * layer_bytes(
                layer, n_ctx=n_ctx, n_seq_max=n_seq_max, n_ubatch=n_ubatch, cache_type_k=cache_type_k,
                cache_type_v=cache_type_v, kv_unified=kv_unified, swa_full=swa_full, v_width=v_width,
            )
            for layer, n in _counted(model, first, end)
        )  # fmt: skip

    return total(on_gpu.start, on_gpu.stop), total(0, on_gpu.start)


@functools.lru_cache(1024)
def _counted(model: ModelSpec, first: int, end: int) -> tuple[tuple[Layer, int], ...]:
    """Layers of a range by what they keep, each kind once with how many there are."""
    kinds = Counter(layer.caches for layer in model.layers[first:end])
    return tuple((Layer(tensors=(), caches=caches), n) for caches, n in kinds.items())


def mask_cells(
    model: ModelSpec, *, n_ctx: Any, n_seq_max: Any = 1, n_ubatch: Any = 512, kv_unified: bool = False
) -> Any:
    """Cells that attention masks cover: one mask for full layers, one for each sliding window.

    Formula: cells (if a layer is full) + sliding cells of each distinct window

    Parameters
    ----------
    model : the model's inventory [-]
    n_ctx : context asked for [token]
    n_seq_max : sequences at once [-]
    n_ubatch : tokens of one micro-batch [token]
    kv_unified : one pool for all sequences [-]

    Returns
    -------
    Mask columns per token [-]

    Examples
    --------
    >>> cache = Cache(kind="full", num_key_value_heads=8, head_dim=128, v_head_dim=128)
    >>> layer = Layer(tensors=(), caches=(cache,))
    >>> llama = ModelSpec(name="x", hidden_size=4096, num_hidden_layers=1, vocab_size=9, layers=(layer,))
    >>> mask_cells(llama, n_ctx=8000)
    8192

    Source
    ------
    ``build_attn_inp_kv_iswa`` (https://github.com/ggml-org/llama.cpp/blob/master/src/llama-graph.cpp).
    """
    cells = context_cells(n_ctx, n_seq_max=n_seq_max, kv_unified=kv_unified)
    kinds = {
        (c.kind in ("sliding", "chunked") and c.window) or 0
        for layer, _ in model.layer_counts
        for c in layer.caches
        if not c.is_state
    }
    return sum(
        sliding_cells(cells, w, n_ubatch=n_ubatch, n_seq_max=n_seq_max, kv_unified=kv_unified) if w else cells
        for w in kinds
    )


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
    caches = Counter(c for i in on_gpu for c in s.model.layers[i].caches if c.kind != "cross")
    used: Any = 0
    for cache, layers in caches.items():
        if cache.is_state:
            used = used + layers * s.num_sequences * bytes_per_state(cache)
            continue
        row = bytes_per_cell(cache, v_width=width, **types)
        for n, p, new in s.sequences:
            used = used + layers * n * row * (minimum(p + new, cache.window) if cache.window else p + new)
    return minimum(used, scenario_bytes(s))
