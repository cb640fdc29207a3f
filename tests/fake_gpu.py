# ruff: noqa: N802, N815  the driver's library spells its names so
"""Stand-ins for a driver and for PyTorch, named as such: a machine with cards that has none.

``FakeNvml`` answers like the module ``pynvml``; ``FakeTorch`` like the few corners of ``torch`` that are asked before
anything is computed. Nothing here measures; the tests that use them are about faults and about who is told what.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from vramlib.units import GiB


class FakeNvmlError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"driver error {value}")
        self.value = value


@dataclass
class FakeCard:
    name: str = "NVIDIA L4"
    uuid: str = "GPU-1111"
    total: int = 24 * GiB
    used: int = GiB
    reserved: int = 0
    processes: dict[int, int | None] = field(default_factory=dict)
    slices: tuple[FakeCard, ...] = ()
    capability: tuple[int, int] = (8, 9)


class FakeNvml:
    """The module ``pynvml`` of a machine with these cards; ``fails_at`` raises an error from a call on."""

    NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NO_PERMISSION, NVML_ERROR_NOT_FOUND = 3, 4, 6
    NVML_ERROR_DRIVER_NOT_LOADED, NVML_ERROR_LIBRARY_NOT_FOUND, NVML_ERROR_FUNCTION_NOT_FOUND = 9, 12, 13
    NVML_ERROR_GPU_IS_LOST, NVML_ERROR_LIB_RM_VERSION_MISMATCH, NVML_DEVICE_MIG_ENABLE = 15, 18, 1
    NVMLError, nvmlMemory_v2 = FakeNvmlError, 2

    def __init__(self, *cards: FakeCard, knows_v2: bool = True) -> None:
        self.cards, self.knows_v2 = list(cards), knows_v2
        self.fails_at: dict[str, int] = {}
        self.is_open = 0

    def __getattribute__(self, name: str) -> Any:
        fails = object.__getattribute__(self, "__dict__").get("fails_at", {})
        if name in fails:
            raise FakeNvmlError(fails[name])
        return object.__getattribute__(self, name)

    def nvmlInit(self) -> None:
        self.is_open += 1

    def nvmlShutdown(self) -> None:
        self.is_open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeCard:
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeCard:
        for card in (*self.cards, *(s for c in self.cards for s in c.slices)):
            if card.uuid == uuid:
                return card
        raise FakeNvmlError(self.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetUUID(self, card: FakeCard) -> str:
        return card.uuid

    def nvmlDeviceGetName(self, card: FakeCard) -> bytes:
        return card.name.encode()

    def nvmlDeviceGetMigMode(self, card: FakeCard) -> tuple[int, int]:
        if not card.slices:
            raise FakeNvmlError(self.NVML_ERROR_NOT_SUPPORTED)
        return 1, 1

    def nvmlDeviceGetMaxMigDeviceCount(self, card: FakeCard) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: FakeCard, index: int) -> FakeCard:
        if index >= len(card.slices):
            raise FakeNvmlError(self.NVML_ERROR_NOT_FOUND)
        return card.slices[index]

    def nvmlDeviceGetMemoryInfo(self, card: FakeCard, version: int = 0) -> SimpleNamespace:
        if version and not self.knows_v2:
            raise FakeNvmlError(self.NVML_ERROR_FUNCTION_NOT_FOUND)
        free = card.total - card.used - card.reserved
        used = card.used if version else card.used + card.reserved
        return SimpleNamespace(total=card.total, used=used, free=free, reserved=card.reserved)

    def nvmlDeviceGetComputeRunningProcesses(self, card: FakeCard) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=p, usedGpuMemory=used) for p, used in card.processes.items()]

    def nvmlDeviceGetGraphicsRunningProcesses(self, card: FakeCard) -> list[SimpleNamespace]:
        raise FakeNvmlError(self.NVML_ERROR_NOT_SUPPORTED)

    def nvmlDeviceGetCudaComputeCapability(self, card: FakeCard) -> tuple[int, int]:
        return card.capability

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.95.05"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 13000


def use_nvml(monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml) -> FakeNvml:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return nvml


class FakeTorch(SimpleNamespace):
    """The module ``torch`` as far as it says what it was built with, and what its allocator counts."""

    def __init__(self, *, cuda: str | None = "12.8", available: bool = True, stats: Any = None) -> None:
        used = stats is not None
        super().__init__(
            __version__="2.13.0",
            version=SimpleNamespace(cuda=cuda),
            cuda=SimpleNamespace(
                is_available=lambda: available,
                is_initialized=lambda: used,
                memory_stats=lambda: stats or {},
                synchronize=lambda: None,
                reset_peak_memory_stats=self._reset,
                current_device=lambda: 0,
                get_device_properties=lambda index: SimpleNamespace(uuid="2222"),
            ),
        )
        self.stats = stats

    def _reset(self) -> None:
        for name in ("allocated", "requested", "reserved"):
            self.stats[f"{name}_bytes.all.peak"] = self.stats[f"{name}_bytes.all.current"]


def use_torch(monkeypatch: pytest.MonkeyPatch, torch: FakeTorch) -> FakeTorch:
    monkeypatch.setitem(sys.modules, "torch", torch)
    return torch
