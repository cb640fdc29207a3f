"""KV cache: keys, values, latents and recurrent states of the tokens that are really held.

Unused room belongs elsewhere: a block's tail, a hybrid page's padding and unused cells to
``prefill_padding``, a pool
that is reserved and empty to the budget.
"""

from __future__ import annotations

import functools
from typing import Any

from vramlib.components import kv_cells, state
from vramlib.components.model_weights import stage_layers
from vramlib.specs import DTYPE_BITS, Cache, ModelSpec, Part, Scenario, Term
from vramlib.units import ceil_div, maximum, minimum

CACHE_BITS = {
    "fp8": 8,
    "fp8_e4m3": 8,
    "fp8_e5m2": 8,
    "fp8_inc": 8,
    "int8": 8,
    "bfloat16": 16,
    "float16": 16,
    "float32": 32,
}
DS_MLA_ROW = {"fp8_ds_mla": 656, "nvfp4_ds_mla": 352}


def local_heads(num_key_value_heads: int, tp: int) -> int:
    """Key-value heads that one tensor-parallel rank holds; with more ranks than heads each rank repeats one.

    Formula: max(1, n_kv / tp)

    Examples
    --------
    >>> local_heads(8, 2), local_heads(4, 8)
    (4, 1)

    Source
    ------
    vLLM 0.33, vllm/config/model.py get_num_kv_heads.
    """
    return max(1, num_key_value_heads // tp)


def row_bytes(cache: Cache, *, tp: int = 1, kv_cache_dtype: str = "auto", dtype_bits: int = 16) -> int:
    """What one token leaves behind in one attention layer, on one rank.

    Formula: n_loc · (d_head + d_v) · b_kv / 8;  MLA: (r_kv + d_rope) · b_kv / 8 on every rank

    Parameters
    ----------
    cache : the layer's cache; state kinds hold nothing per token [-]
    tp : tensor_parallel_size [-]
    kv_cache_dtype : auto, fp8, int8, fp8_per_token_head, int4_per_token_head, nvfp4, fp8_ds_mla, … [-]
    dtype_bits : width that ``auto`` means [bit]

    Returns
    -------
    Bytes per token and layer [byte]

    Examples
    --------
    >>> row_bytes(Cache(kind="full", num_key_value_heads=8, head_dim=128, v_head_dim=128))
    4096

    Source
    ------
    vLLM 0.33, vllm/v1/kv_cache_interface.py AttentionSpec, MLAAttentionSpec; Ainslie et al., "GQA" (2023),
    2.2.
    """
    if cache.is_state:
        return 0
    indexer = cache.indexer_dim and cache.indexer_dim + cache.indexer_dim // 128 * 4
    if cache.latent_dim:
        if cache.indexer_dim and kv_cache_dtype.startswith("fp8"):
            kv_cache_dtype = "fp8_ds_mla"
        if kv_cache_dtype in DS_MLA_ROW:
            return DS_MLA_ROW[kv_cache_dtype] + indexer
        return cache.latent_dim * CACHE_BITS.get(kv_cache_dtype, dtype_bits) // 8 + indexer
    heads, width = local_heads(cache.num_key_value_heads, tp), cache.head_dim + cache.v_head_dim
    if kv_cache_dtype.endswith("_per_token_head"):
        bits = 4 if kv_cache_dtype.startswith("int4") else 8
        return heads * (width * bits // 8 + 8)
    if kv_cache_dtype == "nvfp4":
        return heads * (width // 2 + width // 16)
    return heads * width * CACHE_BITS.get(kv_cache_dtype, dtype_bits) // 8


def tokens_kept(cache: Cache, tokens: Any) -> Any:
    """Tokens of one sequence that a layer can still see: all, or at most its window.

    Formula: full: T;  sliding, chunked: min(T, W);  states and cross attention: 0

    Examples
    --------
    >>> tokens_kept(Cache(kind="sliding", window=1024), 5000)
    1024
    """
    if cache.is_state or cache.kind == "cross":
        return tokens * 0
    return minimum(tokens, cache.window) if cache.window else tokens


def bytes_per_token(
    model: ModelSpec, *, tp: int = 1, kv_cache_dtype: str = "auto", dtype_bits: int = 16
) -> int:
    """Key and value vectors that one token leaves behind in all layers that keep every token.

    Formula: Σ_layers n_loc · (d_head + d_v) · b_kv / 8

    Parameters
    ----------
    model : the model's layers [-]
    tp : tensor_parallel_size [-]
    kv_cache_dtype, dtype_bits : width of one cached number [-], [bit]

    Returns
    -------
    Cache growth per token and sequence; sliding layers count while their window is not full [byte]

    Examples
    --------
    >>> from vramlib import catalog
    >>> bytes_per_token(catalog.model("Llama-3.1-8B"))
    131072

    Source
    ------
    Ainslie et al., "GQA" (2023), section 2.2: n_kv counts key-value heads, not query heads.
    """
    return sum(
        n * row_bytes(c, tp=tp, kv_cache_dtype=kv_cache_dtype, dtype_bits=dtype_bits)
        for layer, n in model.layer_counts
        for c in layer.caches
    )


def stage_caches(s: Scenario, stage: int = 0) -> tuple[tuple[Cache, int], ...]:
    """Distinct caches of one pipeline stage with the number of layers that have them; a drafter's on the last."""
    own = _caches(s.model, s.pipeline_parallel_size, stage)
    if s.drafter is None or stage != s.pipeline_parallel_size - 1:
        return own
    return _merged((*own, *_caches(s.drafter, 1, 0)))


def _merged(caches: tuple[tuple[Cache, int], ...]) -> tuple[tuple[Cache, int], ...]:
    found: dict[Cache, int] = {}
    for cache, n in caches:
        found[cache] = found.get(cache, 0) + n
    return tuple(found.items())


@functools.lru_cache(1024)
def _caches(model: ModelSpec, pp: int, stage: int) -> tuple[tuple[Cache, int], ...]:
    return _merged(tuple((c, n) for layer, n in stage_layers(model, pp, stage) for c in layer.caches))


def state_bytes(s: Scenario, cache: Cache) -> int:
    """Fixed state of one layer and sequence in this scenario's engine [byte]."""
    bits = DTYPE_BITS[s.dtype]
    if s.engine == "transformers":
        return state.transformers_state_bytes(cache, conv_bits=bits)
    own = STATE_BITS.get(cache.state_dtype, bits)
    return state.state_bytes(
        cache,
        tp=s.tensor_parallel_size,
        conv_bits=bits,
        state_bits=own,
        num_speculative_tokens=s.num_speculative_tokens,
    )


STATE_BITS = {"float32": 32, "float16": 16, "bfloat16": 16}


def terms(s: Scenario, stage: int = 0) -> tuple[Term, ...]:
    """Addends: one per kind of layer."""
    if s.engine == "llama.cpp":
        return (_llamacpp_term(s),)
    found = []
    for cache, layers in stage_caches(s, stage):
        if cache.is_state:
            found.append(_state_term(s, cache, layers))
        elif cache.kind != "cross":
            found.append(_attention_term(s, cache, layers))
    return tuple(found) or (
        Term(name="no cache", bytes=0, formula="0", worked="no layer of this rank keeps a cache"),
    )


def held(s: Scenario, cache: Cache) -> Any:
    """Tokens that one layer of this kind holds for the whole workload when it has grown to its end [token]."""
    keep_prompt = s.engine == "transformers" and bool(cache.window)
    return sum(
        n * (maximum(tokens_kept(cache, p + new), p) if keep_prompt else tokens_kept(cache, p + new))
        for n, p, new in s.sequences
    )


def _attention_term(s: Scenario, cache: Cache, layers: int) -> Term:
    bits = DTYPE_BITS[s.dtype]
    row = row_bytes(cache, tp=s.tensor_parallel_size, kv_cache_dtype=s.kv_cache_dtype, dtype_bits=bits)
    tokens = held(s, cache)
    heads, width = (
        local_heads(cache.num_key_value_heads, s.tensor_parallel_size),
        cache.head_dim + cache.v_head_dim,
    )
    inside = f"{row} B"
    if not cache.latent_dim and 8 * row % (heads * width) == 0:
        inside = f"{heads} · ({cache.head_dim} + {cache.v_head_dim}) · {8 * row // (heads * width)} / 8"
    formula = (
        "L · T · (r_kv + d_rope) · b_kv / 8"
        if cache.latent_dim
        else "L · T · n_kv · (d_head + d_v) · b_kv / 8"
    )
    return Term(
        name=f"{cache.kind} attention, {layers} layers",
        bytes=layers * tokens * row,
        formula=formula,
        worked=f"{layers} · {tokens:,} · {inside}" if isinstance(tokens, int) else "",
        source="Ainslie et al., GQA (2023), 2.2; vLLM 0.33, vllm/v1/kv_cache_interface.py",
    )


def _state_term(s: Scenario, cache: Cache, layers: int) -> Term:
    one = state_bytes(s, cache)
    return Term(
        name=f"{cache.kind} state, {layers} layers",
        bytes=layers * one * s.num_sequences,
        formula="L · B · (convolution columns + recurrent state)",
        worked=f"{layers} · {s.num_sequences} · {one:,} B",
        source="vLLM 0.33, vllm/model_executor/layers/mamba/mamba_utils.py",
    )


def _llamacpp_term(s: Scenario) -> Term:
    used = ceil_div(kv_cells.used_bytes(s), s.world_size)
    tokens = sum(n * (p + new) for n, p, new in s.sequences)
    return Term(
        name="cells in use",
        bytes=used,
        formula="Σ layers · tokens seen · bytes per cell / cards",
        worked=f"{tokens:,} tokens of {s.max_model_len:,} cells: {used:,} B" if isinstance(used, int) else "",
        source="llama.cpp, src/llama-kv-cache.cpp",
    )


def size_bytes(s: Scenario, stage: int = 0) -> Any:
    """Bytes of this part on one rank [byte]."""
    return sum(t.bytes for t in terms(s, stage))


def part(s: Scenario, stage: int = 0) -> Part:
    """The part with its formula, numbers and sources."""
    return Part.of("kv_cache", *terms(s, stage))
