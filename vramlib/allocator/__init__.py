"""Simulators of memory that is handed out in pieces: PyTorch's caching allocator, and a paged pool of KV blocks.

``CachingAllocator`` plays requests and frees, ``replay`` shows a trace step by step, ``segments`` gives the picture.
``paged`` holds the pool of KV blocks, ``serving`` plays a trace of requests on it, beside contiguous slots.
"""

from __future__ import annotations

from vramlib.allocator.blocks import ALLOCATED, AWAITING_FREE, INACTIVE, Block
from vramlib.allocator.caching import CachingAllocator
from vramlib.allocator.settings import Settings, block_bytes, segment_bytes
from vramlib.allocator.stats import BlockView, OutOfMemoryError, Segment, Stats
from vramlib.allocator.traces import (
    Event,
    Step,
    dynamic_cache_trace,
    last_stats,
    random_trace,
    replay,
    stranding_trace,
)
from vramlib.allocator.weights import scenario_weight_trace, weight_trace

__all__ = [
    "ALLOCATED", "AWAITING_FREE", "INACTIVE", "Block", "BlockView", "CachingAllocator", "Event", "OutOfMemoryError",
    "Segment", "Settings", "Stats", "Step", "block_bytes", "dynamic_cache_trace",
    "last_stats", "random_trace", "replay", "scenario_weight_trace", "segment_bytes", "stranding_trace", "weight_trace",
]  # fmt: skip
