"""An Estimate as an HTML fragment for a notebook: the table and the bar of ``text``, without a script."""

from __future__ import annotations

import html

from vramlib import text
from vramlib.specs import PART_COLORS, Estimate, Part
from vramlib.units import show


def fragment(estimate: Estimate) -> str:
    """Verdict, bar and table; a screen reader meets a label for the bar and headers for every cell.

    Parameters
    ----------
    estimate : of one scenario, or of an array of them (then one line) [-]

    Returns
    -------
    An HTML fragment, no script and no outside address [-]
    """
    if hasattr(estimate.total_bytes, "shape"):
        return f"<p>{html.escape(text.many(estimate))}</p>"
    head = "".join(f'<th scope="col">{h}</th>' for h in ("Part", "GiB", "from - to", "basis", "share"))
    rows = "".join(_row(p, estimate.total_bytes) for p in estimate.parts)
    last = "".join(f"<td>{html.escape(c)}</td>" for c in text.total_cells(estimate)[1:])
    notes = "".join(f"<li>{html.escape(w)}</li>" for w in estimate.warnings)
    verdict = html.escape(estimate.verdict)
    return (
        f'<div class="vram-estimate"><p><strong>{verdict}</strong></p>{_bar(estimate)}'
        f"<table><caption>{html.escape(text.headline(estimate.scenario))}</caption><thead><tr>{head}</tr></thead>"
        f'<tbody>{rows}<tr><th scope="row">Total per card</th>{last}</tr></tbody></table>'
        + (f"<ul>{notes}</ul>" if notes else "")
        + "</div>"
    )


def _row(part: Part, total: int) -> str:
    name, *cells = (html.escape(c) for c in text.cells(part, total))
    chip = f'<span aria-hidden="true" style="color:{PART_COLORS[part.key]}">■</span>'
    return f'<tr><th scope="row">{chip} {name}</th>' + "".join(f"<td>{c}</td>" for c in cells) + "</tr>"


def _bar(estimate: Estimate) -> str:
    memory, total = estimate.gpu.memory_bytes, estimate.total_bytes
    pieces = "".join(
        f'<span title="{html.escape(p.name)}: {show(p.bytes)}" style="display:inline-block;height:100%;'
        f'width:{100 * p.bytes / max(memory, total):.3f}%;background:{PART_COLORS[p.key]}"></span>'
        for p in estimate.parts
    )
    label = html.escape(f"{show(total)} of the {show(memory)} of {estimate.gpu.name}")
    return (
        f'<div role="img" aria-label="{label}" '
        'style="display:flex;height:1.4em;border:1px solid currentColor">'
        f"{pieces}</div>"
    )
