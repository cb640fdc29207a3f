"""llama.cpp's compute buffer against public logs, and against its own planner run on devices that only count."""

import numpy
import pytest

from vramlib import catalog, resolve
from vramlib.components import compute_buffer, weight_types
from vramlib.units import MiB

# model, build, flash attention, n_ctx, n_ubatch, printed [MiB], log. ik_llama.cpp has had 16-bit masks since 2025 and
# keeps a logits row per token; its rows are read with that rule (build 9400).
LOGS = [
    ("phi-2", 6000, True, 512, 512, 105.00, "llama.cpp examples/eval-callback/README.md"),
    ("Llama-3.1-8B", 6000, True, 4096, 512, 258.50, "llama.cpp, the 8B of Llama 3"),
    ("Qwen3-30B-A3B", 5600, False, 16384, 512, 1080.00, "ik_llama.cpp/issues/514, llama.cpp's own log"),
    ("gemma-3-27b-it", 9400, True, 32768, 512, 522.62, "ik_llama.cpp/discussions/334"),
    ("GLM-4.5-Air", 9400, True, 65536, 1024, 608.00, "Thireus/GGUF-Tool-Suite"),
    ("GLM-4.5-Air", 9400, True, 65536, 2048, 1216.00, "Thireus/GGUF-Tool-Suite"),
    ("GLM-4.5-Air", 9400, True, 65536, 4096, 2432.00, "Thireus/GGUF-Tool-Suite"),
    ("GLM-4.5-Air", 9400, True, 65536, 8192, 4864.00, "Thireus/GGUF-Tool-Suite"),
    ("GLM-4.5-Air", 9400, True, 65536, 16384, 9728.00, "Thireus/GGUF-Tool-Suite"),
    ("GLM-4.5", 9400, True, 65536, 8192, 4896.00, "Thireus/GGUF-Tool-Suite, the last of three GPUs"),
    ("GLM-4.7", 9400, True, 4096, 4096, 2448.00, "Thireus/GGUF-Tool-Suite, the last of four GPUs"),
    ("Qwen3.5-397B-A17B", 9400, True, 512, 512, 493.00, "Thireus/GGUF-Tool-Suite, the last of four GPUs"),
]


@pytest.mark.parametrize("row", LOGS, ids=lambda row: f"{row[0]}-{row[3]}-{row[4]}")
def test_logged_buffers_to_the_digit(row):
    name, build, flash, n_ctx, ubatch, printed, log = row
    found = compute_buffer.device_bytes(
        catalog.model(name), n_ctx=n_ctx, n_ubatch=ubatch, flash_attn=flash, build=build
    )
    assert found / MiB == pytest.approx(printed, abs=0.011), log


# logs that the rule meets within its interval only: hybrids and tied models keep one more row alive
NEAR = [
    ("Qwen3-4B", 4096, 4096, 2454.00),
    ("Qwen3.5-0.8B", 512, 512, 489.00),
    ("Qwen3.5-9B", 512, 512, 501.00),
    ("Qwen3-235B-A22B", 32768, 512, 312.75),
    ("Llama-3.1-8B", 1024, 512, 266.50),
]


@pytest.mark.parametrize(("name", "n_ctx", "ubatch", "printed"), NEAR)
def test_logged_buffers_within_the_interval(name, n_ctx, ubatch, printed):
    size = compute_buffer.device_bytes(catalog.model(name), n_ctx=n_ctx, n_ubatch=ubatch, build=9400)
    low, high = compute_buffer.bounds(size)
    assert low <= printed * MiB <= high


@pytest.mark.parametrize(("rows", "planned"), [(1, 126.02), (512, 509.02)])
def test_planner_of_a_hybrid_within_the_interval(rows, planned):
    """b11063, Qwen3.5-27B at n_ctx 4096: linear attention in three layers of four."""
    size = compute_buffer.device_bytes(catalog.model("Qwen3.5-27B"), n_ctx=4096, n_outputs=rows, build=11063)
    low, high = compute_buffer.bounds(size)
    assert low <= planned * MiB <= high


# ik_llama.cpp/discussions/357, llama.cpp's own logs, Qwen3-235B with its experts on the CPU: bits, n_ctx, MiB
STREAMED = [("Q8_0", 32768, 1024.00), ("Q6_K", 16384, 774.00), ("Q6_K", 16384, 742.00)]


@pytest.mark.parametrize(("kind", "n_ctx", "printed"), STREAMED)
def test_a_matrix_left_on_the_cpu_is_copied_into_the_buffer(kind, n_ctx, printed):
    matrix = weight_types.bytes_of(kind, (128, 1536, 4096))
    model = catalog.model("Qwen3-235B-A22B")
    size = compute_buffer.device_bytes(model, n_ctx=n_ctx, build=5200, streamed_layer_bytes=matrix)
    assert size / MiB == pytest.approx(printed, rel=0.1)


# llama.cpp's planner: model, build, flash attention, n_ctx, logits rows, n_ubatch, CUDA0 [MiB]
PLANNER = [
    ("Llama-3.1-8B", 11063, True, 32768, 512, 512, 258.50),
    ("Llama-3.1-8B", 11063, True, 4096, 1, 512, 112.01),
    ("Llama-3.1-8B", 11063, False, 16384, 512, 512, 1092.01),
    ("Llama-3.1-70B", 11063, True, 4096, 1, 512, 220.01),
    ("Llama-3.1-70B", 11063, False, 16384, 512, 512, 2148.01),
    ("Qwen3-4B", 11063, True, 4096, 1, 512, 79.01),
    ("Qwen3-4B", 11063, False, 16384, 512, 512, 1086.01),
    ("Qwen3-30B-A3B", 11063, True, 4096, 1, 512, 88.01),
    ("Qwen3-30B-A3B", 11063, False, 16384, 512, 512, 1082.01),
    ("Mixtral-8x7B-v0.1", 11063, True, 32768, 512, 512, 224.01),
    ("gemma-2-9b", 11063, True, 4096, 512, 512, 507.00),
    ("gemma-2-9b", 11063, False, 16384, 512, 512, 599.01),
    ("gemma-3-27b-it", 11063, True, 4096, 1, 512, 160.52),
    ("gpt-oss-20b", 11063, True, 4096, 1, 512, 91.52),
    ("DeepSeek-V3", 11063, True, 4096, 512, 512, 371.01),
    ("DeepSeek-V3", 11063, True, 32768, 1, 512, 399.01),
    ("DeepSeek-V3", 11063, False, 16384, 1, 512, 4495.01),
    ("Llama-3.1-8B", 11549, True, 4096, 512, 512, 286.52),
    ("Llama-3.1-8B", 11549, True, 32768, 1, 512, 148.01),
    ("Llama-3.1-70B", 11549, True, 32768, 512, 512, 346.52),
    ("Qwen3-30B-A3B", 11549, True, 32768, 1, 512, 116.01),
    ("gemma-3-27b-it", 11549, True, 32768, 512, 512, 587.65),
    ("Llama-3.1-8B", 6000, False, 4096, 512, 512, 296.00),
    ("Qwen3-4B", 6000, False, 16384, 512, 512, 1082.00),
    ("Mixtral-8x7B-v0.1", 6000, True, 4096, 512, 512, 196.00),
]


@pytest.mark.parametrize("row", PLANNER, ids=lambda row: "-".join(map(str, row[:6])))
def test_planner_of_llama_cpp(row):
    name, build, flash, n_ctx, rows, ubatch, planned = row
    found = compute_buffer.device_bytes(
        catalog.model(name), n_ctx=n_ctx, n_ubatch=ubatch, n_outputs=rows, flash_attn=flash, build=build
    )
    assert found / MiB == pytest.approx(planned, rel=0.03)


# two GPUs, b11063: model, flash attention, n_ctx, logits rows, first [MiB], last [MiB]
TWO_GPUS = [
    ("Llama-3.1-8B", True, 4096, 512, 79892 / 512, 173338 / 512),
    ("Llama-3.1-8B", True, 4096, 1, 79892 / 512, 96276 / 512),
    ("Llama-3.1-8B", True, 32768, 512, 137236 / 512, 230682 / 512),
]


@pytest.mark.parametrize(("name", "flash", "n_ctx", "rows", "first", "last"), TWO_GPUS)
def test_several_gpus_keep_four_copies_of_inputs(name, flash, n_ctx, rows, first, last):
    settings = {"n_ctx": n_ctx, "n_outputs": rows, "flash_attn": flash, "build": 11063, "num_gpus": 2}
    model = catalog.model(name)
    found = [
        compute_buffer.device_bytes(model, first=end == 0, last=end == 1, **settings) / MiB for end in (0, 1)
    ]
    assert found == pytest.approx([first, last], rel=0.001)


def test_old_builds_may_leave_both_masks_in_the_way():
    """Planner of a build of August 2025: 258.50 MiB for the 8B at any length, but 362.50 for the 70B at 32k."""
    model = catalog.model("Llama-3.1-70B")
    size = compute_buffer.device_bytes(model, n_ctx=32768, build=6000)
    low, high = compute_buffer.bounds(size, compute_buffer.mask_gap_bytes(model, n_ctx=32768, build=6000))
    assert size / MiB == 266.5
    assert low < 362.5 * MiB < high


def test_depth_does_not_matter():
    """Llama-3.1-8B and a model of the same widths: the rule reads no layer count."""
    sizes = {
        compute_buffer.device_bytes(catalog.model(n), n_ctx=4096) for n in ("Llama-3.1-8B", "Meta-Llama-3-8B")
    }
    assert len(sizes) == 1


def test_june_2026_server_reserves_a_row_per_slot():
    model = catalog.model("Llama-3.1-8B")
    before, after = (compute_buffer.device_bytes(model, n_ctx=4096, build=b) for b in (9400, 9500))
    assert (before / MiB, round(after / MiB)) == (258.5, 112)


def test_arrays_give_what_numbers_give():
    model, lengths = catalog.model("Qwen3-8B"), [2048, 40_960]
    many = compute_buffer.device_bytes(model, n_ctx=numpy.array(lengths), flash_attn=False)
    assert many.tolist() == [compute_buffer.device_bytes(model, n_ctx=n, flash_attn=False) for n in lengths]


def test_scenario_term_shows_its_numbers():
    s = resolve.scenario(model="Llama-3.1-8B", engine="llama.cpp", max_model_len=4096)
    (term,) = compute_buffer.scenario_terms(s)
    assert term.low < term.bytes < term.high
    assert term.worked.startswith(("logits", "MLP", "attention"))
    assert term.basis == "modelled"
