"""context: what the driver takes before the first tensor, and what the first tensor and the first matmul add."""

from __future__ import annotations

from vramlib.components import cuda_context, framework_buffers
from vramlib.measure.bench import Bench
from vramlib.measure.plan import Experiment, Plan, Prediction, Readings, Room
from vramlib.units import MiB, show

WIDTH = 1024
LAZY, EAGER = {"CUDA_MODULE_LOADING": "LAZY"}, {"CUDA_MODULE_LOADING": "EAGER"}
EAGER_BYTES = 666_632_192 - 287_047_680
EAGER_SOURCE = (
    "https://github.com/pytorch/pytorch/pull/86509: 287,047,680 bytes lazy, 666,632,192 bytes eager"
)
LIBRARY_SOURCE = (
    "https://github.com/NVIDIA/TensorRT-LLM/issues/455: cuBLAS +64 MiB; issue 2683: +8 MiB, printed at start"
)


def plan(room: Room) -> Plan:
    """The card's idle context; a small segment; PyTorch's cuBLAS workspace; the library itself."""
    gpu = room.gpu
    base, low, high = cuda_context.base_bytes(gpu)
    found = [
        _of_process(
            "no tensor, lazy loading", base, low, high, "context(card, driver)", gpu.cuda_context_source
        ),
        _of_process(
            "no tensor, eager loading",
            base + EAGER_BYTES,
            base,
            high + 2 * EAGER_BYTES,
            "context + kernels of every loaded library",
            EAGER_SOURCE,
        ),
        _of_process(
            "first tensor", 2 * MiB, 2 * MiB, 34 * MiB, "one small segment of 2 MiB", "PyTorch's allocator"
        ),
        Prediction(
            name="first matmul: workspace",
            bytes=framework_buffers.cublas_workspace_bytes(gpu.compute_capability),
            meter="allocator",
            formula="32 MiB from compute capability 9.0, else 2 · 4096 KiB + 8 · 16 KiB",
            source="PyTorch, aten/src/ATen/cuda/CublasHandlePool.cpp parseChosenWorkspaceSize",
        ),
        _of_process(
            "first matmul: library and kernels",
            64 * MiB,
            8 * MiB,
            256 * MiB,
            "as printed by others",
            LIBRARY_SOURCE,
        ),
    ]
    return Plan(
        experiment="context",
        scale=f"one matrix product of {WIDTH} × {WIDTH}; lazy and eager module loading; {show(high)} at most expected",
        headline="no tensor, lazy loading",
        predictions=tuple(found),
        needs_bytes=high + 2 * EAGER_BYTES + 128 * MiB,
        settings={"width": WIDTH},
    )


def _of_process(name: str, size: int, low: int, high: int, formula: str, source: str) -> Prediction:
    return Prediction(
        name=name, bytes=size, low_bytes=low, high_bytes=high, meter="process", formula=formula, source=source
    )


def perform(plan: Plan, bench: Bench) -> Readings:
    """In a process that has not used the card yet; with eager loading only the context is read."""
    is_lazy = bench.variant.get("CUDA_MODULE_LOADING") == "LAZY"
    bench.limit()
    context = bench.process_bytes()
    yield f"no tensor, {'lazy' if is_lazy else 'eager'} loading", context
    if is_lazy:
        yield from _first_uses(plan, bench, context)


def _first_uses(plan: Plan, bench: Bench, context: int) -> Readings:
    torch, width = bench.torch, plan.settings["width"]
    first = torch.empty(1, device=bench.device)
    bench.cuda.synchronize()
    yield "first tensor", bench.process_bytes() - context
    square = torch.zeros((width, width), dtype=torch.bfloat16, device=bench.device)
    before, seen = bench.allocator(), bench.process_bytes()
    product = square @ square
    after = bench.allocator()
    own = product.numel() * product.element_size()
    yield "first matmul: workspace", after.requested_bytes - before.requested_bytes - own
    grown = after.reserved_bytes - before.reserved_bytes
    yield "first matmul: library and kernels", bench.process_bytes() - seen - grown
    del first, product


EXPERIMENT = Experiment(
    name="context",
    part="cuda_context",
    question="What is gone before the first tensor, and what do the first tensor and the first matmul add?",
    plan=plan,
    perform=perform,
    variants=(LAZY, EAGER),
    is_fresh=True,
)
