"""Which knob matters most: every setting moved one step down and one step up, all others where they are."""

from __future__ import annotations

from typing import Any

from vramlib import commands
from vramlib.messages import t
from vramlib.specs import Estimate
from vramlib.what_if.asked import answer, tried
from vramlib.what_if.settings import READ, known, text
from vramlib.what_if.state import State

NOT_MOVED = ("gpu", "engine", "engine_version")  # no order, so no step


def rows(state: State) -> list[dict[str, Any]]:
    """Each setting with what one step down and one step up make of the total, the one that moves most first.

    The longest sequence stays at its present length, also where it was ``auto``.

    Parameters
    ----------
    state : any [-]

    Returns
    -------
    Rows: ``setting`` (field), ``flag``, ``label``, ``now``, ``from`` and ``to`` (texts of the value, one step down, one
    step up; ``""`` where there is none), ``value_down``, ``value_up`` (for ``state.set``), ``total_bytes``,
    ``total_bytes_down``, ``total_bytes_up`` (None where the engine refuses), ``total_bytes_low``, ``total_bytes_high``
    (the least and the most of the three), ``delta`` (the largest change) [byte], ``pool_delta`` (the same of the KV
    pool) [byte], ``fits_down``, ``fits_up`` [-]

    Raises
    ------
    ValueError : the configuration cannot be used
    KeyError : no such model or card

    Examples
    --------
    >>> most = rows(State().set(gpu="L4", batch_size=64))[0]
    >>> most["setting"], most["now"], most["from"], most["to"]
    ('num_processes', '1', '', '2')
    """
    now = answer(state)
    fixed = (
        {} if now.scenario.engine == "transformers" else {"max_model_len": int(now.scenario.max_model_len)}
    )
    names = [name for name in READ[now.scenario.engine] if name not in NOT_MOVED]
    found = [_row(state, now, name, fixed) for name in names]
    moved = [row for row in found if row is not None]
    return sorted(moved, key=lambda row: (-row["delta"], -row["pool_delta"]))


def _row(state: State, now: Estimate, name: str, fixed: dict[str, Any]) -> dict[str, Any] | None:
    """One setting's row; ``None`` where it has no neighbour that the engine takes."""
    value = getattr(now.scenario, name)
    down, up = steps(name, value, now)
    moved = [None if v is None else tried(state, **{**fixed, name: v})[0] for v in (down, up)]
    if not any(moved):
        return None
    total, language = int(now.total_bytes), state.language
    totals = [None if e is None else int(e.total_bytes) for e in moved]
    known_totals = [total, *(size for size in totals if size is not None)]
    return {
        "setting": name,
        "flag": commands.flag(now.scenario.engine, name),
        "label": t(f"field.{name}", language),
        "now": text(value, language),
        "from": "" if moved[0] is None else text(down, language),
        "to": "" if moved[1] is None else text(up, language),
        "value_down": down,
        "value_up": up,
        "total_bytes": total,
        "total_bytes_down": totals[0],
        "total_bytes_up": totals[1],
        "total_bytes_low": min(known_totals),
        "total_bytes_high": max(known_totals),
        "delta": max(abs(size - total) for size in known_totals),
        "pool_delta": max(abs(_pool(e) - _pool(now)) for e in (now, *moved) if e is not None),
        "fits_down": None if moved[0] is None else bool(moved[0].fits),
        "fits_up": None if moved[1] is None else bool(moved[1].fits),
    }


def _pool(e: Estimate) -> int:
    return int(e.budget.kv_pool_bytes) if e.budget and e.budget.kv_pool_bytes is not None else 0


def steps(name: str, value: Any, e: Estimate) -> tuple[Any, Any]:
    """The neighbours of a setting's value among those that its control steps through.

    Parameters
    ----------
    name : of the field [-]
    value : as resolved [-]
    e : the estimate at that value [-]

    Returns
    -------
    One step down and one step up; ``None`` at an end, and for lists of lengths [-]

    Examples
    --------
    >>> e = answer(State())
    >>> steps("max_num_seqs", 1000, e), steps("enforce_eager", False, e), steps("batch_size", (1, 2), e)
    ((512, 1024), (None, True), (None, None))
    """
    values = [
        v for v in known(name, e.scenario.engine, int(e.model.max_position_embeddings or 0)) if v is not None
    ]
    if isinstance(value, str | bool):
        place = values.index(value) if value in values else -1
        return _beside(values, place) if place >= 0 else (None, None)
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if not isinstance(value, int | float):
        return None, None
    below, above = [v for v in numbers if v < value], [v for v in numbers if v > value]
    return (below[-1] if below else None), (above[0] if above else None)


def _beside(values: list[Any], place: int) -> tuple[Any, Any]:
    return (values[place - 1] if place else None), (values[place + 1] if place + 1 < len(values) else None)
