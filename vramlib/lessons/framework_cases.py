"""Notebook 05, second half: the claims, the flag that does not exist, printed graph sizes, and three exercises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from vramlib import catalog, charts_claims, commands, fields, resolve, runs, tables
from vramlib.claims import signed
from vramlib.claims.cases import short, text_models
from vramlib.claims.checks import check
from vramlib.components import framework_buffers as buffers
from vramlib.lessons.framework_buffers import V2, addend
from vramlib.messages import t
from vramlib.specs import Scenario
from vramlib.units import GB, GiB

SETTINGS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("L4", {}),
    ("H100-80GB", {}),
    ("H100-80GB", {"engine_version": V2}),
    ("L4", {"enforce_eager": True}),
)
PRINTED = (
    "llmd_codellama-codellama-7b-h-tp1pp1dp1-8192",
    "llmd_qwen-qwen2-5-7b-instruct-tp1pp1dp1-8192",
    "llmd_google-gemma-2-27b-it-tp1pp1dp1-8192",
    "llmd_qwen-qwen2-5-72b-instruc-tp2pp1dp1-8192",
    "llmd_google-gemma-3-12b-it-tp1pp1dp1-8192",
    "llmd_deepseek-ai-deepseek-v2-tp1pp1dp1-8192",
    "rfile_llama31_8b_l4",
    "llmdemp_qwen3_06b",
)


def claim_chart(language: str = "en") -> alt.LayerChart:
    """The part for every text model of the catalogue in four settings, over the claim's band."""
    row = next(r for r in catalog.table("table") if r["id"] == "framework_buffers_size")
    cases = {_setting(gpu, given): _sizes(gpu, given) for gpu, given in SETTINGS}
    words = ("title", "description", "axis", "band", "inside")
    labels = {word: t(f"fb.claim_{word}", language) for word in words}
    low, high = float(row["low"]), float(row["high"])
    return charts_claims.ranges(cases, low=low, high=high, labels=labels, part="framework_buffers")


def _setting(gpu: str, given: Mapping[str, Any]) -> str:
    return f"{gpu}, vLLM {given.get('engine_version', '0.19.0')}" + (
        ", eager" if "enforce_eager" in given else ""
    )


def _sizes(gpu: str, given: Mapping[str, Any]) -> dict[str, float]:
    """The part of every text model at an engine's defaults, 8,192 tokens at most [GB]."""
    found = {}
    for m in text_models():
        s = resolve.scenario(model=m, gpu=gpu, max_model_len=8192, **given)
        found[m.name] = buffers.size_bytes(s) / GB
    return found


def verdicts(language: str = "en") -> tables.Table:
    """What the catalogue says of the row's three claims, each with its sign and its reason."""
    rows = []
    for name in ("framework_buffers_size", "enable_cuda_graphs_flag", "tokenizer_preload"):
        row = next(r for r in catalog.table("table") if r["id"] == name)
        found = check(row)
        rows.append(
            (
                row["seed_words"] if language == "vi" else row["english"],
                signed(found.verdict, language),
            )
        )
    return tables.table([t(f"fb.column_{c}", language) for c in ("claim", "verdict")], rows)


def flags(language: str = "en") -> tables.Table:
    """Which flag turns graphs off in each engine, and whether ``--enable-cuda-graphs`` is among its flags."""
    rows = []
    for engine, known in commands.FLAGS.items():
        off = known.get("enforce_eager", "")
        there = t("fb.yes" if "--enable-cuda-graphs" in known.values() else "fb.no", language)
        rows.append((engine, there, f"`{off}`" if off else "–"))
    columns = [t(f"fb.column_{c}", language) for c in ("engine", "exists", "off")]
    return tables.table(columns, rows)


def instead_of(flag: str) -> str:
    """The flag that exists where one of this name does not.

    Examples
    --------
    >>> instead_of("--enable-cuda-graphs")
    '--enforce-eager'
    """
    asked = flag.removeprefix("--").replace("-", "_")
    return "--" + fields.ELSEWHERE[asked].replace("_", "-")


def printed(language: str = "en") -> tables.Table:
    """CUDA graphs as public start-up logs print them, beside the formula's number and its interval."""
    found = {r.run_id: r for r in runs.read("vllm")}
    rows = []
    for run in (found[name] for name in PRINTED):
        s = run.scenario
        sizes = [buffers.cuda_graph_bytes(s, 0, end) / GiB for end in ("value", "low", "high")]
        theirs = run.measured["cuda_graph"] / GiB
        rows.append(
            (
                short(s.model.name),
                f"{s.tensor_parallel_size} × {s.gpu.name}, {s.engine_version}",
                f"{buffers.num_graphs(s)} × {s.model.num_hidden_layers}",
                f"{theirs:.2f}",
                f"{sizes[0]:.2f}",
                f"{sizes[1]:.2f}–{sizes[2]:.2f}",
                f"{theirs / sizes[0]:.2f}×",
            )
        )
    names = ("model", "setting", "graphs_layers", "theirs", "ours", "interval", "gap")
    return tables.table([t(f"fb.column_{c}", language) for c in names], rows)


def tweak() -> int:
    """Answer of the first exercise: tensors for the slots of Qwen3-8B on an L4, 256 slots and 2,048 tokens [byte]."""
    return buffers.persistent_bytes(catalog.model("Qwen3-8B").vocab_size, 256, 2048)


def _served(slots: int) -> Scenario:
    return resolve.scenario(
        model="Llama-3.1-70B", gpu="H100-80GB", engine_version="0.19.0", max_num_seqs=slots
    )


def twiddle() -> float:
    """Answer of the second: graphs of Llama-3.1-70B at 64 request slots [GiB]."""
    return addend(_served(64), "graphs") / GiB


def frob() -> dict[tuple[int, ...], int]:
    """Answers of the third, by request slots: how many graphs are captured."""
    return {(slots,): int(buffers.num_graphs(_served(slots))) for slots in (1, 8, 64, 256, 1024)}


def slips(language: str = "en") -> Mapping[float, str]:
    """What the ratio of a wrong answer means in this notebook."""
    penalties = 4 * 256 * catalog.model("Qwen3-8B").vocab_size / tweak()
    return {penalties: t("fb.slip_penalties", language), 4: t("fb.slip_four", language)}


def graph_slips(language: str = "en") -> Mapping[float, str]:
    """The same for the graphs: one of the two sets, or no pool."""
    s = _served(64)
    pool, graphs = buffers.graph_pool_bytes(s) / GiB, buffers.graph_driver_bytes(s) / GiB
    return {
        (pool + graphs * 19 / 30) / twiddle(): t("fb.slip_full", language),
        (twiddle() - pool) / twiddle(): t("fb.slip_pool", language),
    }
