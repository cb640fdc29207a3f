"""Notebook 04, second half: the printed figures, the claim, out-of-memory messages, and three exercises."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import altair as alt

from vramlib import catalog, charts_claims, tables
from vramlib.claims import Verdict, signed
from vramlib.claims.checks import check
from vramlib.components import cuda_context
from vramlib.messages import t
from vramlib.units import GiB, MiB

CONDITIONS = ("all", "lazy", "cards")


def figures() -> list[Mapping[str, str]]:
    """Every printed size of data/cuda_context.csv, the named cards first, each group from small to large."""
    found = [r for r in catalog.table("cuda_context") if r["kind"] == "figure" and r["value_mib"]]
    return sorted(found, key=lambda r: (not r["card"], float(r["value_mib"])))


def figures_table(language: str = "en", *, named: bool = True) -> tables.Table:
    """The printed sizes, of named cards beside our size for that card, or of cards that nobody named.

    Parameters
    ----------
    language : en or vi [-]
    named : whether the card is known [-]

    Returns
    -------
    A row for each figure [-]
    """
    rows = []
    for r in figures():
        if bool(r["card"]) != named:
            continue
        software = f"{r['framework']} {r['framework_version'].split('rc')[0]}".strip()
        cuda = f", CUDA {r['cuda']}" if r["cuda"] else ""
        ours = f"{cuda_context.base_bytes(catalog.gpu(r['card']))[0] / MiB:.0f}" if r["card"] else ""
        card = r["card"] or r["printed_card"] or "–"
        columns = (card, software + cuda, f"{float(r['value_mib']):.0f}", *([ours] if named else []))
        rows.append((*columns, r["conditions"], _place(r["source"])))
    words = ("gpu", "software", "printed", *(["mib"] if named else []), "conditions", "source")
    return tables.table([t(f"ctx.column_{c}", language) for c in words], rows)


def _place(address: str) -> str:
    """Who published it: the repository of a GitHub address, else the site."""
    parts = address.split("/")
    return "/".join(parts[3:5]) if "github.com" in address else parts[2]


def loading_table(language: str = "en") -> tables.Table:
    """The same program with kernels loaded when first used, and all at start."""
    size = {w: float(_figure(w)["value_mib"]) for w in ("LAZY", "eager")}
    rows = [
        ("CUDA_MODULE_LOADING=LAZY", t("ctx.loading_lazy", language), f"{size['LAZY']:.2f}"),
        ("CUDA_MODULE_LOADING=EAGER", t("ctx.loading_eager", language), f"{size['eager']:.2f}"),
        (t("ctx.loading_gap", language), "", f"{size['eager'] - size['LAZY']:.2f}"),
    ]
    columns = [t(f"ctx.column_{c}", language) for c in ("loading", "what", "printed")]
    return tables.table(columns, rows)


def _figure(word: str) -> Mapping[str, str]:
    """PyTorch 1.13's own figure for one kind of loading."""
    return next(r for r in figures() if r["framework_version"] == "1.13" and word in r["conditions"])


def messages_table(language: str = "en") -> tables.Table:
    """Out-of-memory messages: the process less what PyTorch allocated and reserved, beside the card's context."""
    rows = []
    for r in catalog.table("reported"):
        if r["experiment"] != "whole_budget":
            continue
        gpu = catalog.gpu(r["scenario"].removeprefix("gpu="))
        ours, low, high = (n / MiB for n in cuda_context.base_bytes(gpu))
        outside = float(r["value_mib"])
        rows.append(
            (
                r["gpu"],
                r["printed"],
                f"{outside:.0f}",
                f"{ours:.0f} ({low:.0f}–{high:.0f})",
                _place(r["source"]),
            )
        )
    columns = [t(f"ctx.column_{c}", language) for c in ("gpu", "message", "outside", "ours", "source")]
    return tables.table(columns, rows)


@functools.cache
def _checked() -> Verdict:
    return check(next(r for r in catalog.table("table") if r["id"] == "cuda_context_size"))


def claim_chart(language: str = "en") -> alt.LayerChart:
    """Printed figures, those with lazy loading, and the cards of the catalogue, over the claim's band."""
    found = zip(CONDITIONS, _checked().spreads, strict=True)
    cases = {
        t(f"ctx.claim_{name}", language): {f"{card} {i}": size for i, (card, size) in enumerate(s.values)}
        for name, s in found
    }
    words = ("title", "description", "axis", "band", "inside")
    labels = {word: t(f"ctx.claim_{word}", language) for word in words}
    low, high = _checked().spreads[0].low, _checked().spreads[0].high
    return charts_claims.ranges(cases, low=low, high=high, labels=labels, part="cuda_context", log=False)


def verdict(language: str = "en") -> str:
    """What the figures say of the claim, with its sign.

    Examples
    --------
    >>> verdict()
    '≈ holds when'
    """
    return signed(_checked().verdict, language)


def tweak() -> float:
    """Answer of the first exercise: what the message of an RTX A6000 leaves outside the allocator [MiB]."""
    row = next(r for r in catalog.table("reported") if r["gpu"] == "RTX A6000")
    return float(row["value_mib"])


def twiddle() -> float:
    """Answer of the second: four idle workers on an L4 [GiB]."""
    return 4 * cuda_context.base_bytes(catalog.gpu("L4"))[0] / GiB


def frob() -> dict[tuple[int, ...], float]:
    """Answers of the third, by multiprocessors: contexts of cards with GDDR memory that follow from the rule [MiB]."""
    cards = [catalog.gpu(name) for name in ("RTX-3060-12GB", "L4", "RTX-3090", "RTX-4090", "RTX-5090")]
    return {(g.num_sms,): cuda_context.base_bytes(g)[0] / MiB for g in cards}


def slips(language: str = "en") -> Mapping[float, str]:
    """What the ratio of a wrong answer means in this notebook."""
    return {(47.35 - 47.08) * GiB / MiB / tweak(): t("ctx.slip_reserved", language)}
