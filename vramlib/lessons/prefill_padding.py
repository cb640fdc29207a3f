"""Notebook 06: the same requests padded, packed and in chunks; the widget; a tiny model that takes a whole card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from vramlib import charts_growth, charts_sizes, charts_strips, commands, resolve
from vramlib.allocator import poisson_requests
from vramlib.components import activations, cuda_context, kv_cache, prefill_padding
from vramlib.controls import Control, Figure, Widget, powers
from vramlib.estimate import estimate
from vramlib.messages import t
from vramlib.specs import PART_COLORS, Scenario
from vramlib.units import GiB, ceil_div, show

SPREADS = {"chat": 1.0, "varied": 0.5, "alike": 0.0}  # σ of the logarithm of the lengths
CHUNKS = (2048, 1024, 4096)
TINY, TINY_CARD = "Qwen3-0.6B", "L4"
SHARES = (0.9, 0.7, 0.5, 0.3)
EMPTY, COVERED, FREE = "#F6DDA6", "#9A9A9A", "#E4E4E4"


def request_lengths(mix: str, *, count: int = 8, mean: int = 512, seed: int = 5) -> tuple[int, ...]:
    """Prompts of a batch: alike, varied, or a few long ones among many short ones, as in chats.

    Parameters
    ----------
    mix : chat, varied or alike [-]
    count : prompts [-]
    mean : their mean length before they are cut at 8,192 [token]
    seed : same seed, same prompts [-]

    Returns
    -------
    Length of each prompt [token]

    Examples
    --------
    >>> request_lengths("alike", count=3)
    (512, 512, 512)
    """
    requests = poisson_requests(
        num_requests=count, requests_per_step=1.0, seed=seed, mean_prompt_tokens=mean, spread=SPREADS[mix],
        max_model_len=8192,
    )  # fmt: skip
    return tuple(r.prompt_tokens for r in requests)


def forwards_chart(language: str = "en") -> alt.LayerChart:
    """Each forward pass as a strip of positions: padded, packed, and in chunks of a budget."""
    kinds = {
        t("pad.token", language): PART_COLORS["activations"],
        t("pad.empty", language): PART_COLORS["prefill_padding"],
    }
    mixes = {t(f"pad.mix_{mix}", language): request_lengths(mix) for mix in SPREADS}
    most = max(len(t_) * max(t_) for t_ in mixes.values())
    chunks = max(ceil_div(sum(t_), min(CHUNKS)) for t_ in mixes.values())
    lanes = [t("pad.padded", language), t("pad.packed", language)]
    lanes += [t("pad.chunk", language, number=n + 1) for n in range(chunks)]
    rows, captions = [], []
    for mix, lengths in mixes.items():
        for budget in CHUNKS:
            chosen = {"mix": mix, "max_num_batched_tokens": budget}
            rows += [row | chosen for row in _pieces(lengths, budget, lanes, tuple(kinds), language)]
            positions, real = len(lengths) * max(lengths), sum(lengths)
            said = t(
                "pad.caption", language, positions=f"{positions:,}", real=f"{real:,}",
                empty=f"{100 * prefill_padding.padded_tokens(lengths) / positions:.0f}",
                largest=f"{min(real, budget):,}",
            )  # fmt: skip
            captions.append({"text": said} | chosen)
    return charts_strips.strips(
        rows,
        labels={word: t(f"pad.forwards_{word}", language) for word in ("title", "description", "axis")},
        colors=kinds, lanes=lanes, extent=most, captions=captions,
        controls=[
            charts_growth.chooser("mix", tuple(mixes), t("pad.mix", language)),
            charts_growth.chooser("max_num_batched_tokens", CHUNKS, "--max-num-batched-tokens"),
        ],
    )  # fmt: skip


def _pieces(
    lengths: tuple[int, ...], budget: int, lanes: list[str], kinds: tuple[str, ...], language: str
) -> list[dict[str, Any]]:
    """Strips of one batch: every request in the padded and the packed pass, then cut into chunks."""
    longest, start, found = max(lengths), 0, []
    for i, tokens in enumerate(lengths):
        note = t("pad.request", language, number=i + 1, tokens=f"{tokens:,}")
        left = i * longest
        found.append(_piece(lanes[0], left, left + tokens, kinds[0], note))
        if tokens < longest:
            found.append(_piece(lanes[0], left + tokens, left + longest, kinds[1], note))
        found.append(_piece(lanes[1], start, start + tokens, kinds[0], note))
        for chunk in range(start // budget, ceil_div(start + tokens, budget)):
            first, end = max(start, chunk * budget), min(start + tokens, (chunk + 1) * budget)
            offset = chunk * budget
            found.append(_piece(lanes[2 + chunk], first - offset, end - offset, kinds[0], note))
        start += tokens
    return found


def _piece(lane: str, start: float, end: float, kind: str, note: str) -> dict[str, Any]:
    return {"lane": lane, "start": start, "end": end, "kind": kind, "note": note}


def utilization_chart(language: str = "en") -> alt.LayerChart:
    """A tiny model on a card of 24 GB: what one request needs, what vLLM sets aside, what the share covers."""
    words = ("cuda_context", "model_weights", "activations", "kv_cache", "framework_buffers")
    names = {key: t(f"part.{key}", language) for key in words}
    colors = {names[key]: PART_COLORS[key] for key in words}
    colors |= {t(f"pad.{word}", language): color for word, color in _OTHERS.items()}
    lanes = [t(f"pad.lane_{word}", language) for word in ("demand", "taken", "covered")]
    rows, captions, extent = [], [], 0.0
    for share in SHARES:
        chosen = {"gpu_memory_utilization": share}
        for lane, pieces in zip(lanes, _card(share, names, language), strict=True):
            start = 0
            for kind, size in pieces:
                if kind:
                    rows.append(_piece(lane, start / GiB, (start + size) / GiB, kind, show(size)) | chosen)
                start += size
            extent = max(extent, start / GiB)
        b = tiny(share).budget
        said = t(
            "pad.utilization_caption", language, share=f"{share:.0%}".replace("%", " %"), size=show(_taken(share)),
            tokens=f"{b.kv_pool_tokens:,}" if b else "",
        )  # fmt: skip
        captions.append({"text": said} | chosen)
    return charts_strips.strips(
        rows,
        labels={word: t(f"pad.utilization_{word}", language) for word in ("title", "description", "axis")},
        colors=colors, lanes=lanes, extent=extent, captions=captions,
        controls=[charts_growth.chooser("gpu_memory_utilization", SHARES, "--gpu-memory-utilization")],
    )  # fmt: skip


_OTHERS = {"pool": EMPTY, "free": FREE, "share": COVERED}


def tiny(share: float) -> Any:
    """One short request to a tiny model on a card of 24 GB, at a share of the card."""
    return estimate(model=TINY, gpu=TINY_CARD, max_model_len=8192, gpu_memory_utilization=share)


def _taken(share: float) -> int:
    """Context, what the share covers, and graphs beside it [byte]."""
    e = tiny(share)
    return sum(size for _, size in _pieces_taken(e, {}, "en")[:-1])


def _card(share: float, names: Mapping[str, str], language: str) -> tuple[list[tuple[str, int]], ...]:
    e = tiny(share)
    demand = [(names[key], e.part(key).bytes) for key in names]
    covered = [("", cuda_context.base_bytes(e.gpu)[0]), (t("pad.share", language), e.budget.requested_bytes)]
    return demand, _pieces_taken(e, names, language), covered


def _pieces_taken(e: Any, names: Mapping[str, str], language: str) -> list[tuple[str, int]]:
    """What the engine sets aside, left to right; the last piece is what it leaves."""
    b, held = e.budget, e.part("kv_cache").bytes
    context = cuda_context.base_bytes(e.gpu)[0]
    pieces = [
        ("cuda_context", context),
        ("model_weights", b.weights_bytes),
        ("activations", b.activation_peak_bytes),
        ("cuda_context", b.non_torch_bytes),
        ("kv_cache", held),
        ("pool", b.requested_bytes - b.weights_bytes - b.activation_peak_bytes - b.non_torch_bytes - held),
        ("framework_buffers", b.cuda_graph_bytes),
    ]
    pieces.append(("free", e.gpu.memory_bytes - sum(size for _, size in pieces)))
    return [(names.get(key) or t(f"pad.{key}", language) if names else key, size) for key, size in pieces]


def compute(values: Mapping[str, Any], language: str) -> Figure:
    """The same prompts padded, packed and in chunks, for the widget."""
    lengths = request_lengths(values["request_mix"], count=values["batch_size"], mean=values["mean_tokens"])
    given = {"model": values["model"], "prompt_tokens": lengths, "new_tokens": 0}
    padded = resolve.scenario(**given, engine="transformers")
    served = resolve.scenario(
        **given,
        max_num_batched_tokens=values["max_num_batched_tokens"],
        block_size=values["block_size"],
        max_model_len=8192,
    )
    real, cache = sum(lengths), kv_cache.size_bytes(served)
    chunk = min(real, served.max_num_batched_tokens)
    bars = {
        "padded": (cache, activations.size_bytes(padded), prefill_padding.size_bytes(padded)),
        "packed": (cache, forward_bytes(padded, real), 0),
        "chunked": (cache, forward_bytes(padded, chunk), tail_bytes(served)),
    }
    rows = [
        row
        for place, (word, pieces) in enumerate(bars.items())
        for row in _bar(place, t(f"pad.{word}", language), pieces, language)
    ]
    positions = len(lengths) * max(lengths)
    said = t(
        "pad.said", language, requests=len(lengths), real=f"{real:,}", longest=f"{max(lengths):,}",
        empty=f"{100 * (1 - real / positions):.0f}", padded=show(bars["padded"][2]), tail=show(bars["chunked"][2]),
        chunks=ceil_div(real, served.max_num_batched_tokens),
    )  # fmt: skip
    return Figure(rows=tuple(rows), text=said, command=commands.command_line(served))


def forward_bytes(s: Scenario, tokens: int) -> int:
    """One forward of so many positions, all ways by one and the same formula [byte]."""
    lengths = s.prompt_tokens
    return int(activations.transformers_bytes(s.model, tokens, max(lengths), len(lengths), b=s.dtype_bytes))


def tail_bytes(s: Scenario) -> int:
    """Unused ends of blocks alone, without workspaces [byte]."""
    return sum(term.bytes for term in prefill_padding.terms(s) if term.name.startswith("block tails"))


def _bar(place: int, name: str, pieces: tuple[int, ...], language: str) -> list[dict[str, Any]]:
    """One bar of three parts."""
    found, start, total = [], 0, sum(pieces)
    for key, size in zip(("kv_cache", "activations", "prefill_padding"), pieces, strict=True):
        words = t(f"part.{key}", language)
        found.append(charts_sizes.piece(place, key, words, size, bar=name, bar_bytes=total, start=start))
        start += size
    return found


def draw(data: alt.Data, language: str) -> alt.LayerChart:
    """The widget's chart."""
    return charts_sizes.sizes(
        data, bars=3, title=t("pad.widget_title", language), description=t("pad.widget_description", language)
    )


MODELS = (
    "Llama-3.1-8B",
    "Llama-2-7b-hf",
    "Qwen3-8B",
    "gemma-3-12b-it",
    "NVIDIA-Nemotron-Nano-9B-v2",
    "Llama-3.1-70B",
)
WIDGET = Widget(
    name="prefill_padding",
    controls=(
        Control(field="model", kind="choice", values=MODELS, start="Llama-3.1-8B"),
        Control(field="request_mix", kind="choice", values=tuple(SPREADS), start="chat"),
        Control(field="batch_size", values=powers(2, 64), start=8),
        Control(field="mean_tokens", values=powers(128, 2048), start=512),
        Control(
            field="max_num_batched_tokens",
            flag="--max-num-batched-tokens",
            values=powers(512, 16_384),
            start=2048,
        ),
        Control(field="block_size", flag="--block-size", values=powers(16, 256), start=16),
    ),
    compute=compute,
    draw=draw,
)
