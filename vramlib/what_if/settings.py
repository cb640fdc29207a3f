"""What can be moved: for the engine that is chosen, each setting it reads, its values in order, and where it stands."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from vramlib import catalog, commands, engines
from vramlib.controls import Control, powers
from vramlib.messages import t
from vramlib.what_if.state import State

SHARES = (*(n / 100 for n in range(30, 100, 5)), 0.92, 0.98)
TOKENS = powers(16, 131_072)
TENSOR, PIPELINE = powers(1, 32), (1, 2, 3, 4, 6, 8, 12, 16)
LONGEST = 1_048_576  # tokens; where a model names no limit
# Versions between which an engine's memory moved; in the others nothing that is known here did.
VERSIONS = {
    "vllm": ("0.6.6", "0.8.5", "0.10.2", "0.11.2", "0.16.0", "0.19.0", "0.21.0", "0.25.0", "0.33.0"),
    "llama.cpp": ("b6000", "b9600"),
}
GGUF_TYPES = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
# From wide to narrow, as a step on the slider of a choice reads.
FORMATS = {
    "vllm": ("none", "fp8", "w8a8", "awq", "nf4", "nvfp4"),
    "sglang": ("none", "fp8", "w8a8", "awq", "nvfp4"),
    "transformers": ("float32", "none", "int8", "nf4"),
    "llama.cpp": GGUF_TYPES,
}
CACHES = {
    "vllm": ("auto", "fp8"),
    "sglang": ("auto", "fp8_e4m3", "fp8_e5m2"),
    "transformers": ("auto", "int8"),
    "llama.cpp": ("f32", "f16", "q8_0", "q5_1", "q4_0"),
}
ATTENTION = ("eager", "sdpa", "flash_attention_2")
TRUTH = (False, True)
WORKLOAD = ("batch_size", "prompt_tokens", "new_tokens")
_ALWAYS = ("gpu", "engine", "quantization")
# Which of the controls an engine reads, in the order of the page.
READ = {
    "vllm": (
        *_ALWAYS, "engine_version", "kv_cache_dtype", "max_model_len", "max_num_seqs", "max_num_batched_tokens",
        "gpu_memory_utilization", "enforce_eager", "tensor_parallel_size", "pipeline_parallel_size",
        "num_processes", *WORKLOAD,
    ),
    "sglang": (
        *_ALWAYS, "kv_cache_dtype", "max_model_len", "max_num_batched_tokens",
        "gpu_memory_utilization", "enforce_eager", "tensor_parallel_size", "pipeline_parallel_size",
        "num_processes", *WORKLOAD,
    ),
    "transformers": (
        *_ALWAYS, "kv_cache_dtype", "attn_implementation", "tensor_parallel_size", "num_processes", *WORKLOAD,
    ),
    "llama.cpp": (
        *_ALWAYS, "engine_version", "cache_type_k", "cache_type_v", "max_model_len", "n_seq_max", "n_ubatch",
        "n_gpu_layers", "flash_attn", "tensor_parallel_size", "num_processes", *WORKLOAD,
    ),
}  # fmt: skip


def controls(state: State) -> list[dict[str, Any]]:
    """The controls of the current configuration; only those that its engine reads.

    A value goes back as ``state.set(**{field: values[place]})``; the value ``None`` leaves the choice to the engine.

    Parameters
    ----------
    state : any [-]

    Returns
    -------
    For each, JSON-ready: ``field``, ``kind`` (slider or choice), ``flag`` (the engine's own), ``label``, ``values``,
    ``texts`` (one for each value), ``start`` (place of the present value) and ``group`` (start, engine, workload) [-]

    Examples
    --------
    >>> found = {c["field"]: c for c in controls(State().set(gpu="L4", max_num_seqs=64))}
    >>> found["max_num_seqs"]["texts"][found["max_num_seqs"]["start"]], "n_ubatch" in found
    ('64', False)
    """
    engine = state.fields.get("engine", "vllm")
    return [_form(_control(name, engine, state), engine, state.language) for name in READ[engine]]


def _form(c: Control, engine: str, language: str) -> dict[str, Any]:
    group = "workload" if c.field in WORKLOAD else "start" if c.field in ("gpu", "engine") else "engine"
    return {
        "field": c.field,
        "kind": c.kind,
        "flag": commands.flag(engine, c.field),
        "label": t(f"field.{c.field}", language),
        "values": list(c.values),
        "texts": [text(v, language) for v in c.values],
        "start": c.values.index(c.start),
        "group": group,
    }


def text(value: Any, language: str) -> str:
    """A value as its control shows it.

    Examples
    --------
    >>> text(8192, "en"), text(None, "vi"), text(True, "en")
    ('8,192', 'tự động', 'on')
    """
    if value is None or value == "auto":
        return t("what.auto", language)
    if isinstance(value, bool):
        return t("what.on" if value else "what.off", language)
    if isinstance(value, list | tuple):
        return ";".join(map(str, value[:8])) + (" …" if len(value) > 8 else "")
    return (
        f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
    )


def _control(name: str, engine: str, state: State) -> Control:
    """The control with the present value among its values."""
    values = known(name, engine, _limit(state))
    start = state.fields.get(name, _DEFAULTS.get(name))
    start = list(start) if isinstance(start, tuple) else start
    if start not in values:
        values = _with(values, start)
    kind = "choice" if any(isinstance(v, str | bool) and v != "auto" for v in values) else "slider"
    return Control(field=name, values=values, start=start, kind=kind)


def _with(values: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    """Values with one more in its place: numbers in order, words at the end."""
    if isinstance(value, int | float):
        place = next(
            (i for i, v in enumerate(values) if isinstance(v, int | float) and v > value), len(values)
        )
        return (*values[:place], value, *values[place:])
    return (*values, value)


def _limit(state: State) -> int:
    """The longest sequence of the current model, as a slider's end [token]."""
    from vramlib.what_if import uploads

    try:
        return uploads.model(state.fields["model"], state.models).max_position_embeddings or LONGEST
    except (KeyError, ValueError):
        return LONGEST


def known(name: str, engine: str, limit: int) -> tuple[Any, ...]:
    """Values that a control steps through, numbers from small to large, formats from wide to narrow.

    Parameters
    ----------
    name : of the field [-]
    engine : vllm, sglang, transformers or llama.cpp [-]
    limit : the model's longest sequence [token]

    Returns
    -------
    Values; ``None`` and ``auto`` come first [-]

    Examples
    --------
    >>> known("max_model_len", "vllm", 3000)
    ('auto', 256, 512, 1024, 2048, 3000)
    """
    if name == "max_model_len":
        return ("auto", *(n for n in powers(256, LONGEST << 4) if n < limit), max(256, limit))
    if name == "kv_cache_dtype":
        return CACHES[engine]
    by_engine: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
        "engine_version": VERSIONS,
        "quantization": FORMATS,
    }
    if name in by_engine:
        return (None, *by_engine[name][engine])
    return _values()[name]


@functools.cache
def _values() -> Mapping[str, tuple[Any, ...]]:
    """Values that are the same for every engine and model."""
    return {
        "gpu": tuple(card.name for card in catalog.gpus()),
        "engine": engines.names(),
        "cache_type_k": (None, *CACHES["llama.cpp"]),
        "cache_type_v": (None, *CACHES["llama.cpp"]),
        "max_num_seqs": (None, *powers(1, 4096)),
        "max_num_batched_tokens": (None, *powers(256, 131_072)),
        "gpu_memory_utilization": (None, *sorted(SHARES)),
        "enforce_eager": TRUTH,
        "tensor_parallel_size": TENSOR,
        "pipeline_parallel_size": PIPELINE,
        "num_processes": (1, 2, 3, 4, 6, 8),
        "attn_implementation": ATTENTION,
        "n_seq_max": (None, *powers(1, 256)),
        "n_ubatch": (None, *powers(64, 8192)),
        "n_gpu_layers": (None, 0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 80),
        "flash_attn": (None, *TRUTH),
        "batch_size": powers(1, 1024),
        "prompt_tokens": TOKENS,
        "new_tokens": (0, *powers(16, 32_768)),
    }


# Where a control stands when its field is not given; the others stand at their first value.
_DEFAULTS: Mapping[str, Any] = {
    "gpu": "H100-80GB",
    "engine": "vllm",
    "kv_cache_dtype": "auto",
    "max_model_len": "auto",
    "enforce_eager": False,
    "tensor_parallel_size": 1,
    "pipeline_parallel_size": 1,
    "num_processes": 1,
    "attn_implementation": "sdpa",
    "batch_size": 1,
    "prompt_tokens": 1024,
    "new_tokens": 256,
}
