"""Servers on one card as they start, one after the other: what each finds free, asks for and holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from vramlib import budget as budgets
from vramlib.components import sglang_pool
from vramlib.estimate import of as estimate_of
from vramlib.estimate import shortfalls
from vramlib.specs import Budget, Estimate, Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One server as it starts.

    Parameters
    ----------
    estimate : of the server alone on the card [-]
    free_bytes : free when it takes its first look, its own context made [byte]
    requested_bytes : what it asks for then; what it needs, for an engine that reserves nothing [byte]
    kv_pool_bytes : its KV pool, ``None`` for an engine without one [byte]
    holds_bytes : what it keeps of the card while it serves [byte]
    missing_bytes : the largest of its shortfalls; 0 or less when it starts and serves [byte]
    """

    estimate: Estimate
    free_bytes: int
    requested_bytes: int
    kv_pool_bytes: int | None
    holds_bytes: int
    missing_bytes: int

    @property
    def fits(self) -> bool:
        """Whether it starts and serves its workload."""
        return self.missing_bytes <= 0


def in_order(scenarios: Iterable[Scenario]) -> tuple[Start, ...]:
    """Servers started one after the other on one card.

    Formula: free_k = memory − Σ held before − context;  vLLM: held = max(⌈u · total⌉ + context, demand);
    SGLang: requested = u · free_k, held = requested + context + what is outside the share;  others: held = demand;
    what each holds must be free

    Parameters
    ----------
    scenarios : one a server, in the order they start, all of them on the same card [-]

    Returns
    -------
    One record a server [-]

    Raises
    ------
    ValueError: the servers are not on one card.

    Examples
    --------
    >>> from vramlib import resolve
    >>> s = resolve.scenario(model="Llama-3.1-8B", gpu="H100-80GB", max_model_len=8192, gpu_memory_utilization=0.45)
    >>> [start.fits for start in in_order([s, s, s])]
    [True, True, False]

    Source
    ------
    vLLM 0.33, vllm/v1/worker/utils.py request_memory: free at start is compared with the share of the total; SGLang
    0.5.23, sglang/srt/mem_cache/kv_cache_configurator.py: the share is of what is free.
    """
    servers = on_one_card(scenarios)
    found: list[Start] = []
    for s in servers:
        alone = estimate_of(dataclasses.replace(s, num_processes=1))
        found.append(next_start(alone, sum(start.holds_bytes for start in found)))
    return tuple(found)


def on_one_card(scenarios: Iterable[Scenario]) -> tuple[Scenario, ...]:
    """Scenarios of servers, which must be on the same card.

    Raises
    ------
    ValueError: they are not.
    """
    servers = tuple(scenarios)
    if len({(s.gpu.name, s.gpu.memory_bytes, s.world_size) for s in servers}) > 1:
        raise ValueError(
            "the servers are on different cards; give all of them the same gpu and the same degrees"
        )
    return servers


def next_start(alone: Estimate, taken: int) -> Start:
    """One server, with so much of the card held by those before it."""
    s, b = alone.scenario, _budget(alone, taken)
    short = shortfalls(s, alone.total_bytes + taken, b)
    reserves = b is not None and b.kv_pool_bytes is not None
    requested = b.requested_bytes if b and reserves else alone.total_bytes
    holds = max(alone.total_bytes, requested + _outside(alone) if reserves else 0)
    return Start(
        estimate=alone,
        free_bytes=budgets.free_at_start_bytes(s) - taken,
        requested_bytes=requested,
        kv_pool_bytes=b.kv_pool_bytes if b else None,
        holds_bytes=holds,
        missing_bytes=max(*short.values(), holds + taken - s.gpu.memory_bytes),
    )


def _outside(alone: Estimate) -> int:
    """What a server holds beside its share: its context; for SGLang also activations and the graphs not charged [byte].

    Formula: context;  SGLang: context + activations + framework buffers − graphs charged to the pool
    """
    s, b = alone.scenario, alone.budget
    context = s.gpu.memory_bytes - budgets.free_at_start_bytes(s)
    if s.engine != "sglang" or b is None:
        return int(context)
    charged = 0 if s.model.kv_lora_rank else b.cuda_graph_bytes
    return int(context + alone.part("activations").bytes + alone.part("framework_buffers").bytes - charged)


def _budget(alone: Estimate, taken: int) -> Budget | None:
    """The server's budget when so much is taken: SGLang plans with a share of what is free, the others do not look."""
    s = alone.scenario
    if s.engine != "sglang" or not taken:
        return alone.budget
    free = budgets.free_at_start_bytes(s) - taken
    stages = range(s.pipeline_parallel_size)
    found = [sglang_pool.scenario_budget(s, budgets.weights_bytes(s, stage), free, stage) for stage in stages]
    return min(found, key=lambda b: b.kv_pool_bytes)
