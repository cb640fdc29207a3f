"""What the report says about one estimate: sentences and tables, each made from numbers that are there already."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vramlib import catalog, tables, text
from vramlib.specs import PART_COLORS, Budget, Estimate, GpuSpec
from vramlib.units import GB, GiB, show

WORDS = {
    "vi": {
        "model_weights": "Trọng số mô hình",
        "kv_cache": "KV cache",
        "activations": "Bộ nhớ kích hoạt",
        "cuda_context": "Ngữ cảnh CUDA",
        "framework_buffers": "Bộ đệm framework",
        "prefill_padding": "Bộ đệm prefill & padding",
        "fragmentation": "Phân mảnh bộ nhớ",
        "multi_process": "Chi phí đa tiến trình",
        "part": "thành phần",
        "expected": "khoảng dự kiến, GiB",
        "basis": "cơ sở",
        "share": "tỉ lệ",
        "Total per card": "Tổng trên mỗi card",
    }
}
BASIS_WORDS = {
    "exact": "counted: no uncertainty in the arithmetic",
    "modelled": "a formula with a fitted constant, with its interval",
    "measured": "a figure that was printed on real hardware",
}


def word(text_in_english: str, language: str = "en") -> str:
    """A word of the page in its language; English where it has no translation.

    Examples
    --------
    >>> word("share"), word("share", "vi")
    ('share', 'tỉ lệ')
    """
    return WORDS.get(language, {}).get(text_in_english, text_in_english)


def short_name(e: Estimate) -> str:
    """The model's name without its organisation."""
    return e.model.name.rsplit("/", 1)[-1]


def cards(e: Estimate) -> str:
    """The card's name, with how many of them work together."""
    return e.gpu.name if e.scenario.world_size == 1 else f"{e.scenario.world_size} × {e.gpu.name}"


def title(e: Estimate) -> str:
    """Heading, what was asked, and the verdict, as Markdown."""
    notes = len(e.warnings)
    beware = f"\n\n{notes} {'thing' if notes == 1 else 'things'} to beware of at the end." if notes else ""
    mark = "✓" if e.fits else "✗"
    return (
        f"# {short_name(e)} on {cards(e)}\n\n{text.headline(e.scenario)}\n\n**{mark} {e.verdict}**{beware}\n"
    )


def parts_table(e: Estimate, language: str = "en") -> tables.Table:
    """The eight parts in GiB and GB, with the interval, the basis and the share.

    Parameters
    ----------
    e : of one scenario [-]
    language : of the words, en or vi [-]

    Returns
    -------
    Eight rows and their sum [-]
    """
    rows = [_part_row(word(p.key, language).replace(p.key, p.name), p, e.total_bytes) for p in e.parts]
    low, high = sum(p.low_bytes for p in e.parts), sum(p.high_bytes for p in e.parts)
    total = (word("Total per card", language), *_sizes(e.total_bytes, low, high), "", "100 %")
    columns = ("part", "GiB", "GB", "expected", "basis", "share")
    heads = [
        {"expected": "expected, GiB"}.get(c, c) if language == "en" else word(c, language) for c in columns
    ]
    colors = [PART_COLORS[p.key] for p in e.parts]
    return tables.table(heads, [*rows, tuple(f"**{c}**" if c else "" for c in total)], colors=colors)


def _part_row(name: str, p: Any, total: int) -> tuple[str, ...]:
    share = f"{p.bytes / total:.1%}".replace("%", " %") if total else ""
    return (name, *_sizes(p.bytes, p.low_bytes, p.high_bytes), p.basis, share)


def _sizes(size: int, low: int, high: int) -> tuple[str, str, str]:
    span = "" if low == high else f"{low / GiB:.2f} – {high / GiB:.2f}"
    return f"{size / GiB:.2f}", f"{size / GB:.2f}", span


def bases(e: Estimate) -> str:
    """What the bases in the table mean, those that occur, as one sentence each."""
    used = [b for b in BASIS_WORDS if any(p.basis == b for p in e.parts)]
    return "\n".join(f"- *{b}*: {BASIS_WORDS[b]}" for b in used)


def budget_table(e: Estimate) -> tables.Table | None:
    """The engine's own arithmetic as a sum, from what it requests to its KV pool.

    Parameters
    ----------
    e : of one scenario [-]

    Returns
    -------
    Addends with their signs and the result; ``None`` where the engine reserves nothing ahead [-]
    """
    b = e.budget
    if b is None:
        return None
    rows = list(_buffers(b)) if b.model_buffer_bytes is not None else list(_pool_sum(e, b))
    engine = f"{e.scenario.engine} {e.scenario.engine_version}"
    return tables.table(
        (f"what {engine} plans at start", "GiB", "GB"),
        [_signed(sign, name, size) for sign, name, size in rows],
    )


def _signed(sign: str, name: str, size: int) -> tuple[str, str, str]:
    gib, gb = (f"{size / unit:.2f}".replace("-", "−") for unit in (GiB, GB))
    if sign == "=":
        return f"**= {name}**", f"**{gib}**", f"**{gb}**"
    return f"{sign} {name}".strip(), f"{sign} {gib}".strip(), f"{sign} {gb}".strip()


def _buffers(b: Budget) -> Iterator[tuple[str, str, int]]:
    buffers = (b.model_buffer_bytes, b.kv_buffer_bytes, b.compute_buffer_bytes)
    yield from zip(("", "+", "+"), ("model buffer", "KV buffer", "compute buffer"), buffers, strict=True)
    yield "=", "all buffers, over all cards", sum(buffers)


def _pool_sum(e: Estimate, b: Budget) -> Iterator[tuple[str, str, int]]:
    """Addends of requested − … = pool; what the named ones leave over is a row of its own, never hidden."""
    share = f"{e.scenario.gpu_memory_utilization:.4g} of the card's {show(e.gpu.memory_bytes)}"
    yield "", f"requested: {share}", b.requested_bytes
    minus = {
        "model weights, with their rounding": b.weights_bytes,
        "buffers that stay for every request slot": b.persistent_bytes,
        "activation peak of the engine's trial run": b.activation_peak_bytes,
        "taken outside PyTorch in that run": b.non_torch_bytes,
        "CUDA graphs": b.cuda_graph_bytes if charges_graphs(b) else None,
    }
    for name, size in minus.items():
        if size:
            yield "−", name, size
    rest = b.requested_bytes - sum(size or 0 for size in minus.values()) - b.kv_pool_bytes
    if rest:
        yield ("−" if rest > 0 else "+"), "what the engine's rule sets aside or gives back", abs(rest)
    yield "=", "KV pool", b.kv_pool_bytes


def charges_graphs(b: Budget) -> bool:
    """Whether the graphs are part of the sum: this engine version takes them off the pool."""
    named = sum(
        size or 0
        for size in (b.weights_bytes, b.persistent_bytes, b.activation_peak_bytes, b.non_torch_bytes)
    )
    return bool(b.cuda_graph_bytes) and b.requested_bytes - named - b.kv_pool_bytes == b.cuda_graph_bytes


def concurrency(e: Estimate) -> str:
    """What the pool holds, as Markdown: blocks, tokens, requests of full length at once."""
    b, s = e.budget, e.scenario
    if b is None:
        return (
            f"{s.engine} reserves nothing ahead: memory grows with the tokens, so there is no pool and no fixed"
            " number of requests."
        )
    if b.model_buffer_bytes is not None:
        slots = f"{s.n_seq_max} {'slot' if s.n_seq_max == 1 else 'slots'}"
        return f"All cells exist from the start: {b.kv_pool_tokens:,} tokens for {slots}."
    if not b.num_blocks or b.kv_pool_bytes is None or b.kv_pool_bytes <= 0:
        return "Nothing is left for a KV pool, so the engine does not start."
    lines = [
        f"- **{b.num_blocks:,} blocks** of {show(b.bytes_per_block)} each hold **{b.kv_pool_tokens:,} tokens**"
        f" at {show(b.kv_bytes_per_token)} a token.",
        f"- One request of `max_model_len` {s.max_model_len:,} takes {show(b.kv_bytes_at_max_model_len)}, so"
        f" **{b.max_concurrency:.2f} such requests** run at once; shorter ones share the pool.",
    ]
    if b.cuda_graph_bytes and not charges_graphs(b):
        lines.append(
            f"- CUDA graphs, about {show(b.cuda_graph_bytes)}, come on top: this version plans without them."
        )
    return "\n".join(lines)


def formulas(e: Estimate) -> str:
    """Every formula with its numbers put in, a heading for each part, as Markdown."""
    return "\n\n".join(f"### {p.name}: {show(p.bytes)}\n\n{_terms(p)}" for p in e.parts)


def _terms(p: Any) -> str:
    shown = [t for t in p.terms if t.bytes]
    if not shown:
        return f"Nothing here: {p.worked or p.formula}."
    return "\n".join(f"{_term(t)}" for t in shown)


def _term(t: Any) -> str:
    worked = f"<br>= `{t.worked}`" if t.worked else ""
    return f"- **{t.name}**, {t.basis}<br>`{t.formula}`{worked}<br>= **{show(t.bytes)}**"


def sources(e: Estimate) -> str:
    """Every source that a number of this page rests on, once each, as a Markdown list."""
    found = dict.fromkeys(source for p in e.parts for source in p.sources)
    found |= dict.fromkeys(filter(None, (e.model.source, e.gpu.source)))
    return "\n".join(f"- {linked(source)}" for source in found if source.strip(" :;") not in ("", "shapes"))


def linked(source: str) -> str:
    """A source with its web addresses as links.

    Examples
    --------
    >>> linked("paper | https://arxiv.org/abs/2309.06180")
    'paper | <https://arxiv.org/abs/2309.06180>'
    """
    return re.sub(r"(?<![<(])https?://[^\s|;,]+", r"<\g<0>>", source)


def card_note(gpu: GpuSpec) -> str:
    """The card's memory in the figures that exist for it: CUDA's, the driver's, the vendor's."""
    known = [f"{show(gpu.memory_bytes)} that CUDA can allocate from"]
    if gpu.memory_bytes_nvidia_smi:
        known.append(f"{show(gpu.memory_bytes_nvidia_smi)} in nvidia-smi")
    if gpu.memory_gb_vendor:
        known.append(f"{gpu.memory_gb_vendor:g} GB on the label")
    return f"{gpu.name}: {', '.join(known)}"


def versions(e: Estimate) -> tables.Table:
    """What the numbers were made with: the package, the engine's version, the day the facts were read."""
    import vramlib

    s = e.scenario
    known = "" if s.engine_spec.known else " (nearest known constants)"
    rows: Mapping[str, str] = {
        "vramlib": vramlib.__version__,
        "engine": f"{s.engine} {s.engine_version}{known}",
        "model": f"{e.model.name}, {e.model.params_total:,} parameters",
        "card": card_note(e.gpu),
        "facts read on": max(row["read_on"] for row in catalog.table("gpus")),
    }
    return tables.table(("what", "which"), rows.items())


def warnings(e: Estimate) -> str:
    """What to beware of, as a Markdown list."""
    return "\n".join(f"- {w}" for w in e.warnings) or "None: every field had its fact."
