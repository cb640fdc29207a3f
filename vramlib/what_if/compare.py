"""Up to four configurations side by side, each with its difference to the first."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from vramlib import charts, messages
from vramlib.messages import t
from vramlib.specs import PART_KEYS, Budget, Estimate
from vramlib.units import GiB, show
from vramlib.what_if.asked import tried
from vramlib.what_if.state import State

NOTHING = "–"


def _part(key: str, e: Estimate) -> Any:
    return e.part(key).bytes


# Rows that are sizes or counts, with what they read; the others are words.
FIGURES: dict[str, Callable[[Estimate], Any]] = {
    "total": lambda e: e.total_bytes,
    "headroom": lambda e: e.headroom_bytes,
    **{key: functools.partial(_part, key) for key in PART_KEYS},
    "kv_pool_bytes": lambda e: (e.budget or Budget()).kv_pool_bytes,
    "kv_pool_tokens": lambda e: (e.budget or Budget()).kv_pool_tokens,
    "max_concurrency": lambda e: (e.budget or Budget()).max_concurrency,
    "max_model_len": lambda e: e.scenario.max_model_len,
}


def table(state: State) -> dict[str, Any]:
    """The configurations as columns.

    Parameters
    ----------
    state : any [-]

    Returns
    -------
    ``columns``: a name for each configuration.
    ``rows``: [[label, text of each configuration, …], …], in columns after the first with the difference in brackets.
    ``figures``: {row: [number of each configuration or None, …]}, keys of ``FIGURES`` [byte], [token] or [-].
    ``bars``: rows of ``charts.part_rows`` of all, with ``bar`` (name), ``place`` (from 0), ``bytes``, ``size``.
    ``memory_bytes``: of each one's card, None where it cannot be used [byte].
    ``errors``: why a configuration cannot be used, ``""`` where it can [-]

    Examples
    --------
    >>> found = table(State().set(gpu="L4").add("two").set(batch_size=2))
    >>> found["columns"][1], [b - a for a, b in [found["figures"]["kv_cache"]]]
    ('two', [167772160])
    """
    found = [tried(state, place) for place in range(len(state.configurations))]
    estimates, errors = [e for e, _ in found], [why for _, why in found]
    figures = {name: [None if e is None else read(e) for e in estimates] for name, read in FIGURES.items()}
    return {
        "columns": [name(state, place) for place in range(len(estimates))],
        "rows": [*_words(estimates, errors, state.language), *_rows(figures, state.language)],
        "figures": figures,
        "bars": [row for place, e in enumerate(estimates) if e for row in bar(e, state, place)],
        "memory_bytes": [None if e is None else int(e.gpu.memory_bytes) for e in estimates],
        "errors": errors,
    }


def name(state: State, place: int) -> str:
    """A configuration's own name, else its number and model.

    Examples
    --------
    >>> name(State(), 0)
    '1: Llama-3.1-8B'
    """
    one = state.configurations[place]
    return one.name or f"{place + 1}: {one.fields['model'].rpartition('/')[2]}"


def bar(e: Estimate, state: State, place: int) -> list[dict[str, Any]]:
    """One configuration's eight parts as rows of a chart."""
    own = {"bar": name(state, place), "place": place}
    rows = charts.part_rows(e, messages.parts(state.language), state.language)
    sizes = [{"bytes": int(p.bytes), "size": show(p.bytes)} for p in e.parts]
    return [{**own, **row, **size} for row, size in zip(rows, sizes, strict=True)]


def _words(estimates: list[Estimate | None], errors: list[str], language: str) -> list[list[str]]:
    """What each configuration is, and whether it fits."""
    rows = {
        t("field.model", language): [e and e.model.name for e in estimates],
        t("field.gpu", language): [e and _cards(e) for e in estimates],
        t("field.engine", language): [
            e and f"{e.scenario.engine} {e.scenario.engine_version}" for e in estimates
        ],
        t("field.quantization", language): [e and e.scenario.quantization for e in estimates],
        t("what.row_fits", language): [
            e and t("what.yes" if e.fits else "what.no", language) for e in estimates
        ],
    }
    found = [[label, *(text or NOTHING for text in texts)] for label, texts in rows.items()]
    return [
        *found,
        *([[t("what.row_error", language), *(why or "" for why in errors)]] if any(errors) else []),
    ]


def _cards(e: Estimate) -> str:
    return e.gpu.name if e.scenario.world_size == 1 else f"{e.scenario.world_size} × {e.gpu.name}"


def _rows(figures: dict[str, list[Any]], language: str) -> list[list[str]]:
    parts = messages.parts(language)
    return [
        [
            parts.get(key) or _label(key, language),
            *(_cell(key, v, values[0], i) for i, v in enumerate(values)),
        ]
        for key, values in figures.items()
        if any(v is not None for v in values)
    ]


def _label(key: str, language: str) -> str:
    if key in ("total", "headroom"):
        return t(f"what.row_{key}", language)
    return t("field.max_model_len" if key == "max_model_len" else f"what.{key}", language)


def _cell(key: str, value: Any, first: Any, place: int) -> str:
    """A figure, and after the first column its difference to the first."""
    if value is None:
        return NOTHING
    if not place or first is None:
        return _text(key, value)
    return f"{_text(key, value)} ({_signed(key, value - first)})"


def _text(key: str, value: Any) -> str:
    if key == "max_concurrency":
        return f"{value:,.2f}"
    return (
        f"{value:,}"
        if key in ("kv_pool_tokens", "max_model_len")
        else f"{value / GiB:,.2f} GiB".replace("-", "−")
    )


def _signed(key: str, difference: Any) -> str:
    if not difference:
        return "="
    return ("+" if difference > 0 else "−") + _text(key, abs(difference))
