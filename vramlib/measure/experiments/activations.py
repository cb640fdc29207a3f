"""activations: the largest set of tensors alive in one forward pass, by tokens, depth, attention and logits."""

from __future__ import annotations

import gc
from collections.abc import Iterator

from vramlib import catalog
from vramlib.components import activations, kv_cache
from vramlib.measure import subject
from vramlib.measure.bench import Bench
from vramlib.measure.plan import Experiment, Plan, Prediction, Readings, Room, largest, with_layers
from vramlib.specs import ModelSpec
from vramlib.units import MiB

TOKENS = 2048
CASES = (  # reading, attention, layers, tokens, all logits
    ("sdpa, 512 tokens", "sdpa", 2, 512, False),
    ("sdpa, 2048 tokens", "sdpa", 2, 2048, False),
    ("sdpa, 8192 tokens", "sdpa", 2, 8192, False),
    ("sdpa, 2048 tokens, 4 layers", "sdpa", 4, 2048, False),
    ("sdpa, 2048 tokens, all logits", "sdpa", 2, 2048, True),
    ("eager, 512 tokens", "eager", 2, 512, False),
    ("eager, 2048 tokens", "eager", 2, 2048, False),
)
FORMULA = (
    "max(N · (b · (3 · d_ff + 4 · d_model + 2 · d_head) + 8), attention, rows · b · V + N · b · d_model)"
)
SOURCE = "transformers 5.23, counted on fake tensors; zero difference at 512 to 8192 tokens"


def plan(room: Room) -> Plan:
    """The cases that fit, on the widest model of which two to four layers and the 2048-token cases fit."""
    sized = [(m, max(_needs(m, *case[1:]) for case in CASES if case[3] <= TOKENS)) for m in subject.ladder(4)]
    model, _ = largest(room, sized, what="a forward pass of 2048 tokens")
    cases = [case for case in CASES if _needs(model, *case[1:]) <= room.tensor_bytes]
    return Plan(
        experiment="activations",
        scale=f"{model.name} at its true width, 2 and 4 layers; up to {max(case[3] for case in cases)} tokens",
        headline="sdpa, 2048 tokens",
        predictions=tuple(_predictions(model, cases)),
        needs_bytes=max(_needs(model, *case[1:]) for case in cases) + room.gpu.cuda_context_high_bytes,
        settings={"model": model.name, "cases": [list(case) for case in cases]},
    )


def _predictions(model: ModelSpec, cases: list[tuple[str, str, int, int, bool]]) -> Iterator[Prediction]:
    for name, attention, _, tokens, all_logits in cases:
        size = _forward(model, attention, tokens, all_logits)
        fused = size * 8 // 10 if attention == "eager" else size * 97 // 100
        yield Prediction(
            name=name,
            bytes=size,
            low_bytes=fused,
            high_bytes=size * 103 // 100 + 2 * MiB,
            meter="allocator",
            formula=FORMULA,
            source=SOURCE,
        )


def _forward(model: ModelSpec, attention: str, tokens: int, all_logits: bool) -> int:
    rows = tokens if all_logits else 1
    size: int = activations.transformers_bytes(model, tokens, tokens, rows, attn_implementation=attention)
    return size


def _needs(model: ModelSpec, attention: str, layers: int, tokens: int, all_logits: bool) -> int:
    """Weights, cache and forward of one case, with room for the allocator's rounding [byte]."""
    cut = with_layers(model, layers)
    cache = kv_cache.bytes_per_token(cut) * tokens
    forward = _forward(model, attention, tokens, all_logits)
    return (subject.weight_bytes(cut) + cache + forward) * 105 // 100 + 64 * MiB


def perform(plan: Plan, bench: Bench) -> Readings:
    """Peak of requested bytes above the weights, less the cache that the pass leaves behind."""
    full = catalog.model(plan.settings["model"])
    bench.limit()
    built: tuple[str, int] | None = None
    for name, attention, layers, tokens, all_logits in plan.settings["cases"]:
        if built != (attention, layers):
            runner = None
            bench.clear()
            runner = subject.build(with_layers(full, layers), bench, attention=attention)
            built = (attention, layers)
            _pass(runner, bench, 16, False)
        yield name, _pass(runner, bench, tokens, all_logits)


def _pass(runner: subject.Subject | None, bench: Bench, tokens: int, all_logits: bool) -> int:
    assert runner is not None, "a model is built before the first case"
    with bench.torch.no_grad():
        ids, cache = runner.ids(1, tokens), runner.new_cache()
        bench.clear()
        start = bench.requested()
        _, peak = bench.peak(lambda: runner.forward(ids, cache, logits_to_keep=0 if all_logits else 1).shape)
        gc.collect()
        return peak - (bench.requested() - start)


EXPERIMENT = Experiment(
    name="activations",
    part="activations",
    question="What decides the memory of a forward pass: tokens, depth, attention, logits?",
    plan=plan,
    perform=perform,
)
