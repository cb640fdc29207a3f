"""One decoder for all transformer families: traits say what a family stores, the decoder lists it layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from vramlib.architectures import attention, mlp, rope
from vramlib.architectures.attention import linear, norm
from vramlib.architectures.config import Shape
from vramlib.specs import Cache, Layer, Tensor

Flag = bool | str


@dataclass(frozen=True, kw_only=True, eq=False)
class Traits:
    """What tells one family from another; the defaults are Llama's.

    A flag is true, false, or the name of a config field (``field=true`` where it is true when missing, ``!field`` where
    it says the opposite). ``vary`` changes sizes and traits of a layer under a key that ``key`` gives each layer.

    Parameters
    ----------
    qkv_bias, o_bias, mlp_bias, expert_bias, norm_bias, head_bias : whether these biases are stored [-]
    qk_norm : ``head``, ``each`` or ``all`` as in ``attention.gqa``, ``""`` for none; ``qk_norm_if`` switches it [-]
    qk_norm_bias : whether those norms have a bias [-]
    sinks, gate, indexer : as in ``attention.gqa`` and ``attention.mla`` [-]
    keys, values : false where a layer stores no keys and values, or no values, of its own [-]
    gated, expert_gated : whether the MLP, the experts have a gate matrix [-]
    correction, shared_gate : as in ``mlp.moe`` [-]
    beside : the experts come on top of a dense MLP rather than instead of it [-]
    norms, final_norm, embed_norm : names of the norms of a layer, at the end, after the embedding [-]
    embed, head : names of the embedding and of the output matrix [-]
    positions : name of a learned table of positions, and rows it has beyond the limit [-]
    tied : whether embedding and output share one matrix when the file does not say [-]
    rotary : part of a head that turns with position when the file does not say; 0 without rotary positions [-]
    names : names of matrices that differ from Llama's [-]
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
    tied: bool = False
    rotary: float = 1.0
    names: Mapping[str, str] = field(default_factory=dict)
    key: Callable[[Shape, int], Hashable] = lambda s, i: None
    vary: Callable[[Shape, Traits, Hashable], tuple[Shape, Traits]] = lambda s, t, key: (s, t)
    extra: Callable[[Shape, Traits], tuple[Tensor, ...]] = lambda s, t: ()
    ends: Callable[[Shape], tuple[Tensor, ...]] = lambda s: ()
    head_dims: Callable[[Shape], tuple[int, ...]] = lambda s: ()

    def but(self, **changes: object) -> Traits:
        """The same family with some traits changed; ``names`` are added to the ones it has."""
        if "names" in changes:
            changes["names"] = {**self.names, **changes["names"]}  # type: ignore[dict-item]
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A text model taken apart, before vision and audio join it."""

    embedding: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    head: tuple[Tensor, ...]
    tied: bool = False
    gated_mlp: bool = True
    fused_gate_up: bool = False
    rope_tables: tuple[tuple[int, int], ...] = ()
    num_rope_pairs: int = 1


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


def decoder(s: Shape, t: Traits) -> Parts:
    """Every tensor and cache of a decoder-only transformer.

    Parameters
    ----------
    s : the model's sizes [-]
    t : its family's traits [-]

    Returns
    -------
    Embedding, layers (equal ones are one object), head [-]

    Source
    ------
    transformers 5.23, models/<model_type>/modeling_<model_type>.py.
    """
    made: dict[Hashable, Layer] = {}
    layers = []
    for i in range(s.num_hidden_layers):
        key = (s.kinds[i], s.moe[i], t.key(s, i))
        if key not in made:
            one, traits = t.vary(s, t, key[2])
            made[key] = layer(one, traits, kind=s.kinds[i], experts=s.moe[i])
        layers.append(made[key])
    found = rope.tables(s, fraction=t.rotary, head_dims=t.head_dims(s)) if t.rotary else ()
    names = {**mlp.NAMES, **t.names}
    return Parts(
        embedding=embedding(s, t),
        layers=tuple(layers),
        head=head(s, t),
        tied=s.tied(t.tied),
        gated_mlp=t.gated,
        fused_gate_up=t.gated
        and names["gate" if not all(s.moe) else "expert_gate"]
        == names["up" if not all(s.moe) else "expert_up"],
        rope_tables=tuple(dict.fromkeys(found)),
        num_rope_pairs=max(1, len(found)),
    )


def layer(s: Shape, t: Traits, *, kind: str, experts: bool) -> Layer:
    """One layer: attention, MLP or experts, norms, and what its attention caches.

    Parameters
    ----------
    s : the sizes of this layer; no heads or no width mean no attention, no MLP [-]
    t : its traits [-]
    kind : what its attention sees [-]
    experts : whether it has routed experts [-]

    Returns
    -------
    The layer [-]
    """
    tensors, caches = mixer(s, t, kind)
    width = s.shared_expert_intermediate_size if experts else s.intermediate_size
    if experts:
        tensors += mlp.moe(
            s, gated=t.expert_gated, bias=on(s, t.expert_bias), correction=t.correction,
            shared_gate=t.shared_gate, names=t.names,
        )  # fmt: skip
    if t.beside or (not experts and s.intermediate_size):
        tensors += mlp.glu(s, gated=t.gated, bias=on(s, t.mlp_bias), names=t.names)
    for name in t.norms:
        tensors += norm(name, s.hidden_size, bias=on(s, t.norm_bias))
    return Layer(
        tensors=tensors + t.extra(s, t),
        caches=caches,
        mlp_width=s.intermediate_size if t.beside else width,
        num_experts=s.num_experts if experts else 0,
    )


def mixer(s: Shape, t: Traits, kind: str) -> tuple[tuple[Tensor, ...], tuple[Cache, ...]]:
    """Attention tensors and cache of one layer, latent where the model has a ``kv_lora_rank``.

    Parameters
    ----------
    s : the sizes of this layer [-]
    t : its traits [-]
    kind : what its attention sees [-]

    Returns
    -------
    Tensors and caches, both empty without heads [-]
    """
    if not s.num_attention_heads:
        return (), ()
    if s.kv_lora_rank:
        dim = s.size("index_head_dim") if t.indexer else 0
        return attention.mla(s, bias=on(s, t.qkv_bias), indexer=t.indexer), attention.cache(
            s, kind, indexer_dim=dim
        )
    tensors = attention.gqa(
        s, qkv_bias=on(s, t.qkv_bias), o_bias=on(s, t.o_bias), qk_norm=t.qk_norm if on(s, t.qk_norm_if) else "",
        norm_bias=t.qk_norm_bias, gate=t.gate, keys=t.keys, values=t.values, sinks=t.sinks, names=t.names,
    )  # fmt: skip
    return tensors, attention.cache(s, kind) if t.keys else ()


def embedding(s: Shape, t: Traits) -> tuple[Tensor, ...]:
    """Token table, learned positions, the norm after them, and a family's own tables.

    Parameters
    ----------
    s : the model's sizes [-]
    t : its traits [-]

    Returns
    -------
    Tensors of the first pipeline stage [-]
    """
    table = (s.vocab_size, s.hidden_size)
    out = linear(t.embed, table, role="embedding", split="vocab")
    name, more = t.positions
    if name:
        rows = (s.max_position_embeddings + more, s.hidden_size)
        out += (Tensor(name=f"{name}.weight", shape=rows, role="embedding"),)
    if t.embed_norm:
        out += norm(t.embed_norm, s.hidden_size, bias=on(s, t.norm_bias))
    return out + t.ends(s)


def head(s: Shape, t: Traits) -> tuple[Tensor, ...]:
    """Final norm and, unless tied to the embedding, the output matrix.

    Parameters
    ----------
    s : the model's sizes [-]
    t : its traits [-]

    Returns
    -------
    Tensors of the last pipeline stage [-]
    """
    out = norm(t.final_norm, s.hidden_size, bias=on(s, t.norm_bias)) if t.final_norm else ()
    matrix = linear(
        t.head, (s.vocab_size, s.hidden_size), bias=on(s, t.head_bias), role="head", split="vocab"
    )
    return out + (matrix[1:] if s.tied(t.tied) else matrix)
