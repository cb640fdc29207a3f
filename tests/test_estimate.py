"""One home per byte: eight parts that are never negative, add up, and move one at a time."""

from __future__ import annotations

import itertools

import pytest

import vramlib
from vramlib.specs import PART_KEYS
from vramlib.units import show

MODELS = [
    "Llama-3.1-8B", "Qwen/Qwen2.5-0.5B", "Qwen/Qwen3-30B-A3B", "openai/gpt-oss-20b", "deepseek-ai/DeepSeek-V3",
    "google/gemma-3-27b-it", "Qwen/Qwen3-Next-80B-A3B-Instruct", "state-spaces/mamba-2.8b-hf", "openai-community/gpt2",
    "ai21labs/Jamba-v0.1", "meta-llama/Llama-4-Maverick-17B-128E-Instruct", "Qwen/Qwen3-VL-8B-Instruct",
]  # fmt: skip
ENGINES = ["vllm", "sglang", "transformers", "llama.cpp"]


@pytest.mark.parametrize(("model", "engine"), list(itertools.product(MODELS, ENGINES)))
def test_parts_are_never_negative_and_add_up(model: str, engine: str) -> None:
    answer = vramlib.estimate(
        model=model, engine=engine, max_model_len=1024, prompt_tokens=600, new_tokens=100
    )
    assert tuple(p.key for p in answer.parts) == PART_KEYS
    assert answer.total_bytes == sum(p.bytes for p in answer.parts)
    assert answer.headroom_bytes == answer.gpu.memory_bytes - answer.total_bytes
    for p in answer.parts:
        assert isinstance(p.bytes, int)
        assert 0 <= p.low_bytes <= p.bytes <= p.high_bytes, p.key
        assert p.bytes == sum(t.bytes for t in p.terms)
        assert p.formula
        assert p.worked


BASE = {"model": "Llama-3.1-8B", "gpu": "H100-80GB", "max_model_len": 8192, "prompt_tokens": 2048}

# each limiting case moves only its own parts
MOVES = [
    ("vllm", {"kv_cache_dtype": "fp8"}, {"kv_cache"}),
    ("vllm", {"enforce_eager": True}, {"framework_buffers"}),
    ("vllm", {"num_processes": 2}, {"multi_process"}),
    ("vllm", {"new_tokens": 2048}, {"kv_cache"}),
    ("vllm", {"new_tokens": 257}, {"kv_cache", "prefill_padding"}),
    ("vllm", {"gpu_memory_utilization": 0.5}, set()),
    ("transformers", {"attn_implementation": "eager"}, {"activations"}),
    ("transformers", {"num_processes": 3}, {"multi_process"}),
    ("transformers", {"gpu_memory_utilization": 0.5}, set()),
]


@pytest.mark.parametrize(("engine", "change", "moved"), MOVES)
def test_a_setting_moves_only_its_own_part(engine: str, change: dict[str, object], moved: set[str]) -> None:
    before, after = (vramlib.estimate(**{**BASE, "engine": engine, **more}) for more in ({}, change))
    assert {b.key for b, a in zip(before.parts, after.parts, strict=True) if b.bytes != a.bytes} == moved


def test_settings_that_the_seed_names_move_their_rows() -> None:
    """`precision`, `--max-model-len` and `batch_size`, graphs, padding and `nproc`; depth moves nothing."""
    rows = [
        ({"quantization": "int4"}, "model_weights"),
        ({"prompt_tokens": 4096}, "kv_cache"),
        ({"batch_size": 4}, "kv_cache"),
        ({"batch_size": 4}, "activations"),
        ({"enforce_eager": True}, "framework_buffers"),
        ({"num_processes": 2}, "multi_process"),
        ({"prompt_tokens": "100;2000", "engine": "transformers"}, "prefill_padding"),
    ]
    for change, key in rows:
        base = {**BASE, "engine": change.get("engine", "vllm")}
        before, after = vramlib.estimate(**base), vramlib.estimate(**{**base, **change})
        assert before.part(key).bytes != after.part(key).bytes, (change, key)


def test_four_times_the_tokens_is_four_times_a_full_cache() -> None:
    short, long = (
        vramlib.estimate(**{**BASE, "prompt_tokens": t, "new_tokens": 0}).part("kv_cache").bytes
        for t in (1024, 4096)
    )
    assert long == 4 * short


def test_padding_is_what_the_lengths_say() -> None:
    """Two prompts of 100 and 1000 tokens in one padded batch: 900 positions hold nothing."""
    padded = vramlib.estimate(
        model="Llama-3.1-8B", engine="transformers", prompt_tokens="100;1000", new_tokens=0
    )
    terms = {t.name: t.bytes for t in padded.part("prefill_padding").terms}
    assert terms["cache of padding tokens"] == 900 * 131_072
    assert terms["attention mask"] == 2 * 1000 * 1000
    even = vramlib.estimate(
        model="Llama-3.1-8B", engine="transformers", prompt_tokens="1000;1000", new_tokens=0
    )
    assert even.part("prefill_padding").bytes == 0


def test_auto_length_is_the_largest_that_starts() -> None:
    answer = vramlib.estimate(model="Llama-3.1-8B", gpu="L4", max_model_len="auto")
    assert answer.fits
    assert answer.scenario.max_model_len == answer.budget.max_model_len_that_fits < 131_072
    whole = vramlib.estimate(model="Llama-3.1-8B", gpu="L4")
    assert not whole.fits
    assert f"{answer.scenario.max_model_len:,}" in whole.verdict


@pytest.mark.parametrize(
    "model", ["Llama-3.1-8B", "google/gemma-3-27b-it", "Qwen/Qwen3-Next-80B-A3B-Instruct"]
)
@pytest.mark.parametrize("pp", [1, 2, 3])
def test_a_rank_never_holds_more_than_the_whole(model: str, pp: int) -> None:
    given = {"model": model, "gpu": "H200", "max_model_len": 8192}
    whole, rank = (vramlib.estimate(**given, pipeline_parallel_size=n) for n in (1, pp))
    for key in ("model_weights", "kv_cache"):
        assert rank.part(key).bytes <= whole.part(key).bytes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "model is not given"),
        ({"model": "Llama-3.1-8B", "tensor_parallel_size": 3}, "does not divide the 32 attention heads"),
        ({"model": "Llama-3.1-8B", "pipeline_parallel_size": 33}, "more than the 32 layers"),
        ({"model": "Llama-3.1-8B", "prompt_tokens": "1;2", "batch_size": 3}, "batch_size 3 with 2 lengths"),
        ({"model": "Llama-3.1-8B", "engine": "vlm"}, "nearest: vllm"),
        ({"model": "Llama-3.1-8B", "engine_version": "new"}, "not a version"),
        ({"model": "Llama-3.1-8B", "quantization": "awk"}, "nearest"),
        ({"model": "Llama-3.1-8B", "batch_size": 0}, "batch_size"),
    ],
)
def test_unusable_input_says_what_would_work(given: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, KeyError), match=message):
        vramlib.estimate(**given)


def test_beyond_the_models_limit_is_a_warning() -> None:
    answer = vramlib.estimate(model="Llama-3.1-8B", max_model_len=200_000)
    assert any("beyond the 131,072 positions" in w for w in answer.warnings)


def test_bytes_alone_take_other_traits_from_the_nearest_card() -> None:
    answer = vramlib.estimate(model="Llama-3.1-8B", gpu_memory_bytes="24GiB")
    assert answer.gpu.memory_bytes == 24 * 2**30
    assert answer.scenario.max_num_seqs == 256
    assert any("nearest card" in w for w in answer.warnings)


def test_unchecked_versions_say_so() -> None:
    new = vramlib.estimate(model="Llama-3.1-8B", engine_version="0.33.0")
    assert any("known from its source" in w for w in new.warnings)
    newer = vramlib.estimate(model="Llama-3.1-8B", engine_version="0.99.0")
    assert any("nearest known constants" in w for w in newer.warnings)
    assert not vramlib.estimate(model="Llama-3.1-8B", engine_version="0.19.0").warnings


def test_auto_length_of_llama_cpp_fills_the_card() -> None:
    given = {"model": "Llama-3.1-8B", "gpu": "RTX-3060", "engine": "llama.cpp", "quantization": "Q8_0"}
    longest = vramlib.estimate(**given, max_model_len="auto").scenario.max_model_len
    assert 0 < longest < 131_072
    assert vramlib.estimate(**given, max_model_len=longest).fits
    assert not vramlib.estimate(**given, max_model_len=longest + 256).fits


@pytest.mark.parametrize(("model", "gpu"), [("Qwen2.5-7B", "A10G"), ("Llama-3.1-8B", "L4")])
def test_auto_length_of_sglang_starts(model: str, gpu: str) -> None:
    assert vramlib.estimate(model=model, gpu=gpu, engine="sglang", max_model_len="auto").fits


@pytest.mark.parametrize("engine", ENGINES)
def test_exact_means_without_an_interval(engine: str) -> None:
    for p in vramlib.estimate(model="Llama-3.1-8B", engine=engine, max_model_len=8192).parts:
        if p.basis == "exact":
            assert p.low_bytes == p.bytes == p.high_bytes, p.key


def test_a_start_that_other_processes_prevent_names_no_more_than_was_asked_and_no_length() -> None:
    given = {"model": "Llama-3.1-8B", "gpu": "L4", "max_model_len": 131072}
    assert "; the largest max_model_len that starts is 33,232." in vramlib.estimate(**given).verdict
    crowded = vramlib.estimate(**given, num_processes=8)
    asked = show(crowded.budget.requested_bytes)
    assert f"asks for {asked} at start and {asked} of it is not free" in crowded.verdict
    assert "that starts" not in crowded.verdict


def test_positions_that_a_model_lacks_are_no_reason_of_the_verdict() -> None:
    answer = vramlib.estimate(
        model="state-spaces/mamba-2.8b-hf", gpu="T4", max_model_len=4096, num_processes=8
    )
    assert not answer.fits
    assert "largest max_model_len" not in answer.verdict


@pytest.mark.parametrize(("tp", "shares"), [(1, 3), (1, 2), (8, 3)])
def test_cards_that_share_a_cache_are_cards_of_one_group(tp: int, shares: int) -> None:
    """vLLM: tp_size needs to be divisible by dcp_size; one card's pool does not hold three times the tokens."""
    given = {"model": "Llama-3.1-8B", "tensor_parallel_size": tp}
    with pytest.raises(ValueError, match=f"decode_context_parallel_size {shares} does not divide"):
        vramlib.estimate(**given, decode_context_parallel_size=shares)
    assert vramlib.estimate(**given, decode_context_parallel_size=tp).fits
