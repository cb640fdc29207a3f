"""What decides the claims about sizes: the numbers of each part over models, cards and printed figures."""

from __future__ import annotations

import dataclasses
from typing import Any

from vramlib import catalog, names
from vramlib.claims import Verdict, cases, spread
from vramlib.claims.cases import (
    BIG_CARD,
    SMALL_CARD,
    Row,
    bounds,
    cache_bytes,
    decided,
    over,
    parts,
    text_models,
)
from vramlib.components import cuda_context, fragmentation, model_weights
from vramlib.estimate import estimate
from vramlib.readers.format_names import quantization_named
from vramlib.specs import ModelSpec
from vramlib.units import GB, MiB

ROUGHLY = 0.02  # "= 1.0×" and "~0.25×" are taken to mean within two percent


def weights_ratio(row: Row) -> Verdict:
    """Stored bytes over two bytes a parameter, in 16 bit and with AWQ's 4 bits in groups of 128."""
    plain = [m for m in text_models() if not m.quantization]
    full = {m.name: model_weights.tensor_bytes(m) / cases.plain_bytes(m) for m in plain}
    narrow = {
        m.name: model_weights.tensor_bytes(m, quant=quantization_named("awq", m)) / cases.plain_bytes(m)
        for m in plain
    }
    spreads = (
        spread("16-bit weights / (2 B × parameters)", full, 1 - ROUGHLY, 1 + ROUGHLY),
        spread(
            "4-bit weights (AWQ) / (2 B × parameters)", narrow, 0.25 * (1 - ROUGHLY), 0.25 * (1 + ROUGHLY)
        ),
    )
    low, high = spreads[1].ordered[0][1], spreads[1].median
    says = (
        "1.0× is right. In 4 bit, scales come on top and embeddings stay in 16 bit:"
        f" {low:.2f}× at best, {high:.2f}× in the middle."
    )
    return decided(row, says, *spreads, every=True)


def kv_ratio(row: Row) -> Verdict:
    """Keys and values of one sequence over the weights, at four lengths."""
    spreads = [
        spread(
            f"KV cache of {tokens:,} tokens / weights",
            {m.name: cache_bytes(m, tokens) / cases.plain_bytes(m) for m in text_models()},
            *bounds(row),
        )
        for tokens in (1024, 4096, 32_768, 131_072)
    ]
    at = [
        f"{s.median:.2g}× at {tokens}" for s, tokens in zip(spreads, ("1K", "4K", "32K", "128K"), strict=True)
    ]
    says = (
        f"There is no such ratio: the middle model has {', '.join(at)} tokens."
        " Tokens, layers and key-value heads decide."
    )
    return decided(row, says, *spreads)


def kv_4096_vs_1024(row: Row) -> Verdict:
    """Cache of 4096 tokens over cache of 1024, models with and without full attention everywhere."""
    keeps = [m for m in text_models() if cache_bytes(m, 1024)]
    ratio = {m.name: cache_bytes(m, 4096) / cache_bytes(m, 1024) for m in keeps}
    full = {m.name: ratio[m.name] for m in keeps if _all_full(m)}
    others = {name: value for name, value in ratio.items() if name not in full}
    spreads = (
        spread("cache of 4,096 / of 1,024 tokens, full attention in every layer", full, *bounds(row)),
        spread("the same, with windows, chunks or states", others, *bounds(row)),
    )
    (fixed, _), (name, low) = spreads[1].ordered[0], next(p for p in spreads[1].ordered if p[1] > 1)
    says = (
        f"Exactly 4× where every layer keeps every token. {cases.short(name)} grows {low:.2f}×,"
        f" {cases.short(fixed)} not at all: windows are full, states have a fixed size."
    )
    return decided(row, says, *spreads)


def _all_full(m: ModelSpec) -> bool:
    return all(c.kind == "full" for layer, _ in m.layer_counts for c in layer.caches)


def activations_ratio(row: Row) -> Verdict:
    """Activations over the weights for a served prompt, the engine's trial run, and transformers."""
    served = over()
    spreads = [
        spread(words, {e.model.name: size(e) / cases.plain_bytes(e.model) for e in found}, *bounds(row))
        for words, found, size in (
            ("vLLM, 1,024 tokens in / weights", served, lambda e: e.part("activations").bytes),
            ("vLLM's own trial run / weights", served, lambda e: e.budget.activation_peak_bytes),
            ("transformers, 8 × 1,024 tokens / weights", over(engine="transformers", batch_size=8),
             lambda e: e.part("activations").bytes),
        )
    ]  # fmt: skip
    deep = depth_bytes()
    same = (
        "the same bytes"
        if len(set(deep.values())) == 1
        else f"{min(deep.values())} to {max(deep.values())} bytes"
    )
    says = (
        f"They follow tokens and width: {spreads[0].median:.3f}× in the middle."
        f" Depth adds nothing: Llama-3.1-8B with 2 to 64 layers, {same}."
    )
    return decided(row, says, *spreads)


def depth_bytes(layers: tuple[int, ...] = (2, 8, 32, 64)) -> dict[int, int]:
    """Activations of Llama-3.1-8B's shape with other depths [byte].

    Examples
    --------
    >>> len(set(depth_bytes().values()))
    1
    """
    base = names.model("Llama-3.1-8B")
    shapes = {n: dataclasses.replace(base, num_hidden_layers=n, layers=(base.layers[0],) * n) for n in layers}
    given: dict[str, Any] = {"gpu": BIG_CARD, "max_model_len": 8192}
    return {n: estimate(model=m, **given).part("activations").bytes for n, m in shapes.items()}


def cuda_context_size(row: Row) -> Verdict:
    """Printed sizes of contexts, those with lazy loading apart, and every card of the catalogue."""
    figures = [r for r in catalog.table("cuda_context") if r["kind"] == "figure" and r["value_mib"]]
    sizes = [
        (r["card"] or f"{r['framework']} {r['cuda']}".strip(), float(r["value_mib"]) * MiB / GB, r)
        for r in figures
    ]
    lazy = [(name, size) for name, size, r in sizes if _lazy(r)]
    cards = {g.name: cuda_context.base_bytes(g)[0] / GB for g in catalog.gpus() if g.vendor == "NVIDIA"}
    spreads = (
        spread("all printed figures", [(name, size) for name, size, _ in sizes], *bounds(row), "GB"),
        spread("printed with lazy loading (CUDA 11.7 on)", lazy, *bounds(row), "GB"),
        spread("cards of the catalogue, one process", cards, *bounds(row), "GB"),
    )
    most = spreads[0].ordered[-1][1]
    says = (
        "When kernels are loaded lazily and one process runs; eager loading, WSL2 or NCCL take it to"
        f" {most:.1f} GB. No model changes it."
    )
    return decided(row, says, *spreads)


def _lazy(r: Row) -> bool:
    version = r["cuda"].removeprefix(">=")
    return "LAZY" in r["conditions"] or (version[:1].isdigit() and float(version.split("/")[0]) >= 11.7)


def framework_buffers_size(row: Row) -> Verdict:
    """The part at vLLM's defaults on a large and on a small card, all models and those of at most 32 layers."""
    big, small = over(), over(SMALL_CARD)
    shallow = tuple(e for e in small if e.model.num_hidden_layers <= 32)
    spreads = (
        spread(f"vLLM's defaults on {BIG_CARD}", parts("framework_buffers", big), *bounds(row), "GB"),
        spread(f"vLLM's defaults on {SMALL_CARD}", parts("framework_buffers", small), *bounds(row), "GB"),
        spread(f"{SMALL_CARD}, at most 32 layers", parts("framework_buffers", shallow), *bounds(row), "GB"),
    )
    says = (
        "When a model has at most 32 layers: CUDA graphs grow with depth, and all models together have"
        f" {spreads[0].median:.1f} GB in the middle on {BIG_CARD}."
    )
    return decided(row, says, *spreads)


def prefill_padding_size(row: Row) -> Verdict:
    """The part for a packed and for a padded batch of mixed lengths."""
    packed = parts("prefill_padding", over(prompt_tokens=cases.MIXED))
    padded = parts("prefill_padding", over(engine="transformers", prompt_tokens=cases.MIXED))
    lengths = ", ".join(map(str, cases.MIXED))
    spreads = (
        spread(f"vLLM, packed: prompts of {lengths}", packed, *bounds(row), "GB"),
        spread(f"transformers, padded: prompts of {lengths}", padded, *bounds(row), "GB"),
    )
    middles = [s.median for s in spreads]
    says = (
        f"When a batch is padded: {middles[1]:.2f} GB in the middle, {middles[0]:.3f} GB packed."
        " Lengths decide, not a constant."
    )
    return decided(row, says, *spreads)


def fragmentation_fraction(row: Row) -> Verdict:
    """The part over the card's memory, for vLLM and for transformers while it generates."""
    paged, growing = over(), over(engine="transformers", batch_size=8, new_tokens=512)
    low, high = (100 * bound for bound in bounds(row))
    spreads = [
        spread(
            words,
            {e.model.name: 100 * e.part("fragmentation").bytes / e.gpu.memory_bytes for e in found},
            low,
            high,
            "%",
        )
        for words, found in (
            (f"vLLM: rounding and gaps / {BIG_CARD}", paged),
            (f"transformers, 8 growing sequences / {BIG_CARD}", growing),
        )
    ]
    caches = {e.model.name: e.part("kv_cache").bytes for e in growing}
    kept = {
        e.model.name: fragmentation.dynamic_cache_leftover_bytes(e.scenario) / caches[e.model.name]
        for e in growing
        if caches[e.model.name]
    }
    says = (
        f"{spreads[0].median:.2f} % in the middle. A growing cache in transformers keeps {cases.middle(kept):.1f}×"
        " its own size beside it, but gives that back when memory runs short."
    )
    return decided(row, says, *spreads)


def multi_process_size(row: Row) -> Verdict:
    """A further context, a further rank by vLLM version, and a further whole process."""
    cards = {g.name: cuda_context.base_bytes(g)[0] / GB for g in catalog.gpus() if g.vendor == "NVIDIA"}
    versions = ("0.8.5", "0.10.2", "0.11.0", "0.19.0")
    ranks = {v: _rank_bytes(v) / GB for v in versions}
    copies = parts("multi_process", over(num_processes=2))
    spreads = (
        spread("a further context, by card", cards, *bounds(row), "GB"),
        spread("a further rank (tp = 2), by vLLM version", ranks, *bounds(row), "GB"),
        spread("a further whole vLLM on the same card", copies, *bounds(row), "GB"),
    )
    says = (
        f"For a further rank of vLLM up to 0.16; {ranks['0.19.0']:.1f} GB in 0.19. A further process repeats"
        f" everything it holds: {spreads[2].median:.0f} GB in the middle."
    )
    return decided(row, says, *spreads)


def _rank_bytes(version: str) -> int:
    return (
        estimate(model="Llama-3.1-8B", engine_version=version, tensor_parallel_size=2)
        .part("multi_process")
        .bytes
    )
