"""Each quantization method's own words in config.json as a ``QuantSpec``: one short function per method.

Base numbers are the rows of data/quantization.csv; what a file says of itself takes their place.
Source: transformers 5.23, utils/quantization_config.py; compressed-tensors, quantization/quant_args.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vramlib.readers.format_names import row
from vramlib.specs import ROLES, QuantSpec

ONLY_EXPERTS = frozenset(ROLES) - {"expert"}
Config = Mapping[str, Any]


def _number(declared: Config, key: str, default: int) -> int:
    """A whole number of the file, or the default where it is absent or null."""
    value = declared.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise ValueError(f"quantization_config: {key} is {value!r}; a whole number is needed")
    return int(value)


def _names(declared: Config, *keys: str) -> tuple[str, ...]:
    """Module names that stay plain, from the first key that lists any."""
    for key in keys:
        value = declared.get(key)
        if isinstance(value, (list, tuple)) and value:
            return tuple(str(v) for v in value)
    return ()


def _group(size: int) -> int:
    """GPTQ's and AWQ's -1 means one group over the whole input, which is one scale per output channel."""
    return 0 if size <= 0 else size


def _gptq(declared: Config) -> QuantSpec:
    bits = _number(declared, "bits", 4)
    base = row("gptq")
    dynamic = declared.get("dynamic")
    skipped = [f"re:.*{k[2:]}" for k in dynamic if k.startswith("-:")] if isinstance(dynamic, Mapping) else []
    return replace(
        base,
        name="gptq-int8" if bits == 8 else "gptq",
        weight_bits=bits,
        group_size=_group(_number(declared, "group_size", 128)),
        zero_point_bits=bits,
        keep=base.keep - {"head"} if declared.get("lm_head") is True else base.keep,
        ignore=(*_names(declared, "modules_to_not_convert"), *skipped),
    )


def _awq(declared: Config) -> QuantSpec:
    bits = _number(declared, "bits", _number(declared, "w_bit", 4))
    size = _number(declared, "group_size", _number(declared, "q_group_size", 128))
    ignore = _names(declared, "modules_to_not_convert")
    return replace(row("awq"), weight_bits=bits, zero_point_bits=bits, group_size=_group(size), ignore=ignore)


def _auto_round(declared: Config) -> QuantSpec:
    like_awq = "awq" in str(declared.get("packing_format") or declared.get("backend") or "")
    base = (_awq if like_awq else _gptq)(declared)
    extra = declared.get("extra_config")
    plain = [
        str(name)
        for name, value in (extra.items() if isinstance(extra, Mapping) else ())
        if isinstance(value, Mapping) and (value.get("bits") or 0) >= 16
    ]
    return replace(base, ignore=(*base.ignore, *plain))


def _fp8(declared: Config) -> QuantSpec:
    ignore = _names(declared, "modules_to_not_convert", "ignored_layers")
    block = declared.get("weight_block_size")
    return _fp8_blocks(block, ignore) if block else replace(row("fp8"), ignore=ignore)


def _fp8_blocks(block: Any, ignore: tuple[str, ...]) -> QuantSpec:
    """One scale for a tile of ``block[0]`` outputs and ``block[1]`` inputs."""
    if not isinstance(block, (list, tuple)) or len(block) != 2 or not all(type(n) is int for n in block):
        raise ValueError(f"quantization_config: weight_block_size is {block!r}; two whole numbers are needed")
    return replace(row("fp8-block"), block_rows=block[0], group_size=block[1], ignore=ignore)


def _fbgemm(declared: Config) -> QuantSpec:
    return replace(row("fp8-channel"), ignore=_names(declared, "modules_to_not_convert"))


def _bitsandbytes(declared: Config) -> QuantSpec | None:
    ignore = _names(declared, "llm_int8_skip_modules")
    if declared.get("load_in_8bit") or declared.get("_load_in_8bit"):
        return replace(row("int8"), ignore=ignore)
    if not (declared.get("load_in_4bit") or declared.get("_load_in_4bit")):
        return None
    double = bool(declared.get("bnb_4bit_use_double_quant"))
    return replace(row("nf4-double-quant" if double else "nf4"), ignore=ignore)


def _mxfp4(declared: Config) -> QuantSpec:
    ignore = _names(declared, "modules_to_not_convert")
    return replace(row("mxfp4"), keep=row("mxfp4").keep | ONLY_EXPERTS, ignore=ignore)


def _plain_row(name: str) -> Callable[[Config], QuantSpec]:
    def read(declared: Config) -> QuantSpec:
        return replace(row(name), ignore=_names(declared, "modules_to_not_convert", "ignore", "exclude"))

    return read


MODELOPT = {
    "FP8": "fp8",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8-channel",
    "FP8_PB_WO": "fp8-block",
    "FP8_PB_REAL": "fp8-block",
    "NVFP4": "nvfp4",
    "NVFP4_AWQ": "nvfp4",
    "W4A8_NVFP4_FP8": "nvfp4",
    "MIXED_PRECISION": "nvfp4",
    "W4A16_AWQ": "w4a16",
    "W4A8_AWQ": "w4a16",
    "INT8_SQ": "w8a8",
    "MXFP8": "mxfp8",
    "MXFP4": "mxfp4",
}


def _modelopt(declared: Config) -> QuantSpec | None:
    inner = declared.get("quantization")
    own = {**declared, **(inner if isinstance(inner, Mapping) else {})}
    algorithm = str(own.get("quant_algo") or "").upper()
    if not algorithm:
        return _compressed(own) if "config_groups" in own else None
    if algorithm not in MODELOPT:
        raise ValueError(f"modelopt quant_algo {algorithm!r} is not known; known: {', '.join(MODELOPT)}")
    base = row(MODELOPT[algorithm])
    size = _number(own, "group_size", base.group_size) if base.group_size > 0 else base.group_size
    return replace(base, group_size=size, ignore=_names(own, "exclude_modules", "ignore"))


def _compressed(declared: Config) -> QuantSpec | None:
    groups = declared.get("config_groups")
    if not isinstance(groups, Mapping):
        raise ValueError("quantization_config (compressed-tensors): config_groups is missing")
    weighted = [
        g for g in groups.values() if isinstance(g, Mapping) and isinstance(g.get("weights"), Mapping)
    ]
    if not weighted:
        return None
    first = min(weighted, key=lambda g: _number(g["weights"], "num_bits", 8))
    form = str(first.get("format") or declared.get("format") or "")
    found = _compressed_weights(first["weights"], form)
    return replace(found, ignore=(*_names(declared, "ignore"), *_not_targets(weighted)))


def _not_targets(groups: list[Config]) -> tuple[str, ...]:
    """A pattern for every module that no group aims at; none when a group aims at all linear layers."""
    targets = [str(t) for g in groups for t in (g.get("targets") or ["Linear"])]
    if any(t in ("Linear", "Attention", "MLP") for t in targets):
        return ()
    wanted = "|".join(t[3:] if t.startswith("re:") else f"(?:.*\\.)?{re.escape(t)}$" for t in targets)
    return (f"re:(?!(?:{wanted}))",)


def _compressed_weights(weights: Config, form: str) -> QuantSpec:
    bits, kind = _number(weights, "num_bits", 8), str(weights.get("type") or "int")
    strategy, size = str(weights.get("strategy") or "tensor"), _number(weights, "group_size", 0)
    if kind == "float" and bits == 4:
        base = row("mxfp4" if form.startswith("mxfp4") or size == 32 else "nvfp4")
        return replace(base, group_size=size or base.group_size, keep=row("nvfp4").keep)
    if kind == "float":
        return _compressed_float(strategy, weights, size)
    zero = 0 if weights.get("symmetric", True) else bits
    name = "w8a8" if bits == 8 else "w4a16-asym" if zero else "w4a16"
    base = replace(row(name), weight_bits=bits, zero_point_bits=zero)
    if "pack" in form and bits == 8:
        base = replace(base, scale_bits=16)
    return replace(base, group_size={"tensor": -1, "channel": 0}.get(strategy, _group(size or 128)))


def _compressed_float(strategy: str, weights: Config, size: int) -> QuantSpec:
    if strategy == "block":
        return _fp8_blocks(weights.get("block_structure") or [128, 128], ())
    if strategy == "group" and size:
        return replace(row("mxfp8" if size == 32 else "fp8-channel"), group_size=size)
    return row("fp8" if strategy == "tensor" else "fp8-channel")


def _quark(declared: Config) -> QuantSpec:
    own = declared.get("global_quant_config")
    weight = own.get("weight") if isinstance(own, Mapping) else None
    if isinstance(weight, (list, tuple)) and weight:
        weight = weight[0]
    if not isinstance(weight, Mapping):
        raise ValueError("quantization_config (quark): global_quant_config.weight is missing")
    kind, scheme = str(weight.get("dtype") or ""), str(weight.get("qscheme") or "")
    channel = "per_channel" in scheme
    named = {"fp8_e4m3": "fp8-channel" if channel else "fp8", "int8": "w8a8", "fp4": "mxfp4", "int4": "w4a16"}
    if kind not in named:
        raise ValueError(f"quark weight dtype {kind!r} is not known; known: {', '.join(named)}")
    return replace(row(named[kind]), keep=row("fp8").keep, ignore=_names(declared, "exclude"))


def _torchao(declared: Config) -> QuantSpec:
    kind = declared.get("quant_type")
    while isinstance(kind, Mapping) and "default" in kind:
        kind = kind["default"]
    text = str(kind.get("_type") if isinstance(kind, Mapping) else kind).lower().replace("_", "")
    data = kind.get("_data") if isinstance(kind, Mapping) else None
    for word, name in (("int4", "w4a16-asym"), ("int8", "w8a8"), ("float8", "fp8-channel")):
        if word in text.split("weight")[0] or text.startswith(word):
            base = replace(row(name), ignore=_names(declared, "modules_to_not_convert"))
            size = _number(data, "group_size", 0) if isinstance(data, Mapping) else 0
            return replace(base, group_size=size) if size > 0 and word == "int4" else base
    raise ValueError(f"torchao quant_type {text!r} is not known; known: int4, int8 and float8 weights")


METHODS: dict[str, Callable[[Config], QuantSpec | None]] = {
    "gptq": _gptq,
    "awq": _awq,
    "auto-round": _auto_round,
    "fp8": _fp8,
    "fbgemm-fp8": _fbgemm,
    "compressed-tensors": _compressed,
    "bitsandbytes": _bitsandbytes,
    "mxfp4": _mxfp4,
    "mxfp8": _plain_row("mxfp8"),
    "nvfp4": _plain_row("nvfp4"),
    "modelopt": _modelopt,
    "quark": _quark,
    "torchao": _torchao,
}
