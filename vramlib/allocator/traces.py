"""Traces: lists of what a program asks an allocator for, and the player that shows every step."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from vramlib.allocator.blocks import Block
from vramlib.allocator.caching import CachingAllocator
from vramlib.allocator.stats import BlockView, OutOfMemoryError, Stats
from vramlib.units import MiB

ACTIONS = ("malloc", "free", "record_stream", "synchronize", "empty_cache", "release_pool")


class Event(NamedTuple):
    """One thing a program does: ``malloc`` and ``free`` name the tensor; the others name a stream or a pool.

    Parameters
    ----------
    action : one of ``ACTIONS`` [-]
    name : the tensor [-]
    nbytes : size that ``malloc`` asks for [byte]
    stream : where it runs; for ``synchronize`` the stream that is done, -1 for all [-]
    pool : private pool of a ``malloc``, or the one that is released; None is the common one [-]
    """

    action: str
    name: str = ""
    nbytes: int = 0
    stream: int = 0
    pool: str | None = None


class Step(NamedTuple):
    """What an event did: the counters after it, the block it gave or took back, the error it ran into."""

    event: Event
    stats: Stats
    block: BlockView | None = None
    error: OutOfMemoryError | None = None


def replay(trace: Iterable[Event], allocator: CachingAllocator) -> Iterator[Step]:
    """Play a trace on an allocator, one step at a time.

    Between two steps the allocator can be looked at: ``allocator.segments()`` is then the picture after the step just
    given. An out-of-memory becomes a step with its ``error``; the trace goes on without that tensor.

    Parameters
    ----------
    trace : what the program does, in order [-]
    allocator : a fresh allocator, or one that already holds blocks [-]

    Returns
    -------
    A step for each event [-]

    Raises
    ------
    ValueError: an action that is not known, or a name in use twice.
    KeyError: a tensor that the trace never asked for.

    Examples
    --------
    >>> trace = [Event("malloc", "q", 3 * MiB), Event("malloc", "k", 3 * MiB), Event("free", "q")]
    >>> for step in replay(trace, CachingAllocator(total_bytes=1 << 30)):
    ...     stats = step.stats
    ...     print(step.event.action, stats.allocated_bytes // MiB, stats.reserved_bytes // MiB)
    malloc 3 20
    malloc 6 20
    free 3 20
    """
    live: dict[str, Block | None] = {}
    for event in trace:
        block, error = None, None
        if event.action == "malloc":
            block, error = _malloc(event, allocator, live)
        elif event.action in ("free", "record_stream"):
            block = _touch(event, allocator, live)
        else:
            _manage(event, allocator)
        yield Step(event, allocator.stats, block, error)


def _malloc(
    event: Event, allocator: CachingAllocator, live: dict[str, Block | None]
) -> tuple[BlockView | None, OutOfMemoryError | None]:
    if event.name in live:
        raise ValueError(f"{event.name!r} is asked for twice; free it first, or give the second another name")
    live[event.name] = None
    try:
        block = allocator.malloc(event.nbytes, stream=event.stream, pool=event.pool)
    except OutOfMemoryError as error:
        return None, error
    live[event.name] = block
    return BlockView.of(block), None


def _touch(event: Event, allocator: CachingAllocator, live: dict[str, Block | None]) -> BlockView | None:
    if event.name not in live:
        raise KeyError(f"the trace frees or uses {event.name!r} before it asks for it")
    block = live[event.name] if event.action == "record_stream" else live.pop(event.name)
    if block is None:
        return None
    view = BlockView.of(block)
    if event.action == "record_stream":
        allocator.record_stream(block, event.stream)
    else:
        allocator.free(block)
    return view


def _manage(event: Event, allocator: CachingAllocator) -> None:
    if event.action == "synchronize":
        allocator.synchronize(None if event.stream < 0 else event.stream)
    elif event.action == "empty_cache":
        allocator.empty_cache()
    elif event.action == "release_pool":
        allocator.release_pool(event.pool or "")
    else:
        raise ValueError(f"action {event.action!r}; known: {', '.join(ACTIONS)}")


def last_stats(trace: Iterable[Event], allocator: CachingAllocator) -> Stats:
    """The counters after the whole trace.

    Parameters
    ----------
    trace : what the program does, in order [-]
    allocator : a fresh allocator, or one that already holds blocks [-]

    Returns
    -------
    Counters and peaks [byte]

    Raises
    ------
    OutOfMemoryError: a request of the trace found no room.

    Examples
    --------
    >>> last_stats([Event("malloc", "w", 11 * MiB)], CachingAllocator(total_bytes=1 << 30)).allocated_bytes // MiB
    12
    """
    for step in replay(trace, allocator):
        if step.error is not None:
            raise step.error
    return allocator.stats


def dynamic_cache_trace(
    *, num_hidden_layers: int, row_bytes: int, batch_size: int, prompt_tokens: int, new_tokens: int
) -> Iterator[Event]:
    """Keys and values of transformers' DynamicCache: each step asks for a longer tensor, copies, frees the old one.

    Parameters
    ----------
    num_hidden_layers : layers with a cache [-]
    row_bytes : keys of one token in one layer, ``n_kv · d_head · b``; values are as big [byte]
    batch_size : sequences [-]
    prompt_tokens, new_tokens : length after prefill, and steps after it [token]

    Returns
    -------
    Events, keys before values, layer by layer, step by step [-]

    Examples
    --------
    >>> trace = dynamic_cache_trace(num_hidden_layers=1, row_bytes=2048, batch_size=1, prompt_tokens=8, new_tokens=1)
    >>> [(event.action, event.nbytes) for event in trace]
    [('malloc', 16384), ('malloc', 16384), ('malloc', 18432), ('free', 0), ('malloc', 18432), ('free', 0)]

    Source
    ------
    transformers 5.23, src/transformers/cache_utils.py DynamicLayer.update: torch.cat of the old tensor and the new row.
    """
    names = [f"layers.{i}.{part}" for i in range(num_hidden_layers) for part in ("keys", "values")]
    for tokens in range(prompt_tokens, prompt_tokens + new_tokens + 1):
        for name in names:
            yield Event("malloc", f"{name}@{tokens}", batch_size * tokens * row_bytes)
            if tokens > prompt_tokens:
                yield Event("free", f"{name}@{tokens - 1}")


def random_trace(
    *, num_events: int, seed: int = 0, max_bytes: int = 64 * MiB, max_live: int = 200, num_streams: int = 1
) -> Iterator[Event]:
    """A seeded mix of requests, from a few bytes to ``max_bytes``, log-uniform in size, freed in random order.

    Parameters
    ----------
    num_events : length of the trace [-]
    seed : same seed, same trace [-]
    max_bytes : largest request [byte]
    max_live : tensors held at once, at most [-]
    num_streams : streams that requests are spread over [-]

    Returns
    -------
    Events ``malloc`` and ``free`` [-]

    Examples
    --------
    >>> first, *_ = random_trace(num_events=10, seed=3)
    >>> first.action, first == next(random_trace(num_events=10, seed=3))
    ('malloc', True)
    """
    chance, live = random.Random(seed), list[tuple[str, int]]()
    octaves = max_bytes.bit_length() - 1
    for i in range(num_events):
        if live and (len(live) >= max_live or chance.random() < 0.45):
            pick = chance.randrange(len(live))
            live[pick], live[-1] = live[-1], live[pick]
            name, stream = live.pop()
            yield Event("free", name, stream=stream)
        else:
            size = max(1, min(max_bytes, int(2 ** (chance.random() * octaves))))
            name, stream = f"t{i}", chance.randrange(num_streams)
            live.append((name, stream))
            yield Event("malloc", name, size, stream=stream)


def stranding_trace(*, num_steps: int = 8) -> Iterator[Event]:
    """Workspaces that grow a little each time, and a small tensor kept after each: gaps that nothing fits into.

    The kept tensor is cut from the workspace just freed, so the next, larger workspace needs a segment of its own.

    Parameters
    ----------
    num_steps : workspaces, of 12, 14, 16, ... MiB [-]

    Returns
    -------
    Events [-]

    Examples
    --------
    >>> from vramlib.allocator.settings import Settings
    >>> for expandable in (False, True):
    ...     gpu = CachingAllocator(total_bytes=1 << 30, settings=Settings(expandable_segments=expandable))
    ...     stats = last_stats(stranding_trace(), gpu)
    ...     print(stats.allocated_bytes // MiB, stats.reserved_bytes // MiB, stats.peak_allocated_bytes // MiB)
    16 152 40
    16 40 40
    """
    for i in range(num_steps):
        yield Event("malloc", f"workspace {i}", (12 + 2 * i) * MiB)
        yield Event("free", f"workspace {i}")
        yield Event("malloc", f"kept {i}", 2 * MiB)
