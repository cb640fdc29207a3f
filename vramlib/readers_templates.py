"""One stored tensor made from its header and from the inventory's tensor of the same name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from vramlib.readers_places import Place
from vramlib.readers_safetensors import Stored
from vramlib.specs import Tensor

FUSED = {
    "gate_up_proj": ("gate_proj", "up_proj"),
    "w13": ("w1", "w3"),
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
}
"""Matrices that some files store as one where the inventory has the parts."""


class Templates:
    """The inventory's tensors of one place, found by name."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = tuple(tensors)
        self.by_name = {t.name: t for t in self.tensors}
        ends = Counter(_end(t.name) for t in self.tensors)
        self.by_end = {_end(t.name): t for t in self.tensors if ends[_end(t.name)] == 1}
        self.position = {name: i for i, name in enumerate(self.by_name)}

    def find(self, module: str) -> Tensor | None:
        """The tensor of that name, whatever wrapper is before it; parts that the file fuses count as one."""
        for name in (module, module.removesuffix(".weight")):
            if known := self.by_name.get(name) or self.by_end.get(_end(name)):
                return known
        return next((t for whole, parts in FUSED.items() if (t := self._whole(module, whole, parts))), None)

    def _whole(self, module: str, whole: str, parts: tuple[str, ...]) -> Tensor | None:
        if whole not in module:
            return None
        names = [
            (module.replace(whole, p), module.replace(f"experts.{whole}", f"experts.*.{p}")) for p in parts
        ]
        found = [self.by_name.get(plain) or self.by_name.get(stacked) for plain, stacked in names]
        known = [t for t in found if t]
        if len(known) != len(parts) or len({t.shape[1:] for t in known}) > 1:
            return None
        return replace(known[0], name=module, shape=(sum(t.shape[0] for t in known), *known[0].shape[1:]))

    def order(self, name: str) -> tuple[int, str]:
        """Place in the inventory, for a stable order."""
        return self.position.get(name, len(self.position)), name


def _end(name: str) -> str:
    """The last two parts of a name, which are the same in every wrapper; with an expert's mark the whole."""
    return name if "*" in name else ".".join(name.split(".")[-2:])


def of_weight(at: Place, stored: Stored, count: int, template: Tensor, dtype: str) -> Tensor | None:
    """A plain tensor, or the codes of a compressed matrix under the shape that they stand for.

    Parameters
    ----------
    at, stored, count : the tensor's place, its header, and how many are equal [-]
    template : the inventory's tensor, for role, split and logical shape [-]
    dtype : the model's own type, which a tensor of that type follows [-]

    Returns
    -------
    The tensor with its exact bytes [-]
    """
    if stored.nbytes < 0:
        return template
    shape, stacked = stored.shape, template.count if count == 1 and template.count > 1 else 1
    if stacked > 1 and shape[:1] == (stacked,) and stored.nbytes % stacked == 0:
        shape, count = shape[1:], stacked
    compressed = at.part == "codes" or stored.dtype not in ("float64", "float32", "float16", "bfloat16")
    same = _numel(shape) == template.numel
    return replace(
        template,
        shape=template.shape if same or compressed else shape,
        count=count,
        dtype="" if stored.dtype == dtype and not compressed else stored.dtype,
        nbytes=stored.nbytes // count if stacked > 1 and count == stacked else stored.nbytes,
    )


def of_scale(at: Place, stored: Stored, count: int, template: Tensor, dtype: str) -> Tensor | None:
    """A scale, zero point or index that belongs to a compressed matrix, cut as that matrix is.

    Parameters
    ----------
    at, stored, count : the tensor's place, its header, and how many are equal [-]
    template : the inventory's tensor of the matrix [-]
    dtype : not used; scales keep the type that they are stored in [-]

    Returns
    -------
    The tensor with its exact bytes and no parameters; ``None`` when only its name is known [-]
    """
    if stored.nbytes < 0:
        return None
    shape, each = stored.shape, stored.nbytes
    if count == 1 and template.count > 1 and shape[:1] == (template.count,) and each % template.count == 0:
        shape, count, each = shape[1:], template.count, each // template.count
    return Tensor(
        name=at.name,
        shape=_rows_first(shape, template),
        role=template.role,
        split=_scale_split(at, shape, template),
        heads=template.heads,
        count=count,
        fuse=f"{template.fuse}.{at.part}" if template.fuse else "",
        dtype=stored.dtype,
        nbytes=each,
        auxiliary=True,
    )


def _scale_split(at: Place, shape: tuple[int, ...], template: Tensor) -> str:
    """Per-tensor numbers are never cut, per-output ones with the outputs, an index of inputs with these."""
    numel, rows = _numel(shape), template.shape[0] if template.shape else 1
    if numel <= 1 or "quant_map" in at.part or "quant_state" in at.part or at.part == "weight_shape":
        return "none"
    if at.part in ("g_idx", "weight_g_idx"):
        return "in" if template.split == "in" else "none"
    return "none" if template.split == "in" and numel <= rows else template.split


def _rows_first(shape: tuple[int, ...], template: Tensor) -> tuple[int, ...]:
    """``[out, groups]``, as in ``[out, in]``: GPTQ and AWQ store the other way round."""
    rows = template.shape[0] if template.shape else 0
    if len(shape) != 2 or shape[0] == rows or not rows or not shape[1]:
        return shape
    transposed = shape[1] == rows or (rows % shape[1] == 0 and rows // shape[1] <= 16 and shape[0] < shape[1])
    return (shape[1], shape[0]) if transposed else shape


def _numel(shape: tuple[int, ...]) -> int:
    numel = 1
    for n in shape:
        numel *= n
    return numel
