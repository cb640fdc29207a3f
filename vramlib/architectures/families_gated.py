"""Families that weigh each head's output by a gate of its own: Laguna, Step, Ling 3 and GLM-5.3.

Source: transformers 5.23, models/{laguna,step3p7,bailing_hybrid,glm5_next}/modeling_*.py.
"""

from __future__ import annotations

from typing import Any

from vramlib.architectures import attention, recurrent_linear
from vramlib.architectures.attention import linear
from vramlib.architectures.config import Shape
from vramlib.architectures.families import Traits
from vramlib.architectures.families_moe import STORED_3D
from vramlib.architectures.families_sparse import hyper_connections
from vramlib.architectures.recurrent import Mixed
from vramlib.specs import Tensor


def _own_heads(s: Shape, i: int) -> int:
    """Query heads of layer i, from a list or from the number for sliding layers."""
    listed = s.fields.sizes("num_attention_heads_per_layer", s.num_hidden_layers, default=0, least=0)[i]
    sliding = s.size("num_sliding_attention_heads", default=0, least=0) if s.kinds[i] == "sliding" else 0
    return listed or sliding or s.num_attention_heads


def _with_heads(s: Shape, t: Traits, kind: str, heads: Any) -> tuple[Shape, Traits]:
    return s.replace(num_attention_heads=heads), t


def _gate(s: Shape, t: Traits) -> tuple[Tensor, ...]:
    """One number a head, or one a channel where ``gating`` is ``per-channel``."""
    whole = s.get("gating") not in (None, True, "per-head")
    rows = s.num_attention_heads * (s.head_dim if whole else 1)
    return linear("self_attn.g_proj", (rows, s.hidden_size), split="out")


def _every_sixth(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    """Attention closes each group of layers where the file does not list them."""
    every = s.size("layer_group_size", default=6)
    if "linear" in s.kinds:
        return s, t
    words = tuple("linear" if (i + 1) % every else "full" for i in range(s.num_hidden_layers))
    return s.replace(kinds=words), t


def _gated_latent(s: Shape, t: Traits, kind: str) -> Mixed:
    return attention.mla(s) + _gate(s, t), attention.cache(s, "full")


def _pooled_index(s: Shape, t: Traits, kind: str) -> Mixed:
    """Latent attention whose index keeps one key for a few tokens, pooled by learned weights."""
    width, pool = s.size("index_head_dim"), s.size("index_kpool", default=16)
    shapes = {"ape": (pool, width), "gate": (width, s.hidden_size)}
    tensors = attention.mla(s, indexer=True) + tuple(
        Tensor(name=f"self_attn.indexer.index_kpool_compress_{part}", shape=shape, role="attention")
        for part, shape in shapes.items()
    )
    return tensors, attention.cache(s, "full", indexer_dim=width // pool)


LAGUNA = Traits(
    qkv_bias="attention_bias", o_bias="attention_bias", qk_norm="head", correction="float32", rotary=1.0,
    names=STORED_3D, key=_own_heads, vary=_with_heads, extra=_gate,
)  # fmt: skip
GATED: dict[str, Traits] = {
    "laguna": LAGUNA,
    **dict.fromkeys(("step3p5", "step3p7", "step3p5_text"), LAGUNA),
    "bailing_hybrid": Traits(
        correction="float32", names=STORED_3D, adapt=_every_sixth,
        mixers={
            "linear": lambda s, t, kind: recurrent_linear.delta_attention(s, full_rank=True),
            "full": _gated_latent,
        },
    ),
    **dict.fromkeys(("glm5_next", "glm5_next_text"), Traits(
        correction="float32", names=STORED_3D, rotary=0, extra=hyper_connections,
        mixers={"linear": lambda s, t, kind: recurrent_linear.delta_attention(s), "full": _pooled_index},
    )),
}  # fmt: skip
