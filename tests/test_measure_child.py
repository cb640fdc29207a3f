"""The measuring process itself: the ends it tells, and the whole way through real processes with stand-in packages."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_gpu import FakeCard, FakeNvml, use_nvml

from vramlib import measure
from vramlib.measure import _child, guard, plan, runner
from vramlib.measure.bench import Bench
from vramlib.measure.driver import DeviceMemory, Process
from vramlib.units import GiB, MiB


class OutOfMemoryError(RuntimeError):
    """Stands in for torch.OutOfMemoryError, which is a RuntimeError too."""


def bench(*, used: tuple[int, ...] = (GiB,), processes: tuple[Process, ...] = ()) -> Bench:
    told = iter(used)
    cuda = SimpleNamespace(is_initialized=lambda: False)
    return Bench(
        torch=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        cuda=cuda,
        device="cuda",
        read_driver=lambda: DeviceMemory(
            total_bytes=24 * GiB, used_bytes=next(told), free_bytes=GiB, processes=processes
        ),
        limit_bytes=5 * GiB,
    )


def ended(
    monkeypatch: pytest.MonkeyPatch, fault: Exception | None, on: Bench
) -> tuple[dict[str, Any], list[Any]]:
    """The end and the events of an experiment that takes one reading and then meets a fault."""
    foreseen = measure.EXPERIMENTS["context"].plan(plan.assumed_room("L4"))

    def perform(_: plan.Plan, given: Bench) -> Iterator[tuple[str, int]]:
        yield "first tensor", given.process_bytes()
        if fault:
            raise fault

    changed = replace(measure.EXPERIMENTS["context"], perform=perform)
    monkeypatch.setitem(measure.EXPERIMENTS, "context", changed)
    events = io.StringIO()
    end = _child.perform(foreseen, on, 1, events)
    return end, [json.loads(line) for line in events.getvalue().splitlines()]


def test_an_out_of_memory_keeps_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\n GPU 0 has 1.00 GiB free.")
    end, events = ended(monkeypatch, fault, bench(used=(GiB, GiB + 400 * MiB)))
    assert end["status"] == "out_of_memory"
    assert end["note"].startswith("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")
    assert end["note"].endswith("the share allows 5,368,709,120 B")
    assert events == [{"event": "reading", "name": "first tensor", "bytes": 400 * MiB}]


@pytest.mark.parametrize(
    ("fault", "note"),
    [
        (RuntimeError("CUDA error: device-side fault\nmore"), "CUDA error: device-side fault more"),
        (measure.NoGpuError("the GPU has gone: the driver lost it"), "the GPU has gone: the driver lost it"),
    ],
)
def test_a_card_that_goes_is_told(monkeypatch: pytest.MonkeyPatch, fault: Exception, note: str) -> None:
    end, events = ended(monkeypatch, fault, bench(used=(GiB, GiB)))
    assert (end["status"], end["note"], len(events)) == ("gpu_lost", note, 1)


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="a fault of its own"):
        ended(monkeypatch, RuntimeError("a fault of its own"), bench(used=(GiB, GiB)))


def test_bytes_that_the_driver_does_not_tell_by_process_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    end, _ = ended(monkeypatch, None, bench(used=(GiB, GiB)))
    assert end["status"] == "measured"
    assert "growth of the whole card's use" in end["note"]


def test_bytes_of_this_process_need_no_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    own = (Process(pid=_child.os.getpid(), used_bytes=300 * MiB), Process(pid=1, used_bytes=GiB))
    end, events = ended(monkeypatch, None, bench(used=(GiB, GiB), processes=own))
    assert (end["note"], events[0]["bytes"]) == ("", 300 * MiB)


TORCH = """
from types import SimpleNamespace as S
__version__, version, uint8, OutOfMemoryError = "0", S(cuda="0"), "uint8", MemoryError
cuda = S(is_available=lambda: True, is_initialized=lambda: False, memory_stats=dict, synchronize=lambda: None)
def empty(size, dtype, device): return size
"""
NVML = """
import sys
sys.path.insert(0, {tests!r})
from fake_gpu import FakeCard, FakeNvml
_nvml = FakeNvml(FakeCard())
def __getattr__(name): return getattr(_nvml, name)
"""


def test_the_whole_way_through_real_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: Path
) -> None:
    """Runner, child and helper processes are real; the driver and PyTorch are stand-ins that hold nothing."""
    (tmp_path / "torch.py").write_text(TORCH)
    (tmp_path / "pynvml.py").write_text(NVML.format(tests=str(root / "tests")))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(guard.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(runner, "SETTLE_SECONDS", 0.2)
    use_nvml(monkeypatch, FakeNvml(FakeCard()))
    (found,) = measure.run(["multi_process"], limits=measure.Limits(repeats=2))
    assert (found.status, found.note) == ("measured", "")
    assert {p.name: p.values for p in found.points} == {
        "1 idle process": (0, 0),
        "3 idle processes": (0, 0),
        "3 copies of 64 MiB": (0, 0),
        "the same, by this process's allocator": (0, 0),
    }
    assert found.setting.torch == "0 (CUDA 0)"
