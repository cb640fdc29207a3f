"""A state as figures for a page: ``quick`` follows a slider, ``details`` is the rest; both are plain JSON data.

Texts may hold names that an uploaded file brought along: show them as text, never as HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vramlib import commands, contract
from vramlib.messages import retold, t
from vramlib.report import sections
from vramlib.specs import BUDGET_FIELDS, Budget, Estimate
from vramlib.units import show
from vramlib.what_if import cards, compare, fit_map, sensitivity
from vramlib.what_if.asked import answer, tried
from vramlib.what_if.cards import Prices
from vramlib.what_if.state import State
from vramlib.what_if.uploads import short

COUNTS = ("num_blocks", "kv_pool_tokens", "max_model_len_that_fits")


def quick(state: State) -> dict[str, Any]:
    """What moves with a slider, for the current configuration.

    Parameters
    ----------
    state : any [-]

    Returns
    -------
    ``error``: one line, or ``""``; where it is not empty only ``error`` and ``link`` are there and the page keeps what
    it shows.
    ``bar``: rows of ``charts.part_rows`` (key, part, label, start, end, gib, low, high, both, interval, basis) [GiB],
    with bytes, size (text), bar (the configuration's name) and place,
    ``total_bytes``, ``card_bytes``, ``headroom_bytes`` [byte], ``fits``, ``verdict`` (sentence),
    ``budget``: [[label, text], …], ``kv``: {tokens, concurrency} as text, ``command``, ``warnings``: [text, …],
    ``settings``: {field: value as resolved}, for every scenario field,
    ``link``: the part after ``#``, ``""`` where the state is too large for a link [-]

    Examples
    --------
    >>> found = quick(State().set(gpu="L4", max_model_len=8192))
    >>> found["error"], found["fits"], len(found["bar"]), found["settings"]["max_num_seqs"]
    ('', True, 8, 256)
    >>> quick(State().set(tensor_parallel_size=7))["error"][:34]
    'tensor_parallel_size 7 does not di'
    """
    e, error = tried(state)
    if e is None:
        return {"error": error, "link": link(state)}
    return {
        "error": "",
        "bar": compare.bar(e, state, state.current),
        "total_bytes": int(e.total_bytes),
        "card_bytes": int(e.gpu.memory_bytes),
        "headroom_bytes": int(e.headroom_bytes),
        "fits": bool(e.fits),
        "verdict": retold("verdict", e.verdict, state.language),
        "budget": budget(e, state.language),
        "kv": kv(e),
        "command": commands.command_line(e.scenario),
        "warnings": [short(retold("warning", warning, state.language)) for warning in e.warnings],
        "settings": contract.scenario(e.scenario),
        "link": link(state),
    }


def details(state: State, prices: Prices | None = None) -> dict[str, Any]:
    """The rest of the page, for the current configuration; ``DETAILS`` has each of its pieces apart.

    Parameters
    ----------
    state : any [-]
    prices : a reader's own [-]

    Returns
    -------
    ``error``: one line, or ``""``; where it is not empty nothing else is there.
    ``map``: rows of ``fit_map.rows``, ``compare``: of ``compare.table``, ``cards``: of ``cards.rows``,
    ``sensitivity``: of ``sensitivity.rows``, ``why``: Markdown, a heading for each part with its formulas and numbers
    [-]

    Examples
    --------
    >>> found = details(State().set(gpu="L4"))
    >>> list(found), found["why"][:17]
    (['error', 'map', 'compare', 'cards', 'sensitivity', 'why'], '### Model weights')
    """
    _, error = tried(state)
    if error:
        return {"error": error}
    return {"error": "", **{name: piece(state, prices) for name, piece in DETAILS.items()}}


def why(state: State) -> str:
    """Every formula of the eight parts with its numbers put in, as Markdown."""
    return sections.formulas(answer(state), state.language)


DETAILS: Mapping[str, Callable[[State, Prices | None], Any]] = {
    "map": lambda state, _: fit_map.rows(state),
    "compare": lambda state, _: compare.table(state),
    "cards": cards.rows,
    "sensitivity": lambda state, _: sensitivity.rows(state),
    "why": lambda state, _: why(state),
}


def link(state: State) -> str:
    """The state as a link, or ``""`` where it needs a file."""
    try:
        return state.to_link()
    except ValueError:
        return ""


def budget(e: Estimate, language: str) -> list[list[str]]:
    """What the engine reserves at start, a label and a text for each figure; empty where it does not reserve."""
    b = e.budget or Budget()
    known = {name: getattr(b, name) for name in BUDGET_FIELDS}
    return [[t(f"what.{name}", language), _figure(name, v)] for name, v in known.items() if v is not None]


def _figure(name: str, value: Any) -> str:
    if name == "max_concurrency":
        return f"{value:.2f}"
    return f"{value:,}" if name in COUNTS else show(value)


def kv(e: Estimate) -> Mapping[str, str]:
    """Tokens that the pool holds and requests of full length at once, as text; ``""`` where there is no pool."""
    b = e.budget or Budget()
    return {
        "tokens": "" if b.kv_pool_tokens is None else f"{b.kv_pool_tokens:,}",
        "concurrency": "" if b.max_concurrency is None else f"{b.max_concurrency:.2f}",
    }
