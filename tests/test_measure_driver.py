"""Which cards there are, whose memory each meter sees, and what is said where there is no card to measure on."""

from __future__ import annotations

import os
import sys

import pytest
from fake_gpu import FakeCard, FakeNvml, FakeTorch, use_nvml, use_torch

from vramlib import measure
from vramlib.measure import bench, driver
from vramlib.units import GiB, MiB

TWO = (FakeCard(uuid="GPU-1111"), FakeCard(name="NVIDIA H200", uuid="GPU-2222", total=141 * GiB))


# --- no card ------------------------------------------------------------------------------------------------------


def test_without_the_package_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(measure.NoGpuError, match=r"nvidia-ml-py is not installed .*measure\.read"):
        measure.snapshot()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FakeNvml.NVML_ERROR_LIBRARY_NOT_FOUND, "there is no NVIDIA driver on this machine"),
        (FakeNvml.NVML_ERROR_DRIVER_NOT_LOADED, "installed but not running"),
        (FakeNvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "waits for a restart"),
        (FakeNvml.NVML_ERROR_NO_PERMISSION, "does not let this user ask"),
        (999, "the NVIDIA driver answers: driver error 999"),
    ],
)
def test_no_driver(monkeypatch: pytest.MonkeyPatch, error: int, words: str) -> None:
    use_nvml(monkeypatch, FakeNvml(FakeCard())).fails_at["nvmlInit"] = error
    with pytest.raises(measure.NoGpuError, match=words):
        measure.cards()


def test_a_toolkit_without_a_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """``nvcc`` and ``libcudart`` come with a toolkit; only the driver's own library is asked."""
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    use_nvml(monkeypatch, FakeNvml()).fails_at["nvmlInit"] = FakeNvml.NVML_ERROR_LIBRARY_NOT_FOUND
    with pytest.raises(measure.NoGpuError, match="no NVIDIA driver"):
        measure.run(["context"])


def test_a_driver_without_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    use_nvml(monkeypatch, FakeNvml())
    with pytest.raises(measure.NoGpuError, match="the driver runs but sees no GPU"):
        measure.cards()


def test_all_cards_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    use_nvml(monkeypatch, FakeNvml(*TWO))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(measure.NoGpuError, match="CUDA_VISIBLE_DEVICES='' hides all 2 GPUs"):
        measure.cards()


@pytest.mark.parametrize(
    ("torch", "words"),
    [
        (FakeTorch(cuda=None), r"PyTorch 2\.13\.0 is built without CUDA"),
        (FakeTorch(available=False), r"PyTorch 2\.13\.0 \(CUDA 12\.8\) finds no GPU"),
        (None, "PyTorch is not installed"),
    ],
)
def test_torch_that_cannot_use_a_gpu(monkeypatch: pytest.MonkeyPatch, torch: FakeTorch, words: str) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(measure.NoGpuError, match=words):
        bench.torch_with_cuda()


# --- several cards, slices ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "uuids"),
    [
        (None, ["GPU-1111", "GPU-2222"]),
        ("1", ["GPU-2222"]),
        ("1,0", ["GPU-2222", "GPU-1111"]),
        ("GPU-22", ["GPU-2222"]),
        ("0,9,1", ["GPU-1111"]),  # as in CUDA, what follows a wrong one is hidden
        ("0,0", ["GPU-1111"]),
    ],
)
def test_hidden_cards_are_not_touched(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, uuids: list[str]
) -> None:
    use_nvml(monkeypatch, FakeNvml(*TWO))
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    found = measure.cards()
    assert [c.uuid for c in found] == uuids
    assert [c.index for c in found] == list(range(len(uuids)))


def test_an_experiment_sees_its_card_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA may number cards in another order than the driver; a UUID means the same card to both."""
    use_nvml(monkeypatch, FakeNvml(*TWO))
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64")
    own = measure.runner.environment(measure.cards()[1], {"PYTORCH_ALLOC_CONF": "expandable_segments:True"})
    assert own["CUDA_VISIBLE_DEVICES"] == "GPU-2222"
    assert own["PYTORCH_CUDA_ALLOC_CONF"] == own["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"


def sliced() -> FakeCard:
    small = FakeCard(name="NVIDIA H100 80GB HBM3 MIG 1g.10gb", uuid="MIG-aaaa", total=9984 * MiB, used=0)
    large = FakeCard(name="NVIDIA H100 80GB HBM3 MIG 3g.40gb", uuid="MIG-bbbb", total=40448 * MiB)
    return FakeCard(name="NVIDIA H100 80GB HBM3", total=80 * GiB, slices=(small, large))


def test_a_slice_has_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    use_nvml(monkeypatch, FakeNvml(sliced()))
    first, second = measure.cards()
    assert (first.is_mig, first.total_bytes, measure.memory(first).used_bytes) == (True, 9984 * MiB, 0)
    assert second.uuid == "MIG-bbbb"
    assert measure.plan.gpu_spec(first).name == "H100-80GB-1g.10gb"


@pytest.mark.parametrize(("chosen", "uuid"), [("0", "MIG-aaaa"), ("MIG-b", "MIG-bbbb")])
def test_a_slice_is_chosen_by_its_uuid(monkeypatch: pytest.MonkeyPatch, chosen: str, uuid: str) -> None:
    use_nvml(monkeypatch, FakeNvml(sliced()))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert [c.uuid for c in measure.cards()] == [uuid]


# --- the meters ---------------------------------------------------------------------------------------------------


def stats(requested: int, allocated: int, reserved: int) -> dict[str, int]:
    sizes = {"requested": requested, "allocated": allocated, "reserved": reserved}
    return {f"{n}_bytes.all.{when}": size for n, size in sizes.items() for when in ("current", "peak")}


def test_a_snapshot_without_torch_makes_no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    card = FakeCard(used=3 * GiB, processes={os.getpid(): 400 * MiB, 7: 2 * GiB})
    nvml = use_nvml(monkeypatch, FakeNvml(card))
    seen = measure.snapshot()
    assert (seen.device_used_bytes, seen.process_bytes, seen.other_bytes) == (3 * GiB, 400 * MiB, 2672 * MiB)
    assert (seen.allocated_bytes, seen.reserved_bytes) == (0, 0)
    assert nvml.is_open == 0
    assert "torch" not in sys.modules


def test_the_meters_see_different_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard(used=3 * GiB, processes={os.getpid(): 420 * MiB})
    use_nvml(monkeypatch, FakeNvml(card))
    use_torch(monkeypatch, FakeTorch(stats=stats(5, 512, 2 * MiB)))
    seen = measure.snapshot()
    assert (seen.requested_bytes, seen.allocated_bytes, seen.reserved_bytes) == (5, 512, 2 * MiB)
    assert seen.outside_allocator_bytes == 418 * MiB
    assert "everyone on the card" in str(seen)


def test_snapshots_subtract(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard(used=GiB, processes={os.getpid(): None})
    use_nvml(monkeypatch, FakeNvml(card))
    torch = use_torch(monkeypatch, FakeTorch(stats=stats(100, 512, 2 * MiB)))
    before = measure.snapshot()
    torch.stats |= stats(50, 512, 4 * MiB)
    card.used += 2 * MiB
    change = measure.snapshot() - before
    assert (change.requested_bytes, change.reserved_bytes, change.device_used_bytes) == (
        -50,
        2 * MiB,
        2 * MiB,
    )
    assert change.process_bytes is None, "where the driver does not tell, nothing is made up"


def test_a_tracked_step_keeps_its_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    use_nvml(monkeypatch, FakeNvml(FakeCard()))
    torch = use_torch(
        monkeypatch, FakeTorch(stats=stats(100, 512, 2 * MiB) | {"requested_bytes.all.peak": 10**6})
    )
    with measure.track() as step:
        torch.stats["requested_bytes.all.peak"] = 700
        with pytest.raises(ValueError, match="the step has not ended"):
            _ = step.peak_bytes
    assert step.peak_bytes == 600, "an earlier peak does not count"
    assert step.change.requested_bytes == 0


def test_the_card_that_torch_uses_is_found_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    use_nvml(monkeypatch, FakeNvml(*TWO))
    use_torch(monkeypatch, FakeTorch(stats=stats(0, 0, 0)))
    assert measure.snapshot().device_total_bytes == 141 * GiB


@pytest.mark.parametrize(
    ("knows_v2", "used", "reserved"), [(True, GiB, 300 * MiB), (False, GiB + 300 * MiB, 0)]
)
def test_the_drivers_own_reserve(
    monkeypatch: pytest.MonkeyPatch, knows_v2: bool, used: int, reserved: int
) -> None:
    """Older drivers count their reserve as used; then it is not claimed to be known."""
    use_nvml(monkeypatch, FakeNvml(FakeCard(reserved=300 * MiB), knows_v2=knows_v2))
    memory = measure.memory(measure.cards()[0])
    assert (memory.used_bytes, memory.reserved_bytes) == (used, reserved)


def test_other_processes_are_shown() -> None:
    memory = driver.DeviceMemory(
        total_bytes=8 * GiB, used_bytes=3 * GiB, free_bytes=5 * GiB,
        processes=(driver.Process(pid=1, used_bytes=2 * GiB), driver.Process(pid=2, used_bytes=None)),
    )  # fmt: skip
    assert driver.describe(memory).endswith("2 other processes: pid 1 (2.00 GiB), pid 2 (size not told)")
    assert driver.describe(memory, own_pids=frozenset((1, 2))).endswith("no other process is shown")


def test_a_card_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = use_nvml(monkeypatch, FakeNvml(FakeCard()))
    (card,) = measure.cards()
    nvml.fails_at["nvmlDeviceGetMemoryInfo"] = FakeNvml.NVML_ERROR_GPU_IS_LOST
    with pytest.raises(measure.NoGpuError, match="the GPU has gone"):
        measure.snapshot(card)
