"""The cells of a batch's index: what a grid says is shown as text, never read as markup."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from vramlib.batch.changes import Change
from vramlib.batch.store import ESTIMATE
from vramlib.batch.summary import FAILED, WAITING, Result
from vramlib.messages import t
from vramlib.units import GiB, show

RANKS = {"fits": 0, "unfits": 1, FAILED: 2, WAITING: 3}
MARKS = {"fits": "✓", "unfits": "✗", FAILED: "!", WAITING: "…"}
NUMBERS = ("needs", "free", "pool", "at_once")
LONGEST = 180  # characters of a cell
SHORT = 24  # characters that stay in one line


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the table.

    Parameters
    ----------
    inside : HTML, escaped already [-]
    key : what the column is sorted by, a number or text; nothing sorts last [-]
    kind : class of the cell [-]
    across : columns that it covers [-]
    """

    inside: str
    key: float | str | None = None
    kind: str = ""
    across: int = 1


def verdict(result: Result) -> str:
    """One of ``RANKS``."""
    return result.status if not result.answer else "fits" if result.answer["fits"] else "unfits"


def asked(result: Result, name: str) -> str:
    """What the grid says in a field or another column; empty where it says nothing."""
    return result.job.given.get(name, result.job.noted.get(name, ""))


def row(result: Result, differ: Sequence[str], language: str, compared: bool) -> str:
    """One scenario as a row of the table, with what each of its columns is sorted by.

    Parameters
    ----------
    result : what came of it [-]
    differ : fields and other columns to show [-]
    language : en or vi [-]
    compared : whether there is a column for changes [-]

    Returns
    -------
    HTML [-]
    """
    cells = [Cell(inside=str(result.job.number), key=result.job.number, kind="number"), _model(result)]
    cells += [_given(asked(result, name)) for name in differ]
    cells += [_verdict(result, language), *([_change(result.change, language)] if compared else [])]
    cells += [*_numbers(result.answer), _data(result)] if result.answer else [_error(result)]
    keys = [cell.key for cell in cells]
    tags = ["th" if place == 1 else "td" for place in range(len(cells))]
    return f'<tr data-keys="{text(json.dumps(keys))}">{"".join(map(_html, cells, tags))}</tr>'


def _html(cell: Cell, tag: str) -> str:
    kind = f' class="{cell.kind}"' if cell.kind else ""
    scope = ' scope="row"' if tag == "th" else ""
    across = f' colspan="{cell.across}"' if cell.across > 1 else ""
    return f"<{tag}{scope}{kind}{across}>{cell.inside}</{tag}>"


def _model(result: Result) -> Cell:
    name = result.job.given.get("model", "")
    inside = text(name) or "–"
    if result.page:
        inside = f'<a href="{quote(result.page)}">{inside}</a>'
    return Cell(inside=inside, key=name.casefold())


def _given(value: str) -> Cell:
    if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", value):
        return Cell(inside=value, key=float(value), kind="number")
    return Cell(
        inside=text(value) or "–", key=value.casefold() or None, kind="short" if len(value) < SHORT else ""
    )


def _verdict(result: Result, language: str) -> Cell:
    """The verdict, and the first condition of it that does not hold; summary.csv has them all."""
    kind = verdict(result)
    missing = result.job.missing[:1] if result.answer else ()
    why = "".join(t(f"batch.missing_{name}", language) for name in missing)
    inside = f"{MARKS[kind]} {t(f'batch.{kind}', language)}" + (f": {text(why)}" if why else "")
    return Cell(inside=inside, key=f"{RANKS[kind]} {why}", kind=f"verdict {kind}")


def _error(result: Result) -> Cell:
    """Why there are no numbers, where they would stand."""
    return Cell(inside=text(result.error), kind="error", across=len(NUMBERS) + 1)


def _data(result: Result) -> Cell:
    link = f'<a href="{quote(result.job.folder)}/{ESTIMATE}">JSON</a>'
    return Cell(inside=link)


def _numbers(answer: Mapping[str, Any]) -> Iterator[Cell]:
    """What is needed and left on one card, and what the pool holds."""
    for name in ("total_bytes", "headroom_bytes"):
        size = answer.get(name)
        yield _number(size, f"{size / GiB:,.2f}" if size is not None else "")
    tokens, at_once = answer.get("budget_kv_pool_tokens"), answer.get("budget_max_concurrency")
    yield _number(tokens, f"{tokens:,}" if tokens is not None else "")
    yield _number(at_once, f"{at_once:,.2f}×" if at_once is not None else "")


def _number(key: float | None, told: str) -> Cell:
    return Cell(inside=told.replace("-", "−") or "–", key=key, kind="number")


def _change(change: Change | None, language: str) -> Cell:
    """What changed, and by how much the total moved, or else the pool."""
    if change is None:
        return Cell(inside="")
    total, pool = change.moved.get("total_bytes", 0), change.moved.get("budget_kv_pool_bytes", 0)
    moved = _signed(total) if total else f"KV pool {_signed(pool)}" if pool else ""
    told = "" if change.kind == "moved" and moved else t(f"batch.change_{change.kind}", language)
    inside = text(", ".join(filter(None, (told, moved))))
    return Cell(inside=inside, key=f"{change.kind} {abs(total):020}", kind=f"change {change.kind}")


def _signed(size: int) -> str:
    return f"{'+' if size > 0 else '−'}{show(abs(size))}"


def text(words: str) -> str:
    """Text as HTML: what a grid says is shown, never read as markup, and not at any length."""
    cut = words if len(words) <= LONGEST else f"{words[:LONGEST]}…"
    return html.escape(cut)
