"""Notebook 01: where the bits of a weight go, by format, the widget, and tables of formats, ties and experts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import altair as alt

from vramlib import catalog, charts_growth, charts_sizes, commands, messages, resolve, tables
from vramlib.components import model_weights
from vramlib.controls import Control, Figure, Widget, powers
from vramlib.messages import t
from vramlib.readers.format_names import file_types, row
from vramlib.specs import PART_COLORS, Scenario
from vramlib.units import GB, GiB, show
from vramlib.vega import GREY, page_wide

FORMATS = ("none", "fp8-channel", "nf4", "awq", "w4a16", "nvfp4")
MODELS = (
    "Llama-3.1-8B", "Llama-3.2-1B", "Llama-3.2-3B", "Qwen3-8B", "Llama-3.1-70B", "Mixtral-8x7B-v0.1", "Qwen3-30B-A3B",
)  # fmt: skip
PIECES = ("digits", "scales", "kept")
SHADES = (1.0, 0.6, 0.3)
SQUARE = 4096


def pieces(s: Scenario) -> dict[str, int]:
    """The tensors of one card cut in three: weights in the format's bits, its scales, and what stays as it was.

    Parameters
    ----------
    s : model and format [-]

    Returns
    -------
    ``digits``, ``scales`` and ``kept``; together the component's tensors [byte]

    Examples
    --------
    >>> pieces(resolve.scenario(model="Llama-3.1-8B", quantization="awq"))
    {'digits': 3489660928, 'scales': 136314880, 'kept': 2101878784}
    """
    digits = scales = 0
    for tensor, count in s.model.tensors:
        shape = model_weights.rank_shape(tensor, tp=s.tensor_parallel_size, pad_vocab=True)
        if s.quant and len(shape) >= 2 and s.quant.compresses(tensor):
            first, *rest = model_weights.quantized_bytes(math.prod(shape[:-1]), shape[-1], s.quant)
            digits += count * tensor.count * first
            scales += count * tensor.count * sum(rest)
    whole = model_weights.terms(s)[0].bytes
    return {"digits": digits, "scales": scales, "kept": whole - digits - scales}


def bits_per_weight(name: str) -> float:
    """What one weight of a 4096 × 4096 matrix takes, its share of scales and zero points included.

    Parameters
    ----------
    name : a row of data/quantization.csv [-]

    Returns
    -------
    Width [bit]

    Examples
    --------
    >>> bits_per_weight("awq"), bits_per_weight("nf4")
    (4.15625, 4.5)
    """
    return 8 * sum(model_weights.quantized_bytes(SQUARE, SQUARE, row(name))) / SQUARE**2


def word(quantization: str, dtype: str = "bf16") -> str:
    """A format's name for a reader: plain weights are called by their type."""
    return dtype if quantization == "none" else quantization


def formats_chart(language: str = "en", model: str = "Llama-3.1-8B") -> alt.LayerChart:
    """Size over the 16-bit size by format, cut in three; the model is chosen inside the chart.

    Parameters
    ----------
    language : en or vi [-]
    model : that stands at the start [-]

    Returns
    -------
    A chart that moves without a kernel [-]
    """
    names = tuple(dict.fromkeys((model, *MODELS)))
    rows = [r for name in names for r in _format_rows(name, language)]
    choose = charts_growth.chooser("model", names, t("field.model", language))
    words = [t(f"weights.piece_{p}", language) for p in PIECES]
    shade = alt.Scale(type="ordinal", domain=words, range=list(SHADES))
    key = alt.Legend(
        title=None, orient="bottom", labelLimit=320, symbolFillColor=PART_COLORS["model_weights"]
    )
    axis = alt.Axis(title=t("weights.formats_axis", language), format=".2~f", grid=False, tickCount=6)
    base = alt.Chart(alt.Data(values=rows)).transform_filter("datum.model == model")
    place = alt.Y(
        "format:N", sort=None, axis=alt.Axis(title=None, ticks=False, domain=False, labelFontSize=13)
    )
    tips = [alt.Tooltip(f"{name}:N", title=" ") for name in ("piece", "size")]
    bar = base.mark_bar(color=PART_COLORS["model_weights"], stroke="white", strokeWidth=0.7).encode(
        y=place, x=alt.X("start:Q", axis=axis, scale=alt.Scale(domain=[0, 1.25], nice=False)), x2="end:Q",
        opacity=alt.Opacity("piece:N", scale=shade, legend=key), tooltip=tips,
    )  # fmt: skip
    said = base.transform_filter("datum.last").mark_text(align="left", dx=5, color=GREY, fontSize=12)
    line = alt.Chart(alt.Data(values=[{"x": 0.25}])).mark_rule(color=GREY, strokeDash=[5, 4], strokeWidth=2)
    layers = (bar, said.encode(y=place, x="end:Q", text="said:N"), line.encode(x="x:Q"))
    chart = alt.layer(*layers).add_params(choose)
    title, description = (t(f"weights.formats_{w}", language) for w in ("title", "description"))
    return page_wide(chart, title, description, height=42 * len(FORMATS))


def _format_rows(model: str, language: str) -> list[dict[str, Any]]:
    """The bars of one model: a row for each piece of each format."""
    rows = []
    for quantization in FORMATS:
        s = resolve.scenario(model=model, quantization=quantization)
        plain, start, cut = 2 * s.model.params_total, 0, pieces(s)
        total = sum(cut.values())
        for piece, size in cut.items():
            end = start + size
            rows.append(
                {
                    "model": model, "format": word(quantization), "piece": t(f"weights.piece_{piece}", language),
                    "start": start / plain, "end": end / plain, "size": show(size),
                    "last": piece == PIECES[-1], "said": f"{total / plain:.3f}× = {total / GB:.2f} GB",
                }
            )  # fmt: skip
            start = end
    return rows


def formats_table(model: str = "Llama-3.1-8B", language: str = "en") -> tables.Table:
    """Formats in bits per weight and as a whole model in GB, GiB and over its 16-bit size.

    Parameters
    ----------
    model : a name of the catalogue [-]
    language : en or vi [-]

    Returns
    -------
    A row for each format; those of GGUF are whole files of llama.cpp [-]
    """
    rows = []
    for quantization in ("none", "fp8-block", "fp8-channel", "nf4", "nvfp4", "gptq", "awq", "w4a16"):
        s = resolve.scenario(model=model, quantization=quantization)
        bits = 16.0 if quantization == "none" else bits_per_weight(quantization)
        rows.append(_format_row(word(quantization), f"{bits:.4g}", model_weights.terms(s)[0].bytes, s))
    for file_type in ("Q8_0", "Q4_K_M"):
        s = resolve.scenario(model=model, quantization=file_type, engine="llama.cpp")
        blocks = file_types()[file_type]
        bits = blocks.weight_bits + blocks.scale_bits / blocks.group_size
        rows.append(_format_row(f"GGUF {file_type}", f"{bits:.4g}", model_weights.size_bytes(s), s))
    columns = [t(f"weights.column_{c}", language) for c in ("format", "bits", "gb", "gib", "ratio")]
    return tables.table(columns, rows)


def _format_row(name: str, bits: str, size: int, s: Scenario) -> tuple[str, ...]:
    plain = 2 * s.model.params_total
    return name, bits, f"{size / GB:.2f}", f"{size / GiB:.2f}", f"{size / plain:.3f}×"


def cards_table(language: str = "en") -> tables.Table:
    """The vendor's GB beside what CUDA and nvidia-smi call the card's total, in GiB."""
    rows = []
    for name in ("RTX-4060", "L4", "RTX-4090", "A100-40GB", "H100-80GB"):
        g = catalog.gpu(name)
        smi = f"{g.memory_bytes_nvidia_smi / GiB:.2f}" if g.memory_bytes_nvidia_smi else None
        box = g.memory_gb_vendor
        rows.append((g.name, f"{box:g} GB", f"{box * GB / GiB:.2f}", smi, f"{g.memory_bytes / GiB:.2f}"))
    columns = [t(f"weights.column_{c}", language) for c in ("gpu", "box", "box_gib", "smi", "cuda")]
    return tables.table(columns, rows)


def ties_table(language: str = "en") -> tables.Table:
    """One vocabulary matrix or two: what the tie saves, and what it does to a 4-bit model."""
    rows = []
    for name in ("Qwen3-0.6B", "Llama-3.2-1B", "Llama-3.2-3B", "Qwen3-8B", "Llama-3.1-8B"):
        m = catalog.model(name)
        table = m.vocab_size * m.hidden_size
        narrow = sum(pieces(resolve.scenario(model=name, quantization="awq")).values())
        tied = t(f"weights.tied_{'yes' if m.tie_word_embeddings else 'no'}", language)
        twice = f"+{table / m.params_total:.0%}".replace("%", " %") if m.tie_word_embeddings else "–"
        share = f"{table * (1 if m.tie_word_embeddings else 2) / m.params_total:.0%}".replace("%", " %")
        ratio = f"{narrow / (2 * m.params_total):.3f}×"
        rows.append((name, messages.count(m.params_total, language), tied, share, twice, ratio))
    columns = [
        t(f"weights.column_{c}", language) for c in ("model", "params", "tied", "share", "twice", "awq")
    ]
    return tables.table(columns, rows)


def experts_table(language: str = "en") -> tables.Table:
    """Mixtures of experts: what one token passes through, and what lies on the card for it."""
    rows = []
    for name in ("Llama-3.1-8B", "Qwen3-30B-A3B", "Mixtral-8x7B-v0.1", "DeepSeek-V3"):
        s = resolve.scenario(model=name)
        m, size = s.model, model_weights.terms(s)[0].bytes
        chosen = f"{m.num_experts_per_tok} / {m.num_experts}" if m.num_experts else "–"
        share = f"{m.params_active / m.params_total:.0%}".replace("%", " %")
        stored, used = (messages.count(n, language) for n in (m.params_total, m.params_active))
        rows.append((name, chosen, stored, used, share, show(size)))
    columns = [
        t(f"weights.column_{c}", language) for c in ("model", "chosen", "params", "active", "used", "held")
    ]
    return tables.table(columns, rows)


def compute(values: Mapping[str, Any], language: str) -> Figure:
    """One card's weights in three pieces, the same model in 16 bit, and the card, for the widget."""
    s = resolve.scenario(**values)
    full = resolve.scenario(**{**values, "quantization": "none"})
    cut, part, plain = pieces(s), model_weights.part(s), model_weights.size_bytes(full)
    extra = part.bytes - sum(cut.values())
    rows, start = [], 0
    for piece, size in (*cut.items(), ("extra", extra)):
        name = t(f"weights.piece_{piece}", language)
        rows.append(_bar(f"{values['quantization']}|{show(part.bytes)}", "model_weights", start, size, name))
        start += size
    rows.append(_bar(f"16 bit|{show(plain)}", "model_weights", 0, plain, "16 bit"))
    memory = s.gpu.memory_bytes
    rows.append(_bar(f"{s.gpu.name}|{show(memory)}", charts_sizes.CARD, 0, memory, s.gpu.name))
    said = t(
        "weights.said", language, size=show(part.bytes), gb=f"{part.bytes / GB:.2f}",
        ratio=f"{part.bytes / plain:.3f}", left=show(memory - part.bytes),
    )  # fmt: skip
    return Figure(
        rows=tuple(r for r in rows if r["end"] > r["start"]), text=said, command=commands.command_line(s)
    )


def _bar(bar: str, key: str, start: int, size: int, piece: str) -> dict[str, Any]:
    """One piece of a bar, as ``charts_sizes.sizes`` reads it."""
    return {
        "bar": bar, "key": key, "start": start / GiB, "end": (start + size) / GiB, "piece": piece, "size": show(size),
    }  # fmt: skip


WIDGET = Widget(
    name="model_weights",
    controls=(
        Control(field="model", kind="choice", values=MODELS, start="Llama-3.1-8B"),
        Control(field="quantization", kind="choice", flag="--quantization", values=FORMATS, start="awq"),
        Control(field="tensor_parallel_size", flag="--tensor-parallel-size", values=powers(1, 8), start=1),
        Control(
            field="gpu", kind="choice", values=("RTX-4060", "L4", "RTX-5090", "H100-80GB"), start="RTX-4060"
        ),
    ),
    compute=compute,
    draw=charts_sizes.titled("weights.widget_title", "weights.widget_description", bars=3),
)
