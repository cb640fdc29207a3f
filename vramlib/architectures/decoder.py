"""One decoder for all transformer families: their traits say what is stored, this lists it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from vramlib.architectures import attention, mlp, rope
from vramlib.architectures.attention import linear, norm
from vramlib.architectures.config import Shape, own_sizes
from vramlib.architectures.families import Traits, on
from vramlib.specs import Cache, Layer, Tensor


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
    s, t = t.adapt(s, t)
    own = own_sizes(s)
    made: dict[Hashable, Layer] = {}
    layers = []
    for i in range(s.num_hidden_layers):
        key = (s.kinds[i], s.moe[i], t.key(s, i), own.get(i))
        if key not in made:
            one, traits = t.vary(s.replace(**dict(own.get(i, ()))), t, s.kinds[i], key[2])
            made[key] = layer(one, traits, kind=s.kinds[i], experts=s.moe[i])
        layers.append(made[key])
    found = (
        rope.tables(s, fraction=t.rotary, local=t.local_rope, head_dims=t.head_dims(s)) if t.rotary else ()
    )
    names, part = {**mlp.NAMES, **t.names}, "expert_" if all(s.moe) and not t.beside else ""
    return Parts(
        embedding=embedding(s, t),
        layers=tuple(layers),
        head=head(s, t),
        tied=s.tied(t.tied),
        gated_mlp=t.gated,
        fused_gate_up=t.gated and names[f"{part}gate"] == names[f"{part}up"],
        rope_tables=found,
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
    tensors, caches = t.mixers.get(kind, mixer)(s, t, kind)
    width = s.shared_expert_intermediate_size if experts else s.intermediate_size
    if experts and t.experts:
        tensors += t.experts(s, t)
    elif experts:
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
        tensors = attention.mla(s, bias=on(s, t.qkv_bias), indexer=t.indexer)
        return tensors, attention.cache(s, kind, indexer_dim=dim)
    tensors = attention.gqa(
        s, qkv_bias=on(s, t.qkv_bias), o_bias=on(s, t.o_bias), norm_bias=t.qk_norm_bias,
        qk_norm=t.qk_norm if on(s, t.qk_norm_if) else "", gate=t.gate, keys=t.keys, values=t.values,
        sinks=t.sinks, names=t.names,
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
    table = (s.vocab_size + t.embed_rows, t.embed_width or s.hidden_size)
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
    table = (s.vocab_size, t.embed_width or s.hidden_size)
    matrix = linear(t.head, table, bias=on(s, t.head_bias), role="head", split="vocab")
    return out + (matrix[1:] if s.tied(t.tied) else matrix)
