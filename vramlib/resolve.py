"""From the words a user typed to a ``Scenario`` with every field resolved: defaults by engine, version and card.

A value that was given is never changed in silence; a fall-back for a missing fact is named in ``warnings``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from vramlib import catalog, drafters, engines, fields, readers
from vramlib.components import kv_pool
from vramlib.readers.format_names import quantization_named
from vramlib.specs import EngineSpec, GpuSpec, ModelSpec, Scenario
from vramlib.units import GiB, choose, maximum, minimum, show

DEFAULT_GPU = "H100-80GB"
NO_LIMIT_LENGTH = 2048
PREALLOCATING = ("vllm", "sglang", "llama.cpp")


def scenario(**given: Any) -> Scenario:
    """Resolve a scenario from field values, typed or as text.

    Parameters
    ----------
    given : fields of ``fields.FIELDS``; ``model`` may also be a ``ModelSpec`` and ``gpu`` a ``GpuSpec`` [-]

    Returns
    -------
    Every field resolved [-]

    Raises
    ------
    ValueError: a value or a combination cannot be used.
    KeyError: a model or card is not in the catalogue; the nearest is named.

    Examples
    --------
    >>> s = scenario(model="Llama-3.1-8B", gpu="L4", max_model_len=8192)
    >>> s.max_num_seqs, s.max_num_batched_tokens, s.dtype
    (256, 2048, 'bfloat16')
    """
    specs = {k: given.pop(k) for k in ("model", "gpu") if isinstance(given.get(k), ModelSpec | GpuSpec)}
    typed = _arrays(fields.read(given))
    if "model" not in {**typed, **specs}:
        raise ValueError(
            "model is not given; name one (vram models lists them) or give a path to its config.json"
        )
    notes: list[str] = []
    model = specs.get("model") or readers.model(typed["model"])
    gpu = specs.get("gpu") or _gpu(typed, notes)
    engine = engines.engine(typed.get("engine", "vllm"), typed.get("engine_version", ""))
    notes += [*model.warnings, *gpu.warnings, *_version_notes(engine)]
    typed = {
        k: v
        for k, v in typed.items()
        if k not in ("model", "gpu", "gpu_memory_bytes", "engine", "engine_version")
    }
    own = _weights(model, engine, typed, notes) | _lengths(typed)
    own |= {k: typed[k] for k in typed if k not in own}
    own["max_model_len"] = _max_model_len(model, typed, notes)
    own |= _batching(own, gpu, engine, model)
    own["enable_prefix_caching"] = own.get("enable_prefix_caching", _prefix_caching(model, engine))
    own["drafter"] = drafters.of(model, own, notes)
    _check_parallel(model, engine, own)
    found = Scenario(
        model=model,
        gpu=gpu,
        engine=engine.name,
        engine_version=engine.version,
        engine_spec=engine,
        warnings=tuple(dict.fromkeys(notes)),
        **own,
    )
    return _block_raised(found, "block_size" in typed)


def _arrays(typed: dict[str, Any]) -> dict[str, Any]:
    """Values of many scenarios as arrays that a worked formula can name; whole numbers in 64 bit."""
    if not any(hasattr(v, "shape") for v in typed.values()):
        return typed
    from vramlib import many

    return {k: many.of(v) if hasattr(v, "shape") else v for k, v in typed.items()}


def _block_raised(s: Scenario, asked: bool) -> Scenario:
    """With the block size that vLLM really uses: in hybrid models one block must hold a recurrent state."""
    plan = kv_pool.of(s) if s.engine == "vllm" else None
    if plan is None or all(g.cache.is_state for g in plan.groups) or plan.block_size == s.block_size:
        return s
    note = (
        f"block_size {s.block_size} is raised to {plan.block_size}, so that a block holds a recurrent state"
    )
    return dataclasses.replace(
        s, block_size=plan.block_size, warnings=(*s.warnings, *((note,) if asked else ()))
    )


def _prefix_caching(model: ModelSpec, engine: EngineSpec) -> bool:
    """Whether this version keeps finished blocks by default: always, but for models with recurrent layers."""
    recurrent = any(c.is_state for layer, _ in model.layer_counts for c in layer.caches)
    rows = engine.constants.get("recurrent_prefix_caching")
    return bool(rows["value"]) if rows and recurrent else engine.name in ("vllm", "sglang")


def _gpu(typed: Mapping[str, Any], notes: list[str]) -> GpuSpec:
    """The named card; exact bytes replace its memory; bytes alone take other traits from the nearest card."""
    size = typed.get("gpu_memory_bytes")
    if size is None:
        return catalog.gpu(typed.get("gpu", DEFAULT_GPU))
    if "gpu" in typed:
        card = catalog.gpu(typed["gpu"])
        return dataclasses.replace(card, memory_bytes=size, memory_basis="given")
    if hasattr(size, "shape"):
        raise ValueError(
            "gpu_memory_bytes has many values and gpu none; name the card whose traits they share"
        )
    cards = [c for c in catalog.gpus() if c.vendor == "NVIDIA" and "MIG" not in c.name and "g." not in c.name]
    near = min(cards, key=lambda c: (abs(c.memory_bytes - size), -c.compute_capability))
    notes.append(
        f"gpu is not given: traits other than its {show(size)} are those of the nearest card, {near.name}"
    )
    return dataclasses.replace(near, memory_bytes=size, memory_basis="given")


def _version_notes(engine: EngineSpec) -> list[str]:
    checked = engines.checked_until(engine.name)
    if not engine.known:
        return [
            f"{engine.name} {engine.version} is not among the known versions; the nearest known constants are used"
        ]
    if checked and engines.numbers(engine.version) > engines.numbers(checked):
        return [
            f"{engine.name} {engine.version} is known from its source; its constants are not yet checked on logs"
        ]
    return []


def _weights(
    model: ModelSpec, engine: EngineSpec, typed: Mapping[str, Any], notes: list[str]
) -> dict[str, Any]:
    """Type and quantization of the weights: the file's own unless given; fp32 checkpoints are served in 16 bit."""
    dtype = typed.get("dtype", "auto")
    if dtype == "auto":
        dtype = model.dtype if model.dtype in ("float16", "bfloat16", "float32") else "bfloat16"
        if dtype == "float32" and engine.name in ("vllm", "sglang"):
            dtype = "bfloat16"
            notes.append(
                f"{model.name} is stored in float32; {engine.name} serves it in 16 bit unless dtype says float32"
            )
    if engine.name == "llama.cpp":
        return {"dtype": "float16", "quant": None, "quantization": _file_type(model, typed, dtype)}
    asked = typed.get("quantization")
    quant = quantization_named(asked, model) if asked else model.quantization
    return {"dtype": dtype, "quant": quant, "quantization": quant.name if quant else "none"}


def _file_type(model: ModelSpec, typed: Mapping[str, Any], dtype: str) -> str:
    """GGUF file type: the file's own, or the one that was asked for, or plain 16 or 32 bit."""
    from vramlib.components import weight_types

    plain = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
    asked = str(typed.get("quantization", "")).strip()
    if asked.lower() in ("", "none", "fp16", "auto"):
        return model.gguf_file_type or ("F16" if asked.lower() == "fp16" else plain[dtype])
    return weight_types.file_type(asked)


def _lengths(typed: Mapping[str, Any]) -> dict[str, Any]:
    """Workload lengths: one number for all sequences, or one a sequence; lists and batch_size must agree."""
    prompt, new = typed.get("prompt_tokens", 1024), typed.get("new_tokens", 256)
    lists = [v for v in (prompt, new) if isinstance(v, tuple)]
    if not lists:
        return {"prompt_tokens": prompt, "new_tokens": new, "batch_size": typed.get("batch_size", 1)}
    count = len(lists[0])
    if any(len(v) != count for v in lists):
        raise ValueError(
            f"prompt_tokens has {len(prompt)} lengths and new_tokens {len(new)}; give as many of each"
        )
    if typed.get("batch_size", count) not in (1, count):
        raise ValueError(
            f"batch_size {typed['batch_size']} with {count} lengths; leave it out, or give {count} lengths"
        )
    spread = {"prompt_tokens": prompt, "new_tokens": new}
    return {k: v if isinstance(v, tuple) else (v,) * count for k, v in spread.items()} | {"batch_size": count}


def _max_model_len(model: ModelSpec, typed: Mapping[str, Any], notes: list[str]) -> Any:
    limit, given = model.max_position_embeddings, typed.get("max_model_len")
    if given is None or (isinstance(given, str) and given == "auto"):
        if not limit:
            notes.append(
                f"{model.name} names no longest sequence; max_model_len falls back to {NO_LIMIT_LENGTH}"
            )
        return limit or NO_LIMIT_LENGTH
    if limit and not hasattr(given, "shape") and given > limit:
        notes.append(
            f"max_model_len {given:,} is beyond the {limit:,} positions of {model.name};"
            " engines refuse or warn unless told"
        )
    return given


def _by_tier(values: Mapping[str, int], gpu: GpuSpec, engine: EngineSpec) -> Any:
    """One of an engine's batch defaults: for a card with small, large or huge memory."""
    name = gpu.name.lower()
    held_back = any(word in name for word in engine.value("large_batch_excludes"))
    huge = gpu.memory_bytes >= engine.value("huge_batch_memory_bytes")
    large = (gpu.memory_bytes >= engine.value("large_batch_memory_bytes")) & (not held_back)
    return choose(huge, values["huge"], choose(large, values["large"], values["small"]))


def _batching(own: Mapping[str, Any], gpu: GpuSpec, engine: EngineSpec, model: ModelSpec) -> dict[str, Any]:
    """max_num_seqs, max_num_batched_tokens, block_size, utilization and llama.cpp's own, where they were not given."""
    if engine.name == "vllm":
        return _vllm_batching(own, gpu, engine, bool(model.towers))
    if engine.name == "sglang":
        return _sglang_batching(own, gpu, engine, model)
    if engine.name == "llama.cpp":
        return _llamacpp_batching(own, engine)
    tokens = maximum(own["max_model_len"], 1)
    return {
        "max_num_seqs": own.get("max_num_seqs", own["batch_size"]),
        "max_num_batched_tokens": own.get("max_num_batched_tokens", tokens * own["batch_size"]),
        "block_size": own.get("block_size", 1),
        "gpu_memory_utilization": own.get("gpu_memory_utilization", 1.0),
    }


def _vllm_batching(
    own: Mapping[str, Any], gpu: GpuSpec, engine: EngineSpec, multimodal: bool
) -> dict[str, Any]:
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


def _sglang_batching(
    own: Mapping[str, Any], gpu: GpuSpec, engine: EngineSpec, model: ModelSpec
) -> dict[str, Any]:
    from vramlib.components import sglang_pool

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


def _llamacpp_batching(own: Mapping[str, Any], engine: EngineSpec) -> dict[str, Any]:
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


def _check_parallel(model: ModelSpec, engine: EngineSpec, own: Mapping[str, Any]) -> None:
    """Degrees that the engine would refuse.

    Raises
    ------
    ValueError: heads, widths or layers do not divide.
    """
    tp, pp = own.get("tensor_parallel_size", 1), own.get("pipeline_parallel_size", 1)
    if pp > model.num_hidden_layers:
        raise ValueError(
            f"pipeline_parallel_size {pp} is more than the {model.num_hidden_layers} layers of {model.name}"
        )
    if engine.name == "llama.cpp" or tp == 1:
        return
    heads, kv = model.num_attention_heads, model.num_key_value_heads
    works = [n for n in range(1, 65) if heads % n == 0 and (not kv or kv % n == 0 or n % kv == 0)]
    if heads and tp not in works and (heads % tp or (kv and kv % tp and tp % kv)):
        raise ValueError(
            f"tensor_parallel_size {tp} does not divide the {heads} attention heads ({kv} key-value heads)"
            f" of {model.name}; these work: {', '.join(map(str, works))}"
        )


def memory_note(gpu: GpuSpec) -> str:
    """The card's memory in words: what CUDA can allocate from, with the vendor's label beside it."""
    label = f", sold as {gpu.memory_gb_vendor:g} GB" if gpu.memory_gb_vendor else ""
    return f"{gpu.memory_bytes / GiB:.2f} GiB{label}"
