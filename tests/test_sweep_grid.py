"""Many scenarios at once give the numbers that one at a time gives, exactly, for every engine and kind of model."""

import random
from typing import Any

import pytest

from vramlib import blocks, contract

ENGINES = ("vllm", "sglang", "transformers", "llama.cpp")
MODELS = (
    "Llama-3.1-8B", "Llama-3.1-70B", "Llama-2-7b-hf", "Llama-4-Scout-17B-16E", "Qwen2.5-0.5B", "Qwen2.5-7B",
    "Qwen3-8B", "Qwen3-30B-A3B", "Qwen3-Next-80B-A3B-Instruct", "Qwen2.5-VL-7B-Instruct", "Mistral-7B-v0.1",
    "Mixtral-8x7B-v0.1", "gemma-2-9b", "gemma-3-27b-it", "gemma-3-1b-it", "phi-4", "Phi-3-mini-4k-instruct",
    "DeepSeek-V3", "DeepSeek-V2-Lite", "gpt-oss-20b", "gpt-oss-120b", "Falcon-H1-7B-Base", "Jamba-v0.1",
    "granite-4.0-h-small", "mamba-2.8b-hf", "Kimi-K2-Instruct", "GLM-4.5-Air", "gpt2", "falcon-7b",
    "GLM-4.5", "Nemotron-H-8B-Base-8K", "LFM2-1.2B",
)  # fmt: skip
VERSIONS = {"vllm": ("", "0.6.4", "0.8.5", "0.11.0", "0.19.0", "0.27.0"), "llama.cpp": ("", "b6000", "b9600")}
GPUS = ("L4", "A100-80GB", "H100-80GB", "RTX-4090", "B200", "T4", "MI300X")


def shared(engine: str, model: str, rng: random.Random) -> dict[str, Any]:
    given: dict[str, Any] = {"model": model, "engine": engine, "gpu": rng.choice(GPUS)}
    maybe = {
        "tensor_parallel_size": (2, 4, 8),
        "pipeline_parallel_size": (2, 3),
        "gpu_memory_bytes": ("16GiB", "64GiB", "141GB"),
        "kv_cache_dtype": ("q8_0",) if engine == "llama.cpp" else ("fp8", "int8"),
        "quantization": ("Q4_K_M", "Q8_0") if engine == "llama.cpp" else ("fp8", "awq"),
        "block_size": (1, 16, 64, 100),
        "enforce_eager": (True,),
        "num_processes": (2, 3),
        "data_parallel_size": (2,),
        "enable_expert_parallel": (True,),
        "attn_implementation": ("eager",),
        "flash_attn": (False,),
        "n_gpu_layers": (3, 20),
        "engine_version": VERSIONS.get(engine, ("",)),
        "max_model_len": ("auto", 4096),
        "prompt_tokens": ((100, 2000, 30), 700),
    }
    return given | {name: rng.choice(values) for name, values in maybe.items() if rng.random() < 0.2}


def numbers(given: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    largest = {
        "max_model_len": 200_000, "max_num_seqs": 2048, "max_num_batched_tokens": 40_000, "batch_size": 600,
        "prompt_tokens": 60_000, "new_tokens": 5_000, "n_ubatch": 4096, "n_seq_max": 64,
    }  # fmt: skip
    lists = isinstance(given.get("prompt_tokens"), tuple)
    names = [n for n in largest if n not in given and not (lists and n in ("batch_size", "new_tokens"))]
    found = {n: int(largest[n] ** rng.random()) for n in sorted(names) if rng.random() < 0.5}
    return found | ({"gpu_memory_utilization": round(rng.uniform(0.05, 1), 3)} if rng.random() < 0.5 else {})


def scenarios(engine: str, model: str, count: int) -> list[dict[str, Any]]:
    """Groups of scenarios that differ in numbers alone: the same fields, each with a number of its own."""
    rng = random.Random(f"{engine} {model}")
    found = []
    while len(found) < count:
        given = shared(engine, model, rng)
        names = numbers(given, rng)
        for _ in range(rng.choice((4, 9, 12))):
            found.append(given | _again(names, given, rng))
    return found


def _again(names: dict[str, Any], given: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    other: dict[str, Any] = {}
    while not set(names) <= set(other):
        other |= numbers(given, rng)
    return {n: other[n] for n in names}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("engine", ENGINES)
def test_at_once_is_one_at_a_time(engine: str, model: str) -> None:
    given = scenarios(engine, model, 40)
    for scenario, answer in zip(given, blocks.answers(given), strict=True):
        alone = blocks.one(scenario)
        assert answer == alone, scenario
        assert {n: type(v) for n, v in answer.items()} == {n: type(v) for n, v in alone.items()}, scenario


def test_the_scenarios_above_are_mostly_good() -> None:
    found = [a for e in ENGINES for m in MODELS for a in blocks.answers(scenarios(e, m, 20))]
    good = [a for a in found if not a["error"]]
    assert len(good) > 0.75 * len(found), {a["error"] for a in found}
    assert 0.2 < sum(a["fits"] for a in good) / len(good) < 0.9
    assert set(found[0]) == set(contract.COLUMNS)
