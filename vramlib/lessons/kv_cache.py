"""Notebook 02: six ways to keep keys and values, the widget, the claim over the catalogue, three exercises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np

from vramlib import charts_growth, charts_sizes, commands, resolve, tables
from vramlib.charts_sizes import piece
from vramlib.components import kv_cache, model_weights
from vramlib.controls import Control, Figure, Widget, powers
from vramlib.messages import t
from vramlib.specs import Scenario
from vramlib.units import ceil_div, show

# One model of about seven billion parameters for each way, from the largest row to the smallest growth.
KINDS: Mapping[str, str] = {
    "MHA": "meta-llama/Llama-2-7b-hf",
    "GQA": "meta-llama/Llama-3.1-8B",
    "MQA": "tiiuae/falcon-7b",
    "MLA": "deepseek-ai/DeepSeek-V2-Lite",
    "sliding": "mistralai/Mistral-7B-v0.1",
    "hybrid": "nvidia/NVIDIA-Nemotron-Nano-9B-v2",
}
LONGEST = 131_072


def one_sequence(
    model: str, tokens: Any, *, kv_cache_dtype: str = "auto", engine: str = "vllm", tp: int = 1
) -> Any:
    """Cache of one sequence on one card, by the component itself.

    Parameters
    ----------
    model : a name of the catalogue [-]
    tokens : held, one number or an array of them [token]
    kv_cache_dtype : as the engine's flag [-]
    engine : vllm, sglang, transformers or llama.cpp [-]
    tp : tensor_parallel_size [-]

    Returns
    -------
    Size [byte]

    Examples
    --------
    >>> one_sequence("Llama-3.1-8B", 8192)
    1073741824
    """
    return kv_cache.size_bytes(_held(model, tokens, kv_cache_dtype, engine, tp))


def _held(model: str, tokens: Any, kv_cache_dtype: str, engine: str, tp: int) -> Scenario:
    longest = {"max_model_len": tokens} if engine == "llama.cpp" else {}
    return resolve.scenario(
        model=model, engine=engine, prompt_tokens=tokens, new_tokens=0, kv_cache_dtype=kv_cache_dtype,
        tensor_parallel_size=tp, **longest,
    )  # fmt: skip


def short(model: str) -> str:
    """A model's name without its organisation."""
    return model.rsplit("/", 1)[-1]


def kinds_chart(language: str = "en", model: str = "") -> alt.LayerChart:
    """Six ways from one token to 128k tokens, with sliders inside the chart.

    Parameters
    ----------
    language : en or vi [-]
    model : a further model to draw below them [-]

    Returns
    -------
    A chart that moves without a kernel [-]
    """
    chosen = dict(KINDS) | (
        {t("kv.yours", language): model} if model and model not in map(short, KINDS.values()) else {}
    )
    tokens = np.array(powers(1, LONGEST))
    dtypes = ("auto", "fp8")
    names = {kind: f"{kind}|{short(name)}" for kind, name in chosen.items()}
    rows = [
        {"series": names[kind], "kv_cache_dtype": dtype, "x": int(x), "y": int(y)}
        for kind, name in chosen.items()
        for dtype in dtypes
        for x, y in zip(
            tokens,
            np.broadcast_to(one_sequence(name, tokens, kv_cache_dtype=dtype), tokens.shape),
            strict=True,
        )
    ]
    marks = [{"series": names[kind], "x": 0, "y": weights_bytes(name)} for kind, name in chosen.items()]
    words = ("title", "description", "axis", "first", "last", "mark")
    return charts_growth.spans(
        rows,
        labels={word: t(f"kv.kinds_{word}", language) for word in words},
        cursor=charts_growth.power_slider("context", 13, 0, 17, t("kv.slider_tokens", language)),
        choose=[charts_growth.chooser("kv_cache_dtype", dtypes, "--kv-cache-dtype")],
        times=[charts_growth.chooser("batch_size", powers(1, 256), t("field.batch_size", language))],
        marks=marks,
    )


def growth_chart(language: str = "en") -> alt.LayerChart:
    """One sequence up to 16k tokens in three models: a line, a line that bends, and a state with a line."""
    tokens = np.arange(0, 16_385, 1024)
    tokens[0] = 1
    rows = [
        {"series": f"{kind}: {short(KINDS[kind])}", "x": int(x), "y": int(y)}
        for kind in ("GQA", "sliding", "hybrid")
        for x, y in zip(tokens, one_sequence(KINDS[kind], tokens), strict=True)
    ]
    labels = {word: t(f"kv.growth_{word}", language) for word in ("title", "description", "x", "y")}
    return charts_growth.growth(rows, labels=labels, log=False, x_ticks=range(0, 16_385, 2048), height=220)


def weights_bytes(model: str) -> int:
    """Weights as one card stores them [byte]."""
    return model_weights.size_bytes(resolve.scenario(model=model))


def kinds_table(language: str = "en") -> tables.Table:
    """The six ways: one token, 128k tokens, and how many times the weights that is."""
    columns = [t(f"kv.column_{c}", language) for c in ("kind", "model", "token", "long", "ratio")]
    rows = []
    for kind, name in KINDS.items():
        long = one_sequence(name, LONGEST)
        rows.append(
            (kind, short(name), show(per_token(name)), show(long), f"{long / weights_bytes(name):.3f}×")
        )
    return tables.table(columns, rows)


def per_token(model: str) -> int:
    """What the last of many tokens adds: the growth from half of 128k to 128k, by token [byte]."""
    half = LONGEST // 2
    return int(ceil_div(one_sequence(model, LONGEST) - one_sequence(model, half), half))


def compute(values: Mapping[str, Any], language: str) -> Figure:
    """Weights, cache and card for the widget: every sequence is as long as the longest that is allowed."""
    tokens, seqs = values["max_model_len"], values["max_num_seqs"]
    s = resolve.scenario(
        **{k: values[k] for k in ("model", "gpu", "kv_cache_dtype", "tensor_parallel_size")},
        max_model_len=tokens, max_num_seqs=seqs, batch_size=seqs, prompt_tokens=tokens, new_tokens=0,
    )  # fmt: skip
    weights, cache = model_weights.part(s), kv_cache.part(s)
    rows, start = [piece(0, "model_weights", t("part.model_weights", language), weights.bytes)], 0
    for term in cache.terms:
        whole = {"bar": t("part.kv_cache", language), "bar_bytes": cache.bytes, "start": start}
        rows.append(piece(1, "kv_cache", term.name, term.bytes, **whole))
        start += term.bytes
    rows.append(piece(2, charts_sizes.CARD, s.gpu.name, s.gpu.memory_bytes))
    said = t(
        "kv.said", language, size=show(cache.bytes), seqs=f"{seqs:,}", tokens=f"{tokens:,}",
        ratio=f"{cache.bytes / weights.bytes:.3g}", weights=show(weights.bytes),
        left=show(s.gpu.memory_bytes - cache.bytes - weights.bytes),
    )  # fmt: skip
    return Figure(rows=tuple(rows), text=said, command=commands.command_line(s))


def draw(data: alt.Data, language: str) -> alt.LayerChart:
    """The widget's chart."""
    return charts_sizes.sizes(
        data, bars=3, title=t("kv.widget_title", language), description=t("kv.widget_description", language)
    )


MODELS = (*map(short, KINDS.values()), "Qwen3-8B", "gemma-3-12b-it", "Llama-3.1-70B", "DeepSeek-V3")
WIDGET = Widget(
    name="kv_cache",
    controls=(
        Control(field="model", kind="choice", values=MODELS, start="Llama-3.1-8B"),
        Control(
            field="gpu", kind="choice", values=("L4", "A100-40GB", "H100-80GB", "H200"), start="H100-80GB"
        ),
        Control(field="max_model_len", flag="--max-model-len", values=powers(1024, LONGEST), start=8192),
        Control(field="max_num_seqs", flag="--max-num-seqs", values=powers(1, 256), start=1),
        Control(
            field="kv_cache_dtype",
            kind="choice",
            flag="--kv-cache-dtype",
            values=("auto", "fp8"),
            start="auto",
        ),
        Control(field="tensor_parallel_size", flag="--tensor-parallel-size", values=powers(1, 16), start=1),
    ),
    compute=compute,
    draw=draw,
)
