"""The pool of KV blocks: reference counts, a queue of free blocks, and blocks that keep their content after use.

A block whose last user is gone goes to the end of the free queue with its content; until somebody takes it from the
front, a request that begins with the same tokens may have it back. So a prefix cache costs no capacity.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable

NULL_BLOCK = 0


class KvBlock:
    """One block: how many requests use it, how many tokens it has room for, and what is in it once it is full."""

    __slots__ = ("block_id", "key", "ref_count", "slots")

    def __init__(self, block_id: int) -> None:
        self.block_id, self.ref_count, self.slots = block_id, 0, 0
        self.key: Hashable = None

    def __repr__(self) -> str:
        return f"KvBlock({self.block_id}, ref_count={self.ref_count}, key={self.key!r})"


class BlockPool:
    """All blocks of one GPU; block 0, the null block, is never given out: it stands where a table has nothing.

    Parameters
    ----------
    num_blocks : blocks, the null block included [block]

    ``held_slots`` counts the token slots of blocks that somebody uses, each block once.

    Examples
    --------
    >>> pool = BlockPool(4)
    >>> first, second = pool.take(2)
    >>> pool.remember(first, "Once upon a time")
    >>> pool.give_back([first, second])
    >>> pool.find("Once upon a time") is first, pool.num_free
    (True, 3)

    Source
    ------
    vLLM 0.33, vllm/v1/core/block_pool.py.
    """

    def __init__(self, num_blocks: int) -> None:
        if num_blocks < 2:
            raise ValueError(f"{num_blocks} blocks; a pool needs the null block and at least one more")
        self.blocks = [KvBlock(i) for i in range(num_blocks)]
        self._free = OrderedDict((block.block_id, block) for block in self.blocks[1:])
        self._by_key: dict[Hashable, KvBlock] = {}
        self.held_slots = 0

    @property
    def num_free(self) -> int:
        """Blocks that nobody uses, with or without content [block]."""
        return len(self._free)

    @property
    def num_held(self) -> int:
        """Blocks that somebody uses, each once [block]."""
        return len(self.blocks) - 1 - len(self._free)

    @property
    def num_cached(self) -> int:
        """Free blocks whose content could be used again [block]."""
        return sum(block.key is not None for block in self._free.values())

    def is_free(self, block: KvBlock) -> bool:
        """Nobody uses it."""
        return block.block_id in self._free

    def take(self, number: int, slots: int = 0) -> list[KvBlock]:
        """Blocks from the front of the queue, for so many tokens each; what they held is forgotten.

        Raises
        ------
        ValueError: fewer are free.
        """
        if number > self.num_free:
            raise ValueError(f"{number} blocks wanted, {self.num_free} are free; ask num_free first")
        taken = [self._free.popitem(last=False)[1] for _ in range(number)]
        for block in taken:
            self._forget(block)
            block.ref_count, block.slots = 1, slots
        self.held_slots += number * slots
        return taken

    def share(self, blocks: Iterable[KvBlock]) -> None:
        """One more user for each block; free ones leave the queue with their content."""
        for block in blocks:
            if self._free.pop(block.block_id, None):
                self.held_slots += block.slots
            block.ref_count += 1

    def give_back(self, blocks: Iterable[KvBlock]) -> None:
        """One user fewer for each block; last block first, so that a prefix is forgotten from its end.

        Raises
        ------
        ValueError: a block that nobody uses.
        """
        for block in reversed(list(blocks)):
            if block.ref_count < 1:
                raise ValueError(f"{block} is given back, but nobody uses it")
            block.ref_count -= 1
            if not block.ref_count:
                self._free[block.block_id] = block
                self.held_slots -= block.slots

    def remember(self, block: KvBlock, key: Hashable) -> None:
        """Note what a full block holds; the first block with some content is the one that is found again."""
        if block.key is None and key not in self._by_key:
            block.key = key
            self._by_key[key] = block

    def find(self, key: Hashable) -> KvBlock | None:
        """The block with this content, held or free."""
        return self._by_key.get(key)

    def _forget(self, block: KvBlock) -> None:
        if block.key is not None:
            del self._by_key[block.key]
            block.key = None
