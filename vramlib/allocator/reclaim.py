"""Three ways of giving cached memory back to the driver: a few big blocks, old ones, or all that is whole.

Source: PyTorch 2.13, c10/cuda/CUDACachingAllocator.cpp, functions release_available_cached_blocks,
garbage_collect_cached_blocks and release_cached_blocks.
"""

from __future__ import annotations

from vramlib.allocator import expandable
from vramlib.allocator.blocks import FreeList
from vramlib.allocator.memory import Memory


def release_oversize(memory: Memory, free_list: FreeList, size: int, stream: int) -> bool:
    """Give back just enough blocks that may not be split: one that is big enough, else several, largest first."""
    limit = memory.settings.max_split_bytes
    if not limit:
        return False
    wanted = max(size, limit)
    fitting = next(free_list.at_least(wanted, stream), None)
    if fitting is not None and fitting.region is None:
        memory.release(fitting)
        return True
    released = 0
    for block in free_list.below(wanted, stream):
        if released >= wanted or block.size < limit:
            break
        if block.region is None:
            released += block.size
            memory.release(block)
    return released >= wanted


def collect_garbage(memory: Memory) -> None:
    """Give back whole large segments that lay unused longer than the average, until under the threshold."""
    allowed = memory.allowed_bytes or 0
    target = memory.reserved.now - int(memory.settings.garbage_collection_threshold * allowed)
    whole = [b for b in memory.large if not b.is_split and b.region is None]
    while target > 0 and whole:
        average = sum(memory.large.age(b) for b in whole) / len(whole)
        old = [b for b in whole if memory.large.age(b) >= average]
        for block in old:
            target -= block.size
            memory.release(block)
        whole = [b for b in whole if b not in old]


def release_cached(memory: Memory) -> None:
    """Give back every segment that is one free block, of the common pools and of released private ones."""
    _release_whole(memory, memory.large)
    _release_whole(memory, memory.small)
    for owner in [p for p in memory.private.values() if p.released]:
        _release_whole(memory, owner.small)
        _release_whole(memory, owner.large)
        if not owner.num_segments:
            del memory.private[owner.name]


def _release_whole(memory: Memory, free_list: FreeList) -> None:
    for block in list(free_list):
        if block.region is not None:
            expandable.unmap(memory, block)
        elif not block.is_split:
            memory.release(block)
