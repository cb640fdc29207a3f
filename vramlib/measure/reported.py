"""Figures that others printed: data/reported.csv and data/cuda_context.csv, each with its address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vramlib import catalog, estimate
from vramlib.components import cuda_context
from vramlib.specs import GpuSpec
from vramlib.units import MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """A figure that somebody else printed, beside what vramlib gives for their setting.

    Parameters
    ----------
    reading : what was read [-]
    bytes, printed : in bytes, and as it was printed [byte], [-]
    predicted_bytes : for the same model, card and engine; None where the setting is not known well enough [byte]
    gpu, conditions : on which card, and how [-]
    source : its address [-]
    """

    reading: str
    bytes: int
    printed: str
    predicted_bytes: int | None
    gpu: str
    conditions: str
    source: str


def reported(name: str) -> tuple[Reported, ...]:
    """Figures that others printed for an experiment, those first that a prediction stands beside."""
    rows = [*catalog.table("reported"), *(_context_rows() if name == "context" else ())]
    found = [_reported(row) for row in rows if row["experiment"] == name]
    return tuple(sorted(found, key=lambda r: r.predicted_bytes is None))


def _reported(row: Mapping[str, str]) -> Reported:
    return Reported(
        reading=row["reading"],
        bytes=round(float(row["value_mib"]) * MiB),
        printed=row["printed"],
        predicted_bytes=_predicted(row["quantity"], row["scenario"]),
        gpu=row["gpu"],
        conditions=row["conditions"],
        source=row["source"],
    )


def _predicted(quantity: str, scenario: str) -> int | None:
    """What vramlib gives for a quantity in somebody's setting: a figure of the budget, or a card's context."""
    given = dict(pair.split("=") for pair in scenario.split(";") if pair)
    if not quantity:
        return None
    if quantity == "cuda_context":
        return _context(catalog.gpu(given["gpu"]))
    answer = estimate(**given)
    return None if answer.budget is None else int(getattr(answer.budget, quantity))


def _context(gpu: GpuSpec) -> int | None:
    """A card's context by its family's rule; none where the catalogue's figure is itself one of those printed."""
    return None if gpu.cuda_context_basis == "measured" else cuda_context.base_bytes(gpu)[0]


def _context_rows() -> list[dict[str, str]]:
    """Idle contexts under PyTorch that were printed with their card, from the table of contexts."""
    return [
        {
            **row,
            "experiment": "context",
            "reading": "no tensor, lazy loading",
            "gpu": row["printed_card"],
            "printed": f"{row['value_mib']} MiB",
            "quantity": "cuda_context",
            "scenario": f"gpu={row['card']}",
        }
        for row in catalog.table("cuda_context")
        if row["kind"] == "figure" and row["card"] and row["value_mib"] and row["framework"] == "pytorch"
    ]
