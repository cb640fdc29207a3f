"""vLLM's refusals to start: what is missing, and which way to turn which knob."""

from __future__ import annotations

import math

from vramlib.logs.advice import Advice
from vramlib.logs.case import Answer, Case, other
from vramlib.units import GiB, show

OTHERS = "other processes"
ONE_BY_ONE = other(
    OTHERS,
    "off",
    "start servers that share a card one after another: what one takes meanwhile is charged to the other",
)
STOP = other(
    OTHERS, "off", "stop what else holds memory on this card (see nvidia-smi), servers that died too"
)
UNCHARGED = "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=0"
MUCH_FOR_GRAPHS = 4 * GiB


def free_below(c: Case) -> Answer:
    """Less is free at start than the engine plans with."""
    free, total, wanted = (
        c.size(n) or 0 for n in ("free_at_start_bytes", "gpu_total_bytes", "requested_bytes")
    )
    words = (
        f"the engine plans with {show(wanted)} and only {show(free)} of the card are free at start:"
        f" {show(total - free)} are in use by this process's own context and by others"
    )
    share = math.floor(100 * free / total) / 100 if total else 0.0
    advice = (*c.turns("less share", gpu_memory_utilization=f"{share:.2f} or less"), STOP)
    return Answer(part="multi_process", words=words, missing=wanted - free, advice=advice)


def no_kv(c: Case) -> Answer:
    """Nothing is left for KV cache."""
    pool = c.size("kv_pool_bytes")
    missing = -pool if pool is not None and pool < 0 else None
    said = f"; the pool came out as {show(pool)}" if pool is not None else ""
    words = f"weights, the profile run's peak and the rest leave nothing for KV cache{said}"
    turns = c.turns(
        "more share",
        "smaller steps",
        "fewer requests",
        "more cards",
        gpu_memory_utilization=enough_share(c, missing),
    )
    return Answer(part="kv_cache", words=words, missing=missing, advice=(*_graphs(c), *turns, ONE_BY_ONE))


def _graphs(c: Case) -> tuple[Advice, ...]:
    """A large expectation for CUDA graphs, where the version takes it from the pool."""
    expected = c.size("cuda_graph_estimated_bytes") or 0
    if expected < MUCH_FOR_GRAPHS:
        return ()
    words = f"set {UNCHARGED}: {show(expected)} are expected for CUDA graphs, which are often far less"
    return (other(UNCHARGED, "to", words), *c.turns("no graphs"))


def enough_share(c: Case, missing: int | None) -> str:
    """The share of the card that would have been enough, where it can be told and is less than all of it."""
    total, share = c.size("gpu_total_bytes"), c.size("gpu_memory_utilization")
    if not (total and share and missing and missing > 0):
        return ""
    enough = math.ceil(1000 * (float(share) + missing / total)) / 1000
    return f"{enough:.3f} or more" if enough < 1 else ""


def one_request(c: Case) -> Answer:
    """One request of the longest length does not fit the pool."""
    length, need, pool = (
        c.values.get(n) for n in ("max_model_len", "kv_bytes_at_max_model_len", "kv_pool_bytes")
    )
    tokens, longest = c.size("kv_pool_tokens"), c.values.get("max_model_len_that_fits")
    if need is None:
        missing, longest = _missing_of_tokens(c, length, tokens), longest or tokens
        words = f"one request of {length or 0:,} tokens is more than the {tokens or 0:,} tokens of the pool"
    else:
        missing = need - (pool or 0)
        have = show(pool or 0)
        words = (
            f"one request of {length or 0:,} tokens needs {show(need)} of KV cache and the pool has {have}"
        )
    aims = {"max_model_len": f"{longest:,} or less" if longest else "", "kv_cache_dtype": "fp8"}
    aims["gpu_memory_utilization"] = enough_share(c, missing)
    turns = c.turns("shorter", "more share", "narrow keys", "smaller steps", "more cards", **aims)
    return Answer(part="kv_cache", words=words, missing=missing, advice=(*turns, *_graphs(c)))


def _missing_of_tokens(c: Case, length: int | None, tokens: int | None) -> int | None:
    """Bytes of the tokens that do not fit, by the pool's own bytes a token."""
    pool = getattr(c.sizes.get("kv_pool_bytes"), "value", None)
    if not (pool and pool > 0 and tokens and length):
        return None
    return round((length - tokens) * pool / tokens)


def sampler(c: Case) -> Answer:
    """The warm-up of the sampler found no room."""
    words = f"the sampler's warm-up for {c.values.get('dummy_requests')} requests found no room beside the KV cache"
    return Answer(part="activations", words=words, advice=c.turns("fewer requests", "less share"))


def disturbed(c: Case) -> Answer:
    """Another process changed the card's free memory during the profile run."""
    words = (
        "another process gave memory back during the profile run, so the engine's subtraction does not hold"
    )
    return Answer(part="multi_process", words=words, advice=(ONE_BY_ONE,))
