"""The bench an experiment works on: PyTorch on one card, and the two meters beside it."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from vramlib.measure import meters
from vramlib.measure.driver import DeviceMemory, NoGpuError
from vramlib.measure.meters import Snapshot

Result = TypeVar("Result")


def torch_with_cuda() -> Any:
    """PyTorch, if it can use a GPU; makes no context.

    Raises
    ------
    NoGpuError: PyTorch is missing, was built without CUDA, or finds no GPU that it can use.
    """
    try:
        import torch
    except ImportError:
        raise NoGpuError("PyTorch is not installed (pip install 'vramlib[gpu]')") from None
    if not torch.version.cuda:
        raise NoGpuError(f"PyTorch {torch.__version__} is built without CUDA; install a CUDA build")
    if not torch.cuda.is_available():
        raise NoGpuError(
            f"PyTorch {torch.__version__} (CUDA {torch.version.cuda}) finds no GPU that it can use"
        )
    return torch


@dataclass(kw_only=True)
class Bench:
    """PyTorch on one card, with both meters.

    Parameters
    ----------
    torch : the module [-]
    cuda : ``torch.cuda``, or what stands in for it where a run is rehearsed without a GPU [-]
    device : where tensors are made [-]
    read_driver : the driver's figures of this card now [-]
    variant : environment variables that make this run differ from the others of its experiment [-]
    limit_bytes : most that the allocator may reserve [byte]
    """

    torch: Any
    cuda: Any
    device: str
    read_driver: Callable[[], DeviceMemory]
    variant: Mapping[str, str] = field(default_factory=dict)
    limit_bytes: int = 0
    request: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start = self.read_driver()
        self.told_per_process = False

    def limit(self) -> None:
        """Let the allocator refuse by itself what would go beyond the share; the first use of the card."""
        _, total = self.cuda.mem_get_info()
        if self.limit_bytes:
            self.cuda.set_per_process_memory_fraction(min(1.0, self.limit_bytes / total))

    def clear(self) -> None:
        """Give everything back that nobody holds, and start the peaks anew."""
        gc.collect()
        self.cuda.synchronize()
        self.cuda.empty_cache()
        self.cuda.reset_peak_memory_stats()

    def stats(self) -> Snapshot:
        """Both meters now, all work on the card done."""
        self.cuda.synchronize()
        return meters.of(self.read_driver(), dict(self.cuda.memory_stats()))

    def requested(self) -> int:
        """Bytes that this process's tensors asked for [byte]."""
        return int(self.cuda.memory_stats().get(meters.STATS["requested_bytes"], 0))

    def allocator(self) -> Snapshot:
        """The allocator's counters alone, without asking the driver."""
        self.cuda.synchronize()
        nothing = DeviceMemory(total_bytes=0, used_bytes=0, free_bytes=0)
        return meters.of(nothing, dict(self.cuda.memory_stats()))

    def process_bytes(self) -> int:
        """Bytes of this process by the driver; where it does not tell, by how much the card's use has grown [byte]."""
        now = self.read_driver()
        own = now.process_bytes(os.getpid())
        if own is None:
            return now.used_bytes - self.start.used_bytes
        self.told_per_process = True
        return own

    def card_bytes(self) -> int:
        """How much more the whole card holds than when this process began, by the driver [byte]."""
        self.cuda.synchronize()
        return self.read_driver().used_bytes - self.start.used_bytes

    def peak(self, call: Callable[[], Result]) -> tuple[Result, int]:
        """Run something; its result, and how far requested bytes rose above the start at their highest [byte]."""
        self.clear()
        before = self.allocator().requested_bytes
        result = call()
        return result, self.allocator().peak_requested_bytes - before
