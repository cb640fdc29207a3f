"""What can be read off an allocator: counters, a picture of its segments, and the numbers of an out-of-memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from vramlib.allocator.blocks import ALLOCATED, INACTIVE, Block
from vramlib.units import GiB, KiB, MiB


class Stats(NamedTuple):
    """Counters of the allocator, under the names of ``torch.cuda.memory_stats``, all in bytes or counts.

    ``requested`` ≤ ``active`` ≤ ``reserved``; ``allocated`` is ``active`` without blocks that wait for another stream.
    A waiting block stays in ``requested`` until its stream is done. ``inactive_split`` does not count expandable
    segments. A ``peak`` is the largest value so far.
    """

    requested_bytes: int = 0
    allocated_bytes: int = 0
    active_bytes: int = 0
    reserved_bytes: int = 0
    inactive_split_bytes: int = 0
    peak_requested_bytes: int = 0
    peak_allocated_bytes: int = 0
    peak_active_bytes: int = 0
    peak_reserved_bytes: int = 0
    peak_inactive_split_bytes: int = 0
    num_segments: int = 0
    num_alloc_retries: int = 0
    num_ooms: int = 0
    num_device_alloc: int = 0
    num_device_free: int = 0

    @property
    def rounding_bytes(self) -> int:
        """What rounding adds to the blocks in use [byte]."""
        return self.active_bytes - self.requested_bytes

    @property
    def cached_bytes(self) -> int:
        """Reserved and not in use; whole free segments of it go back to the driver when memory runs short [byte]."""
        return self.reserved_bytes - self.active_bytes

    @property
    def fragmented_bytes(self) -> int:
        """Gaps in partly used segments, which cannot go back [byte]."""
        return self.inactive_split_bytes


class BlockView(NamedTuple):
    """One block as it is drawn: where, how long, and in which state."""

    address: int
    size: int
    requested_bytes: int
    state: str

    @classmethod
    def of(cls, block: Block) -> BlockView:
        """A block as it is now."""
        state = block.state
        return cls(block.address, block.size, 0 if state == INACTIVE else block.requested_bytes, state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One contiguous stretch of GPU memory from the driver, and its blocks from left to right.

    Parameters
    ----------
    address, size : where it is, and its length [byte]
    stream : only requests of this stream may use it [-]
    pool : name of the private pool it belongs to, "" for the common one [-]
    is_small : serves requests of 1 MiB and less [-]
    is_expandable : a mapped stretch of an expandable segment [-]
    blocks : its blocks, left to right, without a gap [-]
    """

    address: int
    size: int
    stream: int
    pool: str
    is_small: bool
    is_expandable: bool
    blocks: tuple[BlockView, ...]

    @property
    def allocated_bytes(self) -> int:
        """Bytes in blocks that somebody holds [byte]."""
        return sum(b.size for b in self.blocks if b.state == ALLOCATED)

    @property
    def free_bytes(self) -> int:
        """Bytes in free blocks [byte]."""
        return sum(b.size for b in self.blocks if b.state == INACTIVE)

    @property
    def can_be_released(self) -> bool:
        """It is one free block, so the driver can have it back."""
        return len(self.blocks) == 1 and self.free_bytes == self.size and not self.is_expandable


def segments_of(blocks: Iterable[Block]) -> tuple[Segment, ...]:
    """Chains of mapped blocks as segments, lowest address first."""
    heads = [b for b in blocks if b.mapped and (b.prev is None or not b.prev.mapped)]
    return tuple(_segment(head) for head in sorted(heads, key=lambda b: b.address))


def _segment(head: Block) -> Segment:
    views, block = [], head
    while True:
        views.append(BlockView.of(block))
        if block.next is None or not block.next.mapped:
            break
        block = block.next
    owner = head.free_list.owner
    return Segment(
        address=head.address,
        size=sum(v.size for v in views),
        stream=head.stream,
        pool=owner.name if owner else "",
        is_small=head.free_list.is_small,
        is_expandable=head.region is not None,
        blocks=tuple(views),
    )


class OutOfMemoryError(MemoryError):
    """No block and no segment for a request, with the numbers that PyTorch prints.

    Examples
    --------
    >>> print(OutOfMemoryError(26 * MiB, total_bytes=GiB, free_bytes=2 * MiB, allocated_bytes=900 * MiB,
    ...                        reserved_bytes=1000 * MiB))
    CUDA out of memory. Tried to allocate 26.00 MiB. GPU 0 has a total capacity of 1024.00 MiB of which 2.00 MiB is \
free. Of the allocated memory 900.00 MiB is allocated by PyTorch, and 100.00 MiB is reserved by PyTorch but unallocated.
    """

    def __init__(
        self,
        tried_bytes: int,
        *,
        total_bytes: int,
        free_bytes: int,
        allocated_bytes: int,
        reserved_bytes: int,
        private_pool_bytes: int = 0,
        allowed_bytes: int | None = None,
    ) -> None:
        self.tried_bytes, self.total_bytes, self.free_bytes = tried_bytes, total_bytes, free_bytes
        self.allocated_bytes, self.reserved_bytes = allocated_bytes, reserved_bytes
        self.private_pool_bytes, self.allowed_bytes = private_pool_bytes, allowed_bytes
        super().__init__(self._message())

    @property
    def unallocated_bytes(self) -> int:
        """Reserved by this allocator, held by nobody, and of no use for this request [byte]."""
        return self.reserved_bytes - self.allocated_bytes - self.private_pool_bytes

    def _message(self) -> str:
        allowed = f"{torch_size(self.allowed_bytes)} allowed; " if self.allowed_bytes is not None else ""
        private = (
            f"with {torch_size(self.private_pool_bytes)} allocated in private pools (e.g., CUDA Graphs), "
        )
        held = torch_size(self.allocated_bytes + self.private_pool_bytes)
        return (
            f"CUDA out of memory. Tried to allocate {torch_size(self.tried_bytes)}."
            f" GPU 0 has a total capacity of {torch_size(self.total_bytes)}"
            f" of which {torch_size(self.free_bytes)} is free. {allowed}"
            f"Of the allocated memory {held} is allocated by PyTorch,"
            f" {private if self.private_pool_bytes else ''}"
            f"and {torch_size(self.unallocated_bytes)} is reserved by PyTorch but unallocated."
        )


def torch_size(size: int) -> str:
    """Bytes as PyTorch's messages print them: the next unit begins above 1024.

    Examples
    --------
    >>> torch_size(1024), torch_size(GiB), torch_size(GiB + 1)
    ('1024 bytes', '1024.00 MiB', '1.00 GiB')
    """
    for unit, name in ((GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB")):
        if size > unit:
            return f"{size / unit:.2f} {name}"
    return f"{size} bytes"
