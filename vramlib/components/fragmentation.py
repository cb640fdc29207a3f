"""Memory fragmentation: rounding by the caching allocator, and gaps in segments that are partly used.

Three things that are often mixed up: *rounding* (allocated − requested) is here and real; *cached*
(reserved − allocated)
goes back to the driver when memory runs short; *stranded* gaps in partly used segments do not.
"""

from __future__ import annotations

from typing import Any

from vramlib import allocator
from vramlib.components import kv_cache, model_weights
from vramlib.specs import DTYPE_BITS, Part, Scenario, Term
from vramlib.units import MiB, ceil_div, maximum, minimum, round_up, scale, show

ALLOCATOR = "PyTorch, c10/cuda/CUDACachingAllocator.cpp: round_size, get_allocation_size, should_split"


def allocated_bytes(size: int, *, max_split_bytes: int = 0) -> int:
    """What the caching allocator hands out for one request.

    Formula: round_up(n, 512); from 10 MiB up a tail of at most 1 MiB to the next 2 MiB stays with the block

    Parameters
    ----------
    size : requested bytes [byte]
    max_split_bytes : blocks at least this big are never split (0: no limit) [byte]

    Returns
    -------
    Bytes that count as allocated [byte]

    Examples
    --------
    >>> [allocated_bytes(n) >> 20 for n in (10 << 20, 11 << 20, 25 << 20)]
    [10, 12, 26]
    >>> allocated_bytes(100), allocated_bytes(600), allocated_bytes(11_010_048)
    (512, 1024, 11010048)

    Source
    ------
    PyTorch, c10/cuda/CUDACachingAllocator.cpp: kMinBlockSize, kSmallSize, kMinLargeAlloc, kRoundLarge,
    should_split.
    """
    block = max(512, round_up(size, 512)) if size else 0
    if block < 10 * MiB:
        return block
    segment = round_up(block, 2 * MiB)
    never_split = max_split_bytes and block >= max_split_bytes
    return segment if never_split or segment - block <= MiB else block


def weight_rounding_bytes(s: Scenario, stage: int = 0) -> int:
    """What rounding adds to the weights of one rank.

    Formula: allocated − requested after the loading trace went through the allocator's own rules

    Examples
    --------
    >>> import vramlib
    >>> weight_rounding_bytes(vramlib.estimate(model="Qwen2.5-7B", gpu="H100-80GB").scenario) >> 20
    57

    Source
    ------
    Checked against "Model loading took" of 21 vLLM logs: tensors + rope tables + rounding to 0.005 GiB.
    """
    if s.engine == "llama.cpp":
        return 0
    limit = s.engine_spec.value("allocator_max_split_bytes")
    if s.engine in ("vllm", "sglang") and s.pipeline_parallel_size == 1:
        return allocator.rounding_bytes(s.model, limit, **model_weights.rank(s, stage))
    return closed_form_bytes(s, limit, stage)


def closed_form_bytes(s: Scenario, max_split_bytes: int = 0, stage: int = 0) -> int:
    """Rounding tensor by tensor, without the tails that tensors of 1 to 10 MiB leave inside shared segments.

    Formula: Σ_tensors (allocated_bytes − requested)

    Examples
    --------
    >>> import vramlib
    >>> closed_form_bytes(vramlib.estimate(model="Qwen2.5-7B", gpu="H100-80GB").scenario) >> 20
    57

    Source
    ------
    Equal to the simulation wherever matrices are above 10 MiB; up to 40 MiB low elsewhere in the catalogue.
    """
    sizes = list(model_weights.stored_sizes(s.model, **model_weights.rank(s, stage)))
    if s.engine in ("vllm", "sglang"):
        bits = DTYPE_BITS[s.dtype]
        sizes += [(rows * dim * bits // 8, 1) for rows, dim in s.model.rope_tables]
    return sum(n * (allocated_bytes(size, max_split_bytes=max_split_bytes) - size) for size, n in sizes)


def dynamic_cache_leftover_bytes(s: Scenario) -> Any:
    """Generations of outgrown blocks that transformers' DynamicCache leaves in the allocator's cache.

    Every new token asks for a slightly larger tensor in each layer; each time it outgrows its 2 MiB step,
    one whole
    generation of old segments stays behind. They are whole segments: an allocation that would fail gets
    them back.

    Formula: 2 · L · Σ over outgrown steps of the segment size,  steps of 2 MiB from the prompt's size to
    the last

    Source
    ------
    Simulation of the allocator rules: 8 sequences of 1024 + 512 tokens keep 6.33 GiB reserved for 1.5 GiB
    live.
    """
    total = 0
    for cache, layers in kv_cache.stage_caches(s):
        if cache.is_state or cache.window or cache.latent_dim:
            continue
        row = cache.num_key_value_heads * cache.head_dim * s.dtype_bytes
        for n, prompt, new in s.sequences:
            first, last = ceil_div(n * prompt * row, 2 * MiB), ceil_div(n * (prompt + new) * row, 2 * MiB)
            steps = maximum(last - first, 0)
            total = total + 2 * layers * 2 * MiB * _wide(steps * (first + last - 1) // 2)
    return total


def _wide(count: Any) -> Any:
    """Counts whose multiples may pass 64 bit: arrays as floats, exact here, since segments are whole 2 MiB."""
    return count.astype("float64") if hasattr(count, "shape") else count


def terms(s: Scenario, stage: int = 0) -> tuple[Term, ...]:
    """Rounding of the weights, and gaps at run time."""
    if s.engine == "llama.cpp":
        return (
            Term(
                name="none",
                bytes=0,
                formula="0",
                worked="one buffer per purpose, allocated once",
                source="ggml",
            ),
        )
    rounding = weight_rounding_bytes(s, stage)
    kinds = len(model_weights.stored_sizes(s.model, **model_weights.rank(s, stage)))
    found = [
        Term(
            name="rounding of the weights",
            bytes=rounding,
            formula="Σ (allocated − requested)",
            worked=f"{show(rounding)} over tensors of {kinds} sizes",
            source=ALLOCATOR,
        )
    ]
    return (*found, _gaps_term(s, stage))


def _gaps_term(s: Scenario, stage: int) -> Term:
    weights = model_weights.size_bytes(s, stage)
    if s.engine == "transformers":
        leftover = dynamic_cache_leftover_bytes(s)
        live = kv_cache.size_bytes(s, stage)
        return Term(
            name="gaps left by a growing cache",
            bytes=scale(live, 0.02),
            formula="0.02 · KV cache, up to the leftover generations while memory is free",
            worked=f"0.02 · {show(live)}; reclaimable leftover {show(leftover)}"
            if isinstance(live, int)
            else "",
            source="simulation of the allocator rules on DynamicCache; whole leftover segments are freed when needed",
            basis="modelled",
            low=0,
            high=maximum(scale(minimum(leftover, s.gpu.memory_bytes), 1), scale(live, 0.2)),
        )
    share = 0.002
    return Term(
        name="gaps at run time",
        bytes=scale(weights, share),
        formula="0.002 · weights",
        worked=f"0.002 · {show(weights)}",
        source="start-up and out-of-memory logs: 9-344 MiB reserved but not allocated in inference, mostly",
        basis="modelled",
        low=0,
        high=scale(weights, 0.02),
    )


def size_bytes(s: Scenario, stage: int = 0) -> Any:
    """Bytes of this part on one rank [byte]."""
    return sum(t.bytes for t in terms(s, stage))


def part(s: Scenario, stage: int = 0) -> Part:
    """The part with its formulas, numbers and sources."""
    return Part.of("fragmentation", *terms(s, stage))
