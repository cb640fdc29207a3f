"""What failed: which part, how much is missing, which knob, in which direction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from vramlib.logs import remedies
from vramlib.logs.advice import Advice
from vramlib.logs.case import Case
from vramlib.logs.collect import Facts
from vramlib.logs.measured import Sizes
from vramlib.logs.rules import Line
from vramlib.units import show

OPENS = (
    "torch_oom", "driver_oom", "free_below_requested", "no_kv", "one_request", "sampler_oom", "profile_disturbed",
    "static_too_small", "graph_oom", "pool_full", "buffer_oom", "buffer_kv", "buffer_model", "buffer_compute",
    "ollama_memory",
)  # fmt: skip
COMPLETES = {
    "torch_oom_detail": ("torch_oom",),
    "torch_oom_process": ("torch_oom",),
    "driver_oom_detail": ("driver_oom",),
    "one_request_detail": ("one_request",),
    "buffer_kv": ("buffer_oom",),
    "buffer_model": ("buffer_oom",),
    "buffer_compute": ("buffer_oom",),
    "buffer_oom": ("buffer_oom",),
    "buffer_retried": ("buffer_oom", "buffer_compute"),
}
NEAR = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failure.

    Parameters
    ----------
    kind : the rule that met it [-]
    line : where it stands [-]
    part : key of the part that had no room; ``""`` where the message alone cannot tell [-]
    words : what happened [-]
    missing_bytes : how much was missing [byte]; ``None`` where it cannot be told
    advice : what to change, the best first [-]
    times : how often the log says so, over ranks and repeats [-]
    """

    kind: str
    line: int
    part: str
    words: str
    missing_bytes: int | None
    advice: tuple[Advice, ...]
    times: int = 1


@dataclass(slots=True)
class _Open:
    """A failure while its lines are read."""

    line: Line
    stage: str
    values: dict[str, Any]
    kinds: list[str]


def of(facts: Facts, sizes: Sizes) -> tuple[Failure, ...]:
    """Every different failure of a log, in order.

    Examples
    --------
    >>> from vramlib.logs.collect import collect
    >>> log = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.65 GiB of which"
    >>> (failure,) = of(collect(log + " 512.00 MiB is free."), {})
    >>> failure.kind, show(failure.missing_bytes)
    ('torch_oom', '1.50 GiB')
    """
    found = [_failure(o, facts, sizes) for o in _opened(facts)]
    return _without_repeats(found)


def _opened(facts: Facts) -> Iterable[_Open]:
    opened: list[_Open] = []
    for line, stage in facts.failures:
        kind = line.rule.name
        last = next((o for o in reversed(opened[-8:]) if line.rank == o.line.rank), None)
        if last and _completes(kind, last, line):
            last.values = {**{n: v.value for n, v in line.values.items()}, **last.values}
            last.kinds.append(kind)
        elif kind in OPENS:
            opened.append(_Open(line, stage, {n: v.value for n, v in line.values.items()}, [kind]))
    return opened


def _completes(kind: str, last: _Open, line: Line) -> bool:
    return last.kinds[0] in COMPLETES.get(kind, ()) and line.number - last.line.number <= NEAR and not (
        kind == "buffer_oom" and "device" in last.values and len(last.kinds) > 1 and last.kinds[-1] != "buffer_oom"
    )  # fmt: skip


def _failure(o: _Open, facts: Facts, sizes: Sizes) -> Failure:
    kinds = tuple(o.kinds)
    its = Case(kinds=kinds, stage=o.stage, engine=facts.engine, values=o.values, sizes=sizes, facts=facts)
    found = remedies.BY_KIND[kinds[0]](its)
    lacking = f"; {show(found.missing)} were missing" if found.missing and found.missing > 0 else ""
    return Failure(
        kind=kinds[0],
        line=o.line.number,
        part=found.part,
        words=found.words + lacking,
        missing_bytes=found.missing,
        advice=found.advice,
    )


def _without_repeats(found: Iterable[Failure]) -> tuple[Failure, ...]:
    """One failure of each kind and part, that with the most missing; how often it was met is kept."""
    kept: dict[tuple[str, str], Failure] = {}
    for failure in found:
        key = (failure.kind, failure.part)
        before = kept.get(key)
        if before is None:
            kept[key] = failure
        else:
            worse = max(before, failure, key=lambda f: f.missing_bytes or 0)
            kept[key] = replace(worse, line=before.line, times=before.times + 1)
    return tuple(kept.values())
