"""Notebook 09, second half: the claim over the models of each name, logs, and three exercises."""

from __future__ import annotations

import re
from collections.abc import Mapping

import altair as alt

from vramlib import catalog, charts_claims, names, runs, tables
from vramlib.claims import signed
from vramlib.claims.cases import plain_bytes
from vramlib.claims.checks import check
from vramlib.components import model_weights
from vramlib.lessons.conversion import BILLION, size_bytes, stored_bytes
from vramlib.lessons.kv_cache import short
from vramlib.messages import t
from vramlib.readers.format_names import quantization_named
from vramlib.units import GB, GiB

PRINTED = (
    "oumi1223_llama32_1b_bf16",
    "llmd_codellama-codellama-7b-h-tp1pp1dp1-8192",
    "llmd_qwen-qwen2-5-7b-instruct-tp1pp1dp1-8192",
    "llmd_google-gemma-7b-tp1pp1dp1-8192",
    "llmd_w8a8-redhatai-qwen2-5-7b-tp1pp1dp1-8192",
    "oumi1223_llama32_1b_bnb",
)
FORMAT_BITS = {"none": 16, "w8a8": 8, "nf4-double-quant": 4}


def claim_chart(language: str = "en") -> alt.LayerChart:
    """Real minus printed 16-bit sizes, read as GB and as GiB, over the half that a printed whole number leaves open."""
    table = catalog.table("conversion")
    every = [(name, float(r["fp16_gb"])) for r in table for name in r["models"].split(";")]
    llama = [(r["nearest"], float(r["fp16_gb"])) for r in table]
    chosen = (
        ("every_gb", every, GB),
        ("every_gib", every, GiB),
        ("llama_gb", llama, GB),
        ("llama_gib", llama, GiB),
    )
    cases = {
        t(f"conv.claim_{case}", language): {
            n: plain_bytes(names.model(n)) / unit - said for n, said in models
        }
        for case, models, unit in chosen
    }
    words = ("title", "description", "axis", "band", "inside")
    labels = {w: t(f"conv.claim_{w}", language) for w in words}
    return charts_claims.ranges(cases, low=-0.5, high=0.5, labels=labels, part="model_weights", log=False)


def verdict(language: str = "en") -> str:
    """What the catalogue says of the claim, with its sign.

    Examples
    --------
    >>> verdict()
    '≈ holds when'
    """
    row = next(r for r in catalog.table("table") if r["id"] == "quick_conversion")
    found = check(row).verdict
    return signed(found, language)


def printed(language: str = "en") -> tables.Table:
    """What engines print after loading, beside the number in the model's name and beside the exact count.

    Parameters
    ----------
    language : en or vi [-]

    Returns
    -------
    A row for each log, all sizes in GiB [-]
    """
    found = {r.run_id: r for r in runs.read("vllm")}
    rows = []
    for run in (found[run_id] for run_id in PRINTED):
        s, theirs = run.scenario, run.measured["weights"]
        digits = re.search(r"(\d+(?:\.\d+)?)b\b", s.model.name.lower())
        by_name = size_bytes(float(digits[1]) * BILLION, FORMAT_BITS[s.quantization]) if digits else 0
        ours = model_weights.size_bytes(s)
        cells = (f"{by_name / GiB:.2f}", f"{ours / GiB:.2f}", f"{theirs / GiB:.2f}")
        kind = "16 bit" if s.quantization == "none" else s.quantization
        off = f"{theirs / by_name - 1:+.0%}".replace("-", "−").replace("%", " %")
        rows.append((short(s.model.name), kind, *cells, off, f"{theirs / ours:.4f}×"))
    keys = ("model", "format", "by_name", "ours", "log", "off", "gap")
    return tables.table([t(f"conv.column_{c}", language) for c in keys], rows)


def tweak() -> float:
    """Answer of the first exercise: Qwen2.5-7B in bf16 [GiB]."""
    return stored_bytes(catalog.model("Qwen2.5-7B")) / GiB


def compressed_params(model: str = "Llama-3.1-8B", quantization: str = "awq") -> tuple[int, int]:
    """Parameters that a format compresses, and those that it keeps in 16 bit.

    Parameters
    ----------
    model : a name of the catalogue [-]
    quantization : a row of data/quantization.csv [-]

    Returns
    -------
    Compressed, kept [element]

    Examples
    --------
    >>> compressed_params()
    (6979321856, 1050939392)
    """
    spec = catalog.model(model)
    quant = quantization_named(quantization, spec)
    inside = sum(n * x.num_params for x, n in spec.tensors if quant is not None and quant.compresses(x))
    return inside, spec.params_total - inside


def twiddle() -> float:
    """Answer of the second: Llama-3.1-8B as AWQ [GiB]."""
    return stored_bytes(catalog.model("Llama-3.1-8B"), "awq") / GiB


def frob() -> dict[tuple[int, ...], int]:
    """Answers of the third, by GiB and bits: the most parameters whose weights fit [element]."""
    found: dict[tuple[int, ...], int] = {}
    for gib, bits in ((24, 16), (24, 4), (80, 8)):
        count = gib * GiB * 8 // bits
        found[gib, bits] = count - (size_bytes(count, bits) > gib * GiB)
    return found


def slips(language: str = "en") -> Mapping[float, str]:
    """What the ratio of a wrong answer means in this notebook."""
    return {7 * BILLION / catalog.model("Qwen2.5-7B").params_total: t("conv.slip_name", language)}


def awq_slips(language: str = "en") -> Mapping[float, str]:
    """The same for the second exercise."""
    compressed, kept = compressed_params()
    right = stored_bytes(catalog.model("Llama-3.1-8B"), "awq")
    all_in_four = size_bytes(compressed + kept, 4) / right
    no_scales = (size_bytes(compressed, 4) + size_bytes(kept)) / right
    return {all_in_four: t("conv.slip_all", language), no_scales: t("conv.slip_scales", language)}
