"""Notebook 01, second half: the claim over the catalogue, what engines printed, and three exercises."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt

from vramlib import catalog, charts_claims, resolve, runs, tables
from vramlib.claims import signed
from vramlib.claims.cases import plain_bytes, text_models
from vramlib.claims.checks import check
from vramlib.claims.sizes import ROUGHLY
from vramlib.components import fragmentation, model_weights
from vramlib.lessons.model_weights import bits_per_weight
from vramlib.messages import t
from vramlib.readers.format_names import row
from vramlib.units import GiB

CLAIMED = 0.25
NARROW = ("w4a16", "awq", "nf4")
PRINTED = (
    "llmd_qwen-qwen3-8b-tp1pp1dp1-8192",
    "llmd_qwen-qwen2-5-7b-instruct-tp1pp1dp1-8192",
    "pr12569_llama31_70b_w8a8",
    "llmd_fp8dyn-redhatai-qwen2-5-tp1pp1dp1-8192",
    "rlog06_llava_1_5_7b_hf_awq",
    "oumi1223_llama32_1b_bnb",
    "pr14447_dsv3_awq",
    "llmd_openai-gpt-oss-20b-tp1pp1dp1-8192_FAILED",
)


def claim_chart(language: str = "en") -> alt.LayerChart:
    """4-bit weights over 16-bit weights for every text model of the catalogue, over what the table claims."""
    models = [m for m in text_models() if not m.quantization]
    cases = {
        t("weights.claim_case", language, name=name, bits=f"{bits_per_weight(name):.4g}"): {
            m.name: model_weights.tensor_bytes(m, quant=row(name)) / plain_bytes(m) for m in models
        }
        for name in NARROW
    }
    words = ("title", "description", "axis", "band", "inside")
    labels = {word: t(f"weights.claim_{word}", language) for word in words}
    low, high = CLAIMED * (1 - ROUGHLY), CLAIMED * (1 + ROUGHLY)
    return charts_claims.ranges(cases, low=low, high=high, labels=labels, part="model_weights", log=False)


def verdict(language: str = "en") -> str:
    """What the catalogue says of the claim, with its sign.

    Examples
    --------
    >>> verdict()
    '✗ misconception'
    """
    found = check(next(r for r in catalog.table("table") if r["id"] == "weights_ratio")).verdict
    return signed(found, language)


def printed(language: str = "en") -> tables.Table:
    """Weights as start-up logs print them, beside the tensors and the allocator's rounding."""
    found = {r.run_id: r for r in runs.read("vllm")}
    rows = []
    for run in (found[run_id] for run_id in PRINTED):
        s, theirs = run.scenario, run.measured["weights"]
        ours = model_weights.size_bytes(s)
        both = ours + fragmentation.weight_rounding_bytes(s)
        cards = f"{s.tensor_parallel_size} × {s.gpu.name}"
        ratio = f"{theirs / ours:.3f}×", f"{theirs / both:.3f}×"
        name = s.model.name.rsplit("/", 1)[-1]
        sizes = [f"{size / GiB:.2f}" for size in (theirs, ours, both)]
        rows.append((name, s.quantization, cards, *sizes, *ratio))
    words = ("model", "format", "cards", "log", "ours", "rounded", "gap", "gap_rounded")
    return tables.table([t(f"weights.column_{c}", language) for c in words], rows)


def tweak() -> float:
    """Answer of the first exercise: Qwen3-8B in bf16 [GiB]."""
    return model_weights.tensor_bytes(catalog.model("Qwen3-8B")) / GiB


def twiddle() -> float:
    """Answer of the second: Llama-3.1-70B as w4a16, the whole model [GB]."""
    s = resolve.scenario(model="Llama-3.1-70B", quantization="w4a16")
    return model_weights.terms(s)[0].bytes / 1e9


def frob() -> dict[tuple[int, ...], float]:
    """Answers of the third: bits per weight by weight_bits, group_size, scale_bits, zero_point_bits [bit]."""
    specs = {name: row(name) for name in ("awq", "nf4", "mxfp4", "mxfp8", "w4a16")}
    return {
        (q.weight_bits, q.group_size, q.scale_bits, q.zero_point_bits): bits_per_weight(name)
        for name, q in specs.items()
    }


def slips(language: str = "en") -> Mapping[float, str]:
    """What the ratio of a wrong answer means in this notebook."""
    kept = twiddle()
    plain = model_weights.tensor_bytes(catalog.model("Llama-3.1-70B")) / 1e9
    return {plain / 4 / kept: t("weights.slip_quarter", language)}
