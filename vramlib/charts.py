"""Pictures of an Estimate and of a sweep: plain data in, an Altair chart out.

A part has the same colour and the same place in every notebook and report. Colour never speaks alone: sizes
are written out, and what does not fit carries a sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import altair as alt

from vramlib.messages import names, parts, t
from vramlib.specs import PART_COLORS
from vramlib.units import GB, GiB, show
from vramlib.vega import GREY, page_wide

COLORS = PART_COLORS
FITS, TOO_BIG = "fits", "does not fit"
VERDICT_COLORS = {FITS: "#56B4E9", TOO_BIG: "#D55E00"}
BASIS_SHAPES = {"exact": "circle", "measured": "square", "modelled": "diamond"}

_BAR_TOP, _BAR_BOTTOM = 22, 70


def parts_bar(
    estimate: Any, *, labels: Mapping[str, str] | None = None, title: str = "", language: str = "en"
) -> alt.LayerChart:
    """The eight parts end to end against the card's memory: what is free, or by how much it is over.

    Parameters
    ----------
    estimate : its parts, total_bytes and gpu are read [-]
    labels : names of the parts by key, where they are others than the language's [-]
    title : what stands above; the card's name when empty [-]
    language : of its words, en or vi [-]

    Returns
    -------
    A chart as wide as its page [-]
    """
    memory, total = estimate.gpu.memory_bytes, estimate.total_bytes
    title = title or t("bar.title", language, card=estimate.gpu.name)
    left = _left_over(memory - total, language)
    verdict = t("bar.verdict", language, total=show(total), memory=show(memory), left=left)
    rows = part_rows(estimate, labels or {}, language)
    layers = [_stack(rows, max(total, memory), language), *_card_line(memory, max(total, memory), language)]
    layers += _free(total, memory, language) if total <= memory else _over(total, memory, language)
    return page_wide(alt.layer(*layers), title, verdict, height=100, subtitle=True)


def intervals(estimate: Any, *, labels: Mapping[str, str] | None = None, title: str = "") -> alt.LayerChart:
    """Each part with the interval in which it is expected; the sign tells exact, measured and modelled apart.

    Parameters
    ----------
    estimate : its parts are read [-]
    labels : names of the parts by key, in another language [-]
    title : what stands above [-]

    Returns
    -------
    A chart as wide as its page, its axis stretched near zero so that small parts show [-]
    """
    rows = part_rows(estimate, labels or {})
    most = max((row["high"] for row in rows), default=0)
    x_axis = alt.Axis(
        title="GiB (square-root scale)", format="~g", values=[tick for tick in _TICKS if tick <= most]
    )
    y_axis = alt.Axis(
        title=None,
        labelExpr="split(datum.label, '|')",
        labelLimit=190,
        labelPadding=9,
        ticks=False,
        domain=False,
    )
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("row:N", sort=None, axis=y_axis),
        color=alt.Color(
            "key:N", legend=None, scale=alt.Scale(domain=list(COLORS), range=list(COLORS.values()))
        ),
        tooltip=_tooltips(),
    )
    scale = alt.Scale(type="sqrt", zero=True)
    span = base.mark_rule(strokeWidth=5, opacity=0.6).encode(
        x=alt.X("low:Q", scale=scale, axis=x_axis), x2="high:Q"
    )
    shape = alt.Scale(domain=list(BASIS_SHAPES), range=list(BASIS_SHAPES.values()))
    legend = alt.Legend(title=None, orient="bottom", symbolFillColor=GREY, symbolStrokeColor=GREY)
    point = base.mark_point(filled=True, size=110, opacity=1, stroke="white", strokeWidth=1)
    point = point.encode(
        x=alt.X("gib:Q", scale=scale), shape=alt.Shape("basis:N", scale=shape, legend=legend)
    )
    description = ". ".join(row["row"].replace("|", ": ") + f", {row['basis']}" for row in rows)
    title = title or "Each part and how far to trust it"
    return page_wide(alt.layer(span, point), title, description, height=34 * len(rows))


def context_batch_map(
    rows: Iterable[Mapping[str, Any]], *, title: str = "", language: str = "en"
) -> alt.LayerChart:
    """Which contexts and batches fit: the GiB needed where they do, a cross where they do not.

    Parameters
    ----------
    rows : each with context_tokens [token], batch_size [-], total_bytes [byte] and fits [-] [-]
    title : what stands above [-]
    language : of its words, en or vi [-]

    Returns
    -------
    A chart as wide as its page [-]
    """
    cells = [map_row(row) for row in rows]
    color = alt.Scale(domain=list(VERDICT_COLORS), range=list(VERDICT_COLORS.values()))
    words = names("map", ("fits", "too_big"), language)
    legend = alt.Legend(
        title=None,
        orient="bottom",
        labelExpr=f"datum.label == '{FITS}' ? '{words['fits']}' : '{words['too_big']}'",
    )
    tokens = alt.Axis(labelAngle=0, labelOverlap=True, labelExpr=_TOKENS, title=t("map.context", language))
    base = alt.Chart(alt.Data(values=cells)).encode(
        x=alt.X("context_tokens:O", axis=tokens),
        y=alt.Y("batch_size:O", sort="descending", title=t("map.batch", language)),
        tooltip=[
            alt.Tooltip(f"{name}:N", title=title_of)
            for name, title_of in names("map", _TIPS, language).items()
        ],
    )
    fill = base.mark_rect(stroke="white", strokeWidth=1).encode(
        color=alt.Color("verdict:N", scale=color, legend=legend)
    )
    text = base.mark_text(color="black", fontSize=11).encode(text="sign:N")
    fitting = sum(cell["verdict"] == FITS for cell in cells)
    description = t("map.description", language, fitting=fitting, count=len(cells))
    return page_wide(
        alt.layer(fill, text),
        title or t("map.title", language),
        description,
        height=28 * len({cell["batch_size"] for cell in cells}),
    )


_TICKS = (0, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
_TOKENS = "datum.value % 1024 == 0 ? format(datum.value / 1024, 'd') + 'K' : format(datum.value, ',')"
_TIPS = ("context_tokens", "batch_size", "needed", "sign")


def part_rows(estimate: Any, labels: Mapping[str, str], language: str = "en") -> list[dict[str, Any]]:
    """What the marks and tooltips of a bar read, with each part's place in the stack [GiB]."""
    rows, start = [], 0
    known = parts(language)
    for part in estimate.parts:
        name = labels.get(part.key, known[part.key])
        low, high = part.low_bytes, part.high_bytes
        span = "" if low == high else f" ({low / GiB:.2f}–{high / GiB:.2f})"
        rows.append(
            {
                "key": part.key,
                "part": name,
                "label": f"{name} · {show(part.bytes)}",
                "row": f"{name}|{part.bytes / GiB:.2f} GiB{span}",
                "start": start / GiB,
                "end": (start + part.bytes) / GiB,
                "gib": part.bytes / GiB,
                "low": low / GiB,
                "high": high / GiB,
                "both": f"{part.bytes / GiB:.2f} GiB = {part.bytes / GB:.2f} GB",
                "interval": t("bar.interval", language, low=show(low), high=show(high)),
                "basis": t(f"basis.{part.basis}", language),
            }
        )
        start += part.bytes
    return rows


def map_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """One field of the map: what it needs, its verdict, and the sign that says so without colour."""
    return {
        "context_tokens": int(row["context_tokens"]),
        "batch_size": int(row["batch_size"]),
        "needed": f"{row['total_bytes'] / GiB:.2f} GiB = {row['total_bytes'] / GB:.2f} GB",
        "verdict": FITS if row["fits"] else TOO_BIG,
        "sign": f"{row['total_bytes'] / GiB:.3g}" if row["fits"] else "×",
    }


def _tooltips(language: str = "en") -> list[alt.Tooltip]:
    fields = names("bar", ("part", "both", "interval_tip", "basis"), language)
    return [alt.Tooltip(f"{name.removesuffix('_tip')}:N", title=title) for name, title in fields.items()]


def _stack(rows: list[dict[str, Any]], most_bytes: int, language: str) -> alt.Chart:
    """The parts end to end; the legend repeats every size, so it reads as a table."""
    labels = [row["label"] for row in rows]
    legend = alt.Legend(title=None, orient="bottom", columns=1, labelLimit=320, symbolStrokeWidth=0)
    x = alt.X("start:Q", title="GiB", scale=alt.Scale(domain=[0, most_bytes / GiB * 1.01], nice=False))
    chart = alt.Chart(alt.Data(values=rows)).mark_rect(stroke="white", strokeWidth=0.7)
    return chart.encode(
        x=x,
        x2="end:Q",
        y=alt.value(_BAR_TOP),
        y2=alt.value(_BAR_BOTTOM),
        color=alt.Color(
            "label:N",
            sort=None,
            legend=legend,
            scale=alt.Scale(domain=labels, range=[COLORS[row["key"]] for row in rows]),
        ),
        tooltip=_tooltips(language),
    )


def _card_line(memory: int, most_bytes: int, language: str) -> list[alt.Chart]:
    """Where the card ends, with its size written at the line."""
    text = t("bar.card", language, size=show(memory))
    data = alt.Chart(alt.Data(values=[{"x": memory / GiB, "text": text}]))
    rule = data.mark_rule(color=GREY, strokeWidth=2.5).encode(
        x="x:Q", y=alt.value(4), y2=alt.value(_BAR_BOTTOM + 8)
    )
    inward = -1 if memory * 2 > most_bytes else 1
    label = data.mark_text(color=GREY, align="right" if inward < 0 else "left", dx=5 * inward)
    return [rule, label.encode(x="x:Q", y=alt.value(11), text="text:N")]


def _free(total: int, memory: int, language: str) -> list[alt.Chart]:
    """A dashed frame around what nothing uses."""
    words = t("bar.free_part", language)
    row = {"from": total / GiB, "to": memory / GiB, "part": words, "both": show(memory - total)}
    data = alt.Chart(alt.Data(values=[row]))
    frame = data.mark_rect(fillOpacity=0, stroke=GREY, strokeDash=[4, 3])
    tooltip = _tooltips(language)[:2]
    return [
        frame.encode(x="from:Q", x2="to:Q", y=alt.value(_BAR_TOP), y2=alt.value(_BAR_BOTTOM), tooltip=tooltip)
    ]


def _over(total: int, memory: int, language: str) -> list[alt.Chart]:
    """A line under what stands beyond the card, with its size."""
    words = t("bar.over", language, size=show(total - memory))
    row = {"from": memory / GiB, "to": total / GiB, "text": words}
    data = alt.Chart(alt.Data(values=[row]))
    y = alt.value(_BAR_BOTTOM + 6)
    line = data.mark_rule(color=VERDICT_COLORS[TOO_BIG], strokeWidth=4).encode(x="from:Q", x2="to:Q", y=y)
    text = data.mark_text(color=VERDICT_COLORS[TOO_BIG], align="right", fontWeight="bold")
    return [line, text.encode(x="to:Q", y=alt.value(_BAR_BOTTOM + 18), text="text:N")]


def _left_over(left_bytes: int, language: str) -> str:
    key = "bar.free" if left_bytes >= 0 else "bar.too_much"
    return t(key, language, size=show(abs(left_bytes)))
