"""What tells one transformer family from another, as a table of traits rather than a class each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vramlib.architectures.config import Shape
from vramlib.specs import Cache, Tensor

Flag = bool | str
Mixer = Callable[[Shape, "Traits", str], tuple[tuple[Tensor, ...], tuple[Cache, ...]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Traits:
    """What tells one family from another; the defaults are Llama's.

    A flag is true, false, or the name of a config field (``field=true`` where missing means true,
    ``!field`` where it says the opposite). ``adapt`` changes sizes and traits for a whole model, ``vary`` for a
    layer, by its kind and the key that ``key`` gives it; ``extra`` adds tensors to a layer, ``ends`` to the
    embedding, ``head_dims`` names the head width under each rope setting.

    Parameters
    ----------
    qkv_bias, o_bias, mlp_bias, expert_bias, norm_bias, head_bias : whether these biases are stored [-]
    qk_norm : as in ``attention.gqa``, ``""`` for none; ``qk_norm_if`` switches it [-]
    qk_norm_bias : whether those norms have a bias [-]
    sinks, gate, indexer : as in ``attention.gqa`` and ``attention.mla`` [-]
    keys, values : false where a layer stores no keys and values, or no values, of its own [-]
    gated, expert_gated : whether the MLP, the experts have a gate matrix [-]
    correction, shared_gate : as in ``mlp.moe`` [-]
    beside : the experts come on top of a dense MLP rather than instead of it [-]
    norms, final_norm, embed_norm : names of the norms of a layer, at the end, after the embedding [-]
    embed, head : names of the embedding and of the output matrix [-]
    positions : name of a learned table of positions, and rows it has beyond the limit [-]
    embed_rows, embed_width : rows beyond the vocabulary; width where it is not the hidden size [-]
    tied : whether embedding and output share one matrix when the file does not say [-]
    rotary : part of a head that turns with position when the file does not say; 0 without rope [-]
    local_rope : whether sliding layers have rotary positions of their own [-]
    names : names of matrices that differ from Llama's [-]
    mixers : what stands in place of attention in layers of some kinds: tensors and caches [-]
    experts : what stands in place of ``mlp.moe`` where a family's experts are its own [-]
    """

    qkv_bias: Flag = False
    o_bias: Flag = False
    mlp_bias: Flag = False
    expert_bias: Flag = False
    norm_bias: Flag = False
    head_bias: Flag = False
    qk_norm: str = ""
    qk_norm_if: Flag = True
    qk_norm_bias: bool = False
    sinks: bool = False
    gate: bool = False
    indexer: bool = False
    keys: bool = True
    values: bool = True
    gated: bool = True
    expert_gated: bool = True
    correction: str = ""
    shared_gate: bool = False
    beside: bool = False
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    final_norm: str = "norm"
    embed_norm: str = ""
    embed: str = "embed_tokens"
    head: str = "lm_head"
    positions: tuple[str, int] = ("", 0)
    embed_rows: int = 0
    embed_width: int = 0
    tied: bool = False
    rotary: float = 1.0
    local_rope: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    mixers: Mapping[str, Mixer] = field(default_factory=dict)
    experts: Callable[[Shape, Traits], tuple[Tensor, ...]] | None = None
    key: Callable[[Shape, int], Hashable] = lambda s, i: None
    adapt: Callable[[Shape, Traits], tuple[Shape, Traits]] = lambda s, t: (s, t)
    vary: Callable[[Shape, Traits, str, Any], tuple[Shape, Traits]] = lambda s, t, kind, key: (s, t)
    extra: Callable[[Shape, Traits], tuple[Tensor, ...]] = lambda s, t: ()
    ends: Callable[[Shape], tuple[Tensor, ...]] = lambda s: ()
    head_dims: Callable[[Shape], tuple[int, ...]] = lambda s: ()

    def but(self, *, names: Mapping[str, str] | None = None, **changes: Any) -> Traits:
        """The same family with some traits changed; ``names`` are added to the ones it has."""
        return dataclasses.replace(self, names={**self.names, **(names or {})}, **changes)


def on(s: Shape, flag: Flag) -> bool:
    """What a flag of ``Traits`` says for this file.

    Parameters
    ----------
    s : the model's sizes [-]
    flag : true, false, or the name of a field [-]

    Returns
    -------
    The answer [-]
    """
    if isinstance(flag, bool):
        return flag
    name, _, default = flag.lstrip("!").partition("=")
    return s.flag(name, default == "true") != flag.startswith("!")
