"""Several servers on one card: the shares that let them start in order, and how many there can be."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from vramlib import budget as budgets
from vramlib import commands, resolve
from vramlib.estimate import of as estimate_of
from vramlib.plan.answer import Answer, nothing, plain, reason
from vramlib.plan.settings import STEPS, gpu_memory_utilization
from vramlib.plan.starts import Start, next_start, on_one_card
from vramlib.specs import Estimate, Scenario
from vramlib.units import ceil_div, show

MOST_SERVERS = 256
RESERVES = ("vllm", "sglang")


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
    scenarios = on_one_card(resolve.scenario(**given) for given in asked)
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
    """The servers with so many thousandths more than their lowest shares."""
    found: list[Start] = []
    for s, least in zip(scenarios, lowest, strict=True):
        found.append(_next(s, min(least + more, STEPS), sum(start.holds_bytes for start in found)))
    return tuple(found)


def _next(s: Scenario, share: int, taken: int) -> Start:
    """One server with a share in thousandths of the empty card; SGLang's own is of what is then free."""
    if s.engine == "sglang" and taken:
        free = budgets.free_at_start_bytes(s)
        share = min(ceil_div(share * free, max(free - taken, 1)), STEPS)
    return next_start(_alone(s, share), taken)


@functools.lru_cache(1024)
def _alone(s: Scenario, share: int) -> Estimate:
    own = share / STEPS if s.engine in RESERVES else s.gpu_memory_utilization
    return estimate_of(dataclasses.replace(s, num_processes=1, gpu_memory_utilization=own))


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

    found, last = _as_many_as_start(s, lowest, count or MOST_SERVERS)
    if count and len(found) < count:
        text = f"{count} servers do not fit: number {len(found) + 1} misses {show(last.missing_bytes)}."
        return Answer(
            ask="servers", value=None, text=text, estimate=last.estimate, rows=_rows([*found, last])
        )
    if not found:
        return nothing("servers", asked, "Not even one server fits")
    return _answer(_most_generous([s] * len(found), [lowest] * len(found)), None if count else last)


def _as_many_as_start(s: Scenario, share: int, most: int) -> tuple[list[Start], Start]:
    """Servers with the lowest share, one after the other while they fit, and the first that does not."""
    found: list[Start] = []
    start = _next(s, share, 0)
    while start.fits and len(found) < most:
        found.append(start)
        start = _next(s, share, sum(one.holds_bytes for one in found))
    return found, start


def _answer(found: Sequence[Start], beyond: Start | None) -> Answer:
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
        why = reason(beyond.estimate) or f"it misses {show(beyond.missing_bytes)}"
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
