"""The allocator's books: its pools of free blocks, its counters, and the driver it takes segments from."""

from __future__ import annotations

from collections.abc import Iterator

from vramlib.allocator.blocks import Block, FreeList, PrivatePool
from vramlib.allocator.settings import SMALL_BYTES, Settings
from vramlib.allocator.stats import OutOfMemoryError, Stats


class Meter:
    """A number and the largest it has been."""

    __slots__ = ("now", "peak")

    def __init__(self) -> None:
        self.now = self.peak = 0

    def add(self, amount: int) -> None:
        """Count up, or down with a negative amount."""
        self.now += amount
        if self.now > self.peak:
            self.peak = self.now


class Memory:
    """State that the steps of an allocation share."""

    def __init__(self, total_bytes: int, settings: Settings, used_elsewhere_bytes: int) -> None:
        if not 0 <= used_elsewhere_bytes <= total_bytes or total_bytes <= 0:
            raise ValueError(
                f"a card of {total_bytes:,} bytes with {used_elsewhere_bytes:,} used elsewhere;"
                " give a positive size, and at most that much in use"
            )
        self.total_bytes, self.settings, self.used_elsewhere_bytes = (
            total_bytes,
            settings,
            used_elsewhere_bytes,
        )
        self.small, self.large = FreeList(is_small=True), FreeList(is_small=False)
        self.private: dict[str, PrivatePool] = {}
        self.active: dict[int, Block] = {}
        self.requested, self.allocated, self.in_use = Meter(), Meter(), Meter()
        self.reserved, self.inactive_split = Meter(), Meter()
        self.num_segments = self.num_alloc_retries = self.num_ooms = 0
        self.num_device_alloc = self.num_device_free = 0
        self.next_address = 0

    @property
    def driver_free_bytes(self) -> int:
        """What cudaMemGetInfo would call free [byte]."""
        return self.total_bytes - self.used_elsewhere_bytes - self.reserved.now

    @property
    def allowed_bytes(self) -> int | None:
        """Most that this process may reserve, None without a limit [byte]."""
        share = self.settings.per_process_memory_fraction
        return None if share is None else int(share * self.total_bytes)

    @property
    def collects_garbage(self) -> bool:
        """Old cached blocks are given back before the card is full."""
        return self.allowed_bytes is not None and self.settings.garbage_collection_threshold > 0

    def addresses(self, size: int) -> int:
        """A range of fresh virtual addresses; they grow and are never used twice."""
        start, self.next_address = self.next_address, self.next_address + size
        return start

    def free_list(self, block_bytes: int, pool: str | None) -> FreeList:
        """Where blocks of this size are looked for; a private pool begins with its first request."""
        if pool is None:
            return self.small if block_bytes <= SMALL_BYTES else self.large
        owner = self.private.setdefault(pool, PrivatePool(name=pool))
        return owner.small if block_bytes <= SMALL_BYTES else owner.large

    def free_lists(self) -> Iterator[FreeList]:
        """All of them, the common ones first."""
        yield from (self.small, self.large)
        for owner in self.private.values():
            yield from (owner.small, owner.large)

    def new_segment(self, size: int, stream: int, free_list: FreeList) -> Block | None:
        """A segment from the driver as one block, None where it has not that much."""
        if size > self.driver_free_bytes:
            return None
        self.count_reserved(size, free_list)
        self.num_segments += 1
        return Block(self.addresses(size), size, stream, free_list)

    def count_reserved(self, size: int, free_list: FreeList) -> None:
        """Book memory that came from the driver, or with a negative size went back."""
        self.reserved.add(size)
        self.num_device_alloc += size > 0
        self.num_device_free += size < 0
        if free_list.owner:
            free_list.owner.num_segments += 1 if size > 0 else -1

    def release(self, block: Block) -> None:
        """Give a segment that is one free block back to the driver."""
        block.free_list.remove(block)
        self.num_segments -= 1
        self.count_reserved(-block.size, block.free_list)

    def stats(self) -> Stats:
        """The counters as they are now."""
        meters = (self.requested, self.allocated, self.in_use, self.reserved, self.inactive_split)
        counts = (self.num_segments, self.num_alloc_retries, self.num_ooms)
        calls = (self.num_device_alloc, self.num_device_free)
        return Stats._make((*[m.now for m in meters], *[m.peak for m in meters], *counts, *calls))

    def out_of_memory(self, tried: int) -> OutOfMemoryError:
        """Count a request that found no room, and give its numbers."""
        self.num_ooms += 1
        return OutOfMemoryError(
            tried,
            total_bytes=self.total_bytes,
            free_bytes=self.driver_free_bytes,
            allocated_bytes=self.allocated.now,
            reserved_bytes=self.reserved.now,
            private_pool_bytes=sum(p.small.total_bytes + p.large.total_bytes for p in self.private.values()),
            allowed_bytes=self.allowed_bytes,
        )
