"""What the allocator keeps: blocks in a chain, and the free ones of a pool sorted by size.

A segment is a chain of blocks, left to right without a gap. Splitting adds a link, freeing takes links away.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

ALLOCATED, AWAITING_FREE, INACTIVE = "active_allocated", "active_awaiting_free", "inactive"


class Block:
    """A piece of a segment: handed out, waiting for another stream, or free.

    The words of ``state`` are those of ``torch.cuda.memory_snapshot``. Once freed, a block may grow, shrink or vanish:
    keep its ``address``, not the block.
    """

    __slots__ = (
        "address", "age_base", "allocated", "event_count", "free_list", "mapped", "next", "prev", "region",
        "requested_bytes", "size", "stream", "stream_uses",
    )  # fmt: skip

    def __init__(
        self, address: int, size: int, stream: int, free_list: FreeList, region: Region | None = None
    ) -> None:
        self.address, self.size, self.stream = address, size, stream
        self.free_list, self.region = free_list, region
        self.requested_bytes = self.event_count = self.age_base = 0
        self.allocated, self.mapped = False, True
        self.prev: Block | None = None
        self.next: Block | None = None
        self.stream_uses: set[int] = set()

    def __repr__(self) -> str:
        return f"Block(address={self.address:#x}, size={self.size:,}, state={self.state!r})"

    @property
    def end(self) -> int:
        """First address behind the block."""
        return self.address + self.size

    @property
    def is_split(self) -> bool:
        """It shares its segment with other blocks, so the segment cannot go back to the driver."""
        return self.prev is not None or self.next is not None

    @property
    def is_free(self) -> bool:
        """Nobody holds it, and no stream may still be reading it."""
        return not (self.allocated or self.event_count or self.stream_uses)

    @property
    def state(self) -> str:
        """``active_allocated``, ``active_awaiting_free`` (freed, another stream may still read it) or ``inactive``."""
        return ALLOCATED if self.allocated else INACTIVE if self.is_free else AWAITING_FREE

    def insert_between(self, before: Block | None, after: Block | None) -> None:
        """Become a link of the chain."""
        self.prev, self.next = before, after
        if before:
            before.next = self
        if after:
            after.prev = self


@dataclass(slots=True)
class Region:
    """Address range of an expandable segment; pages of it are backed by memory as they are needed."""

    address: int
    size: int
    page_bytes: int


@dataclass(slots=True)
class PrivatePool:
    """A pool of its own, as a CUDA graph or ``torch.cuda.MemPool`` has: nobody else may use its free blocks.

    ``num_segments`` counts what it has from the driver; ``released`` says that no graph uses it any more.
    """

    name: str
    no_split: bool = False
    use_on_oom: bool = False
    num_segments: int = 0
    released: bool = False
    small: FreeList = field(init=False)
    large: FreeList = field(init=False)

    def __post_init__(self) -> None:
        self.small, self.large = FreeList(is_small=True, owner=self), FreeList(is_small=False, owner=self)


class FreeList:
    """Free blocks of one pool, small or large, for every stream: sorted by size, ties by address."""

    def __init__(self, *, is_small: bool, owner: PrivatePool | None = None) -> None:
        self.is_small, self.owner, self.searches = is_small, owner, 0
        self._order: dict[int, list[tuple[int, int]]] = {}
        self._unmapped: dict[int, list[int]] = {}
        self._by_address: dict[int, Block] = {}
        self._unmapped_by_address: dict[int, Block] = {}

    def add(self, block: Block) -> None:
        """Take in a free block, or an unmapped range."""
        if block.mapped:
            block.age_base = self.searches
            insort(self._order.setdefault(block.stream, []), (block.size, block.address))
            self._by_address[block.address] = block
        else:
            insort(self._unmapped.setdefault(block.stream, []), block.address)
            self._unmapped_by_address[block.address] = block

    def remove(self, block: Block) -> None:
        """Give a block out; its size and address must be those it came in with."""
        if block.mapped:
            order = self._order[block.stream]
            del order[bisect_left(order, (block.size, block.address))]
            del self._by_address[block.address]
        else:
            addresses = self._unmapped[block.stream]
            del addresses[bisect_left(addresses, block.address)]
            del self._unmapped_by_address[block.address]

    def at_least(self, size: int, stream: int) -> Iterator[Block]:
        """Free blocks of a stream from this size up, smallest first."""
        order = self._order.get(stream, [])
        for i in range(bisect_left(order, (size, -1)), len(order)):
            yield self._by_address[order[i][1]]

    def below(self, size: int, stream: int) -> list[Block]:
        """Free blocks of a stream under this size, largest first."""
        order = self._order.get(stream, [])
        return [self._by_address[a] for _, a in reversed(order[: bisect_left(order, (size, -1))])]

    def unmapped(self, stream: int) -> list[Block]:
        """Ranges of a stream's expandable segments without memory behind them, lowest address first."""
        return [self._unmapped_by_address[a] for a in self._unmapped.get(stream, [])]

    def __iter__(self) -> Iterator[Block]:
        """Free blocks by stream, size, address."""
        for stream in sorted(self._order):
            yield from [self._by_address[a] for _, a in self._order[stream]]

    def age(self, block: Block) -> int:
        """Searches of this list since the block was put into it."""
        return self.searches - block.age_base

    @property
    def total_bytes(self) -> int:
        """Sum of the free blocks [byte]."""
        return sum(block.size for block in self._by_address.values())


def merge(block: Block, neighbour: Block | None) -> int:
    """Let a block swallow a free neighbour; gives the bytes gained, 0 where it cannot.

    Both must be mapped, or both unmapped.

    Source
    ------
    PyTorch 2.13, c10/cuda/CUDACachingAllocator.cpp: try_merge_blocks.
    """
    if neighbour is None or not neighbour.is_free or neighbour.mapped != block.mapped:
        return 0
    neighbour.free_list.remove(neighbour)
    if block.prev is neighbour:
        block.address, block.prev = neighbour.address, neighbour.prev
        if block.prev:
            block.prev.next = block
    else:
        block.next = neighbour.next
        if block.next:
            block.next.prev = block
    block.size += neighbour.size
    return neighbour.size
