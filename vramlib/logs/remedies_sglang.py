"""SGLang's failures: its share of the card goes up at start and down at run time."""

from __future__ import annotations

import math

from vramlib.logs.case import Answer, Case, other


def static(c: Case) -> Answer:
    """Weights take all of the static share."""
    start, loaded, share = (
        c.size(n) for n in ("free_at_start_bytes", "free_after_load_bytes", "gpu_memory_utilization")
    )
    missing = max(0, round(start * (1 - float(share)) - loaded)) if start and loaded and share else None
    aim = f"above {math.ceil(1000 * (1 - loaded / start)) / 1000:.3f}" if start and loaded else ""
    if "smallest_fraction" in c.values:
        aim = f"above {c.values['smallest_fraction']}"
    words = "the static share holds weights and KV cache together, and the weights take all of it"
    turns = c.turns("more share", "more cards", "narrow weights", gpu_memory_utilization=aim)
    why = "only an out-of-memory after the start, while serving, wants the share down"
    return Answer(part="kv_cache", words=f"{words}; {why}", missing=missing, advice=turns)


def graphs(c: Case) -> Answer:
    """The capture of CUDA graphs failed."""
    words = "the capture of CUDA graphs failed; where memory is the cause, the pool left too little"
    fewer = other("--cuda-graph-max-bs", "down", "lower --cuda-graph-max-bs: fewer and smaller graphs")
    return Answer(
        part="framework_buffers", words=words, advice=(*c.turns("less share"), fewer, *c.turns("no graphs"))
    )


def pool_full(c: Case) -> Answer:
    """Requests grew beyond the pool."""
    words = "the running requests grew beyond the pool"
    return Answer(part="kv_cache", words=words, advice=c.turns("sharing requests", "more share"))
