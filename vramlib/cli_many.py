"""What ``vram sweep`` does: a CSV or a grid in, a CSV out, a progress bar while it runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from tqdm import tqdm

from vramlib import grid as grids
from vramlib import sweep as sweeps

BYTES_A_ROW = 230  # of the CSV, about


def sweep(in_path: Path, out_path: Path, yes: bool) -> Iterator[str]:
    """Run a sweep; what to tell the user, a line each.

    Parameters
    ----------
    in_path : a CSV of scenarios, or a grid in YAML [-]
    out_path : the CSV to write [-]
    yes : do not ask before a large grid [-]

    Raises
    ------
    ValueError : the input cannot be used, or the grid is large and nobody can be asked.
    """
    if in_path.suffix.lower() in (".yaml", ".yml"):
        summary = _grid(grids.read(in_path), out_path, yes)
    else:
        total = _lines(in_path) - 1 if sys.stderr.isatty() and in_path.is_file() else None
        summary = sweeps.run(
            in_path, out_path, lambda rows: tqdm(rows, total=total, unit=" rows", disable=None)
        )
    yield from summary.notes
    bad = f", {summary.bad_rows} of them bad: see column error" if summary.bad_rows else ""
    yield f"{summary.rows} rows written to {out_path}{bad}"


def _grid(found: grids.Grid, out_path: Path, yes: bool) -> sweeps.Summary:
    if len(found) > grids.ASKS_BEYOND and not yes:
        _ask(len(found))
    with tqdm(total=len(found), unit=" rows", disable=None) as bar:
        return sweeps.run_grid(found, out_path, bar.update)


def _ask(size: int) -> None:
    """Let the user confirm a large grid.

    Raises
    ------
    ValueError : there is no terminal to ask at.
    """
    words = f"the grid has {size:,} scenarios, a file of about {size * BYTES_A_ROW / 1e9:,.0f} GB"
    if not sys.stdin.isatty():
        raise ValueError(f"{words}; write --yes to start it, or shorten an axis")
    click.confirm(f"vram: {words}; start", abort=True, err=True)


def _lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(1 for _ in stream)
