"""kv_growth: what each generated token leaves behind; grouped heads against one for every query; a static cache."""

from __future__ import annotations

import gc
from dataclasses import replace

from vramlib import catalog
from vramlib.components import activations, kv_cache
from vramlib.measure import subject
from vramlib.measure.bench import Bench
from vramlib.measure.plan import EXTRAS, Experiment, Plan, Prediction, Readings, Room, largest, with_layers
from vramlib.specs import ModelSpec
from vramlib.units import MiB

LAYERS, PROMPT, STEPS, STATIC = 4, 512, 64, 4096
FORMULA = "Σ_layers n_kv · (d_head + d_v) · b"
SOURCE = "Ainslie et al., GQA (2023), 2.2"


def plan(room: Room) -> Plan:
    """Bytes per token of both kinds of attention, and of a static cache of 4096 tokens."""
    sized = [(m, _needs(m)) for m in subject.ladder(LAYERS)]
    model, size = largest(room, sized, what="generating with four layers")
    grouped, multi = (kv_cache.bytes_per_token(m) for m in (model, subject.multi_head(model)))
    copy = (PROMPT + 1) * model.num_key_value_heads * model.head_dim * 2
    found = (
        _exact("per token, grouped heads", grouped, FORMULA),
        _exact("per token, a head for every query head", multi, FORMULA),
        replace(
            _exact(f"static cache, {STATIC} tokens", STATIC * grouped, f"{STATIC} · {FORMULA}"),
            high_bytes=STATIC * grouped + EXTRAS,
        ),
        Prediction(
            name="one step while it grows",
            bytes=copy + grouped,
            low_bytes=copy,
            high_bytes=2 * copy + grouped + 2 * MiB,
            meter="allocator",
            formula="one layer's keys at the next length, copied: (T + 1) · n_kv · d_head · b, and the new token",
            source="transformers 5.23, cache_utils.py DynamicLayer.update: torch.cat",
        ),
    )
    return Plan(
        experiment="kv_growth",
        scale=f"{model.name} at its true width, {LAYERS} layers; {PROMPT} tokens and {STEPS} steps",
        headline="per token, grouped heads",
        predictions=found,
        needs_bytes=size + room.gpu.cuda_context_high_bytes,
        settings={"model": model.name, "layers": LAYERS},
    )


def _exact(name: str, size: int, formula: str) -> Prediction:
    return Prediction(name=name, bytes=size, meter="allocator", formula=formula, source=SOURCE)


def _needs(model: ModelSpec) -> int:
    multi = subject.multi_head(model)
    tokens = STATIC + 2 * (PROMPT + STEPS)
    forward = activations.transformers_bytes(multi, PROMPT, PROMPT, 1)
    return int(subject.weight_bytes(multi) + kv_cache.bytes_per_token(multi) * tokens + forward) + 64 * MiB


def perform(plan: Plan, bench: Bench) -> Readings:
    """Requested bytes after each stretch, when only weights and cache are left."""
    model = with_layers(catalog.model(plan.settings["model"]), plan.settings["layers"])
    bench.limit()
    with bench.torch.no_grad():
        runner = subject.build(model, bench)
        per_token, step = _grow(runner, bench)
        yield "per token, grouped heads", per_token
        yield "one step while it grows", step
        yield f"static cache, {STATIC} tokens", _static(runner, bench)
        del runner
        bench.clear()
        runner = subject.build(subject.multi_head(model), bench)
        yield "per token, a head for every query head", _grow(runner, bench)[0]


def _grow(runner: subject.Subject, bench: Bench) -> tuple[int, int]:
    """Growth per token over the steps, and the peak of the first step after the prompt."""
    cache = runner.new_cache()
    prompt, next_id = runner.ids(1, PROMPT), runner.ids(1, 1)
    runner.forward(next_id, runner.new_cache())
    runner.forward(prompt, cache)
    _, step = bench.peak(lambda: runner.forward(next_id, cache).shape)
    gc.collect()
    before = bench.requested()
    for _ in range(STEPS):
        runner.forward(next_id, cache)
    gc.collect()
    return (bench.requested() - before) // STEPS, step


def _static(runner: subject.Subject, bench: Bench) -> int:
    ids = runner.ids(1, 1)
    bench.clear()
    before = bench.requested()
    cache = runner.new_cache(max_tokens=STATIC)
    runner.forward(ids, cache)
    gc.collect()
    held = bench.requested() - before
    del cache
    return held


EXPERIMENT = Experiment(
    name="kv_growth",
    part="kv_cache",
    question="What does each generated token leave behind, and what if every query head had its own keys?",
    plan=plan,
    perform=perform,
)
