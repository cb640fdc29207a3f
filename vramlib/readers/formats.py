"""The quantization that a checkpoint's config declares, found wherever it may stand, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib.readers.format_methods import METHODS, Config
from vramlib.specs import QuantSpec


def quantization(config: Config) -> QuantSpec | None:
    """How the weights of a checkpoint are compressed, from its config; ``None`` when they are not.

    Parameters
    ----------
    config : a Hugging Face config.json, ``hf_quant_config.json`` in it under its own name where there is one [-]

    Returns
    -------
    The format with this file's own group size, scales and exceptions [-]

    Raises
    ------
    ValueError : the method is not known, or its numbers are missing or make no sense

    Examples
    --------
    >>> found = quantization({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 64}})
    >>> found.name, found.weight_bits, found.group_size
    ('gptq', 4, 64)
    >>> quantization({}) is None
    True

    Source
    ------
    transformers 5.23, utils/quantization_config.py: the names of each method's fields.
    """
    declared = _declared(config)
    if not declared:
        return None
    method = _method(declared)
    if method not in METHODS:
        said = (
            f"quantization method {method!r} is not known"
            if method
            else "quantization_config names no quant_method"
        )
        raise ValueError(
            f"{said}; known: {', '.join(METHODS)}; put the .safetensors beside config.json for exact bytes"
        )
    found = METHODS[method](declared)
    return _checked(found, method) if found else None


def mixed(config: Config) -> bool:
    """Whether one file has several formats, of which ``quantization`` gives the narrowest.

    Parameters
    ----------
    config : as for ``quantization`` [-]

    Returns
    -------
    True when sizes from config.json alone are too small [-]

    Examples
    --------
    >>> mixed({"quantization_config": {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}})
    True
    """
    declared = _declared(config)
    inner = declared.get("quantization")
    algorithm = (inner if isinstance(inner, Mapping) else declared).get("quant_algo")
    groups = declared.get("config_groups")
    kinds = (
        [str(g.get("weights")) for g in groups.values() if isinstance(g, Mapping)]
        if isinstance(groups, Mapping)
        else []
    )
    return algorithm == "MIXED_PRECISION" or len(set(kinds)) > 1


def _declared(config: Config) -> dict[str, Any]:
    """The first place that declares one: outer or inner text config, older names, NVIDIA's own file."""
    inner = config.get("text_config")
    places = [config, inner if isinstance(inner, Mapping) else {}]
    for key in ("quantization_config", "compression_config", "hf_quant_config"):
        for place in places:
            if isinstance(place.get(key), Mapping) and place[key]:
                return dict(place[key])
    return {}


def _method(declared: Config) -> str:
    """The method's name in one spelling; older files carry only the method's own fields."""
    text = str(declared.get("quant_method") or "").lower().replace("_", "-").removeprefix("intel/")
    if "load_in_4bit" in declared or "load_in_8bit" in declared or "_load_in_4bit" in declared:
        return "bitsandbytes"
    if "quant_algo" in declared or isinstance(declared.get("quantization"), Mapping):
        return "modelopt"
    if not text and "config_groups" in declared:
        return "compressed-tensors"
    return text


def _checked(spec: QuantSpec, method: str) -> QuantSpec:
    sizes = (spec.weight_bits, spec.block_rows, spec.group_size + 2)
    if not all(0 < n <= 1 << 20 for n in sizes) or spec.weight_bits > 32:
        raise ValueError(
            f"quantization_config ({method}): {spec.weight_bits} bits, group_size {spec.group_size}; "
            "2 to 8 bits and a positive group size (or -1) are needed"
        )
    return spec
