"""Notebook 05: what an engine sets up before the first request, by captured sizes, layers and request slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np

from vramlib import catalog, charts_growth, charts_sizes, commands, resolve, tables
from vramlib.components import framework_buffers as buffers
from vramlib.controls import Control, Figure, Widget, powers
from vramlib.lessons.kv_cache import short
from vramlib.messages import t
from vramlib.specs import Scenario
from vramlib.units import GB, show

V1, V2 = "0.19.0", "0.33.0"  # a version with the first model runner, and one with the second
DEPTHS = ("Llama-3.2-1B", "Llama-3.1-8B", "Llama-3.1-70B")  # 16, 32 and 80 layers
VOCABULARIES = ("Llama-2-7b-hf", "phi-4", "Llama-3.1-8B", "Qwen3-8B", "gemma-2-9b")
KEY = "framework_buffers"
ADDENDS = {
    "cuBLAS workspace": "workspace",
    "CUDA graphs": "graphs",
    "block tables": "tables",
    "request state of the V2 runner": "state",
}


def addend(s: Scenario, name: str) -> int:
    """One addend of the part, by a word of ``ADDENDS``; 0 where the engine has none [byte].

    Examples
    --------
    >>> addend(resolve.scenario(model="Llama-3.1-8B", gpu="L4"), "graphs") >> 20
    551
    """
    return next((term.bytes for term in buffers.terms(s) if ADDENDS[term.name] == name), 0)


def graphs_chart(language: str = "en") -> alt.LayerChart:
    """CUDA graphs over request slots for three depths: a flat pool, and a slope that grows with the layers."""
    slots = np.array([1, 2, 4, *range(8, 257, 8)])
    rows = []
    for name in DEPTHS:
        s = resolve.scenario(model=name, max_num_seqs=slots, max_num_batched_tokens=8192)
        layers = t("fb.layers", language, layers=s.model.num_hidden_layers)
        for x, y in zip(slots, buffers.cuda_graph_bytes(s), strict=True):
            rows.append({"series": f"{name}: {layers}", "x": int(x), "y": int(y)})
    labels = {word: t(f"fb.graphs_{word}", language) for word in ("title", "description", "x", "y")}
    return charts_growth.growth(rows, labels=labels, log=False, x_ticks=range(0, 257, 32), height=220)


def slots_chart(language: str = "en", model: str = "") -> alt.LayerChart:
    """The whole part from 1 to 1024 request slots for five vocabularies, with controls inside the chart.

    Parameters
    ----------
    language : en or vi [-]
    model : a further model to draw below them [-]

    Returns
    -------
    A chart that moves without a kernel [-]
    """
    chosen = [*VOCABULARIES, *([model] if model and model not in VOCABULARIES else [])]
    slots = np.array(powers(1, 1024))
    names = {
        n: f"{short(n)}|{t('fb.words', language, size=f'{catalog.model(n).vocab_size:,}')}" for n in chosen
    }
    rows = [
        {"series": names[n], "engine_version": version, "enforce_eager": eager, "x": int(x), "y": int(y)}
        for n in chosen
        for version in (V2, V1)
        for eager in ("false", "true")
        for x, y in zip(slots, _sizes(n, slots, version, eager == "true"), strict=True)
    ]
    words = ("title", "description", "axis", "first", "last", "mark")
    return charts_growth.spans(
        rows,
        labels={word: t(f"fb.slots_{word}", language) for word in words},
        cursor=charts_growth.power_slider("slots", 10, 0, 10, "--max-num-seqs = 2^"),
        choose=[
            charts_growth.chooser("engine_version", (V2, V1), "vLLM"),
            charts_growth.chooser("enforce_eager", ("false", "true"), "--enforce-eager"),
        ],
        marks=[{"series": names[n], "x": 0, "y": GB} for n in chosen],
        part="framework_buffers",
        mark_part="model_weights",
        x_step=1,
    )


def _sizes(model: str, slots: Any, version: str, eager: bool) -> Any:
    s = resolve.scenario(
        model=model, max_num_seqs=slots, max_num_batched_tokens=8192, max_model_len=4096,
        engine_version=version, enforce_eager=eager,
    )  # fmt: skip
    return np.broadcast_to(buffers.size_bytes(s), slots.shape)


def cards_table(model: str, language: str = "en") -> tables.Table:
    """The four addends at the defaults of two cards and two versions, with graphs and without.

    Parameters
    ----------
    model : a name of the catalogue, or a path [-]
    language : en or vi [-]

    Returns
    -------
    A row for each setting [-]
    """
    rows = []
    for gpu in ("L4", "H100-80GB"):
        for version, eager in ((V1, False), (V1, True), (V2, False)):
            s = resolve.scenario(
                model=model, gpu=gpu, engine_version=version, max_model_len=8192, enforce_eager=eager
            )
            flag = f"{gpu}, {version}" + (", `--enforce-eager`" if eager else "")
            sizes = [addend(s, name) for name in ADDENDS.values()]
            rows.append((flag, f"{s.max_num_seqs:,}", *map(show, sizes), show(buffers.size_bytes(s))))
    columns = [t(f"fb.column_{c}", language) for c in ("setting", "slots", *ADDENDS.values(), "sum")]
    return tables.table(columns, rows)


def state_table(language: str = "en") -> tables.Table:
    """Tensors for request slots by vocabulary, at 256 and at 1024 slots."""
    rows = []
    for name in (*VOCABULARIES, "gemma-3-12b-it"):
        vocabulary = catalog.model(name).vocab_size
        sizes = [buffers.persistent_bytes(vocabulary, slots, 8192) for slots in (256, 1024)]
        each = (sizes[1] - sizes[0]) // 768
        rows.append((short(name), f"{vocabulary:,}", show(each), *map(show, sizes)))
    columns = [t(f"fb.column_{c}", language) for c in ("model", "words", "slot", "few", "many")]
    return tables.table(columns, rows)


def compute(values: Mapping[str, Any], language: str) -> Figure:
    """Four addends and their sum for the widget."""
    given = {k: values[k] for k in ("model", "gpu", "engine_version", "max_model_len")}
    s = resolve.scenario(
        **given, max_num_seqs=values["request_slots"], enforce_eager=values["enforce_eager"] == "true"
    )
    found = {ADDENDS[term.name]: term for term in buffers.terms(s)}
    rows, total = [], 0
    for place, word in enumerate(ADDENDS.values()):
        size = found[word].bytes if word in found else 0
        rows.append(charts_sizes.piece(place, KEY, t(f"fb.column_{word}", language), size))
        total += size
    rows.append(charts_sizes.piece(len(ADDENDS), KEY, t("fb.column_sum", language), total))
    said = t(
        "fb.said", language, size=show(total), gb=f"{total / GB:.2f}", graphs=buffers.num_graphs(s)
        if not s.enforce_eager else 0, layers=s.model.num_hidden_layers, slots=f"{s.max_num_seqs:,}",
        share=f"{100 * total / s.gpu.memory_bytes:.2g}",
    )  # fmt: skip
    return Figure(rows=tuple(rows), text=said, command=commands.command_line(s))


def draw(data: alt.Data, language: str) -> alt.LayerChart:
    """The widget's chart."""
    return charts_sizes.sizes(
        data, bars=5, title=t("fb.widget_title", language), description=t("fb.widget_description", language)
    )


MODELS = ("Llama-3.1-8B", "Llama-3.2-1B", "Qwen3-8B", "gemma-3-12b-it", "Llama-3.1-70B", "DeepSeek-V3")
WIDGET = Widget(
    name="framework_buffers",
    controls=(
        Control(field="model", kind="choice", values=MODELS, start="Llama-3.1-8B"),
        Control(field="gpu", kind="choice", values=("L4", "A100-40GB", "H100-80GB", "H200"), start="L4"),
        Control(field="engine_version", kind="choice", values=(V1, V2), start=V2),
        Control(field="request_slots", flag="--max-num-seqs", values=powers(1, 1024), start=256),
        Control(field="max_model_len", flag="--max-model-len", values=powers(1024, 131_072), start=8192),
        Control(
            field="enforce_eager",
            kind="choice",
            flag="--enforce-eager",
            values=("false", "true"),
            start="false",
        ),
    ),
    compute=compute,
    draw=draw,
)
