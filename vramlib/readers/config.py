"""A config.json into a ``ModelSpec``: its architecture's inventory, with the quantization that it declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vramlib import architectures
from vramlib.readers.formats import mixed, quantization
from vramlib.readers.ignore import attach
from vramlib.readers.safetensors import load_json
from vramlib.specs import ModelSpec

EXTRA = "hf_quant_config.json"
"""NVIDIA's ModelOpt writes the quantization here where config.json does not have it."""


def spec(config: Mapping[str, Any], *, name: str = "", lenient: bool = False) -> ModelSpec:
    """The inventory that a config describes, as it is stored.

    Parameters
    ----------
    config : a Hugging Face config.json [-]
    name : what messages call the model [-]
    lenient : an unknown quantization is only a warning, as the file's headers give exact bytes [-]

    Returns
    -------
    The model with its quantization [-]

    Raises
    ------
    ValueError : a field that nothing sound can replace is missing, or the quantization is not known

    Examples
    --------
    >>> sizes = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "vocab_size": 100}
    >>> spec({"model_type": "llama", "num_attention_heads": 4, **sizes}).num_hidden_layers
    2
    """
    own = {k: v for k, v in config.items() if not k.startswith("_") or k == "_name_or_path"}
    model = architectures.build(own, name=name)
    if mixed(own):
        note = "several formats in one file: from config.json alone all count as the narrowest of them"
        model = replace(model, warnings=(*model.warnings, note))
    try:
        return attach(model, quantization(own))
    except ValueError as problem:
        if not lenient:
            raise ValueError(f"{model.name}: {problem}") from problem
        return replace(model, warnings=(*model.warnings, f"{problem}; weights are the bytes of the file"))


def load(path: Path) -> dict[str, Any]:
    """The fields of a config.json, with NVIDIA's quantization file beside it put in.

    Parameters
    ----------
    path : the config.json [-]

    Returns
    -------
    Its fields [-]

    Raises
    ------
    ValueError : not a JSON object of sound size
    """
    config, extra = load_json(path), path.with_name(EXTRA)
    return config | {"hf_quant_config": load_json(extra)} if extra.is_file() else config


def plain(model: ModelSpec) -> ModelSpec:
    """The same model before compression, for a name that asks for another format than the catalogue's.

    Parameters
    ----------
    model : a model of the catalogue [-]

    Returns
    -------
    Its inventory without a quantization [-]

    Raises
    ------
    ValueError : its config makes no sense
    """
    if model.quantization is None:
        return model
    keys = ("quantization_config", "compression_config", "hf_quant_config")
    config = {k: v for k, v in model.config.items() if k not in keys}
    if isinstance(config.get("text_config"), Mapping):
        config["text_config"] = {k: v for k, v in config["text_config"].items() if k not in keys}
    return architectures.build(config, name=model.name)
