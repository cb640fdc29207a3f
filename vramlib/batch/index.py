"""The page that lists a batch: one table to sort, with links; no address outside the folder, no code of others."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from vramlib import fields
from vramlib.batch import summary
from vramlib.batch.cells import NUMBERS, RANKS, asked, row, text, verdict
from vramlib.batch.changes import NAME as CHANGES
from vramlib.batch.summary import WAITING, Result
from vramlib.messages import t
from vramlib.page import document

NAME = "index.html"


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
    title = t("batch.title", language, name=name)
    heads = _heads(results, list(gone), language, previous)
    return document(
        "\n".join((f"<h1>{text(title)}</h1>", *heads, *_table(results, language, previous))),
        language=language,
        title=title,
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src '{_hash(script)}'",
        style=here.joinpath("index.css").read_text("utf-8"),
        foot=f"<script>{script}</script>",
    )


def _hash(script: str) -> str:
    """The browser runs this one script and nothing else."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _heads(
    results: Sequence[Result], gone: Sequence[Mapping[str, str]], language: str, previous: str
) -> Iterator[str]:
    """What a reader should know before the table."""
    verdicts = [verdict(r) for r in results]
    counts = {kind: verdicts.count(kind) for kind in RANKS}
    told = ", ".join(t(f"batch.count_{kind}", language, count=f"{n:,}") for kind, n in counts.items() if n)
    total = t("batch.total", language, count=f"{len(results):,}")
    yield f"<p><strong>{text(total)}: {text(told)}</strong></p>"
    if counts[WAITING]:
        yield f"<p>{t('batch.stopped', language)}</p>"
    same = " · ".join(f"{name} {value}" for name, value in _same(results).items())
    if same:
        yield f"<p>{t('batch.same', language)}: {text(same)}</p>"
    if previous:
        yield from _compared(results, gone, language, previous)
    links = [(summary.NAME, t("batch.summary", language))]
    links += [(CHANGES, t("batch.changes", language))] if previous else []
    yield "<p>" + " · ".join(f'<a href="{file}">{text(words)}</a>' for file, words in links) + "</p>"


def _compared(
    results: Sequence[Result], gone: Sequence[Mapping[str, str]], language: str, previous: str
) -> Iterator[str]:
    kinds = [r.change.kind for r in results if r.change]
    told = [(kind, kinds.count(kind)) for kind in dict.fromkeys(kinds)]
    words = "; ".join(f"{t(f'batch.change_{kind}', language)}: {count:,}" for kind, count in told)
    words = words or t("batch.unchanged", language)
    yield f"<p>{t('batch.compared', language, previous=text(previous))}: {text(words)}</p>"
    if gone:
        rows = "".join(f"<li>{text(' · '.join(_named(row)))}</li>" for row in gone)
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
    found = {name: {asked(r, name) for r in results} for name in names if name != "model"}
    return {name: next(iter(values)) for name, values in found.items() if len(values) == 1}


def _table(results: Sequence[Result], language: str, previous: str) -> Iterator[str]:
    same = _same(results)
    names = [*summary.given_names(results), *summary.noted_names(results)]
    differ = [name for name in names if name != "model" and name not in same]
    own = ["verdict", *(["change"] if previous else []), *NUMBERS, "data"]
    titles = [t("batch.number", language), "model", *differ, *(t(f"batch.{head}", language) for head in own)]
    buttons = "".join(
        f'<th scope="col"><button type="button">{text(title)}</button></th>' for title in titles[:-1]
    )
    yield f'<p id="how">{t("batch.how", language)}</p>'
    yield '<div class="scroll" tabindex="0" role="region" aria-labelledby="how"><table>'
    yield f'<thead><tr>{buttons}<th scope="col">{text(titles[-1])}</th></tr></thead><tbody>'
    for result in results:
        yield row(result, differ, language, bool(previous))
    yield "</tbody></table></div>"
