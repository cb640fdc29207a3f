"""Stored tensors made from their header and from the inventory's tensors of the same name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from vramlib.readers.places import Place
from vramlib.readers.safetensors import Stored
from vramlib.specs import Tensor

FUSED = {
    "gate_up_proj": ("gate_proj", "up_proj"),
    "w13": ("w1", "w3"),
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
}
"""Matrices that some files store as one where the inventory names the parts."""
PLAIN = ("float64", "float32", "float16", "bfloat16")
Parts = tuple[Tensor, ...]


class Templates:
    """The inventory's tensors of one place, found by name; several of one name are stored as one."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = tuple(tensors)
        self.by_name: dict[str, tuple[int, ...]] = {}
        for i, t in enumerate(self.tensors):
            self.by_name[t.name] = (*self.by_name.get(t.name, ()), i)
        ends = Counter(_end(name) for name in self.by_name)
        self.by_end = {_end(name): at for name, at in self.by_name.items() if ends[_end(name)] == 1}
        self.position = {name: i for i, name in enumerate(self.by_name)}

    def find(self, module: str) -> tuple[int, ...]:
        """Which tensors a stored one of that name holds, whatever wrapper is before the name; none if unknown."""
        for name in _spellings(module):
            if known := self.by_name.get(name) or self.by_end.get(_end(name)):
                return known
        fused = ((whole, parts) for whole, parts in FUSED.items() if whole in module)
        apart = ((whole, parts) for whole, parts in FUSED.items() if _leaf(module) in parts)
        found = [self._parts_of(module, *pair) for pair in fused] + [
            self._part_in(module, *pair) for pair in apart
        ]
        return next(filter(None, found), ())

    def _parts_of(self, module: str, whole: str, parts: tuple[str, ...]) -> tuple[int, ...]:
        """The parts that a matrix of the file holds as one."""
        found = [self._known(module.replace(whole, part)) for part in parts]
        return tuple(i for each in found for i in each) if all(found) else ()

    def _part_in(self, module: str, whole: str, parts: tuple[str, ...]) -> tuple[int, ...]:
        """The one part that a matrix of the file is, where the inventory has them under the name of the whole."""
        known, nth = self._known(module.replace(_leaf(module), whole)), parts.index(_leaf(module))
        return known[nth : nth + 1] if len(known) == len(parts) else ()

    def _known(self, module: str) -> tuple[int, ...]:
        return next((self.by_name[name] for name in _spellings(module) if name in self.by_name), ())

    def order(self, name: str) -> tuple[int, str]:
        """Place in the inventory, for a stable order."""
        return self.position.get(name, len(self.position)), name


def _leaf(module: str) -> str:
    return module.removesuffix(".weight").rpartition(".")[2]


def _spellings(module: str) -> tuple[str, ...]:
    """The name itself, and as it is written where experts are stacked in one tensor, or are not."""
    bare = module.removesuffix(".weight")
    return (
        module,
        bare,
        bare.replace("experts.*.", "experts."),
        bare.replace("experts.", "experts.*.") + ".weight",
    )


def _end(name: str) -> str:
    """The parts of a name that are the same in every wrapper: the last two, or all from a counted list on."""
    words = name.split(".")
    return ".".join(words[max(0, words.index("*") - 1) :] if "*" in words else words[-2:])


def of_weight(at: Place, stored: Stored, count: int, parts: Parts, dtype: str) -> Parts:
    """Plain tensors, or the codes of compressed matrices under the shapes that they stand for.

    Parameters
    ----------
    at, stored, count : the tensor's place, its header, and how many are equal [-]
    parts : the inventory's tensors in it, for role, split and logical shape [-]
    dtype : the model's own type, which a tensor of that type follows [-]

    Returns
    -------
    The tensors with their exact bytes [-]
    """
    if stored.nbytes < 0:
        return parts
    compressed = at.part == "codes" or stored.dtype not in PLAIN
    own = "" if stored.dtype == dtype and not compressed else stored.dtype
    total, whole = sum(t.count * t.numel for t in parts), count * stored.nbytes
    if not compressed and total != count * math.prod(stored.shape):
        return (replace(parts[0], shape=stored.shape, count=count, dtype=own, nbytes=stored.nbytes),)
    return tuple(replace(t, dtype=own, nbytes=whole * t.numel // max(1, total)) for t in parts)


def of_scale(at: Place, stored: Stored, count: int, parts: Parts, dtype: str) -> Parts:
    """A scale, zero point or index that belongs to a compressed matrix, cut as that matrix is.

    Parameters
    ----------
    at, stored, count : the tensor's place, its header, and how many are equal [-]
    parts : the inventory's tensors in the matrix [-]
    dtype : not used; scales keep the type that they are stored in [-]

    Returns
    -------
    The tensor with its exact bytes and no parameters; none when only its name is known [-]
    """
    if stored.nbytes < 0:
        return ()
    shape, each, experts = stored.shape, stored.nbytes, parts[0].count
    if count == 1 and experts > 1 and shape[:1] == (experts,) and each % experts == 0:
        shape, count, each = shape[1:], experts, each // experts
    rows = sum(t.shape[0] if t.shape else 1 for t in parts)
    split = _scale_split(at, shape, parts, rows)
    scale = Tensor(
        name=at.name,
        shape=_rows_first(shape, rows),
        role=parts[0].role,
        split=split,
        heads=parts[0].heads,
        count=count,
        fuse=f"{parts[0].fuse}.{at.part}" if parts[0].fuse else "",
        dtype=stored.dtype,
        nbytes=each,
        auxiliary=True,
    )
    return (scale,)


def _scale_split(at: Place, shape: tuple[int, ...], parts: Parts, rows: int) -> str:
    """Per-tensor numbers are never cut, per-output ones with the outputs, an index of inputs with these."""
    split, numel = parts[0].split, math.prod(shape)
    if numel <= 1 or "quant_map" in at.part or "quant_state" in at.part or at.part == "weight_shape":
        return "none"
    if at.part in ("g_idx", "weight_g_idx"):
        return "in" if split == "in" else "none"
    return "none" if split == "in" and numel <= rows else split


def _rows_first(shape: tuple[int, ...], rows: int) -> tuple[int, ...]:
    """``[out, groups]``, as in ``[out, in]``: GPTQ and AWQ store the other way round."""
    if len(shape) != 2 or shape[0] == rows or not rows or not shape[1]:
        return shape
    packed = rows % shape[1] == 0 and rows // shape[1] <= 16 and shape[0] < shape[1]
    return (shape[1], shape[0]) if shape[1] == rows or packed else shape
