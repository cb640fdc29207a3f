"""Snapshots of GPU memory: frozen byte counts that subtract, from two meters that see different memory.

- The **device** meter is the driver's. It sees the whole card: contexts, every process, other people. Per process it
  shows context, libraries and reserved segments together, not which tensor they are for.
- The **allocator** meter is PyTorch's. It sees the tensors of this process only: no context, no library, nobody else.
  What a tensor asked for is *requested*, the block that it got is *allocated*, the segments that blocks are cut from
  are *reserved*. The driver's meter sees reserved bytes, so freeing a tensor changes the allocator's and not the
  driver's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from vramlib.measure import driver
from vramlib.measure.driver import Card, DeviceMemory, NoGpuError, Process
from vramlib.units import show

STATS = {
    "allocated_bytes": "allocated_bytes.all.current",
    "requested_bytes": "requested_bytes.all.current",
    "reserved_bytes": "reserved_bytes.all.current",
    "inactive_split_bytes": "inactive_split_bytes.all.current",
    "peak_allocated_bytes": "allocated_bytes.all.peak",
    "peak_requested_bytes": "requested_bytes.all.peak",
    "peak_reserved_bytes": "reserved_bytes.all.peak",
}
SEEN_BY = {
    "device": "the driver: everyone on the card, contexts and other processes included",
    "process": "the driver: this process, its context and libraries included",
    "allocator": "PyTorch's allocator: the tensors of this process, no context, nobody else",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Byte counts at one moment, or the difference of two; names say which meter saw them.

    Parameters
    ----------
    device_total_bytes, device_used_bytes, device_free_bytes : the whole card, by the driver [byte]
    process_bytes : this process by the driver, context included; None where the driver does not tell [byte]
    allocated_bytes, requested_bytes, reserved_bytes, inactive_split_bytes : this process's tensors, by the allocator;
        all 0 as long as this process has not used the GPU through PyTorch [byte]
    peak_allocated_bytes, peak_requested_bytes, peak_reserved_bytes : the highest since the last reset [byte]
    processes : everyone on the card [-]
    """

    device_total_bytes: int
    device_used_bytes: int
    device_free_bytes: int
    process_bytes: int | None = None
    allocated_bytes: int = 0
    requested_bytes: int = 0
    reserved_bytes: int = 0
    inactive_split_bytes: int = 0
    peak_allocated_bytes: int = 0
    peak_requested_bytes: int = 0
    peak_reserved_bytes: int = 0
    processes: tuple[Process, ...] = ()

    def __sub__(self, before: Snapshot) -> Snapshot:
        """What has changed since ``before``, field by field; negative where something was given back."""
        pairs = {f.name: (getattr(self, f.name), getattr(before, f.name)) for f in fields(Snapshot)[:-1]}
        changed: dict[str, Any] = {
            name: None if a is None or b is None else a - b for name, (a, b) in pairs.items()
        }
        return Snapshot(**changed, processes=self.processes)

    @property
    def other_bytes(self) -> int | None:
        """What the rest of the card's users hold; None where the driver does not tell this process's own [byte]."""
        return None if self.process_bytes is None else self.device_used_bytes - self.process_bytes

    @property
    def outside_allocator_bytes(self) -> int | None:
        """Bytes of this process that its allocator does not see: context, libraries, kernels, graphs [byte]."""
        return None if self.process_bytes is None else self.process_bytes - self.reserved_bytes

    def __str__(self) -> str:
        own = "not told" if self.process_bytes is None else show(self.process_bytes)
        return "\n".join(
            (
                f"device     used {show(self.device_used_bytes)}, free {show(self.device_free_bytes)}  "
                f"({SEEN_BY['device']})",
                f"process    {own}  ({SEEN_BY['process']})",
                f"allocator  requested {show(self.requested_bytes)}, allocated {show(self.allocated_bytes)}, "
                f"reserved {show(self.reserved_bytes)}  ({SEEN_BY['allocator']})",
            )
        )


def snapshot(card: Card | None = None) -> Snapshot:
    """Both meters now. Taking one changes nothing: no context is made, no tensor, no reset.

    Parameters
    ----------
    card : whose memory; the first visible one where None, or the one that PyTorch uses here [-]

    Returns
    -------
    Byte counts [-]

    Raises
    ------
    NoGpuError: no driver, no card, or it has gone.
    """
    cuda = _cuda_in_use()
    chosen = card or _current(driver.cards(), cuda)
    return of(driver.memory(chosen), dict(cuda.memory_stats()) if cuda else {})


def of(memory: DeviceMemory, stats: dict[str, Any], *, pid: int | None = None) -> Snapshot:
    """A snapshot from what the driver said and from ``torch.cuda.memory_stats()``."""
    counts: dict[str, int] = {name: int(stats.get(key, 0)) for name, key in STATS.items()}
    return Snapshot(
        device_total_bytes=memory.total_bytes,
        device_used_bytes=memory.used_bytes,
        device_free_bytes=memory.free_bytes,
        process_bytes=memory.process_bytes(os.getpid() if pid is None else pid),
        processes=memory.processes,
        **counts,
    )


def _cuda_in_use() -> Any:
    """``torch.cuda`` if this process has used the GPU through it already, else None; never makes a context."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _current(visible: tuple[Card, ...], cuda: Any) -> Card:
    """The card that PyTorch uses here, found by its UUID; CUDA may number cards in another order than the driver."""
    if cuda is None or len(visible) == 1:
        return visible[0]
    uuid = str(getattr(cuda.get_device_properties(cuda.current_device()), "uuid", ""))
    return next((c for c in visible if uuid and c.uuid.endswith(uuid)), visible[0])


class Step:
    """What happened inside ``with track() as step``: filled in when the block ends."""

    def __init__(self, before: Snapshot) -> None:
        self.before = before
        self.after: Snapshot | None = None

    @property
    def change(self) -> Snapshot:
        """After minus before.

        Raises
        ------
        ValueError: the block has not ended yet.
        """
        if self.after is None:
            raise ValueError("the step has not ended; read it after the with block")
        return self.after - self.before

    @property
    def peak_bytes(self) -> int:
        """How far requested bytes rose above the start, at their highest, inside the block [byte]."""
        if self.after is None:
            raise ValueError("the step has not ended; read it after the with block")
        return self.after.peak_requested_bytes - self.before.requested_bytes


@contextmanager
def track(card: Card | None = None) -> Iterator[Step]:
    """Snapshots before and after a block, with the allocator's peaks reset at its start.

    Raises
    ------
    NoGpuError: no driver, no card, or it has gone.
    """
    cuda = _cuda_in_use()
    if cuda:
        cuda.synchronize()
        cuda.reset_peak_memory_stats()
    step = Step(snapshot(card))
    try:
        yield step
    finally:
        cuda = _cuda_in_use()
        if cuda:
            cuda.synchronize()
        step.after = snapshot(card)


__all__ = ["SEEN_BY", "Card", "NoGpuError", "Snapshot", "Step", "of", "snapshot", "track"]
