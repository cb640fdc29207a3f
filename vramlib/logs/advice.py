"""What to change: the engine's own flag, the direction, and what it brings by estimating again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vramlib import budget as budgets
from vramlib.estimate import estimate
from vramlib.logs.measured import Sizes
from vramlib.specs import Budget, Estimate
from vramlib.units import MiB, show

SGLANG_FLAGS = {
    "gpu_memory_utilization": "--mem-fraction-static",
    "max_num_seqs": "--max-running-requests",
    "max_num_batched_tokens": "--chunked-prefill-size",
    "max_model_len": "--context-length",
    "tensor_parallel_size": "--tp-size",
    "enforce_eager": "--disable-cuda-graph",
}
LLAMACPP_FLAGS = {
    "max_model_len": "--ctx-size",
    "n_ubatch": "--ubatch-size",
    "n_gpu_layers": "--gpu-layers",
    "cache_type_k": "--cache-type-k",
    "cache_type_v": "--cache-type-v",
    "flash_attn": "--flash-attn",
    "n_seq_max": "--parallel",
}
SAFE_SHARE = 0.97
WORTH = 16 * MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One change.

    Parameters
    ----------
    knob : the engine's flag, or what else to change [-]
    direction : ``up``, ``down``, ``on``, ``off`` or ``to`` [-]
    words : the change in one sentence [-]
    changes : the scenario fields it sets, where the gain was estimated [-]
    gain_bytes : KV cache or free memory that it brings [byte]; ``None`` where it was not estimated
    gain_tokens : tokens of KV cache that it brings [token]; ``None`` where it was not estimated
    """

    knob: str
    direction: str
    words: str
    changes: Mapping[str, Any] | None = None
    gain_bytes: int | None = None
    gain_tokens: int | None = None


def flag(field: str, engine: str) -> str:
    """A field as the engine spells it on its command line.

    Examples
    --------
    >>> flag("gpu_memory_utilization", "sglang"), flag("max_model_len", "vllm"), flag("n_ubatch", "llama.cpp")
    ('--mem-fraction-static', '--max-model-len', '--ubatch-size')
    """
    own = {"sglang": SGLANG_FLAGS, "llama.cpp": LLAMACPP_FLAGS}.get(engine, {})
    return own.get(field, "--" + field.replace("_", "-"))


def more_kv_cache(e: Estimate, asked: Mapping[str, Any], sizes: Sizes) -> tuple[Advice, ...]:
    """Changes that leave more KV cache, those that bring most tokens first; gains are those of the estimate.

    Parameters
    ----------
    e : estimate of the log's settings [-]
    asked : the fields it was made of [-]
    sizes : what the log printed: its free memory at start bounds the share of the card [-]
    """
    if e.budget is None:
        return ()
    tried = filter(None, (_tried(e, asked, change) for change in _changes(e, sizes)))
    found = [a for a in tried if (a.gain_bytes or 0) >= WORTH or (a.gain_tokens or 0) > 0]
    return tuple(sorted(found, key=lambda a: -(a.gain_tokens or 0)))


def _changes(e: Estimate, sizes: Sizes) -> Iterator[tuple[str, str, dict[str, Any]]]:
    s = e.scenario
    if s.engine == "llama.cpp":
        yield from _llamacpp_changes(e)
        return
    most = largest_share(e, sizes)
    if most > s.gpu_memory_utilization:
        yield (
            "up",
            f"let the engine plan with {most:g} of the card instead of {s.gpu_memory_utilization:g}",
            {"gpu_memory_utilization": most},
        )
    if s.kv_cache_dtype == "auto":
        yield (
            "to",
            "keys and values in 8 bit",
            {"kv_cache_dtype": "fp8" if s.engine == "vllm" else "fp8_e4m3"},
        )
    fewer, step = max(16, s.max_num_seqs // 4), max(1024, s.max_num_batched_tokens // 4)
    if fewer < s.max_num_seqs:
        yield "down", f"at most {fewer} requests at once instead of {s.max_num_seqs}", {"max_num_seqs": fewer}
    if step < s.max_num_batched_tokens:
        yield (
            "down",
            f"steps of {step:,} tokens instead of {s.max_num_batched_tokens:,}",
            {"max_num_batched_tokens": step},
        )
    charged = getattr(sizes.get("cuda_graph_charged_bytes"), "value", None)
    if not s.enforce_eager and charged != 0:
        yield "on", "no CUDA graphs (slower decoding)", {"enforce_eager": True}
    if s.quantization == "none":
        yield "to", "weights in 8 bit", {"quantization": "fp8"}
    degree = 2 * s.tensor_parallel_size
    yield (
        "up",
        f"each layer on {degree} cards instead of {s.tensor_parallel_size}",
        {"tensor_parallel_size": degree},
    )


def _llamacpp_changes(e: Estimate) -> Iterator[tuple[str, str, dict[str, Any]]]:
    s = e.scenario
    if s.cache_type_k == "f16" and s.cache_type_v == "f16":
        words = "keys and values in 8 bit (needs flash attention for the values)"
        yield "to", words, {"cache_type_k": "q8_0", "cache_type_v": "q8_0", "flash_attn": True}
    if not s.flash_attn:
        yield "on", "flash attention, which needs no table of scores", {"flash_attn": True}
    if s.n_ubatch > 128:
        yield (
            "down",
            f"steps of {s.n_ubatch // 2} tokens instead of {s.n_ubatch}",
            {"n_ubatch": s.n_ubatch // 2},
        )
    if s.n_seq_max > 1:
        yield "down", "one sequence at a time", {"n_seq_max": 1}
    layers = s.model.num_hidden_layers if s.n_gpu_layers < 0 else s.n_gpu_layers
    fewer = layers - max(1, layers // 8)
    yield (
        "down",
        f"{fewer} layers on the card instead of {layers}, the others slower",
        {"n_gpu_layers": fewer},
    )


def largest_share(e: Estimate, sizes: Sizes) -> float:
    """The largest share that was free at start, in hundredths, a little below all of it."""
    total = sizes["gpu_total_bytes"].value if "gpu_total_bytes" in sizes else e.gpu.memory_bytes
    free = (
        sizes["free_at_start_bytes"].value
        if "free_at_start_bytes" in sizes
        else budgets.free_at_start_bytes(e.scenario)
    )
    return min(SAFE_SHARE, math.floor(100 * free / total) / 100)


def _tried(e: Estimate, asked: Mapping[str, Any], change: tuple[str, str, dict[str, Any]]) -> Advice | None:
    """The change with its gain; ``None`` where the engine or the model does not take it."""
    direction, words, fields = change
    try:
        changed = estimate(**{**asked, **fields})
    except (ValueError, KeyError):
        return None
    gained, tokens = _gain(e, changed)
    name, value = next(iter(fields.items()))
    knob = flag(name, e.scenario.engine)
    sentence = f"{knob} {_value(value)}".strip() + f": {words}, {_brings(gained, tokens)}"
    return Advice(
        knob=knob,
        direction=direction,
        words=sentence,
        changes=fields,
        gain_bytes=gained,
        gain_tokens=tokens,
    )


def _brings(gained: int, tokens: int | None) -> str:
    more = f"{tokens:,} tokens" if tokens else ""
    if gained < WORTH and more:
        return f"about {more} more in the same bytes"
    return f"about {show(gained)} more" + (f", {more}" if more else "")


def _value(value: Any) -> str:
    return "" if value is True else str(value)


def _gain(e: Estimate, changed: Estimate) -> tuple[int, int | None]:
    """Bytes and tokens gained: of the pool, or for llama.cpp of the card, in cells of the changed kind."""
    old, new = e.budget or Budget(), changed.budget or Budget()
    if e.scenario.engine == "llama.cpp":
        gained = _buffers(old) - _buffers(new)
        cell = (new.kv_buffer_bytes or 0) / max(1, changed.scenario.max_model_len)
        return gained, int(gained / cell) if cell and gained > 0 else None
    tokens = (new.kv_pool_tokens or 0) - (old.kv_pool_tokens or 0)
    return int((new.kv_pool_bytes or 0) - (old.kv_pool_bytes or 0)), int(tokens)


def _buffers(b: Budget) -> int:
    return sum(int(size or 0) for size in (b.model_buffer_bytes, b.kv_buffer_bytes, b.compute_buffer_bytes))
