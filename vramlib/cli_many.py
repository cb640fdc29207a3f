"""What ``vram plan`` and ``vram sweep`` do: questions answered, a CSV or a grid in and a CSV out."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from vramlib import grid as grids
from vramlib import plan as plans
from vramlib import sweep as sweeps
from vramlib.fields import plain_name

BYTES_A_ROW = 230  # of the CSV, about


def plan(ask: str, asked: Mapping[str, Any], cards: str | None, servers: int | None) -> list[plans.Answer]:
    """Answers to one question about a scenario, or to all of them.

    Parameters
    ----------
    ask : one of ``plan.ASKS`` with hyphens or underscores, or ``all`` [-]
    asked : scenario fields [-]
    cards : names to choose the smallest card from, separated by semicolons [-]
    servers : how many servers must fit on one card [-]

    Returns
    -------
    One answer a question [-]

    Raises
    ------
    ValueError : no such question; the nearest is offered

    Examples
    --------
    >>> [answer] = plan("smallest_card", {"model": "Qwen2.5-0.5B", "max_model_len": 4096}, "L4;T4", None)
    >>> answer.value
    'T4'
    """
    name = plain_name(ask).replace("_", "-").lower()
    if name not in (*plans.ASKS, "all"):
        near = difflib.get_close_matches(name, [*plans.ASKS, "all"], 1, 0.4)
        offer = f"nearest: {near[0]}" if near else f"the questions are: {', '.join(plans.ASKS)}, all"
        raise ValueError(f"no question {ask!r}; {offer}")
    extra: dict[str, dict[str, Any]] = {
        "smallest-card": {"cards": [c.strip() for c in cards.split(";") if c.strip()]} if cards else {},
        "servers": {"count": servers} if servers else {},
    }
    names = plans.ASKS if name == "all" else [name]
    return [plans.ASKS[n](**asked, **extra.get(n, {})) for n in names]


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
