"""CUDA runtime context: what the driver takes for this process before the first tensor, and the kernels it loads later.

No closed form exists: it is a table of printed figures by card, with a rule by card family where no figure is known. It
never depends on the model.
"""

from __future__ import annotations

from vramlib.specs import GpuSpec, Part, Scenario, Term
from vramlib.units import GiB, show

FAMILY = ((9.0, 0.51, 0.45, 0.60), (8.0, 0.40, 0.15, 0.60), (0.0, 0.30, 0.10, 0.60))
FAMILY_SOURCE = "data/cuda_context.csv: printed sizes of idle contexts by card; rule by compute capability"


def base_bytes(gpu: GpuSpec) -> tuple[int, int, int]:
    """Size of an idle context on this card, with its interval.

    Formula: the printed figure of the card; else by family: 0.51 GiB from Hopper on, 0.40 GiB Ampere and Ada, 0.30 GiB before

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
    vLLM 0.19 on H100: 79.19 GiB in all, 78.68 GiB free before the engine's own budget starts; data/cuda_context.csv.
    """
    for capability, value, low, high in FAMILY:
        if gpu.compute_capability >= capability:
            size = gpu.cuda_context_bytes or int(value * GiB)
            return size, min(size, int(low * GiB)), max(size, int(high * GiB))
    raise ValueError(f"{gpu.name}: compute_capability {gpu.compute_capability} is negative")


def terms(s: Scenario, stage: int = 0) -> tuple[Term, ...]:
    """The idle context, and what an engine's kernels add while it warms up."""
    size, low, high = base_bytes(s.gpu)
    found = [
        Term(
            name="idle context",
            bytes=size,
            formula="context(card, driver)",
            worked=f"{show(size)} on {s.gpu.name}",
            source=FAMILY_SOURCE,
            basis="measured" if s.gpu.cuda_context_bytes else "modelled",
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
