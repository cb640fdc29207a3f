"""A scenario as the command that starts its engine: only what differs from the engine's own defaults."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from vramlib import resolve
from vramlib.specs import Scenario

# Field of a scenario → the engine's own flag. A field that is not named here has no flag in that engine.
FLAGS: Mapping[str, Mapping[str, str]] = {
    "vllm": {
        "tensor_parallel_size": "--tensor-parallel-size", "pipeline_parallel_size": "--pipeline-parallel-size",
        "data_parallel_size": "--data-parallel-size", "enable_expert_parallel": "--enable-expert-parallel",
        "dtype": "--dtype", "quantization": "--quantization", "kv_cache_dtype": "--kv-cache-dtype",
        "max_model_len": "--max-model-len", "max_num_seqs": "--max-num-seqs",
        "max_num_batched_tokens": "--max-num-batched-tokens", "block_size": "--block-size",
        "gpu_memory_utilization": "--gpu-memory-utilization", "enforce_eager": "--enforce-eager",
    },
    "sglang": {
        "tensor_parallel_size": "--tp-size", "pipeline_parallel_size": "--pp-size", "data_parallel_size": "--dp-size",
        "dtype": "--dtype", "quantization": "--quantization", "kv_cache_dtype": "--kv-cache-dtype",
        "max_model_len": "--context-length", "max_num_seqs": "--max-running-requests",
        "max_num_batched_tokens": "--chunked-prefill-size", "block_size": "--page-size",
        "gpu_memory_utilization": "--mem-fraction-static", "enforce_eager": "--disable-cuda-graph",
    },
    "llama.cpp": {
        "max_model_len": "--ctx-size", "n_seq_max": "--parallel", "max_num_batched_tokens": "--batch-size",
        "n_ubatch": "--ubatch-size", "cache_type_k": "--cache-type-k", "cache_type_v": "--cache-type-v",
        "n_gpu_layers": "--n-gpu-layers", "flash_attn": "--flash-attn",
    },
    "transformers": {},
}  # fmt: skip
START = {
    "vllm": "vllm serve",
    "sglang": "python -m sglang.launch_server --model-path",
    "llama.cpp": "llama-server -m",
}
# Formats that an engine makes itself from a 16-bit checkpoint; the others need a checkpoint stored in them.
ON_THE_FLY = {"vllm": {"fp8": "fp8", "nf4": "bitsandbytes"}, "sglang": {"fp8": "fp8"}}
SGLANG_CACHE = {"fp8": "fp8_e4m3"}  # SGLang has no plain fp8; vLLM's fp8 is e4m3


def flag(engine: str, field: str) -> str:
    """The flag that sets a field of a scenario, or the field's own name where the engine has no flag for it.

    Parameters
    ----------
    engine : vllm, sglang, llama.cpp or transformers [-]
    field : of a scenario [-]

    Returns
    -------
    As typed on a command line [-]

    Examples
    --------
    >>> flag("vllm", "max_model_len"), flag("llama.cpp", "max_model_len"), flag("vllm", "prompt_tokens")
    ('--max-model-len', '--ctx-size', 'prompt_tokens')

    Source
    ------
    https://docs.vllm.ai/en/stable/cli/serve/; SGLang, python/sglang/srt/server_args.py;
    llama.cpp, tools/server/README.md.
    """
    return FLAGS[engine].get(field, field)


def command_line(s: Scenario) -> str:
    """The command that starts this scenario's engine, to paste into a terminal; Python for transformers.

    Parameters
    ----------
    s : with every field resolved [-]

    Returns
    -------
    One command; a line that begins with ``#`` before it says what the command needs [-]

    Examples
    --------
    >>> print(command_line(resolve.scenario(model="Llama-3.1-8B", max_model_len=8192, kv_cache_dtype="fp8")))
    vllm serve meta-llama/Llama-3.1-8B --kv-cache-dtype fp8 --max-model-len 8192
    """
    if s.engine == "transformers":
        return _python(s)
    words = [START[s.engine], shlex.quote(_model(s))]
    for name, value in _changed(s).items():
        words += _words(s, name, value)
    return "\n".join([*_needs(s), " ".join(words)])


def _changed(s: Scenario) -> dict[str, Any]:
    """Fields with a flag whose value the engine would not take by itself, the flags before it given."""
    found: dict[str, Any] = {}
    own = _resolved(s, found)
    for name in FLAGS[s.engine]:
        value = getattr(s, name)
        if value != getattr(own, name):
            found[name] = value
            own = _resolved(s, found)
    return found


def _resolved(s: Scenario, given: Mapping[str, Any]) -> Scenario:
    return resolve.scenario(
        model=s.model, gpu=s.gpu, engine=s.engine, engine_version=s.engine_version, **given
    )


def _words(s: Scenario, name: str, value: Any) -> list[str]:
    """A flag with its value; none where the checkpoint itself carries the setting."""
    typed = flag(s.engine, name)
    if name == "quantization":
        made = ON_THE_FLY[s.engine].get(value)
        return [typed, made] if made else []
    if name == "flash_attn":
        return [typed, "on" if value else "off"]
    if isinstance(value, bool):
        return [typed] if value else []
    if name == "kv_cache_dtype" and s.engine == "sglang":
        value = SGLANG_CACHE.get(value, value)
    return [typed, f"{value:g}" if isinstance(value, float) else str(value)]


def _model(s: Scenario) -> str:
    return (
        f"{s.model.name.rsplit('/', 1)[-1]}-{s.quantization}.gguf"
        if s.engine == "llama.cpp"
        else s.model.name
    )


def _needs(s: Scenario) -> list[str]:
    """What the command cannot do by itself: make a checkpoint in another format."""
    stored = s.model.quantization
    made = s.quantization in ("none", *ON_THE_FLY.get(s.engine, ()))
    if s.engine == "llama.cpp" or made or (stored is not None and stored.name == s.quantization):
        return []
    return [f"# needs a checkpoint of {s.model.name} stored as {s.quantization}"]


def _python(s: Scenario) -> str:
    """The model loaded by transformers, with the settings that its memory depends on."""
    ranks = s.tensor_parallel_size
    place = 'tp_plan="auto"' if ranks > 1 else 'device_map="cuda"'
    given = (
        f'"{s.model.name}"',
        f"dtype=torch.{s.dtype}",
        f'attn_implementation="{s.attn_implementation}"',
        place,
    )
    return "\n".join(
        [
            *_needs(s),
            *([f"# start with torchrun --nproc-per-node {ranks}"] if ranks > 1 else []),
            "import torch",
            "from transformers import AutoModelForCausalLM",
            f"model = AutoModelForCausalLM.from_pretrained({', '.join(given)})",
        ]
    )
