"""Expandable segments: one range of addresses per pool and stream, with memory put behind it page by page.

A page is 2 MiB for small requests and 20 MiB for large ones. Where the range ends or a gap was given back, the chain
holds an *unmapped* block: addresses without memory.

Source: PyTorch 2.13, c10/cuda/CUDACachingAllocator.cpp, note "Expandable Segments".
"""

from __future__ import annotations

from vramlib.allocator.blocks import Block, FreeList, Region, merge
from vramlib.allocator.memory import Memory
from vramlib.allocator.settings import SMALL_SEGMENT_BYTES
from vramlib.units import round_up


def room(block: Block) -> int:
    """Size that a free block could grow to: its own, and the unmapped range behind it [byte]."""
    return block.size + (block.next.size if block.next and not block.next.mapped else 0)


def best_fit(free_list: FreeList, size: int, stream: int) -> Block | None:
    """Among blocks that are big enough, the one that could grow least, so that the open end is used last."""
    found: Block | None = None
    for block in free_list.at_least(size, stream):
        if found is not None and (found.region is None or room(block) >= room(found)):
            break
        found = block
    return found


def grow(memory: Memory, free_list: FreeList, size: int, stream: int) -> Block | None:
    """Put memory behind addresses until a block of this size stands there; None where the driver has too little."""
    block = _first_place(memory, free_list, size, stream)
    if not block.mapped and not _map(memory, block, min(block.size, size)):
        return None
    while block.size < size:
        behind = block.next
        if behind is None or not _map(memory, behind, min(size - block.size, behind.size)):
            return None
        block = behind
    free_list.remove(block)
    return block


def _first_place(memory: Memory, free_list: FreeList, size: int, stream: int) -> Block:
    """Lowest free or unmapped addresses with room for the size; a new range of 9/8 of the card where there is none."""
    for block in free_list.unmapped(stream):
        start = block.prev if block.prev and block.prev.is_free else block
        if _has_room(start, size):
            return start
    page = SMALL_SEGMENT_BYTES if free_list.is_small else memory.settings.large_segment_bytes
    length = round_up(memory.total_bytes + memory.total_bytes // 8, page)
    region = Region(memory.addresses(length), length, page)
    block = Block(region.address, length, stream, free_list, region)
    block.mapped = False
    free_list.add(block)
    return block


def _has_room(block: Block | None, size: int) -> bool:
    found = 0
    while found < size and block and block.is_free:
        found, block = found + block.size, block.next
    return found >= size


def _map(memory: Memory, block: Block, size: int) -> bool:
    """Back the first pages of an unmapped block with memory, and join it with free neighbours."""
    assert block.region is not None
    mapped = round_up(size, block.region.page_bytes)
    if mapped > memory.driver_free_bytes:
        return False
    block.free_list.remove(block)
    block.mapped = True
    if mapped < block.size:
        rest = _piece(block, block.address + mapped, block.size - mapped)
        rest.mapped = False
        rest.insert_between(block, block.next)
        block.free_list.add(rest)
        block.size = mapped
    merge(block, block.prev)
    merge(block, block.next)
    block.free_list.add(block)
    memory.count_reserved(mapped, block.free_list)
    return True


def _piece(block: Block, address: int, size: int) -> Block:
    return Block(address, size, block.stream, block.free_list, block.region)


def unmap(memory: Memory, block: Block) -> None:
    """Give the whole pages inside a free block back to the driver; the edges stay as free blocks."""
    region = block.region
    assert region is not None
    page = region.page_bytes
    begin = region.address + round_up(block.address - region.address, page)
    end = region.address + (block.end - region.address) // page * page
    if begin >= end:
        return
    block.free_list.remove(block)
    if begin > block.address:
        before = _piece(block, block.address, begin - block.address)
        before.insert_between(block.prev, block)
        block.free_list.add(before)
    if block.end > end:
        after = _piece(block, end, block.end - end)
        after.insert_between(block, block.next)
        block.free_list.add(after)
    block.address, block.size, block.mapped = begin, end - begin, False
    merge(block, block.prev)
    merge(block, block.next)
    memory.count_reserved(begin - end, block.free_list)
    if block.is_split:
        block.free_list.add(block)
