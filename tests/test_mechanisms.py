"""What runs showed to matter: drafters, images at start-up, adapters, workspaces by version, ranks that talk."""

from __future__ import annotations

from typing import Any

import pytest

from vramlib import budget, catalog, drafters, resolve
from vramlib.components import activations, encoder, model_weights, multi_process
from vramlib.specs import Budget
from vramlib.units import GiB

RTX = {"model": "Qwen3.6-27B", "kv_cache_dtype": "fp8", "engine_version": "0.27.1", "gpu": "RTX-5090"}
GLM = {
    "model": "GLM-5.1",
    "kv_cache_dtype": "fp8",
    "tensor_parallel_size": 8,
    "block_size": 64,
    "max_model_len": 202_752,
}


def tokens(pool_gib: float, **given: Any) -> int:
    s = resolve.scenario(**given)
    return int(budget.with_pool(s, 0, Budget(kv_pool_bytes=int(pool_gib * GiB))).kv_pool_tokens)


@pytest.mark.parametrize(
    ("printed", "pool", "given"),
    [
        (158_304, 5.28, RTX | {"max_model_len": 106_496}),
        (106_977, 5.32, RTX | {"max_model_len": 16_384}),
        (
            612_157,
            10.85,
            {
                "model": "Qwen3.6-27B",
                "tensor_parallel_size": 2,
                "kv_cache_dtype": "fp8_e5m2",
                "max_model_len": 262_144,
                "engine_version": "0.21.0",
                "num_speculative_tokens": 3,
                "enable_prefix_caching": True,
            },
        ),
        (
            1_191_213,
            80.17,
            {
                "model": "Qwen3.8-27B",
                "max_model_len": 262_144,
                "engine_version": "0.25.1",
                "num_speculative_tokens": 3,
            },
        ),
        (319_232, 18.51, GLM | {"engine_version": "0.20.2", "num_speculative_tokens": 3}),
        (1_360_384, 19.47, GLM | {"engine_version": "0.20.2", "decode_context_parallel_size": 4}),
    ],
)
def test_tokens_that_engines_printed_for_their_pool(printed: int, pool: float, given: dict[str, Any]) -> None:
    assert tokens(pool, **given) == printed


def test_a_drafter_is_one_more_attention_layer() -> None:
    drafter = drafters.prediction_layers(catalog.model("Qwen3.6-27B"))
    assert drafter is not None
    assert drafter.num_hidden_layers == 1
    assert [c.kind for c in drafter.layers[0].caches] == ["full"]


def test_prediction_layers_weigh_what_logs_print() -> None:
    """GLM-5.1 on eight cards: 56.62 GiB with its prediction layer, 55.67 without."""
    s = resolve.scenario(**GLM, quantization="nvfp4", num_speculative_tokens=3)
    assert model_weights.drafter_bytes(s) / GiB == pytest.approx(0.95, abs=0.15)


def test_a_model_without_prediction_layers_says_that_its_drafter_is_left_out() -> None:
    s = resolve.scenario(model="Llama-3.1-8B", num_speculative_tokens=4)
    assert s.drafter is None
    assert any("drafter's weights and cache are left out" in w for w in s.warnings)


def test_a_named_drafter_is_loaded_beside_the_model() -> None:
    alone = resolve.scenario(model="Llama-3.1-70B", tensor_parallel_size=4)
    both = resolve.scenario(
        model="Llama-3.1-70B",
        tensor_parallel_size=4,
        num_speculative_tokens=5,
        speculative_model="Llama-3.2-1B",
    )
    small = resolve.scenario(model="Llama-3.2-1B", tensor_parallel_size=4)
    more = model_weights.size_bytes(both) - model_weights.size_bytes(alone)
    assert more == model_weights.tensor_bytes(small.model, **model_weights.rank(small))


def test_ngram_speculation_has_no_model() -> None:
    s = resolve.scenario(model="DeepSeek-V3", num_speculative_tokens=4, speculative_model="ngram")
    assert s.drafter is None


def test_lora_slots_of_a_llama_layer() -> None:
    """q 4096 + 4096, k and v 4096 + 1024, o 4096 + 4096, gate and up 4096 + 14336, down 14336 + 4096."""
    m = catalog.model("Llama-3.1-8B")
    per_layer = 2 * 8192 + 2 * 5120 + 3 * 18_432
    assert model_weights.lora_bytes(m, max_loras=2, max_lora_rank=8) == 2 * 8 * 32 * per_layer * 2


def test_lora_slots_are_only_there_when_asked_for() -> None:
    plain = resolve.scenario(model="Llama-3.1-8B")
    slots = resolve.scenario(model="Llama-3.1-8B", enable_lora=True, max_loras=4, max_lora_rank=64)
    assert model_weights.size_bytes(slots) > model_weights.size_bytes(plain)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ("gemma-3-12b-it", 32),
        ("Mistral-Small-3.1-24B-Instruct-2503", 2),
        ("Llama-4-Scout-17B-16E-Instruct", 3),
    ],
)
def test_images_that_vllm_says_it_profiles_with(model: str, count: int) -> None:
    s = resolve.scenario(model=model, engine_version="0.19.0", max_num_batched_tokens=8192)
    assert encoder.num_items(s) == count


def test_the_largest_image_decides_the_encoder_budget() -> None:
    s = resolve.scenario(model="Qwen3.6-27B", max_num_batched_tokens=2048)
    assert encoder.budget_tokens(s) == 16_384


def test_text_models_profile_no_images() -> None:
    s = resolve.scenario(model="Llama-3.1-8B")
    assert (encoder.cache_bytes(s), encoder.pixel_bytes(s), encoder.tower_bytes(s)) == (0, 0, 0)


def test_expert_workspaces_are_freed_before_they_were_kept() -> None:
    """Qwen3-30B-A3B at 8,192 tokens and 1,024 sequences: 5.58 GiB printed by 0.10.2, 2.68 by 0.19."""
    given = {
        "model": "Qwen3-30B-A3B",
        "gpu": "H100-80GB",
        "max_num_batched_tokens": 8192,
        "max_num_seqs": 1024,
    }
    for version, printed in (("0.10.2", 5.58), ("0.19.0", 2.68)):
        s = resolve.scenario(**given, engine_version=version)
        assert budget.activation_peak_bytes(s) / GiB == pytest.approx(printed, rel=0.01)


def test_eight_bit_activations_add_a_copy() -> None:
    """Mistral-Small w8a8 on one card prints 2.18 GiB, the plain one 2.03."""
    given = {"gpu": "H100-80GB", "max_model_len": 8192, "engine_version": "0.19.0"}
    s = resolve.scenario(model="Mistral-Small-3.1-24B-Instruct-2503", quantization="w8a8", **given)
    assert budget.activation_peak_bytes(s) / GiB == pytest.approx(2.18, rel=0.02)


def test_v0_without_chunks_profiles_a_whole_request() -> None:
    """Qwen2.5-14B on two cards, vLLM 0.7.2 at 32,768 tokens: 2.84 GiB."""
    s = resolve.scenario(
        model="Qwen2.5-14B-Instruct",
        gpu="A100-40GB",
        tensor_parallel_size=2,
        engine_version="0.7.2",
        dtype="float16",
        max_model_len=32_768,
    )
    assert s.max_num_batched_tokens == 32_768
    assert budget.activation_peak_bytes(s) / GiB == pytest.approx(2.84, rel=0.01)


@pytest.mark.parametrize(("version", "tokens_of_a_step"), [("0.6.2", 512), ("0.7.3", 2048)])
def test_v0_turns_chunks_on_above_32k(version: str, tokens_of_a_step: int) -> None:
    s = resolve.scenario(model="Llama-3.1-8B", gpu="L4", engine_version=version)
    assert s.max_num_batched_tokens == tokens_of_a_step


def test_only_two_releases_charge_the_context() -> None:
    charged = [
        v
        for v in ("0.6.2", "0.6.4", "0.6.6", "0.19.0")
        if resolve.scenario(model="Llama-3.1-8B", engine_version=v).engine_spec.value("charges_context")
    ]
    assert charged == ["0.6.4"]


def test_copies_of_a_dense_model_do_not_talk() -> None:
    dense = resolve.scenario(model="Llama-3.1-8B", data_parallel_size=4)
    experts = resolve.scenario(model="Qwen3-30B-A3B", data_parallel_size=4, enable_expert_parallel=True)
    assert (multi_process.side(dense), multi_process.side(experts)) == ("1", "2")


def test_experts_are_cut_over_all_data_parallel_ranks() -> None:
    one = resolve.scenario(model="Qwen3-30B-A3B")
    cut = resolve.scenario(model="Qwen3-30B-A3B", data_parallel_size=2)
    whole = resolve.scenario(model="Qwen3-30B-A3B", data_parallel_size=2, enable_expert_parallel=True)
    assert budget.weights_bytes(cut) < 0.6 * budget.weights_bytes(one)
    assert budget.weights_bytes(whole) == pytest.approx(budget.weights_bytes(cut), rel=0.001)


def test_gathered_tokens_make_the_workspace_larger() -> None:
    one = resolve.scenario(model="Qwen3-30B-A3B", engine_version="0.19.0")
    two = resolve.scenario(
        model="Qwen3-30B-A3B", engine_version="0.19.0", data_parallel_size=2, enable_expert_parallel=True
    )
    assert activations.moe_workspace(two, 8192) == 2 * activations.moe_workspace(one, 8192)


def test_repacks_keep_what_their_logs_show() -> None:
    s = resolve.scenario(model="nvidia/Gemma-4-31B-IT-NVFP4", gpu="H100-80GB")
    assert budget.weights_bytes(s) / GiB == pytest.approx(31.18, rel=0.015)
    unknown = resolve.scenario(model="somebody/Gemma-4-31B-IT-NVFP4", gpu="H100-80GB")
    part = model_weights.part(unknown)
    assert part.low_bytes == part.bytes < part.high_bytes
    assert part.basis == "modelled"


def test_a_tower_is_built_up_to_the_layer_that_is_read() -> None:
    """llava-1.5-7b-hf-awq prints 4.2530 GiB: the last of 24 CLIP layers is not built."""
    s = resolve.scenario(model="ybelkada/llava-1.5-7b-hf-awq", dtype="float16", engine_version="0.10.2")
    assert budget.weights_bytes(s) / GiB == pytest.approx(4.2530, abs=0.001)
