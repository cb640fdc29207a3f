"""Notebook 03, second half: the claim over the catalogue, what engines printed, and three exercises."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import altair as alt

from vramlib import catalog, charts_claims, resolve, runs, tables
from vramlib.budget import activation_peak_bytes
from vramlib.claims import judge, signed
from vramlib.claims.cases import plain_bytes, text_models
from vramlib.components import activations
from vramlib.lessons.activations import trial
from vramlib.messages import t
from vramlib.specs import ModelSpec
from vramlib.units import GiB, show

PRINTED = (
    "llmd_codellama-codellama-7b-h-tp1pp1dp1-8192",
    "llmd_ibm-granite-granite-3-3-tp1pp1dp1-8192",
    "llmd_qwen-qwen2-5-7b-instruct-tp1pp1dp1-8192",
    "llmd_qwen-qwen2-5-7b-instruct-tp4pp1dp1-8192",
    "llmd_qwen-qwen2-5-72b-instruc-tp2pp1dp1-8192",
    "llmd_google-gemma-2-9b-it-tp1pp1dp1-8192",
    "llmd_qwen-qwen3-30b-a3b-tp1pp1dp1-8192",
    "llmdemp_qwen3_06b",
)


def _serving(m: ModelSpec, tokens: int, rows: int) -> int:
    """One step of vLLM 0.19: the larger of layers and sampler [byte]."""
    return max(activations.forward_bytes(m, tokens), activations.sampler_bytes(m, tokens, rows))


@functools.cache
def ratios() -> Mapping[str, Mapping[str, float]]:
    """Activations over 16-bit weights of every text model with attention, in four situations.

    Returns
    -------
    Situation to model to ratio [-]
    """
    models = [m for m in text_models() if m.num_attention_heads]
    sizes = {
        "served": lambda m: _serving(m, 1024, 1),
        "trial": lambda m: _serving(m, 8192, 1024),
        "batch": lambda m: activations.transformers_bytes(m, 8192, 1024, 8),
        "eager": lambda m: activations.transformers_bytes(m, 8192, 8192, 1, attn_implementation="eager"),
    }
    return {name: {m.name: size(m) / plain_bytes(m) for m in models} for name, size in sizes.items()}


def claim_chart(language: str = "en") -> alt.LayerChart:
    """The four situations over the claim's band."""
    low, high = _bounds()
    cases = {t(f"act.claim_{name}", language): values for name, values in ratios().items()}
    words = ("title", "description", "axis", "band", "inside")
    labels = {word: t(f"act.claim_{word}", language) for word in words}
    return charts_claims.ranges(cases, low=low, high=high, labels=labels, part="activations")


def _bounds() -> tuple[float, float]:
    row = next(r for r in catalog.table("table") if r["id"] == "activations_ratio")
    return float(row["low"]), float(row["high"])


def verdict(language: str = "en") -> str:
    """What the catalogue says of the claim, with its sign.

    Examples
    --------
    >>> verdict()
    '✗ misconception'
    """
    low, high = _bounds()
    shares = [sum(low <= x <= high for x in v.values()) / len(v) for v in ratios().values()]
    found = judge(shares)
    return signed(found, language)


def printed(language: str = "en") -> tables.Table:
    """Peaks that start-up logs print while profiling, beside layers and sampler of the formula."""
    logs = {r.run_id: r for r in runs.read("vllm")}
    rows = []
    for run in (logs[run_id] for run_id in PRINTED):
        s, theirs, found = run.scenario, run.measured["activation_peak"], trial(run.scenario)
        ours = activation_peak_bytes(s)
        pieces = found["layers"], found["hidden"] + found["logits"], found["workspace"]
        sizes = [f"{size / GiB:.2f}" for size in (theirs, *pieces, ours)]
        name = s.model.name.rsplit("/", 1)[-1]
        setting = s.engine_version, str(s.tensor_parallel_size)
        rows.append((name, f"{s.model.vocab_size:,}", *setting, *sizes, f"{theirs / ours:.3f}×"))
    words = ("model", "vocabulary", "version", "tp", "log", "layers", "sampler", "workspace", "ours", "gap")
    return tables.table([t(f"act.column_{c}", language) for c in words], rows)


def rows_table(model: str = "Llama-3.1-8B", language: str = "en") -> tables.Table:
    """What fewer sequences save: the sampler at a step of 8,192 tokens, and the layers beside it."""
    m, rows = resolve.scenario(model=model).model, []
    for num in (1024, 512, 256, 64, 1):
        sampler = activations.sampler_bytes(m, 8192, num)
        rows.append((f"{num:,}", show(sampler), show(activations.forward_bytes(m, 8192))))
    columns = ["--max-num-seqs", *(t(f"act.column_{c}", language) for c in ("sampler_size", "layers_size"))]
    return tables.table(columns, rows)


def tweak() -> int:
    """Answer of the first exercise: Qwen3-8B reads 4,096 tokens in transformers [byte]."""
    return activations.transformers_bytes(catalog.model("Qwen3-8B"), 4096, 4096, 1)


def twiddle() -> float:
    """Answer of the second: the sampler of gemma-2-9b at 8,192 tokens and 256 sequences [GiB]."""
    return activations.sampler_bytes(catalog.model("gemma-2-9b"), 8192, 256) / GiB


def frob() -> dict[tuple[int, ...], int]:
    """Answers of the third, by tokens and rows: one pass of Llama-3.1-8B that returns so many logits [byte]."""
    m = catalog.model("Llama-3.1-8B")
    cases = ((512, 1), (2048, 1), (2048, 2048), (8192, 1024), (8192, 8192))
    return {(n, rows): activations.transformers_bytes(m, n, n, rows) for n, rows in cases}


def slips(language: str = "en") -> Mapping[float, str]:
    """What the ratio of a wrong answer means in this notebook."""
    return {36: t("act.slip_layers", language), 1 / 36: t("act.slip_layers", language)}
