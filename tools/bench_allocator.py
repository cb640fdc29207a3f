"""Time of the allocator's simulators: 100,000 events, and a trace of requests, each beside a plain loop of its length.

Run it with ``.venv/bin/python tools/bench_allocator.py``.
"""

import time
from collections.abc import Callable

from vramlib.allocator import (
    CachingAllocator,
    ContiguousSlots,
    Engine,
    PagedCache,
    Settings,
    dynamic_cache_trace,
    plain_plan,
    poisson_requests,
    random_trace,
    replay,
    serve,
)
from vramlib.units import GiB

NUM_EVENTS = 100_000
BYTES_PER_TOKEN = 131_072


def seconds(run: Callable[[], int]) -> tuple[float, int]:
    """Processor time of one run, so that another process on the machine does not count, and what it gave."""
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def plain_loop(length: int) -> int:
    """What any simulator in Python pays at least: a dictionary entry made and taken away for each event."""
    held: dict[int, tuple[int, int]] = {}
    for i in range(length):
        held[i] = (i, i)
        del held[i]
    return length


def report(name: str, run: Callable[[], int]) -> None:
    """Print time, events and the ratio to a plain loop of as many."""
    spent, events = seconds(run)
    least, _ = seconds(lambda: plain_loop(events))
    per_event = spent / events * 1e6
    print(
        f"{name:34} {events:>9,} events {spent:6.2f} s {per_event:6.1f} µs each; plain loop × {spent / least:.0f}"
    )


def play(trace: list, settings: Settings) -> int:
    """Events of a trace, played to the end."""
    return sum(1 for _ in replay(trace, CachingAllocator(total_bytes=80 * GiB, settings=settings)))


def tokens_served(memory: PagedCache | ContiguousSlots) -> int:
    """Tokens computed step by step for 500 requests."""
    requests = poisson_requests(num_requests=500, requests_per_step=0.5)
    return sum(moment.running for moment in serve(requests, Engine(memory)))


def main() -> None:
    """Print one line for each simulator."""
    trace = list(random_trace(num_events=NUM_EVENTS))
    shape = {"num_hidden_layers": 32, "row_bytes": 2048, "batch_size": 8, "prompt_tokens": 1024}
    cache = list(dynamic_cache_trace(**shape, new_tokens=NUM_EVENTS // 128))
    report("random trace", lambda: play(trace, Settings()))
    report("random trace, expandable segments", lambda: play(trace, Settings(expandable_segments=True)))
    report("DynamicCache", lambda: play(cache, Settings()))
    paged = PagedCache(plain_plan(bytes_per_token=BYTES_PER_TOKEN), num_blocks=4097)
    slots = ContiguousSlots(capacity_bytes=8 * GiB, max_model_len=2048, bytes_per_token=BYTES_PER_TOKEN)
    report("paged KV pool, sequence-steps", lambda: tokens_served(paged))
    report("contiguous slots, sequence-steps", lambda: tokens_served(slots))


if __name__ == "__main__":
    main()
