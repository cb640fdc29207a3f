"""PyTorch's caching allocator, step by step: the same blocks, the same segments, the same counters, no GPU."""

from __future__ import annotations

from vramlib.allocator import expandable, reclaim
from vramlib.allocator.blocks import Block, FreeList, PrivatePool, merge
from vramlib.allocator.memory import Memory
from vramlib.allocator.settings import (
    DEFAULT,
    MIN_BLOCK_BYTES,
    SMALL_BYTES,
    Settings,
    block_bytes,
    segment_bytes,
)
from vramlib.allocator.stats import Segment, Stats, segments_of
from vramlib.allocator.streams import Streams


class CachingAllocator:
    """A simulated CUDA caching allocator of one card.

    A request takes the smallest free block that fits; a block that is too big is split; where none fits, the driver is
    asked for a segment; where it has none, cached segments go back to it and it is asked again.

    Parameters
    ----------
    total_bytes : memory of the card [byte]
    settings : switches of ``PYTORCH_ALLOC_CONF`` [-]
    used_elsewhere_bytes : what the context and other processes hold [byte]

    Examples
    --------
    >>> from vramlib.units import MiB
    >>> gpu = CachingAllocator(total_bytes=1024 * MiB)
    >>> block = gpu.malloc(25 * MiB)                # segments end on 2 MiB, a rest of 1 MiB stays with the block
    >>> block.size // MiB, gpu.stats.reserved_bytes // MiB
    (26, 26)
    >>> gpu.free(block)
    >>> gpu.stats.allocated_bytes, gpu.stats.reserved_bytes // MiB      # cached, not given back
    (0, 26)
    >>> gpu.empty_cache()
    >>> gpu.stats.reserved_bytes
    0

    Source
    ------
    PyTorch 2.13, c10/cuda/CUDACachingAllocator.cpp: DeviceCachingAllocator. Left out: frees while a graph is being
    captured, peer access, sharing between processes, the cudaMallocAsync backend.
    """

    def __init__(
        self, *, total_bytes: int, settings: Settings = DEFAULT, used_elsewhere_bytes: int = 0
    ) -> None:
        self._memory = Memory(total_bytes, settings, used_elsewhere_bytes)
        self._streams = Streams()

    # --- what a program calls -----------------------------------------------------------------------------------

    def malloc(self, nbytes: int, stream: int = 0, pool: str | None = None) -> Block:
        """A block for a request; with ``pool`` from a private pool, as inside ``torch.cuda.graph`` or a MemPool.

        Raises
        ------
        ValueError: fewer bytes than one (PyTorch takes nothing for an empty tensor).
        OutOfMemoryError: neither a free block nor the driver has room.

        Examples
        --------
        >>> gpu = CachingAllocator(total_bytes=1 << 30)
        >>> gpu.malloc(600), gpu.malloc(100)
        (Block(address=0x0, size=1,024, state='active_allocated'), \
Block(address=0x400, size=512, state='active_allocated'))
        """
        if nbytes < 1:
            raise ValueError(f"{nbytes} bytes asked for; an empty tensor takes no block, ask for 1 or more")
        if pool is None:
            self._return_finished_blocks()
        size = block_bytes(nbytes, self.settings)
        free_list = self._memory.free_list(size, pool)
        block = self._best_fit(free_list, size, stream) or self._from_driver(free_list, size, stream)
        return self._hand_out(block, size, nbytes)

    def free(self, block: Block) -> None:
        """Take a block back; it joins free neighbours, or first waits for other streams that used it.

        Raises
        ------
        ValueError: nobody holds this block.

        Examples
        --------
        >>> gpu = CachingAllocator(total_bytes=1 << 30)
        >>> left, right = gpu.malloc(512), gpu.malloc(512)
        >>> gpu.free(left); gpu.free(right)
        >>> [len(segment.blocks) for segment in gpu.segments()]         # one free block again
        [1]
        """
        if not block.allocated:
            raise ValueError(f"{block} is not held by anyone; free a block once, after malloc")
        block.allocated = False
        self._memory.allocated.add(-block.size)
        if block.stream_uses:
            self._streams.wait_for(block)
        else:
            self._put_back(block)

    def record_stream(self, block: Block, stream: int) -> None:
        """Note that work on another stream uses a block, so that freeing it waits for that work.

        Examples
        --------
        >>> gpu = CachingAllocator(total_bytes=1 << 30)
        >>> block = gpu.malloc(512)
        >>> gpu.record_stream(block, 7)
        >>> gpu.free(block)
        >>> block.state, gpu.malloc(512) is block
        ('active_awaiting_free', False)
        >>> gpu.synchronize(7)
        >>> gpu.malloc(512).address == block.address
        True
        """
        if stream != block.stream:
            block.stream_uses.add(stream)

    def synchronize(self, stream: int | None = None) -> None:
        """The work of one stream, or of all, is done; blocks that waited for it come back at the next ``malloc``."""
        self._streams.finish(stream)

    def empty_cache(self) -> None:
        """Give every segment that nobody uses back to the driver."""
        self.synchronize()
        self._return_finished_blocks()
        reclaim.release_cached(self._memory)

    def create_pool(self, name: str, *, no_split: bool = False, use_on_oom: bool = False) -> None:
        """A private pool with ``torch.cuda.MemPool``'s switches; ``malloc`` with a new name makes one without them.

        Raises
        ------
        ValueError: there is one of that name.
        """
        if name in self._memory.private:
            raise ValueError(f"there is a pool {name!r} already; choose another name")
        self._memory.private[name] = PrivatePool(name, no_split=no_split, use_on_oom=use_on_oom)

    def release_pool(self, name: str) -> None:
        """The last graph of a private pool is gone: its free segments may go back to the driver.

        Raises
        ------
        KeyError: no pool of that name.

        Examples
        --------
        >>> gpu = CachingAllocator(total_bytes=1 << 30)
        >>> gpu.free(gpu.malloc(512, pool="graph"))
        >>> gpu.empty_cache()
        >>> gpu.stats.reserved_bytes                # the graph keeps its high-water mark
        2097152
        >>> gpu.release_pool("graph")
        >>> gpu.empty_cache()
        >>> gpu.stats.reserved_bytes
        0
        """
        if name not in self._memory.private:
            raise KeyError(
                f"no private pool {name!r}; there are: {', '.join(self._memory.private) or 'none'}"
            )
        self._memory.private[name].released = True

    @property
    def settings(self) -> Settings:
        """The switches; they can be changed at any time, as vLLM does while it loads weights.

        Examples
        --------
        >>> gpu = CachingAllocator(total_bytes=1 << 30, settings=Settings(max_split_bytes=20 << 20))
        >>> weight = gpu.malloc(41 << 19)               # 20.5 MiB are not split
        >>> gpu.settings = Settings()
        >>> weight.size >> 19, gpu.malloc(41 << 19).size >> 19
        (44, 41)
        """
        return self._memory.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._memory.settings = settings

    @property
    def stats(self) -> Stats:
        """The counters as they are now."""
        return self._memory.stats()

    def segments(self) -> tuple[Segment, ...]:
        """Every segment with its blocks, lowest address first: what ``torch.cuda.memory_snapshot`` shows.

        Examples
        --------
        >>> gpu = CachingAllocator(total_bytes=1 << 30)
        >>> first, second = gpu.malloc(3 << 20), gpu.malloc(4 << 20)
        >>> gpu.free(first)
        >>> [(b.size >> 20, b.state) for b in gpu.segments()[0].blocks]
        [(3, 'inactive'), (4, 'active_allocated'), (13, 'inactive')]
        """
        free = [b for free_list in self._memory.free_lists() for b in free_list]
        return segments_of([*free, *self._memory.active.values()])

    # --- one request, step by step ------------------------------------------------------------------------------

    def _best_fit(self, free_list: FreeList, size: int, stream: int) -> Block | None:
        """Smallest free block that fits, ties by address; a block above the split limit only for a big request."""
        if self._memory.collects_garbage:
            free_list.searches += 1
        if self.settings.expandable_segments:
            block = expandable.best_fit(free_list, size, stream)
        else:
            block = next((b for b in free_list.at_least(size, stream) if b.region is None), None)
        limit = self.settings.max_split_bytes
        if block is None or (limit and self._too_big(block, size, limit)):
            return None
        free_list.remove(block)
        return block

    def _too_big(self, block: Block, size: int, limit: int) -> bool:
        if size < limit:
            return block.size >= limit
        return block.size >= size + self.settings.non_split_rounding_bytes

    def _from_driver(self, free_list: FreeList, size: int, stream: int) -> Block:
        """New memory; where there is none: an overflow pool, fewer cached big blocks, then no cached ones at all."""
        memory = self._memory
        if memory.collects_garbage:
            reclaim.collect_garbage(memory)
        block = self._ask_driver(free_list, size, stream) or self._from_overflow_pool(free_list, size, stream)
        if block is None and reclaim.release_oversize(memory, free_list, size, stream):
            block = self._ask_driver(free_list, size, stream)
        if block is None and free_list.owner is None:
            self.empty_cache()
            memory.num_alloc_retries += 1
            block = self._ask_driver(free_list, size, stream)
        if block is None:
            raise memory.out_of_memory(segment_bytes(size, self.settings))
        return block

    def _ask_driver(self, free_list: FreeList, size: int, stream: int) -> Block | None:
        memory, needed = self._memory, segment_bytes(size, self.settings)
        allowed = memory.allowed_bytes
        if allowed is not None and memory.reserved.now + needed > allowed:
            return None
        if self.settings.expandable_segments:
            return expandable.grow(memory, free_list, size, stream)
        return memory.new_segment(needed, stream, free_list)

    def _from_overflow_pool(self, free_list: FreeList, size: int, stream: int) -> Block | None:
        if free_list.owner is not None:
            return None
        for owner in self._memory.private.values():
            if owner.use_on_oom:
                block = self._best_fit(owner.small if free_list.is_small else owner.large, size, stream)
                if block is not None:
                    return block
        return None

    def _should_split(self, block: Block, size: int) -> bool:
        """Small blocks split at 512 B, large ones where more than 1 MiB would be left over."""
        rest, limit, owner = block.size - size, self.settings.max_split_bytes, block.free_list.owner
        if owner is not None and owner.no_split:
            return False
        if block.free_list.is_small or self.settings.expandable_segments:
            return rest >= MIN_BLOCK_BYTES
        return rest > SMALL_BYTES and not (limit and size >= limit)

    def _hand_out(self, block: Block, size: int, nbytes: int) -> Block:
        memory, was_split = self._memory, block.is_split
        counted = block.region is None
        if self._should_split(block, size):
            rest, block = block, Block(block.address, size, block.stream, block.free_list, block.region)
            block.insert_between(rest.prev, rest)
            rest.address, rest.size = rest.address + size, rest.size - size
            rest.free_list.add(rest)
            gap = -size if was_split else rest.size
        else:
            gap = -block.size if was_split else 0
        memory.inactive_split.add(gap if counted else 0)
        block.allocated, block.requested_bytes = True, nbytes
        memory.active[block.address] = block
        memory.allocated.add(block.size)
        memory.in_use.add(block.size)
        memory.requested.add(nbytes)
        return block

    def _put_back(self, block: Block) -> None:
        memory, size = self._memory, block.size
        del memory.active[block.address]
        joined = merge(block, block.prev) + merge(block, block.next)
        block.free_list.add(block)
        if block.region is None:
            memory.inactive_split.add((block.size if block.is_split else 0) - joined)
        memory.in_use.add(-size)
        memory.requested.add(-block.requested_bytes)

    def _return_finished_blocks(self) -> None:
        for block in self._streams.finished():
            self._put_back(block)
