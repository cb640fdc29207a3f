"""Activations against a live-storage count of transformers, and against what vLLM logged while profiling."""

from __future__ import annotations

import pytest

from vramlib import budget, catalog, resolve
from vramlib.components import activations, prefill_padding

GiB = 2**30
COUNT = "live-storage count of transformers 5.23 on fake tensors, Llama-3.1-8B shape, bf16, one sequence"


@pytest.fixture(scope="module")
def llama():
    """Llama-3.1-8B."""
    return catalog.model("Llama-3.1-8B")


@pytest.mark.parametrize(
    ("how", "rows", "tokens", "counted"),
    [
        ("sdpa", 1, 512, 61_083_648),
        ("sdpa", 1, 2048, 244_334_592),
        ("sdpa", 1, 8192, 977_338_368),
        ("sdpa", 512, 512, 135_528_448),
        ("sdpa", 2048, 2048, 542_113_792),
        ("sdpa", 8192, 8192, 2_168_455_168),
        ("eager", 1, 512, 109_842_432),
        ("eager", 1, 2048, 1_452_294_144),
        ("eager", 1, 8192, 22_015_967_232),
        ("eager", 512, 512, 135_528_448),
        ("eager", 2048, 2048, 1_452_294_144),
    ],
)
def test_transformers_peak_is_the_counted_one(llama, how: str, rows: int, tokens: int, counted: int) -> None:
    assert activations.transformers_bytes(llama, tokens, tokens, rows, attn_implementation=how) == counted, (
        COUNT
    )


@pytest.mark.parametrize("model", ["Llama-3.2-1B", "Llama-2-7B", "Qwen2.5-7B", "Qwen3-0.6B", "Qwen3-8B"])
def test_depth_does_not_matter(model: str) -> None:
    """The formula has no layer count: under no_grad every layer reuses the buffers of the one before."""
    m = catalog.model(model)
    assert activations.mlp_bytes(m, 2048) == 2048 * (
        2 * (3 * m.intermediate_size + 4 * m.hidden_size + 2 * m.head_dim) + 8
    )


def test_phi_3_keeps_its_fused_gate_and_up_alive() -> None:
    """Measured over the formula with three widths 1.2210, with four 1.0000."""
    m = catalog.model("microsoft/Phi-3-mini-4k-instruct")
    assert m.fused_gate_up
    three = 2048 * (2 * (3 * m.intermediate_size + 4 * m.hidden_size + 2 * m.head_dim) + 8)
    assert activations.mlp_bytes(m, 2048) / three == pytest.approx(1.2210, abs=0.0005)


def test_worked_numbers_of_llama_on_an_h100(llama) -> None:
    """0.92 GiB of forward and 1.88 GiB of sampler at 8192 tokens and 1024 sequences."""
    assert activations.forward_bytes(llama, 8192) == 989_855_744
    assert activations.sampler_bytes(llama, 8192, 1024) == pytest.approx(2_019_242_803, abs=1000)


# vLLM 0.19 on H100, 8192 tokens, 1024 sequences: logged peak; the two constants were fitted on the dense rows
LOGGED = [
    ("codellama/CodeLlama-7b-hf", 1, 0.77, 0.03),
    ("ibm-granite/granite-3.3-8b-instruct", 1, 0.85, 0.03),
    ("meta-llama/Llama-3.1-8B-Instruct", 1, 1.89, 0.03),
    ("meta-llama/Llama-3.1-8B-Instruct", 4, 1.89, 0.03),
    ("Qwen/Qwen2.5-7B-Instruct", 1, 2.21, 0.03),
    ("Qwen/Qwen3-8B", 1, 2.21, 0.03),
    ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 2, 1.96, 0.03),
    ("Qwen/Qwen2.5-72B-Instruct", 2, 2.29, 0.03),
    ("google/gemma-2-9b-it", 1, 3.65, 0.03),
    ("google/gemma-2-27b-it", 1, 3.66, 0.03),
    ("deepseek-ai/DeepSeek-V2-Lite-Chat", 1, 1.93, 0.03),
    ("Qwen/Qwen1.5-MoE-A2.7B", 1, 2.47, 0.03),
    ("Qwen/Qwen3-30B-A3B", 1, 2.68, 0.03),
    ("mistralai/Mixtral-8x7B-v0.1", 2, 1.21, 0.04),
    ("openai/gpt-oss-20b", 1, 2.87, 0.03),
    ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", 1, 2.03, 0.04),
    ("google/gemma-3-27b-it", 1, 3.99, 0.04),
]


@pytest.mark.parametrize(("model", "tp", "logged", "within"), LOGGED)
def test_profiled_peak_is_what_vllm_logged(model: str, tp: int, logged: float, within: float) -> None:
    s = resolve.scenario(model=model, tensor_parallel_size=tp, gpu="H100-80GB", max_model_len=8192)
    assert (s.max_num_seqs, s.max_num_batched_tokens) == (1024, 8192)
    assert budget.activation_peak_bytes(s) / GiB == pytest.approx(logged, rel=within)


@pytest.mark.parametrize(
    ("model", "logged"), [("meta-llama/Llama-3.1-8B-Instruct", 4.76), ("Qwen/Qwen3-14B", 5.64)]
)
def test_older_sampler_took_more(model: str, logged: float) -> None:
    """vLLM 0.11-0.16 logged 2.5 times as much for the same step."""
    s = resolve.scenario(model=model, gpu="H100-80GB", engine_version="0.14.0", max_model_len=8192)
    assert budget.activation_peak_bytes(s) / GiB == pytest.approx(logged, rel=0.03)


def test_small_card_runs_smaller_steps(llama) -> None:
    """24 GB card: 2048 tokens, 256 sequences: 0.23 GiB of forward, 0.47 GiB of sampler."""
    s = resolve.scenario(model="Llama-3.1-8B", gpu="L4", max_model_len=8192)
    assert (s.max_num_seqs, s.max_num_batched_tokens) == (256, 2048)
    assert activations.forward_bytes(llama, 2048) / GiB == pytest.approx(0.23, abs=0.005)
    assert activations.sampler_bytes(llama, 2048, 256) / GiB == pytest.approx(0.47, abs=0.005)


def test_mla_workspaces_of_deepseek_v3() -> None:
    """72 MiB of gathered latents; 4 GiB / tp when 65,536 tokens of context are expanded."""
    m = catalog.model("deepseek-ai/DeepSeek-V3")
    tokens = prefill_padding.mla_context_tokens(163_840, 1024, 64)
    assert tokens * 576 * 2 == 72 * 2**20
    assert prefill_padding.mla_up_projection_bytes(m, tokens) == 4 * GiB


def test_only_the_last_pipeline_stage_samples() -> None:
    s = resolve.scenario(model="google/gemma-2-27b", gpu="H100-80GB", pipeline_parallel_size=2)
    first, last = (budget.activation_peak_bytes(s, stage) for stage in (0, 1))
    assert first == activations.forward_bytes(s.model, 8192) + 2 * 8192 * 4608 * 2  # hidden states, residual
    assert last > 1.5 * first
