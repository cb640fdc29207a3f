"""weights: a real architecture at its true size with random values, in several types and in a quantized layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vramlib import catalog
from vramlib.allocator import CachingAllocator, Event, last_stats
from vramlib.components import model_weights
from vramlib.measure import decoder, subject
from vramlib.measure.bench import Bench
from vramlib.measure.plan import Experiment, Plan, Prediction, Readings, Room, largest
from vramlib.specs import ModelSpec, QuantSpec, Tensor
from vramlib.units import GiB, MiB, ceil_div, show, show_count

DTYPES = {"float32": 32, "bfloat16": 16, "float8_e4m3fn": 8}
GPTQ = QuantSpec(
    name="gptq", weight_bits=4, group_size=128, scale_bits=16, zero_point_bits=4, index_bits=32,
    source="GPTQ layout: qweight, scales, qzeros, g_idx",
)  # fmt: skip
ALLOCATOR = "the allocator's rules, simulated on the same tensors in the same order"


def plan(room: Room) -> Plan:
    """Requested, allocated and reserved bytes of each type; requested bytes of the quantized layout."""
    sized = [(m, subject.weight_bytes(m, dtype_bits=32) + 64 * MiB) for m in subject.ladder()]
    model, size = largest(room, sized, what="loading a model in float32")
    found = [p for dtype, bits in DTYPES.items() for p in _of_dtype(model, dtype, bits)]
    quantized = model_weights.tensor_bytes(model, quant=GPTQ, fuse=False)
    found.append(
        Prediction(
            name="gptq int4, requested",
            bytes=quantized,
            meter="allocator",
            formula="Σ out·in·4/8 + scales + zero points + index; embedding, norms and head in 16 bit",
            source=GPTQ.source,
        )
    )
    return Plan(
        experiment="weights",
        scale=f"{model.name}: {show_count(model.params_total)} parameters, {show(size)} in float32",
        headline="bfloat16, requested",
        predictions=tuple(found),
        needs_bytes=size + room.gpu.cuda_context_high_bytes,
        settings={"model": model.name},
    )


def _of_dtype(model: ModelSpec, dtype: str, bits: int) -> Iterator[Prediction]:
    gpu = CachingAllocator(total_bytes=1024 * GiB)
    stats = last_stats(
        (Event("malloc", name, t.numel * bits // 8) for name, t in decoder.named_tensors(model)), gpu
    )
    size = subject.weight_bytes(model, dtype_bits=bits)
    yield Prediction(
        name=f"{dtype}, requested",
        bytes=size,
        meter="allocator",
        formula="Σ out · in · b_w / 8",
        source="inventory",
    )
    for word, expected in (("allocated", stats.allocated_bytes), ("reserved", stats.reserved_bytes)):
        yield Prediction(
            name=f"{dtype}, {word}",
            bytes=expected,
            meter="allocator",
            formula=ALLOCATOR,
            source="vramlib.allocator",
        )


def perform(plan: Plan, bench: Bench) -> Readings:
    """One type after another, everything given back in between."""
    model = catalog.model(plan.settings["model"])
    bench.limit()
    for dtype in DTYPES:
        bench.clear()
        before = bench.allocator()
        made = decoder.weights(model, bench.torch, device=bench.device, dtype=getattr(bench.torch, dtype))
        after = bench.allocator() - before
        yield f"{dtype}, requested", after.requested_bytes
        yield f"{dtype}, allocated", after.allocated_bytes
        yield f"{dtype}, reserved", after.reserved_bytes
        del made
    bench.clear()
    start = bench.requested()
    stored = [_quantized(t, bench) for _, t in decoder.named_tensors(model)]
    yield "gptq int4, requested", bench.requested() - start
    del stored


def _quantized(t: Tensor, bench: Bench) -> list[Any]:
    """The tensors that GPTQ stores for one matrix; the matrix itself where it is not compressed."""
    torch, device = bench.torch, bench.device
    if not t.linear or t.role in GPTQ.keep:
        return [torch.empty(t.shape, dtype=torch.bfloat16, device=device)]
    rows, columns = t.shape
    groups = ceil_div(columns, GPTQ.group_size)
    return [
        torch.zeros((columns // 8, rows), dtype=torch.int32, device=device),
        torch.zeros((groups, rows), dtype=torch.float16, device=device),
        torch.zeros((groups, rows // 8), dtype=torch.int32, device=device),
        torch.zeros((columns,), dtype=torch.int32, device=device),
    ]


EXPERIMENT = Experiment(
    name="weights",
    part="model_weights",
    question="Do weights take parameters × bit width, and what does the allocator add?",
    plan=plan,
    perform=perform,
)
