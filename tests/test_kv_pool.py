"""vLLM's block pool against figures printed in logs."""

from __future__ import annotations

import pytest

from vramlib import resolve
from vramlib.components import kv_cache, kv_pool
from vramlib.specs import Cache

GiB = 2**30
FULL = Cache(kind="full", num_key_value_heads=8, head_dim=64, v_head_dim=64)
SLIDING = Cache(kind="sliding", num_key_value_heads=8, head_dim=64, v_head_dim=64, window=128)


def pool(model: str, **more: object) -> kv_pool.Pool:
    """The planned pool of a model on vLLM."""
    found = kv_pool.of(resolve.scenario(model=model, gpu="H100-80GB", **more))
    assert found is not None
    return found


def test_gpt_oss_request_of_131072_tokens_needs_9225_blocks() -> None:
    """12 full layers need 8192 blocks; 12 sliding ones ⌈(127 + 2 · 8192)/16⌉ + 1 = 1033: vLLM 0.26 and later."""
    plan = pool("openai/gpt-oss-20b")
    assert (plan.bytes_per_block, plan.num_groups) == (393_216, 2)
    assert plan.blocks_per_request(131_072, 2 * 8192) == 9225
    assert 9225 * plan.bytes_per_block / GiB == pytest.approx(3.378, abs=0.001)


def test_gemma_3_27b_pool_is_the_logged_one() -> None:
    """vLLM 0.19: 19.53 GiB → 15,997 blocks in 7 groups, 36,560 tokens, 4.46 requests of 8192."""
    plan = pool("google/gemma-3-27b-it")
    assert (plan.bytes_per_block, plan.num_groups) == (1_310_720, 7)
    blocks = 15_997
    assert blocks == pytest.approx(19.53 * GiB / plan.bytes_per_block, abs=5)
    assert blocks // plan.num_groups * plan.block_size == 36_560
    assert blocks / plan.blocks_per_request(8192, 8192) == pytest.approx(4.46, abs=0.005)


def test_gemma_3_12b_pool_is_the_logged_one() -> None:
    plan = pool("google/gemma-3-12b-it")
    assert 48_867 // plan.num_groups * plan.block_size == 130_304
    assert 48_867 / plan.blocks_per_request(8192, 8192) == pytest.approx(15.88, abs=0.005)


def test_gemma_3_27b_request_of_131072_tokens() -> None:
    """8192 + 6 · 1089 = 14,726 blocks, 17.98 GiB, with two batches in flight."""
    plan = pool("google/gemma-3-27b-it")
    assert plan.blocks_per_request(131_072, 2 * 8192) == 14_726
    assert 14_726 * plan.bytes_per_block / GiB == pytest.approx(17.98, abs=0.005)


def test_qwen3_next_block_of_544_tokens_with_1_49_percent_padding() -> None:
    """Both figures stand verbatim in public vLLM logs."""
    plan = pool("Qwen/Qwen3-Next-80B-A3B-Instruct")
    assert plan.block_size == 544
    assert plan.state_page_padding / (1_114_112 - plan.state_page_padding) == pytest.approx(
        0.0149, abs=0.0001
    )


def test_qwen3_next_with_fp32_states_has_blocks_of_1056_tokens() -> None:
    """Twice the recurrent state: 49,152 + 2,097,152 bytes a layer."""
    full = Cache(kind="full", num_key_value_heads=2, head_dim=256, v_head_dim=256)
    gdn = Cache(kind="linear", conv_dim=8192, conv_kernel=4, state_elements=524_288)
    plan = kv_pool.plan(((full, 12), (gdn, 36)), (2048, 49_152 + 2_097_152), block_size=16)
    assert plan is not None
    assert plan.block_size == 1056


@pytest.mark.parametrize(
    ("pool_gib", "tokens"), [(58.11, 476_016), (26.43, 216_512), (19.28, 157_936), (3.78, 30_960)]
)
def test_llama_pools_hold_the_logged_tokens(pool_gib: float, tokens: int) -> None:
    """The pool's size is printed to two digits, so tokens agree to that."""
    plan = pool("Llama-3.1-8B")
    assert plan.bytes_per_block == 16 * 131_072
    assert tokens * 131_072 == pytest.approx(pool_gib * GiB, abs=0.006 * GiB)
    assert tokens % plan.block_size == 0


def test_layers_of_other_head_widths_get_longer_blocks() -> None:
    """Half the bytes per token: twice the tokens in a page of equal size."""
    narrow = Cache(kind="sliding", num_key_value_heads=4, head_dim=64, v_head_dim=64, window=128)
    plan = kv_pool.plan(((FULL, 4), (narrow, 4)), (2048, 1024), block_size=16)
    assert plan is not None
    assert {g.cache.kind: g.block_size for g in plan.groups} == {"full": 16, "sliding": 32}


def test_without_hybrid_manager_sliding_layers_are_full() -> None:
    plan = kv_pool.plan(((FULL, 12), (SLIDING, 12)), (2048, 2048), block_size=16, hybrid=False)
    assert plan is not None
    assert plan.num_groups == 1
    assert plan.blocks_per_request(131_072, 8192) == 8192
    assert plan.bytes_per_block == 24 * 16 * 2048


def test_no_cache_no_pool() -> None:
    assert kv_pool.plan((), (), block_size=16) is None


@pytest.mark.parametrize(
    ("model", "per_token"),
    [
        ("Llama-3.1-8B", 131_072),
        ("meta-llama/Llama-2-13b-hf", 819_200),
        ("Llama-3.1-70B", 327_680),
        ("Qwen/Qwen3-30B-A3B", 98_304),
        ("deepseek-ai/DeepSeek-V3", 70_272),
        ("tiiuae/falcon-7b", 2 * 32 * 64 * 2),
    ],
)
def test_bytes_per_token(model: str, per_token: int) -> None:
    """Printed in the literature and equal to what transformers stores for the same model."""
    from vramlib import catalog

    assert kv_cache.bytes_per_token(catalog.model(model)) == per_token


def test_deepseek_row_formats() -> None:
    from vramlib import catalog

    m = catalog.model("deepseek-ai/DeepSeek-V3")
    assert kv_cache.bytes_per_token(m, kv_cache_dtype="fp8_ds_mla") == 61 * 656
    assert kv_cache.bytes_per_token(m, tp=8) == kv_cache.bytes_per_token(m)


def test_fp8_halves_and_doubling_the_batch_doubles() -> None:
    one, two, half = (
        kv_cache.size_bytes(resolve.scenario(model="Llama-3.1-8B", max_model_len=8192, **more))
        for more in ({}, {"batch_size": 2}, {"kv_cache_dtype": "fp8"})
    )
    assert two == 2 * one
    assert half * 2 == one


def test_resolved_block_size_is_the_one_that_is_used() -> None:
    s = resolve.scenario(model="Qwen/Qwen3-Next-80B-A3B-Instruct", gpu="H200")
    assert s.block_size == 544
    assert kv_pool.of(s).block_size == 544
    asked = resolve.scenario(model="Qwen/Qwen3-Next-80B-A3B-Instruct", gpu="H200", block_size=32)
    assert asked.block_size == 544
    assert any("raised to 544" in w for w in asked.warnings)
