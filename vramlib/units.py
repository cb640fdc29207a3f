"""Byte units, whole-number helpers that also take numpy arrays, and numbers into text.

Inside the package a size is an ``int`` of bytes (or a numpy integer array of them). Units appear where a person reads.
"""

from __future__ import annotations

import re
from typing import Any

KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
GB = 10**9

_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": GB, "TB": 10**12}
_SIZES |= {"KIB": KiB, "MIB": MiB, "GIB": GiB, "TIB": TiB}


def ceil_div(a: Any, b: Any) -> Any:
    """Quotient rounded up; exact for ints of any size, element by element for arrays.

    Examples
    --------
    >>> ceil_div(1025, 16)
    65
    """
    return -(-a // b)


def round_up(a: Any, step: Any) -> Any:
    """Next multiple of ``step`` at or above ``a``.

    Examples
    --------
    >>> round_up(50_257, 64)
    50304
    """
    return step * ceil_div(a, step)


def maximum(*values: Any) -> Any:
    """Largest of the values; element by element where one of them is a numpy array.

    Examples
    --------
    >>> maximum(3, 7, 5)
    7
    """
    return max(values) if _plain(values) else _fold("maximum", values)


def minimum(*values: Any) -> Any:
    """Smallest of the values; element by element where one of them is a numpy array.

    Examples
    --------
    >>> minimum(3, 7, 5)
    3
    """
    return min(values) if _plain(values) else _fold("minimum", values)


def _plain(values: tuple[Any, ...]) -> bool:
    return not any(hasattr(v, "shape") for v in values if type(v) is not int)


def _fold(name: str, values: tuple[Any, ...]) -> Any:
    import functools

    import numpy

    return functools.reduce(getattr(numpy, name), values)


def scale(value: Any, factor: float) -> Any:
    """Whole bytes of ``value × factor``, rounded to the nearest; ints stay ints, arrays stay integer arrays.

    Examples
    --------
    >>> scale(1000, 0.2504)
    250
    """
    product = value * factor
    if not hasattr(product, "shape"):
        return round(product)
    return product.round().astype("int64") if product.dtype.kind == "f" else product


def choose(condition: Any, yes: Any, no: Any) -> Any:
    """One of two values; element by element where the condition is a numpy array.

    Examples
    --------
    >>> choose(3 > 2, "yes", "no")
    'yes'
    """
    if not hasattr(condition, "shape"):
        return yes if condition else no
    import numpy

    return numpy.where(condition, yes, no).view(type(condition))


def show(size: float, digits: int = 2) -> str:
    """Bytes as a person reads them, in the binary unit that fits.

    Examples
    --------
    >>> show(16_060_522_496)
    '14.96 GiB'
    >>> show(131_072)
    '128.00 KiB'
    >>> show(-3 * GiB)
    '-3.00 GiB'
    """
    for unit, name in ((TiB, "TiB"), (GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB")):
        if abs(size) >= unit:
            return f"{size / unit:.{digits}f} {name}"
    return f"{size:.0f} B"


def show_both(size: float) -> str:
    """GiB beside the decimal GB that a vendor's page prints.

    Examples
    --------
    >>> show_both(80 * GB)
    '74.51 GiB (80.00 GB)'
    """
    return f"{size / GiB:.2f} GiB ({size / GB:.2f} GB)"


def show_count(number: float) -> str:
    """Parameter counts in words.

    Examples
    --------
    >>> show_count(8_030_261_248)
    '8.03 billion'
    >>> show_count(494_032_768)
    '494 million'
    """
    for unit, word in ((10**12, "trillion"), (10**9, "billion")):
        if number >= unit:
            return f"{number / unit:.2f} {word}"
    return f"{number / 10**6:.0f} million" if number >= 10**6 else f"{number:,.0f}"


def parse_size(text: str | int) -> int:
    """Bytes from ``24GiB``, ``80 GB``, ``25769803776``; a bare number is bytes.

    Raises
    ------
    ValueError: not a size, or not a whole number of bytes.

    Examples
    --------
    >>> parse_size("24GiB")
    25769803776
    """
    match = re.fullmatch(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", str(text))
    if not match or match[2].upper() not in _SIZES:
        raise ValueError(f"{text!r} is not a size; write bytes (25769803776) or a unit (24GiB, 24GB)")
    number, unit = match[1].replace("_", ""), _SIZES[match[2].upper()]
    if "." not in number:
        return int(number) * unit
    if unit == 1:
        raise ValueError(f"{text!r} is not a whole number of bytes")
    return round(float(number) * unit)
