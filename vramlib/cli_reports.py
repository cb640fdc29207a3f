"""What ``vram reports`` does: read a grid, ask before a long batch, show its progress, say what came of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from tqdm import tqdm

from vramlib import batch, contract, csv_rows
from vramlib.batch.jobs import OWN_COLUMNS
from vramlib.cli_frame import terminable

SECONDS_A_REPORT = 7  # on one core, about
MOST_WORKERS = 8  # that are started unasked; each needs a core and half a gigabyte
STATUS_FAILED, STATUS_STOPPED = 1, 130


def reports(
    grid: Path,
    out: Path | None,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    language: str = "en",
    previous: Path | None = None,
    yes: bool = False,
) -> int:
    """Make a grid's reports and print where their index is.

    Parameters
    ----------
    grid : a grid in YAML, or a CSV with one scenario a row [-]
    out : folder of the batch; ``reports/<name of the grid>`` when not given [-]
    workers : processes on this machine; one a core, at most ``MOST_WORKERS``, when not given [-]
    scheduler : address of a dask.distributed scheduler to use instead [-]
    language : of reports and index, en or vi [-]
    previous : an earlier batch to compare with [-]
    yes : do not ask before a long batch [-]

    Returns
    -------
    The exit status: 0, 1 when a job failed, 130 when it was stopped [-]

    Raises
    ------
    ValueError : the input cannot be used, or the batch is long and nobody can be asked
    OSError : a file cannot be opened or written
    """
    if workers and scheduler:
        raise ValueError("--jobs is for this machine and --scheduler for a cluster; write one of them")
    count, cores = batch.count(grid), workers or min(os.cpu_count() or 1, MOST_WORKERS)
    if count > batch.ASKS_BEYOND and not yes:
        _ask(count, 0 if scheduler else cores)
    for note in _notes(grid):
        click.echo(f"vram: {note}", err=True)
    jobs = batch.read(grid, language)
    target = out or Path("reports") / grid.stem
    try:
        with terminable(), _bar(jobs) as bar:
            done = batch.run(
                jobs,
                target,
                workers=cores,
                scheduler=scheduler or "",
                language=language,
                previous=previous,
                told=lambda _: bar.update(),
            )
    except KeyboardInterrupt:
        click.echo("vram: stopped; the same command makes what is missing and keeps the rest", err=True)
        return STATUS_STOPPED
    return _said(done)


def _said(done: batch.Batch) -> int:
    made, kept, failed = (done.count(status) for status in ("made", "kept", "failed"))
    shown = [r for r in done.results if r.status == "failed"][:10]
    for result in shown:
        click.echo(f"vram: {result.job.number}: {result.error}", err=True)
    if failed > len(shown):
        click.echo(f"vram: {failed - len(shown)} more failed; the index has them all", err=True)
    click.echo(f"vram: {made} reports made, {kept} kept, {failed} failed", err=True)
    click.echo(str(done.index))
    return STATUS_FAILED if failed else 0


def _notes(grid: Path) -> list[str]:
    """What to tell about the columns of a CSV before a long batch starts."""
    if grid.suffix.lower() != ".csv":
        return []
    with csv_rows.opened(grid) as (header, _):
        return list(csv_rows.notes(header, (*contract.COLUMNS, *OWN_COLUMNS)))


def _bar(jobs: Sequence[batch.Job]) -> tqdm:
    return tqdm(total=len(jobs), unit=" reports", disable=None)


def _ask(count: int, jobs: int) -> None:
    """Let the user confirm a long batch.

    Raises
    ------
    ValueError : there is no terminal to ask at.
    """
    minutes = (
        f", about {count * SECONDS_A_REPORT / jobs / 60:,.0f} minutes with --jobs {jobs}" if jobs else ""
    )
    words = f"the grid has {count:,} scenarios{minutes}"
    if not sys.stdin.isatty():
        raise ValueError(f"{words}; write --yes to start it, or shorten an axis")
    click.confirm(f"vram: {words}; start", abort=True, err=True)
