"""The current configuration on every card of the catalogue, ranked by a reader's own prices where there are some."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from vramlib import catalog, resolve
from vramlib.estimate import estimate, largest_that_starts, of, parts
from vramlib.specs import Estimate, GpuSpec, Scenario
from vramlib.units import show
from vramlib.what_if.asked import BAD, sound
from vramlib.what_if.prices import Prices, read_prices
from vramlib.what_if.state import State

__all__ = ["Prices", "concurrency", "on", "read_prices", "rows"]


def rows(state: State, prices: Prices | None = None) -> list[dict[str, Any]]:
    """The current configuration on every card: those that fit first, by price where there are some, else by memory.

    Parameters
    ----------
    state : any [-]
    prices : a reader's own; none are shipped [-]

    Returns
    -------
    Rows: ``gpu``, ``num_cards``, ``memory`` (text), ``memory_bytes``, ``total_bytes``, ``headroom_bytes`` [byte],
    ``headroom`` (text), ``fits``, ``max_model_len`` [token], ``concurrency`` (requests of full length at once; None
    where it does not start), ``concurrency_text``, ``per_hour`` (of all cards together) and ``per_request`` (the same
    over the concurrency) [currency], None without a price, ``current``. A card that cannot be used has no row [-]

    Examples
    --------
    >>> [row["gpu"] for row in rows(State().set(model="Llama-3.1-70B")) if row["fits"]][:1] != []
    True
    """
    given = state.given()
    kept = {name: value for name, value in given.items() if name not in ("gpu", "gpu_memory_bytes")}
    own = (
        catalog.gpu(given.get("gpu", resolve.DEFAULT_GPU)).name
        if "gpu" in given or "gpu_memory_bytes" not in given
        else ""
    )
    found = [_row(e, prices or Prices(), own) for e in _everywhere(state, kept)]
    return sorted(found, key=_rank)


def _everywhere(state: State, kept: Mapping[str, Any]) -> Iterator[Estimate]:
    """The estimate on each card that takes the configuration."""
    for card in catalog.gpus():
        with contextlib.suppress(*BAD), sound(state):
            yield on(card, kept)


def on(card: GpuSpec, kept: Mapping[str, Any]) -> Estimate:
    """The estimate on one card, the same as ``vramlib.estimate``; where the limit itself fits, nothing is searched.

    Parameters
    ----------
    card : of the catalogue [-]
    kept : scenario fields without a card [-]

    Returns
    -------
    The estimate [-]

    Examples
    --------
    >>> on(catalog.gpu("L4"), {"model": "Llama-3.1-8B", "max_model_len": 8192}).fits
    True
    """
    if kept.get("engine") != "llama.cpp" or kept.get("max_model_len") != "auto":
        return estimate(**kept, gpu=card.name)
    s = resolve.scenario(**kept, gpu=card.name)
    least, most = (_total(replace(s, max_model_len=n)) for n in (1, s.max_model_len))
    if least <= card.memory_bytes < most:
        s = largest_that_starts(s)
    return of(s)


def _total(s: Scenario) -> int:
    return sum(p.bytes for p in parts(s))


def _row(e: Estimate, prices: Prices, own: str) -> dict[str, Any]:
    s = e.scenario
    requests = concurrency(e)
    one = prices.per_hour.get(e.gpu.name)
    per_hour = None if one is None else one * s.world_size
    return {
        "gpu": e.gpu.name,
        "num_cards": s.world_size,
        "memory": show(e.gpu.memory_bytes),
        "memory_bytes": int(e.gpu.memory_bytes),
        "total_bytes": int(e.total_bytes),
        "headroom_bytes": int(e.headroom_bytes),
        "headroom": show(e.headroom_bytes).replace("-", "−"),
        "fits": bool(e.fits),
        "max_model_len": int(s.max_model_len),
        "concurrency": requests,
        "concurrency_text": "" if requests is None else f"{requests:,.2f}",
        "per_hour": per_hour,
        "per_request": per_hour / requests if per_hour is not None and requests else None,
        "current": e.gpu.name == own,
    }


def concurrency(e: Estimate) -> float | None:
    """Requests at once, over all copies of the model: what the pool holds, or the workload where there is no pool.

    Examples
    --------
    >>> from vramlib.what_if.asked import answer
    >>> concurrency(answer(State().set(engine="transformers", batch_size=3)))
    3.0
    """
    if not e.fits:
        return None
    held = None if e.budget is None else e.budget.max_concurrency
    return float(e.scenario.num_sequences if held is None else held * e.scenario.data_parallel_size)


def _rank(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Fitting first; then with a price, the cheaper by the hour, the cheaper by the request; then by memory."""
    hour = math.inf if row["per_hour"] is None else row["per_hour"]
    request = math.inf if row["per_request"] is None else row["per_request"]
    return not row["fits"], hour, request, row["memory_bytes"], row["gpu"]
