"""The tensors of real files in place of those that a config implies, with the inventory's roles and splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from vramlib.readers_exact import following, spread
from vramlib.readers_places import Place, place, tower_role
from vramlib.readers_safetensors import Headers, Stored
from vramlib.readers_templates import Templates, of_scale, of_weight
from vramlib.specs import DTYPE_BITS, Layer, ModelSpec, Tensor
from vramlib.units import show, show_count

Group = Counter[tuple[Place, Stored]]
"""Equal tensors of one place (the experts of a layer, the layers of a tower) and how many there are."""


@dataclass(slots=True, kw_only=True)
class Sorted:
    """The tensors of a checkpoint by place, and the names of those that are left out."""

    layers: defaultdict[int, Group] = field(default_factory=lambda: defaultdict(Counter))
    end: Group = field(default_factory=Counter)
    tower: Group = field(default_factory=Counter)
    next_token: list[Stored] = field(default_factory=list)
    buffers: list[str] = field(default_factory=list)


def merge(model: ModelSpec, headers: Headers) -> ModelSpec:
    """The model with the tensors that its files really store.

    Parameters
    ----------
    model : the inventory that config.json implies, for roles, splits, caches and logical shapes [-]
    headers : what the files' headers say [-]

    Returns
    -------
    The same model with every tensor's exact bytes; warnings for what does not match [-]

    Raises
    ------
    ValueError : the files hold none of the tensors of such a model
    """
    found = _sort(headers.tensors, model.num_hidden_layers)
    if not found.layers:
        raise ValueError(
            f"{model.name}: the files hold no layer of this model; is config.json another model's?"
        )
    model = replace(model, dtype=_dtype(headers, model.dtype))
    notes, unmatched = _left_out(found), list[str]()
    layers = tuple(
        _layer(layer, found.layers[i], model.dtype, unmatched) for i, layer in enumerate(model.layers)
    )
    embedding, head, tied = _ends(model, found.end, unmatched, notes)
    towers = _tensors(found.tower, Templates(model.towers), model.dtype, unmatched)
    merged = replace(
        model,
        layers=layers,
        embedding=embedding,
        head=head,
        towers=towers,
        tie_word_embeddings=tied,
        exact_bytes=headers.complete,
    )
    notes += _differences(model, merged, unmatched) if headers.complete else []
    merged = replace(merged, warnings=(*model.warnings, *headers.warnings, *notes))
    if not headers.complete:
        return spread(merged, headers.total_size, clean=not (found.next_token or unmatched))
    return merged if merged.quantization or _packed(merged) else following(merged)


def _sort(tensors: Mapping[str, Stored], num_layers: int) -> Sorted:
    found = Sorted()
    for name, stored in tensors.items():
        at = place(name, num_layers)
        if at.where == "layer":
            found.layers[at.layer][at, stored] += 1
        elif at.where == "next_token":
            found.next_token.append(stored)
        elif at.where == "buffer":
            found.buffers.append(name)
        else:
            (found.tower if at.where == "tower" else found.end)[at, stored] += 1
    return found


def _dtype(headers: Headers, declared: str) -> str:
    """The 16 or 32 bit type that most bytes are in; the config's where the files have none such."""
    sizes: Counter[str] = Counter()
    for stored in headers.tensors.values():
        if stored.dtype in DTYPE_BITS and stored.nbytes > 0:
            sizes[stored.dtype] += stored.nbytes
    return sizes.most_common(1)[0][0] if sizes and sizes[declared] < sizes.total() / 10 else declared


def _layer(layer: Layer, group: Group, dtype: str, unmatched: list[str]) -> Layer:
    return replace(layer, tensors=_tensors(group, Templates(layer.tensors), dtype, unmatched))


def _tensors(group: Group, templates: Templates, dtype: str, unmatched: list[str]) -> tuple[Tensor, ...]:
    """One tensor a kind, in the inventory's order; what the inventory lacks is kept whole on every rank."""
    made: list[Tensor] = []
    for (at, stored), count in sorted(group.items(), key=lambda item: item[0][0].name):
        parts = templates.find(at.module)
        if not parts:
            parts = (
                Tensor(name=at.name, shape=stored.shape, role=tower_role(at.name) or "other", count=count),
            )
            if at.part in ("", "codes"):
                unmatched.append(at.name)
        make = of_weight if at.part in ("", "codes") else of_scale
        made += make(at, stored, count, parts, dtype)
    return tuple(sorted(made, key=lambda t: templates.order(t.name)))


def _ends(
    model: ModelSpec, group: Group, unmatched: list[str], notes: list[str]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], bool]:
    """Embedding and head; an output matrix that repeats a tied embedding is dropped, a missing one tied."""
    templates = Templates((*model.embedding, *model.head))
    tensors = list(_tensors(group, templates, model.dtype, unmatched))
    first = {t.name for t in model.embedding}
    embedding = tuple(t for t in tensors if t.name in first or _is_embedding(t, templates))
    head = [t for t in tensors if t not in embedding]
    twice = [t for t in head if _is_output(t.name) and model.tie_word_embeddings and not t.auxiliary]
    if twice and any(t.shape == twice[0].shape and t.dtype == twice[0].dtype for t in embedding):
        notes.append(f"{twice[0].name} repeats the tied embedding in the file; it is counted once")
        unmatched[:] = [n for n in unmatched if n != twice[0].name]
        head = [t for t in head if t is not twice[0]]
    untied = any(t.role == "head" or _is_output(t.name) for t in head)
    if not untied and not model.tie_word_embeddings:
        notes.append("the files hold no output matrix, so it is taken as tied to the embedding")
    return embedding, tuple(head), not untied


def _is_embedding(tensor: Tensor, templates: Templates) -> bool:
    known = templates.find(tensor.name)
    return known[0].role == "embedding" if known else "embed" in tensor.name or ".wte" in tensor.name


def _is_output(name: str) -> bool:
    return name.split(".")[-2:][0] in ("lm_head", "embed_out", "output", "output_layer")


def _packed(model: ModelSpec) -> bool:
    return any(t.auxiliary for t, _ in model.tensors)


def _left_out(found: Sorted) -> list[str]:
    notes = []
    if found.next_token:
        size = sum(max(0, s.nbytes) for s in found.next_token)
        notes.append(
            f"{len(found.next_token)} tensors ({show(size)}) of layers that predict further tokens (MTP) "
            "are not counted"
        )
    if found.buffers:
        notes.append(f"{len(found.buffers)} stored buffers that engines compute anew are not counted")
    return notes


def _differences(model: ModelSpec, merged: ModelSpec, unmatched: list[str]) -> list[str]:
    notes = []
    if unmatched:
        kinds = list(dict.fromkeys(unmatched))
        notes.append(
            f"{len(unmatched)} kinds of tensors are not among those of a {model.model_type or 'known'} model "
            f"and count as kept whole on every rank: {_some(kinds)}"
        )
    if not unmatched and merged.params_text != model.params_text:
        notes.append(
            f"the files hold {show_count(merged.params_text)} text parameters ({merged.params_text}); "
            f"config.json implies {model.params_text}; the files are taken"
        )
    return notes


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "")
