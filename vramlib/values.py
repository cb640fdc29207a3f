"""One value of each kind a scenario field has, from text or typed, and in words what each kind takes.

``fields`` holds the table of the fields; this is how its column ``kind`` is read.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from vramlib.specs import GpuSpec, ModelSpec
from vramlib.units import parse_size

if TYPE_CHECKING:
    from vramlib.fields import Field

HUGE = 10**12
TRUE_FALSE = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
SUFFIXES = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def read_one(field: Field, value: Any) -> Any:
    """One value as its field wants it; ``None`` for a word that leaves the choice to the engine.

    Parameters
    ----------
    field : row of ``fields.FIELDS`` [-]
    value : text, or already typed; a numpy array stands for many scenarios [-]

    Returns
    -------
    int, float, bool, text, a tuple of lengths, the array, or the spec that was given [-]

    Raises
    ------
    ValueError : the field does not take it; the message says what was given and what would work

    Examples
    --------
    >>> from vramlib.fields import BY_NAME
    >>> read_one(BY_NAME["enforce_eager"], "True")
    True
    >>> read_one(BY_NAME["gpu_memory_bytes"], "24GiB")
    25769803776
    >>> read_one(BY_NAME["batch_size"], "1.5")
    Traceback (most recent call last):
    ValueError: batch_size is '1.5'; write a whole number of sequences, 1 or more
    """
    if getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, str):
        value = value.strip()
    try:
        return READERS[field.kind](field, value)
    except (ValueError, TypeError):
        near = _nearest_choice(field, value)
        raise ValueError(f"{field.name} is {_shown(value)}; {near}write {field.takes}") from None


def takes(field: Field) -> str:
    """What the field takes, in words, for a message."""
    return _TAKES[field.kind](field)


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _spellings(field: Field) -> dict[str, Any]:
    """Each choice of the field under its letters and digits alone: llamacpp stands for llama.cpp."""
    pairs = [*((c, c) for c in field.choices), *field.words]
    return {_squeezed(word): choice for word, choice in pairs}


def _squeezed(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())


def _nearest_choice(field: Field, value: Any) -> str:
    if not field.choices or not isinstance(value, str):
        return ""
    known, typed = _spellings(field), _squeezed(value)
    choices = [_squeezed(choice) for choice in field.choices]
    near = difflib.get_close_matches(typed, choices, n=1) or difflib.get_close_matches(typed, known, n=1)
    return f"nearest: {known[near[0]]}; " if near else ""


def _read_model(field: Field, value: Any) -> Any:
    return value if isinstance(value, (ModelSpec, os.PathLike)) else _read_text(field, value)


def _read_gpu(field: Field, value: Any) -> Any:
    return value if isinstance(value, GpuSpec) else _read_text(field, value)


def _read_text(field: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(field.name)
    return value


def _read_choice(field: Field, value: Any) -> Any:
    return _one_of(_spellings(field), _squeezed(_read_text(field, value)))


def _read_bool(field: Field, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    return _one_of(TRUE_FALSE | dict(field.words), _read_text(field, value).lower())


def _one_of(words: Mapping[str, Any], word: str) -> Any:
    if word not in words:
        raise ValueError(word)
    return words[word]


def _read_int(field: Field, value: Any) -> Any:
    if hasattr(value, "shape"):
        return _checked(field, value, "iu")
    if isinstance(value, str):
        words = dict(field.words)
        if value.lower() in words:
            return words[value.lower()]
        value = _number(value)
    return _bounded(field, _whole(value))


def _read_lengths(field: Field, value: Any) -> Any:
    if isinstance(value, str) and ";" in value:
        value = value.split(";")
    if not isinstance(value, (list, tuple)):
        return _read_int(field, value)
    if not value:
        raise ValueError(field.name)
    return tuple(_read_int(field, v.strip() if isinstance(v, str) else v) for v in value)


def _read_fraction(field: Field, value: Any) -> Any:
    if hasattr(value, "shape"):
        return _checked(field, value, "f")
    if isinstance(value, bool):
        raise TypeError(field.name)
    number = float(value)
    if not 0 < number <= 1:
        raise ValueError(field.name)
    return number


def _read_size(field: Field, value: Any) -> Any:
    if hasattr(value, "shape"):
        return _checked(field, value, "iu")
    size = parse_size(re.sub(r"\.0+$", "", value)) if isinstance(value, str) else _whole(value)
    return _bounded(field, size)


def _number(text: str) -> Fraction:
    """Exact number of ``8192``, ``8192.0``, ``8.5k`` (thousands), ``8K`` (1024s), as vLLM reads them."""
    match = re.fullmatch(r"([+-]?[0-9][0-9_]*)(\.[0-9]+)?([kKmMgGtT]?)", text)
    if not match or (match[2] and match[3].isupper()):
        raise ValueError(text)
    return Fraction(match[1].replace("_", "") + (match[2] or "")) * SUFFIXES.get(match[3], 1)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)) or value != value // 1:
        raise ValueError(value)
    return int(value)


def _bounded(field: Field, value: int) -> int:
    if not field.minimum <= value <= field.maximum:
        raise ValueError(value)
    return value


def _checked(field: Field, values: Any, kinds: str) -> Any:
    """An array of many scenarios' values, when each of them is what one value may be."""
    above_zero = kinds == "f"
    low, high = (0, 1) if above_zero else (field.minimum, field.maximum)
    if not field.many or values.dtype.kind not in kinds or values.size == 0:
        raise ValueError(field.name)
    if not (values >= low).all() or not (values <= high).all() or (above_zero and not values.all()):
        raise ValueError(field.name)
    return values


def _take_int(field: Field) -> str:
    number = "a whole number" + (f" of {_plural(field.unit)}" if field.unit else "")
    low = f"{field.minimum} or more" if field.maximum >= HUGE else f"{field.minimum} to {field.maximum:,}"
    example = ", such as 8192 or 8k" if field.unit == "token" else ""
    return f"{number}, {low}{example}" + "".join(f", or {word}" for word, _ in field.words)


def _plural(unit: str) -> str:
    if unit.endswith("y"):
        return unit[:-1] + "ies"
    return unit + ("es" if unit.endswith("s") else "s")


def _take_choice(field: Field) -> str:
    return ", ".join(field.choices[:-1]) + " or " + field.choices[-1]


_TAKES: Mapping[str, Callable[[Field], str]] = {
    "model": lambda _: "a name or a path as text",
    "gpu": lambda _: "a name as text",
    "text": lambda _: "text (in quotes where a number would be read)",
    "choice": _take_choice,
    "bool": lambda _: "true or false",
    "int": _take_int,
    "lengths": lambda f: _take_int(f) + ", or a list such as 100;200",
    "fraction": lambda _: "a fraction above 0 and up to 1, such as 0.9",
    "size": lambda _: "bytes (25769803776) or a size with its unit (24GiB, 24GB), 1 MiB or more",
}
READERS: Mapping[str, Callable[[Field, Any], Any]] = {
    "model": _read_model,
    "gpu": _read_gpu,
    "text": _read_text,
    "choice": _read_choice,
    "bool": _read_bool,
    "int": _read_int,
    "lengths": _read_lengths,
    "fraction": _read_fraction,
    "size": _read_size,
}
