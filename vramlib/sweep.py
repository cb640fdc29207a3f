"""Many scenarios, row by row: a CSV of fields in, the same CSV with the answers out.

Rows keep their order and number. A row that cannot be used says why in its ``error`` cell, and the others are
computed. One row is in memory at a time, so the length of the file does not matter.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from vramlib import contract, fields, text

BAD_ROW = (ValueError, KeyError, OSError, OverflowError, ZeroDivisionError, TypeError)
LIKE_A_FIELD = 0.75

Progress = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a sweep did: rows written, how many of them are bad, and what to tell the user."""

    rows: int
    bad_rows: int
    notes: tuple[str, ...] = ()


def rows(scenarios: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each scenario with the columns of its answer added, one at a time.

    Names that are no field pass through; columns of an earlier answer are replaced.

    Parameters
    ----------
    scenarios : field names to text or typed values [-]

    Returns
    -------
    The same mappings, then ``contract.COLUMNS``; ``error`` says what is wrong with a bad one [-]

    Examples
    --------
    >>> [answer] = rows([{"model": "", "note": "no model named"}])
    >>> answer["note"], answer["total_bytes"], answer["error"][:24]
    ('no model named', None, 'no model is given; write')
    """
    for scenario in scenarios:
        kept = {name: value for name, value in scenario.items() if name not in contract.COLUMNS}
        yield {**kept, **_answer(kept)}


def run(in_path: Path | str, out_path: Path | str, progress: Progress = iter) -> Summary:
    """Read one CSV, write the other; the output appears whole or not at all, so both may be the same file.

    Parameters
    ----------
    in_path : UTF-8, with or without a byte-order mark; the first row names the columns [-]
    out_path : where to write; replaced when it exists [-]
    progress : wraps the rows as they are read, as ``tqdm`` does [-]

    Returns
    -------
    How many rows, how many of them bad, and notes on the columns [-]

    Raises
    ------
    ValueError : the file has no header, a column twice, no model column, or is not UTF-8 text
    OSError : one of the files cannot be opened
    """
    source, target = Path(in_path), Path(out_path)
    try:
        with source.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = _header(next(_filled(reader), None), source)
            with _replacing(target) as out:
                count, bad = _write(header, progress(_filled(reader)), out)
    except UnicodeDecodeError:
        raise ValueError(f"{source} is not UTF-8 text; save it as CSV UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{source}, line {reader.line_num}: {error}; a quote may not be closed") from None
    return Summary(rows=count, bad_rows=bad, notes=tuple(_notes(header)))


def _answer(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of one answer; what is wrong with the scenario as their ``error``."""
    import vramlib

    known = {name: value for name, value in scenario.items() if _is_field(name)}
    try:
        return contract.row(vramlib.estimate(**_given(known)))
    except BAD_ROW as error:
        return _failed(text.message(error))


def _is_field(name: Any) -> bool:
    return isinstance(name, str) and fields.plain_name(name) in fields.BY_NAME


def _given(known: Mapping[str, Any]) -> dict[str, Any]:
    given = fields.read(known)
    if "model" not in given:
        raise ValueError("no model is given; write a catalogue name or a path in column model")
    return given


def _failed(why: str) -> dict[str, Any]:
    return {**dict.fromkeys(contract.COLUMNS), "error": why}


def _filled(reader: Iterable[list[str]]) -> Iterator[list[str]]:
    """Rows with cells: an empty line is no row."""
    return (cells for cells in reader if cells)


def _header(cells: list[str] | None, source: Path) -> list[str]:
    if cells is None:
        raise ValueError(f"{source} is empty; its first row must name the columns, model among them")
    header = [c.strip() for c in cells]
    plain = [fields.plain_name(c) if _is_field(c) else c for c in header]
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


def _write(header: list[str], lines: Iterable[list[str]], out: TextIO) -> tuple[int, int]:
    """All rows to ``out``; how many there were, and how many of them are bad."""
    kept = [place for place, name in enumerate(header) if name not in contract.COLUMNS]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([header[place] for place in kept] + list(contract.COLUMNS))
    count = bad = 0
    for cells in lines:
        answer = _answer_cells(header, cells)
        padded = cells + [""] * (len(header) - len(cells))
        writer.writerow(
            [padded[place] for place in kept] + [_cell(answer[name]) for name in contract.COLUMNS]
        )
        count, bad = count + 1, bad + bool(answer["error"])
    return count, bad


def _answer_cells(header: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        extra = cells[len(header) :]
        more = f"; left over: {', '.join(map(repr, extra))}" if extra else ""
        return _failed(f"the row has {len(cells)} cells for {len(header)} columns{more}")
    return _answer(dict(zip(header, cells, strict=True)))


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else value


def _notes(header: list[str]) -> Iterator[str]:
    """What to tell about the columns: an old answer that was replaced, a name that nearly is a field."""
    old = [name for name in header if name in contract.COLUMNS]
    if old:
        yield f"columns of an earlier answer are written anew: {', '.join(old)}"
    for name in header:
        if name in contract.COLUMNS or _is_field(name):
            continue
        near = fields.nearest(name, alike=LIKE_A_FIELD)
        if near:
            yield f"column {name!r} is passed through, not read; nearest: {near}"


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[TextIO]:
    """A file to write that takes the target's place once complete; a pipe or a device is written straight."""
    target = Path(os.path.realpath(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder to write in", str(target.parent))
    if target.exists() and not target.is_file():
        with target.open("w", encoding="utf-8", newline="") as out:
            yield out
        return
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        part = Path(folder) / target.name
        with part.open("w", encoding="utf-8", newline="") as out:
            yield out
        part.replace(target)
