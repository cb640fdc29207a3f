"""cuda_graphs: what captured decode steps cost, by the number of sizes and of layers."""

from __future__ import annotations

from typing import Any

from vramlib import catalog, engines
from vramlib.components import activations, framework_buffers, graph_kernels, kv_cache
from vramlib.measure.bench import Bench
from vramlib.measure.cache import Cache
from vramlib.measure.plan import Experiment, Plan, Prediction, Readings, Room, largest, with_layers
from vramlib.measure.subject import PlainSubject, ladder, weight_bytes
from vramlib.specs import ModelSpec
from vramlib.units import MiB, round_up

DEPTHS, SIZES, TOKENS = (2, 4), (1, 2, 4, 8, 16, 32), 256


def plan(room: Room) -> Plan:
    """The private pool's high-water mark, and the driver's memory for each graph, of two and of four layers."""
    sized = [(m, _needs(m)) for m in ladder(max(DEPTHS))]
    model, size = largest(room, sized, what="capturing a decoder of four layers")
    rules = engines.engine("vllm").constants
    each, fixed = rules["cuda_graph_bytes_per_kernel"], rules["cuda_graph_fixed_bytes"]["value"]
    kernels = graph_kernels.layer_kernels(model.layers[0], model)
    pool = _pool_bytes(model, room.gpu.compute_capability)
    found = []
    for depth in DEPTHS:
        middle, large = (len(SIZES) * (fixed + depth * kernels * each[end]) for end in ("value", "high"))
        found += [
            Prediction(
                name=f"private pool, {depth} layers",
                bytes=pool,
                low_bytes=2 * MiB,
                high_bytes=2 * pool + 40 * MiB,
                meter="allocator",
                formula="largest size's live set and a cuBLAS workspace, in segments; smaller sizes reuse it",
                source="PyTorch, c10/cuda/CUDACachingAllocator.cpp: private pools",
            ),
            Prediction(
                name=f"driver's memory of {len(SIZES)} graphs, {depth} layers",
                bytes=middle,
                low_bytes=0,
                high_bytes=4 * large + 64 * MiB,
                meter="process",
                formula="graphs · (1 MiB + layers · kernels · bytes per kernel)",
                source=str(each["source"]),
            ),
        ]
    return Plan(
        experiment="cuda_graphs",
        scale=f"{model.name} at its true width, {' and '.join(map(str, DEPTHS))} layers; batch sizes {SIZES}",
        headline=f"driver's memory of {len(SIZES)} graphs, {max(DEPTHS)} layers",
        predictions=tuple(found),
        needs_bytes=size + room.gpu.cuda_context_high_bytes,
        settings={"model": model.name, "sizes": list(SIZES), "depths": list(DEPTHS)},
    )


def _pool_bytes(model: ModelSpec, compute_capability: float) -> int:
    rows = max(SIZES)
    live = activations.transformers_bytes(model, rows, TOKENS, rows)
    held = sum(SIZES) * model.vocab_size * 2
    return round_up(int(live + held) + framework_buffers.cublas_workspace_bytes(compute_capability), 2 * MiB)


def _needs(model: ModelSpec) -> int:
    cache = kv_cache.bytes_per_token(model) * TOKENS * max(SIZES)
    return weight_bytes(model) + cache + 2 * _pool_bytes(model, 9.0) + 256 * MiB


def perform(plan: Plan, bench: Bench) -> Readings:
    """Capture one decode step for each size, largest first, all from one pool."""
    bench.limit()
    sizes = sorted(plan.settings["sizes"], reverse=True)
    for depth in plan.settings["depths"]:
        model = with_layers(catalog.model(plan.settings["model"]), depth)
        with bench.torch.no_grad():
            pool, graphs = _capture(PlainSubject(model, bench), bench, sizes)
        yield f"private pool, {depth} layers", pool
        yield f"driver's memory of {len(sizes)} graphs, {depth} layers", graphs
        bench.clear()


def _capture(runner: PlainSubject, bench: Bench, sizes: list[int]) -> tuple[int, int]:
    """Growth of the reserved segments, and what the driver shows beyond it."""
    cache = runner.new_cache(batch_size=max(sizes), max_tokens=TOKENS)
    inputs = {n: runner.ids(n, 1) for n in sizes}
    for n in sizes:
        _warm_up(runner, bench, inputs[n], _first(cache, n))
    bench.clear()
    before, seen = bench.allocator(), bench.process_bytes()
    handle, kept = bench.cuda.graph_pool_handle(), []
    for n in sizes:
        graph = bench.cuda.CUDAGraph()
        with bench.cuda.graph(graph, pool=handle):
            out = runner.forward(inputs[n], _first(cache, n))
        kept.append((graph, out))
    pool = bench.allocator().reserved_bytes - before.reserved_bytes
    return pool, bench.process_bytes() - seen - pool


def _warm_up(runner: PlainSubject, bench: Bench, ids: Any, cache: Cache) -> None:
    """Once on a side stream, so that libraries are loaded before anything is captured."""
    side = bench.cuda.Stream()
    side.wait_stream(bench.cuda.current_stream())
    with bench.cuda.stream(side):
        runner.forward(ids, cache)
    bench.cuda.current_stream().wait_stream(side)


def _first(cache: Cache, rows: int) -> Cache:
    """The first rows of a static cache, at a fixed length, so that every capture writes to the same place."""
    part = {name: [t[:rows] for t in getattr(cache, name)] for name in ("keys", "values")}
    return Cache(max_tokens=cache.max_tokens, tokens=TOKENS - 2, **part)


EXPERIMENT = Experiment(
    name="cuda_graphs",
    part="framework_buffers",
    question="What do captured decode steps cost, in PyTorch's pool and in the driver?",
    plan=plan,
    perform=perform,
)
