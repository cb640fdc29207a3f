"""The page that lists a batch: one table to sort, with links; no address outside the folder, no code of others."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vramlib import fields
from vramlib.batch import summary
from vramlib.batch.changes import NAME as CHANGES
from vramlib.batch.changes import Change
from vramlib.batch.store import ESTIMATE
from vramlib.batch.summary import FAILED, WAITING, Result
from vramlib.messages import t
from vramlib.units import GiB, show

NAME = "index.html"
RANKS = {"fits": 0, "unfits": 1, FAILED: 2, WAITING: 3}
MARKS = {"fits": "✓", "unfits": "✗", FAILED: "!", WAITING: "…"}
LONGEST = 300  # characters of a cell

_PAGE = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the table.

    Parameters
    ----------
    inside : HTML, escaped already [-]
    key : what the column is sorted by, a number or text; nothing sorts last [-]
    kind : class of the cell [-]
    """

    inside: str
    key: float | str | None = None
    kind: str = ""


def page(
    results: Sequence[Result],
    gone: Iterable[Mapping[str, str]] = (),
    language: str = "en",
    *,
    name: str = "",
    previous: str = "",
) -> str:
    """The index as a whole HTML document.

    Parameters
    ----------
    results : of each job, in the order of the grid [-]
    gone : rows of an earlier batch that this one does not have [-]
    language : en or vi [-]
    name : of the batch [-]
    previous : the earlier batch's name; empty when none was compared [-]

    Returns
    -------
    HTML [-]
    """
    here = Path(__file__).parent
    script = here.joinpath("index.js").read_text("utf-8")
    style = "\n".join(file.read_text("utf-8") for file in (here.parent / "page.css", here / "index.css"))
    body = [*_heads(results, list(gone), language, previous), *_table(results, language, previous)]
    return _PAGE.format(
        language=language,
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src '{_hash(script)}'",
        title=_text(t("batch.title", language, name=name)),
        style=style,
        body="\n".join(body),
        script=script,
    )


def _hash(script: str) -> str:
    """The browser runs this one script and nothing else."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def verdict(result: Result) -> str:
    """One of ``RANKS``."""
    return result.status if not result.answer else "fits" if result.answer["fits"] else "unfits"


def _heads(
    results: Sequence[Result], gone: Sequence[Mapping[str, str]], language: str, previous: str
) -> Iterator[str]:
    """What a reader should know before the table."""
    verdicts = [verdict(r) for r in results]
    counts = {kind: verdicts.count(kind) for kind in RANKS}
    told = ", ".join(t(f"batch.count_{kind}", language, count=f"{n:,}") for kind, n in counts.items() if n)
    total = t("batch.total", language, count=f"{len(results):,}")
    yield f"<p><strong>{_text(total)}: {_text(told)}</strong></p>"
    if counts[WAITING]:
        yield f"<p>{t('batch.stopped', language)}</p>"
    same = " · ".join(f"{name} {value}" for name, value in _same(results).items())
    if same:
        yield f"<p>{t('batch.same', language)}: {_text(same)}</p>"
    if previous:
        yield from _compared(results, gone, language, previous)
    links = [(summary.NAME, t("batch.summary", language))]
    links += [(CHANGES, t("batch.changes", language))] if previous else []
    yield "<p>" + " · ".join(f'<a href="{file}">{_text(words)}</a>' for file, words in links) + "</p>"


def _compared(
    results: Sequence[Result], gone: Sequence[Mapping[str, str]], language: str, previous: str
) -> Iterator[str]:
    kinds = [r.change.kind for r in results if r.change]
    told = [(kind, kinds.count(kind)) for kind in dict.fromkeys(kinds)]
    words = "; ".join(f"{t(f'batch.change_{kind}', language)}: {count:,}" for kind, count in told)
    words = words or t("batch.unchanged", language)
    yield f"<p>{t('batch.compared', language, previous=_text(previous))}: {_text(words)}</p>"
    if gone:
        rows = "".join(f"<li>{_text(' · '.join(_named(row)))}</li>" for row in gone)
        title = t("batch.change_gone", language)
        yield f"<details><summary>{title}: {len(gone):,}</summary><ul>{rows}</ul></details>"


def _named(row: Mapping[str, str]) -> Iterator[str]:
    """What an earlier batch asked for, from its row: model and card, then other fields with their names."""
    for name in fields.NAMES:
        if row.get(name):
            yield row[name] if name in ("model", "gpu") else f"{name} {row[name]}"


def _same(results: Sequence[Result]) -> dict[str, str]:
    """Fields and other columns with one value in the whole batch; the model always has its column."""
    names = [*summary.given_names(results), *summary.noted_names(results)]
    found = {name: {_asked(r, name) for r in results} for name in names if name != "model"}
    return {name: next(iter(values)) for name, values in found.items() if len(values) == 1}


def _asked(result: Result, name: str) -> str:
    return result.job.given.get(name, result.job.noted.get(name, ""))


def _table(results: Sequence[Result], language: str, previous: str) -> Iterator[str]:
    same = _same(results)
    names = [*summary.given_names(results), *summary.noted_names(results)]
    differ = [name for name in names if name != "model" and name not in same]
    own = ["verdict", *(["change"] if previous else []), "needs", "free", "pool", "at_once", "why", "data"]
    titles = [t("batch.number", language), "model", *differ, *(t(f"batch.{head}", language) for head in own)]
    buttons = "".join(
        f'<th scope="col"><button type="button">{_text(title)}</button></th>' for title in titles[:-1]
    )
    yield f'<p id="how">{t("batch.how", language)}</p>'
    yield '<div class="scroll" tabindex="0" role="region" aria-labelledby="how"><table>'
    yield f'<thead><tr>{buttons}<th scope="col">{_text(titles[-1])}</th></tr></thead><tbody>'
    for result in results:
        yield _row(result, differ, language, bool(previous))
    yield "</tbody></table></div>"


def _row(result: Result, differ: Sequence[str], language: str, compared: bool) -> str:
    cells = [Cell(inside=str(result.job.number), key=result.job.number, kind="number"), _model(result)]
    cells += [_given(_asked(result, name)) for name in differ]
    cells += [_verdict(result, language), *([_change(result.change, language)] if compared else [])]
    cells += [*_numbers(result.answer), _why(result, language), _data(result)]
    tags = ["th" if place == 1 else "td" for place in range(len(cells))]
    return "<tr>" + "".join(map(_html, cells, tags)) + "</tr>"


def _html(cell: Cell, tag: str) -> str:
    key = "" if cell.key is None else f' data-key="{html.escape(str(cell.key))}"'
    kind = f' class="{cell.kind}"' if cell.kind else ""
    scope = ' scope="row"' if tag == "th" else ""
    return f"<{tag}{scope}{kind}{key}>{cell.inside}</{tag}>"


def _model(result: Result) -> Cell:
    name = result.job.given.get("model", "")
    inside = _text(name) or "–"
    if result.page:
        inside = f'<a href="{quote(result.page)}">{inside}</a>'
    return Cell(inside=inside, key=name.casefold())


def _given(value: str) -> Cell:
    try:
        return Cell(inside=_text(value), key=float(value), kind="number")
    except ValueError:
        return Cell(inside=_text(value), key=value.casefold() or None)


def _verdict(result: Result, language: str) -> Cell:
    kind = verdict(result)
    return Cell(
        inside=f"{MARKS[kind]} {t(f'batch.{kind}', language)}", key=RANKS[kind], kind=f"verdict {kind}"
    )


def _why(result: Result, language: str) -> Cell:
    """Which condition of the verdict does not hold, or the error."""
    missing = result.job.missing if result.answer else ()
    why = result.error or "; ".join(t(f"batch.missing_{name}", language) for name in missing)
    return Cell(inside=_text(why), key=why.casefold() or None, kind="why")


def _data(result: Result) -> Cell:
    link = f'<a href="{quote(result.job.folder)}/{ESTIMATE}">JSON</a>'
    return Cell(inside=link if result.page else "")


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
    inside = _text(", ".join(filter(None, (told, moved))))
    return Cell(inside=inside, key=f"{change.kind} {abs(total):020}", kind=f"change {change.kind}")


def _signed(size: int) -> str:
    return f"{'+' if size > 0 else '−'}{show(abs(size))}"


def _text(words: str) -> str:
    """Text as HTML: what a grid says is shown, never read as markup, and not at any length."""
    cut = words if len(words) <= LONGEST else f"{words[:LONGEST]}…"
    return html.escape(cut)
