"""A grid of scenarios: values for each field, every combination one scenario, evaluated a block at a time.

A block holds what differs in numbers alone, at most ``blocks.CHUNK`` scenarios, so memory does not grow with the grid.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vramlib import fields, values
from vramlib.fields import BY_NAME, NAMES

ASKS_BEYOND = 10_000_000  # scenarios; a command asks before it starts more
LARGEST_FILE = 1 << 20  # bytes of a grid's file
RANGE = re.compile(r"\s*([^.\s]+)\s*\.\.\s*([^.\s]+)\s*(?:\.\.\s*([^.\s]+)\s*)?")
MOST_VALUES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers of scenarios that follow each other in a grid.

    Parameters
    ----------
    size : how many [-]
    fields : field to one value for all of them, or an array with one each [-]
    columns : of ``contract.COLUMNS``, likewise [-]
    """

    size: int
    fields: Mapping[str, Any]
    columns: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Every combination of the values of its axes: words outermost, numbers innermost, in the table's order.

    Parameters
    ----------
    axes : field to its values; ``None`` among them leaves the choice to the engine [-]
    """

    axes: Mapping[str, tuple[Any, ...]]

    def __len__(self) -> int:
        return math.prod(map(len, self.axes.values()))

    def __iter__(self) -> Iterator[Answers]:
        """Answers of all scenarios, a block at a time."""
        from vramlib import blocks

        for shared, numbers in self._parts():
            size, first = len(next(iter(numbers.values()), [None])), 0
            given = {name: value for name, value in shared.items() if value is not None}
            for block in blocks.evaluate(given, numbers, size):
                own = {name: array[first : first + block.size] for name, array in numbers.items()}
                yield Answers(size=block.size, fields=shared | own, columns=block.columns)
                first += block.size

    def scenarios(self) -> Iterator[dict[str, Any]]:
        """Each scenario's fields, in order; a field that is left to the engine is left out.

        Examples
        --------
        >>> list(of(model="Llama-3.1-8B", gpu=["L4", "A10G"], max_model_len=None).scenarios())
        [{'model': 'Llama-3.1-8B', 'gpu': 'L4'}, {'model': 'Llama-3.1-8B', 'gpu': 'A10G'}]
        """
        for combination in itertools.product(*self.axes.values()):
            pairs = zip(self.axes, combination, strict=True)
            yield {name: value for name, value in pairs if value is not None}

    def _parts(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """One value of each word, and arrays of at most ``blocks.CHUNK`` combinations of the numbers."""
        inner = tuple(name for name in self.axes if name in _numbers(self.axes))
        words = {name: axis for name, axis in self.axes.items() if name not in inner}
        for combination in itertools.product(*words.values()):
            for numbers in self._arrays(inner):
                yield dict(zip(words, combination, strict=True)), numbers

    def _arrays(self, inner: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        import numpy

        from vramlib import blocks, many

        axes = [numpy.asarray(self.axes[name]) for name in inner]
        shape = tuple(map(len, axes))
        total = math.prod(shape)
        for start in range(0, total, blocks.CHUNK):
            places = (
                numpy.unravel_index(numpy.arange(start, min(start + blocks.CHUNK, total)), shape)
                if inner
                else ()
            )
            yield {name: many.of(axis[p]) for name, axis, p in zip(inner, axes, places, strict=True)}


def of(**axes: Any) -> Grid:
    """A grid from one value or several for each field.

    Parameters
    ----------
    axes : field to a value, or to a list, tuple, range or array of values; ``1..64`` and ``1024..8192..1024`` are
        ranges, both ends included, as text [-]

    Returns
    -------
    The grid; iterate over it for blocks of answers [-]

    Raises
    ------
    ValueError: no model, a name that is no field, or a value that its field does not take.

    Examples
    --------
    Without ``max_model_len`` each scenario has the largest that starts, ``auto``.

    >>> grid = of(model=["Llama-3.1-8B", "Qwen3-8B"], gpu="L4", max_model_len=[4096, 8192], batch_size="1..64")
    >>> len(grid), sum(answers.size for answers in grid)
    (256, 256)
    """
    given: dict[str, tuple[Any, ...]] = {}
    for typed, axis in axes.items():
        name = fields.plain_name(typed)
        if name not in BY_NAME:
            raise ValueError(fields.unknown(typed))
        if name in given:
            raise ValueError(f"{name} is given twice, once as {typed}; write it once")
        given[name] = tuple(_value(name, v) for v in _axis(name, axis))
        if len(given[name]) != len(set(given[name])):
            raise ValueError(f"{name} has a value twice; write each value once")
    if not any(given.get("model", ())):
        raise ValueError("the grid names no model; write model: with one name or a list of names")
    return Grid(axes=_ordered({"max_model_len": ("auto",)} | given))


def _ordered(axes: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """Axes in the table's order, those that are evaluated as arrays last."""
    inner = _numbers(axes)
    found = [name for name in NAMES if name in axes]
    return {name: axes[name] for name in sorted(found, key=inner.__contains__)}


def _numbers(axes: Mapping[str, tuple[Any, ...]]) -> set[str]:
    """Axes that are evaluated as arrays: all their values are numbers, and no other field depends on one of them."""
    from vramlib import blocks

    numbers = {n for n in blocks.ARRAYS if n in axes and all(isinstance(v, int | float) for v in axes[n])}
    given = {name for name, axis in axes.items() if None not in axis or name != "gpu"}
    return numbers - blocks.kept_apart(numbers, given, {str(e) for e in axes.get("engine", ())})


def _value(name: str, value: Any) -> Any:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return values.read_one(BY_NAME[name], value)


def _axis(name: str, axis: Any) -> Iterable[Any]:
    """The values of one axis; one value is an axis of its own, and text with two dots a range."""
    if isinstance(axis, str) and (match := RANGE.fullmatch(axis)):
        return _range(name, *match.groups())
    if isinstance(axis, Mapping):
        raise ValueError(f"{name} has keys of its own; write a value or a list of values")
    if isinstance(axis, str | Path) or not isinstance(axis, Iterable):
        return (axis,)
    found = tuple(axis)
    if not 0 < len(found) <= MOST_VALUES:
        raise ValueError(f"{name} has {len(found):,} values; write 1 to {MOST_VALUES:,}")
    return found


def _range(name: str, first: str, last: str, step: str | None) -> range:
    read = [values.read_one(BY_NAME[name], text) for text in (first, last, step or "1")]
    if (
        not all(type(n) is int for n in read)
        or not 0 < len(range(read[0], read[1] + 1, read[2])) <= MOST_VALUES
    ):
        raise ValueError(f"{name} is {first}..{last}; write a range of whole numbers, such as 1..64")
    return range(read[0], read[1] + 1, read[2])


def read(path: Path | str) -> Grid:
    """A grid from a YAML file: fields with a value or a list of values each.

    Parameters
    ----------
    path : of the file, at most 1 MiB, read as data only [-]

    Returns
    -------
    The grid [-]

    Raises
    ------
    ValueError: the file is no mapping from fields to values.
    OSError: the file cannot be opened.
    """
    from vramlib import grid_file

    source = Path(path)
    if source.stat().st_size > LARGEST_FILE:
        raise ValueError(
            f"{source} is larger than {LARGEST_FILE:,} bytes; a long axis is written as a range, 1..64"
        )
    try:
        loaded = grid_file.read(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{source} cannot be read as a grid: {error}") from None
    if not isinstance(loaded, Mapping) or not all(isinstance(name, str) for name in loaded):
        raise ValueError(
            f"{source} is no grid; write a field a line, such as model: [Llama-3.1-8B, Qwen3-8B]"
        )
    return of(**loaded)
