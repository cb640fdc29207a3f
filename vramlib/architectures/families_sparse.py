"""Sparse attention: families whose layers look up, through a small index, the tokens they attend to.

Source: transformers 5.23, models/{deepseek_v32,deepseek_v4,glm_moe_dsa,minimax_m3_vl}/modeling_*.py.
"""

from __future__ import annotations

from typing import Any

from vramlib.architectures import attention
from vramlib.architectures.attention import linear, norm
from vramlib.architectures.config import Shape
from vramlib.architectures.families import Traits
from vramlib.architectures.families_dense import FUSED_MLP
from vramlib.architectures.families_moe import DEEPSEEK_V3
from vramlib.architectures.fields import whole
from vramlib.architectures.recurrent import Mixed
from vramlib.specs import Cache, Tensor

RATIOS = {"sliding": 0, "compressed_sparse": 4, "heavily_compressed": 128}
INDEXED = 4  # DeepSeek-V4 layers that compress four tokens into one have an index of their own


def _own_index(s: Shape, i: int) -> bool:
    """GLM-5.2: the other layers take the tokens that an earlier layer picked."""
    types = s.get("indexer_types")
    return types[i] == "full" if isinstance(types, list) and len(types) == s.num_hidden_layers else True


def _index(s: Shape, t: Traits, kind: str, own: Any) -> tuple[Shape, Traits]:
    return s, t.but(indexer=bool(own))


def _m3_key(s: Shape, i: int) -> bool:
    listed = s.get("sparse_attention_config.sparse_attention_freq")
    return (
        bool(listed[i]) if isinstance(listed, list) and i < len(listed) else s.kinds[i] == "minimax_m3_sparse"
    )


def _m3(s: Shape, t: Traits, kind: str, sparse: Any) -> tuple[Shape, Traits]:
    dense = s.size("dense_intermediate_size", default=s.intermediate_size)
    return s.replace(intermediate_size=dense), t.but(indexer=bool(sparse), mixers={kind: _m3_mixer})


def _m3_mixer(s: Shape, t: Traits, kind: str) -> Mixed:
    tensors = attention.gqa(s, qk_norm="head")
    if not t.indexer:
        return tensors, attention.cache(s, "full")
    heads = s.size("sparse_attention_config.sparse_num_index_heads")
    width = s.size("sparse_attention_config.sparse_index_dim")
    tensors += linear("self_attn.indexer.q_proj", (heads * width, s.hidden_size))
    tensors += linear("self_attn.indexer.k_proj", (width, s.hidden_size))
    tensors += norm("self_attn.indexer.q_norm", width) + norm("self_attn.indexer.k_norm", width)
    return tensors, attention.cache(s, "full", indexer_dim=width)


def _v4_key(s: Shape, i: int) -> tuple[int, bool]:
    """How many tokens a layer compresses into one, and whether a table picks its experts by the token's id."""
    ratios, types = s.get("compress_ratios"), s.get("mlp_layer_types")
    listed = isinstance(ratios, list) and len(ratios) >= s.num_hidden_layers
    ratio = whole(ratios[i], field="compress_ratios", least=0) if listed else RATIOS.get(s.kinds[i], 0)
    hashed = (
        types[i] == "hash_moe"
        if isinstance(types, list)
        else i < s.size("num_hash_layers", default=3, least=0)
    )
    return ratio, hashed


def _v4(s: Shape, t: Traits, kind: str, key: Any) -> tuple[Shape, Traits]:
    ratio, hashed = key

    def mixer(s: Shape, t: Traits, kind: str) -> Mixed:
        return _v4_attention(s) + _v4_compressor(s, ratio), _v4_caches(s, ratio)

    return s, t.but(mixers={kind: mixer}, correction="" if hashed else t.correction)


def _v4_attention(s: Shape) -> tuple[Tensor, ...]:
    heads, dim, width = s.num_attention_heads, s.head_dim, s.hidden_size
    groups, rank = s.size("o_groups"), s.size("o_lora_rank")
    return (
        Tensor(name="self_attn.sinks", shape=(heads,), role="attention", split="out"),
        *linear("self_attn.q_a_proj", (s.size("q_lora_rank"), width)),
        *norm("self_attn.q_a_norm", s.size("q_lora_rank")),
        *linear("self_attn.q_b_proj", (heads * dim, s.size("q_lora_rank")), split="out"),
        *linear("self_attn.kv_proj", (dim, width)),
        *norm("self_attn.kv_norm", dim),
        *linear("self_attn.o_a_proj", (groups * rank, heads * dim // groups), split="out"),
        *linear("self_attn.o_b_proj", (width, groups * rank), split="in"),
    )


def _v4_compressor(s: Shape, ratio: int) -> tuple[Tensor, ...]:
    if not ratio:
        return ()
    own = ratio == INDEXED
    out = _v4_pool(s, "self_attn.compressor", ratio, s.head_dim, twice=own)
    if own:
        name, heads, dim = "self_attn.compressor.indexer", s.size("index_n_heads"), s.size("index_head_dim")
        out += _v4_pool(s, name, ratio, dim, twice=True)
        out += linear(f"{name}.q_b_proj", (heads * dim, s.size("q_lora_rank")))
        out += linear(f"{name}.scorer.weights_proj", (heads, s.hidden_size))
    return out


def _v4_pool(s: Shape, name: str, ratio: int, dim: int, *, twice: bool) -> tuple[Tensor, ...]:
    """What turns ``ratio`` tokens into one key: a value and a gate, twice as wide where windows overlap."""
    rows = 2 * dim if twice else dim
    return (
        Tensor(name=f"{name}.position_bias", shape=(ratio, rows), role="attention"),
        *linear(f"{name}.kv_proj", (rows, s.hidden_size)),
        *linear(f"{name}.gate_proj", (rows, s.hidden_size)),
        *norm(f"{name}.kv_norm", dim),
    )


def _v4_caches(s: Shape, ratio: int) -> tuple[Cache, ...]:
    """The last tokens in a window, and one row for every ``ratio`` tokens, here as its share per token."""
    rope = s.size("qk_rope_head_dim", default=s.head_dim // 8)
    near = Cache(kind="sliding", window=s.sliding_window, latent_dim=s.head_dim, latent_rope_dim=rope)
    if not ratio:
        return (near,)
    index = s.size("index_head_dim") // ratio if ratio == INDEXED else 0
    return near, Cache(
        kind="full", latent_dim=s.head_dim // ratio, latent_rope_dim=rope // ratio, indexer_dim=index
    )


def hyper_connections(s: Shape, t: Traits) -> tuple[Tensor, ...]:
    """Hyper-connections: several residual streams, mixed before attention and before the experts.

    Parameters
    ----------
    s : the model's sizes [-]
    t : not used [-]

    Returns
    -------
    What each layer stores for them [-]
    """
    num = s.size("hc_mult", default=4)
    rows = num * (num + 2)
    sizes = {"fn": (rows, num * s.hidden_size), "base": (rows,), "scale": (3,)}
    names = [(f"{part}_hc.{name}", shape) for part in ("attn", "ffn") for name, shape in sizes.items()]
    return tuple(Tensor(name=name, shape=shape, role="other") for name, shape in names)


def _v4_ends(s: Shape) -> tuple[Tensor, ...]:
    num = s.size("hc_mult", default=4)
    sizes = {"hc_fn": (num, num * s.hidden_size), "hc_base": (num,), "hc_scale": (1,)}
    s.fields.warnings.append(
        "compressed keys are counted as their share per token: a row of head_dim for every 4 or 128 tokens"
    )
    return tuple(Tensor(name=f"hc_head.{name}", shape=shape, role="other") for name, shape in sizes.items())


INDEX = DEEPSEEK_V3.but(indexer=True, key=_own_index, vary=_index)
SPARSE: dict[str, Traits] = {
    **dict.fromkeys(("deepseek_v32", "glm_moe_dsa"), INDEX),
    **dict.fromkeys(("minimax_m3_vl", "minimax_m3_vl_text"), Traits(
        correction="float32", key=_m3_key, vary=_m3, rotary=0.5,
        names=FUSED_MLP | {f"shared_{part}_proj": "mlp.shared_experts.gate_up_proj" for part in ("gate", "up")},
    )),
    "deepseek_v4": DEEPSEEK_V3.but(key=_v4_key, vary=_v4, extra=hyper_connections, ends=_v4_ends),
}  # fmt: skip
