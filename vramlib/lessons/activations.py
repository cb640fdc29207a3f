"""Notebook 03: depth, the phases of one forward pass, engines side by side, and the widget of a serving engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np

from vramlib import charts_growth, charts_sizes, commands, resolve, tables
from vramlib.components import activations, kv_cache, model_weights, prefill_padding
from vramlib.controls import Control, Figure, Widget, powers
from vramlib.lessons import bars
from vramlib.messages import t
from vramlib.specs import PART_COLORS, ModelSpec, Scenario
from vramlib.units import show

DEPTHS = (2, 4, 8, 16, 32, 64)
LENGTHS = (8192, 2048, 512)
ATTENTION = ("sdpa", "eager")
PARTS = ("model_weights", "kv_cache", "activations")


def deep(model: ModelSpec, num_hidden_layers: int) -> ModelSpec:
    """The same widths with another number of layers, in the model's own mixture.

    Parameters
    ----------
    model : whose layers are taken [-]
    num_hidden_layers : how many [-]

    Returns
    -------
    A model that nobody has trained [-]

    Examples
    --------
    >>> deep(resolve.scenario(model="Llama-3.1-8B").model, 64).num_hidden_layers
    64
    """
    n, own = num_hidden_layers, model.num_hidden_layers
    taken = (i * own // n if n <= own else i % own for i in range(n))
    layers = tuple(model.layers[i] for i in taken)
    return dataclasses.replace(model, num_hidden_layers=n, layers=layers)


def one_pass(
    model: str | ModelSpec, tokens: Any, *, attn_implementation: str = "sdpa", engine: str = "transformers"
) -> Scenario:
    """One prompt that is read in one pass.

    Parameters
    ----------
    model : a name of the catalogue, or a model [-]
    tokens : of the prompt, one number or an array of them [token]
    attn_implementation : sdpa or eager [-]
    engine : vllm, sglang, transformers or llama.cpp [-]

    Returns
    -------
    The scenario [-]
    """
    longest = {"max_model_len": tokens} if engine == "llama.cpp" else {}
    return resolve.scenario(
        model=model, engine=engine, prompt_tokens=tokens, new_tokens=0, attn_implementation=attn_implementation,
        **longest,
    )  # fmt: skip


def depth_chart(language: str = "en", model: str = "Llama-3.1-8B") -> alt.LayerChart:
    """Weights, cache and activations of one prompt from 2 to 64 layers; tokens and attention are chosen inside.

    Parameters
    ----------
    language : en or vi [-]
    model : whose widths the layers have [-]

    Returns
    -------
    A chart that moves without a kernel [-]
    """
    rows = [
        row for n in DEPTHS for row in _depth_rows(deep(resolve.scenario(model=model).model, n), language)
    ]
    rows.sort(key=lambda row: row["order"])
    labels = {word: t(f"act.depth_{word}", language) for word in ("title", "description", "x", "y")}
    choose = [
        charts_growth.chooser("tokens", LENGTHS, t("act.chooser_tokens", language)),
        charts_growth.chooser("attn_implementation", ATTENTION),
    ]
    colors = [PART_COLORS[key] for key in PARTS]
    return charts_growth.growth(rows, labels=labels, choose=choose, x_ticks=DEPTHS, colors=colors, y_step=2)


def _depth_rows(model: ModelSpec, language: str) -> list[dict[str, Any]]:
    """One depth: three parts at all lengths, with both kinds of attention."""
    rows = []
    for attention in ATTENTION:
        s = one_pass(model, np.array(LENGTHS), attn_implementation=attention)
        for order, component in enumerate((model_weights, kv_cache, activations)):
            sizes = np.broadcast_to(component.size_bytes(s), (len(LENGTHS),))
            name = t(f"part.{PARTS[order]}", language)
            rows += [
                {"series": name, "x": model.num_hidden_layers, "y": int(y), "tokens": tokens, "order": order}
                | {"attn_implementation": attention}
                for tokens, y in zip(LENGTHS, sizes, strict=True)
            ]
    return rows


def phases(model: ModelSpec, tokens: Any) -> dict[str, Any]:
    """What is alive in each phase of one pass of transformers; the largest is the peak.

    Parameters
    ----------
    model : widths [-]
    tokens : read in this pass [token]

    Returns
    -------
    Phase to size, logits once for the last token and once for every token [byte]
    """
    return {
        "mlp": activations.mlp_bytes(model, tokens),
        "sdpa": activations.sdpa_bytes(model, tokens),
        "eager": activations.eager_bytes(model, tokens, tokens),
        "last": activations.logits_bytes(model, 1, tokens),
        "every": activations.logits_bytes(model, tokens, tokens),
    }


def phases_chart(language: str = "en", model: str = "Llama-3.1-8B") -> alt.LayerChart:
    """The phases from 256 to 32,768 tokens: all are lines, eager attention bends up."""
    tokens = np.array(powers(256, 32_768))
    found = phases(resolve.scenario(model=model).model, tokens)
    rows = [
        {"series": t(f"act.phase_{phase}", language), "x": int(x), "y": int(y)}
        for phase, sizes in found.items()
        for x, y in zip(tokens, sizes, strict=True)
    ]
    labels = {word: t(f"act.phases_{word}", language) for word in ("title", "description", "x", "y")}
    return charts_growth.growth(rows, labels=labels, x_ticks=tokens.tolist(), height=280, y_step=2)


def logits_table(model: str = "Llama-3.1-8B", language: str = "en") -> tables.Table:
    """The same prompt with the logits of one token, and with those of all."""
    m, rows = resolve.scenario(model=model).model, []
    for tokens in (512, 2048, 8192):
        sizes = [
            activations.transformers_bytes(m, tokens, tokens, n, attn_implementation=a)
            for n, a in ((1, "sdpa"), (tokens, "sdpa"), (1, "eager"))
        ]
        rows.append((f"{tokens:,}", *map(show, sizes)))
    columns = [t(f"act.column_{c}", language) for c in ("tokens", "last", "every", "eager")]
    return tables.table(columns, rows)


def engines_table(model: str, gpu: str, language: str = "en", *, tokens: int = 8192) -> tables.Table:
    """One prompt in several engines at their defaults: the largest step's activations.

    Parameters
    ----------
    model : a name of the catalogue [-]
    gpu : the card, on which some defaults depend [-]
    language : en or vi [-]
    tokens : of the prompt [token]

    Returns
    -------
    A row for each engine [-]
    """
    rows = []
    for engine, attention in (
        ("vllm", ""),
        ("sglang", ""),
        ("llama.cpp", ""),
        *(("transformers", a) for a in ATTENTION),
    ):
        given = {"attn_implementation": attention} if attention else {}
        longest = {"max_model_len": tokens} if engine == "llama.cpp" else {}
        s = resolve.scenario(
            model=model, gpu=gpu, engine=engine, prompt_tokens=tokens, new_tokens=0, **longest, **given
        )
        step = s.n_ubatch if engine == "llama.cpp" else tokens if attention else activations.step_tokens(s)
        rows.append((f"{engine} {attention}".strip(), f"{step:,}", show(activations.size_bytes(s))))
    columns = [t(f"act.column_{c}", language) for c in ("engine", "step", "size")]
    return tables.table(columns, rows)


def trial(s: Scenario) -> dict[str, int]:
    """What vLLM's trial run keeps alive: in the layers, and in the sampler its hidden states and its logits.

    Parameters
    ----------
    s : a scenario of vLLM [-]

    Returns
    -------
    ``layers``, ``hidden``, ``logits``, and the ``workspace`` of experts that stays in either [byte]

    Examples
    --------
    >>> s = resolve.scenario(model="Llama-3.1-8B", gpu="H100-80GB")
    >>> found = trial(s)
    >>> found["layers"], found["hidden"] + found["logits"]
    (989855744, 2019242803)
    """
    tokens, rows, b = s.max_num_batched_tokens, s.max_num_seqs, s.dtype_bytes
    each = activations.constant(s, "sampler_bytes_per_logit")
    hidden = activations.sampler_bytes(s.model, tokens, rows, b=b, c=0.0)
    return {
        "layers": activations.step_forward_bytes(s, tokens),
        "hidden": hidden,
        "logits": activations.sampler_bytes(s.model, tokens, rows, b=b, c=each) - hidden,
        "workspace": prefill_padding.kept_workspace_bytes(s),
    }


def compute(values: Mapping[str, Any], language: str) -> Figure:
    """Layers against sampler in vLLM's trial run, and the peak that it finds, for the widget."""
    s = resolve.scenario(**values)
    found, weights = trial(s), model_weights.size_bytes(s)
    words = {key: t(f"act.piece_{key}", language) for key in found}
    sampler, kept = found["hidden"] + found["logits"], found["workspace"]
    who = "sampler" if sampler > found["layers"] else "layers"
    peak = max(sampler, found["layers"])
    cut = [("activations", words[key], found[key]) for key in ("hidden", "logits")]
    whole = [
        ("activations", t(f"act.bar_{who}", language), peak),
        ("prefill_padding", words["workspace"], kept),
    ]
    rows = bars.bar(t("act.bar_layers", language), [("activations", words["layers"], found["layers"])])
    rows += bars.bar(t("act.bar_sampler", language), cut) + bars.bar(t("act.bar_trial", language), whole)
    said = t(
        "act.said", language, size=show(peak + kept), who=t(f"act.bar_{who}", language),
        ratio=f"{(peak + kept) / weights:.3g}", served=show(activations.size_bytes(s)),
    )  # fmt: skip
    return Figure(rows=tuple(rows), text=said, command=commands.command_line(s))


MODELS = ("Llama-3.1-8B", "Llama-2-7b-hf", "Qwen3-8B", "gemma-2-9b", "Qwen3-30B-A3B", "Llama-3.1-70B")
WIDGET = Widget(
    name="activations",
    controls=(
        Control(field="model", kind="choice", values=MODELS, start="Llama-3.1-8B"),
        Control(field="max_num_seqs", flag="--max-num-seqs", values=powers(1, 1024), start=1024),
        Control(
            field="max_num_batched_tokens",
            flag="--max-num-batched-tokens",
            values=powers(1024, 32_768),
            start=8192,
        ),
        Control(field="tensor_parallel_size", flag="--tensor-parallel-size", values=powers(1, 8), start=1),
    ),
    compute=compute,
    draw=charts_sizes.titled("act.widget_title", "act.widget_description", bars=3),
)
