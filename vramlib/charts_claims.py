"""A claim beside the numbers: its range as a band, and where models, cards or figures really lie."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import altair as alt

from vramlib.vega import GREY, page_wide

INSIDE = "#009E73"  # Okabe & Ito's green, as the claims that hold


def ranges(
    cases: Mapping[str, Mapping[str, float]],
    *,
    low: float,
    high: float,
    labels: Mapping[str, str],
    part: str,
    log: bool = True,
) -> alt.LayerChart:
    """For each case the range of all values, the middle eight tenths and the median, over the claim's band.

    Parameters
    ----------
    cases : what was asked → name of each model, card or figure → its number [unit]
    low, high : the claim's bounds [unit]
    labels : ``title``, ``description``, ``axis``, ``band``, ``inside``
        (with ``{below}``, ``{inside}``, ``{above}``) [-]
    part : whose colour the ranges have [-]
    log : a logarithmic axis, for ranges over several powers of ten [-]

    Returns
    -------
    A chart as wide as its page; the shares below, inside and above stand beside each range [-]
    """
    from vramlib.specs import PART_COLORS

    rows = [_row(name, values, low, high, labels["inside"]) for name, values in cases.items()]
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=True)
    ticks = [10.0**n for n in range(-9, 7)] if log else alt.Undefined
    axis = alt.Axis(title=labels["axis"], format="~g", values=ticks, labelOverlap=True)
    names = alt.Axis(
        title=None, labelExpr="split(datum.label, '|')", labelLimit=280, ticks=False, domain=False
    )
    base = alt.Chart(alt.Data(values=rows)).encode(y=alt.Y("case:N", sort=None, axis=names))
    tips = [alt.Tooltip(f"{name}:N", title=name) for name in ("smallest", "median", "largest")]
    band = alt.Chart(alt.Data(values=[{"low": low, "high": high, "text": labels["band"]}]))
    layers = [
        band.mark_rect(color=INSIDE, opacity=0.25).encode(
            x=alt.X("low:Q", scale=scale, axis=axis), x2="high:Q"
        ),
        band.mark_text(color=GREY, align="center", baseline="top", y=2, fontSize=11)
        .encode(x=alt.X("middle:Q", scale=scale), text="text:N")
        .transform_calculate(
            middle="sqrt(datum.low * datum.high)" if log else "(datum.low + datum.high) / 2"
        ),
        base.mark_rule(strokeWidth=2, color=PART_COLORS[part]).encode(
            x=alt.X("least:Q", scale=scale), x2="most:Q"
        ),
        base.mark_bar(height=12, color=PART_COLORS[part]).encode(
            x=alt.X("p10:Q", scale=scale), x2="p90:Q", tooltip=tips
        ),
        base.mark_tick(thickness=4, height=18, color="black", stroke="white", strokeWidth=0.8).encode(
            x=alt.X("middle:Q", scale=scale), tooltip=tips
        ),
    ]
    words = ". ".join(f"{row['case'].replace('|', ': ')}, median {row['median']}" for row in rows)
    return page_wide(
        alt.layer(*layers), labels["title"], f"{labels['description']} {words}", height=54 * len(rows)
    )


def _row(name: str, values: Mapping[str, float], low: float, high: float, inside: str) -> dict[str, Any]:
    """One case: ends with their names, tenths, median, and the shares in words."""
    ordered = sorted(values.items(), key=lambda pair: (pair[1], pair[0]))
    numbers = [value for _, value in ordered]
    tenths = statistics.quantiles(numbers, n=10, method="inclusive")
    shares = {
        "below": _share(value < low for value in numbers),
        "inside": _share(low <= value <= high for value in numbers),
        "above": _share(value > high for value in numbers),
    }
    middle = statistics.median(numbers)
    return {
        "case": f"{name}|{inside.format(**shares)}",
        "least": numbers[0],
        "p10": tenths[0],
        "middle": middle,
        "p90": tenths[-1],
        "most": numbers[-1],
        "smallest": f"{ordered[0][0].rsplit('/', 1)[-1]} {numbers[0]:.3g}",
        "median": f"{middle:.3g}",
        "largest": f"{ordered[-1][0].rsplit('/', 1)[-1]} {numbers[-1]:.3g}",
    }


def _share(hits: Iterable[bool]) -> str:
    found = list(hits)
    return f"{sum(found) / len(found):.0%}".replace("%", " %")
