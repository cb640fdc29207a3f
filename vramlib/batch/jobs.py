"""The scenarios of a grid as jobs: one report each, with a folder's name, parameters and fingerprint, or an error."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vramlib import blocks, contract, csv_rows, fields, report, text
from vramlib import grid as grids
from vramlib.batch import fingerprint
from vramlib.estimate import shortfalls
from vramlib.specs import Estimate

ASKS_BEYOND = 500  # reports; a command asks before it starts more
MOST = 100_000  # reports of one batch
OWN_COLUMNS = (
    "scenario",
    "status",
    "change",
    "report",
    "missing",
    "headroom_bytes",
)  # beside the fields and the answers
SUFFIXES = (".csv", ".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One report to make, or why it cannot be made.

    Parameters
    ----------
    number : of its row or combination, from 1 [-]
    scenario : a short name of what was asked, the same in every batch [-]
    given : fields as the grid writes them [-]
    noted : other columns of the row, passed through [-]
    folder : where the report goes, inside the batch's folder; empty when it cannot be made [-]
    parameters : of the notebook, plain values by name [-]
    fingerprint : of all that the report is made of [-]
    missing : conditions of the verdict that do not hold, as ``estimate.shortfalls`` names them [-]
    error : what is wrong with the row [-]
    """

    number: int
    scenario: str
    given: Mapping[str, str]
    noted: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    missing: tuple[str, ...] = ()
    error: str = ""


def count(path: Path) -> int:
    """Reports that a grid asks for, without reading more than it must.

    Parameters
    ----------
    path : a grid in YAML, or a CSV with one scenario a row [-]

    Returns
    -------
    Combinations or rows [-]

    Raises
    ------
    ValueError : the file cannot be used, or has more than ``MOST`` scenarios
    OSError : it cannot be opened
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} is no grid; name a file that ends in {', '.join(SUFFIXES)}")
    if path.suffix.lower() != ".csv":
        size = math.prod(map(len, grids.read(path).axes.values()))
    else:
        with csv_rows.opened(path) as (_, lines):
            size = sum(1 for _ in lines)
    if not 0 < size <= MOST:
        wanted = f"a batch makes 1 to {MOST:,} reports, vram sweep takes more"
        raise ValueError(f"{path} has {size:,} scenarios; {wanted}")
    return size


def read(path: Path, language: str = "en", template: Path | None = None) -> list[Job]:
    """A job for each scenario of a grid, in its order; a bad row has its error and takes no other with it.

    Parameters
    ----------
    path : a grid in YAML, or a CSV with one scenario a row [-]
    language : of the reports, en or vi [-]
    template : another notebook than the report's [-]

    Returns
    -------
    Jobs, each folder's name there once, also where a file system ignores case [-]

    Raises
    ------
    ValueError : the file cannot be used, or has more than ``MOST`` scenarios
    OSError : it cannot be opened
    """
    count(path)
    rows = _csv(path) if path.suffix.lower() == ".csv" else _grid(path)
    made_with, taken = fingerprint.source(template), Counter[str]()
    return [
        _job(number, *row, language=language, made_with=made_with, taken=taken)
        for number, row in enumerate(rows, 1)
    ]


Row = tuple[dict[str, Any], dict[str, str], str]  # fields, other columns, what is wrong with the row


def _grid(path: Path) -> Iterator[Row]:
    return ((scenario, {}, "") for scenario in grids.read(path).scenarios())


def _csv(path: Path) -> Iterator[Row]:
    with csv_rows.opened(path) as (header, lines):
        for cells in lines:
            wrong = csv_rows.misfit(header, cells) if len(cells) != len(header) else ""
            filled = {n: c for n, c in zip(header, cells, strict=False) if c.strip()}
            given = {fields.plain_name(n): c for n, c in filled.items() if csv_rows.is_field(n)}
            known = {*contract.COLUMNS, *OWN_COLUMNS}
            noted = {n: c for n, c in filled.items() if not csv_rows.is_field(n) and n not in known}
            yield given, noted, wrong


def _job(
    number: int,
    given: Mapping[str, Any],
    noted: Mapping[str, str],
    wrong: str,
    *,
    language: str,
    made_with: str,
    taken: Counter[str],
) -> Job:
    words = {name: str(csv_rows.cell(value)) for name, value in given.items()}
    try:
        if wrong:
            raise ValueError(wrong)
        page = report.read({**given, "language": language})
    except blocks.BAD_ROW as error:
        told = text.message(error)
        return Job(number=number, scenario=fingerprint.scenario(words), given=words, noted=noted, error=told)
    scenario = fingerprint.scenario(page.asked)
    return Job(
        number=number,
        scenario=scenario,
        given=words,
        noted=noted,
        folder=_folder(page, scenario, taken),
        parameters=report.typed(page),
        fingerprint=fingerprint.of(page, made_with),
        missing=_missing(page.estimate),
    )


def _missing(e: Estimate) -> tuple[str, ...]:
    """What the verdict's sentence names: a pool below one request is below the workload too, and said once."""
    found = shortfalls(e.scenario, e.total_bytes, e.budget)
    names = [name for name, amount in found.items() if amount > 0]
    return tuple(n for n in names if n != "workload" or "request" not in names)


def _folder(page: report.Page, scenario: str, taken: Counter[str]) -> str:
    """Model and card to read, and what was asked as a digest, so that a longer grid finds its reports again."""
    model, gpu = page.estimate.model.name, page.estimate.gpu.name
    name = f"{_plain(model)[:60].rstrip('.-')}--{_plain(gpu)[:30].rstrip('.-')}--{scenario}"
    taken[name.casefold()] += 1
    again = taken[name.casefold()]
    return name if again == 1 else f"{name}-{again}"


def _plain(name: str) -> str:
    """ASCII letters, digits and a few signs of a name's last part; nothing that any file system reads as more."""
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return re.sub(r"[^A-Za-z0-9_+.-]+", "-", last).strip(".-") or "model"
