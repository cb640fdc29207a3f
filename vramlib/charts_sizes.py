"""Sizes side by side: one bar a row, cut into pieces, its size written beside its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import altair as alt

from vramlib.messages import t
from vramlib.specs import PART_COLORS
from vramlib.units import GiB, show
from vramlib.vega import GREY, page_wide

CARD = "card"  # key of a row that is not one of the eight parts: the card's memory
_PALETTE = {**PART_COLORS, CARD: GREY}


def sizes(data: alt.Data, *, bars: int, title: str, description: str, axis: str = "GiB") -> alt.LayerChart:
    """Horizontal bars from zero; each row of the data is one piece of a bar.

    Parameters
    ----------
    data : rows with ``bar`` (name and size, ``|`` between two lines), ``place`` (from the top), ``key`` (a part,
        or ``card``), ``start`` and ``end`` [axis], ``piece`` (what it is, for the tooltip) and ``size`` (in
        words) [-]
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
        y=alt.Y("bar:N", sort=alt.SortField("place"), axis=names),
        x=alt.X("start:Q", title=axis, scale=alt.Scale(zero=True)),
        x2="end:Q",
        color=alt.Color("key:N", scale=colors, legend=None),
        tooltip=[alt.Tooltip("piece:N", title=" "), alt.Tooltip("size:N", title=" ")],
    )
    return page_wide(alt.layer(pieces, data=data), title, description, height=44 * bars)


def titled(title: str, description: str, *, bars: int) -> Callable[[alt.Data, str], alt.LayerChart]:
    """A widget's ``draw``: bars under words of the message table.

    Parameters
    ----------
    title, description : keys of messages [-]
    bars : how many bars there are [-]

    Returns
    -------
    Data and a language to the chart [-]
    """
    return lambda data, language: sizes(
        data, bars=bars, title=t(title, language), description=t(description, language)
    )


def piece(
    place: int, key: str, name: str, size: int, *, bar: str = "", bar_bytes: int = -1, start: int = 0
) -> dict[str, Any]:
    """One row for ``sizes``: a whole bar, or one piece of it.

    Parameters
    ----------
    place : of its bar from the top [-]
    key : a part, or ``card`` [-]
    name : of the piece [-]
    size : of the piece [byte]
    bar : name of the bar; the piece's own where it is the whole bar [-]
    bar_bytes : size of the bar [byte]
    start : where the piece begins [byte]

    Returns
    -------
    A row with sizes in GiB [-]

    Examples
    --------
    >>> piece(0, "kv_cache", "KV cache", 2**30)["bar"]
    'KV cache|1.00 GiB'
    """
    return {
        "bar": f"{bar or name}|{show(size if bar_bytes < 0 else bar_bytes)}",
        "place": place,
        "key": key,
        "start": start / GiB,
        "end": (start + size) / GiB,
        "piece": name,
        "size": show(size),
    }
