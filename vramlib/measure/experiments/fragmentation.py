"""fragmentation: the same allocation traces through PyTorch's allocator and through the simulator, in both modes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vramlib import allocator as simulator
from vramlib.allocator import CachingAllocator, Event, Settings, Stats
from vramlib.measure.bench import Bench
from vramlib.measure.plan import Experiment, NotEnoughMemoryError, Plan, Prediction, Readings, Room
from vramlib.units import MiB, round_up, show

FIXED = {"PYTORCH_ALLOC_CONF": "expandable_segments:False"}
EXPANDABLE = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
WORDS = {False: "fixed segments", True: "expandable segments"}
COUNTERS = ("allocated", "reserved")
SOURCE = "vramlib.allocator, PyTorch's rules"


def traces(scale: int) -> dict[str, list[Event]]:
    """Three seeded traces at a size: a random mix, a growing cache, workspaces that strand gaps.

    Examples
    --------
    >>> [len(trace) for trace in traces(1).values()]
    [2000, 2072, 24]
    """
    growing = simulator.dynamic_cache_trace(
        num_hidden_layers=4, row_bytes=2048 * scale, batch_size=4, prompt_tokens=512, new_tokens=129
    )
    return {
        "random mix": list(simulator.random_trace(num_events=2000, seed=1, max_bytes=16 * scale * MiB)),
        "growing cache": list(growing),
        "stranded gaps": list(simulator.stranding_trace(num_steps=8)),
    }


def simulate(trace: Iterable[Event], total_bytes: int, *, expandable: bool) -> Stats:
    """The simulator's counters after a trace."""
    gpu = CachingAllocator(total_bytes=total_bytes, settings=Settings(expandable_segments=expandable))
    return simulator.last_stats(trace, gpu)


def plan(room: Room) -> Plan:
    """Allocated and reserved bytes at the end of each trace, at the largest of three sizes that fits."""
    for scale in (4, 2, 1):
        found, most = _predictions(room, scale)
        if most <= room.tensor_bytes:
            return Plan(
                experiment="fragmentation",
                scale=f"traces of 2000, 2072 and 24 events, requests up to {16 * scale} MiB, {show(most)} at most",
                headline="random mix, fixed segments, reserved",
                predictions=tuple(found),
                needs_bytes=most + room.gpu.cuda_context_high_bytes,
                settings={"scale": scale},
            )
    raise NotEnoughMemoryError(
        f"the smallest traces reserve {show(most)} and may take {show(room.tensor_bytes)} of {room.gpu.name}"
    )


def _predictions(room: Room, scale: int) -> tuple[list[Prediction], int]:
    found, most = [], 0
    for name, trace in traces(scale).items():
        for expandable, word in WORDS.items():
            stats = simulate(trace, room.gpu.memory_bytes, expandable=expandable)
            most = max(most, stats.peak_reserved_bytes)
            for counter in COUNTERS:
                size = getattr(stats, f"{counter}_bytes")
                found.append(
                    Prediction(
                        name=f"{name}, {word}, {counter}", bytes=size, meter="allocator",
                        formula=f"{counter} bytes after the last event, simulated", source=SOURCE,
                    )
                )  # fmt: skip
    return found, round_up(most, MiB)


def perform(plan: Plan, bench: Bench) -> Readings:
    """Play each trace with real tensors, from an empty allocator."""
    word = WORDS["True" in bench.variant.get("PYTORCH_ALLOC_CONF", "")]
    bench.limit()
    for name, trace in traces(plan.settings["scale"]).items():
        bench.clear()
        before = bench.allocator()
        held = _play(trace, bench)
        after = bench.allocator() - before
        yield f"{name}, {word}, allocated", after.allocated_bytes
        yield f"{name}, {word}, reserved", after.reserved_bytes
        del held


def _play(trace: Iterable[Event], bench: Bench) -> dict[str, Any]:
    """Tensors that are alive after the trace."""
    torch, live = bench.torch, dict[str, Any]()
    for event in trace:
        if event.action == "malloc":
            live[event.name] = torch.empty(event.nbytes, dtype=torch.uint8, device=bench.device)
        else:
            del live[event.name]
    return live


EXPERIMENT = Experiment(
    name="fragmentation",
    part="fragmentation",
    question="What do rounding and gaps add, and do expandable segments avoid it?",
    plan=plan,
    perform=perform,
    variants=(FIXED, EXPANDABLE),
)
