"""Two batches compared: verdicts that flipped, bytes that moved, scenarios that are new, gone or fail now."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vramlib.specs import PART_KEYS

NAME = "changes.csv"
MOVING = (*(f"{key}_bytes" for key in PART_KEYS), "total_bytes", "headroom_bytes", "budget_kv_pool_bytes")
KINDS = ("fits", "unfits", "fails", "works", "moved", "new", "gone")
NEEDED = {"scenario", "status", "fits", *MOVING}
LARGEST = 1 << 30  # bytes of a summary.csv

Key = tuple[str, int]  # a scenario's short name, and which of its rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One scenario against an earlier batch.

    Parameters
    ----------
    kind : of ``KINDS``: it fits now, does not fit any more, fails now, works now, moved, is new or gone [-]
    moved : column to bytes more (or less) than before [byte]
    before : its row of the earlier batch; empty for a new one [-]
    """

    kind: str
    moved: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)


def read(previous: Path) -> dict[Key, dict[str, str]]:
    """The rows of an earlier batch by scenario.

    Parameters
    ----------
    previous : its folder, or its summary.csv [-]

    Returns
    -------
    Rows that were finished or failed; those that were still waiting say nothing [-]

    Raises
    ------
    ValueError : no batch was written there
    OSError : the file cannot be opened
    """
    path = previous / "summary.csv" if previous.is_dir() else previous
    if not path.is_file():
        raise ValueError(f"{path} does not exist; name the folder that an earlier vram reports wrote")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} is larger than {LARGEST:,} bytes; it is no summary of a batch")
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = list(reader) if set(reader.fieldnames or ()) >= NEEDED else None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no summary of a batch: {error}") from None
    if rows is None or not all(map(_usable, rows)):
        raise ValueError(
            f"{path} is no summary of a batch; name the folder that an earlier vram reports wrote"
        )
    found = keyed((row["scenario"], row) for row in rows)
    return {key: row for key, row in found if row["status"] != "waiting"}


def _usable(row: Mapping[str, str]) -> bool:
    """Whether a row has as many cells as the header, and whole numbers where sizes stand."""
    sizes = (row[name] for name in MOVING)
    return (
        None not in row
        and None not in row.values()
        and all(re.fullmatch(r"(-?[0-9]{1,30})?", size) for size in sizes)
    )


def keyed(rows: Iterable[tuple[str, Any]]) -> Iterable[tuple[Key, Any]]:
    """Rows with a key of their own: a scenario that a grid names twice is told apart by its turn.

    Examples
    --------
    >>> list(keyed([("a", 1), ("b", 2), ("a", 3)]))
    [(('a', 1), 1), (('b', 1), 2), (('a', 2), 3)]
    """
    met = Counter[str]()
    for scenario, row in rows:
        met[scenario] += 1
        yield (scenario, met[scenario]), row


def between(before: Mapping[str, str] | None, answer: Mapping[str, Any]) -> Change | None:
    """What changed in one scenario.

    Parameters
    ----------
    before : its row of the earlier batch, if it had one [-]
    answer : its columns now; empty when it failed [-]

    Returns
    -------
    The change, or nothing when all numbers are the same [-]

    Examples
    --------
    >>> between({"status": "failed"}, {"fits": True}).kind
    'works'
    """
    if before is None:
        return Change(kind="new")
    failed_before = before["status"] == "failed"
    if failed_before or not answer:
        kind = "works" if answer else "" if failed_before else "fails"
        return Change(kind=kind, before=before) if kind else None
    moved = {name: (answer.get(name) or 0) - int(before[name] or 0) for name in MOVING}
    moved = {name: size for name, size in moved.items() if size}
    flipped = answer["fits"] != (before["fits"] == "true")
    kind = ("fits" if answer["fits"] else "unfits") if flipped else "moved"
    return Change(kind=kind, moved=moved, before=before) if flipped or moved else None


def row(change: Change, now: Mapping[str, Any]) -> dict[str, Any]:
    """One line of changes.csv.

    Parameters
    ----------
    change : of the scenario [-]
    now : its line of summary.csv; of the earlier batch when it is gone [-]

    Returns
    -------
    Cells by the names of ``columns`` [-]
    """
    gone = change.kind == "gone"
    found = {**now, "change": change.kind}
    for name in ("fits", "total_bytes", "error"):
        found[f"{name}_before"] = change.before.get(name, "")
        found[f"{name}_now"] = "" if gone else now.get(name)
    return found | {f"{name}_moved": size for name, size in change.moved.items()}


def columns(asked: Iterable[str]) -> list[str]:
    """The columns of changes.csv: what was asked, the verdict and total of both, and what moved by how much."""
    both = [f"{name}_{when}" for name in ("fits", "total_bytes", "error") for when in ("before", "now")]
    return ["change", "scenario", "report", *asked, *both, *(f"{name}_moved" for name in MOVING)]
