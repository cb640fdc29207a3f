"""Attention: the matrices a layer stores and the rows it caches, grouped-query or latent (MLA).

Tensors of a layer that share a name are rows of one stored tensor; they stay apart here because
engines cut queries, keys and values in different ways.
"""

from __future__ import annotations

from collections.abc import Mapping

from vramlib.architectures.config import Shape
from vramlib.specs import Cache, Tensor

NAMES: dict[str, str] = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    "sinks": "self_attn.sinks",
}
STATE_KINDS = frozenset({"full", "sliding", "chunked", "cross"})


def linear(
    name: str, shape: tuple[int, int], *, bias: bool = False, role: str = "attention", split: str = "none",
    heads: int = 0, fuse: str = "", count: int = 1, tail: str = ".weight",
) -> tuple[Tensor, ...]:  # fmt: skip
    """One matrix and, if asked, its bias, which follows the outputs.

    Parameters
    ----------
    name : module name; ``tail`` completes it [-]
    shape : [out, in] [element]
    bias : whether a bias is stored [-]
    role, split, heads, fuse, count, tail : as in ``specs.Tensor`` [-]

    Returns
    -------
    One or two tensors [-]

    Examples
    --------
    >>> [t.shape for t in linear("mlp.fc1", (8192, 2048), bias=True, role="mlp", split="out")]
    [(8192, 2048), (8192,)]
    """
    weight = Tensor(
        name=name + tail,
        shape=shape,
        role=role,
        split=split,
        heads=heads,
        fuse=fuse,
        count=count,
        linear=True,
    )
    if not bias:
        return (weight,)
    added = Tensor(
        name=name + (".bias" if tail == ".weight" else "_bias"), shape=shape[:1], role=role, count=count,
        split="none" if split == "in" else split, heads=heads, fuse=fuse and f"{fuse}.bias",
    )  # fmt: skip
    return weight, added


def norm(name: str, width: int, *, bias: bool = False, fuse: str = "") -> tuple[Tensor, ...]:
    """A norm's weight, and bias where it is a LayerNorm that has one.

    Parameters
    ----------
    name : module name [-]
    width : numbers in it [element]
    bias : whether a bias is stored [-]
    fuse : as in ``specs.Tensor`` [-]

    Returns
    -------
    One or two tensors [-]

    Examples
    --------
    >>> sum(t.numel for t in norm("ln_1", 768, bias=True))
    1536
    """
    tails = (".weight", ".bias") if bias else (".weight",)
    return tuple(Tensor(name=name + tail, shape=(width,), role="norm", fuse=fuse) for tail in tails)


def gqa(
    s: Shape, *, qkv_bias: bool = False, o_bias: bool = False, qk_norm: str = "", norm_bias: bool = False,
    gate: bool = False, keys: bool = True, values: bool = True, sinks: bool = False,
    names: Mapping[str, str] = NAMES,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Query, key, value and output matrices of multi-head, grouped-query or multi-query attention.

    Formula: H·(n_q + n_kv)·d_head + H·n_kv·d_v + n_q·d_v·H

    Parameters
    ----------
    s : sizes of this layer [-]
    qkv_bias, o_bias : whether biases are stored [-]
    qk_norm : ``head`` one norm for all heads, ``each`` one a head, ``all`` one across heads [-]
    norm_bias : whether those norms have a bias [-]
    gate : queries come with a gate of the same width [-]
    keys, values : false where the layer reuses another's (both) or takes keys for values [-]
    sinks : one learned number a head [-]
    names : module names [-]

    Returns
    -------
    The layer's attention tensors [-]

    Source
    ------
    Ainslie et al., "GQA" (2023), section 2.2; transformers 5.23, modeling_llama.py LlamaAttention.
    """
    names = {**NAMES, **names}
    width, heads, kv_heads = s.hidden_size, s.num_attention_heads, s.num_key_value_heads
    q_rows, k_rows, v_rows = heads * s.head_dim, kv_heads * s.head_dim, kv_heads * s.v_head_dim
    fuse = "qkv_proj" if keys else ""
    out = linear(names["q"], (q_rows * (2 if gate else 1), width), bias=qkv_bias, split="out", fuse=fuse)
    if keys:
        out += linear(names["k"], (k_rows, width), bias=qkv_bias, split="kv", heads=kv_heads, fuse=fuse)
    if keys and values:
        out += linear(names["v"], (v_rows, width), bias=qkv_bias, split="kv", heads=kv_heads, fuse=fuse)
    out += linear(names["o"], (width, heads * s.v_head_dim), bias=o_bias, split="in")
    if qk_norm:
        out += _qk_norm(s, qk_norm, norm_bias, keys, names)
    if sinks:
        out += (Tensor(name=names["sinks"], shape=(heads,), role="attention", split="out"),)
    return out


def _qk_norm(s: Shape, how: str, bias: bool, keys: bool, names: Mapping[str, str]) -> tuple[Tensor, ...]:
    def one(name: str, heads: int) -> tuple[Tensor, ...]:
        if how == "each":
            each = f"{name}.norms.*.weight"
            return (Tensor(name=each, shape=(s.head_dim,), role="norm", count=heads),)
        return norm(name, s.head_dim * (heads if how == "all" else 1), bias=bias)

    return one(names["q_norm"], s.num_attention_heads) + (
        one(names["k_norm"], s.num_key_value_heads) if keys else ()
    )


def mla(s: Shape, *, bias: bool = False, indexer: bool = False) -> tuple[Tensor, ...]:
    """Latent attention: queries and key-values pass through a narrow row each, and only the latter is cached.

    Formula: r_q·(H + 1 + n_q·(d_nope + d_rope)) + H·(r_kv + d_rope)
    + r_kv·(1 + n_q·(d_nope + d_v)) + n_q·d_v·H

    Parameters
    ----------
    s : sizes of this layer; without ``q_lora_rank`` queries come straight from the hidden state [-]
    bias : whether the narrow projections and the output have biases [-]
    indexer : DeepSeek-V3.2's sparse-attention indexer, with its own small key [-]

    Returns
    -------
    The layer's attention tensors [-]

    Source
    ------
    DeepSeek-V2 (2024), section 2.1; transformers 5.23, models/deepseek_v3/modeling_deepseek_v3.py.
    """
    width, heads, fuse = s.hidden_size, s.num_attention_heads, "fused_qkv_a_proj" if s.q_lora_rank else ""
    q_rows = heads * (s.qk_nope_head_dim + s.qk_rope_head_dim)
    if s.q_lora_rank:
        out = linear("self_attn.q_a_proj", (s.q_lora_rank, width), bias=bias, fuse=fuse)
        out += norm("self_attn.q_a_layernorm", s.q_lora_rank)
        out += linear("self_attn.q_b_proj", (q_rows, s.q_lora_rank), split="out")
    else:
        out = linear("self_attn.q_proj", (q_rows, width), split="out")
    latent = (s.kv_lora_rank + s.qk_rope_head_dim, width)
    out += linear("self_attn.kv_a_proj_with_mqa", latent, bias=bias, fuse=fuse)
    out += norm("self_attn.kv_a_layernorm", s.kv_lora_rank)
    kv_rows = heads * (s.qk_nope_head_dim + s.v_head_dim)
    out += linear("self_attn.kv_b_proj", (kv_rows, s.kv_lora_rank), split="out")
    out += linear("self_attn.o_proj", (width, heads * s.v_head_dim), bias=bias, split="in")
    return out + (_indexer(s) if indexer else ())


def _indexer(s: Shape) -> tuple[Tensor, ...]:
    heads, width = s.size("index_n_heads"), s.size("index_head_dim")
    return (
        *linear("self_attn.indexer.wq_b", (heads * width, s.q_lora_rank)),
        *linear("self_attn.indexer.wk", (width, s.hidden_size)),
        *norm("self_attn.indexer.k_norm", width, bias=True),
        *linear("self_attn.indexer.weights_proj", (heads, s.hidden_size)),
    )


def cache(s: Shape, kind: str = "full", *, indexer_dim: int = 0) -> tuple[Cache, ...]:
    """What one attention layer keeps: a row of keys and values per token, or one latent row for MLA.

    Parameters
    ----------
    s : sizes of this layer [-]
    kind : ``full``, ``sliding``, ``chunked`` or ``cross`` [-]
    indexer_dim : key width of a sparse-attention indexer [element]

    Returns
    -------
    One cache [-]

    Raises
    ------
    ValueError: a word of ``layer_types`` that no attention layer has.
    """
    if kind not in STATE_KINDS:
        raise ValueError(f"{s.fields.name}: layer type {kind!r} is not known for {s.model_type}")
    window = {"sliding": s.sliding_window, "chunked": s.attention_chunk_size}.get(kind, 0)
    if kind in ("sliding", "chunked") and not window:
        raise ValueError(
            f"{s.fields.name}: {kind} layers, but sliding_window or attention_chunk_size is missing"
        )
    if s.kv_lora_rank:
        latent, rope = s.kv_lora_rank + s.qk_rope_head_dim, s.qk_rope_head_dim
        row = Cache(
            kind=kind, window=window, latent_dim=latent, latent_rope_dim=rope, indexer_dim=indexer_dim
        )
        return (row,)
    heads, key, value = s.num_key_value_heads, s.head_dim, s.v_head_dim
    return (
        Cache(
            kind=kind, window=window, num_key_value_heads=heads, head_dim=key, v_head_dim=value,
            indexer_dim=indexer_dim,
        ),
    )  # fmt: skip
