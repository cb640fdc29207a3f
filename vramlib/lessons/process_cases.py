"""Notebook 08, second half: servers started in order, communication by version, the claim, logs, three exercises."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import altair as alt

from vramlib import budget, catalog, charts_claims, resolve, runs, tables
from vramlib.claims import Verdict, signed
from vramlib.claims.checks import check
from vramlib.components import cuda_context, kv_cache, model_weights, multi_process
from vramlib.lessons.kv_cache import short
from vramlib.messages import t
from vramlib.plan import in_order
from vramlib.specs import Scenario
from vramlib.units import GiB, show

SERVED = "Llama-3.2-1B"
# Pairs of servers on one card, in the order they start: engine, and the share of the card that it is told to take.
PAIRS: tuple[tuple[tuple[str, float], tuple[str, float]], ...] = (
    (("vllm", 0.9), ("vllm", 0.9)),
    (("vllm", 0.5), ("vllm", 0.5)),
    (("vllm", 0.45), ("vllm", 0.45)),
    (("vllm", 0.5), ("sglang", 0.8)),
    (("sglang", 0.8), ("vllm", 0.5)),
    (("transformers", 1.0), ("vllm", 0.9)),
)
VERSIONS = ("0.8.5", "0.11.0", "0.19.0")
PRINTED = (
    "llmd_qwen-qwen2-5-7b-instruct-tp1pp1dp1-8192",
    "llmd_qwen-qwen2-5-7b-instruct-tp2pp1dp1-8192",
    "llmd_qwen-qwen2-5-7b-instruct-tp4pp1dp1-8192",
    "llmd_qwen-qwen2-5-72b-instruc-tp2pp1dp1-8192",
    "llmd_meta-llama-llama-4-scout-tp4pp1dp1-8192",
    "i13061_r1d_qwen14b_2x4090",
    "rlog04_qwen2_5_14b_instruct",
    "pr14447_dsv3_awq",
)


def server(engine: str, share: float, gpu: str, model: str = SERVED) -> Scenario:
    """A small chat server that is told to take a share of the card."""
    told = {"gpu_memory_utilization": share} if engine in ("vllm", "sglang") else {}
    return resolve.scenario(model=model, gpu=gpu, engine=engine, max_model_len=8192, **told)


def started(gpu: str = "L4", language: str = "en") -> tables.Table:
    """Two servers on one card, one after the other: what each asks for, what it finds, whether it starts.

    Parameters
    ----------
    gpu : the card [-]
    language : en or vi [-]

    Returns
    -------
    A row for each pair [-]
    """
    rows = []
    for pair in PAIRS:
        _, second = found = in_order([server(engine, share, gpu) for engine, share in pair])
        rows.append(
            (
                *(name if name == "transformers" else f"{name} {share:g}" for name, share in pair),
                show(found[0].holds_bytes),
                show(second.free_bytes),
                show(second.requested_bytes),
                t("proc.starts_yes" if second.fits else "proc.starts_no", language),
            )
        )
    columns = ("first", "second", "holds", "free", "asks", "starts")
    return tables.table([t(f"proc.column_{c}", language) for c in columns], rows)


def disturbed(gpu: str = "L4") -> tuple[int, int]:
    """The first server's pool when it starts alone, and when the second loads its weights while the first profiles.

    Formula: pool = requested − (free before − free after) − peak: what others take in between counts as its own

    Parameters
    ----------
    gpu : the card [-]

    Returns
    -------
    Both pools [byte]

    Source
    ------
    vLLM 0.33, vllm/utils/mem_utils.py memory_profiling; vllm/v1/worker/gpu_worker.py determine_available_memory.
    """
    s = server("vllm", 0.45, gpu)
    plan = budget.of(s)
    alone = int(plan.kv_pool_bytes) if plan else 0
    return alone, alone - model_weights.size_bytes(s)


def communication(language: str = "en") -> tables.Table:
    """What one rank needs to talk, by version of vLLM and by how its cards are joined.

    Parameters
    ----------
    language : en or vi [-]

    Returns
    -------
    A row for each version and set of cards [-]
    """
    rows = []
    for version in VERSIONS:
        for gpu, cards in (("L4", 2), ("H100-80GB", 2), ("H100-80GB", 8)):
            s = resolve.scenario(
                model="Llama-3.1-8B", gpu=gpu, engine_version=version, tensor_parallel_size=cards
            )
            before, growth = (term.bytes for term in multi_process.communication_terms(s))
            rows.append(
                (f"vLLM {version}", f"{cards} × {gpu}", show(before), show(growth), show(before + growth))
            )
    columns = ("engine", "cards", "before", "growth", "sum")
    return tables.table([t(f"proc.column_{c}", language) for c in columns], rows)


@functools.cache
def _verdict() -> Verdict:
    return check(next(r for r in catalog.table("table") if r["id"] == "multi_process_size"))


def claim_chart(language: str = "en") -> alt.LayerChart:
    """Three things that are all called overhead, over the claim's band: a context, a rank, a whole further server."""
    found = _verdict()
    names = [t(f"proc.claim_{case}", language) for case in ("context", "rank", "server")]
    cases = {name: dict(s.values) for name, s in zip(names, found.spreads, strict=True)}
    words = ("title", "description", "axis", "band", "inside")
    labels = {word: t(f"proc.claim_{word}", language) for word in words}
    s = found.spreads[0]
    return charts_claims.ranges(cases, low=s.low, high=s.high, labels=labels, part="multi_process")


def verdict(language: str = "en") -> str:
    """What the numbers say of the claim, with its sign.

    Examples
    --------
    >>> verdict()
    '≈ holds when'
    """
    found = _verdict().verdict
    return signed(found, language)


def printed(language: str = "en") -> tables.Table:
    """Memory outside PyTorch that start-up logs print, by the number of ranks, beside ours."""
    found = {r.run_id: r for r in runs.read("vllm")}
    rows = []
    for run in (found[run_id] for run_id in PRINTED):
        s, theirs = run.scenario, run.measured["non_torch"]
        ours = budget.non_torch_bytes(s)
        rows.append(
            (
                short(s.model.name),
                f"{s.world_size} × {s.gpu.name}",
                s.engine_version,
                f"{theirs / GiB:.2f}",
                f"{ours / GiB:.2f}",
                f"{(theirs - ours) / GiB:+.2f}".replace("-", "−"),
            )
        )
    columns = ("model", "cards", "version", "theirs", "ours", "gap")
    return tables.table([t(f"proc.column_{c}", language) for c in columns], rows)


def tweak() -> float:
    """Answer of the first exercise: six further workers on an H100, 3 GiB each beside their context [GiB]."""
    own = 3 * GiB + cuda_context.base_bytes(catalog.gpu("H100-80GB"))[0]
    return multi_process.further_processes_bytes(7, own) / GiB


def twiddle() -> int:
    """Answer of the second: one token of Qwen2.5-72B on one of 16 cards, eight by heads and two by layers [byte]."""
    s = resolve.scenario(
        model="Qwen2.5-72B", tensor_parallel_size=8, pipeline_parallel_size=2, prompt_tokens=1, new_tokens=0
    )
    return int(kv_cache.size_bytes(s))


def frob(gpu: str = "L4") -> dict[tuple[Any, ...], int]:
    """Answers of the third, by the share of the first server: what the second finds free [byte]."""
    memory, context = catalog.gpu(gpu).memory_bytes, cuda_context.base_bytes(catalog.gpu(gpu))[0]
    found = {}
    for share in (0.25, 0.5, 0.75):
        first = server("vllm", share, gpu)
        left = budget.free_at_start_bytes(first) - context - budget.requested_bytes(first)
        found[memory, context, share] = left
    return found


def slips(language: str = "en") -> Mapping[float, str]:
    """What the ratio of a wrong answer means in this notebook."""
    without = 6 * 3 / tweak()
    return {7 / 6: t("proc.slip_all", language), without: t("proc.slip_context", language)}


def token_slips(language: str = "en") -> Mapping[float, str]:
    """The same for the second exercise."""
    return {
        2: t("proc.slip_stages", language),
        8: t("proc.slip_heads", language),
        16: t("proc.slip_both", language),
    }
