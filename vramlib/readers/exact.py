"""Bytes of a checkpoint beyond its headers: an index's total, and plain tensors that follow a dtype."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vramlib.specs import DTYPE_BITS, ModelSpec, Tensor
from vramlib.units import show


def mapped(model: ModelSpec, change: Callable[[Tensor], Tensor]) -> ModelSpec:
    """The model with every tensor changed in the same way, so that equal layers stay equal.

    Parameters
    ----------
    model : any model [-]
    change : what becomes of one tensor [-]

    Returns
    -------
    The changed model [-]
    """
    known: dict[Tensor, Tensor] = {}

    def each(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(known.setdefault(t, change(t)) for t in tensors)

    layers = tuple(replace(layer, tensors=each(layer.tensors)) for layer in model.layers)
    ends = (each(model.embedding), each(model.head), each(model.towers))
    return replace(model, layers=layers, embedding=ends[0], head=ends[1], towers=ends[2])


def following(model: ModelSpec) -> ModelSpec:
    """Plain tensors of the model's own type follow it again, so that another ``dtype`` can be asked for.

    Their bytes are shape × width, which is what the header says.

    Parameters
    ----------
    model : a model that stores no compressed matrix [-]

    Returns
    -------
    The same bytes as long as the type stays [-]
    """

    def free(t: Tensor) -> Tensor:
        exact = t.numel * DTYPE_BITS[model.dtype] == 8 * t.nbytes
        return replace(t, nbytes=-1) if exact and not t.dtype else t

    return mapped(model, free)


def spread(model: ModelSpec, total_size: int, *, clean: bool) -> ModelSpec:
    """The index's total over those matrices whose files are not there, in proportion to their elements.

    Parameters
    ----------
    model : its tensors, ``nbytes`` -1 where a file is missing [-]
    total_size : the index's own sum; 0 where it has none [byte]
    clean : whether every name in the index belongs to the model, so that its total is the model's [-]

    Returns
    -------
    The model whose bytes add up to that total; unchanged where it cannot be used, with a warning [-]
    """
    known = sum(n * t.count * t.nbytes for t, n in model.tensors if t.nbytes >= 0)
    missing = [(t, n * t.count * t.numel) for t, n in model.tensors if t.nbytes < 0]
    plain = sum(
        numel * DTYPE_BITS.get(t.dtype or model.dtype, 16) // 8 for t, numel in missing if not t.linear
    )
    matrices, rest = sum(numel for t, numel in missing if t.linear), total_size - known - plain
    if not (clean and total_size and matrices and rest > 0):
        note = "tensors of missing files count as config.json implies"
        return replace(model, warnings=(*model.warnings, note))
    if rest * 8 == matrices * DTYPE_BITS[model.dtype] and model.quantization is None:
        return model

    def filled(t: Tensor) -> Tensor:
        return replace(t, nbytes=rest * t.numel // matrices) if t.nbytes < 0 and t.linear else t

    note = f"{show(rest)} of the index's total_size is spread over the matrices of the missing files"
    return replace(mapped(model, filled), warnings=(*model.warnings, note))
