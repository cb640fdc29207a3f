"""Strips that are cut into pieces: memory segments, cache blocks, forward passes, with a slider over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

from vramlib.vega import GREY, page_wide

LANE_HEIGHT = 24  # of one strip and the gap below it [px]


def time_slider(name: str, last: int, label: str, *, start: int = 0) -> alt.Parameter:
    """A slider inside the chart over precomputed steps; it moves in a saved page too.

    Parameters
    ----------
    name : of the parameter, and of the rows' field that it picks [-]
    last : its last step; the first is 0 [-]
    label : beside it [-]
    start : where it stands at first [-]

    Returns
    -------
    An Altair parameter [-]
    """
    return alt.param(
        name=name, value=start, bind=alt.binding_range(min=0, max=last, step=1, name=f"{label} ")
    )


def strips(
    rows: Iterable[Mapping[str, Any]],
    *,
    labels: Mapping[str, str],
    colors: Mapping[str, str],
    lanes: Sequence[str],
    extent: float,
    controls: Sequence[alt.Parameter] = (),
    captions: Iterable[Mapping[str, Any]] = (),
) -> alt.LayerChart:
    """One lane under the other, each a strip from left to right, cut into pieces of several kinds.

    Parameters
    ----------
    rows : each a piece with ``lane``, ``start``, ``end``, ``kind``, ``note`` (its tooltip), and a field for each
        control [-]
    labels : ``title``, ``description``, ``axis`` [-]
    colors : kind to its colour, in the legend's order [-]
    lanes : all lanes from top to bottom, so that a slider does not move them [-]
    extent : right end of the axis, for the same reason [axis]
    controls : ``time_slider``s and ``charts_growth.chooser``s that pick rows by the field of their name [-]
    captions : rows with ``text`` and a field for each control: what stands above the strips [-]

    Returns
    -------
    A chart as wide as its page [-]
    """
    place = alt.Y("lane:N", scale=alt.Scale(domain=list(lanes)), axis=_lane_axis(), sort=None)
    scale = alt.Scale(domain=[0, extent], nice=False)
    piece = _picked(rows, controls).mark_bar(stroke="white", strokeWidth=0.8, height={"band": 0.82})
    kinds = alt.Scale(domain=list(colors), range=list(colors.values()))
    legend = alt.Legend(title=None, orient="bottom", columns=4, labelLimit=260)
    layers = [
        piece.encode(
            x=alt.X("start:Q", scale=scale, axis=alt.Axis(title=labels["axis"], format=",.6~g")),
            x2="end:Q",
            y=place,
            color=alt.Color("kind:N", scale=kinds, legend=legend),
            tooltip=[alt.Tooltip("kind:N", title=" "), alt.Tooltip("note:N", title=" ")],
        )
    ]
    said = list(captions)
    if said:
        text = _picked(said, controls).mark_text(align="left", color=GREY, fontSize=12, fontWeight="bold")
        layers.append(text.encode(x=alt.value(0), y=alt.value(-10), text="text:N"))
    chart = alt.layer(*layers)
    if controls:
        chart = chart.add_params(*controls)
    return page_wide(chart, labels["title"], labels["description"], height=LANE_HEIGHT * len(lanes))


def _picked(rows: Iterable[Mapping[str, Any]], controls: Sequence[alt.Parameter]) -> alt.Chart:
    chart = alt.Chart(alt.Data(values=[dict(row) for row in rows]))
    for parameter in controls:
        chart = chart.transform_filter(f"datum['{parameter.name}'] == {parameter.name}")
    return chart


def _lane_axis() -> alt.Axis:
    return alt.Axis(title=None, labelLimit=200, labelPadding=8, ticks=False, domain=False)
