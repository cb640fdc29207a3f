"""What the NVIDIA driver says of the cards: whose memory, how much, and which of them this program may use.

The driver's meter sees everyone on the card: this program, other programs, other people. A toolkit on the machine
(``nvcc``, ``libcudart``) is no sign of a GPU; only the driver's own library is asked here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from vramlib.measure.visible import slices, visible
from vramlib.units import show

RECORDED = "recorded and reported figures are available: vramlib.measure.read(name), vram measure --recorded"
INSTALL = "pip install 'vramlib[gpu]'"


class NoGpuError(RuntimeError):
    """Nothing can be measured here and now, and why; recordings are available all the same."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; {RECORDED}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process on a card; ``used_bytes`` is None where the driver does not tell (Windows, MIG, some containers)."""

    pid: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """One card's memory as the driver counts it, at one moment.

    Parameters
    ----------
    total_bytes : what the card has for everyone, the driver's own reserve included [byte]
    used_bytes : what all processes hold together [byte]
    free_bytes : what a new allocation could get [byte]
    reserved_bytes : what the driver keeps for itself; 0 where it does not tell [byte]
    processes : who is on the card [-]
    """

    total_bytes: int
    used_bytes: int
    free_bytes: int
    reserved_bytes: int = 0
    processes: tuple[Process, ...] = ()

    def process_bytes(self, pid: int) -> int | None:
        """What one process holds, its context included; None where the driver does not tell [byte]."""
        return next((p.used_bytes for p in self.processes if p.pid == pid), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card, or one MIG slice of a card, that this program may use.

    Parameters
    ----------
    index : its place among the visible ones, in the order of the bus [-]
    uuid : the driver's name of it; the same in every process [-]
    total_bytes : the driver's total [byte]
    compute_capability : 9.0 for Hopper; 0.0 where the driver does not tell [-]
    is_mig : a slice with memory of its own [-]
    driver, cuda : versions of the driver, and of CUDA that it supports [-]
    """

    index: int
    name: str
    uuid: str
    total_bytes: int
    compute_capability: float = 0.0
    is_mig: bool = False
    driver: str = ""
    cuda: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a child process or a file."""
        return asdict(self)


@contextmanager
def nvml() -> Iterator[Any]:
    """The driver's library, opened and closed again.

    Raises
    ------
    NoGpuError: the Python package is missing, or the driver is, or a card has gone.
    """
    try:
        import pynvml
    except ImportError:
        raise NoGpuError(f"the package nvidia-ml-py is not installed ({INSTALL})") from None
    try:
        pynvml.nvmlInit()
        try:
            yield pynvml
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise NoGpuError(_reason(pynvml, error)) from error


def _reason(pynvml: Any, error: Any) -> str:
    known = {
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "there is no NVIDIA driver on this machine",
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is installed but not running",
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver was updated and waits for a restart",
        pynvml.NVML_ERROR_GPU_IS_LOST: "the GPU has gone: the driver lost it",
        pynvml.NVML_ERROR_NOT_FOUND: "the GPU has gone: the driver no longer finds it",
        pynvml.NVML_ERROR_NOT_SUPPORTED: "the driver does not tell this card's memory (it may share the machine's)",
        pynvml.NVML_ERROR_NO_PERMISSION: "the driver does not let this user ask",
    }
    return known.get(error.value, f"the NVIDIA driver answers: {error}")


def cards(environment: Mapping[str, str] | None = None) -> tuple[Card, ...]:
    """Cards that a CUDA program started now would see, in the order of the bus.

    ``CUDA_VISIBLE_DEVICES`` hides cards by number, UUID or MIG UUID; a name that fits none hides all that follow it,
    as CUDA does. A card that is cut into MIG slices is replaced by its slices, of which a CUDA program sees one.

    Parameters
    ----------
    environment : variables to go by; this process's own where None [-]

    Returns
    -------
    One or more cards or slices [-]

    Raises
    ------
    NoGpuError: no driver, no card, or all of them hidden.
    """
    chosen = (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES")
    with nvml() as library:
        handles = [library.nvmlDeviceGetHandleByIndex(i) for i in range(library.nvmlDeviceGetCount())]
        if not handles:
            raise NoGpuError("the driver runs but sees no GPU")
        tree = {_uuid(library, h): [_uuid(library, part) for part in slices(library, h)] for h in handles}
        seen = visible(chosen, tree)
        if not seen:
            raise NoGpuError(f"CUDA_VISIBLE_DEVICES={chosen!r} hides all {len(handles)} GPUs of this machine")
        return tuple(_card(library, i, uuid) for i, uuid in enumerate(seen))


def _uuid(library: Any, handle: Any) -> str:
    return _text(library.nvmlDeviceGetUUID(handle))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _card(library: Any, index: int, uuid: str) -> Card:
    handle = library.nvmlDeviceGetHandleByUUID(uuid)
    number = int(library.nvmlSystemGetCudaDriverVersion_v2())
    return Card(
        index=index,
        name=_text(library.nvmlDeviceGetName(handle)),
        uuid=uuid,
        total_bytes=int(library.nvmlDeviceGetMemoryInfo(handle).total),
        compute_capability=_capability(library, handle),
        is_mig=uuid.startswith("MIG-"),
        driver=_text(library.nvmlSystemGetDriverVersion()),
        cuda=f"{number // 1000}.{number % 1000 // 10}",
    )


def _capability(library: Any, handle: Any) -> float:
    try:
        major, minor = library.nvmlDeviceGetCudaComputeCapability(handle)
    except library.NVMLError:
        return 0.0
    return float(f"{major}.{minor}")


def memory(card: Card) -> DeviceMemory:
    """The card's memory now, and who is on it.

    Raises
    ------
    NoGpuError: the driver or the card has gone.
    """
    with nvml() as library:
        handle = library.nvmlDeviceGetHandleByUUID(card.uuid)
        info, reserved = _info(library, handle)
        return DeviceMemory(
            total_bytes=int(info.total),
            used_bytes=int(info.used),
            free_bytes=int(info.free),
            reserved_bytes=reserved,
            processes=_processes(library, handle),
        )


def _info(library: Any, handle: Any) -> tuple[Any, int]:
    """Version 2 keeps the driver's own reserve apart; version 1, of older drivers, counts it as used."""
    try:
        info = library.nvmlDeviceGetMemoryInfo(handle, version=library.nvmlMemory_v2)
    except library.NVMLError as error:
        if error.value not in (library.NVML_ERROR_NOT_SUPPORTED, library.NVML_ERROR_FUNCTION_NOT_FOUND):
            raise
        return library.nvmlDeviceGetMemoryInfo(handle), 0
    return info, int(info.reserved)


def _processes(library: Any, handle: Any) -> tuple[Process, ...]:
    found: dict[int, int | None] = {}
    ask = (library.nvmlDeviceGetComputeRunningProcesses, library.nvmlDeviceGetGraphicsRunningProcesses)
    for question in ask:
        try:
            found |= {int(p.pid): p.usedGpuMemory for p in question(handle)}
        except library.NVMLError:
            continue
    return tuple(Process(pid=pid, used_bytes=used) for pid, used in sorted(found.items()))


def describe(memory_now: DeviceMemory, *, own_pids: frozenset[int] = frozenset()) -> str:
    """Who else is on the card, in one line.

    Examples
    --------
    >>> describe(DeviceMemory(total_bytes=8 << 30, used_bytes=3 << 30, free_bytes=5 << 30,
    ...                       processes=(Process(pid=7, used_bytes=3 << 30),)))
    '5.00 GiB of 8.00 GiB free; 1 other process: pid 7 (3.00 GiB)'
    """
    others = [p for p in memory_now.processes if p.pid not in own_pids]
    free = f"{show(memory_now.free_bytes)} of {show(memory_now.total_bytes)} free"
    if not others:
        return f"{free}; no other process is shown"
    each = (
        f"pid {p.pid} ({show(p.used_bytes) if p.used_bytes is not None else 'size not told'})" for p in others
    )
    plural = "process" if len(others) == 1 else "processes"
    return f"{free}; {len(others)} other {plural}: {', '.join(each)}"
