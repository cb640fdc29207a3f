"""Growth with tokens, with controls inside the chart: they move in a saved page too, where no Python runs.

Every number is computed in Python and stands in the rows. Inside the chart a control only picks rows
(``choose``, ``cursor``) or multiplies by how many there are (``times``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

from vramlib.specs import PART_COLORS
from vramlib.units import GiB, KiB, MiB, TiB
from vramlib.vega import GREY, page_wide

# Okabe & Ito's set (2008) without its black and yellow, which a page's ground would hide.
SERIES_COLORS = ("#D55E00", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#606060")


def size_text(value: str) -> str:
    """A Vega expression that writes bytes in the unit that fits.

    Examples
    --------
    >>> size_text("datum.value")[:49]
    'datum.value >= 1099511627776 ? format(datum.value'
    """
    steps = ((TiB, "TiB"), (GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB"))
    cases = "".join(f"{value} >= {n} ? format({value} / {n}, '.4~g') + ' {unit}' : " for n, unit in steps)
    return f"{cases}format({value}, '.0f') + ' B'"


def chooser(name: str, options: Sequence[Any], label: str = "") -> alt.Parameter:
    """A list inside the chart; its first option stands at the start.

    Parameters
    ----------
    name : of the parameter, and of the rows' field that it picks or of what it multiplies [-]
    options : what can be chosen [-]
    label : beside it, such as the flag it sets [-]

    Returns
    -------
    An Altair parameter [-]
    """
    return alt.param(
        name=name, value=options[0], bind=alt.binding_select(options=list(options), name=f"{label or name} ")
    )


def power_slider(name: str, start: int, low: int, high: int, label: str) -> alt.Parameter:
    """A slider inside the chart over powers of two; the parameter is the exponent.

    Parameters
    ----------
    name : of the parameter [-]
    start, low, high : exponents [-]
    label : beside it; it ends where the exponent follows, as ``tokens = 2^`` [-]

    Returns
    -------
    An Altair parameter [-]
    """
    return alt.param(
        name=name, value=start, bind=alt.binding_range(min=low, max=high, step=1, name=f"{label} ")
    )


def spans(
    rows: Iterable[Mapping[str, Any]],
    *,
    labels: Mapping[str, str],
    cursor: alt.Parameter,
    choose: Sequence[alt.Parameter] = (),
    times: Sequence[alt.Parameter] = (),
    marks: Iterable[Mapping[str, Any]] = (),
    part: str = "kv_cache",
    mark_part: str = "model_weights",
    x_step: int = 5,
) -> alt.LayerChart:
    """A line for each series from its size at the first x to its size at the last, and a point where the slider is.

    Parameters
    ----------
    rows : each with ``series``, ``x`` (a power of two), ``y`` [byte], and a field for each ``choose`` [-]
    labels : ``title``, ``description``, ``axis``, and ``first``, ``last``, ``mark`` for the signs' legend [-]
    cursor : a ``power_slider`` for x [-]
    choose : ``chooser``s that pick rows by the field of their name [-]
    times : ``chooser``s that multiply y [-]
    marks : rows with ``series`` and ``y`` [byte], drawn as a tick to compare with; never multiplied [-]
    part, mark_part : whose colours the lines and the ticks have [-]
    x_step : powers of two from one mark of the axis to the next [-]

    Returns
    -------
    A chart as wide as its page [-]
    """
    found, ticks = [dict(row) for row in rows], [dict(row, sign=labels["mark"]) for row in marks]
    ends = {min(r["x"] for r in found): labels["first"], max(r["x"] for r in found): labels["last"]}
    found = [{**r, "sign": ends.get(r["x"], "")} for r in found]
    base = _picked(found, choose, times)
    size = alt.X(
        "shown:Q", scale=alt.Scale(type="log", base=2, nice=False), axis=_size_axis(labels["axis"], x_step)
    )
    place = alt.Y("series:N", sort=None, axis=_name_axis())
    shapes = alt.Scale(
        domain=[labels["first"], labels["last"], labels["mark"]], range=["circle", "square", "stroke"]
    )
    legend = alt.Legend(title=None, orient="bottom", symbolStrokeColor=GREY, symbolFillColor="transparent")
    sign = alt.Shape("sign:N", scale=shapes, legend=legend)
    color = PART_COLORS[part]
    line = base.mark_line(strokeWidth=3, opacity=0.5, color=color).encode(x=size, y=place, detail="series:N")
    end = base.transform_filter("datum.sign != ''").mark_point(
        size=70, strokeWidth=2, color=color, fill="transparent"
    )
    at = base.transform_filter(f"datum.x == pow(2, {cursor.name})")
    dot = at.mark_circle(size=130, opacity=1, color=color).encode(x=size, y=place, tooltip=_tips())
    text = at.mark_text(dy=-13, color=GREY, fontSize=12, fontWeight="bold").encode(
        x=size, y=place, text="said:N"
    )
    layers = [line, end.encode(x=size, y=place, shape=sign), dot, text]
    if ticks:
        tick = alt.Chart(alt.Data(values=ticks)).transform_calculate(
            shown="datum.y", said=size_text("datum.y")
        )
        tick = tick.mark_point(size=260, strokeWidth=3, angle=90, color=PART_COLORS[mark_part])
        layers.append(tick.encode(x="shown:Q", y=place, shape=sign, tooltip=_tips()))
    chart = alt.layer(*layers).add_params(cursor, *choose, *times)
    return page_wide(chart, labels["title"], labels["description"], height=52 * len(_names(found)))


def growth(
    rows: Iterable[Mapping[str, Any]],
    *,
    labels: Mapping[str, str],
    choose: Sequence[alt.Parameter] = (),
    times: Sequence[alt.Parameter] = (),
    x_ticks: Sequence[int] = (),
    log: bool = True,
    height: int = 260,
    colors: Sequence[str] = (),
    y_step: int = 5,
) -> alt.LayerChart:
    """A curve for each series over tokens (or layers, or sequences).

    Parameters
    ----------
    rows : each with ``series``, ``x``, ``y`` [byte], and a field for each ``choose`` [-]
    labels : ``title``, ``description``, ``x``, ``y`` [-]
    choose : ``chooser``s that pick rows by the field of their name [-]
    times : ``chooser``s that multiply y [-]
    x_ticks : where the x axis has its numbers; multiples of 1024 are written 1K, 2K [-]
    log : both axes in powers of two; else both from zero, y in one unit [-]
    height : of the drawing [px]
    colors : of the series in their order, as of the parts where series are parts [-]
    y_step : powers of two from one mark of a logarithmic y axis to the next [-]

    Returns
    -------
    A chart as wide as its page [-]
    """
    found = [dict(row) for row in rows]
    scale = alt.Scale(type="log", base=2, nice=False) if log else alt.Scale(zero=True)
    unit, name = (1, "") if log else _unit(max(row["y"] for row in found))
    y_axis = (
        _size_axis(labels["y"], y_step) if log else alt.Axis(title=f"{labels['y']} ({name})", format="~g")
    )
    x_axis = alt.Axis(
        title=labels["x"], labelExpr=_COUNT, labelOverlap=True, values=list(x_ticks) or alt.Undefined
    )
    legend = alt.Legend(title=None, orient="bottom", columns=2, labelLimit=300)
    encoded = (
        _picked(found, choose, times)
        .transform_calculate(drawn=f"datum.shown / {unit}")
        .encode(
            x=alt.X("x:Q", scale=scale, axis=x_axis),
            y=alt.Y("drawn:Q", scale=scale, axis=y_axis),
            color=alt.Color(
                "series:N", sort=None, scale=_colors(found, colors or SERIES_COLORS), legend=legend
            ),
            tooltip=_tips(),
        )
    )
    chart = alt.layer(encoded.mark_line(strokeWidth=2.5), encoded.mark_point(size=45, filled=True))
    if choose or times:
        chart = chart.add_params(*choose, *times)
    return page_wide(chart, labels["title"], labels["description"], height=height)


_COUNT = "datum.value && datum.value % 1024 == 0 ? format(datum.value / 1024, ',') + 'K' : format(datum.value, ',')"


def _unit(most: float) -> tuple[int, str]:
    """The unit in which the largest size is written."""
    units = ((GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB"))
    return next(((size, name) for size, name in units if most >= size), (1, "B"))


def _picked(
    rows: list[dict[str, Any]], choose: Sequence[alt.Parameter], times: Sequence[alt.Parameter]
) -> alt.Chart:
    """Rows as the controls leave them, with ``shown`` (bytes) and ``said`` (bytes in words)."""
    chart = alt.Chart(alt.Data(values=rows))
    for parameter in choose:
        chart = chart.transform_filter(f"datum['{parameter.name}'] == {parameter.name}")
    factor = "".join(f" * {parameter.name}" for parameter in times)
    return chart.transform_calculate(shown=f"datum.y{factor}").transform_calculate(
        said=size_text("datum.shown")
    )


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["series"] for row in rows))


def _colors(rows: list[dict[str, Any]], colors: Sequence[str]) -> alt.Scale:
    names = _names(rows)
    return alt.Scale(domain=names, range=[colors[i % len(colors)] for i in range(len(names))])


def _size_axis(title: str, step: int = 5) -> alt.Axis:
    ticks = [1 << n for n in range(10, 51, step)]
    return alt.Axis(title=title, values=ticks, labelExpr=size_text("datum.value"), labelOverlap=True)


def _name_axis() -> alt.Axis:
    return alt.Axis(
        title=None,
        labelExpr="split(datum.label, '|')",
        labelLimit=230,
        labelPadding=8,
        ticks=False,
        domain=False,
    )


def _tips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("series:N", title=" "),
        alt.Tooltip("x:Q", title="x", format=","),
        alt.Tooltip("said:N", title=" "),
    ]
