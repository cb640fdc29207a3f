"""The simulated caching allocator: PyTorch's rules, what vLLM logged after loading, and laws that always hold."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from vramlib import catalog, resolve
from vramlib.allocator import (
    INACTIVE,
    Block,
    CachingAllocator,
    Event,
    OutOfMemoryError,
    Settings,
    block_bytes,
    dynamic_cache_trace,
    last_stats,
    random_trace,
    replay,
    rounding_bytes,
    scenario_weight_trace,
    weight_trace,
)
from vramlib.components import fragmentation, model_weights
from vramlib.units import GiB, KiB, MiB

LOGS_019 = "github.com/llm-d-incubation/llm-d-planner, accuracy/results/v0.19.0/logs"


def card(total_bytes: int = 80 * GiB, **settings: object) -> CachingAllocator:
    return CachingAllocator(total_bytes=total_bytes, settings=Settings(**settings))


# --- sizes ------------------------------------------------------------------------------------------------------

# request, block, growth of reserved; in this order on one fresh allocator
UNIT_VECTORS = [
    (100, 512, 2 * MiB),
    (600, 1024, 0),
    (1_048_576, 1_048_576, 0),
    (1_048_577, 1_049_088, 20 * MiB),
    (10_380_902, 10_381_312, 0),
    (10 * MiB, 10 * MiB, 10 * MiB),
    (11_010_048, 11_010_048, 12 * MiB),
    (11 * MiB, 12 * MiB, 12 * MiB),
    (25 * MiB, 26 * MiB, 26 * MiB),
]


def test_blocks_and_segments_of_a_fresh_allocator() -> None:
    """PyTorch's rounding: a rest of 1 MiB or less stays with a large block, everything else is split off."""
    gpu, reserved = card(), 0
    for nbytes, size, growth in UNIT_VECTORS:
        assert gpu.malloc(nbytes).size == size
        assert gpu.stats.reserved_bytes - reserved == growth
        reserved = gpu.stats.reserved_bytes


def test_closed_form_of_fragmentation_rounds_as_a_fresh_segment_does() -> None:
    for nbytes in (
        1,
        511,
        513,
        MiB,
        10 * MiB,
        10 * MiB + 1,
        11 * MiB,
        11_010_048,
        25 * MiB,
        1039 * MiB + 512 * KiB,
    ):
        assert fragmentation.allocated_bytes(nbytes) == card().malloc(nbytes).size


@pytest.mark.parametrize(
    ("nbytes", "divisions", "expected"),
    [
        (1200, 4, 1536),  # not above 512 · 4: plain rounding
        (1200 * MiB, 4, 1280 * MiB),  # 1024, 1280, 1536, 1792: the example in PyTorch's comment
        (1024 * MiB, 4, 1024 * MiB),  # a power of two stays
        (1025 * MiB, 8, 1152 * MiB),
        (5 * MiB + 1, 2, 6 * MiB),
    ],
)
def test_power_of_two_divisions(nbytes: int, divisions: int, expected: int) -> None:
    assert block_bytes(nbytes, Settings(roundup_power2_divisions=(divisions,) * 16)) == expected


def test_division_intervals_read_as_pytorch_reads_them() -> None:
    """Values of PyTorch's own test, c10/test/core/AllocatorConfig_test.cpp."""
    found = Settings.parse(
        "roundup_power2_divisions:[64:8,128:2,256:4,512:2,1024:4,>:1],max_split_size_mb:40"
    )
    sizes = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
    assert [found.divisions(n * MiB) for n in sizes] == [8, 8, 2, 4, 2, 4, 1, 1, 1]
    assert found.max_split_bytes == 40 * MiB


@pytest.mark.parametrize(
    "text", ["max_split_size_mb:19", "expandable_segments:yes", "color:red", "max_split_size_mb:x"]
)
def test_bad_settings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"max_split|neither True|not a setting|invalid literal"):
        Settings.parse(text)


# --- finding, splitting, merging ----------------------------------------------------------------------------------


def test_best_fit_takes_the_smallest_block_and_the_lowest_address_of_equals() -> None:
    gpu = card()
    blocks = [gpu.malloc(n * MiB) for n in (30, 14, 22, 14)]
    places = [b.address for b in blocks]
    for b in reversed(blocks):
        gpu.free(b)
    assert gpu.malloc(14 * MiB).address == places[1]
    assert gpu.malloc(14 * MiB).address == places[3]
    assert gpu.malloc(13 * MiB).address == places[2]


def test_streams_do_not_share_free_blocks() -> None:
    gpu = card()
    gpu.free(gpu.malloc(30 * MiB, stream=1))
    gpu.malloc(30 * MiB, stream=2)
    assert gpu.stats.reserved_bytes == 60 * MiB


def test_small_and_large_requests_do_not_share_segments() -> None:
    gpu = card()
    gpu.free(gpu.malloc(30 * MiB))
    gpu.malloc(MiB)
    assert [s.is_small for s in gpu.segments()] == [False, True]


def test_freeing_the_middle_last_joins_all_three() -> None:
    gpu = card()
    left, middle, right = (gpu.malloc(4 * MiB) for _ in range(3))
    gpu.free(left)
    gpu.free(right)
    assert gpu.stats.inactive_split_bytes == 16 * MiB
    gpu.free(middle)
    (segment,) = gpu.segments()
    assert segment.can_be_released
    assert gpu.stats.inactive_split_bytes == 0


def test_blocks_above_the_split_limit_stay_whole() -> None:
    """vLLM loads weights with a limit of 20 MiB: a request of that size keeps its rounded segment."""
    gpu = card(max_split_bytes=20 * MiB)
    assert gpu.malloc(20 * MiB + 512 * KiB).size == 22 * MiB
    assert card().malloc(20 * MiB + 512 * KiB).size == 20 * MiB + 512 * KiB


def test_a_big_free_block_serves_neither_a_small_request_nor_one_much_smaller() -> None:
    gpu = card(max_split_bytes=20 * MiB)
    gpu.free(gpu.malloc(100 * MiB))
    gpu.malloc(12 * MiB)  # under the limit: no oversize block
    assert gpu.stats.reserved_bytes == 112 * MiB
    gpu.malloc(80 * MiB)  # 100 is not below 80 + 20
    assert gpu.stats.reserved_bytes == 192 * MiB
    assert gpu.malloc(82 * MiB).size == 100 * MiB


def test_limits_are_met_exactly() -> None:
    """A rest of 512 B is split from a small block; a free block of just the split limit is too big for less."""
    gpu = card(max_split_bytes=20 * MiB)
    gpu.malloc(MiB)
    assert gpu.malloc(MiB - 512).size == MiB - 512
    gpu.free(gpu.malloc(20 * MiB))
    gpu.malloc(12 * MiB)
    assert gpu.stats.reserved_bytes == (2 + 20 + 12) * MiB


# --- streams, private pools, giving back ------------------------------------------------------------------------


def test_a_block_waits_for_every_stream_that_used_it() -> None:
    gpu = card()
    block = gpu.malloc(30 * MiB)
    gpu.record_stream(block, 1)
    gpu.record_stream(block, 2)
    gpu.free(block)
    assert (gpu.stats.allocated_bytes, gpu.stats.active_bytes) == (0, 30 * MiB)
    gpu.synchronize(1)
    gpu.malloc(512)
    assert gpu.stats.active_bytes == 30 * MiB + 512
    gpu.synchronize(2)
    assert gpu.malloc(30 * MiB).address == block.address


def test_private_pools_keep_their_memory_until_released() -> None:
    gpu = card()
    gpu.free(gpu.malloc(30 * MiB, pool="graph"))
    gpu.malloc(30 * MiB)
    gpu.empty_cache()
    assert gpu.stats.reserved_bytes == 60 * MiB
    assert {s.pool for s in gpu.segments()} == {"graph", ""}
    gpu.release_pool("graph")
    gpu.empty_cache()
    assert gpu.stats.reserved_bytes == 30 * MiB


def test_switches_of_mempool() -> None:
    gpu = card(total_bytes=40 * MiB)
    gpu.create_pool("whole", no_split=True, use_on_oom=True)
    block = gpu.malloc(2 * MiB, pool="whole")
    assert block.size == 20 * MiB
    gpu.free(block)
    gpu.malloc(20 * MiB)
    assert gpu.malloc(5 * MiB).address == block.address
    with pytest.raises(ValueError, match="already"):
        gpu.create_pool("whole")


def test_a_full_card_gives_cached_segments_back_and_tries_again() -> None:
    gpu = card(total_bytes=100 * MiB)
    for block in [gpu.malloc(30 * MiB) for _ in range(3)]:
        gpu.free(block)
    gpu.malloc(80 * MiB)
    assert (gpu.stats.reserved_bytes, gpu.stats.num_alloc_retries, gpu.stats.num_device_free) == (
        80 * MiB,
        1,
        3,
    )


def test_only_enough_big_blocks_go_back_when_a_split_limit_is_set() -> None:
    gpu = card(total_bytes=200 * MiB, max_split_bytes=20 * MiB)
    for block in [gpu.malloc(n * MiB) for n in (100, 50, 30)]:
        gpu.free(block)
    gpu.malloc(70 * MiB)
    assert (gpu.stats.num_device_free, gpu.stats.num_alloc_retries) == (1, 0)
    assert gpu.stats.reserved_bytes == 150 * MiB


def test_several_big_blocks_go_back_largest_first_until_enough() -> None:
    gpu = card(total_bytes=190 * MiB, max_split_bytes=20 * MiB)
    for block in [gpu.malloc(n * MiB) for n in (50, 30, 40)]:
        gpu.free(block)
    gpu.malloc(80 * MiB)
    assert gpu.stats.reserved_bytes == (30 + 80) * MiB


def test_a_graph_being_captured_may_not_empty_the_cache() -> None:
    gpu = card(total_bytes=100 * MiB)
    gpu.free(gpu.malloc(60 * MiB))
    with pytest.raises(OutOfMemoryError):
        gpu.malloc(50 * MiB, pool="graph")
    gpu.malloc(50 * MiB)


def test_out_of_memory_has_the_numbers_of_pytorchs_message() -> None:
    gpu = CachingAllocator(total_bytes=GiB, used_elsewhere_bytes=100 * MiB)
    kept = [gpu.malloc(n * MiB) for n in (600, 6)]
    with pytest.raises(
        OutOfMemoryError, match=r"Tried to allocate 400.00 MiB. GPU 0 has a total capacity"
    ) as caught:
        gpu.malloc(400 * MiB)
    error = caught.value
    assert (error.tried_bytes, error.free_bytes) == (400 * MiB, (1024 - 100 - 620) * MiB)
    assert (error.allocated_bytes, error.unallocated_bytes) == (606 * MiB, 14 * MiB)
    assert gpu.stats.num_ooms == 1
    assert [b.state for b in kept] == ["active_allocated"] * 2


def test_a_memory_fraction_is_a_limit_and_is_printed() -> None:
    gpu = card(total_bytes=GiB, per_process_memory_fraction=0.5)
    gpu.malloc(500 * MiB)
    with pytest.raises(OutOfMemoryError, match=r"512.00 MiB allowed"):
        gpu.malloc(20 * MiB)


def test_garbage_collection_gives_back_what_lay_longest() -> None:
    gpu = card(total_bytes=1000 * MiB, per_process_memory_fraction=1.0, garbage_collection_threshold=0.3)
    old, young = gpu.malloc(100 * MiB), gpu.malloc(60 * MiB)
    gpu.free(old)
    gpu.free(young)
    for _ in range(5):
        gpu.free(gpu.malloc(60 * MiB))
    gpu.malloc(200 * MiB)  # 160 MiB reserved, the threshold is 300: a new segment
    assert gpu.stats.reserved_bytes == 360 * MiB
    gpu.malloc(300 * MiB)
    assert gpu.stats.reserved_bytes == (360 - 100 + 300) * MiB  # the block used five times since is kept


@pytest.mark.parametrize("nbytes", [0, -1])
def test_an_empty_request_is_refused(nbytes: int) -> None:
    with pytest.raises(ValueError, match="ask for 1 or more"):
        card().malloc(nbytes)


def test_a_block_is_freed_once() -> None:
    gpu = card()
    block = gpu.malloc(512)
    gpu.free(block)
    with pytest.raises(ValueError, match="not held by anyone"):
        gpu.free(block)


def test_unknown_pool_and_impossible_card() -> None:
    with pytest.raises(KeyError, match="no private pool 'graph'"):
        card().release_pool("graph")
    with pytest.raises(ValueError, match="used elsewhere"):
        CachingAllocator(total_bytes=GiB, used_elsewhere_bytes=2 * GiB)


# --- what PyTorch's own tests expect: github.com/pytorch/pytorch, test/test_cuda.py -----------------------------


@pytest.mark.parametrize(
    ("nbytes", "conf", "expected"),
    [
        (84 * MiB, "", 84 * MiB),
        (84 * MiB, "roundup_power2_divisions:4", 96 * MiB),
        (84 * MiB, "roundup_power2_divisions:[64:8,128:2,256:2,512:2,1024:1,>:1]", 88 * MiB),
        (400 * MiB, "roundup_power2_divisions:[64:8,128:2,256:2,512:2,1024:1,>:1]", 512 * MiB),
        (268 * MiB, "roundup_power2_divisions:[128:1,256:0,512:4]", 268 * MiB),
        (520 * MiB, "roundup_power2_divisions:[128:1,256:0,512:4]", 640 * MiB),
    ],
)
def test_allocator_settings_of_pytorch(nbytes: int, conf: str, expected: int) -> None:
    gpu = CachingAllocator(total_bytes=80 * GiB, settings=Settings.parse(conf))
    assert gpu.malloc(nbytes).size == expected
    assert gpu.stats.requested_bytes == nbytes


@pytest.mark.parametrize("conf", ["foo:1,bar:2", "garbage_collection_threshold:1.2", "max_split_size_mb:2"])
def test_settings_that_pytorch_refuses(conf: str) -> None:
    with pytest.raises(ValueError, match=r"not a setting|a share between|max_split_bytes"):
        Settings.parse(conf)


def limited(conf: str) -> Settings:
    return Settings.parse(f"{conf},per_process_memory_fraction:0.5")


def test_max_split_expandable_of_pytorch() -> None:
    """120 MiB in three segments of two kinds; one request for all of it must empty both kinds."""
    fixed, growing = (limited(f"expandable_segments:{e},max_split_size_mb:40") for e in ("False", "True"))
    gpu, blocks = CachingAllocator(total_bytes=240 * MiB, settings=fixed), []
    for setting in (fixed, growing, fixed):
        gpu.settings = setting
        blocks.append(gpu.malloc(40 * MiB))
    with pytest.raises(OutOfMemoryError):
        gpu.malloc(40 * MiB)
    for block in blocks:
        gpu.free(block)
    gpu.malloc(120 * MiB)
    assert gpu.stats.reserved_bytes == 120 * MiB


def test_garbage_collect_expandable_of_pytorch() -> None:
    fixed, growing = (
        limited(f"expandable_segments:{e},garbage_collection_threshold:0.5") for e in ("False", "True")
    )
    gpu, blocks = CachingAllocator(total_bytes=240 * MiB, settings=fixed), []
    for setting in (fixed, growing):
        gpu.settings = setting
        blocks.append(gpu.malloc(40 * MiB))
    for block in blocks:
        gpu.free(block)
    gpu.malloc(80 * MiB)
    assert gpu.stats.num_alloc_retries == 0


def test_mempool_limited_memory_of_pytorch() -> None:
    """80 MiB in two private pools: only the one that may help out serves the common pool, and gets its place back."""
    gpu = CachingAllocator(total_bytes=160 * MiB, settings=limited("expandable_segments:False"))
    gpu.create_pool("keeps to itself")
    gpu.create_pool("helps out", use_on_oom=True)
    a, b = gpu.malloc(40 * MiB, pool="keeps to itself"), gpu.malloc(40 * MiB, pool="helps out")
    place = b.address
    with pytest.raises(OutOfMemoryError):
        gpu.malloc(40 * MiB)
    gpu.free(a)
    gpu.free(b)
    c = gpu.malloc(30 * MiB)
    assert c.address == place
    with pytest.raises(OutOfMemoryError):
        gpu.malloc(30 * MiB)
    gpu.free(c)
    assert gpu.malloc(20 * MiB, pool="helps out").address == place


def test_mempool_no_split_of_pytorch() -> None:
    gpu = card()
    gpu.create_pool("whole", no_split=True)
    for pool in ("split", "whole", "split", "whole"):
        gpu.malloc(4 * MiB, pool=pool)
    found = {pool: [len(s.blocks) for s in gpu.segments() if s.pool == pool] for pool in ("split", "whole")}
    assert found == {"split": [3], "whole": [1, 1]}


def test_mempool_segments_of_pytorch() -> None:
    """Two requests of 1 MiB share a segment of 2 MiB, the third has the next."""
    gpu, counts = card(), []
    for _ in range(3):
        gpu.malloc(MiB, pool="mine")
        counts.append(len(gpu.segments()))
    assert counts == [1, 1, 2]


def test_record_stream_oom_of_pytorch() -> None:
    """Blocks that wait for a stream come back when memory runs out, though nobody synchronized."""
    gpu = CachingAllocator(total_bytes=GiB)
    gpu.malloc(160 * MiB, stream=1)
    for _ in range(100):
        block = gpu.malloc(160 * MiB)
        gpu.record_stream(block, 1)
        gpu.free(block)
    assert gpu.stats.num_alloc_retries > 0


# --- expandable segments ----------------------------------------------------------------------------------------


def test_an_expandable_segment_grows_by_pages() -> None:
    gpu = card(expandable_segments=True)
    gpu.malloc(25 * MiB)
    assert gpu.stats.reserved_bytes == 40 * MiB
    gpu.malloc(30 * MiB)
    assert gpu.stats.reserved_bytes == 60 * MiB
    (segment,) = gpu.segments()
    assert [b.size // MiB for b in segment.blocks] == [25, 30, 5]
    gpu.malloc(512)
    assert gpu.stats.reserved_bytes == 62 * MiB


def test_whole_pages_inside_a_free_block_go_back() -> None:
    gpu = card(expandable_segments=True)
    left, middle, right = gpu.malloc(10 * MiB), gpu.malloc(60 * MiB), gpu.malloc(10 * MiB)
    gpu.free(middle)
    gpu.empty_cache()
    assert gpu.stats.reserved_bytes == 40 * MiB  # pages 1 and 2 are whole inside; 0 and 3 are shared
    assert [s.size // MiB for s in gpu.segments()] == [20, 20]
    again = gpu.malloc(60 * MiB)
    assert again.address == left.end
    assert again.end == right.address
    for block in (left, again, right):
        gpu.free(block)
    gpu.empty_cache()
    assert gpu.stats.reserved_bytes == 0


def test_the_open_end_is_used_last() -> None:
    """[10 free][4 held][6 free, open]: 5 MiB go into the 10, since the 6 could still grow."""
    gpu = card(expandable_segments=True)
    first, _second = gpu.malloc(10 * MiB), gpu.malloc(4 * MiB)
    place = first.address
    gpu.free(first)
    assert gpu.malloc(5 * MiB).address == place


# --- loading weights: "Model loading took" ------------------------------------------------------------------------

LOGGED = [
    ("meta-llama/Meta-Llama-3-8B-Instruct", 1, "", 14.96, "github.com/vllm-project/vllm issue 10511"),
    ("meta-llama/Llama-3.1-8B-Instruct", 1, "", 14.9889, "github.com/vllm-project/vllm issue 17122"),
    ("meta-llama/Llama-3.1-8B-Instruct", 2, "", 7.51, LOGS_019),
    ("meta-llama/Llama-3.1-8B-Instruct", 4, "", 3.77, LOGS_019),
    ("Qwen/Qwen2.5-7B-Instruct", 1, "", 14.25, LOGS_019),
    ("Qwen/Qwen2.5-7B-Instruct", 2, "", 7.12, LOGS_019),
    ("Qwen/Qwen2.5-7B-Instruct", 4, "", 3.55, LOGS_019),
    ("Qwen/Qwen2.5-32B-Instruct", 2, "", 30.7098, "github.com/vllm-project/vllm issue 15815"),
    ("Qwen/Qwen2.5-72B-Instruct", 2, "", 67.80, LOGS_019),
    ("Qwen/Qwen2.5-72B", 4, "", 34.01, f"{LOGS_019}, Kimi-Dev-72B"),
    ("microsoft/phi-4", 1, "", 27.39, LOGS_019),
    ("google/gemma-2-2b-it", 1, "", 4.90, LOGS_019),
    ("google/gemma-2-27b-it", 1, "", 50.72, LOGS_019),
    ("codellama/CodeLlama-7b-hf", 1, "", 12.56, LOGS_019),
    ("Qwen/Qwen3-8B", 1, "", 15.27, LOGS_019),
    ("Qwen/Qwen3-30B-A3B", 4, "", 14.2474, "github.com/vllm-project/vllm issue 17469"),
    ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", 1, "", 8.49, LOGS_019),
    ("meta-llama/Llama-3.1-8B-Instruct", 1, "gptq", 5.38, LOGS_019),
    ("RedHatAI/Qwen2.5-7B-Instruct-FP8-dynamic", 1, "", 8.14, LOGS_019),
    ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 2, "", 33.88, LOGS_019),
    ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 4, "", 16.96, LOGS_019),
]


def loaded(model: str, tp: int, quantization: str) -> resolve.Scenario:
    return resolve.scenario(
        model=model, tensor_parallel_size=tp, quantization=quantization, gpu="H100-80GB", max_model_len=4096
    )


@pytest.mark.parametrize(("model", "tp", "quantization", "logged", "source"), LOGGED)
def test_model_loading_took(model: str, tp: int, quantization: str, logged: float, source: str) -> None:
    stats = last_stats(scenario_weight_trace(loaded(model, tp, quantization)), card(200 * GiB))
    assert stats.allocated_bytes / GiB == pytest.approx(logged, abs=0.005), source


@pytest.mark.parametrize(
    ("model", "tp", "quantization", "difference"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 1, "", 0),
        ("Qwen/Qwen2.5-32B-Instruct", 2, "", 0),
        ("microsoft/phi-4", 1, "", 0),
        ("meta-llama/Llama-3.1-8B-Instruct", 1, "gptq", 8 * MiB),
        ("Qwen/Qwen3-30B-A3B", 4, "", MiB),
    ],
)
def test_closed_form_of_rounding(model: str, tp: int, quantization: str, difference: int) -> None:
    """Equal where matrices are above 10 MiB; those of 1 to 10 MiB share segments, and the last one keeps the rest."""
    s = loaded(model, tp, quantization)
    stats = last_stats(scenario_weight_trace(s), card(200 * GiB))
    assert fragmentation.weight_rounding_bytes(s) == stats.rounding_bytes
    closed = fragmentation.closed_form_bytes(s)
    assert stats.rounding_bytes - closed == pytest.approx(difference, abs=64 * KiB)


def test_a_trace_asks_for_what_the_weights_are() -> None:
    """Every model of the catalogue, and ranks of some: the same bytes as the closed formula of the weights."""
    for name in catalog.models():
        model = catalog.model(name)
        asked = sum(event.nbytes for event in weight_trace(model))
        assert asked == model_weights.tensor_bytes(model) + model_weights.rope_bytes(model), name
    for name, tp, quantization, _, _ in LOGGED[::4]:
        s = loaded(name, tp, quantization)
        asked = sum(event.nbytes for event in scenario_weight_trace(s))
        assert asked == model_weights.tensor_bytes(
            s.model, **model_weights.rank(s)
        ) + model_weights.rope_bytes(s.model)


def test_a_split_limit_while_loading_rounds_more() -> None:
    """vLLM 0.33 loads with a limit of 20 MiB: Qwen2.5-7B then takes 14.290 GiB instead of 14.249."""
    model = loaded("Qwen/Qwen2.5-7B-Instruct", 1, "").model
    raw = model_weights.tensor_bytes(model) + model_weights.rope_bytes(model)
    assert (raw + rounding_bytes(model)) / GiB == pytest.approx(14.249, abs=0.0005)
    assert (raw + rounding_bytes(model, 20 * MiB)) / GiB == pytest.approx(14.290, abs=0.0005)


def test_a_trace_has_one_whole_rank() -> None:
    with pytest.raises(ValueError, match="pp=1"):
        next(weight_trace(loaded("Qwen/Qwen3-8B", 1, "").model, pp=2))


# --- DynamicCache ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_size", "prompt_tokens", "new_tokens", "reserved", "over"),
    [
        (1, 2048, 256, 0.33, 0.18),
        (1, 2048, 1024, 0.45, 0.20),
        (8, 1024, 512, 6.33, 3.22),
        (16, 512, 512, 13.70, 5.85),
    ],
)
def test_dynamic_cache_leaves_generations_behind(
    batch_size: int, prompt_tokens: int, new_tokens: int, reserved: float, over: float
) -> None:
    """Llama-3.1-8B in bf16: 32 layers, a row of 8 · 128 · 2 B of keys and one of values."""
    shape = {"batch_size": batch_size, "prompt_tokens": prompt_tokens, "new_tokens": new_tokens}
    gpu = card()
    stats = last_stats(dynamic_cache_trace(num_hidden_layers=32, row_bytes=2048, **shape), gpu)
    live = batch_size * (prompt_tokens + new_tokens) * 131_072
    assert stats.requested_bytes == live
    assert stats.reserved_bytes / GiB == pytest.approx(reserved, abs=0.006)
    assert stats.reserved_bytes / live - 1 == pytest.approx(over, abs=0.005)


def test_leftover_generations_are_whole_segments() -> None:
    """What DynamicCache leaves behind goes back when asked; expandable segments do not leave it."""
    trace = list(
        dynamic_cache_trace(
            num_hidden_layers=4, row_bytes=2048, batch_size=8, prompt_tokens=1024, new_tokens=256
        )
    )
    fixed, grown = card(), card(expandable_segments=True)
    before = last_stats(trace, fixed)
    fixed.empty_cache()
    live = before.requested_bytes
    assert before.reserved_bytes > 2 * live
    assert fixed.stats.reserved_bytes < 1.02 * live
    assert last_stats(trace, grown).reserved_bytes < 1.5 * live


# --- traces -----------------------------------------------------------------------------------------------------


def test_out_of_memory_in_a_trace_is_a_step() -> None:
    trace = [Event("malloc", "a", GiB), Event("malloc", "b", 100), Event("free", "a"), Event("free", "b")]
    steps = list(replay(trace, card(total_bytes=100 * MiB)))
    assert [step.error is None for step in steps] == [False, True, True, True]
    assert steps[-1].stats.allocated_bytes == 0


def test_every_action_of_a_trace() -> None:
    trace = [
        Event("malloc", "a", 30 * MiB, pool="graph"),
        Event("record_stream", "a", stream=3),
        Event("free", "a"),
        Event("synchronize", stream=-1),
        Event("release_pool", pool="graph"),
        Event("empty_cache"),
    ]
    assert last_stats(trace, card()).reserved_bytes == 0


@pytest.mark.parametrize(
    ("trace", "error", "words"),
    [
        ([Event("free", "a")], KeyError, "before it asks"),
        ([Event("malloc", "a", 1), Event("malloc", "a", 1)], ValueError, "asked for twice"),
        ([Event("grow", "a")], ValueError, "known: malloc"),
    ],
)
def test_a_wrong_trace_is_refused(trace: list[Event], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        list(replay(trace, card()))


# --- laws --------------------------------------------------------------------------------------------------------

SIZES = st.one_of(
    st.integers(1, 4 * KiB),
    st.integers(1, 2 * MiB),
    st.integers(1, 64 * MiB),
    st.sampled_from([MiB, 10 * MiB]),
)
STEPS = st.lists(
    st.tuples(
        SIZES, st.integers(0, 1), st.sampled_from([None, None, "graph"]), st.integers(0, 99), st.booleans()
    ),
    max_size=60,
)
KINDS = st.sampled_from(
    [
        Settings(),
        Settings(expandable_segments=True),
        Settings(max_split_bytes=20 * MiB),
        Settings(roundup_power2_divisions=(4,) * 16),
        Settings(per_process_memory_fraction=0.8, garbage_collection_threshold=0.5),
    ]
)


def check_books(gpu: CachingAllocator, live: list[Block]) -> None:
    """No byte lost, blocks side by side without a gap, and counters that agree with the picture."""
    stats, segments = gpu.stats, gpu.segments()
    assert stats.reserved_bytes == sum(s.size for s in segments)
    assert stats.allocated_bytes == sum(s.allocated_bytes for s in segments) == sum(b.size for b in live)
    assert stats.reserved_bytes >= stats.active_bytes >= stats.allocated_bytes
    assert stats.active_bytes >= stats.requested_bytes
    views = [view for s in segments for view in s.blocks]
    assert all(left.address + left.size <= right.address for left, right in pairwise(views))
    for s in segments:
        assert s.blocks[0].address == s.address
        assert all(a.address + a.size == b.address for a, b in pairwise(s.blocks))
        assert not any(a.state == b.state == INACTIVE for a, b in pairwise(s.blocks)), (
            "free neighbours are one block"
        )
    if not gpu.settings.expandable_segments:
        gaps = sum(s.free_bytes for s in segments if not s.can_be_released)
        assert stats.inactive_split_bytes == gaps
        assert stats.num_segments == len(segments)
    assert stats.reserved_bytes <= 256 * MiB


@hypothesis_settings(max_examples=60, deadline=None)
@given(steps=STEPS, kind=KINDS)
def test_no_byte_is_lost_and_freeing_all_restores_the_card(steps: list, kind: Settings) -> None:
    gpu, live = CachingAllocator(total_bytes=256 * MiB, settings=kind), list[Block]()
    for nbytes, stream, pool, pick, give in steps:
        if give and live:
            gpu.free(live.pop(pick % len(live)))
        else:
            with suppress(OutOfMemoryError):
                live.append(gpu.malloc(nbytes, stream=stream, pool=pool))
                assert live[-1].size >= nbytes
        check_books(gpu, live)
    for block in live:
        gpu.free(block)
    check_books(gpu, [])
    if any(pool for _, _, pool, _, _ in steps) and "graph" in {s.pool for s in gpu.segments()}:
        gpu.release_pool("graph")
    gpu.empty_cache()
    assert gpu.stats.reserved_bytes == 0
    assert gpu.stats.requested_bytes == gpu.stats.inactive_split_bytes == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_trace_gives_the_same_steps(seed: int) -> None:
    def play() -> list[tuple]:
        trace = random_trace(num_events=2_000, seed=seed, num_streams=2)
        return [(step.event, step.stats, step.block) for step in replay(trace, card(4 * GiB))]

    assert play() == play()
