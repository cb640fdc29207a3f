"""Many scenarios: a CSV of fields in and the same CSV with the answers out, or every combination of a grid.

Rows keep their order and number. A row that cannot be used says why in its ``error`` cell, and the others are
computed. A block of rows is in memory at a time, so neither the length of the file nor the size of the grid matters.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from vramlib import blocks, contract, csv_rows
from vramlib import grid as grids
from vramlib._paths import named

AT_ONCE = 2048  # rows of a CSV that are evaluated together

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
    with csv_rows.opened(Path(in_path)) as (header, lines), _replacing(Path(out_path)) as out:
        count, bad = _write(header, progress(lines), out)
    return Summary(rows=count, bad_rows=bad, notes=tuple(csv_rows.notes(header, contract.COLUMNS)))


def grid(**axes: Any) -> grids.Grid:
    """Every combination of models, cards, formats, lengths, batches and engines, evaluated as arrays.

    Parameters
    ----------
    axes : field to one value or several: a list, a range, an array, or text such as ``1..64`` [-]

    Returns
    -------
    The grid: ``len`` counts its scenarios, iterating over it gives blocks of answers [-]

    Raises
    ------
    ValueError : no model, a name that is no field, or a value that its field does not take

    Examples
    --------
    >>> found = grid(model="Llama-3.1-8B", gpu=["L4", "H100-80GB"], max_model_len=8192, batch_size=range(1, 101))
    >>> len(found), [(answers.fields["gpu"], answers.size) for answers in found]
    (200, [('L4', 100), ('H100-80GB', 100)])
    """
    return grids.of(**axes)


def run_grid(found: grids.Grid, out_path: Path | str, progress: Callable[[int], Any] = bool) -> Summary:
    """Write a grid's scenarios with their answers as CSV, block by block; the file appears whole or not at all.

    Parameters
    ----------
    found : the grid [-]
    out_path : where to write; replaced when it exists [-]
    progress : told how many scenarios were just written [-]

    Returns
    -------
    How many rows, how many of them bad [-]

    Raises
    ------
    OSError : the file cannot be written
    """
    count = bad = 0
    with _replacing(Path(out_path)) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*found.axes, *contract.COLUMNS])
        for block in found:
            columns = [*(block.fields[name] for name in found.axes), *block.columns.values()]
            writer.writerows(zip(*(_cells(c, block.size) for c in columns), strict=True))
            count, bad = count + block.size, bad + block.size * bool(block.columns["error"])
            progress(block.size)
    return Summary(rows=count, bad_rows=bad)


def _cells(column: Any, size: int) -> Iterable[Any]:
    """A column's cells; only words and truth values are written otherwise than Python prints them."""
    if not hasattr(column, "tolist"):
        return itertools.repeat(csv_rows.cell(column), size)
    return map(csv_rows.cell, column.tolist()) if column.dtype == bool else column.tolist()


def _answer(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of one answer; what is wrong with the scenario as their ``error``."""
    [answer] = blocks.answers([_known(scenario)])
    return answer


def _known(scenario: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in scenario.items() if csv_rows.is_field(name)}


def _write(header: list[str], lines: Iterable[list[str]], out: TextIO) -> tuple[int, int]:
    """All rows to ``out``; how many there were, and how many of them are bad."""
    kept = [place for place, name in enumerate(header) if name not in contract.COLUMNS]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([header[place] for place in kept] + list(contract.COLUMNS))
    count = bad = 0
    lines = iter(lines)
    while some := list(itertools.islice(lines, AT_ONCE)):
        for cells, answer in zip(some, _answers(header, some), strict=True):
            padded = cells + [""] * (len(header) - len(cells))
            own = [csv_rows.cell(answer[name]) for name in contract.COLUMNS]
            writer.writerow([padded[place] for place in kept] + own)
            count, bad = count + 1, bad + bool(answer["error"])
    return count, bad


def _answers(header: list[str], lines: Sequence[list[str]]) -> Iterator[dict[str, Any]]:
    """Answers of some rows, in order; a row with more or fewer cells than the header is not read."""
    whole = [_known(dict(zip(header, cells, strict=True))) for cells in lines if len(cells) == len(header)]
    found = iter(blocks.answers(whole))
    return (
        next(found) if len(cells) == len(header) else blocks.failed(csv_rows.misfit(header, cells))
        for cells in lines
    )


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[TextIO]:
    """A file to write that takes the target's place once complete; a pipe or a device is written straight."""
    if target.exists() and not target.is_file():  # asked before links are followed: a pipe's leads nowhere
        with named(target), target.open("w", encoding="utf-8", newline="") as out:
            yield out
        return
    target = Path(os.path.realpath(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder to write in", str(target.parent))
    with named(target), tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        part = Path(folder) / target.name
        with part.open("w", encoding="utf-8", newline="") as out:
            yield out
        part.replace(target)
