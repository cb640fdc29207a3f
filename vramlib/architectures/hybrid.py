"""Families that mix attention with recurrent layers, or have recurrent layers alone, as traits.

Source: transformers 5.23, models/<model_type>/modeling_<model_type>.py.
"""

from __future__ import annotations

from vramlib.architectures import recurrent, recurrent_linear
from vramlib.architectures.attention import linear
from vramlib.architectures.config import Shape
from vramlib.architectures.decoder import mixer
from vramlib.architectures.families import Traits
from vramlib.architectures.families_moe import GRANITE_MOE, STORED_3D, W1_W3_W2, experts
from vramlib.architectures.hybrid_layers import ADAPT, one_each
from vramlib.specs import Tensor

Mixed = recurrent.Mixed


def _latent_experts(s: Shape, t: Traits) -> tuple[Tensor, ...]:
    """Nemotron-H's experts: no gate matrix, and in a narrower space where ``moe_latent_size`` is given."""
    num, inner, width = s.num_experts, s.moe_intermediate_size, s.hidden_size
    latent, bias = s.size("moe_latent_size", default=0, least=0), s.flag("mlp_bias")
    inside, shared = latent or width, s.shared_expert_intermediate_size
    out: tuple[Tensor, ...] = (
        Tensor(name="mixer.gate.weight", shape=(num, width), role="router"),
        Tensor(name="mixer.gate.e_score_correction_bias", shape=(num,), role="router", dtype="float32"),
    )
    for part, rows, split, fuse in (
        ("up", (inner, inside), "out", "experts.w13"),
        ("down", (inside, inner), "in", "experts.w2"),
    ):
        name = f"mixer.experts.*.{part}_proj"
        out += linear(name, rows, bias=bias, role="expert", split=split, fuse=fuse, count=num)
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
    norms=("norm",), final_norm="norm_f", embed="embeddings", tied=True, rotary=0, adapt=ADAPT["alone"],
    mixers={"mamba": lambda s, t, kind: recurrent.mamba1(s)},
)  # fmt: skip
JAMBA = Traits(
    norms=("input_layernorm", "pre_ff_layernorm"), final_norm="final_layernorm", rotary=0, adapt=ADAPT["jamba"],
    names=_mlp_names("feed_forward."),
    mixers={"mamba": lambda s, t, kind: recurrent.mamba1(s, prefix="mamba.", inner_norms=True)},
)  # fmt: skip
MAMBA2_IN_LAYER = {"mamba": lambda s, t, kind: recurrent.mamba2(s, prefix="mamba.", bias="mamba_proj_bias")}
BAMBA = JAMBA.but(
    adapt=ADAPT["bamba"], mixers=MAMBA2_IN_LAYER, qkv_bias="attention_bias", o_bias="attention_bias",
    mlp_bias="mlp_bias", rotary=0.5,
)  # fmt: skip
NEMOTRON_H = Traits(
    qkv_bias="attention_bias", o_bias="attention_bias", mlp_bias="mlp_bias", gated=False, rotary=0,
    norms=("norm",), final_norm="norm_f", embed="embeddings", adapt=ADAPT["nemotron"], vary=one_each,
    experts=_latent_experts, mixers={
        "mamba": lambda s, t, kind: recurrent.mamba2(s), "mlp": _none, "moe": _none,
    },
    names={part: f"mixer.{part}_proj" for part in ("q", "k", "v", "o", "up", "down")},
)  # fmt: skip
QWEN3_NEXT = Traits(
    qkv_bias="attention_bias", o_bias="attention_bias", qk_norm="head", gate=True, shared_gate=True,
    rotary=0.25, names={"shared": "mlp.shared_expert"}, adapt=ADAPT["interval"],
    mixers={"linear": lambda s, t, kind: recurrent_linear.gated_delta_net(s)},
)  # fmt: skip
QWEN3_5 = QWEN3_NEXT.but(
    names=STORED_3D, mixers={"linear": lambda s, t, kind: recurrent_linear.gated_delta_net(s, joined=False)}
)
KIMI_MOE = W1_W3_W2 | {"router": "block_sparse_moe.gate", "shared": "block_sparse_moe.shared_experts"}
LFM2_NAMES = {"gate": "feed_forward.w1", "up": "feed_forward.w3", "down": "feed_forward.w2"}
LFM2_NAMES |= {
    "o": "self_attn.out_proj",
    "q_norm": "self_attn.q_layernorm",
    "k_norm": "self_attn.k_layernorm",
}
LFM2 = Traits(
    qk_norm="head", norms=("operator_norm", "ffn_norm"), final_norm="embedding_norm", tied=True, adapt=ADAPT["lfm2"],
    names=LFM2_NAMES, mixers={"conv": lambda s, t, kind: recurrent_linear.short_conv(s)},
)  # fmt: skip
GRIFFIN = {part: f"temporal_block.{part}_proj" for part in "qkvo"}
GRIFFIN |= {part: f"mlp_block.{part}_proj" for part in ("gate", "up", "down")}

HYBRIDS: dict[str, Traits] = {
    **dict.fromkeys(("mamba", "falcon_mamba"), MAMBA),
    "mamba2": MAMBA.but(tied=False, mixers={"mamba": lambda s, t, kind: recurrent.mamba2(s)}),
    "jamba": JAMBA,
    "bamba": BAMBA,
    "falcon_h1": BAMBA.but(adapt=ADAPT["falcon_h1"], mixers={"both": _mamba_beside}, rotary=1.0),
    "nemotron_h": NEMOTRON_H,
    "granitemoehybrid": GRANITE_MOE.but(
        adapt=ADAPT["granite"], mixers=MAMBA2_IN_LAYER,
        names={"router": "block_sparse_moe.router.layer", "gate": "shared_mlp.input_linear"}
        | {"up": "shared_mlp.input_linear", "down": "shared_mlp.output_linear"},
    ),
    "qwen3_next": QWEN3_NEXT,
    **dict.fromkeys(("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"), QWEN3_5),
    "kimi_linear": Traits(
        rotary=0, adapt=ADAPT["kimi"], correction="float32",
        names=KIMI_MOE | {"correction": "block_sparse_moe.gate.e_score_correction_bias"},
        mixers={"linear": lambda s, t, kind: recurrent_linear.delta_attention(s)},
    ),
    **dict.fromkeys(
        ("minimax", "minimax_text_01"),
        Traits(
            adapt=ADAPT["minimax"], names={"router": "block_sparse_moe.gate"} | W1_W3_W2,
            mixers={"linear": lambda s, t, kind: recurrent_linear.lightning(s)},
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
        adapt=ADAPT["recurrent_gemma"],
        mixers={"recurrent": lambda s, t, kind: recurrent_linear.gated_linear_recurrence(s)},
    ),
}  # fmt: skip
