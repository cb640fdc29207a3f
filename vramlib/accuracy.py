"""The accuracy ledger: our numbers against what engines printed at start-up. Run it: ``python -m vramlib.accuracy``.

A figure is scored with constants refitted without the run's own model family, and again without its own source;
``ledger`` compares, ``accuracy_report`` prints.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vramlib import bounds, budget, kinds, refit, runs
from vramlib.components import compute_buffer, framework_buffers, kv_cache, kv_cells, kv_pool
from vramlib.runs import Run
from vramlib.specs import Budget, Scenario
from vramlib.units import maximum

MEASURES = {
    "vllm": (
        "weights",
        "activation_peak",
        "non_torch",
        "cuda_graph",
        "kv_pool",
        "kv_tokens",
        "concurrency",
        "pool_arithmetic",
    ),
    "sglang": ("weights", "kv_pool", "kv_tokens", "pool_arithmetic"),
    "llamacpp": ("model_buffer", "kv_buffer", "kv_rows", "compute_buffer"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """One printed figure beside ours.

    Parameters
    ----------
    run, measure : whose figure, and which [-]
    measured, predicted, low, high : as printed, and ours with its interval [byte] or [-]
    other_source : ours with constants fitted without this source; None where no other source teaches them [byte]
    half : half a unit of the last printed digit [byte]
    """

    run: Run
    measure: str
    measured: float
    predicted: float
    low: float
    high: float
    half: float
    other_source: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def use(self) -> str:
        """Where it counts: as its run, but a figure that taught a rule is shown apart."""
        return "printed_in_notes" if self.measure in self.run.taught else self.run.use

    @property
    def error(self) -> float:
        """Relative error; nothing beyond the rounding of the printed figure counts as zero [-]."""
        return self.predicted / self.measured - 1

    @property
    def inside(self) -> bool:
        """Whether the printed figure, read with its rounding, lies in our interval."""
        return self.low - self.half <= self.measured <= self.high + self.half


def predict(s: Scenario) -> dict[str, tuple[float, float, float]]:
    """Ours for each measure, with its interval."""
    b = budget.of(s)
    if b is None:
        return {}
    if s.engine == "llama.cpp":
        return _buffers(s)
    found = {"num_blocks": b.num_blocks, "kv_tokens": b.kv_pool_tokens, "concurrency": b.max_concurrency}
    last = s.pipeline_parallel_size - 1
    exact = {
        "weights": b.weights_bytes,
        "activation_peak": b.activation_peak_bytes,
        "non_torch": b.non_torch_bytes,
        "cuda_graph": framework_buffers.cuda_graph_bytes(s, last),
        "kv_pool": b.kv_pool_bytes,
    }
    limits = bounds.of(s, b, last) if s.engine == "vllm" else {}
    answer = {k: (v, *limits.get(k, (v, v))) for k, v in exact.items() if v is not None}
    pool, low, high = answer.get("kv_pool", (0, 0, 0))
    for name, value in found.items():
        if value is not None and pool > 0:
            answer[name] = (value, value * maximum(low, 0) / pool, value * high / pool)
    return answer


def _buffers(s: Scenario) -> dict[str, tuple[float, float, float]]:
    """llama.cpp's three buffers, and its rows of attention without recurrent states."""
    b = budget.of(s) or Budget()
    [term] = compute_buffer.scenario_terms(s)
    states = (
        sum(kv_cells.bytes_per_state(c) * n for c, n in kv_cache.stage_caches(s) if c.is_state) * s.n_seq_max
    )
    scale = b.compute_buffer_bytes / max(1, term.bytes)
    return {
        "model_buffer": (b.model_buffer_bytes, 0.99 * b.model_buffer_bytes, 1.01 * b.model_buffer_bytes),
        "kv_buffer": (b.kv_buffer_bytes,) * 3,
        "kv_rows": (b.kv_buffer_bytes - states,) * 3,
        "compute_buffer": (b.compute_buffer_bytes, term.low * scale, term.high * scale),
    }


def pool_arithmetic(run: Run) -> tuple[float, float] | None:
    """Tokens as printed, and ours for the printed pool: the arithmetic of pages and groups alone.

    SGLang prints the sizes of keys and of values beside the tokens.
    """
    tokens = run.printed.get("kv_tokens")
    if not tokens or "pool_arithmetic" in run.left_out:
        return None
    if run.scenario.engine == "sglang":
        printed = run.printed.get("k", 0.0) + run.printed.get("v", 0.0)
        row = (budget.of(run.scenario) or Budget()).kv_bytes_per_token
        return (tokens, printed / row) if printed and row else None
    pool = run.printed.get("kv_pool")
    if not pool or kv_pool.of(run.scenario) is None:
        return None
    return tokens, budget.with_pool(run.scenario, 0, Budget(kv_pool_bytes=int(pool))).kv_pool_tokens


@functools.cache
def problems(name: str) -> dict[str, str]:
    """Rows of one table that cannot be compared, with the reason in one line: one bad row never takes the others.

    Parameters
    ----------
    name : vllm, sglang or llamacpp [-]

    Returns
    -------
    Run → what is wrong with its row [-]

    Examples
    --------
    >>> problems("sglang")
    {}
    """
    return {run.run_id: found for run in runs.read(name) if (found := _problem(run))}


def _problem(run: Run) -> str:
    if run.problem or run.use == "unscored":
        return run.problem
    try:
        refit.constants([run])
        predict(run.scenario)
    except (ValueError, KeyError, ArithmeticError) as error:
        return str(error.args[0]) if error.args else type(error).__name__
    return ""


@functools.cache
def ledger(name: str) -> tuple[Comparison, ...]:
    """Every comparable figure of one table of runs, each with constants that its own family did not teach.

    Parameters
    ----------
    name : vllm, sglang or llamacpp [-]

    Returns
    -------
    One comparison a printed figure, in the file's order [-]
    """
    known = [r for r in runs.read(name) if r.use != "unscored" and r.run_id not in problems(name)]
    families, sources = (_folds(known, by) for by in (lambda r: r.family, lambda r: r.publisher))
    return tuple(c for run in known for c in _compare(run, families[run.family], sources[run.publisher]))


def _folds(known: Iterable[Run], by: Callable[[Run], str]) -> dict[str, Mapping[Any, Any]]:
    """For each group, the constants that all other groups teach."""
    known = tuple(known)
    return {group: refit.constants(r for r in known if by(r) != group) for group in {by(r) for r in known}}


def _compare(
    run: Run, without_family: Mapping[Any, Any], without_source: Mapping[Any, Any]
) -> Iterable[Comparison]:
    own = predict(refit.with_constants(run.scenario, without_family))
    other = predict(refit.with_constants(run.scenario, without_source))
    tags = kinds.tags(run.scenario)
    if (pair := pool_arithmetic(run)) is not None:
        half = _half(run) * pair[0]
        yield _one(run, "pool_arithmetic", pair[0], (pair[1],) * 3, None, half, tags)
    for measure, (value, low, high) in own.items():
        printed = run.measured.get(measure)
        if printed:
            half = run.resolution[measure]
            yield _one(run, measure, printed, (value, low, high), other[measure][0], half, tags)


def _half(run: Run) -> float:
    """Half a unit of the printed pool's last digit, as a share of it."""
    name = "k" if run.scenario.engine == "sglang" else "kv_pool"
    return run.resolution[name] / run.printed[name]


def _one(
    run: Run,
    measure: str,
    printed: float,
    ours: tuple[float, float, float],
    other: float | None,
    half: float,
    tags: Mapping[str, str],
) -> Comparison:
    value, low, high = ours
    return Comparison(
        run=run,
        measure=measure,
        measured=printed,
        predicted=value,
        low=min(low, value),
        high=max(high, value),
        other_source=other,
        half=half,
        tags=tags,
    )


if __name__ == "__main__":
    from vramlib import accuracy_report

    accuracy_report.main()
