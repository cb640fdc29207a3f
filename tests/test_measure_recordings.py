"""Recordings and readings: what is stored, what cannot be used, and which label stands beside a number."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from vramlib import catalog, measure
from vramlib.measure import driver, plan, reading, record, recordings
from vramlib.units import GiB, MiB

SETTING = record.Setting(
    gpu="NVIDIA L4", gpu_memory_bytes=24 * GiB, driver="580.95.05", cuda="13.0", torch="2.13.0 (CUDA 12.8)",
    model_code="plain PyTorch", vramlib="0.1.0", date="2026-11-22", command="vram measure kv_growth --share 0.5",
    share=0.5, free_bytes=23 * GiB, others="23.00 GiB of 24.00 GiB free; no other process is shown",
)  # fmt: skip


def measured(name: str = "kv_growth", *, date: str = "2026-11-22", **more: Any) -> measure.Measurement:
    foreseen = measure.EXPERIMENTS[name].plan(plan.Room(gpu=catalog.gpu("L4"), free_bytes=23 * GiB))
    values = [(p.name, p.bytes) for p in foreseen.predictions for _ in range(3)]
    given = {"status": "measured", "setting": replace(SETTING, date=date), "seconds": 2.5}
    return record.from_plan(foreseen, values, **{**given, **more})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(recordings, "folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise driver.NoGpuError("there is no NVIDIA driver on this machine")

    monkeypatch.setattr(driver, "cards", none)


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(measure.EXPERIMENTS))
def test_a_recording_reads_back_as_it_was(name: str, tmp_path: Path) -> None:
    one = measured(name)
    path = measure.write([one], tmp_path / "run.json")
    (back,) = recordings.read(path)
    command = f"vram measure {name} --share 0.5"
    assert back == replace(one, setting=replace(SETTING, command=command), settings=back.settings)
    assert back.settings == json.loads(json.dumps(one.settings))


def test_the_schema_is_one_and_names_every_experiment() -> None:
    jsonschema.Draft202012Validator.check_schema(recordings.schema())
    known = recordings.schema()["$defs"]["measurement"]["properties"]
    assert known["experiment"]["enum"] == list(measure.EXPERIMENTS)
    assert known["status"]["enum"] == list(record.STATUSES)


def test_a_run_that_ended_early_is_kept_too(tmp_path: Path) -> None:
    refused = measure.Measurement(experiment="weights", status="refused", note="too little", setting=SETTING)
    path = measure.write([measured(), refused], tmp_path / "run.json")
    assert [m.status for m in recordings.read(path)] == ["measured", "refused"]
    assert json.loads(path.read_text())["setting"]["command"] == "vram measure kv_growth weights --share 0.5"


def test_files_sort_by_date_and_name_their_card(folder: Path) -> None:
    assert measure.write([measured()]).name == "2026-11-22--NVIDIA-L4--kv_growth.json"
    assert (
        measure.write([measured(), measured("weights")]).name == "2026-11-22--NVIDIA-L4--2-experiments.json"
    )


def test_nothing_is_no_recording(folder: Path) -> None:
    with pytest.raises(ValueError, match="there is no measurement to record"):
        measure.write([])
    assert not list(folder.iterdir())


def damaged(change: dict[str, Any]) -> str:
    return json.dumps(recordings.to_dict([measured()]) | change)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{half", "bad.json cannot be read as a recording"),
        ("[]", r"bad.json is not a recording: \[\] is not of type 'object'"),
        (
            damaged({"schema_version": 0}),
            "has format 0 and this vramlib reads 1; record it again: vram measure",
        ),
        (damaged({"schema_version": 2}), "has format 2 and this vramlib reads 1"),
        (damaged({"measurements": []}), "bad.json is not a recording"),
        (damaged({"setting": {}}), r"'gpu' is a required property \(at setting\)"),
    ],
)
def test_a_recording_that_cannot_be_used_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(measure.BadRecordingError, match=words):
        recordings.read(path)


def test_a_measured_run_without_values_is_not_a_recording(tmp_path: Path) -> None:
    one = measured()
    hollow = replace(one, points=tuple(replace(p, values=()) for p in one.points))
    with pytest.raises(measure.BadRecordingError, match="this run is not a recording"):
        measure.write([hollow], tmp_path / "run.json")


def test_every_committed_recording_can_be_read() -> None:
    for path in recordings.folder().glob("*.json"):
        assert recordings.read(path)


# --- readings -----------------------------------------------------------------------------------------------------


def test_the_newest_good_recording_answers(folder: Path, no_gpu: None) -> None:
    measure.write([measured(date="2026-01-05")])
    measure.write([measured(date="2026-11-01")])
    measure.write([measured(date="2026-12-01", status="out_of_memory")])
    (folder / "2027-01-01--broken.json").write_text("{", encoding="utf-8")
    found = measure.read("kv_growth")
    assert found.kind == "recorded"
    assert found.label == "recorded on NVIDIA L4, 2026-11-01"
    assert (found.bytes, found.ratio) == (found.predicted_bytes, 1.0)
    assert found.warnings[0] == "not measured here: there is no NVIDIA driver on this machine"
    assert "2027-01-01--broken.json cannot be read" in found.warnings[1]


@pytest.mark.parametrize(
    ("name", "bytes_", "predicted", "within"),
    [
        ("weights", 14.9889 * GiB, "vLLM log of Llama-3.1-8B", 0.0001),
        ("kv_growth", 57.5 * GiB / 418_688, "vLLM log of Qwen3-8B: pool over tokens", 0.001),
        ("activations", 0.75 * GiB, "vLLM log of granite-3.1-2b", 0.05),
        ("sampler", 3.63 * GiB, "vLLM log of gemma-7b", 0.02),
        ("cuda_graphs", 0.94 * GiB, "vLLM log of gemma-7b", 0.15),
    ],
)
def test_without_a_recording_others_are_quoted(
    folder: Path, name: str, bytes_: float, predicted: str, within: float
) -> None:
    """Printed figures of settings that are known, beside what vramlib gives for the same setting."""
    found = measure.read(name, live=False)
    assert found.label.startswith("reported by others: https://")
    assert found.bytes == pytest.approx(bytes_, abs=1024), predicted
    assert found.ratio == pytest.approx(1, abs=within), predicted


def test_a_figure_is_not_compared_with_itself(folder: Path) -> None:
    """The catalogue has some contexts from these very figures; then no prediction stands beside them."""
    for r in measure.read("context", live=False).reported:
        assert r.predicted_bytes is None or catalog.gpu(r.gpu).cuda_context_basis != "measured", r


def test_where_nobody_printed_anything_the_model_speaks(folder: Path) -> None:
    found = measure.read("padding", gpu="L4", live=False)
    assert (found.label, found.bytes, found.ratio) == ("model only", None, None)
    assert found.predicted_bytes == found.measurement.point("padded, forward").prediction.bytes
    assert "padded, forward: predicted" in str(found)


def test_a_live_reading_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading.runner, "run", lambda names, limits: (measured(),))
    found = measure.read("kv_growth")
    assert (found.kind, found.label) == ("live", "measured now on NVIDIA L4")


@pytest.mark.parametrize("status", ["refused", "out_of_memory", "timed_out", "killed", "gpu_lost", "failed"])
def test_a_live_run_that_ends_early_falls_back_and_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    ended = measure.Measurement(experiment="padding", status=status, note="the reason", setting=SETTING)
    monkeypatch.setattr(reading.runner, "run", lambda names, limits: (ended,))
    found = measure.read("padding")
    assert found.kind == "model"
    assert found.warnings == (f"not measured here: {record.STATUSES[status]}: the reason",)


def test_a_busy_card_falls_back_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(names: list[str], limits: Any) -> None:
        raise measure.BusyError("NVIDIA L4 is being measured by pid 7")

    monkeypatch.setattr(reading.runner, "run", busy)
    assert measure.read("padding").warnings == ("NVIDIA L4 is being measured by pid 7",)


def test_the_label_stands_above_the_table(folder: Path) -> None:
    page = measure.read("padding", gpu="L4", live=False)._repr_html_()
    assert "<strong>model only</strong>" in page
    measure.write([measured()])
    assert "recorded on NVIDIA L4" in measure.read("kv_growth", live=False)._repr_html_()


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(KeyError, match="nearest: kv_growth"):
        measure.read("kv_grwth")
    with pytest.raises(KeyError, match="no reading 'q'; it has: per token, grouped heads"):
        measured().point("q")


# --- points -------------------------------------------------------------------------------------------------------


def test_repeats_have_a_median_and_a_spread() -> None:
    expected = plan.Prediction(
        name="x", bytes=10 * MiB, low_bytes=9 * MiB, high_bytes=11 * MiB, meter="card", formula=""
    )
    point = record.Point(prediction=expected, values=(10 * MiB, 12 * MiB, 11 * MiB))
    assert (point.bytes, point.spread_bytes, point.ratio, point.is_within) == (11 * MiB, 2 * MiB, 1.1, True)
    assert replace(point, values=(12 * MiB,)).is_within is False
    assert replace(point, values=()).is_within is None


def test_a_reading_that_was_not_foreseen_is_a_fault() -> None:
    """Every prediction is written down before its reading is taken; there is no reading without one."""
    foreseen = measure.EXPERIMENTS["weights"].plan(plan.assumed_room("L4"))
    with pytest.raises(KeyError, match="weights foresees no reading 'surprise'"):
        record.from_plan(foreseen, [("surprise", 1)], status="measured")
