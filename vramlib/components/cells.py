"""Cells of llama.cpp's KV cache: how many there are, and how large one is.

A *cell* holds the keys and values of one token. Sliding layers get fewer cells; recurrent layers keep one fixed 32-bit
state per sequence instead.
"""

from __future__ import annotations

from typing import Any

from vramlib.components.ggml import row_bytes
from vramlib.specs import Cache, ModelSpec
from vramlib.units import minimum, round_up

CELL_PADDING = 256  # llama.cpp pads n_ctx and the sliding cache to 256 cells
STATE_BYTES = 4  # recurrent R and S tensors are float32 whatever the cache types say


def window(cache: Cache) -> int:
    """Tokens that a sliding or chunked layer can see; 0 where it sees all."""
    return (cache.kind in ("sliding", "chunked") and cache.window) or 0


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
    >>> from vramlib import catalog
    >>> mask_cells(catalog.model("Llama-3.1-8B"), n_ctx=8000)
    8192

    Source
    ------
    ``build_attn_inp_kv_iswa`` (https://github.com/ggml-org/llama.cpp/blob/master/src/llama-graph.cpp).
    """
    cells = context_cells(n_ctx, n_seq_max=n_seq_max, kv_unified=kv_unified)
    windows = {window(c) for layer, _ in model.layer_counts for c in layer.caches if not c.is_state}
    return sum(
        sliding_cells(cells, w, n_ubatch=n_ubatch, n_seq_max=n_seq_max, kv_unified=kv_unified) if w else cells
        for w in windows
    )


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
