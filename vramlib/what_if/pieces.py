"""The slower figures of a page, one by one, each with what its drawing needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib import text
from vramlib.what_if import compare_settings, pictures, view
from vramlib.what_if.asked import BAD, tried
from vramlib.what_if.prices import Prices
from vramlib.what_if.state import State


def piece(name: str, state: State, prices: Prices) -> dict[str, Any]:
    """One of the slower figures; where there is none, the page says why already.

    Parameters
    ----------
    name : one of ``view.DETAILS`` [-]
    state : any [-]
    prices : a reader's own [-]

    Returns
    -------
    ``data`` and ``currency``, or ``error``: one line, or nothing [-]

    Examples
    --------
    >>> list(piece("map", State().set(gpu="L4"), Prices())["data"][0])[:3]
    ['context_tokens', 'batch_size', 'total_bytes']
    >>> piece("tea", State(), Prices())
    {'error': "no figure 'tea'; known are map, compare, cards, sensitivity, why"}
    """
    if name not in view.DETAILS:
        return {"error": f"no figure {name[:40]!r}; known are {', '.join(view.DETAILS)}"}
    if name != "compare" and tried(state)[1]:
        return {}
    try:
        found = view.DETAILS[name](state, prices)
    except BAD as problem:
        return {"error": text.message(problem)}
    return {"data": _side_by_side(found, state) if name == "compare" else found, "currency": prices.currency}


def _side_by_side(table: Mapping[str, Any], state: State) -> dict[str, Any]:
    """The comparison with the settings that differ, and with all configurations' bars, each with its own card."""
    drawn = [
        row
        for place, memory in enumerate(table["memory_bytes"])
        if memory is not None
        for row in pictures.rows([b for b in table["bars"] if b["place"] == place], memory, state.language)
    ]
    return {**table, "rows": [*compare_settings.rows(state), *table["rows"]], "drawn": drawn}
