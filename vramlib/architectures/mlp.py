"""The other half of a layer: a gated or plain MLP, or a router with experts."""

from __future__ import annotations

from collections.abc import Mapping

from vramlib.architectures.attention import linear
from vramlib.architectures.config import Shape
from vramlib.specs import Tensor

NAMES: dict[str, str] = {
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "router": "mlp.gate",
    "expert_gate": "mlp.experts.*.gate_proj.weight",
    "expert_up": "mlp.experts.*.up_proj.weight",
    "expert_down": "mlp.experts.*.down_proj.weight",
    "correction": "mlp.gate.e_score_correction_bias",
    "shared": "mlp.shared_experts",
    "shared_gate": "mlp.shared_expert_gate",
}


def glu(
    s: Shape, width: int = 0, *, gated: bool = True, bias: bool = False, names: Mapping[str, str] = NAMES,
    role: str = "mlp",
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gate, up and down matrices; without a gate, the two of a plain MLP.

    Formula: 3·H·I, or 2·H·I without a gate

    Parameters
    ----------
    s : sizes of this layer [-]
    width : I, when it is not the layer's ``intermediate_size`` [element]
    gated : whether there is a gate [-]
    bias : whether biases are stored [-]
    names : module names [-]
    role : ``mlp`` or ``shared_expert`` [-]

    Returns
    -------
    Two or three matrices, with their biases [-]

    Source
    ------
    Shazeer, "GLU Variants Improve Transformer" (2020); transformers 5.23, modeling_llama.py LlamaMLP.
    """
    names = {**NAMES, **names}
    inner = width or s.intermediate_size
    fuse = "shared_expert.gate_up_proj" if role == "shared_expert" else "gate_up_proj"
    out: tuple[Tensor, ...] = ()
    if gated:
        out += linear(names["gate"], (inner, s.hidden_size), bias=bias, role=role, split="out", fuse=fuse)
    fuse = fuse if gated else ""
    out += linear(names["up"], (inner, s.hidden_size), bias=bias, role=role, split="out", fuse=fuse)
    return out + linear(names["down"], (s.hidden_size, inner), bias=bias, role=role, split="in")


def moe(
    s: Shape, *, gated: bool = True, bias: bool = False, correction: str = "", shared_gate: bool = False,
    names: Mapping[str, str] = NAMES,
) -> tuple[Tensor, ...]:  # fmt: skip
    """A router, E experts of width F, and the experts that every token passes.

    Formula: E·H + 3·E·H·F + 3·H·F_shared (+ E for a router's bias or correction)

    Parameters
    ----------
    s : sizes of this layer [-]
    gated : whether experts have a gate matrix [-]
    bias : whether router and experts have biases [-]
    correction : storage type of ``e_score_correction_bias``, ``""`` for none [-]
    shared_gate : whether a gate weighs the shared expert [-]
    names : module names [-]

    Returns
    -------
    The layer's MLP tensors [-]

    Source
    ------
    transformers 5.23, models/{mixtral,qwen2_moe,deepseek_v3,gpt_oss}/modeling_*.py.
    """
    names = {**NAMES, **names}
    num, width, inner = s.num_experts, s.hidden_size, s.moe_intermediate_size
    router = linear(names["router"], (num, width), bias=bias, role="router")
    out = tuple(Tensor(name=t.name, shape=t.shape, role="router") for t in router)
    if correction:
        out += (Tensor(name=names["correction"], shape=(num,), role="router", dtype=correction),)
    for part, shape, split, fuse in (
        ("expert_gate", (inner, width), "out", "experts.w13"),
        ("expert_up", (inner, width), "out", "experts.w13"),
        ("expert_down", (width, inner), "in", "experts.w2"),
    ):
        if gated or part != "expert_gate":
            name = names[part]
            out += linear(name, shape, bias=bias, role="expert", split=split, fuse=fuse, count=num, tail="")
    return out + (_shared(s, gated, shared_gate, names) if s.shared_expert_intermediate_size else ())


def _shared(s: Shape, gated: bool, shared_gate: bool, names: Mapping[str, str]) -> tuple[Tensor, ...]:
    parts = {part: f"{names['shared']}.{part}_proj" for part in ("gate", "up", "down")}
    parts |= {part: names[f"shared_{part}_proj"] for part in parts if f"shared_{part}_proj" in names}
    out = glu(s, s.shared_expert_intermediate_size, gated=gated, names=parts, role="shared_expert")
    if shared_gate:
        out += (Tensor(name=f"{names['shared_gate']}.weight", shape=(1, s.hidden_size), role="router"),)
    return out
