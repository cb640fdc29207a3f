"""Notebook 10: ten optimizations, each as bytes before and after on one and the same workload."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vramlib import estimate
from vramlib.components import fragmentation, kv_cache, prefill_padding
from vramlib.specs import Budget, Estimate, Scenario

# Eight chats that begin with the same instruction of 512 tokens, served with a limit of 8,192 tokens.
LIMIT, PREFIX = 8192, 512
PROMPTS = (600, 800, 1100, 1500) * 2
WORKLOAD: Mapping[str, Any] = {
    "max_model_len": LIMIT,
    "max_num_batched_tokens": 2048,
    "max_num_seqs": 256,
    "prompt_tokens": PROMPTS,
    "new_tokens": 256,
}
EMPTY = "empty"  # key of the part of a pool that is reserved and holds nothing: no part has it
Sizes = dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The card before or after: its parts, and what the pool holds.

    Parameters
    ----------
    sizes : part to size, and ``empty`` for a pool's room that is reserved [byte]
    tokens : that the KV pool holds [token]
    """

    sizes: Sizes
    tokens: int

    @property
    def total(self) -> int:
        """Everything on one card [byte]."""
        return sum(self.sizes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One optimization.

    Parameters
    ----------
    key : of its name and its cost in the messages [-]
    part : the part it is about [-]
    before, after : fields that differ from the workload's [-]
    undo : the sizes without it where no field of an engine turns it off [-]
    apply : the sizes with it where no field of an engine turns it on [-]
    """

    key: str
    part: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    undo: Callable[[Estimate], Sizes] | None = None
    apply: Callable[[Estimate], Sizes] | None = None

    def sides(self, model: str, gpu: str) -> tuple[Side, Side]:
        """Before and after, on one card.

        Raises
        ------
        ValueError : the model or the card does not take it
        """
        one, other = served(model, gpu, **self.before), served(model, gpu, **self.after)
        return _side(one, self.undo), _side(other, self.apply)


def served(model: str, gpu: str, **changes: Any) -> Estimate:
    """The workload with some fields changed."""
    return estimate(**{**WORKLOAD, "model": model, "gpu": gpu, **changes})


def _side(e: Estimate, changed: Callable[[Estimate], Sizes] | None) -> Side:
    sizes = {p.key: int(p.bytes) for p in e.parts}
    budget = e.budget or Budget()
    return Side(sizes=sizes | (changed(e) if changed else {}), tokens=int(budget.kv_pool_tokens or 0))


def unused_bytes(s: Scenario) -> tuple[int, int]:
    """Cache that is reserved for tokens that are not there: one reservation a sequence, and blocks.

    Formula: Σ (ml − T_i) · bytes per token;  Σ (round_up(T_i, bs) − T_i) · bytes per token

    Parameters
    ----------
    s : the workload; windows and states hold what they can see [-]

    Returns
    -------
    Contiguous, paged [byte]
    """
    whole = dataclasses.replace(
        s, prompt_tokens=s.max_model_len, new_tokens=0, batch_size=int(s.num_sequences)
    )
    held = kv_cache.size_bytes(s)
    return kv_cache.size_bytes(whole) - held, prefill_padding.pool_bytes_held(s) - held


def shared_prefix_bytes(s: Scenario, prefix: int = PREFIX) -> int:
    """Cache that is stored once instead of once a sequence when all begin alike: whole blocks of full attention.

    Formula: (B − 1) · ⌊prefix / bs⌋ · bs · bytes per token

    Parameters
    ----------
    s : the workload [-]
    prefix : tokens that all prompts begin with [token]

    Returns
    -------
    What is not stored again; 0 where the engine keeps no finished blocks [byte]

    Examples
    --------
    >>> shared_prefix_bytes(served("Llama-3.1-8B", "L4").scenario) >> 20
    448

    Source
    ------
    vLLM 0.33, vllm/v1/core/kv_cache_manager.py get_computed_blocks: full blocks only. Layers with a window or a
    state are left out: what they share depends on the order of the requests.
    """
    if not s.enable_prefix_caching:
        return 0
    rows = sum(
        n * kv_cache.row_bytes(c, tp=s.tensor_parallel_size, kv_cache_dtype=s.kv_cache_dtype)
        for c, n in kv_cache.stage_caches(s)
        if c.kind == "full"
    )
    return int((s.num_sequences - 1) * (prefix // s.block_size) * s.block_size * rows)


def _contiguous(e: Estimate) -> Sizes:
    reserved, tails = unused_bytes(e.scenario)
    return {"prefill_padding": int(e.part("prefill_padding").bytes) - tails + reserved}


def _padded(e: Estimate) -> Sizes:
    plain = served(e.scenario.model.name, e.gpu.name, engine="transformers")
    tails = unused_bytes(e.scenario)[1]
    padding = int(plain.part("prefill_padding").bytes)
    return {"prefill_padding": int(e.part("prefill_padding").bytes) - tails + padding}


def _growing(e: Estimate) -> Sizes:
    plain = served(e.scenario.model.name, e.gpu.name, engine="transformers").scenario
    return {EMPTY: int(fragmentation.dynamic_cache_leftover_bytes(plain))}


def _reserved(e: Estimate) -> Sizes:
    budget = e.budget or Budget()
    held = prefill_padding.pool_bytes_held(e.scenario)
    return {EMPTY: max(0, int(budget.kv_pool_bytes or 0) - held)}


def _shared(e: Estimate) -> Sizes:
    return {"kv_cache": int(e.part("kv_cache").bytes) - shared_prefix_bytes(e.scenario)}


CHANGES: tuple[Change, ...] = (
    Change(key="paged", part="prefill_padding", undo=_contiguous),
    Change(key="pool", part=EMPTY, undo=_growing, apply=_reserved),
    Change(key="batching", part="prefill_padding", undo=_padded),
    Change(key="graphs", part="framework_buffers", before={"enforce_eager": True}),
    Change(key="cache8", part="kv_cache", after={"kv_cache_dtype": "fp8"}),
    Change(key="prefix", part="kv_cache", apply=_shared),
    Change(key="chunks", part="activations", before={"max_num_batched_tokens": LIMIT}),
    Change(key="seqs", part="framework_buffers", after={"max_num_seqs": 32}),
    Change(key="ranks", part="model_weights", after={"tensor_parallel_size": 2}),
    Change(key="weights4", part="model_weights", after={"quantization": "awq"}),
)
SEED = CHANGES[:4]
