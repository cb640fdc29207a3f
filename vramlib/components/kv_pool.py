"""The block pool of vLLM: pages, groups and blocks, and how many tokens and requests a pool of bytes holds.

Layers with one kind of cache share a group; every group draws blocks of the same size from one pool, so
pages are made
equal first. ``plan`` works that out once per model and settings; ``Pool`` then answers questions about
bytes and lengths.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from vramlib.components import kv_cache
from vramlib.specs import DTYPE_BITS, Cache, Scenario
from vramlib.units import ceil_div, minimum


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Layers of one kind that share block tables: ``count`` groups of ``layers`` layers (the last one padded)."""

    cache: Cache
    layers: int
    count: int
    block_size: int
    page_bytes: int
    state_blocks: int = 1

    def blocks(self, tokens: Any, in_flight: Any) -> Any:
        """Blocks that one request of this length may need in one such group.

        Formula: full: ⌈T / bs⌉;  sliding: ⌈min(W − 1 + in flight, T) / bs⌉ + 1;  chunked: ⌈min(C + in
        flight, T) / bs⌉;  state: 1,
        or 2 with prefix caching, and one more for each drafted token

        Source
        ------
        vLLM 0.19, vllm/v1/kv_cache_interface.py max_memory_usage_bytes of each spec.
        """
        if self.cache.is_state:
            return tokens * 0 + self.state_blocks
        if self.cache.kind == "sliding":
            return ceil_div(minimum(self.cache.window - 1 + in_flight, tokens), self.block_size) + 1
        if self.cache.kind == "chunked":
            return ceil_div(minimum(self.cache.window + in_flight, tokens), self.block_size)
        return ceil_div(tokens, self.block_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A planned pool: block size in tokens, bytes of one block, the groups, and the padding of state pages."""

    block_size: int
    bytes_per_block: int
    groups: tuple[Group, ...]
    state_page_padding: int = 0

    @property
    def num_groups(self) -> int:
        """Groups that draw from the pool."""
        return sum(g.count for g in self.groups)

    def blocks_per_request(self, tokens: Any, in_flight: Any) -> Any:
        """Blocks that one request of this length may need, over all groups."""
        return sum(g.count * g.blocks(tokens, in_flight) for g in self.groups)

    def request_bytes(self, tokens: Any, in_flight: Any) -> Any:
        """Bytes of those blocks [byte]."""
        return self.blocks_per_request(tokens, in_flight) * self.bytes_per_block


@functools.lru_cache(1024)
def plan(
    caches: tuple[tuple[Cache, int], ...],
    pages: tuple[int, ...],
    *,
    block_size: int,
    mla_block_size: int = 64,
    group_padding_ratio: float = 1.5,
    hybrid: bool = True,
    state_blocks: int = 1,
) -> Pool | None:
    """Make pages equal, bucket layers into groups, and give the bytes of one block.

    Formula: bytes per block = layers per group · page;  page = bs · bytes per token

    Parameters
    ----------
    caches : distinct caches with the number of layers that have them [-]
    pages : for each of them, bytes per token (attention) or per state [byte]
    block_size : tokens per block that was asked for [token]
    mla_block_size : what latent attention raises it to [token]
    group_padding_ratio : largest bucket over smallest below which padding is preferred to splitting [-]
    hybrid : false stores sliding and chunked layers as full [-]
    state_blocks : blocks that one request holds in a group of recurrent layers [-]

    Returns
    -------
    The pool's plan, or None where no layer keeps a cache [-]

    Source
    ------
    vLLM 0.19, vllm/v1/core/kv_cache_utils.py get_kv_cache_groups; vllm/model_executor/models/config.py for
    hybrids.
    """
    rows = [(c, n, p) for (c, n), p in zip(caches, pages, strict=True) if p and c.kind != "cross"]
    attention = [(c, n, p) for c, n, p in rows if not c.is_state]
    states = [(c, n, p) for c, n, p in rows if c.is_state]
    if not rows:
        return None
    if any(c.latent_dim for c, _, _ in attention):
        block_size = max(block_size, mla_block_size)
    if not attention:
        groups = tuple(
            Group(cache=c, layers=n, count=1, block_size=block_size, page_bytes=p, state_blocks=state_blocks)
            for c, n, p in states
        )
        page = max(p for _, _, p in states)
        return Pool(block_size=block_size, bytes_per_block=page * sum(n for _, n, _ in states), groups=groups)
    padding = 0
    if states:
        token = max(p for _, _, p in attention)
        align = max(block_size, 128) if any(c.latent_dim for c, _, _ in attention) else block_size
        block_size = align * ceil_div(max(p for _, _, p in states), align * token)
        padding = block_size * token - max(p for _, _, p in states)
    flat = not states and (not hybrid or all(c.kind == "full" for c, _, _ in attention))
    if flat:
        full = max(attention, key=lambda row: row[2])[0]
        total = sum(n * p * block_size for _, n, p in attention)
        layers = sum(n for _, n, _ in attention)
        as_full = full if full.kind == "full" else _as_full(full)
        group = Group(
            cache=as_full, layers=layers, count=1, block_size=block_size, page_bytes=total // layers
        )
        return Pool(block_size=block_size, bytes_per_block=total, groups=(group,))
    return _grouped(attention, states, block_size, group_padding_ratio, padding, state_blocks)


def _as_full(cache: Cache) -> Cache:
    return dataclasses.replace(cache, kind="full", window=0)


def _grouped(
    attention: list[tuple[Cache, int, int]],
    states: list[tuple[Cache, int, int]],
    block_size: int,
    ratio: float,
    padding: int,
    state_blocks: int,
) -> Pool:
    page = max(p * block_size for _, _, p in attention)
    buckets = [*((c, n) for c, n, _ in attention), *((c, n) for c, n, _ in states)]
    smallest, largest = min(n for _, n in buckets), max(n for _, n in buckets)
    size = largest if largest < ratio * smallest else smallest
    tokens = {c: block_size * (page // (p * block_size)) for c, _, p in attention}
    groups = tuple(
        Group(
            cache=c,
            layers=size,
            count=ceil_div(n, size),
            block_size=tokens.get(c, block_size),
            page_bytes=page,
            state_blocks=state_blocks,
        )
        for c, n in buckets
    )
    return Pool(block_size=block_size, bytes_per_block=size * page, groups=groups, state_page_padding=padding)


def of(s: Scenario, stage: int = 0) -> Pool | None:
    """The pool of one pipeline stage of a scenario; without attention one block is one request of any length."""
    caches = kv_cache.stage_caches(s, stage)
    bits, tp = DTYPE_BITS[s.dtype], s.tensor_parallel_size
    pages = tuple(
        kv_cache.state_bytes(s, c)
        if c.is_state
        else kv_cache.row_bytes(c, tp=tp, kv_cache_dtype=s.kv_cache_dtype, dtype_bits=bits)
        for c, _ in caches
    )
    known = s.engine_spec.constants
    found = plan(
        caches,
        pages,
        block_size=s.block_size,
        mla_block_size=known["mla_block_size"]["value"] if "mla_block_size" in known else 1,
        group_padding_ratio=known["group_padding_ratio"]["value"] if "group_padding_ratio" in known else 1.0,
        hybrid=known["hybrid_kv_cache_manager"]["value"] if "hybrid_kv_cache_manager" in known else False,
        state_blocks=(2 if s.enable_prefix_caching else 1) + s.num_speculative_tokens,
    )
    if found and all(g.cache.is_state for g in found.groups):
        return dataclasses.replace(found, block_size=s.max_model_len)
    return found


def in_flight_tokens(s: Scenario) -> Any:
    """Tokens that may be scheduled and not yet settled, which windowed layers must keep room for [token].

    Formula: T up to vLLM 0.25; (pipeline stages + 1) · T from 0.26 with asynchronous scheduling

    Source
    ------
    vLLM 0.26, vllm/config/vllm.py max_in_flight_tokens.
    """
    extra = s.engine_spec.value("in_flight_batches")["v1"]
    batches = s.pipeline_parallel_size + extra if extra else 1
    return batches * s.max_num_batched_tokens
