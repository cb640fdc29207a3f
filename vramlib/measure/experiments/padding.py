"""padding: the same sequences as a padded batch, and packed one after another."""

from __future__ import annotations

import gc
from typing import Any

from vramlib import catalog
from vramlib.components import activations, kv_cache, prefill_padding
from vramlib.measure.bench import Bench
from vramlib.measure.plan import Experiment, Plan, Prediction, Readings, Room, largest, with_layers
from vramlib.measure.subject import PlainSubject, ladder, weight_bytes
from vramlib.specs import ModelSpec
from vramlib.units import MiB

LENGTHS = (1024, 512, 256, 256)
LAYERS = 2


def plan(room: Room) -> Plan:
    """Cache and forward of B · T_max positions against those of Σ T."""
    padded, packed = len(LENGTHS) * max(LENGTHS), sum(LENGTHS)
    sized = [(m, _needs(m, padded)) for m in ladder(LAYERS)]
    model, size = largest(room, sized, what="a padded batch of 4096 positions")
    row = kv_cache.bytes_per_token(model)
    found = [_cache("padded, cache", padded * row), _cache("packed, cache", packed * row)]
    for word, tokens in (("padded", padded), ("packed", packed)):
        found.append(_forward(f"{word}, forward", model, tokens))
    found.append(
        Prediction(
            name="mask of the padded batch",
            bytes=padded * max(LENGTHS),
            meter="allocator",
            formula="B · T_max · T_max, one byte each",
            source="a mask is needed as soon as one sequence is shorter",
        )
    )
    idle = prefill_padding.padded_tokens(LENGTHS)
    return Plan(
        experiment="padding",
        scale=f"{model.name} at its true width, {LAYERS} layers; {len(LENGTHS)} sequences of {LENGTHS} tokens: "
        f"{idle} of {padded} positions hold nothing",
        headline="padded, forward",
        predictions=tuple(found),
        needs_bytes=size + room.gpu.cuda_context_high_bytes,
        settings={"model": model.name, "layers": LAYERS, "lengths": list(LENGTHS)},
    )


def _cache(name: str, size: int) -> Prediction:
    return Prediction(
        name=name, bytes=size, meter="allocator", formula="positions · Σ_layers n_kv · (d_head + d_v) · b",
        source="every tensor of a padded batch has B · T_max rows",
    )  # fmt: skip


def _forward(name: str, model: ModelSpec, tokens: int) -> Prediction:
    size = activations.transformers_bytes(model, tokens, max(LENGTHS), len(LENGTHS))
    return Prediction(
        name=name,
        bytes=size,
        low_bytes=size * 95 // 100,
        high_bytes=size * 105 // 100 + 16 * MiB,
        meter="allocator",
        formula="N · (b · (3 · d_ff + 4 · d_model + 2 · d_head) + 8)",
        source="vramlib.components.activations.transformers_bytes",
    )


def _needs(model: ModelSpec, tokens: int) -> int:
    forward = activations.transformers_bytes(model, tokens, max(LENGTHS), len(LENGTHS))
    mask = 4 * tokens * max(LENGTHS)
    return (
        int(weight_bytes(model) + kv_cache.bytes_per_token(model) * tokens + forward + mask) * 105 // 100
        + 64 * MiB
    )


def perform(plan: Plan, bench: Bench) -> Readings:
    """Both batches through the plain decoder, which can do either."""
    model = with_layers(catalog.model(plan.settings["model"]), plan.settings["layers"])
    lengths = plan.settings["lengths"]
    bench.limit()
    with bench.torch.no_grad():
        runner = PlainSubject(model, bench)
        runner.forward(runner.ids(1, 16), runner.new_cache())
        ids = runner.ids(len(lengths), max(lengths))
        bench.clear()
        before = bench.requested()
        mask = padding_mask(lengths, bench)
        gc.collect()
        yield "mask of the padded batch", bench.requested() - before
        cache, peak = _pass(runner, bench, ids, mask=mask)
        yield "padded, cache", cache
        yield "padded, forward", peak
        del ids, mask
        cache, peak = _pass(runner, bench, runner.ids(1, sum(lengths)), lengths=tuple(lengths))
        yield "packed, cache", cache
        yield "packed, forward", peak


def _pass(runner: PlainSubject, bench: Bench, ids: Any, **how: Any) -> tuple[int, int]:
    """Bytes of the cache that a pass leaves, and its peak without them."""
    cache = runner.new_cache()
    bench.clear()
    before = bench.requested()
    _, peak = bench.peak(lambda: runner.forward(ids, cache, **how).shape)
    gc.collect()
    held = bench.requested() - before
    return held, peak - held


def padding_mask(lengths: list[int], bench: Bench) -> Any:
    """True where a position may look: at earlier tokens of its own sequence that are not padding."""
    torch, longest = bench.torch, max(lengths)
    places = torch.arange(longest, device=bench.device)
    causal = places[None, :] <= places[:, None]
    real = torch.stack([places < n for n in lengths])
    return causal[None, None] & real[:, None, None, :]


EXPERIMENT = Experiment(
    name="padding",
    part="prefill_padding",
    question="What do the empty positions of a padded batch cost, and does packing avoid it?",
    plan=plan,
    perform=perform,
)
