"""An Estimate with sizes put in by hand, for tests of what is shown rather than of the numbers."""

from typing import Any

from vramlib.specs import (
    PART_KEYS,
    Budget,
    EngineSpec,
    Estimate,
    GpuSpec,
    Layer,
    ModelSpec,
    Part,
    Scenario,
    Tensor,
    Term,
)
from vramlib.units import GiB, MiB

SIZES = {
    "model_weights": 15 * GiB,
    "kv_cache": 160 * MiB,
    "activations": 512 * MiB,
    "cuda_context": 400 * MiB,
    "framework_buffers": 100 * MiB,
    "prefill_padding": 0,
    "fragmentation": 40 * MiB,
    "multi_process": 0,
}
BUDGET = Budget(
    requested_bytes=20 * GiB,
    weights_bytes=15 * GiB,
    kv_pool_bytes=3 * GiB,
    bytes_per_block=2 * MiB,
    num_blocks=1536,
    kv_pool_tokens=24_576,
    max_concurrency=3.0,
)


def model() -> ModelSpec:
    matrix = Tensor(name="embed_tokens.weight", shape=(100, 8), role="embedding", split="vocab")
    return ModelSpec(
        name="org/small-model",
        hidden_size=8,
        num_hidden_layers=1,
        vocab_size=100,
        embedding=(matrix,),
        layers=(Layer(tensors=()),),
    )


def scenario(**changed: Any) -> Scenario:
    given: dict[str, Any] = {
        "model": model(),
        "gpu": GpuSpec(name="Card-24GB", memory_bytes=24 * GiB),
        "engine": "vllm",
        "engine_version": "0.19.0",
        "engine_spec": EngineSpec(name="vllm", version="0.19.0", constants={}),
        "max_model_len": 8192,
        "max_num_seqs": 256,
        "max_num_batched_tokens": 2048,
    }
    return Scenario(**(given | changed))


def part(key: str, size: Any) -> Part:
    about = {"low": size * 9 // 10, "high": size * 11 // 10} if key == "activations" else {}
    basis = "modelled" if about else "exact"
    term = Term(
        name="all", bytes=size, formula="a · b", worked=f"{size} · 1", source="a source", basis=basis, **about
    )
    return Part.of(key, term)


def estimate(sizes: dict[str, Any] | None = None, **changed: Any) -> Estimate:
    """Sizes of ``SIZES`` unless others are given; fields of Estimate or Scenario changed by name."""
    own = {name: changed.pop(name) for name in ("budget", "fits", "verdict", "warnings") if name in changed}
    chosen = SIZES | (sizes or {})
    given: dict[str, Any] = {
        "budget": BUDGET,
        "fits": True,
        "verdict": "It fits.",
        "warnings": ("Take care.",),
    }
    parts = tuple(part(key, chosen[key]) for key in PART_KEYS)
    return Estimate(scenario=scenario(**changed), parts=parts, **(given | own))
