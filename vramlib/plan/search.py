"""Search over whole numbers: all tried at once in arrays where they are few enough, else sampled and narrowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy

from vramlib import blocks, many

EXHAUSTIVE = 1 << 18  # numbers that are all tried
SAMPLES = 4097

Fits = Callable[[Any], Any]


def fitting(shared: Mapping[str, Any], numbers: Mapping[str, Any]) -> Any:
    """Whether each of many scenarios fits; one that cannot be used does not.

    Parameters
    ----------
    shared : fields that all of them share [-]
    numbers : field to an array with one number each [-]

    Returns
    -------
    An array of truth values [-]

    Examples
    --------
    >>> batches = many.of([1, 10, 100, 1000])
    >>> fitting({"model": "Llama-3.1-8B", "gpu": "L4", "max_model_len": 8192}, {"batch_size": batches}).tolist()
    [True, True, False, False]
    """
    size = len(next(iter(numbers.values())))
    found = blocks.evaluate(shared, numbers, size)
    columns = ((block.size, block.columns["fits"]) for block in found)
    return numpy.concatenate(
        [numpy.broadcast_to(numpy.asarray(fits if fits is not None else False), n) for n, fits in columns]
    )


def largest(fits: Fits, low: int, high: int, *, exhaustive: int = EXHAUSTIVE) -> int | None:
    """The largest whole number from ``low`` to ``high`` that fits: the next one does not, or it is ``high``.

    No larger one fits at all where at most ``exhaustive`` numbers are left after ``high`` itself was tried; in a longer
    range none of ``SAMPLES`` larger ones does.

    Parameters
    ----------
    fits : array of numbers to array of truth values [-]
    low, high : ends of the range, both included [-]
    exhaustive : numbers that are all tried; a longer range is sampled and narrowed first [-]

    Returns
    -------
    The number; ``None`` where none fits [-]

    Examples
    --------
    >>> largest(lambda n: n * n <= 50, 1, 100), largest(lambda n: n < 0, 1, 100), largest(lambda n: n > 0, 1, 10**9)
    (7, None, 1000000000)
    >>> largest(lambda n: n <= 123_456_789, 1, 10**12)
    123456789
    """
    if low > high or fits(many.of([high]))[0]:
        return high if low <= high else None
    while high - low >= exhaustive:
        points = numpy.unique(numpy.linspace(low, high, SAMPLES).astype("int64"))
        good = numpy.flatnonzero(fits(many.of(points)))
        last = int(good[-1]) if good.size else 0
        low, high = int(points[last]), int(points[last + 1]) - 1
    good = numpy.flatnonzero(fits(many.of(numpy.arange(low, high + 1))))
    return low + int(good[-1]) if good.size else None


def bracket(fits: Fits, most: int) -> int:
    """A number beyond the largest that fits: four times the largest power of two that does, at most ``most``.

    Examples
    --------
    >>> bracket(lambda n: n <= 50, 10**6)
    128
    """
    powers = [1 << n for n in range(most.bit_length())]
    good = numpy.flatnonzero(fits(many.of(powers)))
    return min(most, powers[int(good[-1])] * 4 if good.size else 4)
