"""Notebook 09: the conversion table for any count and format, beside real models, and the widget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vramlib import catalog, charts_sizes, commands, messages, resolve, tables
from vramlib.claims.cases import text_models
from vramlib.components import model_weights, weight_types
from vramlib.controls import Control, Figure, Widget
from vramlib.lessons import bars
from vramlib.lessons.kv_cache import short
from vramlib.lessons.model_weights import bits_per_weight, word
from vramlib.messages import t
from vramlib.readers.format_names import quantization_named
from vramlib.specs import ModelSpec
from vramlib.units import GB, GiB

BILLION = 10**9
FORMATS = ("none", "fp8", "awq", "nf4")
GGUF = ("Q8_0", "Q4_K_M")
UNITS = {"GB": GB, "GiB": GiB}


def size_bytes(num_params: float, weight_bits: float = 16) -> int:
    """The conversion itself: parameters times the bits of one.

    Formula: N · b_w / 8

    Parameters
    ----------
    num_params : N, how many [element]
    weight_bits : b_w, width of one, its share of scales included [bit]

    Returns
    -------
    Size [byte]

    Examples
    --------
    >>> size_bytes(7 * 10**9), size_bytes(7 * 10**9, 4)
    (14000000000, 3500000000)
    """
    return round(num_params * weight_bits / 8)


def stored_bytes(model: ModelSpec, quantization: str = "none") -> int:
    """What a real model takes in a format, with all that stays in 16 bit; no engine's tables.

    Parameters
    ----------
    model : the inventory [-]
    quantization : a row of data/quantization.csv, or a GGUF file type [-]

    Returns
    -------
    Size [byte]

    Examples
    --------
    >>> round(stored_bytes(catalog.model("Llama-2-7b-hf")) / GiB, 2)
    12.55
    """
    if quantization in GGUF:
        return int(sum(weight_types.model_buffer_bytes(model, quantization, -1)))
    quant = None if quantization == "none" else quantization_named(quantization, model)
    return model_weights.tensor_bytes(model, quant=quant)


def both(size: float) -> tuple[str, str]:
    """A size as GB and as GiB."""
    return f"{size / GB:.2f}", f"{size / GiB:.2f}"


def rebuilt(language: str = "en") -> tables.Table:
    """The seed's table beside its own arithmetic: a round number of parameters in 16 and in 4 bit, in both units.

    Parameters
    ----------
    language : en or vi [-]

    Returns
    -------
    A row for each name [-]
    """
    rows = []
    for r in catalog.table("conversion"):
        count = float(r["params"].rstrip("B")) * BILLION
        halves = [
            (r[column], both(size_bytes(count, bits))) for column, bits in (("fp16_gb", 16), ("int4_gb", 4))
        ]
        rows.append((r["params"], *(cell for said, sizes in halves for cell in (f"~{said} GB", *sizes))))
    columns = [t("conv.column_name", language)]
    for bits in (16, 4):
        columns += [t("conv.column_said", language, bits=bits), f"{bits} bit, GB", f"{bits} bit, GiB"]
    return tables.table(columns, rows)


def any_count(billions: float, language: str = "en", formats: Sequence[str] = FORMATS) -> tables.Table:
    """The conversion for any number of parameters and each format, beside the real model nearest to that number.

    Parameters
    ----------
    billions : parameters [billion]
    language : en or vi [-]
    formats : rows of data/quantization.csv; ``none`` is 16 bit [-]

    Returns
    -------
    A row for each format [-]
    """
    count = billions * BILLION
    near = min(text_models(), key=lambda m: (abs(m.params_total - count), m.name))
    rows = []
    for name in formats:
        bits = 16.0 if name == "none" else bits_per_weight(name)
        real = stored_bytes(near, name)
        rows.append((word(name, "16 bit"), f"{bits:.4g}", *both(size_bytes(count, bits)), *both(real)))
    columns = [t(f"conv.column_{c}", language) for c in ("format", "bits")]
    own, theirs = f"{billions:g}B", short(near.name)
    columns += [f"{who}, {unit}" for who in (own, theirs) for unit in UNITS]
    caption = t(
        "conv.nearest", language, count=f"{billions:g}", model=theirs, params=f"{near.params_total:,}"
    )
    return tables.table(columns, rows, caption=caption)


def one_model(model: str, language: str = "en") -> tables.Table:
    """One real model in every format: size, and the bits that each parameter takes on average.

    Parameters
    ----------
    model : a name of the catalogue [-]
    language : en or vi [-]

    Returns
    -------
    A row for each format [-]
    """
    spec = resolve.scenario(model=model).model
    rows = []
    for name in (*FORMATS, *GGUF):
        size = stored_bytes(spec, name)
        nominal = 16 if name == "none" else 8 if name in ("fp8", "Q8_0") else 4
        plain = size_bytes(spec.params_total, nominal)
        rows.append(
            (
                word(name, "16 bit"),
                *both(size),
                f"{8 * size / spec.params_total:.3f}",
                str(nominal),
                f"{size / plain:.3f}×",
            )
        )
    keys = ("format", "gb", "gib", "average", "nominal", "ratio")
    caption = f"{short(spec.name)}: {messages.count(spec.params_total, language)}"
    return tables.table([t(f"conv.column_{c}", language) for c in keys], rows, caption=caption)


def compute(values: Mapping[str, Any], language: str) -> Figure:
    """A round number, a real model and a card, for the widget."""
    s = resolve.scenario(**{k: values[k] for k in ("model", "gpu", "quantization")})
    bits = 16.0 if s.quantization == "none" else bits_per_weight(s.quantization)
    round_size = size_bytes(values["num_params"] * BILLION, bits)
    real = stored_bytes(s.model, s.quantization)
    weights = messages.parts(language)["model_weights"]
    rows = bars.bar(t("conv.bar_round", language, count=f"{values['num_params']:g}", bits=f"{bits:.4g}"),
                    [("model_weights", weights, round_size)])  # fmt: skip
    rows += bars.bar(short(s.model.name), [("model_weights", weights, real)]) + bars.card(s.gpu)
    said = t(
        "conv.said", language, gb=both(round_size)[0], gib=both(round_size)[1], model=short(s.model.name),
        real_gb=both(real)[0], real_gib=both(real)[1], ratio=f"{real / round_size:.3g}",
        left=f"{(s.gpu.memory_bytes - real) / GiB:.2f}",
    )  # fmt: skip
    return Figure(rows=tuple(rows), text=said, command=commands.command_line(s))


WIDGET = Widget(
    name="quick_conversion",
    controls=(
        Control(field="num_params", values=(0.5, 1, 1.5, 3, 4, 7, 8, 13, 14, 32, 70), start=7),
        Control(
            field="model",
            kind="choice",
            values=(
                "Llama-2-7b-hf",
                "Mistral-7B-v0.1",
                "Qwen2.5-7B",
                "Llama-3.2-1B",
                "Llama-3.2-3B",
                "Llama-2-13b-hf",
                "Llama-3.1-70B",
            ),
            start="Llama-2-7b-hf",
        ),
        Control(field="quantization", kind="choice", flag="--quantization", values=FORMATS, start="none"),
        Control(
            field="gpu", kind="choice", values=("RTX-4060-Ti-16GB", "L4", "RTX-4090", "A100-40GB"), start="L4"
        ),
    ),
    compute=compute,
    draw=charts_sizes.titled("conv.widget_title", "conv.widget_description", bars=3),
)
