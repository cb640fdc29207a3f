"""Framework buffers: workspaces, CUDA graphs, request state."""

from __future__ import annotations

import pytest

from vramlib import resolve
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
    ("model", "graphs_gib"),
    [
        ("Llama-3.1-8B", 0.91),
        ("google/gemma-2-2b", 0.71),
        ("google/gemma-2-27b", 1.23),
        ("Qwen/Qwen3-8B", 0.96),
    ],
)
def test_graphs_on_h100_within_the_stated_residual(model: str, graphs_gib: float) -> None:
    """vLLM 0.19, 102 graphs: 0.35 GiB + 0.017 GiB a layer, worst residual 0.19 GiB over 12 models."""
    s = resolve.scenario(model=model, gpu="H100-80GB", max_model_len=8192)
    assert fb.num_graphs(s) == 102
    assert fb.cuda_graph_bytes(s) / GiB == pytest.approx(graphs_gib, abs=0.19)


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
