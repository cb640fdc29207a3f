"""Notebook 08: processes on one card, ranks on several while cards are added, the widget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import altair as alt

from vramlib import catalog, charts_growth, charts_sizes, commands, estimate, messages, resolve
from vramlib.components import kv_cache, model_weights
from vramlib.controls import Control, Figure, Widget, powers
from vramlib.lessons import bars
from vramlib.lessons.kv_cache import short
from vramlib.lessons.sharding import WAYS, catalog_model
from vramlib.messages import t
from vramlib.specs import Scenario
from vramlib.units import ceil_div, show

CARDS = powers(1, 16)
MODELS = ("Llama-3.1-8B", "Qwen3-30B-A3B", "DeepSeek-V3")
SEQUENCES, TOKENS = 16, 8192


def degrees(way: str, cards: int) -> dict[str, Any]:
    """The scenario fields that spread a model over so many cards in one way.

    Examples
    --------
    >>> degrees("expert", 8)
    {'data_parallel_size': 8, 'enable_expert_parallel': True}
    """
    if way == "expert":
        return {"data_parallel_size": cards, "enable_expert_parallel": True}
    return {f"{way}_parallel_size": cards}


def spread(model: str, way: str, cards: int) -> Scenario:
    """The same 16 sequences of 8,192 tokens, one model, spread over cards; data-parallel copies share the sequences.

    Raises
    ------
    ValueError : an engine would refuse the degree
    """
    given = degrees(way, cards)
    own = ceil_div(SEQUENCES, given.get("data_parallel_size", 1))
    return resolve.scenario(
        model=model, gpu="H100-80GB", max_model_len=TOKENS, prompt_tokens=TOKENS, new_tokens=0, batch_size=own, **given
    )  # fmt: skip


def of_card(model: str, way: str, cards: int) -> dict[str, int]:
    """Weights and cache on the card that holds the most of them.

    Parameters
    ----------
    model : a name of the catalogue [-]
    way : tensor, pipeline, data or expert [-]
    cards : how many [-]

    Returns
    -------
    Part to size [byte]

    Examples
    --------
    >>> [of_card("DeepSeek-V3", "tensor", n)["kv_cache"] >> 20 for n in (1, 8)]
    [8784, 8784]
    """
    s = spread(model, way, cards)
    stages = range(s.pipeline_parallel_size)
    sizes: dict[str, Callable[[Scenario, int], Any]] = {
        "model_weights": model_weights.size_bytes,
        "kv_cache": kv_cache.size_bytes,
    }
    return {part: max(int(size(s, stage)) for stage in stages) for part, size in sizes.items()}


def spread_chart(language: str = "en", model: str = "") -> alt.LayerChart:
    """Bytes on one card while cards are added, with lists inside the chart: in which way, and of what.

    Parameters
    ----------
    language : en or vi [-]
    model : a further model [-]

    Returns
    -------
    A chart that moves without a kernel [-]
    """
    chosen = [*MODELS, *([model] if model and short(model) not in MODELS else [])]
    held = {t("part.model_weights", language): "model_weights", t("part.kv_cache", language): "kv_cache"}
    rows = [
        {"series": short(name), "way": way, "held": words, "x": cards, "y": found[part]}
        for name in chosen
        for way in WAYS
        if way != "expert" or catalog_model(name).num_experts
        for cards, found in _degrees_that_work(name, way).items()
        for words, part in held.items()
    ]
    labels = {word: t(f"proc.spread_{word}", language) for word in ("title", "description", "x", "y")}
    choose = [
        charts_growth.chooser("way", WAYS, t("proc.way", language)),
        charts_growth.chooser("held", list(held), t("proc.held", language)),
    ]
    return charts_growth.growth(rows, labels=labels, choose=choose, x_ticks=CARDS, height=280, y_step=2)


def _degrees_that_work(model: str, way: str) -> dict[int, dict[str, int]]:
    """Cards to what one of them holds, for the numbers of cards that the model divides into."""
    found = {}
    for cards in CARDS:
        try:
            found[cards] = of_card(model, way, cards)
        except ValueError:
            continue
    return found


def picture(model: str, gpu: str, language: str = "en") -> alt.LayerChart:
    """One process, two on the same card, and one of two ranks, beside the card."""
    words = messages.parts(language)
    given = {"model": model, "gpu": gpu, "max_model_len": TOKENS}
    cases = {"one": {}, "two": {"num_processes": 2}, "rank": {"tensor_parallel_size": 2}}
    rows, count = [], 1
    for name, changes in cases.items():
        try:
            e = estimate(**given, **changes)
        except ValueError:
            continue
        rows += bars.parts(t(f"proc.bar_{name}", language), e.parts, words)
        count += 1
    rows += bars.card(catalog.gpu(gpu))
    return charts_sizes.sizes(
        alt.Data(values=rows),
        bars=count,
        title=t("proc.picture_title", language),
        description=t("proc.picture_description", language),
    )


def compute(values: Mapping[str, Any], language: str) -> Figure:
    """One rank, everything on its card, and the card, for the widget."""
    fields = ("model", "gpu", "num_processes", *(f"{way}_parallel_size" for way in WAYS[:3]))
    own = ceil_div(SEQUENCES, values["data_parallel_size"])
    e = estimate(
        **{k: values[k] for k in fields}, max_model_len=TOKENS, prompt_tokens=TOKENS, new_tokens=0, batch_size=own
    )  # fmt: skip
    s, words = e.scenario, messages.parts(language)
    cards, copies = s.world_size, s.world_size * s.num_processes
    stages = range(s.pipeline_parallel_size)
    weights = copies // len(stages) * sum(model_weights.size_bytes(s, stage) for stage in stages)
    one = model_weights.tensor_bytes(s.model, quant=s.quant)
    rows = bars.parts(t("proc.bar_card", language), e.parts, words) + bars.card(s.gpu)
    rows += bars.bar(
        t("proc.bar_all", language),
        [("model_weights", words["model_weights"], weights)],
    )
    said = t(
        "proc.said", language, card=show(e.total_bytes), cards=cards, copies=f"{weights / one:.3g}",
        further=show(e.part("multi_process").bytes), left=show(s.gpu.memory_bytes - e.total_bytes),
    )  # fmt: skip
    return Figure(rows=tuple(rows), text=said, command=commands.command_line(s))


WIDGET = Widget(
    name="multi_process",
    controls=(
        Control(
            field="model",
            kind="choice",
            values=("Llama-3.2-1B", "Llama-3.1-8B", "Qwen3-30B-A3B", "Llama-3.1-70B", "DeepSeek-V3"),
            start="Llama-3.1-8B",
        ),
        Control(
            field="gpu", kind="choice", values=("L4", "A100-80GB", "H100-80GB", "H200"), start="H100-80GB"
        ),
        Control(field="num_processes", values=(1, 2, 3, 4, 6, 8), start=1),
        Control(field="tensor_parallel_size", flag="--tensor-parallel-size", values=powers(1, 8), start=1),
        Control(
            field="pipeline_parallel_size", flag="--pipeline-parallel-size", values=powers(1, 8), start=1
        ),
        Control(field="data_parallel_size", flag="--data-parallel-size", values=powers(1, 8), start=1),
    ),
    compute=compute,
    draw=charts_sizes.titled("proc.widget_title", "proc.widget_description", bars=3),
)
