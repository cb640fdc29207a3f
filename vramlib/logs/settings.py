"""The settings a log tells: the engine's own account of them, the command that started it, the model's name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vramlib import catalog, fields
from vramlib.logs.rules import Line, Rule, Value, rule
from vramlib.specs import ModelSpec

PRINTED = {
    "model": "model", "model_path": "model", "dtype": "dtype", "max_seq_len": "max_model_len",
    "max_model_len": "max_model_len", "context_length": "max_model_len",
    "tensor_parallel_size": "tensor_parallel_size", "tp_size": "tensor_parallel_size",
    "pipeline_parallel_size": "pipeline_parallel_size", "pp_size": "pipeline_parallel_size",
    "data_parallel_size": "data_parallel_size", "dp_size": "data_parallel_size",
    "enable_expert_parallel": "enable_expert_parallel", "quantization": "quantization",
    "enforce_eager": "enforce_eager", "disable_cuda_graph": "enforce_eager",
    "kv_cache_dtype": "kv_cache_dtype", "gpu_memory_utilization": "gpu_memory_utilization",
    "mem_fraction_static": "gpu_memory_utilization", "max_num_seqs": "max_num_seqs",
    "max_running_requests": "max_num_seqs", "max_num_batched_tokens": "max_num_batched_tokens",
    "chunked_prefill_size": "max_num_batched_tokens", "block_size": "block_size", "page_size": "block_size",
}  # fmt: skip
SHORT = {
    "c": "max_model_len", "ngl": "n_gpu_layers", "ub": "n_ubatch", "b": "max_num_batched_tokens",
    "np": "n_seq_max", "fa": "flash_attn", "ctk": "cache_type_k", "ctv": "cache_type_v", "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size", "dp": "data_parallel_size", "m": "model", "gpu_layers": "n_gpu_layers",
    "batch_size": "max_num_batched_tokens",
}  # fmt: skip
PAIR = re.compile(
    rf"(?<![\w.])(?P<name>{'|'.join(PRINTED)})['\"]?\s?[=:]\s?"
    r"(?P<value>'[^']{0,300}'|\"[^\"]{0,300}\"|[^,)}\s\\]{1,120})"
)
FLAG = re.compile(
    r"(?:^|\s)--?(?P<name>[a-z][a-z_-]{0,40})(?:[= ]{1,4}(?P<value>[^\s\\-]\S{0,200}))?(?=\s|$)"
)
COMMANDS: tuple[tuple[str, str, Rule], ...] = tuple(
    (engine, key, rule(engine, key, r"(?!)", "the command that started it", name="command"))
    for engine, key in (
        ("vllm", "vllm serve "), ("vllm", "vllm.entrypoints.openai.api_server "), ("sglang", "sglang.launch_server "),
        ("sglang", "sglang serve "), ("llama.cpp", "llama-server "), ("llama.cpp", "llama-cli "),
    )
)  # fmt: skip
NOT_GIVEN = ("none", "null", "", "auto", "-1", "[]")


def printed(line: Line, text: str) -> dict[str, Any]:
    """Scenario fields from a line in which an engine prints its settings; the first of each name counts.

    Examples
    --------
    >>> at = Line(number=1, text="", rank="", words="", rule=rule("vllm", "", "", ""))
    >>> printed(at, "config: model='Qwen/Qwen3-8B', dtype=torch.bfloat16, max_seq_len=8192, quantization=None")
    {'model': 'Qwen/Qwen3-8B', 'dtype': 'bfloat16', 'max_model_len': '8192'}
    """
    found: dict[str, Any] = {}
    for hit in PAIR.finditer(text):
        given = hit["value"].strip("'\"").removeprefix("torch.")
        field = PRINTED[hit["name"]]
        if field not in found and given.lower() not in NOT_GIVEN and not given.startswith(("<", "[", "{")):
            found[field] = given
    if "enable_dp_attention=True" in text:
        found.pop("data_parallel_size", None)
    return found


def command(number: int, text: str) -> Line | None:
    """The command that started the engine, with its flags as scenario fields, where the line holds one.

    Examples
    --------
    >>> command(1, "$ vllm serve Qwen/Qwen3-8B --max-model-len 8192 --enforce-eager").values["enforce_eager"].value
    'true'
    """
    for _, key, its_rule in COMMANDS:
        start = text.find(key)
        if start >= 0:
            words = dict(_flags(text[start + len(key) :]))
            first = text[start + len(key) :].split(maxsplit=1)
            if key.endswith("serve ") and first and not first[0].startswith("-"):
                words.setdefault("model", first[0])
            values = {name: Value(value=given) for name, given in words.items()}
            shown = text[start : start + 240]
            return Line(
                number=number, text=shown, rank="", words=its_rule.words, values=values, rule=its_rule
            )
    return None


def more_flags(line: Line, text: str) -> Mapping[str, Value]:
    """Flags of the next line of a command that goes on there."""
    return {name: Value(value=given) for name, given in _flags(text) if name not in line.values}


def _flags(text: str) -> Iterator[tuple[str, str]]:
    for hit in FLAG.finditer(text):
        name = hit["name"].replace("-", "_")
        field = SHORT.get(name) or fields.ELSEWHERE.get(name) or (name if name in fields.BY_NAME else "")
        given = (hit["value"] or "true").strip("'\"\\")
        if field and given.lower() not in NOT_GIVEN:
            yield field, given


def model(name: str) -> ModelSpec | None:
    """The catalogue's model of a name in a log: a repository, a path, a cache folder, a GGUF file; never a file's own.

    A log may name any file of any machine, so none is opened.

    Examples
    --------
    >>> model("/home/me/.cache/hub/models--Qwen--Qwen3-8B/snapshots/2069b3f").name
    'Qwen/Qwen3-8B'
    >>> model("/models/blobs/sha256-e8ad13eff07a") is None
    True
    """
    for candidate in dict.fromkeys(_candidates(name)):
        try:
            return catalog.model(candidate)
        except KeyError:
            continue
    return None


def _candidates(name: str) -> Iterator[str]:
    """Spellings of a name, the longest first."""
    parts = [p for p in re.split(r"[\\/]", name.strip()[:300]) if p]
    cached = [p.removeprefix("models--").replace("--", "/") for p in parts if p.startswith("models--")]
    yield from cached
    if len(parts) >= 2:
        yield "/".join(parts[-2:])
    for part in reversed(parts[-3:]):
        plain = re.sub(r"(?:-\d{5}-of-\d{5})?\.gguf$", "", part)
        yield plain
        yield plain.replace(" ", "-")
