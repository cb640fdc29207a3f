"""Linear attention, short convolutions and gated recurrences, each with its matrices and its state.

What is split follows vLLM 0.33: model_executor/layers/mamba/, layers/kda.py, models/qwen3_next.py.
"""

from __future__ import annotations

from vramlib.architectures.attention import linear, norm
from vramlib.architectures.config import Shape
from vramlib.architectures.recurrent import Mixed, plain, state_dtype
from vramlib.specs import Cache, Tensor


def gated_delta_net(s: Shape, *, prefix: str = "linear_attn.", joined: bool = True) -> Mixed:
    """Gated delta rule of Qwen3-Next and Qwen3.5: a d_v × d_k matrix for each value head.

    Formula: H·(2·n_k·d_k + 2·n_v·d_v) + 2·H·n_v + (2·n_k·d_k + n_v·d_v)·K + 2·n_v + d_v + n_v·d_v·H

    Parameters
    ----------
    s : the model's sizes [-]
    prefix : start of the tensors' names [-]
    joined : stored as two matrices, as in Qwen3-Next; Qwen3.5 stores four [-]

    Returns
    -------
    Tensors and state [-]

    Source
    ------
    Yang et al., "Gated Delta Networks" (2024), section 3; transformers 5.23, models/qwen3_next and qwen3_5
    modeling_*.py.
    """
    keys, values = s.size("linear_num_key_heads", default=16), s.size("linear_num_value_heads", default=32)
    key_dim, value_dim = (
        s.size("linear_key_head_dim", default=128),
        s.size("linear_value_head_dim", default=128),
    )
    kernel, width = s.size("linear_conv_kernel_dim", default=4), s.hidden_size
    conv, inner = 2 * keys * key_dim + values * value_dim, values * value_dim
    parts = {"qkvz": (("qkv", conv), ("z", inner)), "ba": (("b", values), ("a", values))}
    rows: tuple[Tensor, ...] = ()
    for word, stored in parts.items():
        for part, size in stored:
            name = f"{prefix}in_proj_{word if joined else part}"
            rows += linear(name, (size, width), role="state", split="out", fuse=f"{prefix}in_proj_{word}")
    tensors = (
        *rows,
        plain(prefix + "conv1d.weight", conv, 1, kernel),
        plain(prefix + "dt_bias", values),
        plain(prefix + "A_log", values),
        *norm(prefix + "norm", value_dim),
        *linear(prefix + "out_proj", (width, inner), role="state", split="in"),
    )
    state = values * value_dim * key_dim
    cache = Cache(
        kind="linear", conv_dim=conv, conv_kernel=kernel, state_elements=state, state_dtype=state_dtype(s)
    )
    return tensors, (cache,)


def delta_attention(s: Shape, *, prefix: str = "self_attn.", full_rank: bool = False) -> Mixed:
    """Kimi delta attention: a gate for every channel, three short convolutions, a state in float32.

    Formula: 3·H·D + 3·D·K + 2·(H·d + d·D) + H·n + D + n + d + D·H, D = n·d;
    2·H·D in place of 2·(H·d + d·D) with gates of full rank

    Parameters
    ----------
    s : the model's sizes [-]
    prefix : start of the tensors' names [-]
    full_rank : the two gates are one matrix each, as in Ling 3, rather than two narrow ones [-]

    Returns
    -------
    Tensors and state [-]

    Source
    ------
    Kimi Linear (2025), section 3; transformers 5.23, models/kimi_linear/modeling_kimi_linear.py;
    vLLM, model_executor/layers/kda.py (what is split, float32).
    """
    heads, dim, kernel = _delta_sizes(s)
    width, inner = s.hidden_size, heads * dim
    tensors: tuple[Tensor, ...] = ()
    for part in "qkv":
        tensors += linear(f"{prefix}{part}_proj", (inner, width), role="state", split="out")
        tensors += (plain(f"{prefix}{part}_conv1d.weight", inner, 1, kernel),)
    for part in "fg":
        if full_rank:
            tensors += linear(f"{prefix}{part}_proj", (inner, width), role="state", split="out")
            continue
        tensors += linear(f"{prefix}{part}_a_proj", (dim, width), role="state")
        tensors += linear(f"{prefix}{part}_b_proj", (inner, dim), role="state", split="out")
    tensors += (
        *linear(f"{prefix}b_proj", (heads, width), role="state", split="out"),
        plain(f"{prefix}dt_bias", inner, dtype="float32"),
        plain(f"{prefix}A_log", 1, 1, heads, 1, split="none", dtype="float32"),
        *norm(f"{prefix}o_norm", dim),
        *linear(f"{prefix}o_proj", (width, inner), role="state", split="in"),
    )
    state = heads * dim * dim
    cache = Cache(
        kind="linear", conv_dim=3 * inner, conv_kernel=kernel, state_elements=state, state_dtype="float32"
    )
    return tensors, (cache,)


def _delta_sizes(s: Shape) -> tuple[int, int, int]:
    """Heads, their width and the convolution's length, from ``linear_attn_config`` or from fields of their own."""
    if s.get("linear_attn_config") is None:
        kernel = s.size("linear_conv_kernel_dim", default=s.size("short_conv_kernel_size", default=4))
        return s.size("linear_num_heads"), s.size("linear_head_dim", default=128), kernel
    kernel = s.size("linear_attn_config.short_conv_kernel_size", default=4)
    return s.size("linear_attn_config.num_heads"), s.size("linear_attn_config.head_dim"), kernel


def lightning(s: Shape, *, prefix: str = "self_attn.") -> Mixed:
    """Lightning attention of MiniMax: a d × d matrix a head, decayed at a fixed rate, no convolution.

    Formula: 3·H·D + D + H·D + D·H, D = n·d

    Parameters
    ----------
    s : the model's sizes [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    Tensors and state [-]

    Source
    ------
    MiniMax-01 (2025), section 2.2; transformers 5.23, models/minimax/modeling_minimax.py.
    """
    heads, dim, width = s.num_attention_heads, s.head_dim, s.hidden_size
    inner = heads * dim
    tensors = (
        *linear(prefix + "qkv_proj", (3 * inner, width), role="state", split="out"),
        *linear(prefix + "output_gate", (inner, width), role="state", split="out"),
        *linear(prefix + "out_proj", (width, inner), role="state", split="in"),
        plain(prefix + "norm.weight", inner),
    )
    return tensors, (Cache(kind="linear", state_elements=heads * dim * dim, state_dtype=state_dtype(s)),)


def short_conv(s: Shape, *, prefix: str = "conv.") -> Mixed:
    """Gated short convolution of LFM2: a few columns of the past and no recurrent state.

    Formula: 3·H·H + H·K + H·H

    Parameters
    ----------
    s : the model's sizes [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    Tensors and state [-]

    Source
    ------
    transformers 5.23, models/lfm2/modeling_lfm2.py Lfm2ShortConv; vLLM, layers/mamba/short_conv.py.
    """
    width, kernel, bias = s.hidden_size, s.size("conv_L_cache", default=3), s.flag("conv_bias")
    tensors = (
        *linear(prefix + "in_proj", (3 * width, width), bias=bias, role="state", split="out"),
        plain(prefix + "conv.weight", width, 1, kernel),
        *((plain(prefix + "conv.bias", width),) if bias else ()),
        *linear(prefix + "out_proj", (width, width), bias=bias, role="state", split="in"),
    )
    return tensors, (Cache(kind="conv", conv_dim=width, conv_kernel=kernel),)


def gated_linear_recurrence(s: Shape, *, prefix: str = "temporal_block.") -> Mixed:
    """RG-LRU of RecurrentGemma: one number a channel, gated by block-diagonal matrices.

    Formula: 3·(H·W + W) + W·K + W + W + 2·(W²/n + W), the last output with H biases

    Parameters
    ----------
    s : the model's sizes [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    Tensors and state [-]

    Source
    ------
    De et al., "Griffin" (2024), section 2.4; transformers 5.23, models/recurrent_gemma/modeling_recurrent_gemma.py.
    """
    width, heads = s.hidden_size, s.num_attention_heads
    inner, kernel = s.size("lru_width", default=width), s.size("conv1d_width", default=4)
    block, lru = inner // heads, prefix + "rg_lru."
    tensors = (
        *linear(prefix + "linear_y", (inner, width), bias=True, role="state"),
        *linear(prefix + "linear_x", (inner, width), bias=True, role="state"),
        *linear(prefix + "linear_out", (width, inner), bias=True, role="state"),
        plain(prefix + "conv_1d.weight", inner, 1, kernel, split="none"),
        plain(prefix + "conv_1d.bias", inner, split="none"),
        plain(lru + "recurrent_param", inner, split="none"),
    )
    for gate in ("input_gate", "recurrent_gate"):
        tensors += (plain(f"{lru}{gate}_weight", heads, block, block, split="none"),)
        tensors += (plain(f"{lru}{gate}_bias", heads, block, split="none"),)
    cache = Cache(
        kind="linear", conv_dim=inner, conv_kernel=kernel, state_elements=inner, state_dtype="float32"
    )
    return tensors, (cache,)
