"""The tensors of real files in place of those that a config implies, with the inventory's roles and splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vramlib.readers.exact import following, spread
from vramlib.readers.maker import Group, Maker
from vramlib.readers.places import place
from vramlib.readers.safetensors import Headers, Stored
from vramlib.specs import DTYPE_BITS, ModelSpec
from vramlib.units import show, show_count


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
    maker, notes = Maker(dtype=model.dtype, complete=headers.complete), _left_out(found)
    copies = _without_copies(model, found.end, notes)
    layers = tuple(
        replace(layer, tensors=maker.tensors(found.layers[i], layer.tensors))
        for i, layer in enumerate(model.layers)
    )
    merged = replace(
        model,
        layers=layers,
        towers=maker.tensors(found.tower, model.towers),
        exact_bytes=headers.complete,
        **_ends(model, maker, found.end, notes),
    )
    notes += _differences(model, merged, maker)
    merged = replace(merged, warnings=(*model.warnings, *headers.warnings, *notes))
    if not headers.complete:
        clean = not (found.next_token or maker.unmatched or copies)
        return spread(merged, headers.total_size, clean=clean)
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


def _without_copies(model: ModelSpec, group: Group, notes: list[str]) -> bool:
    """Drop an output matrix that only repeats the tied embedding; whether there was one."""
    shapes = {t.shape for t in model.embedding}
    copies = [
        (at, stored)
        for at, stored in group
        if model.tie_word_embeddings and _is_output(at.name) and (stored.nbytes < 0 or stored.shape in shapes)
    ]
    for at, stored in copies:
        del group[at, stored]
        notes.append(f"{at.name} repeats the tied embedding in the file; it is counted once")
    return bool(copies)


def _ends(model: ModelSpec, maker: Maker, group: Group, notes: list[str]) -> dict[str, Any]:
    """Embedding and head; a model without an output matrix is tied, whatever its config says."""
    tensors = maker.tensors(group, (*model.embedding, *model.head))
    first = {t.name for t in model.embedding}
    embedding = tuple(t for t in tensors if t.name in first or "embed" in t.name or ".wte" in t.name)
    head = tuple(t for t in tensors if t not in embedding)
    untied = any(t.role == "head" or _is_output(t.name) for t in head)
    if not untied and not model.tie_word_embeddings:
        notes.append("the files hold no output matrix, so it is taken as tied to the embedding")
    return {"embedding": embedding, "head": head, "tie_word_embeddings": not untied}


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


def _differences(model: ModelSpec, merged: ModelSpec, maker: Maker) -> list[str]:
    family, kinds = model.model_type or "known", list(dict.fromkeys(maker.unmatched))
    if kinds:
        whole = (
            "count as kept whole on every rank"
            if maker.complete
            else "are counted only where their file is here"
        )
        found = f"{len(maker.unmatched)} kinds of tensors are not among those of a {family} model and {whole}"
        return [f"{found}: {_some(kinds)}"]
    if maker.complete and merged.params_text != model.params_text:
        return [
            f"the files hold {show_count(merged.params_text)} text parameters ({merged.params_text}); "
            f"config.json implies {model.params_text}; the files are taken"
        ]
    return []


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "")
