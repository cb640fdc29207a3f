"""Families that mix attention with recurrent layers, or have recurrent layers alone, as traits.

Source: transformers 5.23, models/<model_type>/modeling_<model_type>.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vramlib.architectures import recurrent
from vramlib.architectures.attention import linear
from vramlib.architectures.config import Shape
from vramlib.architectures.decoder import mixer
from vramlib.architectures.families import Traits
from vramlib.architectures.families_moe import GRANITE_MOE, STORED_3D, W1_W3_W2, experts
from vramlib.architectures.fields import whole
from vramlib.specs import Tensor
from vramlib.units import round_up

Mixed = recurrent.Mixed
Adapt = Callable[[Shape, Traits], tuple[Shape, Traits]]
# Words that files use for a layer, as the words that this package uses.
WORDS = {"attention": "full", "full": "full", "linear": "linear", "mamba": "mamba", "conv": "conv"}
WORDS |= {"mlp": "mlp", "moe": "moe", "recurrent": "recurrent", "hybrid": "both"}
PATTERN = {"M": "mamba", "*": "full", "-": "mlp", "E": "moe"}


def layer_words(s: Shape) -> tuple[str, ...]:
    """One word a layer from the lists that files have for it, empty where they have none.

    Parameters
    ----------
    s : the model's sizes [-]

    Returns
    -------
    ``full``, ``linear``, ``mamba``, ``conv``, ``mlp``, ``moe``, ``recurrent`` or ``both`` [-]

    Raises
    ------
    ValueError: an unknown word, or not one entry a layer.
    """
    for field in ("layer_types", "layers_block_type"):
        listed = s.get(field)
        if isinstance(listed, list):
            return _checked(s, field, [str(word).removesuffix("_attention") for word in listed], WORDS)
    return ()


def _checked(s: Shape, field: str, listed: list[str], known: dict[str, str]) -> tuple[str, ...]:
    unknown = sorted(set(listed) - set(known))
    if unknown:
        raise ValueError(f"{s.fields.name}: {field} has {unknown[0]!r}; known: {', '.join(known)}")
    if len(listed) != s.num_hidden_layers:
        raise ValueError(
            f"{s.fields.name}: {field} has {len(listed)} entries for {s.num_hidden_layers} layers"
        )
    return tuple(known[word] for word in listed)


def _numbers(s: Shape, field: str) -> frozenset[int]:
    """Layers that a list names, empty when it is missing."""
    listed = s.get(field) or []
    if not isinstance(listed, list):
        raise ValueError(f"{s.fields.name}: {field} is {listed!r}; a list of layer numbers is needed")
    return frozenset(whole(i, field=field, name=s.fields.name, least=0) for i in listed)


def _pick(s: Shape, full: Callable[[int], bool], other: str) -> tuple[str, ...]:
    return layer_words(s) or tuple("full" if full(i) else other for i in range(s.num_hidden_layers))


def _alone(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    """Recurrent layers only, without an MLP."""
    return s.replace(kinds=("mamba",) * s.num_hidden_layers, intermediate_size=0), t


def _jamba(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    period, offset = s.size("attn_layer_period", default=8), s.size("attn_layer_offset", default=4, least=0)
    return s.replace(kinds=_pick(s, lambda i: i % period == offset, "mamba")), t


def _bamba(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    named = _numbers(s, "attn_layer_indices")
    return s.replace(kinds=_pick(s, lambda i: i in named, "mamba")), t


def _falcon_h1(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    return s.replace(kinds=("both",) * s.num_hidden_layers), t


def _granite(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    """Positions are learned by the Mamba layers unless the file asks for rope; the dense width is the shared one."""
    s = s.replace(
        kinds=_pick(s, lambda i: False, "mamba"),
        intermediate_size=s.size("shared_intermediate_size", default=1024),
    )
    return s, t if s.get("position_embedding_type") == "rope" else t.but(rotary=0)


def _nemotron(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    pattern = s.get("hybrid_override_pattern")
    words = layer_words(s)
    if isinstance(pattern, str) and not words:
        words = _checked(s, "hybrid_override_pattern", list(pattern), PATTERN)
    if not words:
        raise ValueError(f"{s.fields.name}: hybrid_override_pattern is missing; it says what each layer is")
    return s.replace(kinds=words, moe=tuple(word == "moe" for word in words)), t


def _one_each(s: Shape, t: Traits, kind: str, key: Any) -> tuple[Shape, Traits]:
    """A layer is a mixer, an MLP or a set of experts, never two of them."""
    return (s if kind == "mlp" else s.replace(intermediate_size=0)), t


def _interval(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    every = s.size("full_attention_interval", default=4)
    return s.replace(kinds=_pick(s, lambda i: (i + 1) % every == 0, "linear")), t


def _kimi(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    """Layers are counted from 1 in ``linear_attn_config``."""
    named = _numbers(s, "linear_attn_config.full_attn_layers")
    return s.replace(kinds=_pick(s, lambda i: i + 1 in named, "linear")), t


def _minimax(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    listed = s.get("attn_type_list")
    full = [bool(n) for n in listed] if isinstance(listed, list) else []
    if full and len(full) != s.num_hidden_layers:
        raise ValueError(
            f"{s.fields.name}: attn_type_list has {len(full)} entries for {s.num_hidden_layers} layers"
        )
    return s.replace(kinds=_pick(s, lambda i: full[i] if full else i % 2 == 1, "linear")), t


def _lfm2(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    """Dense widths are two thirds of the given one, rounded up, unless the file turns that off."""
    named = _numbers(s, "full_attn_idxs")
    s = s.replace(kinds=_pick(s, lambda i: i in named, "conv"))
    if s.model_type != "lfm2" or not s.flag("block_auto_adjust_ff_dim", True):
        return s, t
    width, factor = 2 * s.intermediate_size // 3, s.get("block_ffn_dim_multiplier")
    width = int(factor * width) if isinstance(factor, int | float) else width
    return s.replace(intermediate_size=round_up(width, s.size("block_multiple_of", default=256))), t


def _recurrent_gemma(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    """Two recurrent layers and one with a window of attention, over and over; half the width goes to the MLP."""
    types = s.get("block_types") or s.get("_block_types") or ["recurrent", "recurrent", "attention"]
    words = tuple(
        "sliding" if types[i % len(types)] == "attention" else "recurrent" for i in range(s.num_hidden_layers)
    )
    window = s.size("attention_window_size", default=2048)
    return s.replace(kinds=words, intermediate_size=s.intermediate_size // 2, sliding_window=window), t


def _latent_experts(s: Shape, t: Traits) -> tuple[Tensor, ...]:
    """Nemotron-H's experts: no gate matrix, and in a narrower space where ``moe_latent_size`` is given."""
    num, inner, width = s.num_experts, s.moe_intermediate_size, s.hidden_size
    latent, bias = s.size("moe_latent_size", default=0, least=0), s.flag("mlp_bias")
    inside, shared = latent or width, s.shared_expert_intermediate_size
    many = {"role": "expert", "count": num, "bias": bias}
    out = (
        Tensor(name="mixer.gate.weight", shape=(num, width), role="router"),
        Tensor(name="mixer.gate.e_score_correction_bias", shape=(num,), role="router", dtype="float32"),
        *linear("mixer.experts.*.up_proj", (inner, inside), split="out", fuse="experts.w13", **many),
        *linear("mixer.experts.*.down_proj", (inside, inner), split="in", fuse="experts.w2", **many),
    )
    if shared:
        up, down = "mixer.shared_experts.up_proj", "mixer.shared_experts.down_proj"
        out += linear(up, (shared, width), bias=bias, role="shared_expert", split="out")
        out += linear(down, (width, shared), bias=bias, role="shared_expert", split="in")
    if latent:
        out += linear("mixer.fc1_latent_proj", (latent, width), bias=bias, role="mlp")
        out += linear("mixer.fc2_latent_proj", (width, latent), bias=bias, role="mlp")
    return out


def _none(s: Shape, t: Traits, kind: str) -> Mixed:
    return (), ()


def _mamba_beside(s: Shape, t: Traits, kind: str) -> Mixed:
    """Attention and Mamba-2 read the same input; the layer keeps both rows and a state."""
    tensors, caches = mixer(s, t, "full")
    more, states = recurrent.mamba2(
        s, prefix="mamba.", gated_norm=s.flag("mamba_rms_norm"), bias="mamba_proj_bias"
    )
    return tensors + more, caches + states


def _mlp_names(prefix: str) -> dict[str, str]:
    parts = {part: f"{prefix}{part}_proj" for part in ("gate", "up", "down")}
    expert = experts(f"{prefix}experts.*.", "gate_proj.weight", "up_proj.weight", "down_proj.weight")
    return parts | expert | {"router": f"{prefix}router"}


MAMBA = Traits(
    norms=("norm",), final_norm="norm_f", embed="embeddings", tied=True, rotary=0, adapt=_alone,
    mixers={"mamba": lambda s, t, kind: recurrent.mamba1(s)},
)  # fmt: skip
JAMBA = Traits(
    norms=("input_layernorm", "pre_ff_layernorm"), final_norm="final_layernorm", rotary=0, adapt=_jamba,
    names=_mlp_names("feed_forward."),
    mixers={"mamba": lambda s, t, kind: recurrent.mamba1(s, prefix="mamba.", inner_norms=True)},
)  # fmt: skip
MAMBA2_IN_LAYER = {"mamba": lambda s, t, kind: recurrent.mamba2(s, prefix="mamba.", bias="mamba_proj_bias")}
BAMBA = JAMBA.but(
    adapt=_bamba, mixers=MAMBA2_IN_LAYER, qkv_bias="attention_bias", o_bias="attention_bias",
    mlp_bias="mlp_bias", rotary=0.5,
)  # fmt: skip
NEMOTRON_H = Traits(
    qkv_bias="attention_bias", o_bias="attention_bias", mlp_bias="mlp_bias", gated=False, rotary=0,
    norms=("norm",), final_norm="norm_f", embed="embeddings", adapt=_nemotron, vary=_one_each,
    experts=_latent_experts, mixers={
        "mamba": lambda s, t, kind: recurrent.mamba2(s), "mlp": _none, "moe": _none,
    },
    names={part: f"mixer.{part}_proj" for part in ("q", "k", "v", "o", "up", "down")},
)  # fmt: skip
QWEN3_NEXT = Traits(
    qkv_bias="attention_bias", o_bias="attention_bias", qk_norm="head", gate=True, shared_gate=True,
    rotary=0.25, names={"shared": "mlp.shared_expert"}, adapt=_interval,
    mixers={"linear": lambda s, t, kind: recurrent.gated_delta_net(s)},
)  # fmt: skip
QWEN3_5 = QWEN3_NEXT.but(
    names=STORED_3D, mixers={"linear": lambda s, t, kind: recurrent.gated_delta_net(s, joined=False)}
)
KIMI_MOE = W1_W3_W2 | {"router": "block_sparse_moe.gate", "shared": "block_sparse_moe.shared_experts"}
LFM2_NAMES = {"gate": "feed_forward.w1", "up": "feed_forward.w3", "down": "feed_forward.w2"}
LFM2_NAMES |= {
    "o": "self_attn.out_proj",
    "q_norm": "self_attn.q_layernorm",
    "k_norm": "self_attn.k_layernorm",
}
LFM2 = Traits(
    qk_norm="head", norms=("operator_norm", "ffn_norm"), final_norm="embedding_norm", tied=True, adapt=_lfm2,
    names=LFM2_NAMES, mixers={"conv": lambda s, t, kind: recurrent.short_conv(s)},
)  # fmt: skip
GRIFFIN = {part: f"temporal_block.{part}_proj" for part in "qkvo"}
GRIFFIN |= {part: f"mlp_block.{part}_proj" for part in ("gate", "up", "down")}

HYBRIDS: dict[str, Traits] = {
    **dict.fromkeys(("mamba", "falcon_mamba"), MAMBA),
    "mamba2": MAMBA.but(tied=False, mixers={"mamba": lambda s, t, kind: recurrent.mamba2(s)}),
    "jamba": JAMBA,
    "bamba": BAMBA,
    "falcon_h1": BAMBA.but(adapt=_falcon_h1, mixers={"both": _mamba_beside}, rotary=1.0),
    "nemotron_h": NEMOTRON_H,
    "granitemoehybrid": GRANITE_MOE.but(
        adapt=_granite, mixers=MAMBA2_IN_LAYER,
        names={"router": "block_sparse_moe.router.layer", "gate": "shared_mlp.input_linear"}
        | {"up": "shared_mlp.input_linear", "down": "shared_mlp.output_linear"},
    ),
    "qwen3_next": QWEN3_NEXT,
    **dict.fromkeys(("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"), QWEN3_5),
    "kimi_linear": Traits(
        rotary=0, adapt=_kimi, correction="float32",
        names=KIMI_MOE | {"correction": "block_sparse_moe.gate.e_score_correction_bias"},
        mixers={"linear": lambda s, t, kind: recurrent.delta_attention(s)},
    ),
    **dict.fromkeys(
        ("minimax", "minimax_text_01"),
        Traits(
            adapt=_minimax, names={"router": "block_sparse_moe.gate"} | W1_W3_W2,
            mixers={"linear": lambda s, t, kind: recurrent.lightning(s)},
        ),
    ),
    "lfm2": LFM2,
    "lfm2_moe": LFM2.but(
        correction="float32",
        names={"router": "feed_forward.gate", "correction": "feed_forward.expert_bias"}
        | experts("feed_forward.experts.*.", "w1.weight", "w3.weight", "w2.weight"),
    ),
    "recurrent_gemma": Traits(
        qkv_bias="attention_bias", o_bias=True, mlp_bias=True, tied=True, rotary=0.5,
        norms=("temporal_pre_norm", "channel_pre_norm"), final_norm="final_norm", names=GRIFFIN,
        adapt=_recurrent_gemma, mixers={"recurrent": lambda s, t, kind: recurrent.gated_linear_recurrence(s)},
    ),
}  # fmt: skip
