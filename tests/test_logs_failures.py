"""Failed starts of public runs, in the engines' own words: the part, what is missing, the knob and its direction."""

from __future__ import annotations

from pathlib import Path

import pytest

from vramlib import logs
from vramlib.logs.failures import Failure
from vramlib.units import GiB, MiB

LOGS = Path(__file__).parent / "data" / "logs"
ONE_REQUEST = (
    "ValueError: To serve at least one request with the {model} max seq len ({length}), ({need} GiB"
    " KV cache is"
    " needed, which is larger than the available KV cache memory ({pool} GiB).{longest} Try increasing"
    " `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine."
)
LONGEST = " Based on the available memory, the estimated maximum model length is {}."
TOKENS = (
    "ValueError: The model's max seq len ({}) is larger than the maximum number of tokens that can"
    " be stored in"
    " KV cache ({}). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when"
    " initializing the engine."
)
PROFILE = (
    "model weights take {}GiB; non_torch_memory takes {}GiB; PyTorch activation peak memory takes {}GiB; the"
    " rest of the memory reserved for KV Cache is {}GiB.\n"
)


def the_failure(log: str) -> Failure:
    (found,) = logs.explain(log).failures
    return found


def knobs(found: Failure) -> dict[str, str]:
    return {a.knob: a.direction for a in found.advice}


@pytest.mark.parametrize(
    ("run", "length", "need", "pool", "longest"),
    [
        ("xinf4926_qwen3vl", 262144, 36.0, 6.94, 50512),
        ("syvai39_qwen38_27b_3090", 65536, 4.76, 1.56, 15984),
        ("mia3_dsv4flash_gb10_1m", 1048576, 9.8, 4.81, 0),
        ("sparkvllm396_m27awq_u80", 196608, 23.25, 22.5, 190272),
        ("i25350_fp8kv_221k", 221000, 10.12, 5.59, 122080),
        ("i34076_q3coder30b_pp2", 262144, 24.0, 3.18, 34736),
        ("lemonade5_gfx1151", 131072, 4.11, 4.0, 127776),
        ("i16118_1m", 1048576, 24.00, 9.97, 0),
    ],
)
@pytest.mark.parametrize("model", ["models's", "model's"])
def test_one_request_does_not_fit(
    run: str, length: int, need: float, pool: float, longest: int, model: str
) -> None:
    said = LONGEST.format(longest) if longest else ""
    found = the_failure(ONE_REQUEST.format(model=model, length=length, need=need, pool=pool, longest=said))
    assert (found.kind, found.part) == ("one_request", "kv_cache"), run
    assert found.missing_bytes is not None
    assert found.missing_bytes / GiB == pytest.approx(need - pool, abs=1e-6)
    assert found.advice[0].knob == "--max-model-len"
    assert knobs(found)["--max-model-len"] == "down"
    assert knobs(found)["--gpu-memory-utilization"] == "up"
    if longest:
        assert f"to {longest:,} or less" in found.advice[0].words


@pytest.mark.parametrize(
    ("run", "length", "tokens"),
    [
        ("qwen3_295_qwen15_7b", 32768, 7344),
        ("i2785_qwen15_7b", 32768, 1984),
        ("i2418_alpaca2", 4096, 3664),
        ("xinf2440_glm4_4090", 131072, 53376),
        ("qanything289_4090", 4096, 3792),
    ],
)
def test_the_longest_length_is_more_than_the_pools_tokens(run: str, length: int, tokens: int) -> None:
    found = the_failure(TOKENS.format(length, tokens))
    assert (found.kind, found.part) == ("one_request", "kv_cache"), run
    assert f"to {tokens:,} or less" in found.advice[0].words
    assert found.missing_bytes is None  # bytes of a token are not in this message


def test_missing_tokens_become_bytes_where_the_pool_is_printed() -> None:
    """i13061_r1d_qwen14b_2x4090: 8.69 GiB hold 81,536 tokens of the 131,072 asked for."""
    log = PROFILE.format("13.95", "0.25", "0.19", "8.69") + TOKENS.format(131072, 81536)
    found = the_failure(log)
    assert found.missing_bytes is not None
    assert found.missing_bytes / GiB == pytest.approx(8.69 * (131072 - 81536) / 81536, abs=1e-6)


@pytest.mark.parametrize(
    ("non_torch", "pool", "blocks"), [("0.34", "0.13", 106), ("0.43", "0.04", 32), ("0.38", "0.09", 73)]
)
def test_almost_no_room(non_torch: str, pool: str, blocks: int) -> None:
    """i16570_qwen25vl72b_4a100: four A100-40GB, weights 34.43, peak 2.51; one rank a row."""
    plan = "total_gpu_memory (39.38GiB) x gpu_memory_utilization (0.95) = 37.41GiB\n"
    log = plan + PROFILE.format("34.43", non_torch, "2.51", pool) + TOKENS.format(32768, 16 * blocks)
    explained = logs.explain(log)
    assert explained.identity is not None
    assert explained.identity.holds
    (found,) = explained.failures
    assert found.part == "kv_cache"
    assert found.missing_bytes is not None
    assert found.missing_bytes > 0


@pytest.mark.parametrize(
    ("run", "pool"),
    [
        ("spark388_qwen38_flashnext_gb10_u65", -0.39),
        ("i55827_aligner_5090_both", -3.21),
        ("i55827_aligner_6000ada_both", -0.01),
    ],
)
def test_nothing_is_left(run: str, pool: float) -> None:
    log = f"INFO Available KV cache memory: {pool} GiB\nValueError: No available memory for the cache blocks."
    found = the_failure(log)
    assert (found.kind, found.part) == ("no_kv", "kv_cache"), run
    assert found.missing_bytes == pytest.approx(-pool * GiB, abs=1)
    assert knobs(found)["--gpu-memory-utilization"] == "up"
    assert any("one after another" in a.words for a in found.advice)


def test_the_share_that_would_be_enough_is_named() -> None:
    log = (
        "Initial free memory: 118.00 GiB; Requested memory: 0.650000 (util), 79.06 GiB\n"
        "Available KV cache memory: -0.39 GiB\nNo available memory for the cache blocks."
    )
    share = next(a for a in the_failure(log).advice if a.knob == "--gpu-memory-utilization")
    assert "to 0.654 or more" in share.words


def test_a_monstrous_expectation_for_graphs_is_named() -> None:
    """i53013_qwen38_24t_gb300: 118.65 GiB were expected for CUDA graphs, and the server starts without that."""
    log = "Estimated CUDA graph memory: 118.65 GiB total\nNo available memory for the cache blocks."
    assert the_failure(log).advice[0].knob == "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=0"


def test_the_samplers_warm_up() -> None:
    """llmd_openai-gpt-oss-20b, tp2: the launch failed after the graphs; both ranks say so."""
    (found,) = logs.explain_file(LOGS / "vllm-0.19.0-tp2-sampler.log").failures
    assert (found.kind, found.part, found.times) == ("sampler_oom", "activations", 2)
    assert found.advice[0].knob == "--max-num-seqs"
    assert knobs(found) == {"--max-num-seqs": "down", "--gpu-memory-utilization": "down"}


def test_less_is_free_than_planned() -> None:
    log = (
        "ValueError: Free memory on device cuda:0 (10.21/23.58 GiB) on startup is less than desired"
        " GPU memory"
        " utilization (0.9, 21.22 GiB). Decrease GPU memory utilization or reduce GPU memory used"
        " by other processes."
    )
    found = the_failure(log)
    assert (found.kind, found.part) == ("free_below_requested", "multi_process")
    assert found.missing_bytes == pytest.approx(11.01 * GiB, abs=1)
    assert found.advice[0].direction == "down"
    assert "to 0.43 or less" in found.advice[0].words


OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {tried}. GPU 0 has a total"
    " capacity of {total} of"
    " which {free} is free. Including non-PyTorch memory, this process has {used} memory in use. Of"
    " the allocated memory"
    " {held} is allocated by PyTorch, and {gaps} is reserved by PyTorch but unallocated."
)
WEIGHTS = "INFO Model loading took 14.24 GiB memory and 5.0 seconds\n"
POOL = "INFO GPU KV cache size: 198,784 tokens\n"
SERVING = "INFO:     Application startup complete.\n"
CAPTURED = "INFO Graph capturing finished in 20 secs, took 0.60 GiB\n"


def oom(
    tried: str, free: str, gaps: str = "87.96 MiB", used: str = "22.90 GiB", total: str = "23.65 GiB"
) -> str:
    return OOM.format(tried=tried, total=total, free=free, used=used, held="22.10 GiB", gaps=gaps)


@pytest.mark.parametrize(
    ("before", "part", "first", "direction"),
    [
        ("INFO vLLM API server version 0.8.5\n", "model_weights", "--tensor-parallel-size", "up"),
        (WEIGHTS, "activations", "--max-num-batched-tokens", "down"),
        (WEIGHTS + POOL, "framework_buffers", "--gpu-memory-utilization", "down"),  # i17469, i57475: graph capture
        (WEIGHTS + POOL + CAPTURED, "activations", "--gpu-memory-utilization", "down"),
        (WEIGHTS + POOL + CAPTURED + SERVING, "activations", "--gpu-memory-utilization", "down"),
    ],
)  # fmt: skip
def test_torch_oom_by_stage(before: str, part: str, first: str, direction: str) -> None:
    found = the_failure(before + oom("2.00 GiB", "512.00 MiB"))
    assert (found.kind, found.part) == ("torch_oom", part)
    assert found.missing_bytes == 1536 * MiB
    assert (found.advice[0].knob, found.advice[0].direction) == (first, direction)


def test_gaps_that_would_have_been_enough_are_fragmentation() -> None:
    found = the_failure(WEIGHTS + POOL + CAPTURED + oom("22.78 GiB", "12.73 GiB", gaps="13.35 GiB"))
    assert found.part == "fragmentation"
    assert "expandable_segments:True" in found.advice[0].knob


def test_memory_of_other_processes_is_named() -> None:
    found = the_failure(oom("1.25 GiB", "700.88 MiB", used="4.00 GiB", total="15.60 GiB"))
    assert found.part == ""  # no engine's log: the message alone does not tell
    assert any(a.knob == "other processes" and "10.92 GiB" in a.words for a in found.advice)


def test_older_wordings_of_the_same_message() -> None:
    old = (
        "RuntimeError: CUDA out of memory. Tried to allocate 1.63 GiB (GPU 0; 44.56 GiB total"
        " capacity; 27.91 GiB"
        " already allocated; 565.31 MiB free; 27.93 GiB reserved in total by PyTorch)"
    )
    found = the_failure(old)
    assert found.missing_bytes == pytest.approx(1.63 * GiB - 565.31 * MiB, abs=1)
    misspelt = (
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 32.00 MiB. GPU 0 has a"
        " total capacty of"
        " 4.00 GiB of which 0 bytes is free. Of the allocated memory 2.93 GiB is allocated by"
        " PyTorch, and 2.30 MiB is reserved by"
        " PyTorch but unallocated."
    )
    assert the_failure(misspelt).missing_bytes == 32 * MiB


def test_many_ranks_that_say_the_same_are_one_failure() -> None:
    log = "\n".join(
        f"(VllmWorkerProcess pid={n}) ERROR " + oom("2.00 GiB", f"{100 * n}.00 MiB") for n in range(1, 5)
    )
    found = the_failure("INFO Loading model weights took 14.24 GB\n" + log)
    assert found.times == 4
    assert found.missing_bytes == 2048 * MiB - 100 * MiB


SGLANG = (
    "[2025-03-12 10:00:00 TP0] Load weight begin. avail mem=44.00 GB\n"
    "[2025-03-12 10:00:20 TP0] Load weight end. type=LlamaForCausalLM, avail mem=6.90 GB, mem"
    " usage=37.10 GB.\n"
)  # fmt: skip


def test_sglang_wants_its_share_up_at_start() -> None:
    """srt053: with 0.84 nothing is left for the pool."""
    start = "server_args=ServerArgs(model_path='m', mem_fraction_static=0.84, tp_size=1)\n" + SGLANG
    log = start + "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static."
    found = the_failure(log)
    assert (found.kind, found.part) == ("static_too_small", "kv_cache")
    assert found.missing_bytes == pytest.approx((44.00 * 0.16 - 6.90) * GiB, abs=2)
    assert (found.advice[0].knob, found.advice[0].direction) == ("--mem-fraction-static", "up")
    assert "above 0.844" in found.advice[0].words


def test_sglang_wants_its_share_down_at_run_time() -> None:
    """srt053: with 0.85 it runs out of memory once the pool is there."""
    pool = (
        "[2025-03-12 10:00:21 TP0] KV Cache is allocated. #tokens: 2048, K size: 0.13 GB, V size: 0.13 GB\n"
    )
    found = the_failure(SGLANG + pool + oom("512.00 MiB", "100.00 MiB"))
    assert found.part == "framework_buffers"
    assert knobs(found)["--mem-fraction-static"] == "down"
    serving = "[2025-03-12 10:00:30] The server is fired up and ready to roll!\n"
    found = the_failure(SGLANG + pool + serving + oom("512.00 MiB", "100.00 MiB"))
    assert found.part == "activations"
    assert (found.advice[0].knob, found.advice[0].direction) == ("--mem-fraction-static", "down")


@pytest.mark.parametrize("step", ["Prefill", "Decode"])
def test_sglangs_pool_that_is_full_while_serving(step: str) -> None:
    """sglang/issues/7353 and sglang-jax/issues/622."""
    log = (
        f"[2026-01-05 06:12:41] {step} out of memory. Try to lower your batch size.\n"
        "Try to allocate 168 tokens.\nAvailable tokens: 3200 (available_size=3200 + evictable_size=0)\n"
    )
    found = the_failure(log)
    assert (found.kind, found.part) == ("pool_full", "kv_cache")
    assert knobs(found)["--max-running-requests"] == "down"


def test_newer_sglang_names_the_smallest_share() -> None:
    log = (
        "ValueError: Loaded weights leave no GPU memory for the KV cache under"
        " --mem-fraction-static=0.84. Raise"
        " --mem-fraction-static above 0.861 (minimum viable = 1 - available/pre = 0.8601)."
    )
    found = the_failure(log)
    assert found.advice[0].direction == "up"
    assert "above 0.861" in found.advice[0].words


CUDA_BUFFER = "ggml_backend_cuda_buffer_type_alloc_buffer"
ALLOCATING = CUDA_BUFFER + ": allocating {} MiB on device 0: cudaMalloc failed: out of memory\n"


@pytest.mark.parametrize(
    ("after", "part", "first"),
    [
        (
            "alloc_tensor_range: failed to allocate CUDA0 buffer of size 10345253120\n"
            "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
            "model_weights", "--gpu-layers",
        ),
        ("llama_kv_cache_init: failed to allocate buffer for kv cache", "kv_cache", "--ctx-size"),
        (
            "ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 10345253120\n"
            "llama_init_from_model: failed to allocate compute buffers",
            "activations", "--ubatch-size",
        ),
    ],
)  # fmt: skip
def test_llamacpps_buffer_that_does_not_fit(after: str, part: str, first: str) -> None:
    free = "llama_model_load_from_file_impl: using device CUDA0 (NVIDIA GeForce RTX 3090) - 8000 MiB free\n"
    found = the_failure(free + ALLOCATING.format("9866.00") + after)
    assert (found.kind, found.part) == ("buffer_oom", part)
    assert found.missing_bytes == 1866 * MiB
    assert (found.advice[0].knob, found.advice[0].direction) == (first, "down")


def test_llamacpps_driver_is_not_pytorchs() -> None:
    """As in ggml-org/llama.cpp/issues/13085: the model loads, the first request finds no memory."""
    where = "  current device: 2, in function alloc at /src/ggml/src/ggml-cuda/ggml-cuda.cu:450\n"
    log = f"CUDA error: out of memory\n{where}  cuMemCreate(&handle, reserve_size, &prop, 0)\n"
    found = the_failure(log)
    assert (found.kind, found.part) == ("driver_oom", "activations")
    assert "PyTorch" not in found.words
    assert knobs(found)["--ubatch-size"] == "down"
    assert the_failure("RuntimeError: CUDA error: out of memory").part == "cuda_context"


def test_other_backends_say_it_in_the_lines_after() -> None:
    log = (
        "ggml_vulkan: Device memory allocation of size 1632174080 failed.\n"
        "0.05.982.175 E alloc_tensor_range: failed to allocate Vulkan0 buffer of size 1632174080\n"
        "0.06.650.537 E llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv"
        " cache\n"
    )
    found = the_failure(log)
    assert (found.part, found.missing_bytes) == ("kv_cache", None)
    assert "1.52 GiB for keys and values of the whole context did not fit Vulkan0" in found.words


def test_what_a_buffer_was_for_is_told_by_what_came_before() -> None:
    weights = "load_tensors:        CUDA0 model buffer size =  4403.49 MiB\n"
    assert the_failure(ALLOCATING.format("9866.00")).part == "model_weights"
    assert the_failure(weights + ALLOCATING.format("9866.00")).part == "kv_cache"
    kv = "llama_kv_cache:      CUDA0 KV buffer size =   576.00 MiB\n"
    assert the_failure(weights + kv + ALLOCATING.format("9866.00")).part == "activations"


def test_nvidia_smi_table() -> None:
    explained = logs.explain_file(LOGS / "nvidia-smi.txt")
    (found,) = explained.failures  # the second card is empty
    assert (found.kind, found.part) == ("card_in_use", "multi_process")
    assert [a.knob for a in found.advice][:2] == ["process 2514", "process 2990"]
    assert found.missing_bytes is None
    needs = logs.explain_file(LOGS / "nvidia-smi.txt", engine="vllm", model="Qwen3-8B", max_model_len=8192)
    (found,) = needs.failures
    assert needs.estimate is not None
    assert needs.estimate.gpu.name == "RTX-4090"
    assert needs.estimate.budget is not None
    assert found.missing_bytes == needs.estimate.budget.requested_bytes - (24564 - 23859) * MiB


def test_slices_of_a_card_count_without_their_second_rows() -> None:
    log = (
        "|  1    3   0   0  |  14366MiB / 19968MiB | 28      0 |  2   0    1    0    0 |\n"
        "|                  |      4MiB / 32767MiB |           |                       |\n"
    )
    explained = logs.explain(log)
    assert [line.values["device"].value for line in explained.lines] == ["1 MIG 0"]


def test_auto_fit_is_no_failure() -> None:
    """kaito2156_qwen3_8b_a10: 20,272 of 40,960 tokens."""
    log = "Auto-fit max_model_len: reduced from 40960 to 20272 to fit in available GPU memory (3.00 GiB available"
    explained = logs.explain(log)
    assert not explained.failures
    assert explained.fields["max_model_len"] == 20272
