"""multi_process: what further processes take on the same card, and which meter shows it."""

from __future__ import annotations

from vramlib.components import cuda_context, fragmentation
from vramlib.measure import helpers
from vramlib.measure.bench import Bench
from vramlib.measure.plan import Experiment, NotEnoughMemoryError, Plan, Prediction, Readings, Room
from vramlib.units import MiB, show

HELD = 64 * MiB
MOST = 3


def plan(room: Room) -> Plan:
    """One and several idle contexts, several copies of a tensor; the allocator of this process sees none of them."""
    base, low, high = cuda_context.base_bytes(room.gpu)
    count = min(MOST, room.budget_bytes // (high + HELD))
    if count < 2:
        raise NotEnoughMemoryError(
            f"two processes take up to {show(2 * (high + HELD))} and may take {show(room.budget_bytes)}"
        )
    held = fragmentation.allocated_bytes(HELD)
    found = [
        _on_card(f"{n} idle processes" if n > 1 else "1 idle process", n, (base, low, high), 2 * MiB)
        for n in (1, count)
    ]
    found.append(_on_card(f"{count} copies of {show(HELD, 0)}", count, (base, low, high), held + 2 * MiB))
    found.append(
        Prediction(
            name="the same, by this process's allocator", bytes=0, meter="allocator",
            formula="0: an allocator sees its own process", source="torch.cuda.memory_stats",
        )
    )  # fmt: skip
    return Plan(
        experiment="multi_process",
        scale=f"up to {count} further processes, each with a context, then also with {show(HELD, 0)}",
        headline=f"{count} idle processes",
        predictions=tuple(found),
        needs_bytes=count * (high + HELD + 4 * MiB),
        settings={"count": count, "held_bytes": HELD},
    )


def _on_card(name: str, count: int, context: tuple[int, int, int], each: int) -> Prediction:
    base, low, high = (count * (size + each) for size in context)
    return Prediction(
        name=name, bytes=base, low_bytes=low, high_bytes=high + count * 64 * MiB, meter="card",
        formula="n · (context + what that process holds)",
        source="one context per process and card; nothing is shared between independent processes",
    )  # fmt: skip


def perform(plan: Plan, bench: Bench) -> Readings:
    """The measuring process has no context of its own here: the card's growth is the helpers' alone."""
    count, held = plan.settings["count"], plan.settings["held_bytes"]
    for n, size, name in (
        (1, 1, "1 idle process"),
        (count, 1, f"{count} idle processes"),
        (count, held, f"{count} copies of {show(held, 0)}"),
    ):
        with helpers.holding(bench, n, size):
            yield name, bench.read_driver().used_bytes - bench.start.used_bytes
            own = bench.requested()
        helpers.wait_until_released(bench)
    yield "the same, by this process's allocator", own


EXPERIMENT = Experiment(
    name="multi_process",
    part="multi_process",
    question="What does each further process take, and which meter shows it?",
    plan=plan,
    perform=perform,
)
