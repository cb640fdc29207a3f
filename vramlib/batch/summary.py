"""What came of a batch as rows: one a scenario, for summary.csv, the index and a later comparison."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vramlib import contract, csv_rows, fields
from vramlib.batch.changes import Change
from vramlib.batch.jobs import Job
from vramlib.batch.store import PAGE

NAME = "summary.csv"
MADE, KEPT, FAILED, WAITING = "made", "kept", "failed", "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one job.

    Parameters
    ----------
    job : the report that was asked for [-]
    status : ``made`` now, ``kept`` from an earlier run, ``failed``, or ``waiting`` when the batch was stopped [-]
    answer : the columns of a sweep, and ``headroom_bytes``; empty where there is no report [-]
    error : why it failed [-]
    change : against an earlier batch [-]
    """

    job: Job
    status: str
    answer: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    change: Change | None = None

    @property
    def page(self) -> str:
        """Where the report is, from the batch's folder; empty where there is none."""
        return f"{self.job.folder}/{PAGE}" if self.status in (MADE, KEPT) else ""


def answer(estimate: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a sweep, read from a report's numbers.

    Parameters
    ----------
    estimate : what ``vram estimate --json`` prints [-]

    Returns
    -------
    ``contract.COLUMNS`` without ``error``, and ``headroom_bytes`` [-]

    Examples
    --------
    >>> import vramlib
    >>> e = vramlib.estimate(model="Llama-3.1-8B", gpu="L4", max_model_len=8192)
    >>> found = answer(contract.to_dict(e))
    >>> found == {**contract.row(e), "error": "", "headroom_bytes": e.headroom_bytes}
    True
    """
    found = {f"{part['key']}_bytes": part["bytes"] for part in estimate["parts"]}
    found |= {f"budget_{name}": value for name, value in (estimate["budget"] or {}).items()}
    found |= {name: estimate[name] for name in ("total_bytes", "fits", "headroom_bytes")}
    found |= {"params_total": estimate["model"]["params_total"], "error": ""}
    return {name: found.get(name) for name in (*contract.COLUMNS, "headroom_bytes")}


def given_names(results: Iterable[Result], more: Iterable[str] = ()) -> list[str]:
    """Fields that any row gives, and some more, in the table's order."""
    used = {name for result in results for name in result.job.given} | set(more)
    return [name for name in fields.NAMES if name in used]


def noted_names(results: Iterable[Result]) -> list[str]:
    """Other columns that any row has, in the order they are met."""
    return list(dict.fromkeys(name for result in results for name in result.job.noted))


def row(result: Result) -> dict[str, Any]:
    """One line of summary.csv by the names of its columns."""
    about = {
        "scenario": result.job.scenario,
        "status": result.status,
        "change": result.change.kind if result.change else "",
        "report": result.page,
        "missing": ";".join(result.job.missing) if result.answer else "",
    }
    return {**result.job.noted, **result.answer, **result.job.given, **about, "error": result.error}


def csv_text(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    r"""Rows as CSV; a value that is not there is an empty cell.

    Examples
    --------
    >>> csv_text(["model", "fits"], [{"model": "a, b", "fits": True}, {}])
    'model,fits\n"a, b",true\n,\n'
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([csv_rows.cell(row.get(name)) for name in names] for row in rows)
    return out.getvalue()


def names(results: Sequence[Result]) -> list[str]:
    """The columns of summary.csv: what was asked, what came of it, what the estimate says, why not."""
    asked = [*given_names(results), *noted_names(results)]
    columns = [*contract.COLUMNS[:-1], "headroom_bytes", "missing", "error"]
    return list(dict.fromkeys(["scenario", "status", "change", "report", *asked, *columns]))
