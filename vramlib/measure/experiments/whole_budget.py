"""whole_budget: a decoder of real size generates; its eight parts against what the driver reports."""

from __future__ import annotations

import gc

from vramlib import catalog, estimate
from vramlib.measure import subject
from vramlib.measure.bench import Bench
from vramlib.measure.plan import EXTRAS, Experiment, Plan, Prediction, Readings, Room, largest
from vramlib.specs import PART_NAMES, Estimate, GpuSpec, ModelSpec, Part
from vramlib.units import MiB, maximum, show, show_count

PROMPT, STEPS = 1024, 64
ALLOCATOR_PARTS = ("model_weights", "kv_cache", "activations", "framework_buffers", "fragmentation")
CACHED = 4 * 20 * MiB  # free parts of shared segments, by their size class
UNEXPLAINED = "unexplained"
UNEXPLAINED_FORMULA = (
    "driver − Σ parts: kernels loaded on use, less the new tokens' cache, which comes after the peak"
)


def plan(room: Room) -> Plan:
    """The estimate of the same scenario, part by part, for the largest model that fits."""
    sized = [(m, _tensors(_estimate(m, room.gpu))) for m in subject.ladder()]
    model, _ = largest(room, sized, what="generating with a whole model")
    answer = _estimate(model, room.gpu)
    found = [_of_part(p) for p in answer.parts]
    low, high = (sum(getattr(p, f"{end}_bytes") for p in answer.parts) for end in ("low", "high"))
    total = answer.total_bytes
    found += [
        _of_driver("by the driver", total, low, high + CACHED, "Σ of the eight parts"),
        _of_driver(
            UNEXPLAINED,
            0,
            -64 * MiB,
            256 * MiB,
            UNEXPLAINED_FORMULA,
        ),
    ]
    return Plan(
        experiment="whole_budget",
        scale=f"{model.name} whole, {show_count(model.params_total)} parameters; {PROMPT} tokens, {STEPS} new; "
        f"{show(total)} expected",
        headline="by the driver",
        predictions=tuple(found),
        needs_bytes=maximum(total, high),
        settings={"model": model.name, "prompt_tokens": PROMPT, "new_tokens": STEPS},
    )


def _of_part(p: Part) -> Prediction:
    """The estimate's part; what the allocator keeps for later is no demand, but the meters show it."""
    cached = CACHED if p.key == "fragmentation" else 0
    return Prediction(
        name=PART_NAMES[p.key],
        bytes=p.bytes,
        low_bytes=p.low_bytes,
        high_bytes=p.high_bytes + EXTRAS + cached,
        meter="allocator" if p.key in ALLOCATOR_PARTS else "process",
        formula=p.formula + (" + cached segments, which go back when memory runs short" if cached else ""),
        source="; ".join(p.sources),
    )


def _of_driver(name: str, size: int, low: int, high: int, formula: str) -> Prediction:
    return Prediction(
        name=name,
        bytes=size,
        low_bytes=low,
        high_bytes=high,
        meter="process",
        formula=formula,
        source="driver",
    )


def _estimate(model: ModelSpec, gpu: GpuSpec) -> Estimate:
    return estimate(
        model=model, gpu=gpu, engine="transformers", prompt_tokens=PROMPT, new_tokens=STEPS, batch_size=1,
        dtype="bfloat16",
    )  # fmt: skip


def _tensors(answer: Estimate) -> int:
    """Most bytes of everything but the context [byte]."""
    return sum(p.high_bytes for p in answer.parts if p.key != "cuda_context") + 64 * MiB


def perform(plan: Plan, bench: Bench) -> Readings:
    """Each part as the difference of two readings; the driver's last word is taken while everything is held."""
    model = catalog.model(plan.settings["model"])
    prompt, steps = plan.settings["prompt_tokens"], plan.settings["new_tokens"]
    parts = dict.fromkeys(PART_NAMES, 0)
    bench.limit()
    parts["cuda_context"] = bench.process_bytes()
    with bench.torch.no_grad():
        runner = subject.build(model, bench)
        gc.collect()
        parts["model_weights"] = bench.requested()
        ids, next_id = runner.ids(1, prompt), runner.ids(1, 1)
        parts["framework_buffers"] = _workspace(runner, bench, next_id)
        bench.clear()
        start, cache = bench.requested(), runner.new_cache()
        runner.forward(ids, cache)
        gc.collect()
        filled = bench.allocator()
        for _ in range(steps):
            runner.forward(next_id, cache)
        gc.collect()
        end = bench.allocator()
    parts["kv_cache"] = end.requested_bytes - start
    parts["activations"] = filled.peak_requested_bytes - filled.requested_bytes
    parts["fragmentation"] = end.reserved_bytes - end.peak_requested_bytes
    driver = bench.process_bytes()
    yield from ((PART_NAMES[key], size) for key, size in parts.items())
    yield "by the driver", driver
    yield UNEXPLAINED, driver - sum(parts.values())


def _workspace(runner: subject.Subject, bench: Bench, next_id: object) -> int:
    """What the first pass leaves behind: the workspace of cuBLAS."""
    before = bench.requested()
    runner.forward(next_id, runner.new_cache())
    gc.collect()
    return bench.requested() - before


EXPERIMENT = Experiment(
    name="whole_budget",
    part="total",
    question="Do the eight parts of a model that generates add up to what the driver reports?",
    plan=plan,
    perform=perform,
)
