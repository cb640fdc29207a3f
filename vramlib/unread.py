"""Settings that were given and that an estimate for this engine does not read, or reads in part: said, not ignored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

_SERVERS = ("vllm", "sglang")
READ_FOR: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "cache_type_k": ("llama.cpp",),
    "cache_type_v": ("llama.cpp",),
    "n_gpu_layers": ("llama.cpp",),
    "n_ubatch": ("llama.cpp",),
    "n_seq_max": ("llama.cpp",),
    "flash_attn": ("llama.cpp",),
    "attn_implementation": ("transformers",),
    "max_model_len": (*_SERVERS, "llama.cpp"),
    "max_num_seqs": _SERVERS,
    "max_num_batched_tokens": (*_SERVERS, "llama.cpp"),
    "block_size": _SERVERS,
    "gpu_memory_utilization": _SERVERS,
    "enforce_eager": _SERVERS,
    "enable_prefix_caching": _SERVERS,
    "enable_lora": _SERVERS,
    "max_loras": _SERVERS,
    "max_lora_rank": _SERVERS,
    "decode_context_parallel_size": ("vllm",),
    "num_speculative_tokens": (*_SERVERS, "transformers"),
    "speculative_model": (*_SERVERS, "transformers"),
    "enable_expert_parallel": (*_SERVERS, "transformers"),
})  # fmt: skip
"""Fields that not every engine's estimate reads, and the engines whose own setting they are."""
# Values that ask for nothing: a setting that is off, and the defaults that a form or a report's template fills in.
NOTHING: Mapping[str, Any] = MappingProxyType({
    "max_model_len": "auto", "enforce_eager": False, "enable_prefix_caching": False, "enable_lora": False,
    "max_loras": 1, "max_lora_rank": 16, "num_speculative_tokens": 0, "attn_implementation": "sdpa",
    "decode_context_parallel_size": 1, "enable_expert_parallel": False,
})  # fmt: skip


def notes(typed: Mapping[str, Any], engine: str) -> Iterator[str]:
    """A sentence for each setting that was given and that this engine's estimate does not read.

    Parameters
    ----------
    typed : fields that were given, as ``fields.read`` leaves them; arrays too [-]
    engine : vllm, sglang, transformers or llama.cpp [-]

    Returns
    -------
    Warnings in the order of ``typed`` [-]

    Examples
    --------
    >>> list(notes({"n_ubatch": 64, "max_num_seqs": 8}, "vllm"))
    ['n_ubatch changes nothing in an estimate for vllm; it is read for llama.cpp']
    """
    for name, value in typed.items():
        engines = READ_FOR.get(name, (engine,))
        if engine not in engines and (hasattr(value, "shape") or value != NOTHING.get(name)):
            yield f"{name} changes nothing in an estimate for {engine}; it is read for {', '.join(engines)}"


def divided(typed: Mapping[str, Any], engine: str) -> Iterator[str]:
    """What an estimate for transformers leaves out when several cards share a model.

    Parameters
    ----------
    typed : fields that were given, as ``fields.read`` leaves them [-]
    engine : vllm, sglang, transformers or llama.cpp [-]

    Returns
    -------
    A warning for each degree above 1 [-]

    Examples
    --------
    >>> list(divided({"pipeline_parallel_size": 2}, "transformers"))
    ['transformers with pipeline_parallel_size 2: each card counts its layers and the activations of a whole forward']
    """
    tp, pp = typed.get("tensor_parallel_size", 1), typed.get("pipeline_parallel_size", 1)
    if engine == "transformers" and tp > 1:
        yield (
            f"transformers with tensor_parallel_size {tp}: weights and KV cache are divided as vLLM divides them,"
            " activations are not divided, and the buffers of NCCL are not counted"
        )
    if engine == "transformers" and pp > 1:
        yield (
            f"transformers with pipeline_parallel_size {pp}:"
            " each card counts its layers and the activations of a whole forward"
        )
