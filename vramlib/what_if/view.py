"""A state as figures for a page: ``quick`` follows a slider, ``details`` is the rest; both are plain JSON data.

Texts may hold names that an uploaded file brought along: show them as text, never as HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib import charts, commands, contract, messages, text
from vramlib.estimate import estimate
from vramlib.messages import t
from vramlib.specs import BUDGET_FIELDS, Budget, Estimate
from vramlib.units import show
from vramlib.what_if import verdict
from vramlib.what_if.state import State

BAD = (ValueError, KeyError, OSError, OverflowError, ZeroDivisionError, TypeError)  # as of a sweep's row
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
    try:
        e = answer(state)
        command = commands.command_line(e.scenario)
    except BAD as problem:
        return {"error": text.message(problem), "link": link(state)}
    return {
        "error": "",
        "bar": charts.part_rows(e, messages.parts(state.language)),
        "total_bytes": int(e.total_bytes),
        "card_bytes": int(e.gpu.memory_bytes),
        "headroom_bytes": int(e.headroom_bytes),
        "fits": bool(e.fits),
        "verdict": verdict.sentence(e, state.language),
        "budget": budget(e, state.language),
        "kv": kv(e),
        "command": command,
        "warnings": list(e.warnings),
        "settings": contract.scenario(e.scenario),
        "link": link(state),
    }


def answer(state: State, place: int | None = None, **changes: Any) -> Estimate:
    """The estimate of one configuration, some of its fields changed.

    Parameters
    ----------
    state : any [-]
    place : of the configuration; the current one when not given [-]
    changes : field to value [-]

    Returns
    -------
    The same as ``vramlib.estimate`` of its fields [-]

    Raises
    ------
    ValueError : a value or a combination cannot be used
    KeyError : no such model or card
    """
    return estimate(**{**state.given(place), **changes})


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
