"""What the report says about one estimate: sentences and tables, each made from numbers that are there already."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from vramlib import catalog, tables, text
from vramlib.messages import names, parts, retold, t
from vramlib.specs import PART_COLORS, Budget, Estimate, GpuSpec
from vramlib.units import GB, GiB, show

BASES = ("exact", "modelled", "measured")


def short_name(e: Estimate) -> str:
    """The model's name without its organisation."""
    return e.model.name.rsplit("/", 1)[-1]


def cards(e: Estimate) -> str:
    """The card's name, with how many of them work together."""
    return e.gpu.name if e.scenario.world_size == 1 else f"{e.scenario.world_size} × {e.gpu.name}"


def title(e: Estimate, language: str = "en") -> str:
    """Heading, what was asked, and the verdict, as Markdown."""
    notes = len(e.warnings)
    beware = t("report.notes", language, count=notes) if notes > 1 else t("report.note", language)
    heading = t("report.title", language, model=short_name(e), cards=cards(e))
    mark = "✓" if e.fits else "✗"
    verdict = f"**{mark} {retold('verdict', e.verdict, language)}**"
    return "\n\n".join((f"# {heading}", asked(e, language), verdict, *((beware,) if notes else ()))) + "\n"


def asked(e: Estimate, language: str = "en") -> str:
    """What was estimated, in one line: model, card, engine, types, workload."""
    before, mark, workload = text.headline(e.scenario).rpartition(" · ")
    return f"{before}{mark}{retold('workload', workload, language)}"


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
    known, bases_known = parts(language), names("basis", BASES, language)
    rows = [_part_row(known[p.key], bases_known[p.basis], p, e.total_bytes) for p in e.parts]
    low, high = sum(p.low_bytes for p in e.parts), sum(p.high_bytes for p in e.parts)
    total = (t("report.total", language), *_sizes(e.total_bytes, low, high), "", "100 %")
    heads = names("report", ("part", "expected", "basis", "share"), language)
    columns = (heads["part"], "GiB", "GB", heads["expected"], heads["basis"], heads["share"])
    colors = [PART_COLORS[p.key] for p in e.parts]
    return tables.table(columns, [*rows, tuple(f"**{c}**" if c else "" for c in total)], colors=colors)


def _part_row(name: str, basis: str, p: Any, total: int) -> tuple[str, ...]:
    share = f"{p.bytes / total:.1%}".replace("%", " %") if total else ""
    return (name, *_sizes(p.bytes, p.low_bytes, p.high_bytes), basis, share)


def _sizes(size: int, low: int, high: int) -> tuple[str, str, str]:
    span = "" if low == high else f"{low / GiB:.2f} – {high / GiB:.2f}"
    return f"{size / GiB:.2f}", f"{size / GB:.2f}", span


def bases(e: Estimate, language: str = "en") -> str:
    """What the bases in the table mean, those that occur, as one sentence each."""
    used = [b for b in BASES if any(p.basis == b for p in e.parts)]
    return "\n".join(f"- *{t(f'basis.{b}', language)}*: {t(f'basis.{b}_means', language)}" for b in used)


def budget_table(e: Estimate, language: str = "en") -> tables.Table | None:
    """The engine's own arithmetic as a sum, from what it requests to its KV pool.

    Parameters
    ----------
    e : of one scenario [-]
    language : of the words, en or vi [-]

    Returns
    -------
    Addends with their signs and the result; ``None`` where the engine reserves nothing ahead [-]
    """
    b = e.budget
    if b is None:
        return None
    rows = _buffers(b, language) if b.model_buffer_bytes is not None else _pool_sum(e, b, language)
    engine = f"{e.scenario.engine} {e.scenario.engine_version}"
    return tables.table(
        (t("budget.plans", language, engine=engine), "GiB", "GB"),
        [_signed(sign, name, size) for sign, name, size in rows],
    )


def _signed(sign: str, name: str, size: int) -> tuple[str, str, str]:
    gib, gb = (f"{size / unit:.2f}".replace("-", "−") for unit in (GiB, GB))
    if sign == "=":
        return f"**= {name}**", f"**{gib}**", f"**{gb}**"
    return f"{sign} {name}".strip(), f"{sign} {gib}".strip(), f"{sign} {gb}".strip()


def _buffers(b: Budget, language: str = "en") -> Iterator[tuple[str, str, int]]:
    buffers = (b.model_buffer_bytes, b.kv_buffer_bytes, b.compute_buffer_bytes)
    words = names("budget", ("model_buffer", "kv_buffer", "compute_buffer"), language)
    yield from zip(("", "+", "+"), words.values(), buffers, strict=True)
    yield "=", t("budget.all_buffers", language), sum(buffers)


def _pool_sum(e: Estimate, b: Budget, language: str = "en") -> Iterator[tuple[str, str, int]]:
    """Addends of requested − … = pool; what the named ones leave over is a row of its own, never hidden."""
    share, memory = f"{e.scenario.gpu_memory_utilization:.4g}", show(e.gpu.memory_bytes)
    yield "", t("budget.requested", language, share=share, memory=memory), b.requested_bytes
    minus = {
        "weights": b.weights_bytes,
        "persistent": b.persistent_bytes,
        "activation_peak": b.activation_peak_bytes,
        "non_torch": b.non_torch_bytes,
        "cuda_graphs": b.cuda_graph_bytes if charges_graphs(b) else None,
    }
    for name, size in minus.items():
        if size:
            yield "−", t(f"budget.{name}", language), size
    rest = b.requested_bytes - sum(size or 0 for size in minus.values()) - b.kv_pool_bytes
    if rest:
        yield ("−" if rest > 0 else "+"), t("budget.rest", language), abs(rest)
    yield "=", t("budget.kv_pool", language), b.kv_pool_bytes


def charges_graphs(b: Budget) -> bool:
    """Whether the graphs are part of the sum: this engine version takes them off the pool."""
    named = sum(
        size or 0
        for size in (b.weights_bytes, b.persistent_bytes, b.activation_peak_bytes, b.non_torch_bytes)
    )
    return bool(b.cuda_graph_bytes) and b.requested_bytes - named - b.kv_pool_bytes == b.cuda_graph_bytes


def concurrency(e: Estimate, language: str = "en") -> str:
    """What the pool holds, as Markdown: blocks, tokens, requests of full length at once."""
    b, s = e.budget, e.scenario
    if b is None:
        return t("pool.none_ahead", language, engine=s.engine)
    if b.model_buffer_bytes is not None:
        key = "pool.one_slot" if s.n_seq_max == 1 else "pool.slots"
        return t(key, language, tokens=f"{b.kv_pool_tokens:,}", count=s.n_seq_max)
    if not b.num_blocks or b.kv_pool_bytes is None or b.kv_pool_bytes <= 0:
        return t("pool.nothing", language)
    lines = [t("pool.blocks", language, **_blocks(b)), t("pool.requests", language, **_requests(e, b))]
    if b.cuda_graph_bytes and not charges_graphs(b):
        lines.append(t("pool.graphs", language, size=show(b.cuda_graph_bytes)))
    return "\n".join(f"- {line}" for line in lines)


def _blocks(b: Budget) -> dict[str, str]:
    return {
        "blocks": f"{b.num_blocks:,}",
        "block": show(b.bytes_per_block),
        "tokens": f"{b.kv_pool_tokens:,}",
        "token": show(b.kv_bytes_per_token),
    }


def _requests(e: Estimate, b: Budget) -> dict[str, str]:
    return {
        "length": f"{e.scenario.max_model_len:,}",
        "size": show(b.kv_bytes_at_max_model_len),
        "count": f"{b.max_concurrency:.2f}",
    }


def formulas(e: Estimate, language: str = "en") -> str:
    """Every formula with its numbers put in, a heading for each part, as Markdown."""
    known = parts(language)
    return "\n\n".join(f"### {known[p.key]}: {show(p.bytes)}\n\n{_terms(p, language)}" for p in e.parts)


def _terms(p: Any, language: str) -> str:
    shown = [term for term in p.terms if term.bytes]
    if not shown:
        return t("report.nothing_here", language, why=retold("worked", p.worked or p.formula, language))
    return "\n".join(_term(term, language) for term in shown)


def _term(term: Any, language: str) -> str:
    name, basis = retold("term", term.name, language), t(f"basis.{term.basis}", language)
    worked = f"<br>= `{retold('worked', term.worked, language)}`" if term.worked else ""
    formula = retold("formula", term.formula, language)
    return f"- **{name}**, {basis}<br>`{formula}`{worked}<br>= **{show(term.bytes)}**"


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


def card_note(gpu: GpuSpec, language: str = "en") -> str:
    """The card's memory in the figures that exist for it: CUDA's, the driver's, the vendor's."""
    known = [t("card.cuda", language, size=show(gpu.memory_bytes))]
    if gpu.memory_bytes_nvidia_smi:
        known.append(t("card.nvidia_smi", language, size=show(gpu.memory_bytes_nvidia_smi)))
    if gpu.memory_gb_vendor:
        known.append(t("card.vendor", language, size=f"{gpu.memory_gb_vendor:g} GB"))
    return f"{gpu.name}: {', '.join(known)}"


def versions(e: Estimate, language: str = "en") -> tables.Table:
    """What the numbers were made with: the package, the engine's version, the day the facts were read."""
    import vramlib

    s = e.scenario
    known = "" if s.engine_spec.known else t("made.nearest", language)
    rows = {
        "vramlib": vramlib.__version__,
        t("made.engine", language): f"{s.engine} {s.engine_version}{known}",
        t("made.model", language): t(
            "made.parameters", language, model=e.model.name, count=f"{e.model.params_total:,}"
        ),
        t("made.card", language): card_note(e.gpu, language),
        t("made.read_on", language): max(row["read_on"] for row in catalog.table("gpus")),
    }
    return tables.table((t("made.what", language), t("made.which", language)), rows.items())


def warnings(e: Estimate, language: str = "en") -> str:
    """What to beware of, as a Markdown list."""
    told = "\n".join(f"- {retold('warning', w, language)}" for w in e.warnings)
    return told or t("report.no_warnings", language)
