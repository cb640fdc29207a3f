"""From the words a user typed to a ``Scenario`` with every field resolved: defaults by engine, version and card.

A value that was given is never changed in silence; a fall-back for a missing fact is named in ``warnings``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from vramlib import batch_defaults, catalog, drafters, engines, fields, readers, unread
from vramlib.components import kv_pool, weight_types
from vramlib.readers.format_names import quantization_named
from vramlib.specs import EngineSpec, GpuSpec, ModelSpec, Scenario
from vramlib.units import show

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
    notes += (*unread.notes(typed, engine.name), *unread.divided(typed, engine.name))
    own = _weights(model, engine, typed, notes) | _lengths(typed)
    own |= {k: typed[k] for k in typed if k not in own}
    own["max_model_len"] = _max_model_len(model, typed, notes)
    own |= batch_defaults.sizes(own, gpu, engine, model)
    own["enable_prefix_caching"] = own.get(
        "enable_prefix_caching", batch_defaults.prefix_caching(model, engine)
    )
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
    shares = own.get("decode_context_parallel_size", 1)
    if tp % shares:
        works = [n for n in range(1, tp + 1) if tp % n == 0]
        raise ValueError(
            f"decode_context_parallel_size {shares} does not divide tensor_parallel_size {tp}, whose cards it shares;"
            f" these work: {', '.join(map(str, works))}"
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
