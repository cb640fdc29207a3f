"""The front door: eight parts, the budget, and a verdict in one sentence."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

from vramlib import budget as budgets
from vramlib import kinds, resolve
from vramlib.answers import chosen
from vramlib.components import (
    activations,
    cuda_context,
    fragmentation,
    framework_buffers,
    kv_cache,
    kv_cells,
    kv_pool,
    model_weights,
    multi_process,
    prefill_padding,
)
from vramlib.fields import plain_name
from vramlib.specs import Budget, Estimate, Part, Scenario
from vramlib.units import choose, maximum, minimum, show

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
    fullest = functools.reduce(_fuller, (parts(s, stage) for stage in _distinct_stages(s)))
    b = budgets.of(s)
    fits, verdict = judge(s, fullest, b)
    return Estimate(
        scenario=s, parts=fullest, budget=b, fits=fits, verdict=verdict, warnings=(*s.warnings, *_notes(s))
    )


def _fuller(a: tuple[Part, ...], b: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts of the rank that holds more, the first of two equal ones."""
    more = sum(p.bytes for p in b) > sum(p.bytes for p in a)
    return tuple(chosen(more, other, one) for one, other in zip(a, b, strict=True))


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
    if s.engine == "llama.cpp":
        longest = _longest_buffers(s)
        return dataclasses.replace(s, max_model_len=choose(longest > 0, longest, s.max_model_len))
    if s.engine not in ("vllm", "sglang"):
        return s
    for _ in range(3):
        b = budgets.of(s)
        if b is None or b.max_model_len_that_fits is None:
            break
        longest = choose(b.max_model_len_that_fits > 0, b.max_model_len_that_fits, s.max_model_len)
        if _all(longest == s.max_model_len):
            break
        s = dataclasses.replace(s, max_model_len=longest)
    return s


def _longest_buffers(s: Scenario) -> Any:
    """Largest n_ctx whose buffers, allocated at start, fit the card; 0 where none does: binary search [token]."""
    low, high = 0, s.max_model_len
    while not _all(low == high):
        middle = (low + high + 1) // 2
        total = sum(p.bytes for p in parts(dataclasses.replace(s, max_model_len=middle)))
        fits = (total <= s.gpu.memory_bytes) | (middle == low)
        low, high = choose(fits, middle, low), choose(fits, high, middle - 1)
    return low


def _all(condition: Any) -> bool:
    return bool(condition.all()) if hasattr(condition, "shape") else bool(condition)


def _notes(s: Scenario) -> tuple[str, ...]:
    doubt = kinds.warning(s)
    own = (doubt,) if doubt else ()
    longest = maximum(*(p + new for _, p, new in s.sequences))
    beyond = s.engine in resolve.PREALLOCATING and longest > s.max_model_len
    if not hasattr(beyond, "shape") and beyond:
        return (
            f"the workload's longest sequence ({longest:,} tokens) is beyond max_model_len {s.max_model_len:,}",
            *own,
        )
    return own


def judge(s: Scenario, found: tuple[Part, ...], b: Budget | None) -> tuple[bool, str]:
    """Whether it fits, and the sentence that says so or says what failed and by how much.

    Fits: the demand fits the card; a preallocating engine also starts (free memory at start, one request of
    ``max_model_len`` in the pool) and its pool holds the workload.
    """
    total, memory = sum(p.bytes for p in found), s.gpu.memory_bytes
    missing = shortfalls(s, total, b)
    fits = functools.reduce(operator.and_, (amount <= 0 for amount in missing.values()))
    where = f"{s.model.name} on {_cards(s)} with {s.engine} {s.engine_version}"
    if hasattr(fits, "shape"):
        return fits, f"{where}: many scenarios"
    if fits:
        return True, f"Fits: {where} needs {show(total)} of {show(memory)}{_room(s, b)}."
    return (
        False,
        f"Does not fit: {where}: {'; '.join(_problems(s, total, b, missing))}{_way_out(b, missing)}.",
    )


def _cards(s: Scenario) -> str:
    return s.gpu.name if s.world_size == 1 else f"{s.world_size} × {s.gpu.name}"


def shortfalls(s: Scenario, total: Any, b: Budget | None) -> dict[str, Any]:
    """What is missing under each condition of the verdict, by name; nothing is missing where it is 0 or less.

    Formula: card: total − memory;  start: requested − free, at most requested;  request: KV of max_model_len − pool;
    workload: KV blocks held − pool;  cells (llama.cpp): tokens held − cells

    Parameters
    ----------
    s : a scenario [-]
    total : its demand [byte]
    b : its budget [-]

    Returns
    -------
    Name of the condition to what is missing [byte], cells [token]

    Examples
    --------
    >>> answer = estimate(model="Llama-3.1-8B", gpu="L4", max_model_len=8192)
    >>> {k: v <= 0 for k, v in shortfalls(answer.scenario, answer.total_bytes, answer.budget).items()}
    {'card': True, 'start': True, 'request': True, 'workload': True}
    """
    memory = s.gpu.memory_bytes
    found = {"card": total - memory}
    if s.engine == "llama.cpp":
        found["cells"] = sum(n * (p + new) for n, p, new in s.sequences) - _cells(s)
    if b is None or b.kv_pool_bytes is None:
        return found
    start = budgets.free_at_start_bytes(s)
    others = (s.num_processes - 1) * (b.requested_bytes + memory - start)
    found["start"] = minimum(b.requested_bytes - (start - others), b.requested_bytes)
    if b.kv_bytes_at_max_model_len is not None:
        found["request"] = b.kv_bytes_at_max_model_len + budgets.null_block_bytes(s, b) - b.kv_pool_bytes
    found["workload"] = workload_pool_bytes(s) - b.kv_pool_bytes
    return found


def _cells(s: Scenario) -> Any:
    """Tokens that llama.cpp's cache holds, all slots together [token]."""
    return s.n_seq_max * kv_cells.context_cells(s.max_model_len, n_seq_max=s.n_seq_max)


def _problems(s: Scenario, total: int, b: Budget | None, missing: Mapping[str, int]) -> list[str]:
    """Each condition that fails, in words; a pool that is too small for one request says so once."""
    words: dict[str, Callable[[Budget], str]] = {
        "card": lambda _: (
            f"the workload needs {show(total)}, {short} more than the card's {show(s.gpu.memory_bytes)}"
        ),
        "cells": lambda _: (
            f"the workload holds {_cells(s) + amount:,} tokens and the cache has {_cells(s):,} cells"
        ),
        "start": lambda b: (
            f"the engine asks for {show(b.requested_bytes)} at start and {short} of it is not free"
        ),
        "request": lambda b: (
            f"one request of max_model_len {s.max_model_len:,} needs {show(b.kv_bytes_at_max_model_len)}"
            f" of KV cache, {short} more than the pool has"
        ),
        "workload": lambda b: (
            f"the workload holds {show(b.kv_pool_bytes + amount)} of KV blocks and the pool has {show(b.kv_pool_bytes)}"
        ),
    }
    found = []
    for name, amount in missing.items():
        if amount > 0 and not (name == "workload" and missing.get("request", 0) > 0):
            short = show(amount)
            found.append(words[name](b or Budget()))
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


def _way_out(b: Budget | None, missing: Mapping[str, int]) -> str:
    """A shorter ``max_model_len``, where its request is all that keeps the engine from starting."""
    if b is None or missing.get("request", 0) <= 0 or missing["start"] > 0:
        return ""
    if not b.max_model_len_that_fits or b.max_model_len_that_fits <= 0:
        return "; no max_model_len starts"
    return f"; the largest max_model_len that starts is {b.max_model_len_that_fits:,}"
