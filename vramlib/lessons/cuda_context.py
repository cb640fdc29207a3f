"""Notebook 04: what each meter sees, contexts by card, lazy and eager loading, and the widget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from vramlib import catalog, charts_sizes, commands, resolve, tables
from vramlib.components import activations, cuda_context, fragmentation, model_weights
from vramlib.controls import Control, Figure, Widget
from vramlib.lessons import bars
from vramlib.lessons.activations import one_pass
from vramlib.measure.experiments.context import EAGER_BYTES
from vramlib.messages import t
from vramlib.specs import PART_COLORS, GpuSpec
from vramlib.units import GB, GiB, MiB, show
from vramlib.vega import GREY, page_wide

SHOWN = "Qwen3-0.6B"
TOKENS = 8192
MOST_CLAIMED = round(0.5 * GB)
MOMENTS = ("start", "tensor", "weights", "prompt", "after", "emptied", "neighbour")
METERS = ("allocated", "reserved", "process", "device")
OWNERS = {
    "tensors": "model_weights", "cached": "fragmentation", "context": "cuda_context", "other": "multi_process",
}  # fmt: skip


def moments(gpu: GpuSpec, model: str = SHOWN) -> dict[str, dict[str, int]]:
    """What a small program holds, from its first call of CUDA to a neighbour's start.

    Parameters
    ----------
    gpu : the card [-]
    model : that the program loads with transformers [-]

    Returns
    -------
    Moment to owner to size: tensors, cached segments, this context, and another process's [byte]
    """
    s = one_pass(model, TOKENS)
    context, weights = cuda_context.base_bytes(gpu)[0], model_weights.size_bytes(s)
    step, small = activations.size_bytes(s), 2 * MiB
    one = fragmentation.allocated_bytes(4)
    held = {"context": context, "tensors": weights}
    return {
        "start": {"context": context},
        "tensor": {"context": context, "tensors": one, "cached": small - one},
        "weights": held,
        "prompt": held | {"tensors": weights + step},
        "after": held | {"cached": step},
        "emptied": held,
        "neighbour": held | {"other": context},
    }


def meters_chart(gpu: str, language: str = "en") -> alt.LayerChart:
    """The four meters at one moment, chosen inside the chart; what a meter does not see is missing from its bar.

    Parameters
    ----------
    gpu : the card [-]
    language : en or vi [-]

    Returns
    -------
    A chart that moves without a kernel [-]
    """
    words = {m: t(f"ctx.moment_{m}", language) for m in MOMENTS}
    rows = [
        row | {"moment": words[moment]}
        for moment, held in moments(catalog.gpu(gpu)).items()
        for meter in METERS
        for row in _meter_rows(meter, held, language)
    ]
    listed = alt.binding_select(options=list(words.values()), name=t("ctx.chooser_moment", language) + " ")
    choose = alt.param(name="moment", value=words["after"], bind=listed)
    owners = [t(f"ctx.owner_{owner}", language) for owner in OWNERS]
    scale = alt.Scale(domain=owners, range=[PART_COLORS[key] for key in OWNERS.values()])
    base = alt.Chart(alt.Data(values=rows)).transform_filter("datum.moment == moment")
    axis = alt.Axis(title=None, ticks=False, domain=False, labelLimit=300, labelFontSize=12)
    place = alt.Y("meter:N", sort=[t(f"ctx.meter_{m}", language) for m in METERS], axis=axis)
    most = max(row["end"] for row in rows)
    bar = base.mark_bar(stroke="white", strokeWidth=0.7).encode(
        y=place, x2="end:Q", tooltip=[alt.Tooltip(f"{n}:N", title=" ") for n in ("owner", "size")],
        x=alt.X("start:Q", title="MiB", scale=alt.Scale(domain=[0, 1.12 * most], nice=False)),
        color=alt.Color("owner:N", scale=scale, legend=alt.Legend(title=None, orient="bottom", labelLimit=300)),
    )  # fmt: skip
    said = base.transform_filter("datum.last").mark_text(align="left", dx=5, color=GREY, fontSize=12)
    chart = alt.layer(bar, said.encode(y=place, x="end:Q", text="said:N")).add_params(choose)
    title, description = (t(f"ctx.meters_{w}", language) for w in ("title", "description"))
    return page_wide(chart, title, description, height=46 * len(METERS))


def seen(meter: str, held: Mapping[str, int]) -> dict[str, int]:
    """What one meter counts of what is held.

    Parameters
    ----------
    meter : allocated and reserved (PyTorch's), process and device (the driver's) [-]
    held : owner to size [byte]

    Returns
    -------
    The owners it sees [byte]

    Examples
    --------
    >>> seen("reserved", {"context": 9, "tensors": 2, "cached": 1})
    {'tensors': 2, 'cached': 1}
    """
    counted = list(OWNERS)[: METERS.index(meter) + 1]
    return {owner: held.get(owner, 0) for owner in counted}


def _meter_rows(meter: str, held: Mapping[str, int], language: str) -> list[dict[str, Any]]:
    rows, start = [], 0
    counted = seen(meter, held)
    total = sum(counted.values())
    for owner, size in counted.items():
        end = start + size
        rows.append(
            {
                "meter": t(f"ctx.meter_{meter}", language), "owner": t(f"ctx.owner_{owner}", language),
                "start": start / MiB, "end": end / MiB, "size": show(size), "said": show(total),
                "last": owner == list(counted)[-1],
            }
        )  # fmt: skip
        start = end
    return rows


def meters_table(gpu: str, language: str = "en") -> tables.Table:
    """The same moments as rows, the meters as columns."""
    rows = [
        (t(f"ctx.moment_{moment}", language), *(show(sum(seen(m, held).values())) for m in METERS))
        for moment, held in moments(catalog.gpu(gpu)).items()
    ]
    columns = [t("ctx.column_moment", language), *(t(f"ctx.meter_{m}", language) for m in METERS)]
    return tables.table(columns, rows)


def cards_table(language: str = "en") -> tables.Table:
    """Contexts of some cards: multiprocessors, our size with its interval, and whether it was printed or follows."""
    rows = []
    names = (
        "RTX-4060-Ti-8GB",
        "T4",
        "L4",
        "RTX-3090",
        "RTX-4090",
        "RTX-6000-Ada",
        "RTX-PRO-6000",
        "A100-80GB",
    )
    for name in (*names, "H100-80GB", "B200"):
        g = catalog.gpu(name)
        size, low, high = (f"{n / MiB:.0f}" for n in cuda_context.base_bytes(g))
        basis = t(f"ctx.basis_{g.cuda_context_basis}", language)
        share = f"{100 * cuda_context.base_bytes(g)[0] / g.memory_bytes:.1f} %"
        rows.append((g.name, str(g.num_sms), size, f"{low}–{high}", basis, share))
    columns = [t(f"ctx.column_{c}", language) for c in ("gpu", "sms", "mib", "range", "basis", "share")]
    return tables.table(columns, rows)


def models_table(model: str, gpu: str, language: str = "en") -> tables.Table:
    """Different models on one card: weights that differ, a context that does not."""
    rows = []
    for name in dict.fromkeys((model, SHOWN, "Llama-3.1-70B")):
        s = resolve.scenario(model=name, gpu=gpu, engine="transformers")
        rows.append((name, show(model_weights.size_bytes(s)), show(cuda_context.size_bytes(s))))
    columns = [t(f"ctx.column_{c}", language) for c in ("model", "weights", "context")]
    return tables.table(columns, rows)


def compute(values: Mapping[str, Any], language: str) -> Figure:
    """Contexts of several processes on one card beside the table's half gigabyte, for the widget."""
    count, eager = values["num_processes"], values["module_loading"] == "EAGER"
    s = resolve.scenario(model=SHOWN, gpu=values["gpu"], engine=values["engine"], num_processes=count)
    own = [("cuda_context", term.name, term.bytes) for term in cuda_context.terms(s)]
    if eager:
        own.append(("cuda_context", t("ctx.piece_eager", language), EAGER_BYTES))
    one = sum(size for _, _, size in own)
    further = [
        ("multi_process", t("ctx.piece_further", language, number=n), one) for n in range(2, count + 1)
    ]
    rows = bars.bar(t("ctx.bar_contexts", language), own + further)
    rows += bars.bar(t("ctx.bar_claim", language), [(charts_sizes.CARD, "0.5 GB", MOST_CLAIMED)])
    said = t(
        "ctx.said", language, one=show(one), all=show(count * one), gb=f"{count * one / GB:.2f}", gpu=s.gpu.name,
        share=f"{100 * count * one / s.gpu.memory_bytes:.1f}", left=f"{(s.gpu.memory_bytes - count * one) / GiB:.2f}",
    )  # fmt: skip
    loading = "CUDA_MODULE_LOADING=EAGER " if eager and s.engine == "vllm" else ""
    return Figure(rows=tuple(rows), text=said, command=loading + commands.command_line(s))


def draw(data: alt.Data, language: str) -> alt.LayerChart:
    """The widget's chart."""
    title, description = (t(f"ctx.widget_{w}", language) for w in ("title", "description"))
    chart = charts_sizes.sizes(data, bars=2, title=title, description=description)
    return chart.configure_axisX(labelOverlap=True, labelSeparation=8)


WIDGET = Widget(
    name="cuda_context",
    controls=(
        Control(
            field="gpu",
            kind="choice",
            values=("RTX-4060-Ti-8GB", "L4", "RTX-4090", "RTX-6000-Ada", "H100-80GB", "B200"),
            start="L4",
        ),
        Control(field="num_processes", values=tuple(range(1, 9)), start=1),
        Control(
            field="module_loading",
            kind="choice",
            flag="CUDA_MODULE_LOADING",
            values=("LAZY", "EAGER"),
            start="LAZY",
        ),
        Control(field="engine", kind="choice", values=("transformers", "vllm"), start="transformers"),
    ),
    compute=compute,
    draw=draw,
)
