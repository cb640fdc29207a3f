"""Sizes side by side: one bar a row, cut into pieces, its size written beside its name."""

from __future__ import annotations

import altair as alt

from vramlib.specs import PART_COLORS
from vramlib.vega import GREY, page_wide

CARD = "card"  # key of a row that is not one of the eight parts: the card's memory
_PALETTE = {**PART_COLORS, CARD: GREY}


def sizes(data: alt.Data, *, bars: int, title: str, description: str, axis: str = "GiB") -> alt.LayerChart:
    """Horizontal bars from zero; each row of the data is one piece of a bar.

    Parameters
    ----------
    data : rows with ``bar`` (name and size, ``|`` between two lines), ``key`` (a part, or ``card``), ``start``
        and ``end`` [axis], ``piece`` (what it is, for the tooltip) and ``size`` (its size in words) [-]
    bars : how many bars there are [-]
    title : what stands above [-]
    description : the picture in words, for a screen reader [-]
    axis : title of the axis [-]

    Returns
    -------
    A chart as wide as its page [-]
    """
    names = alt.Axis(
        title=None,
        labelExpr="split(datum.label, '|')",
        labelLimit=260,
        labelPadding=8,
        ticks=False,
        domain=False,
    )
    colors = alt.Scale(domain=list(_PALETTE), range=list(_PALETTE.values()))
    pieces = alt.Chart().mark_bar(stroke="white", strokeWidth=0.7)
    pieces = pieces.encode(
        y=alt.Y("bar:N", sort=None, axis=names),
        x=alt.X("start:Q", title=axis, scale=alt.Scale(zero=True)),
        x2="end:Q",
        color=alt.Color("key:N", scale=colors, legend=None),
        tooltip=[alt.Tooltip("piece:N", title=" "), alt.Tooltip("size:N", title=" ")],
    )
    return page_wide(alt.layer(pieces, data=data), title, description, height=44 * bars)
