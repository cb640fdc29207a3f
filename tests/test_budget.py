"""An engine's own arithmetic: requested − weights − activations − non-torch = KV pool."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vramlib
from vramlib import blocks, budget, resolve
from vramlib.components import multi_process

GiB = 2**30


def of(**fields: object):
    """The budget of a vLLM scenario on an H100."""
    found = budget.of(resolve.scenario(**{"gpu": "H100-80GB", "model": "Llama-3.1-8B", **fields}))
    assert found is not None
    return found


def test_llama_on_h100_is_what_vllm_printed() -> None:
    """vLLM 0.19: 14.99 weights, 1.89 activations, 58.11 GiB of pool, 476,016 tokens."""
    b = of(gpu_memory_utilization=0.95, max_model_len=8192)
    assert b.requested_bytes / GiB == pytest.approx(75.23, abs=0.005)
    assert b.weights_bytes / GiB == pytest.approx(14.99, abs=0.005)
    assert b.activation_peak_bytes / GiB == pytest.approx(1.89, rel=0.01)
    assert b.kv_pool_bytes / GiB == pytest.approx(58.11, rel=0.005)
    assert b.kv_pool_tokens == pytest.approx(476_016, rel=0.005)
    assert b.max_concurrency == pytest.approx(58.10, rel=0.005)


def test_fp8_cache_holds_twice_the_tokens() -> None:
    one, two = (of(max_model_len=8192, **more) for more in ({}, {"kv_cache_dtype": "fp8"}))
    assert two.kv_pool_bytes == one.kv_pool_bytes
    assert two.kv_pool_tokens == pytest.approx(2 * one.kv_pool_tokens, abs=16)


# vLLM 0.19 on H100, utilization 0.95, 8192: logged pool [GiB] and tokens; the two activation constants were fitted on
# dense rows of this set, so this checks the arithmetic, not the accuracy on unseen runs
POOLS = [
    ("codellama/CodeLlama-7b-hf", 1, 61.66, 126_256),
    ("google/gemma-2-9b-it", 1, 54.12, 168_880),
    ("google/gemma-7b", 1, 55.44, 129_760),
    ("microsoft/phi-4", 1, 46.08, 241_568),
    ("Qwen/Qwen3-8B", 1, 57.5, 418_688),
    ("Qwen/Qwen3-30B-A3B", 1, 15.41, 168_288),
    ("deepseek-ai/DeepSeek-V2-Lite-Chat", 1, 43.61, 1_505_552),
    ("Qwen/Qwen2.5-7B-Instruct", 1, 58.53, 1_096_000),
    ("Qwen/Qwen2.5-7B-Instruct", 2, 63.84, 2_390_592),
    ("Qwen/Qwen2.5-7B-Instruct", 4, 67.34, 5_043_280),
]


@pytest.mark.parametrize(("model", "tp", "pool_gib", "tokens"), POOLS)
def test_pools_of_vllm_0_19(model: str, tp: int, pool_gib: float, tokens: int) -> None:
    b = of(model=model, tensor_parallel_size=tp, gpu_memory_utilization=0.95, max_model_len=8192)
    assert b.kv_pool_bytes / GiB == pytest.approx(pool_gib, rel=0.01)
    assert b.kv_pool_tokens == pytest.approx(tokens, rel=0.01)


def test_vllm_0_33_worked_example() -> None:
    """H100, server defaults: requested 72.88, weights 14.99, state 0.54, activations 1.78, pool about 54.4 GiB."""
    b = of(engine_version="0.33.0", gpu_memory_bytes=int(79.22 * GiB))
    assert b.requested_bytes / GiB == pytest.approx(72.88, abs=0.01)
    assert b.persistent_bytes / GiB == pytest.approx(0.54, abs=0.005)
    assert b.activation_peak_bytes / GiB == pytest.approx(1.78, abs=0.01)
    assert b.kv_pool_bytes / GiB == pytest.approx(54.4, rel=0.005)
    assert b.max_concurrency == pytest.approx(3.4, abs=0.05)


IDENTITY = [
    ("0.14.0", {}),
    ("0.19.0", {}),
    ("0.20.0", {}),
    ("0.33.0", {}),
    ("0.33.0", {"enforce_eager": True}),
]


@pytest.mark.parametrize(("version", "more"), IDENTITY)
@pytest.mark.parametrize("model", ["Llama-3.1-8B", "Qwen/Qwen3-30B-A3B", "google/gemma-3-27b-it"])
def test_identity(version: str, more: dict[str, bool], model: str) -> None:
    b = of(model=model, engine_version=version, **more)
    spent = b.weights_bytes + b.persistent_bytes + b.activation_peak_bytes + b.non_torch_bytes
    charged = b.cuda_graph_bytes if version >= "0.20" else 0
    assert b.requested_bytes - spent - charged == b.kv_pool_bytes


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@settings(max_examples=40, deadline=None)
@given(size=st.integers(20 * GiB, 200 * GiB), u=st.floats(0.85, 0.99))
def test_longest_length_starts_and_one_more_does_not(engine: str, size: int, u: float) -> None:
    given_ = {
        "model": "Llama-3.1-8B",
        "gpu_memory_bytes": size,
        "gpu_memory_utilization": u,
        "engine": engine,
    }
    longest = of(gpu=None, **given_).max_model_len_that_fits
    if longest == 131_072:
        return
    for length, starts in ((longest, True), (longest + 16, False)):
        if length:
            s = resolve.scenario(**given_, max_model_len=length)
            b = budget.of(s)
            need = b.kv_bytes_at_max_model_len + budget.null_block_bytes(s, b)
            assert (need <= b.kv_pool_bytes) is starts


@pytest.mark.parametrize("asked", [3_000, 4_916, 6_000, 100_000])
def test_the_longest_length_of_mla_is_the_same_whatever_length_was_asked(asked: int) -> None:
    """MLA's workspace grows with max_model_len up to 8k tokens: a shorter length leaves a larger pool."""
    given_ = {"model": "GLM-4.7-Flash", "gpu": "MI210", "max_num_seqs": 1}
    longest = vramlib.estimate(**given_, max_model_len=asked).budget.max_model_len_that_fits
    assert longest == vramlib.estimate(**given_, max_model_len="auto").scenario.max_model_len
    assert vramlib.estimate(**given_, max_model_len=longest).fits
    assert not vramlib.estimate(**given_, max_model_len=longest + 1).fits


def test_the_longest_lengths_of_mla_at_once_are_those_one_at_a_time() -> None:
    given_ = {"model": "GLM-4.7-Flash", "gpu": "MI210", "engine": "vllm"}
    lengths, slots = (100, 1_000, 4_000, 8_000, 100_000, 202_752), (1, 2, 16, 1, 1, 1024)
    scenarios = [
        {**given_, "max_model_len": n, "max_num_seqs": r, "gpu_memory_utilization": u}
        for n, r in zip(lengths, slots, strict=True)
        for u in (0.89, 0.9, 0.92, 0.95)
    ]
    assert blocks.answers(scenarios) == [blocks.one(one) for one in scenarios]


def test_tensor_parallel_communication_on_h100() -> None:
    """2.8 to 3.0 GiB a rank from two ranks on: 1.02 before the budget, 1.85 more while profiling."""
    s = resolve.scenario(model="Llama-3.1-8B", gpu="H100-80GB", tensor_parallel_size=2)
    assert 2.7 <= sum(t.bytes for t in multi_process.communication_terms(s)) / GiB <= 3.0


def test_refusal_to_start_is_named() -> None:
    """Two servers that each want 0.9 of the card: the second finds too little free memory."""
    answer = vramlib.estimate(model="Llama-3.1-8B", gpu="H100-80GB", num_processes=2, max_model_len=8192)
    assert not answer.fits
    assert "not free" in answer.verdict


def test_transformers_has_no_budget() -> None:
    assert vramlib.estimate(model="Llama-3.1-8B", engine="transformers").budget is None


@pytest.mark.parametrize(("stages", "peak_gib"), [(2, 1.10), (4, 1.05)])
def test_a_pipeline_stage_before_the_last(stages: int, peak_gib: float) -> None:
    """vLLM 0.19 on H100, Llama-3.1-8B: 0.07 GiB outside PyTorch; github.com/llm-d-incubation/llm-d-planner,
    accuracy/results/v0.19.0/accuracy_report.md."""
    s = resolve.scenario(
        model="Llama-3.1-8B", gpu="H100-80GB", max_model_len=8192, pipeline_parallel_size=stages
    )
    assert budget.activation_peak_bytes(s, 0) / GiB == pytest.approx(peak_gib, abs=0.06)
    assert budget.non_torch_bytes(s, 0) / GiB == pytest.approx(0.07, abs=0.005)
    assert budget.non_torch_bytes(s, stages - 1) / GiB == pytest.approx(0.25, abs=0.005)
    assert [t.name for t in multi_process.communication_terms(s)] == ["NCCL set up before the budget starts"]


def test_float32_logits_are_wider() -> None:
    """The same report: 29.98 GiB of weights and 42.80 of pool leave 2.20 for the peak at 0.95 of 79.19 GiB."""
    s = resolve.scenario(model="Llama-3.1-8B", gpu="H100-80GB", max_model_len=8192, dtype="float32")
    assert budget.activation_peak_bytes(s) / GiB == pytest.approx(2.20, abs=0.03)
