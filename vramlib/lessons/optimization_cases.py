"""Notebook 10, second half: the four claims over the catalogue, logs that differ in one setting, three exercises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import altair as alt

from vramlib import budget, catalog, charts_claims, runs, tables
from vramlib.claims import signed
from vramlib.claims.cases import SMALL_CARD, over
from vramlib.claims.checks import check
from vramlib.components import kv_cache, prefill_padding
from vramlib.lessons.kv_cache import short
from vramlib.lessons.optimization_views import words
from vramlib.messages import t
from vramlib.specs import Estimate
from vramlib.units import GiB

CLAIMED = {
    "paged": "paged_attention",
    "pool": "dynamic_memory_pool",
    "batching": "smart_batching",
    "graphs": "cuda_graphs_speed",
}
LEAST = 1e-4  # smallest ratio that the chart tells from nothing
# Logs of the same model, card and version that differ in one setting: name of the change, before, after.
PAIRS = (
    ("name_cache8", "llmd_qwen-qwen2-5-7b-i-tp1pp1dp1-8192-dtbf16", "llmd_qwen-qwen2-tp1pp1dp1-8192-dtbf16-kvfp8"),
    ("printed_w8", "llmd_qwen-qwen2-5-7b-instruct-tp1pp1dp1-8192", "llmd_w8a8-redhatai-qwen2-5-7b-tp1pp1dp1-8192"),
    ("name_ranks", "llmd_qwen-qwen2-5-7b-instruct-tp1pp1dp1-8192", "llmd_qwen-qwen2-5-7b-instruct-tp2pp1dp1-8192"),
    ("name_ranks", "llmd_w8a8-mistral-small-24b-tp1pp1dp1-8192", "llmd_w8a8-mistral-small-24b-tp2pp1dp1-8192"),
    ("printed_w8", "llmd_mistralai-mistral-small-tp1pp1dp1-8192", "llmd_w8a8-mistral-small-24b-tp1pp1dp1-8192"),
    ("printed_limit", "llmd_qwen-qwen2-5-7b-instruc-tp1pp1dp1-32768", "llmd_qwen-qwen2-5-7b-instruct-tp1pp1dp1-2048"),
)  # fmt: skip


def verdicts(language: str = "en") -> tables.Table:
    """The four claims with what the catalogue says of each.

    Parameters
    ----------
    language : en or vi [-]

    Returns
    -------
    A row for each optimization of the seed's table [-]
    """
    rows = []
    for key, claim in CLAIMED.items():
        row = next(r for r in catalog.table("table") if r["id"] == claim)
        found = check(row)
        said = row["seed_words"] if language == "vi" else row["english"]
        share = f"{found.decisive.share:.0%}".replace("%", " %")
        rows.append((words(key, language), said, signed(found.verdict, language), share))
    return tables.table([t(f"opt.column_{c}", language) for c in ("name", "said", "verdict", "share")], rows)


def claim_chart(language: str = "en") -> alt.LayerChart:
    """After over before for the four optimizations of the seed's table, over every text model of the catalogue."""
    claims = {r["id"]: r for r in catalog.table("table")}
    cases = {
        "paged": dict(check(claims["paged_attention"]).spreads[0].values),
        "batching": dict(check(claims["smart_batching"]).spreads[0].values),
        "pool": _ratios(over(max_model_len=8192), over(max_model_len=8192, batch_size=8), pool=True),
        "graphs": _ratios(
            over(SMALL_CARD, max_model_len=4096), over(SMALL_CARD, max_model_len=4096, enforce_eager=True)
        ),
    }
    shown = {
        t(f"opt.claim_{key}", language): {name: max(ratio, LEAST) for name, ratio in found.items()}
        for key, found in cases.items()
    }
    names = ("title", "description", "axis", "band", "inside")
    labels = {w: t(f"opt.claim_{w}", language) for w in names}
    return charts_claims.ranges(shown, low=LEAST, high=0.999, labels=labels, part="prefill_padding")


def _ratios(after: Iterable[Estimate], before: Iterable[Estimate], *, pool: bool = False) -> dict[str, float]:
    """One number of each model over another: of its pool where it has one, or of everything on the card."""
    found = {}
    for a, b in zip(after, before, strict=True):
        if not pool:
            found[a.model.name] = a.total_bytes / b.total_bytes
        elif a.budget and b.budget and b.budget.kv_pool_bytes > 0:
            found[a.model.name] = a.budget.kv_pool_bytes / b.budget.kv_pool_bytes
    return found


def printed(language: str = "en") -> tables.Table:
    """Blocks of the KV pool that start-up logs print, before and after one change, beside ours.

    Parameters
    ----------
    language : en or vi [-]

    Returns
    -------
    A row for each pair of logs [-]
    """
    found = {r.run_id: r for r in runs.read("vllm")}
    rows = []
    for change, *pair in PAIRS:
        one, other = (found[run_id] for run_id in pair)
        blocks = [run.measured["num_blocks"] for run in (one, other)]
        ours = [b.num_blocks for run in (one, other) if (b := budget.of(run.scenario))]
        rows.append(
            (
                t(f"opt.{change}", language),
                short(one.scenario.model.name),
                f"{blocks[0]:,.0f} → {blocks[1]:,.0f}",
                f"{blocks[1] / blocks[0]:.3f}×",
                f"{ours[1] / ours[0]:.3f}×",
            )
        )
    keys = ("name", "model", "blocks", "theirs", "ours")
    return tables.table([t(f"opt.column_{c}", language) for c in keys], rows)


def tweak() -> int:
    """Answer of the first exercise: tokens of Llama-3.1-8B in a pool of 4 GiB with an fp8 cache [token]."""
    return 4 * GiB // kv_cache.bytes_per_token(catalog.model("Llama-3.1-8B"), kv_cache_dtype="fp8")


def twiddle() -> float:
    """Answer of the second: 64 users of Llama-3.1-8B share a prompt of 2,000 tokens [GiB]."""
    return 63 * 2000 * kv_cache.bytes_per_token(catalog.model("Llama-3.1-8B")) / GiB


def frob() -> dict[tuple[int, ...], int]:
    """Answers of the third, by length, limit and block size: slots that paging gives back [token]."""
    cases = ((1025, 8192, 16), (1024, 8192, 16), (8192, 8192, 128), (1, 4096, 32))
    return {(n, limit, bs): limit - n - prefill_padding.block_tail_tokens(n, bs) for n, limit, bs in cases}


def slips(language: str = "en") -> Mapping[float, str]:
    """What the ratio of a wrong answer means in this notebook."""
    return {1 / 4: t("opt.slip_bits", language)}


def prefix_slips(language: str = "en") -> Mapping[float, str]:
    """The same for the second exercise."""
    return {64 / 63: t("opt.slip_first", language)}
