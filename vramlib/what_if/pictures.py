"""The dashboard's charts as specifications whose rows come later: bars of the eight parts against their cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from vramlib.controls import LIVE
from vramlib.messages import t
from vramlib.specs import PART_COLORS
from vramlib.units import GiB, show
from vramlib.vega import GREY, page_wide

OVER = "#D55E00"
_STEP, _BAND = 78, 0.42  # height of one bar's place [px], and what the bar takes of it


def bars(data: alt.Data, language: str = "en", *, title: str = "") -> alt.LayerChart:
    """Bars of the eight parts, one a configuration, each with its card's end and what is free or over.

    Parameters
    ----------
    data : rows of ``rows`` [-]
    language : en or vi [-]
    title : what stands above [-]

    Returns
    -------
    A chart as wide as its page [-]
    """
    base = alt.Chart()
    place = alt.Y(
        "bar:N",
        sort=alt.SortField("place"),
        axis=_names(),
        scale=alt.Scale(paddingInner=1 - _BAND, paddingOuter=0.4),
    )
    x = alt.X("start:Q", title="GiB", scale=alt.Scale(zero=True, nice=False))
    colors = alt.Scale(domain=list(PART_COLORS), range=list(PART_COLORS.values()))
    tips = [alt.Tooltip(f"{name}:N", title=" ") for name in ("part", "both", "interval", "basis")]
    parts = base.transform_filter("datum.kind == 'part'").mark_bar(stroke="white", strokeWidth=0.7)
    parts = parts.encode(
        y=place, x=x, x2="end:Q", color=alt.Color("key:N", scale=colors, legend=None), tooltip=tips
    )
    layers = [parts, *_frame(base, place), *_card(base, place)]
    title = title or t("app.bar", language)
    chart = page_wide(alt.layer(*layers, data=data), title, t("app.bar_description", language), height=_STEP)
    return chart.properties(height=alt.Step(_STEP))


def live(language: str = "en") -> dict[str, Any]:
    """The bars' specification without rows and without a title, for a page that has its own."""
    spec = bars(alt.Data(name=LIVE, values=[]), language).to_dict()
    return {k: v for k, v in spec.items() if k != "title"}


def _names() -> alt.Axis:
    return alt.Axis(
        title=None, ticks=False, domain=False, labelLimit=140, labelExpr="split(datum.label, '|')"
    )


def _frame(base: alt.Chart, place: alt.Y) -> list[alt.Chart]:
    """A dashed frame around what is free, a thick line under what stands beyond the card."""
    free = base.transform_filter("datum.kind == 'free'")
    over = base.transform_filter("datum.kind == 'over'")
    band = {"y": place, "x": "start:Q", "x2": "end:Q"}
    return [
        free.mark_bar(fillOpacity=0, stroke=GREY, strokeDash=[4, 3]).encode(**band),
        over.mark_bar(color=OVER, height=5, yOffset=22).encode(**band),
        _text(free, "start:Q", "left", GREY).encode(y=place),
        _text(over, "end:Q", "right", OVER).encode(y=place),
    ]


def _text(base: alt.Chart, x: str, align: Any, color: str) -> alt.Chart:
    side = 3 if align == "left" else -1
    return base.mark_text(align=align, dx=side, dy=31, color=color, fontSize=12).encode(x=x, text="text:N")


def _card(base: alt.Chart, place: alt.Y) -> list[alt.Chart]:
    """A tick where the card ends, with its size above it."""
    card = base.transform_filter("datum.kind == 'card'")
    tick = card.mark_tick(color=GREY, thickness=3, size=52).encode(y=place, x="end:Q")
    label = card.mark_text(color=GREY, align="right", dy=-32, dx=2, fontSize=12)
    return [tick, label.encode(y=place, x="end:Q", text="text:N")]


def rows(
    parts: Sequence[Mapping[str, Any]], memory: int, language: str = "en", *, name: str | None = None
) -> list[dict[str, Any]]:
    """One configuration's rows for ``bars``.

    Parameters
    ----------
    parts : rows of ``compare.bar`` [-]
    memory : of the card [byte]
    language : en or vi [-]
    name : beside the bar, ``|`` between two lines; the configuration's own when not given [-]

    Returns
    -------
    A row for each part, one for what is free or over, one for the card [-]
    """
    one = {"bar": parts[0]["bar"] if name is None else name, "place": parts[0]["place"]}
    kept = ("key", "part", "both", "interval", "basis", "start", "end")
    made = [{**one, "kind": "part", **{k: part[k] for k in kept}} for part in parts]
    total = sum(part["bytes"] for part in parts)
    kind = "free" if total <= memory else "over"
    low, high = sorted((total / GiB, memory / GiB))
    left = t(f"bar.{kind}", language, size=show(abs(memory - total)))
    made.append({**one, "kind": kind, "start": low, "end": high, "text": left})
    made.append(
        {**one, "kind": "card", "end": memory / GiB, "text": t("bar.card", language, size=show(memory))}
    )
    return made


def still(found: Sequence[Mapping[str, Any]], language: str = "en") -> alt.LayerChart:
    """The bars with their rows inside, which stay when no kernel runs."""
    return bars(alt.Data(name=LIVE, values=[dict(row) for row in found]), language)
