"""Several servers on one card: started in order, each finds what the ones before it left."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vramlib import budget as budgets
from vramlib import commands, resolve
from vramlib.components import sglang_pool
from vramlib.estimate import of as estimate_of
from vramlib.estimate import shortfalls
from vramlib.plan.answer import Answer, nothing, plain, reason
from vramlib.plan.settings import STEPS, gpu_memory_utilization
from vramlib.specs import Budget, Estimate, Scenario
from vramlib.units import ceil_div, show

MOST_SERVERS = 256
RESERVES = ("vllm", "sglang")


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
    >>> s = resolve.scenario(model="Llama-3.1-8B", gpu="H100-80GB", max_model_len=8192, gpu_memory_utilization=0.45)
    >>> [start.fits for start in in_order([s, s, s])]
    [True, True, False]

    Source
    ------
    vLLM 0.33, vllm/v1/worker/utils.py request_memory: free at start is compared with the share of the total; SGLang
    0.5.23, sglang/srt/mem_cache/kv_cache_configurator.py: the share is of what is free.
    """
    servers = tuple(scenarios)
    if len({(s.gpu.name, s.gpu.memory_bytes, s.world_size) for s in servers}) > 1:
        raise ValueError(
            "the servers are on different cards; give all of them the same gpu and the same degrees"
        )
    found: list[Start] = []
    for s in servers:
        found.append(_start(s, sum(start.holds_bytes for start in found)))
    return tuple(found)


def _start(s: Scenario, taken: int) -> Start:
    """One server, with so much of the card held by those before it."""
    s = dataclasses.replace(s, num_processes=1)
    alone = estimate_of(s)
    b = _budget(s, alone.budget, taken)
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


def _budget(s: Scenario, alone: Budget | None, taken: int) -> Budget | None:
    """The server's budget when so much is taken: SGLang plans with a share of what is free, the others do not look."""
    if s.engine != "sglang" or not taken:
        return alone
    free = budgets.free_at_start_bytes(s) - taken
    stages = range(s.pipeline_parallel_size)
    found = [sglang_pool.scenario_budget(s, budgets.weights_bytes(s, stage), free, stage) for stage in stages]
    return min(found, key=lambda b: b.kv_pool_bytes)


def together(*servers: dict[str, Any]) -> tuple[Start, ...]:
    """Different servers on one card, in the order given, each with a share that lets all of them start and serve.

    Each gets the lowest share that serves its own workload, and all of them the same number of thousandths more, as
    many as still start.

    Parameters
    ----------
    servers : scenario fields of each, as for ``vramlib.estimate``; the shares are not read [-]

    Returns
    -------
    One record a server, the share in its scenario; the last ones do not fit where no shares let all start [-]

    Raises
    ------
    ValueError: a field cannot be used, or the servers are not on one card.

    Examples
    --------
    >>> load = {"gpu": "H100-80GB", "max_model_len": 8192}
    >>> found = together({"model": "Qwen2.5-7B", **load}, {"model": "Llama-3.1-8B", **load})
    >>> [start.fits for start in found]
    [True, True]
    """
    asked = [plain(given, "gpu_memory_utilization", "num_processes") for given in servers]
    scenarios = [resolve.scenario(**given) for given in asked]
    lowest = [gpu_memory_utilization(**given).value or 1.0 for given in asked]
    return _most_generous(scenarios, [round(u * STEPS) for u in lowest])


def _most_generous(scenarios: Sequence[Scenario], lowest: Sequence[int]) -> tuple[Start, ...]:
    """Servers with their lowest shares, and the largest common addition with which all start: binary search."""
    best = _shared(scenarios, lowest, 0)
    low, high = 0, STEPS if all(start.fits for start in best) else 0
    while low < high:
        middle = (low + high + 1) // 2
        tried = _shared(scenarios, lowest, middle)
        if all(start.fits for start in tried):
            low, best = middle, tried
        else:
            high = middle - 1
    return best


def _shared(scenarios: Sequence[Scenario], lowest: Sequence[int], more: int) -> tuple[Start, ...]:
    """The servers with so many thousandths more than their lowest shares; SGLang's are of what is then free."""
    found: list[Start] = []
    for s, least in zip(scenarios, lowest, strict=True):
        taken = sum(start.holds_bytes for start in found)
        share = min(least + more, STEPS)
        if s.engine == "sglang" and taken:
            free = budgets.free_at_start_bytes(s)
            share = min(ceil_div(share * free, max(free - taken, 1)), STEPS)
        if s.engine in RESERVES:
            s = dataclasses.replace(s, gpu_memory_utilization=share / STEPS)
        found.append(_start(s, taken))
    return tuple(found)


def servers(count: int = 0, **given: Any) -> Answer:
    """The most equal servers on one card, or whether so many fit, with the shares that start in order.

    Parameters
    ----------
    count : servers; 0 asks for the most [-]
    given : scenario fields of each as for ``vramlib.estimate``; the share and ``num_processes`` are not read [-]

    Returns
    -------
    The answer, in servers; ``rows`` has each with its share, what it finds free and its command [-]

    Raises
    ------
    ValueError: a field cannot be used.

    Examples
    --------
    >>> answer = servers(model="Qwen2.5-7B", gpu="H100-80GB", max_model_len=8192)
    >>> answer.value, len({row["gpu_memory_utilization"] for row in answer.rows})
    (4, 1)
    """
    asked = plain(given, "gpu_memory_utilization", "num_processes")
    s = resolve.scenario(**asked)
    lowest = round((gpu_memory_utilization(**asked).value or 1.0) * STEPS)

    def started(n: int) -> tuple[Start, ...]:
        return _most_generous([s] * n, [lowest] * n)

    if count:
        most, found = count, started(count)
    else:
        most, found = 0, started(1)
        while most < MOST_SERVERS and all(start.fits for start in found):
            most, found = most + 1, started(most + 2)
    if count and not all(start.fits for start in found):
        return _too_many(asked, count, found)
    if not most:
        return nothing("servers", asked, "Not even one server fits")
    fits = found if count else started(most)
    return _answer(fits, None if count else found)


def _too_many(asked: dict[str, Any], count: int, found: Sequence[Start]) -> Answer:
    first = next(i for i, start in enumerate(found) if not start.fits)
    text = f"{count} servers do not fit: number {first + 1} misses {show(found[first].missing_bytes)}."
    return Answer(ask="servers", value=None, text=text, estimate=found[first].estimate, rows=_rows(found))


def _answer(found: Sequence[Start], beyond: Sequence[Start] | None) -> Answer:
    e, n = found[0].estimate, len(found)
    s = e.scenario
    text = f"{n} server{'s' if n > 1 else ''} of {s.model.name} fit on one {s.gpu.name} with {s.engine}"
    if s.engine in RESERVES:
        flag = commands.flag(s.engine, "gpu_memory_utilization")
        shares = [start.estimate.scenario.gpu_memory_utilization for start in found]
        text += (
            f", started one after the other with {flag} {', '.join(f'{u:g}' for u in dict.fromkeys(shares))}"
        )
    if beyond:
        last = beyond[-1]
        why = (
            reason(last.estimate) or f"{show(max(start.missing_bytes for start in beyond))} are missing then"
        )
        text += f"; one more does not: {why}"
    changes: dict[str, Any] = {"num_processes": n}
    if s.engine in RESERVES:
        changes["gpu_memory_utilization"] = s.gpu_memory_utilization
    return Answer(
        ask="servers",
        value=n,
        text=f"{text}.",
        changes=changes,
        estimate=e,
        beyond={"num_processes": n + 1} if beyond else {},
        rows=_rows(found),
    )


def _rows(found: Sequence[Start]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "server": place,
            "gpu_memory_utilization": start.estimate.scenario.gpu_memory_utilization,
            "free_bytes": start.free_bytes,
            "requested_bytes": start.requested_bytes,
            "kv_pool_bytes": start.kv_pool_bytes,
            "fits": start.fits,
            "command": commands.command_line(start.estimate.scenario),
        }
        for place, start in enumerate(found, start=1)
    )
