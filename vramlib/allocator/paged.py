"""A paged KV cache: every group of layers has a table of blocks for each request, all from one pool.

Any free block serves any group, so no gap between blocks is ever too small: what is lost is the unused end of the last
block of each table, less than one block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from vramlib.allocator.block_pool import NULL_BLOCK, BlockPool, KvBlock
from vramlib.allocator.block_tables import Cell, Hit, Table, Usage
from vramlib.allocator.requests import Request
from vramlib.components.kv_pool import Pool


class PagedCache:
    """A paged KV cache that admits, grows and releases requests, block by block.

    Parameters
    ----------
    plan : groups, block size and bytes of one block, from ``components.kv_pool`` [-]
    num_blocks : blocks in the pool, the null block included [block]
    prefix_caching : full blocks may be used again by requests with the same beginning; off where a layer keeps a state,
        which holds no single tokens [-]
    watermark : share of the pool that must stay free when a request is admitted [-]

    Examples
    --------
    >>> from vramlib.allocator import plain_plan
    >>> cache = PagedCache(plain_plan(bytes_per_token=131_072), num_blocks=101)
    >>> question = Request(name="a", prompt_tokens=100, new_tokens=50)
    >>> cache.admit(question, cache.match(question, 100), 100)
    True
    >>> cache.usage({question: 100})
    Usage(live_slots=100, held_slots=112, live_bytes=13107200, held_bytes=14680064)

    Source
    ------
    vLLM 0.33, vllm/v1/core/kv_cache_manager.py and single_type_kv_cache_manager.py. Left out: speculative tokens,
    connectors, the two or more states that a hybrid model keeps with prefix caching.
    """

    def __init__(
        self, plan: Pool, num_blocks: int, *, prefix_caching: bool = True, watermark: float = 0.0
    ) -> None:
        if not 0 <= watermark < 1:
            raise ValueError(f"watermark is {watermark}; a share from 0 up to, not including, 1 works")
        self.plan, self.pool = plan, BlockPool(num_blocks)
        self.groups = [group for group in plan.groups for _ in range(group.count)]
        self.prefix_caching = prefix_caching and not any(g.cache.is_state for g in self.groups)
        self.watermark_blocks = int(watermark * num_blocks)
        self._step = math.lcm(*(g.block_size for g in self.groups))
        self._tables: dict[Request, list[Table]] = {}

    @property
    def capacity_bytes(self) -> int:
        """Bytes of the pool that requests can use [byte]."""
        return (len(self.pool.blocks) - 1) * self.plan.bytes_per_block

    def fits(self, request: Request, in_flight_tokens: int) -> bool:
        """A request could be served alone, with so many tokens computed at once."""
        need = self.plan.blocks_per_request(request.total_tokens, in_flight_tokens)
        return bool(need + self.watermark_blocks < len(self.pool.blocks))

    def match(self, request: Request, length: int) -> Hit:
        """How much of a request's first ``length`` tokens is still there; at least one token is always computed.

        Examples
        --------
        >>> from vramlib.allocator import plain_plan
        >>> cache = PagedCache(plain_plan(bytes_per_token=2), num_blocks=101)
        >>> first, second = (Request(name=n, prompt_tokens=90, new_tokens=9, prefix="system", prefix_tokens=50)
        ...                  for n in "ab")
        >>> cache.admit(first, cache.match(first, 90), 90)
        True
        >>> cache.match(second, 90).tokens          # three full blocks of 16 within the shared 50
        48
        """
        tokens = (length - 1) // self._step * self._step if self.prefix_caching else 0
        while tokens > 0:
            tables = [self._cached(request, i, tokens) for i in range(len(self.groups))]
            shortest = min(found for found, _ in tables)
            if shortest == tokens:
                return Hit(tokens, tuple(blocks for _, blocks in tables))
            tokens = shortest // self._step * self._step
        return Hit(0, tuple(() for _ in self.groups))

    def _cached(self, request: Request, index: int, tokens: int) -> tuple[int, tuple[KvBlock | None, ...]]:
        """Length up to ``tokens`` that one group still has, and its blocks; below a window nothing is needed."""
        group = self.groups[index]
        first = Table(group, []).first_needed(tokens)
        blocks: list[KvBlock | None] = [None] * first
        for position in range(first, tokens // group.block_size):
            block = self.pool.find(self._key(request, index, position))
            if block is None:
                return position * group.block_size, ()
            blocks.append(block)
        return tokens, tuple(blocks)

    def _key(self, request: Request, index: int, position: int) -> tuple[int, str, int, int]:
        size = self.groups[index].block_size
        return (index, *request.content(position * size, (position + 1) * size))

    def admit(self, request: Request, hit: Hit, tokens: int) -> bool:
        """Give a request its tables for its first ``tokens``; false, and nothing changed, where blocks are too few.

        Raises
        ------
        ValueError: it has its tables already.
        """
        if request in self._tables:
            raise ValueError(f"request {request.name} is admitted already; grow it, or release it first")
        tables = [
            Table(g, list(blocks), next((i for i, b in enumerate(blocks) if b), 0))
            for g, blocks in zip(self.groups, hit.tables, strict=True)
        ]
        shared = [block for table in tables for block in table.held]
        revived = sum(self.pool.is_free(block) for block in shared)
        need = sum(table.missing(tokens) for table in tables)
        if need + revived + self.watermark_blocks > self.pool.num_free:
            return False
        self.pool.share(shared)
        self._tables[request] = tables
        self._extend(request, tokens)
        return True

    def grow(self, request: Request, computed: int, tokens: int) -> bool:
        """Make room for ``tokens`` of which ``computed`` are there; blocks below a window go back first.

        False, and nothing added, where blocks are too few.

        Examples
        --------
        >>> from vramlib.components.kv_pool import Group
        >>> from vramlib.specs import Cache
        >>> window = Group(cache=Cache(kind="sliding", window=32), layers=1, count=1, block_size=16, page_bytes=16)
        >>> cache = PagedCache(Pool(block_size=16, bytes_per_block=16, groups=(window,)), num_blocks=11)
        >>> chat = Request(name="a", prompt_tokens=64, new_tokens=9)
        >>> cache.admit(chat, cache.match(chat, 64), 64), cache.pool.num_held
        (True, 4)
        >>> cache.grow(chat, 64, 65), cache.pool.num_held       # the next token sees tokens 33 to 63
        (True, 3)
        """
        tables = self._tables[request]
        for table in tables:
            if table.group.cache.window:
                self._drop(table, table.first_needed(computed))
        missing = sum([table.missing(tokens) for table in tables])
        if missing > self.pool.num_free:
            return False
        if missing or any(tokens % table.block_size == 0 for table in tables):
            self._extend(request, tokens)
        return True

    def _drop(self, table: Table, first: int) -> None:
        if first > table.first:
            first = min(first, len(table.blocks))
            gone = [block for block in table.blocks[table.first : first] if block is not None]
            table.blocks[table.first : first] = [None] * (first - table.first)
            table.first = first
            self.pool.give_back(gone)

    def _extend(self, request: Request, tokens: int) -> None:
        for index, table in enumerate(self._tables[request]):
            size, begin = table.block_size, len(table.blocks)
            missing = table.missing(tokens)
            if missing:
                table.blocks.extend(self.pool.take(missing, 0 if table.is_state else size))
            if self.prefix_caching and (missing or not tokens % size):
                for position in range(max(table.first, begin - 1), tokens // size):
                    block = table.blocks[position]
                    if block is not None:
                        self.pool.remember(block, self._key(request, index, position))

    def release(self, request: Request) -> None:
        """A request is done, or preempted: all its blocks go back, full ones with their content."""
        for table in self._tables.pop(request):
            self.pool.give_back(table.held)

    def usage(self, computed: dict[Request, int]) -> Usage:
        """What is held and what of it is filled, with so many tokens computed; a shared block counts once."""
        empty = empty_bytes = 0
        for request, tables in self._tables.items():
            for table in tables:
                tail = table.tail(computed[request])
                empty += tail
                empty_bytes += tail * self.plan.bytes_per_block // table.block_size
        held, held_bytes = self.pool.held_slots, self.pool.num_held * self.plan.bytes_per_block
        return Usage(held - empty, held, held_bytes - empty_bytes, held_bytes)

    def cells(self, computed: dict[Request, int]) -> tuple[Cell, ...]:
        """Every block in order, as it is drawn.

        Examples
        --------
        >>> from vramlib.allocator import plain_plan
        >>> cache = PagedCache(plain_plan(bytes_per_token=2), num_blocks=4)
        >>> chat = Request(name="a", prompt_tokens=20, new_tokens=9)
        >>> cache.admit(chat, cache.match(chat, 20), 20)
        True
        >>> [(cell.state, cell.filled) for cell in cache.cells({chat: 20})]
        [('null', 0), ('held', 16), ('held', 4), ('free', 0)]
        """
        held: dict[int, Cell] = {}
        for cell in self._held_cells(computed):
            before = held.get(cell.number)
            held[cell.number] = cell if before is None else _shared(before, cell)
        return tuple(held.get(block.block_id) or self._free_cell(block) for block in self.pool.blocks)

    def _free_cell(self, block: KvBlock) -> Cell:
        if block.block_id == NULL_BLOCK:
            return Cell(NULL_BLOCK, "null")
        return Cell(block.block_id, "free" if block.key is None else "cached")

    def _held_cells(self, computed: dict[Request, int]) -> Iterator[Cell]:
        for request, tables in self._tables.items():
            for index, table in enumerate(tables):
                size = 1 if table.is_state else table.block_size
                for position, block in enumerate(table.blocks):
                    if block is not None:
                        filled = min(size, max(0, computed[request] - position * size))
                        yield Cell(block.block_id, "held", size, filled, (request.name,), index)


def _shared(one: Cell, other: Cell) -> Cell:
    return one._replace(state="shared", owners=one.owners + other.owners)
