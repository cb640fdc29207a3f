"""Weights against what engines logged: tensors, rope tables and the allocator's rounding."""

from __future__ import annotations

import pytest

from vramlib import budget, catalog, resolve
from vramlib.components import fragmentation, model_weights
from vramlib.specs import QuantSpec, Tensor

GiB = 2**30
PR205 = "github.com/llm-d-incubation/llm-d-planner, accuracy/results/v0.19.0/logs"

# model, tp, quantization, logged "Model loading took" [GiB], source
LOGGED = [
    ("meta-llama/Meta-Llama-3-8B-Instruct", 1, "", 14.96, "vllm #10511"),
    ("meta-llama/Llama-3.1-8B-Instruct", 1, "", 14.9889, "vllm #17122"),
    ("meta-llama/Llama-3.1-8B-Instruct", 2, "", 7.51, PR205),
    ("meta-llama/Llama-3.1-8B-Instruct", 4, "", 3.77, PR205),
    ("Qwen/Qwen2.5-7B-Instruct", 1, "", 14.25, PR205),
    ("Qwen/Qwen2.5-7B-Instruct", 2, "", 7.12, PR205),
    ("Qwen/Qwen2.5-7B-Instruct", 4, "", 3.55, PR205),
    ("Qwen/Qwen2.5-32B-Instruct", 2, "", 30.7098, "vllm #15815"),
    ("Qwen/Qwen2.5-72B-Instruct", 2, "", 67.80, PR205),
    ("microsoft/phi-4", 1, "", 27.39, PR205),
    ("google/gemma-2-2b-it", 1, "", 4.90, PR205),
    ("google/gemma-2-27b-it", 1, "", 50.72, PR205),
    ("codellama/CodeLlama-7b-hf", 1, "", 12.56, PR205),
    ("Qwen/Qwen3-8B", 1, "", 15.27, PR205),
    ("Qwen/Qwen3-30B-A3B", 4, "", 14.2474, "vllm #17469"),
    ("RedHatAI/Qwen2.5-7B-Instruct-fp8-dynamic", 1, "", 8.14, PR205),
    ("RedHatAI/Qwen2.5-7B-Instruct-quantized.w8a8", 1, "", 8.14, PR205),
    ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 2, "", 33.88, PR205),
    ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 4, "", 16.96, PR205),
    ("meta-llama/Llama-3.1-8B-Instruct", 1, "gptq", 5.38, "vLLM log of a GPTQ int4 g128 repack"),
]


def scenario(model: str, tp: int = 1, quantization: str = "", **more: object):
    """A vLLM scenario on an H100."""
    return resolve.scenario(
        model=model,
        tensor_parallel_size=tp,
        quantization=quantization,
        gpu="H100-80GB",
        max_model_len=8192,
        **more,
    )


@pytest.mark.parametrize(("model", "tp", "quantization", "logged", "source"), LOGGED)
def test_weights_are_what_vllm_logged(
    model: str, tp: int, quantization: str, logged: float, source: str
) -> None:
    found = budget.weights_bytes(scenario(model, tp, quantization)) / GiB
    assert found == pytest.approx(logged, rel=0.001, abs=0.006), source


def test_qwen_rounding_is_the_worked_number() -> None:
    """Qwen2.5-7B: 2 MiB of unsplit tails a layer, 28 layers, half a MiB each for embedding and head: 57 MiB."""
    s = scenario("Qwen/Qwen2.5-7B-Instruct")
    assert model_weights.size_bytes(s) == 15_239_621_632
    assert fragmentation.weight_rounding_bytes(s) == pytest.approx(57 * 2**20, abs=100_000)


def test_fp32_doubles_the_weights() -> None:
    half, full = (model_weights.size_bytes(scenario("Llama-3.1-8B", dtype=d)) for d in ("auto", "float32"))
    assert full == 2 * half


def test_absorbed_mla_copies_of_deepseek_v3() -> None:
    """61 layers of 128 heads, (128 + 128) by 512 in bf16: 1.906 GiB on one rank."""
    m = catalog.model("deepseek-ai/DeepSeek-V3")
    assert model_weights.absorbed_mla_bytes(m) / GiB == pytest.approx(1.906, abs=0.001)
    assert model_weights.absorbed_mla_bytes(m, tp=8) * 8 == model_weights.absorbed_mla_bytes(m)


@pytest.mark.parametrize(
    ("quant", "bits"),
    [
        (QuantSpec(name="awq", weight_bits=4, group_size=128, scale_bits=16, zero_point_bits=4), 4.15625),
        (QuantSpec(name="w4a16", weight_bits=4, group_size=128, scale_bits=16), 4.125),
        (QuantSpec(name="nf4", weight_bits=4, group_size=64, scale_bits=32), 4.5),
        (QuantSpec(name="mxfp4", weight_bits=4, group_size=32, scale_bits=8), 4.25),
        (
            QuantSpec(name="fp8-block", weight_bits=8, group_size=128, scale_bits=32, block_rows=128),
            8.001953125,
        ),
    ],
)
def test_bits_per_weight_of_formats(quant: QuantSpec, bits: float) -> None:
    """vLLM and compressed-tensors layouts: payload, scales and zero points over a 4096 × 4096 matrix."""
    assert sum(model_weights.quantized_bytes(4096, 4096, quant)) * 8 == bits * 4096 * 4096


def test_key_value_heads_are_repeated_when_ranks_outnumber_them() -> None:
    k = Tensor(name="k_proj.weight", shape=(4 * 128, 3584), split="kv", heads=4)
    assert [model_weights.rank_shape(k, tp=tp)[0] for tp in (1, 2, 4, 8)] == [512, 256, 128, 128]


def test_pipeline_stages_add_up_to_the_model() -> None:
    m = catalog.model("Llama-3.1-70B")
    for pp in (2, 3, 7):
        parts = sum(model_weights.tensor_bytes(m, pp=pp, stage=i) for i in range(pp))
        assert parts == model_weights.tensor_bytes(m)


def test_tied_embedding_is_on_both_ends_of_a_pipeline() -> None:
    m = catalog.model("Llama-3.2-1B")
    extra = sum(model_weights.tensor_bytes(m, pp=2, stage=i) for i in range(2)) - model_weights.tensor_bytes(
        m
    )
    assert extra == 128_256 * 2048 * 2


def test_whole_experts_divide_over_expert_ranks() -> None:
    m = catalog.model("Qwen/Qwen3-30B-A3B")
    by_width = model_weights.tensor_bytes(m, tp=4, ep=1)
    by_expert = model_weights.tensor_bytes(m, tp=4, ep=4)
    assert by_width == by_expert
