"""Runs experiments, each in a process of its own with a time limit, and gathers what they tell."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vramlib.measure import driver, guard, process, record
from vramlib.measure.driver import Card, DeviceMemory, NoGpuError
from vramlib.measure.experiments import EXPERIMENTS, named
from vramlib.measure.plan import DEFAULT_SHARE, Experiment, NotEnoughMemoryError, room_on
from vramlib.measure.process import Told
from vramlib.measure.record import Measurement, Setting
from vramlib.units import show

SECONDS, REPEATS = 300.0, 3
CLEARED = (
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUBLASLT_WORKSPACE_SIZE",
)
LEFT_OVER, SETTLE_SECONDS = 64 << 20, 5.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a run may take.

    Parameters
    ----------
    share : largest part of the free memory [-]
    seconds : for each process of an experiment [s]
    repeats : readings of each point [-]
    wait_seconds : for another measurement on the same card to end [s]
    """

    share: float = DEFAULT_SHARE
    seconds: float = SECONDS
    repeats: int = REPEATS
    wait_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.seconds <= 0 or self.repeats < 1:
            raise ValueError(
                f"share {self.share}, seconds {self.seconds}, repeats {self.repeats}; a share above 0 and up to 1,"
                " a time above 0 and at least one repeat are needed"
            )


def run(
    names: Sequence[str] = (),
    *,
    limits: Limits | None = None,
    index: int = 0,
    say: Callable[[str], None] = lambda text: None,
    done: Callable[[Measurement], None] = lambda measurement: None,
) -> tuple[Measurement, ...]:
    """Run experiments on one card, one after another; all of them where no name is given.

    Parameters
    ----------
    names : of experiments [-]
    limits : share of the free memory, time, repeats [-]
    index : of the card among the visible ones [-]
    say : told who is on the card, and the scale of each experiment before it starts [-]
    done : told each measurement as soon as it is there [-]

    Returns
    -------
    A measurement for each name; one that was refused or ended early has a status that says so [-]

    Raises
    ------
    KeyError: no experiment of that name.
    NoGpuError: no card to measure on.
    BusyError: another measurement runs on the card.
    """
    limits = limits or Limits()
    chosen = [named(name) for name in names] or list(EXPERIMENTS.values())
    visible = driver.cards()
    if not 0 <= index < len(visible):
        raise ValueError(f"there is no card {index}; the visible ones are 0 to {len(visible) - 1}")
    card = visible[index]
    with guard.exclusive(card, ", ".join(e.name for e in chosen), wait_seconds=limits.wait_seconds):
        say(f"{card.name}: {driver.describe(driver.memory(card))}; they are left alone")
        return tuple(_told(done, _measured(experiment, card, limits, say)) for experiment in chosen)


def _told(done: Callable[[Measurement], None], measurement: Measurement) -> Measurement:
    done(measurement)
    return measurement


def _measured(experiment: Experiment, card: Card, limits: Limits, say: Callable[[str], None]) -> Measurement:
    """One experiment, planned here before its process starts; refused, or ended by a card that has gone."""
    setting = _setting(experiment, card, limits)
    try:
        before = driver.memory(card)
        setting = replace(setting, free_bytes=before.free_bytes, others=driver.describe(before))
        room = room_on(card, before, share=limits.share)
        plan = experiment.plan(room)
    except NotEnoughMemoryError as error:
        return Measurement(experiment=experiment.name, status="refused", note=str(error), setting=setting)
    except NoGpuError as error:
        return Measurement(experiment=experiment.name, status="gpu_lost", note=error.reason, setting=setting)
    say(
        f"{experiment.name}: {plan.scale}; may take {show(room.budget_bytes)} of {show(before.free_bytes)} free"
    )
    start, told = time.monotonic(), Told()
    _run_processes(experiment, card, before, limits, told)
    seconds = time.monotonic() - start
    note = "; ".join(n for n in (told.note, _left_over(card, before)) if n)
    found = record.from_plan(
        plan, told.readings, status=told.status, note=note, setting=setting, seconds=seconds
    )
    return record.with_software(found, told.software)


def _run_processes(
    experiment: Experiment, card: Card, before: DeviceMemory, limits: Limits, told: Told
) -> None:
    """One process for each variant, and for each repeat where the experiment asks for it; the first fault ends it."""
    for variant in experiment.variants:
        for _ in range(limits.repeats if experiment.is_fresh else 1):
            if told.status == "measured":
                request = _request(experiment, card, before, limits, variant)
                process.run(request, environment(card, variant), limits.seconds, told)


def _request(
    experiment: Experiment, card: Card, before: DeviceMemory, limits: Limits, variant: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "card": card.to_dict(),
        "free_bytes": before.free_bytes,
        "share": limits.share,
        "repeats": 1 if experiment.is_fresh else limits.repeats,
        "variant": dict(variant),
    }


def environment(card: Card, variant: Mapping[str, str]) -> dict[str, str]:
    """Variables of a measuring process: this card alone, the allocator's defaults, then those of the variant."""
    own = {k: v for k, v in os.environ.items() if k not in CLEARED}
    own |= {"CUDA_VISIBLE_DEVICES": card.uuid, "CUDA_MODULE_LOADING": "LAZY", **variant}
    if "PYTORCH_ALLOC_CONF" in variant:  # the name that versions before 2.9 know
        own["PYTORCH_CUDA_ALLOC_CONF"] = variant["PYTORCH_ALLOC_CONF"]
    return own


def _left_over(card: Card, before: DeviceMemory) -> str:
    """A note where the card is not as it was; the driver needs a moment after a process ends."""
    end = time.monotonic() + SETTLE_SECONDS
    try:
        after = driver.memory(card)
        while after.used_bytes > before.used_bytes + LEFT_OVER and time.monotonic() < end:
            time.sleep(0.1)
            after = driver.memory(card)
    except NoGpuError as error:
        return error.reason
    more = after.used_bytes - before.used_bytes
    if more <= LEFT_OVER:
        return ""
    if {p.pid for p in after.processes} - {p.pid for p in before.processes}:
        return "another process came to the card meanwhile; readings of the whole card may include it"
    return f"the card holds {show(more)} more than before: somebody else's, or not freed"


def _setting(experiment: Experiment, card: Card, limits: Limits) -> Setting:
    import vramlib

    return Setting(
        gpu=card.name,
        gpu_memory_bytes=card.total_bytes,
        driver=card.driver,
        cuda=card.cuda,
        vramlib=vramlib.__version__,
        date=datetime.date.today().isoformat(),
        command=f"vram measure {experiment.name} --share {limits.share:g} --repeats {limits.repeats}",
        share=limits.share,
    )
