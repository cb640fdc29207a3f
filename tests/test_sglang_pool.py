"""SGLang's pool against public logs and its own defaults."""

import numpy
import pytest

from vramlib import catalog, estimate, resolve
from vramlib.components import sglang_pool
from vramlib.units import GiB, MiB

# tokens, layers with a cache, key heads on this rank, head_dim, bytes of a number, printed K size ("GB" is GiB), log
K_SIZES = [
    (367_404, 94, 1, 128, 2, 8.23, "vllm-project/vllm/issues/21348: Qwen3-235B, tp 4"),
    (91_749, 40, 8, 128, 2, 7.00, "xorbitsai/inference/issues/3481: Qwen3-14B"),
    (1_339_395, 46, 4, 128, 2, 58.76, "sglang/issues/11208: GLM-4.5-Air, 2 ranks of attention"),
    (20_480, 32, 32, 128, 2, 5.00, "sgl-project.github.io, speculative_decoding.ipynb: Llama-2-7B"),
    (834_615, 34, 4, 256, 2, 54.12, "sglang/pull/4826: Gemma-3-4B, all layers at full length"),
    (580_364, 15, 1, 256, 2, 4.15, "ktransformers/issues/1870: Qwen3.5-397B, tp 2, every fourth layer"),
    (1_216_683, 48, 4, 128, 2, 55.70, "sglang/pull/18255: Qwen3-30B-A3B"),
]


@pytest.mark.parametrize("row", K_SIZES, ids=lambda row: row[-1])
def test_logged_tokens_and_key_sizes_agree(row):
    tokens, layers, heads, width, number, printed, _ = row
    keys = layers * heads * width * number
    assert round(tokens * keys / GiB, 2) == printed
    pool = 2 * tokens * keys
    assert sglang_pool.pool_tokens(pool, 2 * keys) == tokens
    assert sglang_pool.pool_tokens(pool - 1, 2 * keys) == tokens - 1


def test_logged_budget():
    """One 288 GB card: 0.911 · 287.18 − 56.98 = 204.64, printed 204.63."""
    before, weights = (round(x * GiB) for x in (287.18, 56.98))
    assert sglang_pool.pool_bytes(before, before - weights, 0.911) / GiB == pytest.approx(204.63, abs=0.011)


def test_logged_second_pool_of_sliding_layers():
    """sglang/pull/18039, MiMo-V2-Flash, page 64: full_layer_tokens 375360, swa_layer_tokens 300288."""
    full, swa = 1000, 5000
    tokens = sglang_pool.pool_tokens(375_360 * full + 300_288 * swa, full, swa_bytes=swa, page_size=64)
    assert tokens == 375_360


def test_logged_states_of_linear_layers():
    """ktransformers/issues/1870, Qwen3.5-397B, tp 2: 82 slots (and one more), conv_state 0.13 GB, ssm_state 7.29 GB."""
    recurrent, columns = 45 * 32 * 128 * 128 * 4, 45 * 3 * (16 * 128 + 32 * 128) * 2
    assert (round(83 * columns / GiB, 2), round(83 * recurrent / GiB, 2)) == (0.13, 7.29)
    rest = 82 * (recurrent + columns) + 2 * round(4.15 * GiB)
    assert sglang_pool.mamba_slots(rest, recurrent + columns) in (82, 83)


def test_all_layers_sliding_makes_one_pool():
    assert sglang_pool.pool_tokens(1000, 0, swa_bytes=10) == 100


# nvidia-smi total [MiB], tp -> chunk, largest decode graph
TIERS = [
    (15_360, 1, 2048, 8),
    (24_564, 1, 4096, 48),
    (24_564, 4, 4096, 160),
    (46_068, 1, 4096, 32),
    (81_559, 1, 8192, 256),
    (81_559, 8, 8192, 512),
    (143_771, 1, 8192, 256),
    (183_359, 1, 16_384, 512),
]


@pytest.mark.parametrize(("total", "tp", "chunk", "largest"), TIERS)
def test_defaults_by_card(total, tp, chunk, largest):
    """sglang/srt/arg_groups/memory_hook.py of 0.5.23."""
    assert sglang_pool.chunked_prefill_size(total * MiB, tp) == chunk
    assert sglang_pool.cuda_graph_sizes(total * MiB, tp)[-1] == largest


def test_reserve_has_a_floor_on_large_cards():
    """H100, MLA, chunk 2048: 512 + 3072 + 128 + 512 + 1536 = 5760 MiB, raised to 10 GiB."""
    assert sglang_pool.reserved_mib(81_559 * MiB, 2048, mla=True) == 10_240
    assert sglang_pool.reserved_mib(24_564 * MiB, 2048, mla=True) == 512 + 3072 + 128 + 96 + 1536


def test_decode_graph_sizes_up_to_512():
    sizes = sglang_pool.cuda_graph_sizes(81_559 * MiB, 8)
    assert len(sizes) == 52
    assert sizes[:6] == (1, 2, 4, 8, 12, 16)
    assert sglang_pool.cuda_graph_sizes(81_559 * MiB, 1, max_bs=20) == (1, 2, 4, 8, 12, 16, 20)


def test_budget_adds_up():
    s = resolve.scenario(model="Llama-3.1-8B", engine="sglang", gpu="H100-80GB")
    b = sglang_pool.scenario_budget(s, 15 * GiB, 78 * GiB)
    assert b.requested_bytes - b.weights_bytes - b.cuda_graph_bytes == b.kv_pool_bytes
    assert b.kv_bytes_per_token == 131_072
    assert b.kv_pool_tokens == b.kv_pool_bytes // 131_072 // s.block_size * s.block_size


def test_budget_of_a_hybrid_leaves_room_for_states():
    s = resolve.scenario(model="Qwen3.5-9B", engine="sglang", gpu="H100-80GB")
    b = sglang_pool.scenario_budget(s, 18 * GiB, 78 * GiB)
    assert b.persistent_bytes / b.kv_pool_bytes == pytest.approx(0.9, rel=0.02)
    assert b.kv_bytes_per_token == 8 * 4 * (256 + 256) * 2


def test_mla_is_not_divided_by_tensor_parallelism():
    one, eight = (
        sglang_pool.cell_bytes(
            resolve.scenario(model="DeepSeek-V3", engine="sglang", gpu="H200", tensor_parallel_size=tp)
        )[0]
        for tp in (1, 8)
    )
    assert one == eight == 61 * 576 * 2


def test_arrays_give_what_numbers_give():
    pools = numpy.array([0, 10 * GiB, 50 * GiB])
    found = sglang_pool.pool_tokens(pools, 131_072, page_size=16)
    assert found.tolist() == [sglang_pool.pool_tokens(int(p), 131_072, page_size=16) for p in pools]


def test_a_pool_below_zero_holds_nothing():
    assert sglang_pool.pool_tokens(-5, 131_072) == 0


def test_default_fraction_takes_arrays_of_chunks():
    found = sglang_pool.mem_fraction_static(81_559 * MiB, numpy.array([2048, 8192]), mla=True)
    assert found.tolist() == [
        sglang_pool.mem_fraction_static(81_559 * MiB, n, mla=True) for n in (2048, 8192)
    ]


@pytest.mark.parametrize("model", ["google/gemma-3-27b-it", "LGAI-EXAONE/EXAONE-4.0-32B", "Llama-3.1-8B"])
@pytest.mark.parametrize("block_size", [1, 64])
def test_the_longest_request_is_the_one_that_fits_and_one_more_is_not(model, block_size):
    given = {
        "model": model,
        "gpu": "A100-80GB",
        "engine": "sglang",
        "block_size": block_size,
        "max_num_seqs": 64,
    }
    b = estimate(**given, max_model_len=8192).budget
    longest = min(b.kv_pool_tokens, catalog.model(model).max_position_embeddings)
    assert b.max_model_len_that_fits == longest
    assert b.num_blocks * b.bytes_per_block <= b.kv_pool_bytes
    assert estimate(**given, max_model_len=longest).fits
    assert not estimate(**given, max_model_len=b.kv_pool_tokens + 1).fits
