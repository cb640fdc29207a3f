"""The drafter of speculative decoding: a model's own multi-token prediction layers, or a second model.

Its weights and its cache stand beside the model's own on every rank.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from vramlib.specs import Layer, ModelSpec, Tensor

COUNTS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "mtp_transformer_layers")
NO_MODEL = ("ngram", "suffix", "none")


def num_prediction_layers(model: ModelSpec) -> int:
    """Multi-token prediction layers that a model's files bring along.

    Examples
    --------
    >>> from vramlib import catalog
    >>> num_prediction_layers(catalog.model("DeepSeek-V3")), num_prediction_layers(catalog.model("Llama-3.1-8B"))
    (1, 0)
    """
    text = model.config.get("text_config")
    for config in (model.config, text if isinstance(text, Mapping) else {}):
        for name in COUNTS:
            value = config.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return 0


def prediction_layers(model: ModelSpec) -> ModelSpec | None:
    """A model's own prediction layers as a model: copies of its last attention layer and a joining matrix each.

    Formula: layers · (last attention layer + d_model · 2 d_model + 3 d_model); embedding and head are shared;
    Qwen's families cut the joining matrix over ranks

    Parameters
    ----------
    model : the model that drafts for itself [-]

    Returns
    -------
    Its drafter, or None where its config.json names no such layer [-]

    Source
    ------
    vLLM 0.25, vllm/model_executor/models/qwen3_5_mtp.py and deepseek_mtp.py; transformers files name them mtp
    and nextn.
    """
    count = num_prediction_layers(model)
    if not count:
        return None
    width = model.hidden_size
    cut = "out" if model.model_type.startswith("qwen3") else "none"
    extra = (
        Tensor(name="eh_proj.weight", shape=(width, 2 * width), role="projector", split=cut),
        *(Tensor(name=f"{name}.weight", shape=(width,), role="norm") for name in ("enorm", "hnorm", "norm")),
    )
    layer = _last_attention(model)
    own = dataclasses.replace(layer, tensors=(*layer.tensors, *extra))
    return dataclasses.replace(
        model,
        name=f"{model.name} prediction layers",
        num_hidden_layers=count,
        layers=(own,) * count,
        embedding=(),
        head=(),
        towers=(),
        rope_tables=(),
    )


def _last_attention(model: ModelSpec) -> Layer:
    """The last layer that keeps rows for every token."""
    full = [x for x in model.layers if any(c.kind == "full" for c in x.caches)]
    return (full or list(model.layers))[-1]


def of(model: ModelSpec, own: Mapping[str, Any], notes: list[str]) -> ModelSpec | None:
    """The drafter of a launch; None without speculation or where the drafter is no model.

    Raises
    ------
    KeyError: the drafter's name is not in the catalogue; the nearest is named.
    """
    if not own.get("num_speculative_tokens"):
        return None
    name = own.get("speculative_model", "")
    if name.lower() in NO_MODEL:
        return None
    if name:
        from vramlib import readers

        return readers.model(name)
    drafter = prediction_layers(model)
    if drafter is None:
        notes.append(
            f"{model.name} names no prediction layers and speculative_model is not given;"
            " the drafter's weights and cache are left out"
        )
    return drafter
