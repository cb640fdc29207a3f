"""Families whose layers differ from one another, or whose file changes what is stored as no flag can say.

Source: transformers 5.23, models/{falcon,llama4,mimo_v2_flash,mllama,opt}/modeling_*.py; the model
repositories' own modelling files for nemotron-nas, baichuan and qwen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib.architectures.attention import linear, norm
from vramlib.architectures.config import Shape
from vramlib.architectures.families import Traits
from vramlib.architectures.families_dense import DENSE, LLAMA, NEOX, OPT, fused
from vramlib.architectures.families_moe import STORED_3D
from vramlib.specs import Tensor
from vramlib.units import round_up

LLAMA4_NAMES = {part: f"feed_forward.{part}_proj" for part in ("gate", "up", "down")}
LLAMA4_NAMES |= {"router": "feed_forward.router", "shared": "feed_forward.shared_expert"}
LLAMA4_NAMES |= {part: name.replace("mlp.", "feed_forward.") for part, name in STORED_3D.items()}
CROSS_NAMES = {part: f"cross_attn.{part}_proj" for part in "qkvo"}
CROSS_NAMES |= {part: f"cross_attn.{part}" for part in ("q_norm", "k_norm")}


def _llama4(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    """Dense layers have a width of their own; a shared expert is as wide as a routed one."""
    dense = s.size("intermediate_size_mlp", default=s.intermediate_size)
    return s.replace(intermediate_size=dense, shared_expert_intermediate_size=s.moe_intermediate_size), t


def _mimo(s: Shape, t: Traits, kind: str, key: Any) -> tuple[Shape, Traits]:
    if kind != "sliding":
        return s, t.but(sinks=s.flag("add_full_attention_sink_bias"))
    one = s.replace(
        num_attention_heads=s.size("swa_num_attention_heads", default=s.num_attention_heads),
        num_key_value_heads=s.size(
            "swa_num_key_value_heads", default=s.num_key_value_heads, why="as in full layers"
        ),
        head_dim=s.size("swa_head_dim", default=s.head_dim),
        v_head_dim=s.size("swa_v_head_dim", default=s.v_head_dim),
    )
    return one, t.but(sinks=s.flag("add_swa_attention_sink_bias", True))


def _gates(s: Shape, t: Traits) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name=n, shape=(1,), role="other") for n in ("cross_attn_attn_gate", "cross_attn_mlp_gate")
    )


def _mllama(s: Shape, t: Traits, kind: str, key: Any) -> tuple[Shape, Traits]:
    return s, t.but(qk_norm="head", names=CROSS_NAMES, extra=_gates) if kind == "cross" else t


def _falcon(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    if s.flag("new_decoder_architecture") and s.size("num_ln_in_parallel_attn", default=2) == 2:
        norms = ("ln_attn", "ln_mlp")
    elif s.flag("new_decoder_architecture") or s.flag("parallel_attn", True):
        norms = ("input_layernorm",)
    return s, t.but(norms=norms, rotary=0 if s.flag("alibi") else 1.0)


def _opt(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    width = s.size("word_embed_proj_dim", default=s.hidden_size)
    last = s.flag("do_layer_norm_before", True) and not s.flag("_remove_final_layer_norm")
    t = t.but(embed_width=width, final_norm=t.final_norm if last else "")
    return s, t if width == s.hidden_size else t.but(ends=lambda s: _opt_projections(s, width))


def _opt_projections(s: Shape, width: int) -> tuple[Tensor, ...]:
    down = linear("project_out", (width, s.hidden_size), role="other")
    return linear("project_in", (s.hidden_size, width), role="other") + down


def _qwen(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    """The first Qwen counts gate and up together in ``intermediate_size``."""
    return s.replace(intermediate_size=s.intermediate_size // 2), t


def _baichuan(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    """The 13B (hidden size 5120) has ALiBi instead of rotary positions."""
    return s, t.but(rotary=0) if s.hidden_size == 5120 else t


def _stablelm(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    return s, t.but(norms=t.norms[:1]) if s.flag("use_parallel_residual") else t


def _apertus(s: Shape, t: Traits) -> tuple[Tensor, ...]:
    return tuple(Tensor(name=f"mlp.act_fn.{n}", shape=(1,), role="other") for n in ("alpha_p", "alpha_n"))


def _sub_norms(s: Shape, t: Traits) -> tuple[Tensor, ...]:
    attention = norm("self_attn.attn_sub_norm", s.num_attention_heads * s.head_dim)
    return attention + norm("mlp.ffn_sub_norm", s.intermediate_size)


def _afmoe_gate(s: Shape, t: Traits) -> tuple[Tensor, ...]:
    return linear("self_attn.gate_proj", (s.num_attention_heads * s.head_dim, s.hidden_size), split="out")


def _block(s: Shape, i: int) -> tuple[Any, ...]:
    """Heads in a group and width factor of layer i; 0 for none, -1 for one matrix instead."""
    blocks = s.get("block_configs")
    if not isinstance(blocks, list) or len(blocks) != s.num_hidden_layers:
        raise ValueError(
            f"{s.fields.name}: block_configs needs one entry for each of {s.num_hidden_layers} layers"
        )

    def part(name: str, size: str) -> Any:
        found = blocks[i].get(name)
        if not isinstance(found, Mapping):
            raise ValueError(
                f"{s.fields.name}: block_configs[{i}] has no {name}; look in the model's config.json"
            )
        return 0 if found.get("no_op") else -1 if found.get("replace_with_linear") else found.get(size)

    return part("attention", "n_heads_in_group"), part("ffn", "ffn_mult")


def _nas(s: Shape, t: Traits, kind: str, key: Any) -> tuple[Shape, Traits]:
    group, mult = key
    heads = s.num_attention_heads if group and group > 0 else 0
    width = round_up(int(2 * mult * s.hidden_size / 3), 256) if mult and mult > 0 else 0
    one = s.replace(
        num_attention_heads=heads, num_key_value_heads=heads // max(1, group or 1), intermediate_size=width
    )
    norms = ("input_layernorm",) * (group != 0) + ("post_attention_layernorm",) * (mult != 0)
    single = ("self_attn.linear_attn",) * (group == -1) + ("mlp.linear_mlp",) * (mult == -1)
    return one, t.but(norms=norms, extra=lambda s, t: _square(s, single))


def _square(s: Shape, names: tuple[str, ...]) -> tuple[Tensor, ...]:
    return tuple(
        t for name in names for t in linear(name, (s.hidden_size, s.hidden_size), role="mlp", split="out")
    )


def _minicpm_v(s: Shape, t: Traits) -> tuple[Shape, Traits]:
    """The language model behind the eye changes with the version: MiniCPM, Llama 3, Qwen2, Qwen3."""
    version = s.fields.outer.get("version")
    known = {2.6: DENSE["qwen2"], 4.5: DENSE["qwen3"]}
    return s, known.get(version, t) if isinstance(version, int | float) else t


LLAMA4 = LLAMA.but(mlp_bias=False, names=LLAMA4_NAMES, adapt=_llama4)
FALCON = NEOX.but(
    qkv_bias="bias", o_bias="bias", mlp_bias="bias", tied=True, rotary=1.0, final_norm="ln_f",
    embed="word_embeddings", head="lm_head", adapt=_falcon,
    names=fused("self_attention.query_key_value") | {"o": "self_attention.dense"},
)  # fmt: skip
MIMO_V2 = Traits(
    qkv_bias="attention_bias", correction="float32", vary=_mimo,
    names={"sinks": "self_attn.attention_sink_bias"},
)  # fmt: skip
QWEN1 = Traits(
    qkv_bias=True, norms=("ln_1", "ln_2"), final_norm="ln_f", embed="wte", adapt=_qwen,
    names=fused("attn.c_attn") | {"o": "attn.c_proj", "gate": "mlp.w2", "up": "mlp.w1", "down": "mlp.c_proj"},
)  # fmt: skip
AFMOE = Traits(
    norms=("input_layernorm", "post_attention_layernorm", "pre_mlp_layernorm", "post_mlp_layernorm"),
    qk_norm="head", correction="float32", names={"correction": "mlp.expert_bias"}, extra=_afmoe_gate,
)  # fmt: skip

VARY: dict[str, Traits] = {
    **dict.fromkeys(("minicpmv", "minicpmo"), LLAMA.but(adapt=_minicpm_v)),
    **dict.fromkeys(("llama4", "llama4_text"), LLAMA4),
    **dict.fromkeys(("mllama", "mllama_text_model"), Traits(vary=_mllama, embed_rows=8)),
    "mimo_v2_flash": MIMO_V2,
    "falcon": FALCON,
    "opt": OPT.but(adapt=_opt),
    "qwen": QWEN1,
    "baichuan": DENSE["baichuan"].but(adapt=_baichuan),
    "stablelm": DENSE["stablelm"].but(adapt=_stablelm),
    "afmoe": AFMOE,
    "bitnet": LLAMA.but(mlp_bias=False, extra=_sub_norms),
    "apertus": DENSE["apertus"].but(extra=_apertus),
    "nemotron-nas": LLAMA.but(key=_block, vary=_nas),
}
