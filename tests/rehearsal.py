"""A rehearsal of the experiments without a GPU: PyTorch's operations on fake tensors, its allocator simulated.

The experiments' own code runs, every line; tensors have shapes and no bytes; each storage becomes a block of the
simulated caching allocator. What a driver would add (contexts, libraries, graphs) is a number of this file, so
rehearsals test the procedures and the arithmetic, and measure nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from live_storage import LiveStorage
from torch._subclasses.fake_tensor import FakeTensorMode

from vramlib import measure
from vramlib.allocator import CachingAllocator, Settings
from vramlib.measure import meters
from vramlib.measure.bench import Bench
from vramlib.measure.driver import DeviceMemory
from vramlib.measure.plan import Plan, Room
from vramlib.units import GiB, MiB

CONTEXT_BYTES = 400 * MiB


class RehearsedCuda:
    """What the experiments ask of ``torch.cuda``."""

    def __init__(self, total_bytes: int, *, expandable: bool = False) -> None:
        settings = Settings(expandable_segments=expandable)
        self.allocator = CachingAllocator(total_bytes=total_bytes, settings=settings)
        self.total_bytes, self.share, self.pool, self.pools = total_bytes, 0.0, None, 0
        self.live = LiveStorage(self._malloc, self.allocator.free)
        self.lowest = dict.fromkeys(("requested", "allocated", "reserved"), 0)

    def _malloc(self, size: int) -> Any:
        block = self.allocator.malloc(size, pool=self.pool)
        self._raise_peaks()
        return block

    def _raise_peaks(self) -> None:
        for name in self.lowest:
            self.lowest[name] = max(self.lowest[name], getattr(self.allocator.stats, f"{name}_bytes"))

    def memory_stats(self) -> Mapping[str, int]:
        now = self.allocator.stats
        names = {key: getattr(now, name, 0) for name, key in meters.STATS.items() if "peak" not in name}
        return names | {f"{n}_bytes.all.peak": size for n, size in self.lowest.items()}

    def reset_peak_memory_stats(self) -> None:
        self.lowest = dict.fromkeys(self.lowest, 0)
        self._raise_peaks()

    def empty_cache(self) -> None:
        self.allocator.empty_cache()

    def synchronize(self) -> None:
        """Nothing runs beside the CPU here."""

    def is_initialized(self) -> bool:
        return True

    def mem_get_info(self) -> tuple[int, int]:
        return self.total_bytes - self.allocator.stats.reserved_bytes, self.total_bytes

    def set_per_process_memory_fraction(self, share: float) -> None:
        self.share = share

    def graph_pool_handle(self) -> str:
        self.pools += 1
        self.allocator.create_pool(f"graphs {self.pools}")
        return f"graphs {self.pools}"

    def CUDAGraph(self) -> object:  # noqa: N802  the name in torch.cuda
        return object()

    @contextmanager
    def graph(self, graph: object, pool: str) -> Iterator[None]:
        self.pool = pool
        yield
        self.pool = None

    def Stream(self) -> SimpleNamespace:  # noqa: N802  the name in torch.cuda
        return SimpleNamespace(wait_stream=lambda other: None)

    current_stream = Stream

    @contextmanager
    def stream(self, stream: object) -> Iterator[None]:
        yield

    def memory(self) -> DeviceMemory:
        used = CONTEXT_BYTES + self.allocator.stats.reserved_bytes
        return DeviceMemory(total_bytes=self.total_bytes, used_bytes=used, free_bytes=self.total_bytes - used)


def rehearse(
    plan: Plan, room: Room, variant: Mapping[str, str]
) -> tuple[list[tuple[str, int]], RehearsedCuda]:
    """Readings of one process of an experiment, and the stand-in that they were taken from."""
    expandable = "True" in variant.get("PYTORCH_ALLOC_CONF", "")
    cuda = RehearsedCuda(room.gpu.memory_bytes, expandable=expandable)
    bench = Bench(
        torch=torch,
        cuda=cuda,
        device="cpu",
        read_driver=cuda.memory,
        variant=variant,
        limit_bytes=room.tensor_bytes,
    )
    with FakeTensorMode(), cuda.live:
        return list(measure.EXPERIMENTS[plan.experiment].perform(plan, bench)), cuda


SMALL = 3 * GiB
