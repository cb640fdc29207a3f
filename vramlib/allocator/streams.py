"""Blocks that were freed while another stream may still be reading them.

PyTorch records an event on each such stream and looks, at the next request, which events are over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from vramlib.allocator.blocks import Block


class Streams:
    """Queues of waiting blocks, one for each stream; a stream works through its queue in order."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Block]] = {}
        self._done: dict[int, int] = {}

    def wait_for(self, block: Block) -> None:
        """Queue a block behind the work of every stream that used it."""
        for stream in sorted(block.stream_uses):
            block.event_count += 1
            self._waiting.setdefault(stream, deque()).append(block)
        block.stream_uses.clear()

    def finish(self, stream: int | None = None) -> None:
        """All work that one stream, or every stream, has so far is over."""
        for name, waiting in self._waiting.items():
            if stream is None or name == stream:
                self._done[name] = len(waiting)

    def finished(self) -> Iterator[Block]:
        """Take out the blocks that no stream uses any more."""
        while self._done:
            stream, number = self._done.popitem()
            for _ in range(number):
                block = self._waiting[stream].popleft()
                block.event_count -= 1
                if not block.event_count:
                    yield block
