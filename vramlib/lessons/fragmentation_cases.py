"""Notebook 07, last part: a growing cache, the claim, printed figures, and three exercises."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import altair as alt

from vramlib import budget, catalog, charts_claims, resolve, runs, tables
from vramlib.allocator import (
    CachingAllocator,
    ContiguousSlots,
    Request,
    Settings,
    dynamic_cache_trace,
    last_stats,
    random_trace,
    replay,
)
from vramlib.claims import signed, spread
from vramlib.claims.cases import Row, bounds, decided, short, text_models
from vramlib.components import fragmentation, kv_cache, model_weights
from vramlib.messages import t
from vramlib.units import GiB, MiB, show

GROWING = ((1, 2048, 256), (8, 1024, 512), (16, 512, 512))
PRINTED = (
    "llmd_qwen-qwen2-5-7b-instruct-tp1pp1dp1-8192",
    "llmd_qwen-qwen2-5-7b-instruct-tp2pp1dp1-8192",
    "llmd_google-gemma-2-27b-it-tp1pp1dp1-8192",
    "llmd_microsoft-phi-4-tp1pp1dp1-8192",
    "rfile_llama31_8b_l4",
)
SIZES = (100, 600, MiB, 10 * MiB, 11 * MiB, 25 * MiB, 41 * MiB // 2)


def growing_table(language: str = "en") -> tables.Table:
    """The cache of Llama-3.1-8B in transformers, token by token through the allocator: live and reserved bytes.

    Parameters
    ----------
    language : en or vi [-]

    Returns
    -------
    A row for each batch, with fixed and with expandable segments [-]
    """
    rows = []
    for batch, prompt, new in GROWING:
        given = {
            "num_hidden_layers": 32,
            "row_bytes": 2048,
            "batch_size": batch,
            "prompt_tokens": prompt,
            "new_tokens": new,
        }
        fixed = last_stats(dynamic_cache_trace(**given), _card(False))
        live = fixed.requested_bytes
        s = resolve.scenario(
            model="Llama-3.1-8B",
            engine="transformers",
            batch_size=batch,
            prompt_tokens=prompt,
            new_tokens=new,
        )
        rows.append(
            (
                t("frag.growing", language, batch=batch, prompt=f"{prompt:,}", new=new),
                show(live),
                show(fixed.reserved_bytes),
                f"+{100 * (fixed.reserved_bytes / live - 1):.0f} %",
                show(fixed.fragmented_bytes),
                f"+{100 * fragmentation.dynamic_cache_leftover_bytes(s) / live:.0f} %",
            )
        )
    columns = [
        t(f"frag.column_{c}", language) for c in ("batch", "live", "reserved", "more", "stranded", "formula")
    ]
    return tables.table(columns, rows)


def mixed_table(language: str = "en") -> tables.Table:
    """Tensors of mixed sizes that come and go, beside weights that stay: what share of reserved bytes is stranded.

    Parameters
    ----------
    language : en or vi [-]

    Returns
    -------
    A row for each size of the weights, as a multiple of the mix [-]
    """
    rows = []
    for multiple in (0, 1, 2, 4):
        reserved, stranded = mixed(multiple)
        rows.append((f"{multiple}×", show(reserved), show(stranded), f"{100 * stranded / reserved:.1f} %"))
    columns = [t(f"frag.column_{c}", language) for c in ("weights", "reserved", "stranded", "share")]
    return tables.table(columns, rows)


def mixed(multiple: int, *, seed: int = 1, mix_bytes: int = 640 * MiB) -> tuple[int, int]:
    """Mean reserved and stranded bytes in the second half of a seeded mix of 2,000 requests up to 64 MiB.

    Parameters
    ----------
    multiple : weights that stay, as a multiple of the mix [-]
    seed : same seed, same mix [-]
    mix_bytes : about what the mix reserves [byte]

    Returns
    -------
    Reserved, and stranded [byte]
    """
    gpu = _card(False)
    for _ in range(multiple * mix_bytes // (32 * MiB)):
        gpu.malloc(32 * MiB)
    steps = list(replay(random_trace(num_events=2000, seed=seed), gpu))[1000:]
    reserved = sum(step.stats.reserved_bytes for step in steps)
    return reserved // len(steps), sum(step.stats.fragmented_bytes for step in steps) // len(steps)


def _card(expandable: bool) -> CachingAllocator:
    return CachingAllocator(total_bytes=80 * GiB, settings=Settings(expandable_segments=expandable))


def claim_chart(language: str = "en") -> alt.LayerChart:
    """The part over the card, and what a growing cache leaves reserved over the card, against 5 to 10 per cent."""
    row = _row()
    cases = {t(f"frag.claim_{word}", language): numbers for word, numbers in _shares().items()}
    words = ("title", "description", "axis", "band", "inside")
    labels = {word: t(f"frag.claim_{word}", language) for word in words}
    low, high = (100 * bound for bound in bounds(row))
    return charts_claims.ranges(cases, low=low, high=high, labels=labels, part="fragmentation")


def _row() -> Row:
    return next(r for r in catalog.table("table") if r["id"] == "fragmentation_fraction")


@functools.cache
def _shares() -> dict[str, dict[str, float]]:
    """Three readings of the claim for every text model on an H100 [%]."""
    found: dict[str, dict[str, float]] = {"vllm": {}, "growing": {}, "reserved": {}}
    for m in text_models():
        given: dict[str, Any] = {"model": m, "engine": "transformers", "new_tokens": 512}
        s = resolve.scenario(**given, batch_size=8)
        card, cache = s.gpu.memory_bytes, kv_cache.size_bytes(s)
        found["vllm"][m.name] = 100 * fragmentation.size_bytes(resolve.scenario(model=m)) / card
        found["growing"][m.name] = 100 * fragmentation.size_bytes(s) / card
        kept = fragmentation.dynamic_cache_leftover_bytes(s)
        if kept > 0:
            found["reserved"][m.name] = 100 * kept / cache
    return found


def verdict(language: str = "en") -> str:
    """What the catalogue says of the claim, with its sign.

    Examples
    --------
    >>> verdict()
    '✗ misconception'
    """
    row, shares = _row(), _shares()
    low, high = (100 * bound for bound in bounds(row))
    spreads = [spread(word, shares[word], low, high, "%") for word in ("vllm", "growing")]
    found = decided(row, "", *spreads).verdict
    return signed(found, language)


def printed(language: str = "en") -> tables.Table:
    """What logs print as "Model loading took", beside the tensors alone and the tensors with rounding."""
    found = {r.run_id: r for r in runs.read("vllm")}
    rows = []
    for run in (found[name] for name in PRINTED):
        s = run.scenario
        tensors, loaded = model_weights.size_bytes(s), budget.weights_bytes(s)
        rows.append(
            (
                short(s.model.name),
                f"{s.tensor_parallel_size} × {s.gpu.name}",
                f"{run.measured['weights'] / GiB:.2f}",
                f"{loaded / GiB:.3f}",
                f"{tensors / GiB:.3f}",
                show(loaded - tensors),
            )
        )
    names = ("model", "cards", "theirs", "loaded", "tensors", "rounding")
    return tables.table([t(f"frag.column_{c}", language) for c in names], rows)


def tweak() -> int:
    """Answer of the first exercise: what one request of 21 MiB and 100 bytes gets [byte]."""
    return fragmentation.allocated_bytes(21 * MiB + 100)


def twiddle() -> float:
    """Answer of the second: share of empty slots, where each holds 512 of 4,096 tokens [%]."""
    slots = ContiguousSlots(capacity_bytes=4096, max_model_len=4096, bytes_per_token=1)
    request = Request(name="one", prompt_tokens=500, new_tokens=12)
    slots.admit(request, slots.match(request, 500), 500)
    used = slots.usage({request: 512})
    return 100 * used.waste_slots / used.held_slots


def frob() -> dict[tuple[int, ...], int]:
    """Answers of the third, by size: what the allocator hands out [byte]."""
    return {(size,): fragmentation.allocated_bytes(size) for size in SIZES}


def slips(language: str = "en") -> Mapping[float, str]:
    """What the ratio of a wrong answer means in this notebook."""
    return {
        20 / 22: t("frag.slip_segment", language),
        (21 * MiB + 512) / tweak(): t("frag.slip_512", language),
    }
