"""Predicted against measured: the figures, tables and the paste box of notebook 12."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import altair as alt

from vramlib import accuracy, accuracy_report, engines, tables
from vramlib.charts_growth import chooser
from vramlib.messages import retold, t
from vramlib.specs import PART_COLORS
from vramlib.units import GiB
from vramlib.vega import page_wide

TABLES = ("vllm", "llamacpp", "sglang")
FILTERS = ("engine", "version", "card")
SIZES = {
    "weights": "model_weights", "activation_peak": "activations", "kv_pool": "kv_cache",
    "cuda_graph": "framework_buffers", "non_torch": "cuda_context", "model_buffer": "model_weights",
    "kv_buffer": "kv_cache", "compute_buffer": "activations",
}  # fmt: skip
PRINTED_BY_RIVALS = {"weights": 0.0089, "kv_pool": 0.0662, "activation_peak": 1.95, "concurrency": 0.1534}
"""llm-d-planner's published mean absolute errors."""
SEED = {"kv_pool": (0.2, 0.6), "activation_peak": (0.2, 0.4)}
"""Bounds of the seed table, relative to the model's size at two bytes a parameter."""


@functools.cache
def comparisons() -> tuple[accuracy.Comparison, ...]:
    """Every comparable figure of every table of runs, with constants that its own model family did not teach."""
    return tuple(c for name in TABLES for c in accuracy.ledger(name))


def rows(
    everything: Iterable[accuracy.Comparison] | None = None, language: str = "en"
) -> list[dict[str, Any]]:
    """Sizes in GiB, printed and ours, with what a reader wants to see of the run."""
    return [
        {
            "measure": title(c.measure, language),
            "part": SIZES[c.measure],
            "printed": round(c.measured / GiB, 4),
            "ours": round(c.predicted / GiB, 4),
            "error": f"{c.error:+.2%}",
            "run": c.run.given.get("model", ""),
            "engine": c.run.scenario.engine,
            "version": c.tags.get("version", c.run.scenario.engine_version),
            "card": c.run.scenario.gpu.name,
            "address": c.run.address,
        }
        for c in (everything or comparisons())
        if c.measure in SIZES and c.measured > 0 and c.predicted > 0
    ]


def title(measure: str, language: str = "en") -> str:
    """What a measure is called.

    Examples
    --------
    >>> title("kv_tokens"), title("kv_tokens", "vi")
    ('KV tokens', 'số token KV')
    """
    return retold("scored", accuracy_report.TITLES[measure], language)


def scatter(language: str = "en") -> alt.LayerChart:
    """Ours over printed, a point a figure, with choices of engine, version and card inside the chart."""
    data = rows(language=language)
    low, high = min(r["printed"] for r in data) / 1.5, max(r["printed"] for r in data) * 1.5
    everything = t("ledger.all", language)
    picks = [
        chooser(f"pick_{k}", [everything, *sorted({r[k] for r in data})], t(f"ledger.pick_{k}", language))
        for k in FILTERS
    ]
    wanted = " && ".join(f"(pick_{k} == '{everything}' || datum.{k} == pick_{k})" for k in FILTERS)
    scale = alt.Scale(type="log", domain=[low, high])
    points = (
        alt.Chart(alt.Data(values=data))
        .mark_point(filled=True, size=60, opacity=0.7)
        .encode(
            x=alt.X("printed:Q", scale=scale, title=t("ledger.printed", language)),
            y=alt.Y("ours:Q", scale=scale, title=t("ledger.ours", language)),
            color=alt.Color("part:N", scale=_parts(data), legend=None),
            shape=alt.Shape("measure:N", title=None, legend=alt.Legend(orient="bottom", columns=3)),
            href="address:N",
            tooltip=[
                "run:N",
                "measure:N",
                "printed:Q",
                "ours:Q",
                "error:N",
                "version:N",
                "card:N",
                "address:N",
            ],
        )
        .transform_filter(wanted)
        .add_params(*picks)
    )
    line = alt.Chart(alt.Data(values=[{"x": low}, {"x": high}])).mark_line(strokeDash=[4, 4], color="#888")
    diagonal = line.encode(x=alt.X("x:Q", scale=scale, title=None), y=alt.Y("x:Q", scale=scale, title=None))
    heading = t("ledger.scatter", language)
    return page_wide(alt.layer(diagonal, points), title=heading, description=heading, height=380)


def _parts(data: list[dict[str, Any]]) -> alt.Scale:
    keys = sorted({r["part"] for r in data})
    return alt.Scale(domain=keys, range=[PART_COLORS[k] for k in keys])


def errors(language: str = "en") -> tables.Table:
    """Mean and median absolute error by measure on rows that no constant saw, beside the rival's published mean."""
    found = []
    for name in TABLES:
        scored = [c for c in accuracy.ledger(name) if c.run.use == "scored"]
        for measure in dict.fromkeys(c.measure for c in scored if c.measure in accuracy_report.TITLES):
            own = [c for c in scored if c.measure == measure]
            x = accuracy_report.line(own)
            unit = (
                (lambda v: f"{v:.2f} GiB") if measure in accuracy_report.IN_BYTES else (lambda v: f"{v:.2%}")
            )
            rival = PRINTED_BY_RIVALS.get(measure) if name == "vllm" else None
            cells = (
                engine_name(name),
                title(measure, language),
                x["n"],
                unit(x["mean"]),
                unit(x["median"]),
            )
            found.append((*cells, f"{rival:.2%}" if rival else ""))
    names = ("engine", "measure", "n", "mean", "median", "rival")
    return tables.table([t(f"ledger.column_{n}", language) for n in names], found)


def engine_name(name: str) -> str:
    """Name of a table's engine as people write it.

    Examples
    --------
    >>> engine_name("llamacpp")
    'llama.cpp'
    """
    return engines.ALIASES.get(name, name)


def worst(language: str = "en", count: int = 6) -> tables.Table:
    """The worst misses with their cause."""
    causes = accuracy_report.causes()
    found = [
        (c.run.run_id, title(c.measure, language), f"{c.error:+.1%}", causes.get(c.run.run_id, ""))
        for c in accuracy_report.worst(count)
    ]
    return tables.table(
        [t(f"ledger.column_{n}", language) for n in ("run", "measure", "error", "cause")], found
    )


def seed_ranges(language: str = "en") -> tables.Table:
    """Share of the printed figures inside the seed table's bounds, beside the share within 5 % of ours."""
    found = []
    for measure, (low, high) in SEED.items():
        own = [c for c in comparisons() if c.measure == measure and c.run.scenario.engine == "vllm"]
        ratios = [c.measured / (2 * c.run.scenario.model.params_total) for c in own]
        inside = sum(low <= r <= high for r in ratios) / len(own)
        near = sum(abs(c.error) <= 0.05 for c in own) / len(own)
        bounds, seen = f"{low}–{high} ×", f"{min(ratios):.3g}–{max(ratios):.3g} ×"
        found.append((title(measure, language), len(own), bounds, seen, f"{inside:.0%}", f"{near:.0%}"))
    names = ("measure", "n", "seed", "seen", "inside", "near")
    return tables.table([t(f"ledger.column_{n}", language) for n in names], found)


def rot(language: str = "en") -> tables.Table:
    """Bytes per logit by version: the constant that an old calculator would still be using."""
    versions = ("0.8.5", "0.11.0", "0.16.0", "0.17.0", "0.19.0", "0.33.0")
    found = []
    for version in versions:
        row = engines.engine("vllm", version).constants["sampler_bytes_per_logit"]
        peak = 1024 * 128_256 * row["value"] / GiB
        found.append((version, f"{row['value']:g}", f"{peak:.2f}", row["source"]))
    names = ("version", "per_logit", "peak", "source")
    return tables.table([t(f"ledger.column_{n}", language) for n in names], found)


def paste_box(language: str = "en") -> Any:
    """A box for a start-up log or an error message, and what it means below."""
    import ipywidgets

    from vramlib import logs

    text = ipywidgets.Textarea(placeholder=t("ledger.paste", language), rows=8, layout={"width": "100%"})
    button = ipywidgets.Button(description=t("ledger.explain", language), button_style="primary")
    answer = ipywidgets.HTML()

    def explain(_: Any) -> None:
        try:
            answer.value = logs.explain(text.value)._repr_html_()
        except ValueError as problem:
            answer.value = f"<p>{problem}</p>"

    button.on_click(explain)
    return ipywidgets.VBox([text, button, answer])
