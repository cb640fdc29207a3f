"""Block tables, and what is seen of a KV memory: its use in numbers, its blocks as cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from vramlib.allocator.block_pool import KvBlock
from vramlib.components.kv_pool import Group, Pool
from vramlib.specs import Cache
from vramlib.units import ceil_div


class Usage(NamedTuple):
    """What a KV memory holds at one moment: token slots for all groups together, and the same in bytes."""

    live_slots: int
    held_slots: int
    live_bytes: int
    held_bytes: int

    @property
    def waste_slots(self) -> int:
        """Slots that are held and empty [token]."""
        return self.held_slots - self.live_slots

    @property
    def waste_bytes(self) -> int:
        """Bytes that are held and empty [byte]."""
        return self.held_bytes - self.live_bytes


class Cell(NamedTuple):
    """One block (or slot) as it is drawn.

    ``state``: ``free``, ``cached`` (free, its content can be used again), ``held`` or ``shared``; ``null`` for block 0.
    ``filled`` of ``size`` token slots hold a token; a recurrent state is one slot.
    """

    number: int
    state: str
    size: int = 0
    filled: int = 0
    owners: tuple[str, ...] = ()
    group: int = -1


class Hit(NamedTuple):
    """The beginning of a request that is still in the pool: its length, and its blocks in each group's table."""

    tokens: int
    tables: tuple[tuple[KvBlock | None, ...], ...]


@dataclass(slots=True)
class Table:
    """Blocks of one request in one group, by position; None is the null block, below a window."""

    group: Group
    blocks: list[KvBlock | None]
    first: int = 0
    block_size: int = field(init=False)
    is_state: bool = field(init=False)

    def __post_init__(self) -> None:
        self.block_size, self.is_state = self.group.block_size, self.group.cache.is_state

    @property
    def held(self) -> list[KvBlock]:
        """Its real blocks."""
        return [block for block in self.blocks[self.first :] if block is not None]

    def first_needed(self, computed: int) -> int:
        """Position of the first block that the next token can still see."""
        cache = self.group.cache
        if cache.kind == "sliding":
            return max(0, computed - cache.window + 1) // self.block_size
        if cache.kind == "chunked":
            return computed // cache.window * cache.window // self.block_size
        return 0

    def missing(self, tokens: int) -> int:
        """Blocks to add before this many tokens have a place."""
        wanted = 1 if self.is_state else ceil_div(tokens, self.block_size)
        return max(0, wanted - len(self.blocks))

    def tail(self, computed: int) -> int:
        """Empty slots at the end [token]."""
        return 0 if self.is_state else len(self.blocks) * self.block_size - computed


def plain_plan(*, bytes_per_token: int, block_size: int = 16) -> Pool:
    """The plan of a model whose layers all keep every token: one group, one table.

    Parameters
    ----------
    bytes_per_token : keys and values of one token in all layers [byte]
    block_size : tokens in a block [token]

    Returns
    -------
    A plan as ``components.kv_pool`` makes them [-]

    Examples
    --------
    >>> plain_plan(bytes_per_token=131_072).bytes_per_block
    2097152
    """
    page = bytes_per_token * block_size
    group = Group(cache=Cache(kind="full"), layers=1, count=1, block_size=block_size, page_bytes=page)
    return Pool(block_size=block_size, bytes_per_block=page, groups=(group,))
