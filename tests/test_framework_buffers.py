"""Framework buffers: workspaces, CUDA graphs, request state."""

from __future__ import annotations

import pytest

from vramlib import resolve
from vramlib.components import cuda_graphs
from vramlib.components import framework_buffers as fb

GiB, MiB = 2**30, 2**20


def test_cublas_workspace_by_capability() -> None:
    """PyTorch, CublasHandlePool.cpp; 8,519,680 B is what memory snapshots of older cards show."""
    assert [fb.cublas_workspace_bytes(c) for c in (9.0, 10.0, 12.0)] == [33_554_432] * 3
    assert [fb.cublas_workspace_bytes(c) for c in (7.5, 8.0, 8.9)] == [8_519_680] * 3


@pytest.mark.parametrize(
    ("seqs", "tokens", "sizes"), [(1024, 8192, 51), (256, 2048, 51), (1, 8192, 2), (8, 8192, 5)]
)
def test_capture_sizes(seqs: int, tokens: int, sizes: int) -> None:
    """vLLM 0.19, _set_cudagraph_sizes: 51 sizes up to 512."""
    assert len(fb.capture_sizes(seqs, tokens)) == sizes


@pytest.mark.parametrize("top", range(1, 520))
def test_counting_sizes_is_listing_them(top: int) -> None:
    listed = [n for n in fb.capture_sizes(512, 10**6) if n <= top]
    assert fb.num_capture_sizes(top) == len(listed)


@pytest.mark.parametrize(
    ("version", "seqs", "pieces", "whole"),
    [
        ("0.19.0", 1024, 51, 51),
        ("0.11.0", 256, 67, 35),
        ("0.10.2", 1024, 67, 0),
        ("0.9.2", 16, 67, 0),
        ("0.7.3", 256, 35, 0),
        ("0.19.0", 64, 19, 11),
    ],
)
def test_sizes_by_version(version: str, seqs: int, pieces: int, whole: int) -> None:
    """Progress bars of public logs: 67/67 and 0/35 in 0.11.0 (QwenLM/Qwen3-VL issue 1684), 51/51 twice in 0.19."""
    s = resolve.scenario(
        model="Llama-3.1-8B",
        gpu="A100-80GB",
        engine_version=version,
        max_num_seqs=seqs,
        max_num_batched_tokens=8192,
    )
    assert fb.num_graphs(s) == pieces + whole


def test_drafts_widen_the_sizes_and_join_the_smallest() -> None:
    """vLLM 0.20 with three drafts prints 33 sizes up to 256, in pieces and whole (run rtx6k_glm51_dcp8_mtp1)."""
    s = resolve.scenario(
        model="Llama-3.1-8B",
        gpu="A100-80GB",
        engine_version="0.20.2",
        max_num_seqs=32,
        num_speculative_tokens=3,
    )
    assert cuda_graphs.captured_tokens(s) == (256, 128)
    assert fb.num_graphs(s) == 33 + 17


@pytest.mark.parametrize(
    ("model", "first_full_mib", "per_graph_mib"),
    [("codellama/CodeLlama-7b-hf", 262, 6), ("Qwen1.5-MoE-A2.7B", 136, 7), ("gemma-3-12b-it", 4, 9)],
)
def test_partial_results_that_a_full_graph_keeps(model: str, first_full_mib: int, per_graph_mib: int) -> None:
    """DEBUG logs of vLLM 0.19 on H100: the first full graph, and the next ones, read in pages of 2 MiB."""
    s = resolve.scenario(model=model, gpu="H100-80GB", max_model_len=8192)
    kept = cuda_graphs.split_bytes(s, 512) / MiB
    each = fb.graph_driver_bytes(s) / fb.num_graphs(s) / MiB
    assert each == pytest.approx(per_graph_mib, abs=1.5)
    assert kept + each == pytest.approx(first_full_mib, abs=6)


@pytest.mark.parametrize(
    ("model", "graphs_gib"),
    [
        ("Llama-3.1-8B", 0.91),
        ("google/gemma-2-2b", 0.71),
        ("google/gemma-2-27b", 1.23),
        ("Qwen/Qwen3-8B", 0.96),
        ("DeepSeek-V2-Lite", 1.57),
        ("Qwen/Qwen3-30B-A3B", 1.41),
        ("gemma-3-27b-it", 1.14),
    ],
)
def test_graphs_on_h100(model: str, graphs_gib: float) -> None:
    """vLLM 0.19, 102 graphs, dense and mixture-of-experts, plain and latent attention: one constant for all."""
    s = resolve.scenario(model=model, gpu="H100-80GB", max_model_len=8192)
    assert fb.num_graphs(s) == 102
    assert fb.cuda_graph_bytes(s) / GiB == pytest.approx(graphs_gib, abs=0.07)


def test_graphs_shrink_with_ranks_by_what_attention_keeps() -> None:
    """Qwen2.5-7B of vLLM 0.19 on H100 prints 0.87, 0.71 and 0.64 GiB with one, two and four ranks."""
    sizes = [
        fb.cuda_graph_bytes(resolve.scenario(model="Qwen2.5-7B", gpu="H100-80GB", tensor_parallel_size=n))
        / GiB
        for n in (1, 2, 4)
    ]
    assert sizes == pytest.approx([0.87, 0.71, 0.64], abs=0.06)


def test_cards_without_flash_attention_3_keep_no_partial_results() -> None:
    """Run rfile_llama31_8b_l4: 0.38 GiB with 54 graphs on an L4."""
    given = {
        "model": "Llama-3.1-8B",
        "engine_version": "0.11.0",
        "max_num_seqs": 128,
        "max_num_batched_tokens": 2048,
    }
    small, large = (resolve.scenario(gpu=gpu, **given) for gpu in ("L4", "H100-80GB"))
    assert cuda_graphs.split_bytes(small, 128) == 0
    assert fb.cuda_graph_bytes(small) / GiB == pytest.approx(0.38, abs=0.05)
    assert cuda_graphs.split_bytes(large, 128) == 32 * 32 * 128 * 128 * 4


def test_flashinfer_workspace_is_charged_with_the_graphs() -> None:
    """Runs rlog20 and rlog21 on a 5090 with an fp8 cache: 0.47 and 0.45 GiB charged where 0.13 and 0.10 are taken."""
    given = {"model": "Qwen3-8B", "gpu": "RTX-5090", "engine_version": "0.27.0"}
    plain, fp8 = (resolve.scenario(kv_cache_dtype=d, **given) for d in ("auto", "fp8"))
    assert fb.charged_graph_bytes(plain) == fb.cuda_graph_bytes(plain)
    assert fb.charged_graph_bytes(fp8) - fb.cuda_graph_bytes(fp8) == 394 * MiB
    hopper = resolve.scenario(**given | {"gpu": "H100-80GB", "kv_cache_dtype": "fp8"})
    assert fb.charged_graph_bytes(hopper) == fb.cuda_graph_bytes(hopper)


def test_enforce_eager_turns_graphs_off() -> None:
    s = resolve.scenario(model="Llama-3.1-8B", enforce_eager=True)
    assert fb.cuda_graph_bytes(s) == 0


def test_request_state_of_the_v2_runner() -> None:
    """vLLM 0.33 at R = 1024, V = 128,256: penalties 501, masks 31.3, ids 17.5 MiB; tables 64 MiB at 131,072."""
    assert 4 * 1024 * 128_256 / MiB == 501
    total = fb.persistent_bytes(128_256, 1024, 8192)
    assert total / MiB == pytest.approx(501 + 31.3 + 17.5 + 0.2, abs=0.1)
    assert fb.block_table_bytes(1024, 131_072, 16) == 64 * MiB


def test_gemma_pays_a_gib_for_penalties() -> None:
    assert fb.persistent_bytes(262_144, 1024, 8192) > GiB


@pytest.mark.parametrize(
    ("version", "model", "v2"),
    [
        ("0.19.0", "Llama-3.1-8B", False),
        ("0.24.0", "Llama-3.1-8B", True),
        ("0.24.0", "Qwen/Qwen3-30B-A3B", False),
        ("0.26.0", "google/gemma-2-9b", True),
        ("0.33.0", "Qwen/Qwen3-30B-A3B", True),
    ],
)
def test_which_runner(version: str, model: str, v2: bool) -> None:
    """vllm/config/vllm.py use_v2_model_runner of each version."""
    assert fb.uses_v2_runner(resolve.scenario(model=model, engine_version=version)) is v2
