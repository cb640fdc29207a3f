"""A measurement: readings beside what was predicted, with all that is needed to judge or repeat them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vramlib.measure.plan import Plan, Prediction
from vramlib.units import show

STATUSES = {
    "measured": "measured",
    "refused": "not started",
    "out_of_memory": "ran out of memory",
    "timed_out": "stopped at its time limit",
    "killed": "ended half-way",
    "gpu_lost": "lost the GPU half-way",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One reading: what was predicted, and what each repeat gave.

    Parameters
    ----------
    prediction : made before the reading [-]
    values : one for each repeat, empty where it was not reached [byte]
    """

    prediction: Prediction
    values: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """What was read."""
        return self.prediction.name

    @property
    def bytes(self) -> int | None:
        """Median of the repeats; None where it was not reached [byte]."""
        return round(statistics.median(self.values)) if self.values else None

    @property
    def spread_bytes(self) -> int:
        """Largest minus smallest repeat [byte]."""
        return max(self.values) - min(self.values) if self.values else 0

    @property
    def ratio(self) -> float | None:
        """Measured over predicted; None where either is missing or nothing was expected [-]."""
        expected = self.prediction.bytes
        return None if self.bytes is None or not expected else self.bytes / expected

    @property
    def is_within(self) -> bool | None:
        """Whether the reading lies in the predicted interval; None where it was not reached [-]."""
        p = self.prediction
        if self.bytes is None or p.bytes is None:
            return None
        low = p.bytes if p.low_bytes is None else p.low_bytes
        high = p.bytes if p.high_bytes is None else p.high_bytes
        return low <= self.bytes <= high


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and with what a measurement was made: enough to repeat it."""

    gpu: str = ""
    gpu_memory_bytes: int = 0
    driver: str = ""
    cuda: str = ""
    torch: str = ""
    model_code: str = ""
    vramlib: str = ""
    date: str = ""
    command: str = ""
    share: float = 0.0
    free_bytes: int = 0
    others: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One experiment's result, also where it was refused or ended early: its predictions and what was read so far.

    Parameters
    ----------
    experiment : its name [-]
    status : one of ``STATUSES`` [-]
    note : why, where it is not ``measured``; what to beware of [-]
    scale : what was run [-]
    headline : the reading that stands for all [-]
    points : every reading [-]
    settings : numbers of the run [-]
    setting : card, driver, versions, date, command [-]
    seconds : how long it took [s]
    """

    experiment: str
    status: str
    scale: str = ""
    headline: str = ""
    points: tuple[Point, ...] = ()
    note: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    setting: Setting = field(default_factory=Setting)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status!r}; known: {', '.join(STATUSES)}")

    def point(self, name: str) -> Point:
        """One reading by its name.

        Raises
        ------
        KeyError: the experiment has no such reading.
        """
        for p in self.points:
            if p.name == name:
                return p
        known = ", ".join(p.name for p in self.points)
        raise KeyError(f"{self.experiment} has no reading {name!r}; it has: {known or 'none'}")

    @property
    def bytes(self) -> int | None:
        """The headline reading [byte]."""
        return self.point(self.headline).bytes if self.points else None

    @property
    def predicted_bytes(self) -> int | None:
        """What was predicted for the headline [byte]."""
        return self.point(self.headline).prediction.bytes if self.points else None

    @property
    def ratio(self) -> float | None:
        """Measured over predicted, of the headline [-]."""
        return self.point(self.headline).ratio if self.points else None

    def __str__(self) -> str:
        lines = [f"{self.experiment}: {STATUSES[self.status]}{', ' + self.scale if self.scale else ''}"]
        lines += [f"  {self.note}"] if self.note else []
        return "\n".join((*lines, *(f"  {line(p)}" for p in self.points)))


def line(p: Point) -> str:
    """A reading in one line: measured, predicted, ratio, spread; the prediction alone where it was not reached."""
    expected = "no prediction" if p.prediction.bytes is None else f"predicted {show(p.prediction.bytes)}"
    if p.bytes is None:
        return f"{p.name}: {expected}"
    ratio = "" if p.ratio is None else f", ratio {p.ratio:.4f}"
    spread = f", spread {show(p.spread_bytes)} over {len(p.values)}" if len(p.values) > 1 else ""
    return f"{p.name}: {show(p.bytes)} ({p.bytes:,} B), {expected}{ratio}{spread}"


def from_plan(plan: Plan, readings: Iterable[tuple[str, int]], **more: Any) -> Measurement:
    """A measurement from its plan and the readings as they came, repeats under the same name.

    Raises
    ------
    KeyError: a reading that the plan does not foresee.
    """
    values: dict[str, list[int]] = {p.name: [] for p in plan.predictions}
    for name, size in readings:
        plan.prediction(name)
        values[name].append(size)
    return Measurement(
        experiment=plan.experiment,
        scale=plan.scale,
        headline=plan.headline,
        points=tuple(Point(prediction=p, values=tuple(values[p.name])) for p in plan.predictions),
        settings=plan.settings,
        **more,
    )


def to_dict(m: Measurement) -> dict[str, Any]:
    """One measurement as plain data, without its setting, which a whole run shares."""
    return {
        "experiment": m.experiment,
        "status": m.status,
        "note": m.note,
        "scale": m.scale,
        "headline": m.headline,
        "model_code": m.setting.model_code,
        "seconds": round(m.seconds, 2),
        "settings": dict(m.settings),
        "points": [{**asdict(p.prediction), "values": list(p.values)} for p in m.points],
    }


def from_dict(plain: Mapping[str, Any], setting: Setting) -> Measurement:
    """A measurement from plain data; the other way round of ``to_dict``."""
    points = tuple(
        Point(
            prediction=Prediction(**{k: v for k, v in p.items() if k != "values"}), values=tuple(p["values"])
        )
        for p in plain["points"]
    )
    rest = {k: v for k, v in plain.items() if k not in ("points", "model_code")}
    return Measurement(**rest, points=points, setting=replace(setting, model_code=plain["model_code"]))


def with_software(m: Measurement, software: Mapping[str, str]) -> Measurement:
    """The measurement with the versions that its process told: PyTorch, its CUDA, and whose model code ran."""
    torch, cuda = software.get("torch", ""), software.get("cuda", "")
    built = f"{torch} (CUDA {cuda})" if torch and cuda else torch
    return replace(m, setting=replace(m.setting, torch=built, model_code=software.get("model_code", "")))
