"""Recordings: runs as JSON files in ``data/measurements``, checked against a schema when written and when read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from vramlib._paths import data_dir
from vramlib.measure import record
from vramlib.measure.record import Measurement, Setting

SCHEMA_VERSION = 1


class BadRecordingError(ValueError):
    """A file that cannot be used as a recording: damaged, of another format version, or not one at all."""


def folder() -> Path:
    """Where the recordings are."""
    return data_dir() / "measurements"


@cache
def schema() -> dict[str, Any]:
    """The schema of a recording, as data."""
    path = data_dir() / "schema" / "measurement.schema.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def to_dict(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """One run as plain data: card, versions and command once, then each measurement.

    Raises
    ------
    ValueError: nothing was measured.
    """
    if not measurements:
        raise ValueError("there is no measurement to record; name at least one experiment")
    shared = asdict(measurements[0].setting)
    shared.pop("model_code")
    shared["torch"] = next((m.setting.torch for m in measurements if m.setting.torch), "")
    names = " ".join(m.experiment for m in measurements)
    _, _, rest = shared["command"].partition(" --")
    shared["command"] = f"vram measure {names}" + (f" --{rest}" if rest else "")
    return {
        "schema_version": SCHEMA_VERSION,
        "setting": shared,
        "measurements": [record.to_dict(m) for m in measurements],
    }


def write(measurements: Sequence[Measurement], path: Path | None = None) -> Path:
    """Store one run; under ``data/measurements`` by date and card where no path is given.

    Raises
    ------
    ValueError: nothing was measured.
    OSError: the file cannot be written.
    """
    plain = to_dict(measurements)
    _check(plain, "this run")
    path = path or folder() / file_name(measurements)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def file_name(measurements: Sequence[Measurement]) -> str:
    """Date, card and experiment, so that files sort by date: ``2026-11-22--NVIDIA-L4--all.json``."""
    setting = measurements[0].setting
    card = "-".join("".join(c if c.isalnum() else " " for c in setting.gpu).split()) or "unknown"
    what = measurements[0].experiment if len(measurements) == 1 else f"{len(measurements)}-experiments"
    return f"{setting.date}--{card}--{what}.json"


def read(path: Path) -> tuple[Measurement, ...]:
    """The measurements of one file.

    Raises
    ------
    BadRecordingError: damaged, of another format version, or not a recording.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRecordingError(f"{path.name} cannot be read as a recording: {error}") from None
    _check(plain, path.name)
    setting = Setting(**plain["setting"])
    return tuple(record.from_dict(m, setting) for m in plain["measurements"])


def _check(plain: Any, name: str) -> None:
    import jsonschema

    version = plain.get("schema_version") if isinstance(plain, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise BadRecordingError(
            f"{name} has format {version} and this vramlib reads {SCHEMA_VERSION}; record it again: vram measure"
        )
    try:
        jsonschema.validate(plain, schema())
    except jsonschema.ValidationError as error:
        place = "/".join(map(str, error.absolute_path)) or "the top"
        raise BadRecordingError(f"{name} is not a recording: {error.message[:200]} (at {place})") from None


def find(name: str, *, where: Path | None = None) -> tuple[Measurement | None, tuple[str, ...]]:
    """The newest good recording of an experiment, and what to say of files that could not be used."""
    warnings, best = [], None
    for path in sorted((where or folder()).glob("*.json")):
        try:
            found = read(path)
        except BadRecordingError as error:
            warnings.append(str(error))
            continue
        good = [m for m in found if m.experiment == name and m.status == "measured"]
        best = max([*good, *([best] if best else [])], key=lambda m: m.setting.date, default=best)
    return best, tuple(warnings)
