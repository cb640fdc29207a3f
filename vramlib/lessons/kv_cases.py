"""Notebook 02, second half: the claim over the catalogue, cards, engines, printed figures, and three exercises."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np

from vramlib import catalog, charts_claims, runs, tables
from vramlib.claims import signed
from vramlib.claims.cases import cache_bytes, plain_bytes, text_models
from vramlib.claims.checks import check
from vramlib.components import kv_cache, kv_pool
from vramlib.estimate import estimate
from vramlib.lessons.kv_cache import one_sequence, short
from vramlib.messages import t
from vramlib.units import GiB, show

LENGTHS = (1024, 4096, 32_768, 131_072)
PRINTED = (
    "llmd_codellama-codellama-7b-h-tp1pp1dp1-8192",
    "rfile_llama31_8b_l4",
    "llmd_qwen-qwen2-5-7b-instruct-tp2pp1dp1-8192",
    "llmd_qwen-qwen2-5-7b-instruct-tp4pp1dp1-8192",
    "llmd_qwen-qwen2-tp1pp1dp1-8192-dtbf16-kvfp8",
    "llmd_deepseek-ai-deepseek-v2-tp1pp1dp1-8192",
    "llmd_google-gemma-3-27b-it-tp1pp1dp1-8192",
)


def claim_chart(language: str = "en") -> alt.LayerChart:
    """Cache over 16-bit weights for every text model of the catalogue at four lengths, over the claim's band."""
    row = next(r for r in catalog.table("table") if r["id"] == "kv_ratio")
    cases = {
        t("kv.claim_case", language, tokens=f"{n:,}"): {
            m.name: cache_bytes(m, n) / plain_bytes(m) for m in text_models()
        }
        for n in LENGTHS
    }
    words = ("title", "description", "axis", "band", "inside")
    labels = {word: t(f"kv.claim_{word}", language) for word in words}
    low, high = float(row["low"]), float(row["high"])
    return charts_claims.ranges(cases, low=low, high=high, labels=labels, part="kv_cache")


def verdict(language: str = "en") -> str:
    """What the catalogue says of the claim, with its sign.

    Examples
    --------
    >>> verdict()
    '✗ misconception'
    """
    row = next(r for r in catalog.table("table") if r["id"] == "kv_ratio")
    found = check(row).verdict
    return signed(found, language)


def both_directions(language: str = "en") -> tables.Table:
    """The models at both ends of the catalogue, of those that were made for so many tokens.

    Parameters
    ----------
    language : en or vi [-]

    Returns
    -------
    The smallest and the largest ratio of cache to 16-bit weights at 4,096 and at 131,072 tokens [-]
    """
    rows = []
    for tokens in (4096, 131_072):
        able = [m for m in text_models() if m.max_position_embeddings >= tokens]
        ratio = {m.name: cache_bytes(m, tokens) / plain_bytes(m) for m in able}
        for name in (min(ratio, key=ratio.__getitem__), max(ratio, key=ratio.__getitem__)):
            rows.append(
                (
                    short(name),
                    f"{tokens:,}",
                    show(cache_bytes(catalog.model(name), tokens)),
                    f"{np.format_float_positional(ratio[name], precision=2, fractional=False)}×",
                )
            )
    columns = [t(f"kv.column_{c}", language) for c in ("model", "tokens", "cache", "ratio")]
    return tables.table(columns, rows)


def replication(
    language: str = "en", models: tuple[str, ...] = ("Llama-3.1-8B", "DeepSeek-V3")
) -> tables.Table:
    """One token on one of tp cards, and on all of them: heads are shared out until each card has one.

    Parameters
    ----------
    language : en or vi [-]
    models : names of the catalogue [-]

    Returns
    -------
    A row for each number of cards [-]
    """
    columns = ["--tensor-parallel-size"]
    for name in models:
        columns += [t("kv.column_card", language, model=name), t("kv.column_cards", language)]
    rows = []
    for tp in (1, 2, 4, 8, 16):
        each = [kv_cache.bytes_per_token(catalog.model(name), tp=tp) for name in models]
        rows.append((str(tp), *(text for size in each for text in (show(size), show(tp * size)))))
    return tables.table(columns, rows)


def engines(
    model: str, language: str = "en", *, tokens: int = 1000, limit: int = 8192, gpu: str = "L4"
) -> tables.Table:
    """One request in four engines: the same keys and values, and what each engine has allocated for them.

    Parameters
    ----------
    model : a name of the catalogue [-]
    language : en or vi [-]
    tokens : that the request holds [token]
    limit : max_model_len [token]
    gpu : the card [-]

    Returns
    -------
    A row for each engine [-]
    """
    rows = []
    for engine in ("vllm", "sglang", "transformers", "llama.cpp"):
        e = estimate(
            model=model, gpu=gpu, engine=engine, max_model_len=limit, prompt_tokens=tokens, new_tokens=0
        )
        held, b = e.part("kv_cache").bytes, e.budget
        taken = held if b is None else b.kv_buffer_bytes or b.kv_pool_bytes
        rows.append((engine, show(held), show(taken), t(f"kv.engine_{engine.replace('.', '')}", language)))
    columns = [t(f"kv.column_{c}", language) for c in ("engine", "held", "taken", "how")]
    return tables.table(columns, rows)


def printed(language: str = "en") -> tables.Table:
    """Bytes of one token from what public start-up logs print, beside the formula's."""
    found = {r.run_id: r for r in runs.read("vllm")}
    rows = []
    for run in (found[run_id] for run_id in PRINTED):
        s = run.scenario
        ours = kv_cache.bytes_per_token(s.model, tp=s.tensor_parallel_size, kv_cache_dtype=s.kv_cache_dtype)
        theirs = run.measured["kv_pool"] / run.measured["kv_tokens"]
        rows.append(
            (
                short(s.model.name),
                f"{s.tensor_parallel_size} × {s.gpu.name}, {s.kv_cache_dtype}",
                f"{run.measured['kv_pool'] / GiB:.2f} GiB / {run.measured['kv_tokens']:,.0f}",
                f"{theirs:,.0f}",
                f"{ours:,}",
                f"{theirs / ours:.4f}×",
            )
        )
    columns = [t(f"kv.column_{c}", language) for c in ("model", "setting", "pool", "theirs", "ours", "gap")]
    return tables.table(columns, rows)


def padded_layers(model: str) -> tuple[int, int]:
    """Layers that keep a cache, and layers that vLLM's equal groups have room for.

    Parameters
    ----------
    model : a name of the catalogue [-]

    Returns
    -------
    Layers of the model, layers of all groups together [-]

    Examples
    --------
    >>> padded_layers("gemma-3-27b-it")
    (62, 70)
    """
    pool = kv_pool.of(estimate(model=model).scenario)
    if pool is None:
        return 0, 0
    return catalog.model(model).num_hidden_layers, sum(g.layers * g.count for g in pool.groups)


def tweak() -> int:
    """Answer of the first exercise: one token of Qwen3-8B [byte]."""
    return kv_cache.bytes_per_token(catalog.model("Qwen3-8B"))


def twiddle() -> float:
    """Answer of the second: Llama-3.1-70B in fp8 on 4 cards, 16 sequences of 32,768 tokens, on each card [GiB]."""
    return 16 * one_sequence("Llama-3.1-70B", 32_768, kv_cache_dtype="fp8", tp=4) / GiB


def frob() -> dict[tuple[int, ...], int]:
    """Answers of the third, by tokens: the cache of one sequence of Gemma-3-12B [byte]."""
    return {(n,): one_sequence("gemma-3-12b-it", n) for n in (512, 1024, 4096, 131_072)}


def slips(language: str = "en") -> Mapping[float, str]:
    """What the ratio of a wrong answer means in this notebook."""
    return {
        4: t("kv.slip_query_heads", language),
        36: t("kv.slip_layers", language),
        1 / 36: t("kv.slip_one_layer", language),
    }
