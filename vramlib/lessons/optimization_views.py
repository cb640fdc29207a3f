"""Notebook 10, what it shows: the table, the costs, the chart with the card before and after, the widget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import altair as alt

from vramlib import catalog, charts_growth, charts_sizes, commands, estimate, messages, tables
from vramlib.controls import Control, Figure, Widget, powers
from vramlib.lessons import bars
from vramlib.lessons.optimizations import CHANGES, EMPTY, WORKLOAD, Change, Side, served
from vramlib.messages import t
from vramlib.specs import PART_COLORS, PART_KEYS
from vramlib.units import GiB, show
from vramlib.vega import GREY, page_wide


def taken(model: str, gpu: str) -> Iterator[tuple[Change, Side, Side]]:
    """Every optimization that the model takes, with its two sides."""
    for change in CHANGES:
        try:
            yield change, *change.sides(model, gpu)
        except ValueError:
            continue


def words(key: str, language: str = "en") -> str:
    """An optimization's name in the reader's language."""
    return t(f"opt.name_{key}", language)


def table(model: str, gpu: str, language: str = "en") -> tables.Table:
    """Each optimization: the part it is about, the whole card, and the tokens that the pool holds, before and after.

    Parameters
    ----------
    model : a name of the catalogue [-]
    gpu : the card [-]
    language : en or vi [-]

    Returns
    -------
    A row for each optimization [-]
    """
    rows = []
    for change, one, other in taken(model, gpu):
        moved = other.total - one.total
        rows.append(
            (
                words(change.key, language),
                part_words(change.part, language),
                show(one.sizes.get(change.part, 0)),
                show(other.sizes.get(change.part, 0)),
                ("+" if moved > 0 else "") + show(moved).replace("-", "−"),
                f"{one.tokens:,} → {other.tokens:,}" if one.tokens != other.tokens else f"{one.tokens:,}",
            )
        )
    keys = ("name", "part", "before", "after", "card", "tokens")
    return tables.table([t(f"opt.column_{c}", language) for c in keys], rows)


def part_words(key: str, language: str = "en") -> str:
    """A part's name, or that of a pool's empty room."""
    return t("opt.empty", language) if key == EMPTY else t(f"part.{key}", language)


def costs(language: str = "en") -> tables.Table:
    """What each optimization takes in exchange, and the setting that turns it on or off."""
    rows = [
        (words(c.key, language), t(f"opt.set_{c.key}", language), t(f"opt.cost_{c.key}", language))
        for c in CHANGES
    ]
    return tables.table([t(f"opt.column_{c}", language) for c in ("name", "setting", "cost")], rows)


def chart(model: str, gpu: str, language: str = "en") -> alt.LayerChart:
    """The card before and after, part by part; the optimization is chosen inside the chart.

    Parameters
    ----------
    model : a name of the catalogue [-]
    gpu : the card [-]
    language : en or vi [-]

    Returns
    -------
    A chart that moves without a kernel [-]
    """
    found = list(taken(model, gpu))
    rows = [row for change, *sides in found for row in _rows(change, sides, language)]
    choose = charts_growth.chooser(
        "change", [words(c.key, language) for c, _, _ in found], t("opt.column_name", language)
    )
    base = alt.Chart(alt.Data(values=rows)).transform_filter(f"datum.change == {choose.name}")
    keys = (*PART_KEYS, EMPTY)
    names = [part_words(key, language) for key in keys]
    colors = alt.Scale(domain=names, range=[*PART_COLORS.values(), "#D0D0D0"])
    legend = alt.Legend(title=None, orient="bottom", columns=3, labelLimit=260)
    place = alt.Y("side:N", sort=None, axis=alt.Axis(title=None, ticks=False, domain=False, labelFontSize=13))
    most = max(side.total for _, *sides in found for side in sides)
    memory = catalog.gpu(gpu).memory_bytes
    scale = alt.Scale(domain=[0, 1.12 * max(most, memory) / GiB], nice=False)
    x = alt.X("start:Q", title="GiB", scale=scale)
    tips = [alt.Tooltip(f"{name}:N", title=" ") for name in ("piece", "size")]
    bar = base.mark_bar(stroke="white", strokeWidth=0.7).encode(
        y=place, x=x, x2="end:Q", color=alt.Color("piece:N", scale=colors, legend=legend), tooltip=tips
    )
    said = base.transform_filter("datum.last").mark_text(align="left", dx=5, color=GREY, fontSize=12)
    line = alt.Chart(alt.Data(values=[{"x": memory / GiB}])).mark_rule(
        color=GREY, strokeDash=[5, 4], strokeWidth=2
    )
    layers = (bar, said.encode(y=place, x="end:Q", text="total:N"), line.encode(x=alt.X("x:Q", scale=scale)))
    title, description = (t(f"opt.chart_{w}", language, gpu=gpu) for w in ("title", "description"))
    return page_wide(alt.layer(*layers).add_params(choose), title, description, height=110)


def _rows(change: Change, sides: list[Side], language: str) -> list[dict[str, Any]]:
    """The two bars of one optimization, cut into parts."""
    rows = []
    for word, side in zip(("before", "after"), sides, strict=True):
        start, pieces = 0, [(k, side.sizes[k]) for k in (*PART_KEYS, EMPTY) if side.sizes.get(k, 0) > 0]
        for i, (key, size) in enumerate(pieces):
            rows.append(
                {
                    "change": words(change.key, language),
                    "side": t(f"opt.column_{word}", language),
                    "piece": part_words(key, language),
                    "size": show(size),
                    "start": start / GiB,
                    "end": (start + size) / GiB,
                    "last": i == len(pieces) - 1,
                    "total": show(side.total),
                }
            )
            start += size
    return rows


def compute(values: Mapping[str, Any], language: str) -> Figure:
    """The workload as it starts, with the reader's settings, and the card."""
    fields = {k: v for k, v in values.items() if k != "enforce_eager"}
    given = {**WORKLOAD, **fields, "enforce_eager": values["enforce_eager"] == "true"}
    e = estimate(**given)
    first = served(values["model"], values["gpu"])
    names = messages.parts(language)
    rows = bars.parts(t("opt.bar_start", language), first.parts, names)
    rows += bars.parts(t("opt.bar_yours", language), e.parts, names) + bars.card(e.gpu)
    tokens = [int(x.budget.kv_pool_tokens or 0) if x.budget else 0 for x in (first, e)]
    said = t(
        "opt.said", language, before=show(first.total_bytes), after=show(e.total_bytes),
        few=f"{tokens[0]:,}", many=f"{tokens[1]:,}", cards=e.scenario.world_size,
    )  # fmt: skip
    return Figure(rows=tuple(rows), text=said, command=commands.command_line(e.scenario))


def _flag(field_name: str, values: tuple[Any, ...], start: Any, kind: str = "slider") -> Control:
    return Control(
        field=field_name, flag=commands.flag("vllm", field_name), values=values, start=start, kind=kind
    )


WIDGET = Widget(
    name="optimizations",
    controls=(
        Control(
            field="model",
            kind="choice",
            values=("Llama-3.1-8B", "Qwen3-8B", "gemma-3-12b-it"),
            start="Llama-3.1-8B",
        ),
        Control(field="gpu", kind="choice", values=("L4", "RTX-4090", "A100-40GB", "H100-80GB"), start="L4"),
        _flag("kv_cache_dtype", ("auto", "fp8"), "auto", "choice"),
        _flag("quantization", ("none", "fp8", "awq"), "none", "choice"),
        _flag("enforce_eager", ("false", "true"), "false", "choice"),
        _flag("max_num_seqs", powers(8, 1024), 256),
        _flag("max_num_batched_tokens", powers(1024, 16_384), 2048),
        _flag("tensor_parallel_size", (1, 2, 4), 1),
    ),
    compute=compute,
    draw=charts_sizes.titled("opt.widget_title", "opt.widget_description", bars=3),
)
