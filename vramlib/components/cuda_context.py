"""CUDA runtime context: what the driver takes for this process before the first tensor, and the kernels it loads later.

No closed form exists: it is a table of printed figures by card, with a rule by card family where no figure
is known. It
never depends on the model.
"""

from __future__ import annotations

from vramlib.specs import GpuSpec, Part, Scenario, Term
from vramlib.units import show


def base_bytes(gpu: GpuSpec) -> tuple[int, int, int]:
    """Size of an idle context on this card, with its interval.

    Formula: the card's printed figure; else 3 MiB per multiprocessor (GDDR cards), 522 MiB (HBM cards)

    Parameters
    ----------
    gpu : the card [-]

    Returns
    -------
    Value, low, high [byte]

    Examples
    --------
    >>> from vramlib import catalog
    >>> round(base_bytes(catalog.gpu("H100-80GB"))[0] / 2**30, 2)
    0.51

    Source
    ------
    data/cuda_context.csv: printed sizes of idle contexts by card, and the rules drawn from them.
    """
    return gpu.cuda_context_bytes, gpu.cuda_context_low_bytes, gpu.cuda_context_high_bytes


def terms(s: Scenario, stage: int = 0) -> tuple[Term, ...]:
    """The idle context, and what an engine's kernels add while it warms up."""
    size, low, high = base_bytes(s.gpu)
    found = [
        Term(
            name="idle context",
            bytes=size,
            formula="context(card, driver)",
            worked=f"{show(size)} on {s.gpu.name}",
            source=s.gpu.cuda_context_source,
            basis=s.gpu.cuda_context_basis,
            low=low,
            high=high,
        )
    ]
    if s.engine == "vllm":
        found.append(_loaded_kernels(s))
    return tuple(found)


def _loaded_kernels(s: Scenario) -> Term:
    row = s.engine_spec.constants["non_torch_growth_bytes"]
    return Term(
        name="kernels loaded while warming up",
        bytes=row["value"]["1"],
        formula="non-torch growth with one rank",
        worked=show(row["value"]["1"]),
        source=row["source"],
        basis="measured",
        low=row["low"]["1"],
        high=row["high"]["1"],
    )


def size_bytes(s: Scenario, stage: int = 0) -> int:
    """Bytes of this part in this process [byte]."""
    return sum(t.bytes for t in terms(s, stage))


def part(s: Scenario, stage: int = 0) -> Part:
    """The part with its figures and sources."""
    return Part.of("cuda_context", *terms(s, stage))
