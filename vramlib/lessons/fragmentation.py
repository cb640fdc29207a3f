"""Notebook 07: three things called fragmentation, drawn step by step; the widget with a growing cache."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import altair as alt

from vramlib import charts_growth, charts_sizes, charts_strips, commands, resolve, tables
from vramlib.allocator import (
    ALLOCATED,
    BlockView,
    CachingAllocator,
    Event,
    Segment,
    Settings,
    replay,
    stranding_trace,
)
from vramlib.components import fragmentation, kv_cache
from vramlib.controls import Control, Figure, Widget, powers
from vramlib.messages import t
from vramlib.units import GiB, MiB, show

HELD, ROUNDED, CACHED, STRANDED = "#0072B2", "#E69F00", "#D8D8D8", "#D55E00"
NUM_STEPS = 8
MODES = {"False": False, "True": True}
REQUESTS = (100, 600, MiB, MiB + 1, 10 * MiB, 21 * MiB // 2, 11 * MiB, 25 * MiB)


def trace() -> Iterator[Event]:
    """One weight whose size is rounded, then workspaces that grow, and a small tensor kept after each."""
    yield Event("malloc", "weight", 11 * MiB)
    yield from stranding_trace(num_steps=NUM_STEPS)


def segments_chart(language: str = "en") -> alt.LayerChart:
    """Segments as strips while the trace is played, in both modes of the allocator, with a slider over its steps."""
    words = ("held", "rounded", "cached", "stranded")
    names = {word: t(f"frag.{word}", language) for word in words}
    colors = dict(zip(names.values(), (HELD, ROUNDED, CACHED, STRANDED), strict=True))
    rows, captions, most, lanes = [], [], 0.0, 1
    for mode, expandable in MODES.items():
        for step, (event, segments) in enumerate(_played(expandable)):
            chosen = {"step": step, "expandable_segments": mode}
            pieces = [row for i, s in enumerate(segments) for row in _pieces(s, f"segment {i + 1}", names)]
            rows += [piece | chosen for piece in pieces]
            most = max(most, *(piece["end"] for piece in pieces))
            lanes = max(lanes, len(segments))
            captions.append({"text": _said(event, segments, language)} | chosen)
    labels = {word: t(f"frag.segments_{word}", language) for word in ("title", "description", "axis")}
    last = len(captions) // len(MODES) - 1
    return charts_strips.strips(
        rows, labels=labels, colors=colors, extent=most, captions=captions,
        lanes=[f"segment {n + 1}" for n in range(lanes)],
        controls=[
            charts_strips.time_slider("step", last, t("frag.step", language), start=last),
            charts_growth.chooser("expandable_segments", tuple(MODES), "expandable_segments:"),
        ],
    )  # fmt: skip


@functools.cache
def _played(expandable: bool) -> tuple[tuple[Event, tuple[Segment, ...]], ...]:
    """The picture after each event of the trace."""
    gpu = CachingAllocator(total_bytes=GiB, settings=Settings(expandable_segments=expandable))
    return tuple((step.event, gpu.segments()) for step in replay(trace(), gpu))


def _pieces(s: Segment, lane: str, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Blocks of one segment from left to right; what rounding added stands apart."""
    found = []
    for block in s.blocks:
        start, end = block.address - s.address, block.address - s.address + block.size
        if block.state != ALLOCATED:
            found.append(_piece(lane, start, end, names[_free(s, block)]))
            continue
        found.append(_piece(lane, start, start + block.requested_bytes, names["held"]))
        if block.requested_bytes < block.size:
            found.append(_piece(lane, start + block.requested_bytes, end, names["rounded"]))
    return found


def _piece(lane: str, start: int, end: int, kind: str) -> dict[str, Any]:
    return {"lane": lane, "start": start / MiB, "end": end / MiB, "kind": kind, "note": show(end - start)}


def _free(s: Segment, block: BlockView) -> str:
    """Cached where the driver can have it back, or where an expandable segment ends with it and can grow on."""
    return "cached" if s.can_be_released or (s.is_expandable and block == s.blocks[-1]) else "stranded"


def kinds_of(segments: tuple[Segment, ...]) -> dict[str, int]:
    """Requested, rounding, cached and stranded bytes of a picture [byte].

    Examples
    --------
    >>> {word: size >> 20 for word, size in kinds_of(_played(False)[-1][1]).items()}
    {'held': 27, 'rounded': 1, 'cached': 126, 'stranded': 10}
    """
    found = dict.fromkeys(("held", "rounded", "cached", "stranded"), 0)
    for s in segments:
        for block in s.blocks:
            held = block.state == ALLOCATED
            found["held"] += block.requested_bytes
            found["rounded" if held else _free(s, block)] += block.size - block.requested_bytes
    return found


def _said(event: Event, segments: tuple[Segment, ...], language: str) -> str:
    sizes = {word: f"{size / MiB:g}" for word, size in kinds_of(segments).items()}
    word, _, number = event.name.partition(" ")
    name = f"{t(f'frag.name_{word}', language)} {number}".rstrip()
    what = t(f"frag.{event.action}", language, name=name, size=f"{event.nbytes / MiB:g}")
    return f"{what}: {t('frag.counted', language, **sizes)}"


def rounding_table(language: str = "en") -> tables.Table:
    """What the allocator hands out for eight requests, each to an empty allocator."""
    rows = []
    for size in REQUESTS:
        gpu = CachingAllocator(total_bytes=GiB)
        gpu.malloc(size)
        given = fragmentation.allocated_bytes(size)
        rows.append((f"{size:,}", f"{given:,}", f"{given - size:,}", show(gpu.stats.reserved_bytes)))
    columns = [t(f"frag.column_{c}", language) for c in ("request", "given", "rounding", "reserved")]
    return tables.table(columns, rows)


def compute(values: Mapping[str, Any], language: str) -> Figure:
    """Rounding, gaps, live cache and outgrown generations for the widget."""
    s = resolve.scenario(**values)
    cache, outgrown = kv_cache.size_bytes(s), 0
    if s.engine == "transformers":
        outgrown = int(fragmentation.dynamic_cache_leftover_bytes(s))
    rounding, gaps = (term.bytes for term in fragmentation.terms(s))
    bars = (
        ("fragmentation", t("frag.bar_rounding", language), rounding),
        ("fragmentation", t("frag.bar_gaps", language), gaps),
        ("kv_cache", t("part.kv_cache", language), cache),
        (charts_sizes.CARD, t("frag.bar_outgrown", language), outgrown),
        (charts_sizes.CARD, s.gpu.name, s.gpu.memory_bytes),
    )
    rows = tuple(charts_sizes.piece(i, key, name, size) for i, (key, name, size) in enumerate(bars))
    said = t(
        "frag.said", language, size=show(rounding + gaps), share=f"{100 * (rounding + gaps) / s.gpu.memory_bytes:.2g}",
        outgrown=show(outgrown), ratio=f"{100 * outgrown / cache:.3g}" if cache else "0", cache=show(cache),
    )  # fmt: skip
    return Figure(rows=rows, text=said, command=commands.command_line(s))


def draw(data: alt.Data, language: str) -> alt.LayerChart:
    """The widget's chart."""
    return charts_sizes.sizes(
        data,
        bars=5,
        title=t("frag.widget_title", language),
        description=t("frag.widget_description", language),
    )


MODELS = (
    "Llama-3.1-8B",
    "Llama-2-7b-hf",
    "Qwen2.5-7B",
    "Qwen3-8B",
    "gemma-3-12b-it",
    "NVIDIA-Nemotron-Nano-9B-v2",
)
WIDGET = Widget(
    name="fragmentation",
    controls=(
        Control(field="model", kind="choice", values=MODELS, start="Llama-3.1-8B"),
        Control(field="engine", kind="choice", values=("transformers", "vllm"), start="transformers"),
        Control(
            field="gpu", kind="choice", values=("L4", "A100-40GB", "H100-80GB", "H200"), start="H100-80GB"
        ),
        Control(field="batch_size", values=powers(1, 64), start=16),
        Control(field="prompt_tokens", values=powers(128, 8192), start=512),
        Control(field="new_tokens", values=powers(64, 2048), start=512),
    ),
    compute=compute,
    draw=draw,
)
