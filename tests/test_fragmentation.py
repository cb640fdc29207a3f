"""Rounding by the caching allocator, and what a growing cache leaves behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramlib import many, resolve
from vramlib.components import fragmentation as fr

MiB = 2**20


@pytest.mark.parametrize(
    ("asked", "handed_out"),
    [
        (100, 512),
        (600, 1024),
        (1_048_576, 1_048_576),
        (1_048_577, 1_049_088),
        (10_380_902, 10_381_312),
        (10 * MiB, 10 * MiB),
        (11_010_048, 11_010_048),
        (11 * MiB, 12 * MiB),
        (25 * MiB, 26 * MiB),
        (0, 0),
    ],
)
def test_unit_vectors(asked: int, handed_out: int) -> None:
    """PyTorch, CUDACachingAllocator.cpp: 512 B steps; from 10 MiB up a tail of at most 1 MiB stays."""
    assert fr.allocated_bytes(asked) == handed_out


@given(st.integers(1, 10**12))
def test_rounding_never_loses_and_never_adds_more_than_a_mib(size: int) -> None:
    extra = fr.allocated_bytes(size) - size
    assert 0 <= extra <= MiB + 511


@given(st.integers(20 * MiB, 10**11))
def test_unsplit_blocks_are_whole_steps(size: int) -> None:
    """vLLM 0.33 loads with max_split_size_mb 20."""
    assert fr.allocated_bytes(size, max_split_bytes=20 * MiB) % (2 * MiB) == 0


def test_unsplit_loading_of_qwen_logs_14_290() -> None:
    s = resolve.scenario(model="Qwen/Qwen2.5-7B-Instruct", engine_version="0.33.0", gpu="H100-80GB")
    from vramlib import budget

    assert budget.weights_bytes(s) / 2**30 == pytest.approx(14.290, abs=0.001)


@pytest.mark.parametrize(
    ("batch", "prompt", "new", "reserved_gib"), [(8, 1024, 512, 6.33), (16, 512, 512, 13.7)]
)
def test_growing_cache_leaves_generations_behind(
    batch: int, prompt: int, new: int, reserved_gib: float
) -> None:
    """Simulated on Llama-3.1-8B: reserved for 1.5 and 2.0 GiB of live cache."""
    s = resolve.scenario(
        model="Llama-3.1-8B", engine="transformers", batch_size=batch, prompt_tokens=prompt, new_tokens=new
    )
    from vramlib.components import kv_cache

    live = kv_cache.size_bytes(s)
    assert (fr.dynamic_cache_leftover_bytes(s) + live) / 2**30 == pytest.approx(reserved_gib, rel=0.03)


@pytest.mark.parametrize(
    "given", [{"batch_size": 64, "prompt_tokens": 8192}, {"batch_size": 8, "prompt_tokens": 1024}]
)
def test_what_a_growing_cache_may_leave_is_never_more_than_the_card_holds(given: dict[str, int]) -> None:
    s = resolve.scenario(model="Llama-3.1-8B", engine="transformers", gpu="A100-80GB", **given)
    _, gaps = fr.terms(s)
    assert gaps.bytes <= gaps.high <= s.gpu.memory_bytes
    assert gaps.high in (fr.dynamic_cache_leftover_bytes(s), s.gpu.memory_bytes)


def test_what_a_huge_cache_may_leave_is_the_same_for_many_at_once() -> None:
    """Segments times generations pass 64 bit long before the cache itself does."""
    shared = {
        "model": "Llama-3.1-8B",
        "engine": "transformers",
        "gpu": "H100-80GB",
        "gpu_memory_bytes": "50TiB",
        "prompt_tokens": 1,
        "new_tokens": 4000,
    }
    batches = [1, 37_000, 67_507, 72_509, 200_000, 400_000]
    _, gaps = fr.terms(resolve.scenario(**shared, batch_size=many.of(batches)))
    one_by_one = [fr.terms(resolve.scenario(**shared, batch_size=n))[1].high for n in batches]
    assert gaps.high.dtype == "int64"
    assert gaps.high.tolist() == one_by_one
