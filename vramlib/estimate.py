"""The front door: eight parts, the budget, and a verdict in one sentence."""

from __future__ import annotations

import dataclasses
from typing import Any

from vramlib import budget as budgets
from vramlib import resolve
from vramlib.components import (
    activations,
    cuda_context,
    fragmentation,
    framework_buffers,
    kv_cache,
    kv_pool,
    model_weights,
    multi_process,
    prefill_padding,
)
from vramlib.fields import plain_name
from vramlib.specs import Budget, Estimate, Part, Scenario
from vramlib.units import maximum, show

SEVEN = (
    model_weights,
    kv_cache,
    activations,
    cuda_context,
    framework_buffers,
    prefill_padding,
    fragmentation,
)


def estimate(**given: Any) -> Estimate:
    """Where every byte of GPU memory goes for one model, card, engine and workload.

    Formula: total = Σ of the eight parts, per card, of the fullest rank

    Parameters
    ----------
    given : scenario fields by name (``fields.FIELDS``); only ``model`` is needed [-]

    Returns
    -------
    Eight parts, the engine's budget, the verdict and warnings; in a notebook it shows as a table and a bar
    [-]

    Raises
    ------
    ValueError: a value or a combination cannot be used.
    KeyError: a model or card is not in the catalogue; the nearest is named.

    Examples
    --------
    >>> answer = estimate(model="Llama-3.1-8B", gpu="L4", max_model_len=8192)
    >>> answer.fits, [p.key for p in answer.parts][:2]
    (True, ['model_weights', 'kv_cache'])
    """
    s = resolve.scenario(**given)
    length = next((v for k, v in given.items() if plain_name(k) == "max_model_len"), None)
    if isinstance(length, str) and length.strip().lower() == "auto":
        s = largest_that_starts(s)
    return of(s)


def of(s: Scenario) -> Estimate:
    """The estimate of a scenario that is resolved already."""
    stages = [parts(s, stage) for stage in _distinct_stages(s)]
    fullest = max(stages, key=lambda found: sum(p.bytes for p in found)) if len(stages) > 1 else stages[0]
    b = budgets.of(s)
    fits, verdict = judge(s, fullest, b)
    return Estimate(
        scenario=s, parts=fullest, budget=b, fits=fits, verdict=verdict, warnings=(*s.warnings, *_notes(s))
    )


def _distinct_stages(s: Scenario) -> tuple[int, ...]:
    """Pipeline stages that can be the fullest: the first two and the last two differ, the others repeat."""
    pp = s.pipeline_parallel_size
    return tuple(sorted({0, min(1, pp - 1), max(0, pp - 2), pp - 1}))


def parts(s: Scenario, stage: int = 0) -> tuple[Part, ...]:
    """The eight parts of one rank in table order."""
    seven = tuple(module.part(s, stage) for module in SEVEN)
    return (*seven, multi_process.part(s, seven))


def largest_that_starts(s: Scenario) -> Scenario:
    """The scenario with the longest ``max_model_len`` that starts, never beyond the model's own limit."""
    if s.engine not in ("vllm", "sglang"):
        return s
    for _ in range(3):
        b = budgets.of(s)
        longest = b.max_model_len_that_fits if b else s.max_model_len
        if not longest or longest == s.max_model_len:
            break
        s = dataclasses.replace(s, max_model_len=longest)
    return s


def _notes(s: Scenario) -> tuple[str, ...]:
    longest = maximum(*(p + new for _, p, new in s.sequences))
    if s.engine in resolve.PREALLOCATING and not hasattr(longest, "shape") and longest > s.max_model_len:
        return (
            f"the workload's longest sequence ({longest:,} tokens) is beyond max_model_len {s.max_model_len:,}",
        )
    return ()


def judge(s: Scenario, found: tuple[Part, ...], b: Budget | None) -> tuple[bool, str]:
    """Whether it fits, and the sentence that says so or says what failed and by how much.

    Fits: the demand fits the card; a preallocating engine also starts (free memory at start, one request of
    ``max_model_len`` in the pool) and its pool holds the workload.
    """
    total, memory = sum(p.bytes for p in found), s.gpu.memory_bytes
    where = f"{s.model.name} on {_cards(s)} with {s.engine} {s.engine_version}"
    problems = _problems(s, total, b)
    if not problems:
        return True, f"Fits: {where} needs {show(total)} of {show(memory)}{_room(s, b)}."
    return False, f"Does not fit: {where}: {'; '.join(problems)}{_way_out(s, b)}."


def _cards(s: Scenario) -> str:
    return s.gpu.name if s.world_size == 1 else f"{s.world_size} × {s.gpu.name}"


def _problems(s: Scenario, total: int, b: Budget | None) -> list[str]:
    memory = s.gpu.memory_bytes
    found = []
    if total > memory:
        found.append(
            f"the workload needs {show(total)}, {show(total - memory)} more than the card's {show(memory)}"
        )
    if b is None or b.kv_pool_bytes is None:
        return found
    others = (s.num_processes - 1) * (b.requested_bytes + memory - budgets.free_at_start_bytes(s))
    free = budgets.free_at_start_bytes(s) - others
    if free < b.requested_bytes:
        short = show(b.requested_bytes - free)
        found.append(f"the engine asks for {show(b.requested_bytes)} at start and {short} of it is not free")
    need, pool = b.kv_bytes_at_max_model_len, b.kv_pool_bytes
    if need is not None and need + budgets.null_block_bytes(s, b) > pool:
        short = show(need + budgets.null_block_bytes(s, b) - pool)
        found.append(
            f"one request of max_model_len {s.max_model_len:,} needs {show(need)} of KV cache,"
            f" {short} more than the pool has"
        )
    elif (held := workload_pool_bytes(s)) > pool:
        found.append(f"the workload holds {show(held)} of KV blocks and the pool has {show(pool)}")
    return found


def workload_pool_bytes(s: Scenario) -> Any:
    """Bytes of KV blocks that the workload holds on the rank that holds the most [byte]."""
    if kv_pool.of(s) is None:
        return 0
    return maximum(*(prefill_padding.pool_bytes_held(s, stage) for stage in _distinct_stages(s)), 0)


def _room(s: Scenario, b: Budget | None) -> str:
    if b is None or b.kv_pool_tokens is None or b.max_concurrency is None or b.kv_pool_bytes is None:
        return ""
    return (
        f"; its KV pool of {show(b.kv_pool_bytes)} holds {b.kv_pool_tokens:,} tokens,"
        f" {b.max_concurrency:.2f} requests of {s.max_model_len:,}"
    )


def _way_out(s: Scenario, b: Budget | None) -> str:
    if b is None or b.max_model_len_that_fits is None or b.kv_pool_bytes is None:
        return ""
    if b.max_model_len_that_fits <= 0:
        return "; no max_model_len starts"
    if b.max_model_len_that_fits < s.max_model_len:
        return f"; the largest max_model_len that starts is {b.max_model_len_that_fits:,}"
    return ""
