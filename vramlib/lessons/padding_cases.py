"""Notebook 06, second half: block tails, the claims, budgets that engines printed, and three exercises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from vramlib import budget, catalog, charts_claims, resolve, runs, tables
from vramlib.claims import signed, spread
from vramlib.claims.cases import MIXED, Row, bounds, decided, short, text_models
from vramlib.claims.checks import check
from vramlib.components import kv_cache, kv_pool, prefill_padding
from vramlib.lessons.prefill_padding import forward_bytes, request_lengths, tail_bytes
from vramlib.messages import t
from vramlib.units import GB, GiB, MiB, show

TAILS = (
    "Llama-3.1-8B",
    "gemma-3-12b-it",
    "Qwen3-Next-80B-A3B-Instruct",
    "NVIDIA-Nemotron-Nano-9B-v2",
    "Falcon-H1-7B-Base",
)
PRINTED = (
    "llmdemp_qwen3_06b",
    "llmd_codellama-codellama-7b-h-tp1pp1dp1-8192",
    "llmd_google-gemma-2-27b-it-tp1pp1dp1-8192",
    "llmd_qwen-qwen2-5-72b-instruc-tp2pp1dp1-8192",
    "rlog04_qwen2_5_14b_instruct",
    "rlog06_llava_1_5_7b_hf_awq",
)
EXERCISE = (120, 480, 900, 1500)


def three_ways(model: str, language: str = "en", *, lengths: tuple[int, ...] = MIXED) -> tables.Table:
    """The same prompts padded, packed, and in chunks of 512: positions, cache, forward, and what holds nothing.

    Parameters
    ----------
    model : a name of the catalogue, or a path [-]
    language : en or vi [-]
    lengths : of the prompts [token]

    Returns
    -------
    A row for each way [-]
    """
    given: dict[str, Any] = {"model": model, "prompt_tokens": lengths, "new_tokens": 0}
    padded = resolve.scenario(**given, engine="transformers")
    served = resolve.scenario(**given, max_model_len=8192)
    real, wide = sum(lengths), len(lengths) * max(lengths)
    cache, row = kv_cache.size_bytes(served), prefill_padding.terms(padded)[0].bytes
    ways = (
        ("padded", wide, cache + row, forward_bytes(padded, wide), prefill_padding.size_bytes(padded)),
        ("packed", real, cache, forward_bytes(padded, real), 0),
        (
            "chunked",
            min(real, 512),
            cache + tail_bytes(served),
            forward_bytes(padded, min(real, 512)),
            tail_bytes(served),
        ),
    )
    rows = [(t(f"pad.{word}", language), f"{n:,}", *map(show, sizes)) for word, n, *sizes in ways]
    columns = [t(f"pad.column_{c}", language) for c in ("way", "positions", "cache", "forward", "nothing")]
    return tables.table(columns, rows)


def tails(language: str = "en", *, tokens: int = 1025) -> tables.Table:
    """One sequence in blocks: how long a block is, and what its last one leaves unused.

    Parameters
    ----------
    language : en or vi [-]
    tokens : of the sequence [token]

    Returns
    -------
    A row for each model [-]
    """
    rows = []
    for name in TAILS:
        s = resolve.scenario(model=name, prompt_tokens=tokens, new_tokens=0, max_model_len=8192)
        pool = kv_pool.of(s)
        size = pool.block_size if pool else 0
        unused = prefill_padding.block_tail_tokens(tokens, size)
        share = tail_bytes(s) / kv_cache.size_bytes(s)
        rows.append((name, f"{size:,}", f"{unused:,}", show(tail_bytes(s)), f"{100 * share:.1f} %"))
    columns = [t(f"pad.column_{c}", language) for c in ("model", "block", "unused", "bytes", "share")]
    return tables.table(columns, rows)


def claim_chart(language: str = "en") -> alt.LayerChart:
    """The part for every text model with a cache: packed, padded, and a padded batch of chats, over the claim."""
    row = next(r for r in catalog.table("table") if r["id"] == "prefill_padding_size")
    chats = request_lengths("chat", count=16)
    cases = {
        t("pad.claim_packed", language): _sizes(prompt_tokens=MIXED),
        t("pad.claim_padded", language): _sizes(engine="transformers", prompt_tokens=MIXED),
        t("pad.claim_chats", language): _sizes(engine="transformers", prompt_tokens=chats),
    }
    words = ("title", "description", "axis", "band", "inside")
    labels = {word: t(f"pad.claim_{word}", language) for word in words}
    low, high = float(row["low"]), float(row["high"])
    return charts_claims.ranges(cases, low=low, high=high, labels=labels, part="prefill_padding")


def _sizes(**given: Any) -> dict[str, float]:
    """The part of every text model that has any of it [GB]."""
    found = {}
    for m in text_models():
        size = prefill_padding.size_bytes(resolve.scenario(model=m, **given)) / GB
        if size > 0:
            found[m.name] = size
    return found


def verdicts(language: str = "en") -> tables.Table:
    """What the catalogue says of the row's two claims, each with its sign."""
    claims = {r["id"]: r for r in catalog.table("table") if r["part"] == "prefill_padding"}
    size, limit = claims["prefill_padding_size"], claims["gpu_memory_utilization_limits"]
    found = {
        "prefill_padding_size": _size_verdict(size),
        "gpu_memory_utilization_limits": check(limit).verdict,
    }
    rows = [
        (claims[name]["seed_words"] if language == "vi" else claims[name]["english"], signed(word, language))
        for name, word in found.items()
    ]
    return tables.table([t(f"pad.column_{c}", language) for c in ("claim", "verdict")], rows)


def _size_verdict(row: Row) -> str:
    """The verdict on the numbers of the claim's chart, which are computed already."""
    packed, padded = _sizes(prompt_tokens=MIXED), _sizes(engine="transformers", prompt_tokens=MIXED)
    spreads = [
        spread(name, sizes, *bounds(row), "GB") for name, sizes in (("packed", packed), ("padded", padded))
    ]
    return decided(row, "", *spreads).verdict


def printed(language: str = "en") -> tables.Table:
    """Four figures that start-up logs print add up to the share of the card; graphs stand beside it."""
    found = {r.run_id: r for r in runs.read("vllm")}
    rows = []
    for run in (found[name] for name in PRINTED):
        s = run.scenario
        figures = [run.measured[key] / GiB for key in ("weights", "activation_peak", "non_torch", "kv_pool")]
        setting = f"{s.gpu.name}, {s.engine_version}, u = {s.gpu_memory_utilization:g}"
        graphs = run.measured.get("cuda_graph", 0) / GiB
        rows.append(
            (
                short(s.model.name),
                setting,
                " + ".join(f"{x:.2f}" for x in figures),
                f"{sum(figures):.2f}",
                f"{budget.requested_bytes(s) / GiB:.2f}",
                f"{graphs:.2f}" if graphs else "–",
            )
        )
    names = ("model", "setting", "figures", "sum", "requested", "beside")
    return tables.table([t(f"pad.column_{c}", language) for c in names], rows)


def tweak() -> int:
    """Answer of the first exercise: empty positions of a padded batch [token]."""
    return prefill_padding.padded_tokens(EXERCISE)


def twiddle() -> float:
    """Answer of the second: the cache that those positions hold in transformers with Llama-3.1-8B [MiB]."""
    s = resolve.scenario(model="Llama-3.1-8B", engine="transformers", prompt_tokens=EXERCISE, new_tokens=0)
    return prefill_padding.terms(s)[0].bytes / MiB


def frob() -> dict[tuple[int, ...], int]:
    """Answers of the third, by tokens and block size: unused slots of the last block."""
    cases = ((1025, 16), (1024, 16), (1, 16), (500, 544), (545, 544))
    return {case: prefill_padding.block_tail_tokens(*case) for case in cases}


def slips(language: str = "en") -> Mapping[float, str]:
    """What the ratio of a wrong answer means in this notebook."""
    wide = len(EXERCISE) * max(EXERCISE)
    return {wide / tweak(): t("pad.slip_all", language), 1500 / tweak(): t("pad.slip_one", language)}
