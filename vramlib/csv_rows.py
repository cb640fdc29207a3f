"""A CSV of scenarios: its header checked, its rows read as they are asked for, its cells as text."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vramlib import fields

LIKE_A_FIELD = 0.75


@contextlib.contextmanager
def opened(source: Path) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    """The names of a CSV's columns and its rows, read as they are asked for.

    Parameters
    ----------
    source : UTF-8, with or without a byte-order mark [-]

    Returns
    -------
    Within the ``with`` block: the header, and an iterator over the rows [-]

    Raises
    ------
    ValueError : the file has no header, a column twice, no model column, or is not UTF-8 text
    OSError : it cannot be opened
    """
    with source.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            yield _header(next(_filled(reader), None), source), _filled(reader)
        except UnicodeDecodeError:
            raise ValueError(f"{source} is not UTF-8 text; save it as CSV UTF-8") from None
        except csv.Error as error:
            raise ValueError(
                f"{source}, line {reader.line_num}: {error}; a quote may not be closed"
            ) from None


def is_field(name: Any) -> bool:
    """Whether a column is read as a field; others pass through.

    Examples
    --------
    >>> is_field("--max-model-len"), is_field("note")
    (True, False)
    """
    return isinstance(name, str) and fields.plain_name(name) in fields.BY_NAME


def misfit(header: Sequence[str], cells: Sequence[str]) -> str:
    """What is wrong with a row that has more or fewer cells than the header.

    Examples
    --------
    >>> misfit(["model", "gpu"], ["Llama-3.1-8B", "L4", "8192"])
    "the row has 3 cells for 2 columns; left over: '8192'"
    """
    extra = cells[len(header) :]
    more = f"; left over: {', '.join(map(repr, extra))}" if extra else ""
    return f"the row has {len(cells)} cells for {len(header)} columns{more}"


def notes(header: Iterable[str], replaced: Collection[str] = ()) -> Iterator[str]:
    """What to tell about the columns: an old answer that is written anew, a name that nearly is a field.

    Parameters
    ----------
    header : names of the columns [-]
    replaced : those that are written anew [-]

    Returns
    -------
    A line each [-]

    Examples
    --------
    >>> list(notes(["model", "bach_size", "note"]))
    ["column 'bach_size' is passed through, not read; nearest: batch_size"]
    """
    old = [name for name in header if name in replaced]
    if old:
        yield f"columns of an earlier answer are written anew: {', '.join(old)}"
    for name in header:
        near = "" if name in old or is_field(name) else fields.nearest(name, alike=LIKE_A_FIELD)
        if near:
            yield f"column {name!r} is passed through, not read; nearest: {near}"


def cell(value: Any) -> Any:
    """A value as it is typed: lists with semicolons, truth values in small letters, models and cards by name.

    Examples
    --------
    >>> cell((100, 200)), cell(True), cell(None)
    ('100;200', 'true', '')
    """
    if isinstance(value, tuple):
        return ";".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else getattr(value, "name", value)


def _header(cells: list[str] | None, source: Path) -> list[str]:
    if cells is None:
        raise ValueError(f"{source} is empty; its first row must name the columns, model among them")
    header = [c.strip() for c in cells]
    plain = [fields.plain_name(c) if is_field(c) else c for c in header]
    twice = next((c for c in plain if c and plain.count(c) > 1), None)
    if twice:
        raise ValueError(f"{source} names column {twice!r} twice; name each column once")
    if "model" not in plain:
        raise ValueError(f"{source} has no column model; {_instead(header)}")
    return header


def _instead(header: list[str]) -> str:
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        return "its cells must be separated by commas"
    return f"its columns are: {', '.join(header)}"


def _filled(reader: Iterable[list[str]]) -> Iterator[list[str]]:
    """Rows with cells: an empty line is no row."""
    return (cells for cells in reader if cells)
