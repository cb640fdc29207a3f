"""The ledger as a table: errors by measure, version, card and architecture, what is inside our intervals, the misses.

``make accuracy`` prints it; ``python -m vramlib.accuracy --write`` also stores the counts that estimates warn by and
the snapshot that a test compares.
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from vramlib import accuracy, kinds
from vramlib._paths import data_dir
from vramlib.accuracy import Comparison
from vramlib.units import GiB

SNAPSHOT = Path(__file__).parent.parent / "tests" / "data" / "accuracy_snapshot.json"
IN_BYTES = ("non_torch", "cuda_graph")
"""Small figures whose relative error says little: their errors are in GiB."""
RIVALS = (
    ("llm-d-planner", "weights 0.89 %, KV 6.62 %, activation 195 %, concurrency 15.34 %"),
    ("AIConfigurator", "largest batch ±2 % on TensorRT-LLM"),
)
TITLES = {
    "weights": "weights", "activation_peak": "activation peak", "non_torch": "non-torch [GiB]",
    "cuda_graph": "CUDA graphs [GiB]", "kv_pool": "KV pool", "kv_tokens": "KV tokens", "concurrency": "concurrency",
    "pool_arithmetic": "tokens of the printed pool", "model_buffer": "model buffer", "kv_buffer": "KV buffer",
    "kv_rows": "KV rows of hybrids", "compute_buffer": "compute buffer",
}  # fmt: skip

Line = dict[str, Any]


def error(c: Comparison) -> float:
    """Absolute error as the table shows it: a share, or GiB for small figures."""
    if c.measure in IN_BYTES:
        return abs(c.predicted - c.measured) / GiB
    return abs(c.error)


def line(found: Iterable[Comparison]) -> Line:
    """Count, mean, median and worst absolute error; the mean with constants that the source did not teach."""
    rows = list(found)
    errors = [error(c) for c in rows]
    other = [
        abs(c.other_source - c.measured) / (GiB if c.measure in IN_BYTES else c.measured)
        for c in rows
        if c.other_source is not None
    ]
    return {
        "n": len(rows),
        "mean": round(statistics.fmean(errors), 5),
        "median": round(statistics.median(errors), 5),
        "worst": round(max(errors), 5),
        "other source": round(statistics.fmean(other), 5) if other else None,
    }


def _split(rows: Iterable[Comparison], label: Callable[[Comparison], str]) -> dict[str, list[Comparison]]:
    found: dict[str, list[Comparison]] = {}
    for c in rows:
        found.setdefault(label(c), []).append(c)
    return dict(sorted(found.items()))


def _tag(name: str, c: Comparison) -> str:
    return c.tags[name]


def lines(engine: str, use: str = "scored", teaches: bool | None = None) -> dict[str, Line]:
    """Every line of one engine's table, by its label.

    Parameters
    ----------
    engine : vllm, sglang or llamacpp [-]
    use : scored, or printed_in_notes for the rows that are shown apart [-]
    teaches : only rows that may teach a constant, or only those held out; both when not given [-]

    Returns
    -------
    Label → count and errors [-]

    Examples
    --------
    >>> lines("llamacpp")["llamacpp · KV buffer"]["n"] > 20
    True
    """
    rows = [c for c in accuracy.ledger(engine) if c.use == use and teaches in (None, c.run.teaches)]
    found: dict[str, Line] = {}
    for measure in accuracy.MEASURES[engine]:
        own = [c for c in rows if c.measure == measure]
        if own:
            found[f"{engine} · {TITLES[measure]}"] = line(own)
        if engine == "vllm" and own:
            found |= _by_tags(TITLES[measure], own, measure)
    return found


def _by_tags(title: str, own: list[Comparison], measure: str) -> dict[str, Line]:
    found = {
        f"vllm · {title} · {cards}": line(some)
        for cards, some in _split(own, lambda c: f"{c.tags['cards']}, {c.tags['group']}").items()
    }
    if measure in ("weights", "activation_peak", "kv_pool"):
        for tag in ("version", "card", "architecture"):
            groups = _split(own, partial(_tag, tag))
            found |= {f"vllm · {title} · {tag} {name}": line(some) for name, some in groups.items()}
    return found


def exact_share(engine: str, measure: str) -> tuple[int, int]:
    """Scored figures that agree to the printed digits, and all of them."""
    rows = [c for c in accuracy.ledger(engine) if c.measure == measure and c.use == "scored"]
    return sum(abs(c.predicted - c.measured) <= 1.01 * c.half for c in rows), len(rows)


def held_out() -> dict[str, Line]:
    """Lines of the rows that were entered after the constants were chosen and never teach one.

    Examples
    --------
    >>> held_out()["vllm, held out · KV pool · one card, text"]["n"] > 10
    True
    """
    return {
        label.replace(" ·", ", held out ·", 1): found
        for engine in accuracy.MEASURES
        for label, found in lines(engine, teaches=False).items()
    }


def coverage(teaches: bool | None = None) -> dict[str, tuple[int, int]]:
    """Measured figures inside our interval, and all of them, by measure; ``teaches`` as for ``lines``."""
    found: dict[str, tuple[int, int]] = {}
    for engine in accuracy.MEASURES:
        scored = [c for c in accuracy.ledger(engine) if c.use == "scored" and c.measure in TITLES]
        rows = [c for c in scored if teaches in (None, c.run.teaches)]
        for measure, some in _split(rows, lambda c: c.measure).items():
            if measure != "pool_arithmetic" and engine != "sglang":
                found[f"{engine} · {TITLES[measure]}"] = (sum(c.inside for c in some), len(some))
    return found


def worst(count: int = 10) -> list[Comparison]:
    """The worst relative misses of scored rows, one a run."""
    rows = [
        c
        for engine in accuracy.MEASURES
        for c in accuracy.ledger(engine)
        if c.use == "scored" and c.measure in TITLES and c.measure not in IN_BYTES
    ]
    taken: dict[str, Comparison] = {}
    for c in sorted(rows, key=error, reverse=True):
        taken.setdefault(c.run.run_id, c)
    return list(taken.values())[:count]


def causes() -> dict[str, str]:
    """Why a run is missed, by run: data/runs/causes.csv."""
    with (data_dir() / "runs" / "causes.csv").open(encoding="utf-8", newline="") as stream:
        return {row["run_id"]: row["cause"] for row in csv.DictReader(stream)}


def run_counts() -> dict[str, int]:
    """Runs of each kind with at least one size compared, under constants that their own family did not teach."""
    runs_seen = {
        c.run.run_id: kinds.of(c.run.scenario)
        for engine in accuracy.MEASURES
        for c in accuracy.ledger(engine)
        if c.measure
        in ("activation_peak", "kv_pool", "num_blocks", "kv_tokens", "kv_buffer", "compute_buffer")
    }
    return dict(sorted(Counter(runs_seen.values()).items()))


def snapshot() -> dict[str, Line]:
    """All lines of all engines, rows that teach and rows held out apart: what a change must not make worse."""
    teaching = (lines(engine, teaches=True) for engine in accuracy.MEASURES)
    return {label: found for some in (*teaching, held_out()) for label, found in some.items()}


def _show(label: str, x: Line) -> str:
    small = "[GiB]" in label
    text = (lambda v: f"{v:8.2f}  ") if small else (lambda v: f"{100 * v:8.2f} %")
    other = "        –" if x["other source"] is None else text(x["other source"])
    flag = "" if x["n"] >= kinds.ENOUGH_RUNS else "  not validated"
    return f"{label:66} {x['n']:4d} {text(x['mean'])} {text(x['median'])} {text(x['worst'])} {other}{flag}"


def _problems() -> list[str]:
    """Rows that could not be compared, where there are any."""
    found = [
        f"  {run}: {why}" for engine in accuracy.MEASURES for run, why in accuracy.problems(engine).items()
    ]
    return ["", "Rows that cannot be read, not counted", *found] if found else []


def table() -> str:
    """The whole report as text."""
    head = f"{'':66} {'n':>4} {'mean':>10} {'median':>10} {'worst':>10} {'other src':>9}"
    out = ["Scored rows: constants fitted without the row's own model family", head]
    out += [_show(*x) for engine in accuracy.MEASURES for x in lines(engine).items()]
    out += ["", "Of these, held out: rows entered after the constants were chosen, which never teach one"]
    groups = (" · version ", " · card ", " · architecture ")
    out += [_show(*x) for x in held_out().items() if not any(name in x[0] for name in groups)]
    out += [
        "",
        "Shown apart: figures that stand in the note the constants came from, or that taught a rule",
    ]
    out += [
        _show(*x)
        for engine in accuracy.MEASURES
        for x in lines(engine, "printed_in_notes").items()
        if x[0].count("·") == 1
    ]
    good, n = exact_share("llamacpp", "kv_buffer")
    out += ["", f"llama.cpp KV buffer exact to the printed digits: {good} of {n}"]
    out += ["", "Inside our interval"]
    out += [f"  {label:64} {a:3d} of {b:3d}" for label, (a, b) in coverage().items()]
    out += ["", "Inside our interval, held out rows alone"]
    out += [f"  {label:64} {a:3d} of {b:3d}" for label, (a, b) in coverage(teaches=False).items()]
    out += _problems()
    out += ["", "Published by others"]
    out += [f"  {name}: {figures}" for name, figures in RIVALS]
    out += ["", "Ten worst misses"]
    why = causes()
    out += [
        f"  {c.run.run_id}: {TITLES[c.measure]} {100 * c.error:+.1f} %; {why.get(c.run.run_id, 'no cause named')}"
        for c in worst()
    ]
    return "\n".join(out)


def main(arguments: list[str] | None = None) -> None:
    """Print the table; with ``--write`` store the counts and the snapshot too."""
    if "--write" in (sys.argv[1:] if arguments is None else arguments):
        counts = {
            "note": "runs compared, by kind; written by python -m vramlib.accuracy --write",
            "runs": run_counts(),
        }
        _store(data_dir() / "accuracy.json", counts)
        _store(SNAPSHOT, snapshot())
    print(table())


def _store(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
