"""Measuring processes and their faults: limits, one at a time, ends half-way, cards that go, and what is kept of it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fake_gpu import FakeCard, FakeNvml, use_nvml

from vramlib import catalog, measure
from vramlib.measure import guard, plan, process, runner
from vramlib.measure.driver import Card
from vramlib.units import GiB, MiB

CARD = Card(index=0, name="NVIDIA L4", uuid="GPU-1111", total_bytes=24 * GiB, driver="580", cuda="13.0")
READ_REQUEST = "import json, os, sys, time; request = json.loads(sys.stdin.readline()); "


def tells(*events: dict[str, Any]) -> str:
    return "".join(f"print(json.dumps({event!r}), flush=True); " for event in events)


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", READ_REQUEST + text)


READING = {"event": "reading", "name": "bfloat16, requested", "bytes": 1000}
END = {"event": "end", "status": "measured", "note": ""}


def played(text: str, seconds: float = 20.0) -> process.Told:
    told = process.Told()
    process.run({"experiment": "weights"}, {}, seconds, told, script(text))
    return told


def ended(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process is gone, or waits only to be taken note of, within a moment."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        words = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
        if not words.strip() or words.strip()[0] in "ZX":
            return True
        time.sleep(0.05)
    return False


# --- processes ----------------------------------------------------------------------------------------------------


def test_a_process_tells_its_readings() -> None:
    told = played(tells({"event": "software", "torch": "2.13.0", "cuda": "12.8"}, READING, END))
    assert (told.status, told.readings) == ("measured", [("bfloat16, requested", 1000)])
    assert told.software == {"torch": "2.13.0", "cuda": "12.8"}


def test_a_process_killed_half_way_leaves_what_it_had_read() -> None:
    told = played(tells(READING) + "sys.stdout.write('{half'); sys.stdout.flush(); os.kill(os.getpid(), 9)")
    assert (told.status, told.readings) == ("killed", [("bfloat16, requested", 1000)])
    assert "signal 9" in told.note


def test_a_process_that_fails_says_its_last_line() -> None:
    told = played(tells(READING) + "raise ValueError('a fault of its own')")
    assert told.status == "failed"
    assert told.note == "its process ended with status 1: ValueError: a fault of its own"


def test_a_time_limit_ends_a_process_and_what_it_started(tmp_path: Path) -> None:
    """The helper writes its number; after the limit no process of that number is left."""
    note = tmp_path / "pid"
    helper = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    text = f"import subprocess; subprocess.Popen([sys.executable, '-c', {helper!r}]); "
    told = played(text + tells(READING) + "time.sleep(60)", seconds=2.0)
    assert (told.status, told.note) == ("timed_out", "not done after 2 s, its time limit")
    assert told.readings == [("bfloat16, requested", 1000)]
    assert ended(int(note.read_text()))


def test_a_measuring_process_ends_with_its_parent() -> None:
    """The real child, given a request and left alone by a parent that closes the pipe, does not stay."""
    child = subprocess.Popen(
        process.CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    child.communicate(b"", timeout=60)
    assert child.returncode != 0


# --- one at a time ------------------------------------------------------------------------------------------------

HOLD = """
import sys
from vramlib.measure import guard
from vramlib.measure.driver import Card
card = Card(index=0, name="NVIDIA L4", uuid="GPU-1111", total_bytes=1)
with guard.exclusive(card, "weights", folder=sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other


def test_a_second_measurement_is_refused_and_told_who_is_first(holder: Any, tmp_path: Path) -> None:
    words = rf"NVIDIA L4 is being measured by pid {holder.pid} since .* \(weights\)"
    with (
        pytest.raises(measure.BusyError, match=words),
        guard.exclusive(CARD, "context", folder=str(tmp_path)),
    ):
        raise AssertionError("the card was not free")
    holder.communicate("\n")


def test_a_second_measurement_waits_for_the_first(holder: Any, tmp_path: Path) -> None:
    holder.stdin.write("\n")
    holder.stdin.flush()
    with guard.exclusive(CARD, "context", wait_seconds=20, folder=str(tmp_path)):
        assert "context" in guard.lock_path(CARD, str(tmp_path)).read_text(encoding="utf-8")


def test_a_killed_holder_frees_the_card(holder: Any, tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    with guard.exclusive(CARD, "context", folder=str(tmp_path)):
        pass


def test_another_card_is_another_lock(holder: Any, tmp_path: Path) -> None:
    other = Card(index=1, name="NVIDIA L4", uuid="GPU-2222", total_bytes=1)
    with guard.exclusive(other, "context", folder=str(tmp_path)):
        pass
    holder.communicate("\n")


# --- the whole way, with a stand-in for the driver ----------------------------------------------------------------


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeNvml:
    monkeypatch.setattr(guard.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(runner, "SETTLE_SECONDS", 0.2)
    return use_nvml(monkeypatch, FakeNvml(FakeCard()))


def child(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    real = process.run
    monkeypatch.setattr(process, "run", lambda *given: real(*given, command=script(text)))


def test_a_measurement_holds_what_is_needed_to_repeat_it(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    software = {"event": "software", "torch": "2.13.0", "cuda": "12.8", "model_code": "plain PyTorch"}
    child(monkeypatch, tells(software, READING, READING | {"bytes": 1010}, READING | {"bytes": 990}, END))
    said: list[str] = []
    (found,) = measure.run(["weights"], say=said.append)
    assert said[0].startswith("NVIDIA L4: 23.00 GiB of 24.00 GiB free; no other process is shown")
    assert "Llama-3.2-1B" in said[1]
    assert "may take 11.50 GiB of 23.00 GiB free" in said[1]
    assert (found.bytes, found.point("bfloat16, requested").spread_bytes) == (1000, 20)
    assert found.ratio == pytest.approx(1000 / found.predicted_bytes)
    s = found.setting
    assert (s.gpu, s.driver, s.cuda, s.torch) == ("NVIDIA L4", "580.95.05", "13.0", "2.13.0 (CUDA 12.8)")
    assert s.command == "vram measure weights --share 0.5 --repeats 3"
    assert s.date == time.strftime("%Y-%m-%d")


def test_an_out_of_memory_is_a_result_with_its_numbers(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = "CUDA out of memory. Tried to allocate 2.00 GiB."
    child(monkeypatch, tells(READING, END | {"status": "out_of_memory", "note": note}))
    (found,) = measure.run(["weights"])
    assert (found.status, found.note, found.bytes) == ("out_of_memory", note, 1000)
    assert "ran out of memory" in str(found)


def test_too_little_free_memory_is_refused_politely(nvml: FakeNvml) -> None:
    nvml.cards[0].used = 22 * GiB
    (found,) = measure.run(["weights"])
    assert (found.status, found.points) == ("refused", ())
    assert found.note.startswith("2.00 GiB of L4 is free and the smallest scale wants 3.00 GiB")


def test_a_small_share_is_refused_with_its_arithmetic(nvml: FakeNvml) -> None:
    (found,) = measure.run(["whole_budget"], limits=measure.Limits(share=0.02))
    assert found.status == "refused"
    assert "0.02 of the 23.00 GiB free on L4, less a context" in found.note


def test_a_card_that_goes_half_way_ends_the_experiment_and_keeps_the_others(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    child(
        monkeypatch,
        tells(READING, END | {"status": "gpu_lost", "note": "CUDA error: unspecified launch failure"}),
    )
    kept: list[measure.Measurement] = []

    def done(found: measure.Measurement) -> None:
        kept.append(found)
        nvml.fails_at["nvmlDeviceGetMemoryInfo"] = FakeNvml.NVML_ERROR_GPU_IS_LOST

    first, second = measure.run(["weights", "kv_growth"], done=done)
    assert (first.status, first.bytes) == ("gpu_lost", 1000)
    assert (second.status, second.note) == ("gpu_lost", "the GPU has gone: the driver lost it")
    assert kept == [first, second]


def test_memory_that_stays_behind_is_told(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    child(monkeypatch, tells(READING, END))
    real = process.run
    monkeypatch.setattr(process, "run", lambda *a: (real(*a), setattr(nvml.cards[0], "used", 2 * GiB)))
    (found,) = measure.run(["weights"])
    assert found.note == "the card holds 1.00 GiB more than before: somebody else's, or not freed"


def test_the_real_child_without_a_usable_torch_is_refused(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('stands in for a missing package')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (found,) = measure.run(["weights"])
    assert found.status == "refused"
    assert found.note.startswith("PyTorch is not installed")


@pytest.mark.parametrize("bad", [{"share": 0}, {"share": 1.5}, {"seconds": 0}, {"repeats": 0}])
def test_limits_that_cannot_be_meant(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"a share above 0 and up to 1"):
        measure.Limits(**bad)


def test_a_card_that_is_not_there(nvml: FakeNvml) -> None:
    with pytest.raises(ValueError, match="there is no card 3; the visible ones are 0 to 0"):
        measure.run(["context"], index=3)


# --- plans --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpu", ["RTX-4090", "H100-80GB", "T4"])
@pytest.mark.parametrize("free", [3 * GiB, 8 * GiB, 140 * GiB])
@pytest.mark.parametrize("name", list(measure.EXPERIMENTS))
def test_every_experiment_scales_itself_into_its_share(name: str, free: int, gpu: str) -> None:
    """From about 3 GiB up, a student's laptop: it never plans to hold more than its share of what is free."""
    room = plan.Room(gpu=catalog.gpu(gpu), free_bytes=free)
    found = measure.EXPERIMENTS[name].plan(room)
    assert found.needs_bytes <= room.budget_bytes
    assert found.scale
    assert found.prediction(found.headline).bytes is not None
    for p in found.predictions:
        low = p.bytes if p.low_bytes is None else p.low_bytes
        high = p.bytes if p.high_bytes is None else p.high_bytes
        assert low <= p.bytes <= high, p


def test_more_room_is_used() -> None:
    small, large = (
        measure.EXPERIMENTS["weights"].plan(plan.Room(gpu=catalog.gpu("H200"), free_bytes=n * GiB))
        for n in (3, 140)
    )
    assert (small.settings["model"], large.settings["model"]) == (
        "HuggingFaceTB/SmolLM2-135M",
        "meta-llama/Llama-3.1-8B",
    )


def test_a_card_outside_the_catalogue_gets_the_nearest_ones_traits() -> None:
    card = Card(index=0, name="NVIDIA Unheard 9", uuid="GPU-9", total_bytes=24 * GiB, compute_capability=13.0)
    spec = plan.gpu_spec(card)
    assert (spec.name, spec.memory_bytes, spec.compute_capability) == ("NVIDIA Unheard 9", 24 * GiB, 13.0)
    assert "is not in the catalogue; other traits are those of" in spec.warnings[0]


def test_hopper_has_the_larger_workspace() -> None:
    """PyTorch gives cuBLAS 32 MiB from compute capability 9.0; 8,519,680 B before, as a forum's snapshot shows."""
    sizes = [
        measure.EXPERIMENTS["context"]
        .plan(plan.assumed_room(gpu))
        .prediction("first matmul: workspace")
        .bytes
        for gpu in ("H100-80GB", "L4")
    ]
    assert sizes == [32 * MiB, 8_519_680]
