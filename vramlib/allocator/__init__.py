"""Simulators of memory that is handed out in pieces: PyTorch's caching allocator, and a paged pool of KV blocks.

``CachingAllocator`` answers requests for memory, ``replay`` plays a trace of them step by step, ``segments()`` is the
picture. ``PagedCache`` and ``ContiguousSlots`` keep keys and values, ``serve`` plays a trace of user requests on one of
them, ``cells()`` is the picture.
"""

from __future__ import annotations

from vramlib.allocator.block_pool import BlockPool, KvBlock
from vramlib.allocator.block_tables import Cell, Usage, plain_plan
from vramlib.allocator.blocks import ALLOCATED, AWAITING_FREE, INACTIVE, Block
from vramlib.allocator.caching import CachingAllocator
from vramlib.allocator.contiguous import ContiguousSlots
from vramlib.allocator.paged import PagedCache
from vramlib.allocator.requests import Request, poisson_requests
from vramlib.allocator.serving import Engine, Moment, serve
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
from vramlib.allocator.weights import rounding_bytes, scenario_weight_trace, weight_trace

__all__ = [
    "ALLOCATED", "AWAITING_FREE", "INACTIVE", "Block", "BlockPool", "BlockView", "CachingAllocator", "Cell",
    "ContiguousSlots", "Engine", "Event", "KvBlock", "Moment", "OutOfMemoryError", "PagedCache", "Request", "Segment",
    "Settings", "Stats", "Step", "Usage", "block_bytes", "dynamic_cache_trace", "last_stats", "plain_plan",
    "poisson_requests", "random_trace", "replay", "rounding_bytes", "scenario_weight_trace", "segment_bytes", "serve",
    "stranding_trace", "weight_trace",
]  # fmt: skip
