"""What each block of a GGUF model keeps per sequence, from the tensors that it has and the keys that size them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vramlib.readers.safetensors import Stored
from vramlib.specs import Cache

if TYPE_CHECKING:
    from vramlib.readers.gguf_model import Keys

PATTERN = {"gemma2": 2, "gpt-oss": 2, "cohere2": 4, "olmo2": 4, "exaone4": 4, "exaone-moe": 4, "llama4": 4}
PATTERN |= {"afmoe": 4, "smallthinker": 4, "gemma3n": 5, "gemma3": 6}
"""One block of every n sees all tokens, where the file has no pattern. Source: llama.cpp, ``set_swa_pattern``."""
DENSE_FIRST = ("smallthinker",)
"""The first block of every n sees all tokens, not the last. Source: llama.cpp, src/llama-model.cpp."""
UNUSED_WINDOW = ("llama", "phi3")
"""llama.cpp reads no window for these. Source: llama.cpp, src/llama-model.cpp."""
OWN_KEYS = {"gemma3n": 20}
"""Blocks with keys and values of their own, where the file does not say. Source: llama.cpp, n_layer_kv_from_start."""
CHUNKED = {"llama4": 8192}
"""Tokens of a chunk, where blocks see chunks and no window. Source: llama.cpp, src/llama-model.cpp."""
LINEAR = ("qwen3next", "qwen35", "qwen35moe")


def caches(keys: Keys, index: int, block: Mapping[str, Stored]) -> tuple[Cache, ...]:
    """Caches of one block.

    Parameters
    ----------
    keys : the file's metadata [-]
    index : number of the block [-]
    block : its tensors by name [-]

    Returns
    -------
    An attention cache, a recurrent state, both or neither [-]
    """
    found = []
    names = {name.rpartition(".")[0] or name for name in block}
    if "ssm_conv1d_q" in names:
        found.append(_delta(keys))
    elif "ssm_conv1d" in names:
        found.append(_linear(keys) if keys.arch in LINEAR else _mamba(keys, "ssm_x" in names))
    elif "shortconv.conv" in names:
        taps = keys.number("shortconv.l_cache", 0)
        found.append(Cache(kind="conv", conv_dim=keys.number("embedding_length"), conv_kernel=taps))
    if _has_attention(keys, index, names):
        found.append(_attention(keys, index, names))
    return tuple(found)


def _has_attention(keys: Keys, index: int, names: set[str]) -> bool:
    count = keys.number("block_count")
    shared = keys.number("attention.shared_kv_layers", max(0, count - OWN_KEYS.get(keys.arch, count)))
    if index >= count - shared:
        return False
    return bool(names & {"attn_k", "attn_qkv", "attn_kv_a_mqa", "attn_k_b"})


def _attention(keys: Keys, index: int, names: set[str]) -> Cache:
    heads = keys.at("attention.head_count", index, 0)
    hidden = keys.number("embedding_length")
    width = keys.number("attention.key_length", hidden // heads if heads else 0)
    value = keys.number("attention.value_length", width)
    kind, window = _window(keys, index)
    if "attn_kv_a_mqa" in names and "attn_k_b" in names:
        rope = keys.number("rope.dimension_count", 0)
        latent = keys.number("attention.kv_lora_rank", 0) + rope
        indexer = keys.number("attention.indexer.key_length", 0)
        return Cache(
            kind="full", num_key_value_heads=1, latent_dim=latent, latent_rope_dim=rope, indexer_dim=indexer
        )
    if window and kind == "sliding":
        width = keys.number("attention.key_length_swa", width)
        value = keys.number("attention.value_length_swa", value)
    kv_heads = keys.at("attention.head_count_kv", index, heads)
    return Cache(kind=kind, num_key_value_heads=kv_heads, head_dim=width, v_head_dim=value, window=window)


def has_unknown_window(keys: Keys) -> bool:
    """Whether a file names a window and nothing says which blocks it holds for.

    Parameters
    ----------
    keys : the file's metadata [-]

    Returns
    -------
    True when every block counts as seeing all tokens, which is an upper bound [-]
    """
    known = keys.arch in PATTERN or keys.arch in UNUSED_WINDOW or keys.get("attention.sliding_window_pattern")
    return not known and keys.number("attention.sliding_window", 0) > 0


def _window(keys: Keys, index: int) -> tuple[str, int]:
    """Kind of a block's attention and the tokens it sees, 0 for all."""
    window = CHUNKED.get(keys.arch) or keys.number("attention.sliding_window", 0)
    own = keys.get("attention.sliding_window_pattern")
    if isinstance(own, list):
        slides = index < len(own) and bool(own[index])
    else:
        every = own if isinstance(own, int) and own > 0 else PATTERN.get(keys.arch, 0)
        slides = bool(every) and index % every != (0 if keys.arch in DENSE_FIRST else every - 1)
    if not (slides and window):
        return "full", 0
    return "chunked" if keys.arch in CHUNKED else "sliding", window


def _mamba(keys: Keys, first: bool) -> Cache:
    """Mamba-1 has ``ssm_x``; Mamba-2 convolves its groups' B and C too."""
    inner, state = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
    groups = keys.number("ssm.group_count", 0)
    shared = 0 if first else 2 * groups * state
    return Cache(
        kind="mamba1" if first else "mamba2",
        conv_dim=inner + shared,
        conv_group_dim=shared,
        num_groups=groups,
        conv_kernel=keys.number("ssm.conv_kernel"),
        state_elements=inner * state,
        state_dtype="float32",
    )


def _linear(keys: Keys) -> Cache:
    """Gated delta rule: group_count key heads of state_size, inner_size value channels."""
    inner, state = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
    shared = 2 * keys.number("ssm.group_count", 0) * state
    return Cache(
        kind="linear",
        conv_dim=inner + shared,
        conv_kernel=keys.number("ssm.conv_kernel"),
        state_elements=inner * state,
        state_dtype="float32",
    )


def _delta(keys: Keys) -> Cache:
    """Kimi's delta attention: a convolution each for queries, keys and values of all heads."""
    heads, width = keys.number("attention.head_count"), keys.number("kda.head_dim")
    return Cache(
        kind="linear",
        conv_dim=3 * heads * width,
        conv_kernel=keys.number("ssm.conv_kernel"),
        state_elements=heads * width * width,
        state_dtype="float32",
    )


def mlp_width(keys: Keys, index: int, block: Mapping[str, Stored]) -> int:
    """Width of a block's MLP, or of one of its experts.

    Parameters
    ----------
    keys : the file's metadata [-]
    index : number of the block [-]
    block : its tensors by name [-]

    Returns
    -------
    Rows of its up matrix [element]
    """
    for name in ("ffn_up.weight", "ffn_up_exps.weight", "ffn_gate_up_exps.weight"):
        if (stored := block.get(name)) and len(stored.shape) >= 2:
            return stored.shape[-2]
    return keys.at("feed_forward_length", index, 0)
