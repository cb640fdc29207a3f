"""An Estimate as plain data, in the words and the order that programs outside rely on."""

from __future__ import annotations

from typing import Any

from vramlib.fields import NAMES
from vramlib.specs import BUDGET_FIELDS, PART_KEYS, Budget, Estimate, Part, Scenario

BUFFERS = ("model_buffer_bytes", "kv_buffer_bytes", "compute_buffer_bytes")
COLUMNS = (
    "params_total",
    *(f"{key}_bytes" for key in PART_KEYS),
    "total_bytes",
    "fits",
    *(f"budget_{name}" for name in BUDGET_FIELDS),
    "error",
)


def to_dict(estimate: Estimate) -> dict[str, Any]:
    """The estimate as the object that ``vram estimate --json`` prints: sizes in bytes, lists as lists.

    Parameters
    ----------
    estimate : of one scenario [-]

    Returns
    -------
    What data/schema/estimate.schema.json describes [-]
    """
    model, gpu = estimate.model, estimate.gpu
    return {
        "model": {
            "name": model.name,
            "params_total": model.params_total,
            "params_active": model.params_active,
        },
        "gpu": {"name": gpu.name, "memory_bytes": gpu.memory_bytes},
        "scenario": scenario(estimate.scenario),
        "parts": [_part(p) for p in estimate.parts],
        "total_bytes": _plain(estimate.total_bytes),
        "fits": bool(estimate.fits),
        "headroom_bytes": _plain(estimate.headroom_bytes),
        "budget": _budget(estimate.budget),
        "warnings": list(estimate.warnings),
    }


def scenario(resolved: Scenario) -> dict[str, Any]:
    """Every field as it was resolved, in the order of ``fields.FIELDS``; model and card by their names.

    Parameters
    ----------
    resolved : as ``resolve.scenario`` makes it [-]

    Returns
    -------
    Field name to plain value [-]
    """
    named = {
        "model": resolved.model.name,
        "gpu": resolved.gpu.name,
        "gpu_memory_bytes": resolved.gpu.memory_bytes,
    }
    return {name: named[name] if name in named else _plain(getattr(resolved, name)) for name in NAMES}


def row(estimate: Estimate) -> dict[str, Any]:
    """The columns that a sweep adds for one estimate; ``None`` where a name does not apply.

    Parameters
    ----------
    estimate : of one scenario [-]

    Returns
    -------
    ``COLUMNS`` to plain values, ``error`` empty [-]
    """
    return {name: _plain(value) for name, value in columns(estimate).items()}


def columns(estimate: Estimate) -> dict[str, Any]:
    """The same columns as the estimate has them: numbers, or arrays for many scenarios.

    Parameters
    ----------
    estimate : of one scenario or of many [-]

    Returns
    -------
    ``COLUMNS`` to numbers or arrays, ``error`` empty [-]
    """
    numbers = {f"{p.key}_bytes": p.bytes for p in estimate.parts}
    budget = estimate.budget or Budget()
    numbers |= {f"budget_{name}": getattr(budget, name) for name in BUDGET_FIELDS}
    numbers |= {"total_bytes": estimate.total_bytes, "fits": estimate.fits}
    numbers["params_total"] = estimate.model.params_total
    return {name: numbers.get(name) for name in COLUMNS}


def _part(part: Part) -> dict[str, Any]:
    return {
        "key": part.key,
        "name": part.name,
        "bytes": _plain(part.bytes),
        "low_bytes": _plain(part.low_bytes),
        "high_bytes": _plain(part.high_bytes),
        "basis": part.basis,
        "formula": part.formula,
        "worked": part.worked,
        "sources": list(part.sources),
    }


def _budget(budget: Budget | None) -> dict[str, Any] | None:
    """Names that do not apply are null; the three buffers are there for the engine that has them."""
    if budget is None:
        return None
    everything = {name: _plain(getattr(budget, name)) for name in BUDGET_FIELDS}
    return {name: v for name, v in everything.items() if name not in BUFFERS or v is not None}


def _plain(value: Any) -> Any:
    """Numpy numbers as Python's own, tuples as lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
