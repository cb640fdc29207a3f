"""What each engine and version takes for batch sizes and caching where the launch does not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib.components import sglang_pool
from vramlib.specs import EngineSpec, GpuSpec, ModelSpec
from vramlib.units import choose, maximum, minimum


def sizes(own: Mapping[str, Any], gpu: GpuSpec, engine: EngineSpec, model: ModelSpec) -> dict[str, Any]:
    """max_num_seqs, max_num_batched_tokens, block_size, utilization and llama.cpp's own, where they were not given.

    Parameters
    ----------
    own : fields that were given or are resolved already [-]
    gpu, engine, model : of the scenario [-]

    Returns
    -------
    Fields of a scenario; those that were given keep their value [-]
    """
    if engine.name == "vllm":
        return _vllm(own, gpu, engine, bool(model.towers))
    if engine.name == "sglang":
        return _sglang(own, gpu, engine, model)
    if engine.name == "llama.cpp":
        return _llamacpp(own, engine)
    tokens = maximum(own["max_model_len"], 1)
    return {
        "max_num_seqs": own.get("max_num_seqs", own["batch_size"]),
        "max_num_batched_tokens": own.get("max_num_batched_tokens", tokens * own["batch_size"]),
        "block_size": own.get("block_size", 1),
        "gpu_memory_utilization": own.get("gpu_memory_utilization", 1.0),
    }


def _by_tier(values: Mapping[str, int], gpu: GpuSpec, engine: EngineSpec) -> Any:
    """One of an engine's batch defaults: for a card with small, large or huge memory."""
    name = gpu.name.lower()
    held_back = any(word in name for word in engine.value("large_batch_excludes"))
    huge = gpu.memory_bytes >= engine.value("huge_batch_memory_bytes")
    large = (gpu.memory_bytes >= engine.value("large_batch_memory_bytes")) & (not held_back)
    return choose(huge, values["huge"], choose(large, values["large"], values["small"]))


def _vllm(own: Mapping[str, Any], gpu: GpuSpec, engine: EngineSpec, multimodal: bool) -> dict[str, Any]:
    seqs = own.get("max_num_seqs", _by_tier(engine.value("max_num_seqs"), gpu, engine))
    tokens = own.get("max_num_batched_tokens")
    if tokens is None:
        tokens = _by_tier(engine.value("max_num_batched_tokens"), gpu, engine)
        if not engine.value("chunked_prefill"):
            tokens = _unchunked(own["max_model_len"], tokens, engine, multimodal)
        tokens = minimum(tokens, seqs * own["max_model_len"])
    if "max_num_seqs" not in own:
        seqs = minimum(seqs, tokens)
    return {
        "max_num_seqs": seqs,
        "max_num_batched_tokens": tokens,
        "block_size": own.get("block_size", engine.value("block_size")),
        "gpu_memory_utilization": own.get("gpu_memory_utilization", engine.value("gpu_memory_utilization")),
    }


def _unchunked(longest: Any, tokens: Any, engine: EngineSpec, multimodal: bool) -> Any:
    """Tokens of a step in the V0 engine: a whole request, or above 32K tokens the chunks that it then turns on."""
    least = engine.value("multimodal_least_tokens") if multimodal else 0
    whole = maximum(tokens, longest, least)
    return whole if multimodal else choose(longest <= 32_768, whole, engine.value("chunked_default_tokens"))


def _sglang(own: Mapping[str, Any], gpu: GpuSpec, engine: EngineSpec, model: ModelSpec) -> dict[str, Any]:
    tp, pp = own.get("tensor_parallel_size", 1), own.get("pipeline_parallel_size", 1)
    chunk = own.get("max_num_batched_tokens", sglang_pool.chunked_prefill_size(gpu.memory_bytes, tp))
    u = own.get("gpu_memory_utilization")
    if u is None:
        u = sglang_pool.mem_fraction_static(
            gpu.memory_bytes, chunk, tp=tp, pp=pp, mla=bool(model.kv_lora_rank)
        )
    return {
        "max_num_seqs": own.get("max_num_seqs", sglang_pool.DEFAULT_MAX_RUNNING_REQUESTS),
        "max_num_batched_tokens": chunk,
        "block_size": own.get("block_size", engine.value("block_size")),
        "gpu_memory_utilization": u,
    }


def _llamacpp(own: Mapping[str, Any], engine: EngineSpec) -> dict[str, Any]:
    both = own.get("kv_cache_dtype", "auto")
    cache = engine.value("cache_type") if both == "auto" else both
    slots = own.get("n_seq_max", maximum(engine.value("n_seq_max"), own["batch_size"]))
    return {
        "cache_type_k": own.get("cache_type_k", cache),
        "cache_type_v": own.get("cache_type_v", cache),
        "n_ubatch": own.get("n_ubatch", engine.value("n_ubatch")),
        "n_seq_max": slots,
        "max_num_seqs": own.get("max_num_seqs", slots),
        "max_num_batched_tokens": own.get("max_num_batched_tokens", engine.value("max_num_batched_tokens")),
        "block_size": own.get("block_size", 1),
        "gpu_memory_utilization": own.get("gpu_memory_utilization", 1.0),
    }


def prefix_caching(model: ModelSpec, engine: EngineSpec) -> bool:
    """Whether this version keeps finished blocks by default: always, but for models with recurrent layers.

    Parameters
    ----------
    model, engine : of the scenario [-]

    Returns
    -------
    The default of ``enable_prefix_caching`` [-]
    """
    recurrent = any(c.is_state for layer, _ in model.layer_counts for c in layer.caches)
    rows = engine.constants.get("recurrent_prefix_caching")
    return bool(rows["value"]) if rows and recurrent else engine.name in ("vllm", "sglang")
