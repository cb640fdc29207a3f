"""Gemma 3n and 4: layers that share keys and values, wider global heads, a small input for each layer.

Source: transformers 5.23, models/{gemma3n,gemma4}/modeling_*.py.
"""

from __future__ import annotations

from typing import Any

from vramlib.architectures.attention import linear, norm
from vramlib.architectures.config import Shape
from vramlib.architectures.families import Traits
from vramlib.architectures.families_dense import GEMMA, GEMMA_NORMS
from vramlib.architectures.families_moe import experts
from vramlib.specs import Tensor


def _shares(s: Shape, i: int) -> bool:
    """The last layers reuse the keys and values of an earlier one."""
    return i >= s.num_hidden_layers - s.size("num_kv_shared_layers", default=0, least=0)


def _global_head_dim(s: Shape) -> int:
    return s.size("global_head_dim", default=512, why="transformers' default for Gemma 4")


def _vary4(s: Shape, t: Traits, kind: str, shares: Any) -> tuple[Shape, Traits]:
    reuse = kind == "full" and s.flag("attention_k_eq_v")
    if kind == "full" and s.get("per_layer_config") is None:
        dim = _global_head_dim(s)
        s = s.replace(head_dim=dim, v_head_dim=dim)
    if reuse:
        s = s.replace(num_key_value_heads=s.size("num_global_key_value_heads", default=s.num_key_value_heads))
    wide = 2 if shares and s.flag("use_double_wide_mlp") else 1
    return s.replace(intermediate_size=wide * s.intermediate_size), t.but(keys=not shares, values=not reuse)


def _extra4(s: Shape, t: Traits) -> tuple[Tensor, ...]:
    if not s.num_experts:
        return _layer_input(s)
    return (
        *norm("post_feedforward_layernorm_1", s.hidden_size),
        *norm("post_feedforward_layernorm_2", s.hidden_size),
        *norm("pre_feedforward_layernorm_2", s.hidden_size),
        Tensor(name="router.scale", shape=(s.hidden_size,), role="router"),
        Tensor(name="router.per_expert_scale", shape=(s.num_experts,), role="router"),
        *_layer_input(s),
    )


def _layer_input(s: Shape) -> tuple[Tensor, ...]:
    width = s.size("hidden_size_per_layer_input", default=0, least=0)
    if not width:
        return ()
    return (
        *linear("per_layer_input_gate", (width, s.hidden_size), role="other"),
        *linear("per_layer_projection", (s.hidden_size, width), role="other"),
        *norm("post_per_layer_input_norm", s.hidden_size),
    )


def _layer_input_table(s: Shape) -> tuple[Tensor, ...]:
    width = s.size("hidden_size_per_layer_input", default=0, least=0)
    if not width:
        return ()
    rows, total = s.size("vocab_size_per_layer_input", default=s.vocab_size), width * s.num_hidden_layers
    return (
        *linear("embed_tokens_per_layer", (rows, total), role="embedding", split="vocab"),
        *linear("per_layer_model_projection", (total, s.hidden_size), role="other"),
        *norm("per_layer_projection_norm", width),
    )


def _key3n(s: Shape, i: int) -> tuple[bool, int]:
    return _shares(s, i), s.fields.sizes(
        "intermediate_size", s.num_hidden_layers, default=s.intermediate_size
    )[i]


def _vary3n(s: Shape, t: Traits, kind: str, key: Any) -> tuple[Shape, Traits]:
    shares, width = key
    return s.replace(intermediate_size=width), t.but(keys=not shares)


def _extra3n(s: Shape, t: Traits) -> tuple[Tensor, ...]:
    num, width, rank = s.size("altup_num_inputs", default=4), s.hidden_size, s.size("laurel_rank", default=64)
    return (
        Tensor(name="altup.correct_output_scale", shape=(width,), role="other"),
        *linear("altup.correction_coefs", (num, num), role="other"),
        *linear("altup.prediction_coefs", (num * num, num), role="other"),
        *linear("altup.modality_router", (num, width), role="other"),
        *norm("altup.router_norm", width),
        *linear("laurel.linear_left", (rank, width), role="other"),
        *linear("laurel.linear_right", (width, rank), role="other"),
        *norm("laurel.post_laurel_norm", width),
        *_layer_input(s),
    )


def _ends3n(s: Shape) -> tuple[Tensor, ...]:
    square, more = (s.hidden_size, s.hidden_size), s.size("altup_num_inputs", default=4) - 1
    return _layer_input_table(s) + tuple(
        Tensor(name=f"{name}.*.weight", shape=square, role="other", count=more, linear=True)
        for name in ("altup_projections", "altup_unembed_projections")
    )


GEMMA4 = GEMMA.but(
    norms=GEMMA_NORMS, qk_norm="head", local_rope=True, beside=True, key=_shares, vary=_vary4, extra=_extra4,
    ends=_layer_input_table,
    names={"router": "router.proj"} | experts("experts.", "gate_up_proj", "gate_up_proj", "down_proj"),
    head_dims=lambda s: (_global_head_dim(s), s.head_dim),
)  # fmt: skip
GEMMA3N = GEMMA.but(
    norms=GEMMA_NORMS, qk_norm="head", local_rope=True, key=_key3n, vary=_vary3n, extra=_extra3n, ends=_ends3n
)

GEMMAS: dict[str, Traits] = {
    **dict.fromkeys(("gemma3n", "gemma3n_text"), GEMMA3N),
    **dict.fromkeys(("gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text"), GEMMA4),
}
