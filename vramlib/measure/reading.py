"""One number with its label: measured now, recorded, reported by others, or from the model only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vramlib import tables
from vramlib.measure import record, recordings, runner
from vramlib.measure.driver import NoGpuError
from vramlib.measure.experiments import named
from vramlib.measure.guard import BusyError
from vramlib.measure.plan import Plan, assumed_room
from vramlib.measure.record import STATUSES, Measurement
from vramlib.measure.reported import Reported, reported
from vramlib.messages import names, retold, t
from vramlib.resolve import DEFAULT_GPU
from vramlib.units import show

NOTHING = "predicted only, nothing was measured"
KINDS = ("live", "recorded", "reported", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An experiment's answer and where it comes from; print it, or show it in a notebook.

    Parameters
    ----------
    name : the experiment [-]
    kind : ``live``, ``recorded``, ``reported`` or ``model`` [-]
    measurement : readings beside predictions; without values for ``reported`` and ``model`` [-]
    reported : figures printed by others, for ``reported`` [-]
    warnings : why a better kind was not there; recordings that could not be used [-]
    """

    name: str
    kind: str
    measurement: Measurement
    reported: tuple[Reported, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Where the number comes from, to be printed beside it."""
        return self.told()

    def told(self, language: str = "en") -> str:
        """The label in a language: measured now, recorded, reported by others, or model only."""
        s = self.measurement.setting
        source = self.reported[0].source if self.reported else ""
        return t(f"measure.{self.kind}", language, gpu=s.gpu, date=s.date, source=source)

    @property
    def bytes(self) -> int | None:
        """The headline: measured or recorded, else the first figure reported by others; None from the model only."""
        return self.reported[0].bytes if self.reported else self.measurement.bytes

    @property
    def predicted_bytes(self) -> int | None:
        """What vramlib predicts for the headline; for a figure reported by others, in their setting [byte]."""
        return self.reported[0].predicted_bytes if self.reported else self.measurement.predicted_bytes

    @property
    def ratio(self) -> float | None:
        """Measured over predicted, in one and the same setting; None where either is missing [-]."""
        return self.bytes / self.predicted_bytes if self.bytes is not None and self.predicted_bytes else None

    def __str__(self) -> str:
        return self.text()

    def text(self, language: str = "en") -> str:
        """Readings line by line, with the label above and what to beware of below."""
        lines = [record.line(p) for p in self.measurement.points if not self.reported]
        lines += [_said(r) for r in self.reported]
        lines += [f"note: {w}" for w in self.warnings]
        told = (f"  {retold('reading', line, language)}" for line in lines)
        return "\n".join((f"{self.name} ({self.told(language)})", *told))

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def table(self, language: str = "en") -> tables.Table:
        """Readings as rows: predicted, measured, ratio, or who reported them, in their own words."""
        if self.reported:
            rows = [
                (r.reading, _shown(r.predicted_bytes), show(r.bytes), r.gpu, r.conditions, r.source)
                for r in self.reported
            ]
            columns = ("column_reading", "predicted", "column_reported", "card", "conditions", "source")
            return self._shown(columns, rows, language)
        points = [_row(p, language) for p in self.measurement.points]
        return self._shown(("column_reading", "predicted", "measured", "ratio"), points, language)

    def _shown(self, columns: Sequence[str], rows: Iterable[Sequence[str]], language: str) -> tables.Table:
        caption = f"{retold('experiment', named(self.name).question, language)} **{self.told(language)}**"
        return tables.table(tuple(names("measure", columns, language).values()), rows, caption=caption)


def _row(p: record.Point, language: str) -> tuple[str, str, str, str]:
    ratio = "" if p.ratio is None else f"{p.ratio:.3f}"
    return retold("experiment", p.name, language), _shown(p.prediction.bytes), _shown(p.bytes), ratio


def _shown(size: int | None) -> str:
    return "" if size is None else show(size)


def _said(r: Reported) -> str:
    expected = "" if r.predicted_bytes is None else f", predicted {show(r.predicted_bytes)}"
    return f"{r.reading}: {show(r.bytes)} on {r.gpu or 'a card not named'}{expected} ({r.conditions}; {r.source})"


def read(name: str, *, gpu: str = "", live: bool = True, limits: runner.Limits | None = None) -> Reading:
    """The answer of an experiment: live where there is a GPU, else recorded, else reported, else predicted only.

    Parameters
    ----------
    name : of an experiment: ``kv_growth`` [-]
    gpu : card that the prediction is for where nothing was measured; the default card of ``vram estimate`` [-]
    live : False never touches a GPU, so that a page says the same everywhere [-]
    limits : share of the free memory, time and repeats of a live run [-]

    Returns
    -------
    The number with its label [-]

    Raises
    ------
    KeyError: no experiment, or no card, of that name.

    Examples
    --------
    >>> reading = read("activations", gpu="L4", live=False)
    >>> reading.measurement.headline
    'sdpa, 2048 tokens'
    """
    experiment, warnings = named(name), list[str]()
    if live:
        found, reason = _live(experiment.name, limits)
        if found:
            return Reading(name=experiment.name, kind="live", measurement=found)
        warnings.append(reason)
    recorded, unusable = recordings.find(experiment.name)
    warnings += unusable
    if recorded:
        return Reading(name=experiment.name, kind="recorded", measurement=recorded, warnings=tuple(warnings))
    plan = experiment.plan(assumed_room(gpu or DEFAULT_GPU))
    printed = reported(experiment.name)
    return Reading(
        name=experiment.name,
        kind="reported" if printed else "model",
        measurement=predicted_only(plan),
        reported=printed,
        warnings=tuple(warnings),
    )


def _live(name: str, limits: runner.Limits | None) -> tuple[Measurement | None, str]:
    """A fresh measurement, or the reason why there is none."""
    try:
        (found,) = runner.run([name], limits=limits)
    except NoGpuError as error:
        return None, f"not measured here: {error.reason}"
    except BusyError as error:
        return None, str(error)
    if found.status == "measured":
        return found, ""
    return None, f"not measured here: {STATUSES[found.status]}: {found.note}"


def predicted_only(plan: Plan) -> Measurement:
    """A plan as a measurement without values."""
    return record.from_plan(plan, (), status="refused", note=NOTHING)
