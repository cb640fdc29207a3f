"""Multi-process overhead: further processes on this card with all they hold, and what ranks need to talk to each other.

This process's own context and a rank's replicated tensors are not here: they have their homes in the other
parts.
"""

from __future__ import annotations

from typing import Any

from vramlib.specs import Part, Scenario, Term
from vramlib.units import show


def further_processes_bytes(num_processes: int, own_bytes: Any) -> Any:
    """What the other processes of this kind take on the same card.

    Formula: (n − 1) · bytes of one process, its context included

    Parameters
    ----------
    num_processes : n, independent processes on the card [-]
    own_bytes : the other seven parts of one process, and its communication buffers [byte]

    Returns
    -------
    Bytes of the n − 1 others [byte]

    Examples
    --------
    >>> further_processes_bytes(3, 10)
    20
    """
    return (num_processes - 1) * own_bytes


def side(s: Scenario, stage: int = -1) -> str:
    """Which figure of a constant by parallelism applies: ``1``, ``2``, ``other``, ``many`` or ``stage``.

    ``2`` is for ranks on Hopper and Blackwell cards of data centres, where symmetric memory and FlashInfer's all-reduce
    exist; ``other`` for a pair of other cards, ``many`` for more of them. Pipeline stages send each other one tensor a
    step: their communicator is made before the budget starts, without custom all-reduce, so that they are ``1``;
    ``stage`` is for those before the last, which load no sampler either. Data-parallel copies of a model without
    experts are engines of their own.

    Source
    ------
    vLLM 0.19, vllm/distributed/device_communicators/symm_mem.py, all_reduce_utils.py: capabilities 9.0 and 10.0;
    cuda_communicator.py: only the tensor-parallel group has more than NCCL. That eight small cards need no less from
    0.17 on is chosen from the rtx6k_glm51 runs.
    """
    copies = s.data_parallel_size if s.model.num_experts else 1
    ranks = s.tensor_parallel_size * copies
    known = s.engine_spec.value("non_torch_growth_bytes")
    if ranks == 1:
        early = stage % s.pipeline_parallel_size < s.pipeline_parallel_size - 1
        return "stage" if early and "stage" in known else "1"
    joined = 9 <= s.gpu.compute_capability < 12 and "PCIE" not in s.gpu.name.upper()
    if joined or "other" not in known:
        return "2"
    return "many" if ranks > 2 and "many" in known else "other"


def communication_terms(s: Scenario) -> tuple[Term, ...]:
    """NCCL, custom all-reduce and symmetric memory of one rank; none with a single card, NCCL alone for a pipeline."""
    if s.engine not in ("vllm", "sglang"):
        return ()
    many = side(s)
    if many == "1" and s.pipeline_parallel_size == 1:
        return ()
    before, growth = (
        s.engine_spec.constants[k] for k in ("before_snapshot_comm_bytes", "non_torch_growth_bytes")
    )
    more = growth["value"][many] - growth["value"]["1"]
    found = (
        Term(
            name="NCCL set up before the budget starts",
            bytes=before["value"],
            formula="communicators · channels · connections · 12 MiB, as printed",
            worked=show(before["value"]),
            source=before["source"],
            basis="modelled",
            low=before["low"],
            high=before["high"],
        ),
    )
    if many == "1":
        return found
    return (
        *found,
        Term(
            name="NCCL, custom all-reduce, symmetric memory",
            bytes=more,
            formula="non-torch growth of two or more ranks − of one",
            worked=f"{show(growth['value'][many])} − {show(growth['value']['1'])}",
            source=growth["source"],
            basis="modelled",
            low=max(0, growth["low"][many] - growth["value"]["1"]),
            high=growth["high"][many],
        ),
    )


def terms(s: Scenario, own_bytes: Any, own_low: Any, own_high: Any) -> tuple[Term, ...]:
    """Addends: communication of this rank, and everything of the further processes."""
    found = communication_terms(s)
    comm = sum(t.bytes for t in found)
    if s.num_processes > 1:
        found += (
            Term(
                name=f"{s.num_processes - 1} further processes",
                bytes=further_processes_bytes(s.num_processes, own_bytes + comm),
                formula="(n − 1) · (context + that process's own bytes)",
                worked=f"({s.num_processes} − 1) · {show(own_bytes + comm)}"
                if isinstance(own_bytes, int)
                else "",
                source="CUDA: one context per process and card; nothing is shared between independent servers",
                basis="modelled",
                low=further_processes_bytes(s.num_processes, own_low),
                high=further_processes_bytes(s.num_processes, own_high + sum(t.high for t in found)),
            ),
        )
    return found or (Term(name="none", bytes=0, formula="(n − 1) · …", worked="one process, one card"),)


def part(s: Scenario, others: tuple[Part, ...]) -> Part:
    """The part, given the other seven of one process."""
    low, high = sum(p.low_bytes for p in others), sum(p.high_bytes for p in others)
    return Part.of("multi_process", *terms(s, sum(p.bytes for p in others), low, high))
