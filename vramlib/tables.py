"""Small tables for a page: plain HTML that a phone can scroll and a screen reader can read, and plain text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_UNIT = r"\s?(?:×|%|K|GiB|MiB|KiB|B|GB)?"
_DIGITS = r"(?:\d{1,3}(?:[.,]\d{3})+(?:[.,]\d+)?|\d*[.,]?\d+)"  # 0.1.0 is a version
_NUMBER = re.compile(rf"[−\-+±≈=<>]?\s?{_DIGITS}{_UNIT}(?: ?[–-] ?{_DIGITS}{_UNIT})?")
_NUMBER_STYLE = ' style="text-align:right;white-space:nowrap"'
_ADDRESS_STYLE = ' style="overflow-wrap:anywhere;min-width:12em"'


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a header; in a notebook it shows as HTML, in a terminal as text.

    Parameters
    ----------
    columns : names of the columns; the first one names the row [-]
    rows : cells as text; ``**bold**`` and `` `code` `` are shown as such [-]
    caption : what the table says, above it [-]
    colors : a colour for each row's square, empty for none [-]
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    colors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = next((row for row in self.rows if len(row) != len(self.columns)), None)
        if wrong is not None:
            raise ValueError(f"the row {wrong!r} has not as many cells as the columns {self.columns!r}")

    def __repr__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        text = "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
        return f"{self.caption}\n{text}" if self.caption else text

    def _repr_html_(self) -> str:
        caption = f"<caption>{inline(self.caption)}</caption>" if self.caption else ""
        head = "".join(self._head(place) for place in range(len(self.columns)))
        body = "".join(self._row(place, row) for place, row in enumerate(self.rows))
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _head(self, place: int) -> str:
        """A column's name, at the right above numbers."""
        filled = [row[place] for row in self.rows if row[place]]
        right = ' style="text-align:right"' if place and filled and all(map(_is_number, filled)) else ""
        return f'<th scope="col"{right}>{inline(self.columns[place])}</th>'

    def _row(self, place: int, row: tuple[str, ...]) -> str:
        color = self.colors[place] if place < len(self.colors) else ""
        square = f'<span aria-hidden="true" style="color:{color}">■</span> ' if color else ""
        cells = "".join(_cell(text) for text in row[1:])
        return f'<tr><th scope="row">{square}{inline(row[0])}</th>{cells}</tr>'


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str = "", colors: Sequence[str] = ()
) -> Table:
    """A table of anything that can be written as text.

    Parameters
    ----------
    columns : names of the columns [-]
    rows : cells; ``None`` is an empty cell [-]
    caption : what stands above [-]
    colors : a colour for each row's square [-]

    Returns
    -------
    What a notebook shows as a table [-]

    Raises
    ------
    ValueError : a row has not as many cells as there are columns

    Examples
    --------
    >>> table(("part", "GiB"), [("Model weights", 14.99)])
    part           GiB
    Model weights  14.99
    """
    texts = tuple(tuple("" if cell is None else str(cell) for cell in row) for row in rows)
    return Table(tuple(columns), texts, caption, tuple(colors))


def inline(text: str) -> str:
    """Text as HTML: `` `code` ``, ``**bold**``, ``<br>`` and addresses; everything else is escaped.

    Examples
    --------
    >>> inline("**3** < `x`")
    '<strong>3</strong> &lt; <code>x</code>'
    """
    safe = html.escape(text, quote=False).replace("&lt;br&gt;", "<br>").replace("\\~", "~")
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    safe = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe)
    return re.sub(r"(?<![\w*])\*([^*<>]+)\*(?![\w*])", r"<em>\1</em>", safe)


def _cell(text: str) -> str:
    style = _NUMBER_STYLE if _is_number(text) else _ADDRESS_STYLE if "://" in text else ""
    return f"<td{style}>{inline(text)}</td>"


def _is_number(text: str) -> bool:
    """Whether a cell stands at the right.

    Examples
    --------
    >>> _is_number("1,234.5 GiB"), _is_number("5–10 %"), _is_number("0.19.0")
    (True, True, False)
    """
    return bool(text) and _NUMBER.fullmatch(text.strip("*")) is not None
