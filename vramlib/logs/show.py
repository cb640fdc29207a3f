"""An explanation as a person reads it, in a terminal and in a notebook; nothing is computed here."""

from __future__ import annotations

import html as markup
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vramlib.logs.compare import WORDS, Row
from vramlib.logs.failures import Failure
from vramlib.logs.rules import is_size
from vramlib.specs import PART_NAMES
from vramlib.units import show

if TYPE_CHECKING:
    from vramlib.logs.explanation import Explanation

MOST_LINES = 60
Section = tuple[str, list[tuple[str, ...]], tuple[str, ...]]


def text(told: Explanation) -> str:
    """Sections of plain text: what failed first, then the lines, the figures and what to change."""
    blocks = [headline(told)]
    for title, rows, head in sections(told):
        table = [head, *rows] if head else rows
        widths = [max(len(r[i]) for r in table) for i in range(len(table[0]))]
        lines = [
            "  ".join(_cell(c, w, n, head) for n, (c, w) in enumerate(zip(r, widths, strict=True))).rstrip()
            for r in table
        ]
        blocks.append("\n".join((title, *(f"  {line}" for line in lines))))
    return "\n\n".join(blocks)


def _cell(cell: str, width: int, place: int, head: tuple[str, ...]) -> str:
    if not head:
        return cell
    return cell.rjust(width) if place and head[place] != "what the log tells" else cell.ljust(width)


def headline(told: Explanation) -> str:
    """Engine, version, model, card and ranks in one line."""
    engine = f"{told.engine or 'no engine named'} {told.engine_version}".strip()
    basis = f" ({told.version_basis})" if told.version_basis not in ("", "printed") else ""
    words = [engine + basis]
    if told.estimate:
        words += [
            told.estimate.model.name,
            f"{told.estimate.gpu.name} ({show(told.estimate.gpu.memory_bytes)})",
        ]
    if len(told.ranks) > 1:
        words.append(f"{len(told.ranks)} processes")
    return " · ".join(words)


def sections(told: Explanation) -> Iterator[Section]:
    """Title, rows and head of each section that has something to say."""
    for failure in told.failures:
        yield _failure(failure)
    yield "What the log says", list(_lines(told)), ()
    if told.rows:
        yield "Printed and estimated (budget of one rank, like with like)", list(_comparison(told)), (
            "", "printed", "estimated", "residual", "",
        )  # fmt: skip
    elif told.measured and not told.estimate:
        yield "Printed", list(_printed(told)), ("", "")
    if told.identity:
        yield "The engine's own sum, done again", [(str(told.identity),)], ()
    if told.estimate:
        yield (
            "The eight parts of the demand (not the budget)",
            list(_parts(told)),
            ("", "estimated", "what the log tells"),
        )
    if told.advice:
        yield "What leaves more KV cache", [(f"- {a.words}",) for a in told.advice], ()
    notes: list[tuple[str, ...]] = [(f"- {m}",) for m in (*told.missing, *told.notes)]
    if notes:
        yield "Notes", notes, ()


def _failure(f: Failure) -> Section:
    times = f" (said {f.times} times)" if f.times > 1 else ""
    part = PART_NAMES.get(f.part, "the message alone does not tell which part")
    rows: list[tuple[str, ...]] = [
        (f"line {f.line}{times}: {f.words}",),
        (f"part: {part}",),
        *((f"- {a.words}",) for a in f.advice),
    ]
    return "What takes the card" if f.kind == "card_in_use" else "What failed", rows, ()


def _lines(told: Explanation) -> Iterator[tuple[str, ...]]:
    """Each meaning once, with the first line that has it and how many processes say the same."""
    groups: dict[str, list[Any]] = {}
    for line in told.lines:
        groups.setdefault(line.words, []).append(line)
    for n, (words, lines) in enumerate(groups.items()):
        if n == MOST_LINES:
            yield (f"… {len(groups) - n} more meanings",)
            return
        again = f" (×{len(lines)})" if len(lines) > 1 else ""
        home = ", ".join(PART_NAMES[key] for key in lines[0].parts)
        yield (f"line {lines[0].number}{again}: {words}" + (f" [{home}]" if home else ""),)


def _printed(told: Explanation) -> Iterator[tuple[str, ...]]:
    for name, item in told.measured.items():
        if name in WORDS or is_size(name):
            plain = name.removesuffix("_bytes").replace("_", " ")
            yield WORDS.get(name, plain), _amount(name, item.value)


def _comparison(told: Explanation) -> Iterator[tuple[str, ...]]:
    for row in told.rows:
        yield (
            row.words,
            _amount(row.name, row.measured),
            _amount(row.name, row.estimated),
            _residual(row),
            _share(row),
        )
    if told.unexplained_bytes is not None:
        yield (
            "of the pool's residual, not in the rows above",
            "",
            "",
            _amount("_bytes", told.unexplained_bytes),
            "",
        )


def _residual(row: Row) -> str:
    return _amount(row.name, row.residual)


def _share(row: Row) -> str:
    return "" if row.residual_share is None else f"{row.residual_share:+.1%}"


def _amount(name: str, value: Any) -> str:
    if is_size(name):
        return show(value)
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"


def _parts(told: Explanation) -> Iterator[tuple[str, ...]]:
    if told.estimate:
        for part in told.estimate.parts:
            yield part.name, show(part.bytes), told.parts.get(part.key, "–")


def html(told: Explanation) -> str:
    """The same as HTML for a notebook: no script, no outside address, every word of the log escaped."""
    blocks = [f"<p><strong>{markup.escape(headline(told))}</strong></p>"]
    for title, rows, head in sections(told):
        top = "".join(f'<th scope="col">{markup.escape(h)}</th>' for h in head)
        body = "".join(f"<tr>{''.join(f'<td>{markup.escape(c)}</td>' for c in row)}</tr>" for row in rows)
        caption = f"<caption>{markup.escape(title)}</caption>"
        blocks.append(
            f"<table>{caption}{f'<thead><tr>{top}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"
        )
    return "\n".join(blocks)
