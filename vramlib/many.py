"""Values of many scenarios in one numpy array, which formulas take where they take one number."""

from __future__ import annotations

from typing import Any

import numpy


class Many(numpy.ndarray):
    """An array that reads as ``…`` in a worked formula, so that a text with numbers put in costs nothing.

    Examples
    --------
    >>> batch = of([1, 2, 4])
    >>> f"{batch} · 2 = {2 * batch:,}", (2 * batch).tolist()
    ('… · 2 = …', [2, 4, 8])
    """

    def __format__(self, spec: str) -> str:
        return "…" if self.ndim else format(self.item(), spec)


def of(values: Any) -> Many:
    """Values as such an array, whole numbers in 64 bit; not copied where they are one already.

    Parameters
    ----------
    values : numbers, or a numpy array of them [-]

    Returns
    -------
    The array [-]

    Examples
    --------
    >>> int(of(range(3)).sum())
    3
    """
    array = numpy.asarray(list(values) if isinstance(values, range) else values)
    return (array if array.dtype.kind == "f" else array.astype("int64", copy=False)).view(Many)
