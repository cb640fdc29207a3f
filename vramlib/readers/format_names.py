"""Quantization by name: rows of data/quantization.csv, their aliases, GGUF's tensor and file types."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from typing import Any

from vramlib import catalog
from vramlib.specs import ModelSpec, QuantSpec

GGUF_KEEP = frozenset({"norm", "router", "vision", "audio", "projector", "other"})
FAMILIES = ("fp8", "gptq", "awq", "nf4", "mxfp4", "nvfp4", "w4a16", "w8a8")
"""Words that engines use for a whole family of formats: on a compressed model they mean the model's own."""


@functools.cache
def rows() -> Mapping[str, QuantSpec]:
    """Formats of data/quantization.csv by name, GGUF tensor types among them.

    Returns
    -------
    name → QuantSpec [-]

    Examples
    --------
    >>> rows()["awq"].weight_bits, rows()["awq"].group_size
    (4, 128)
    """
    table = list(catalog.table("quantization"))
    found = {str(r["name"]): _of_row(r) for r in table if str(r["kind"]) == "quantized"}
    blocks = {str(r["name"]): r for r in table if str(r["kind"]) == "gguf"}
    return found | {name: _of_block(r) for name, r in blocks.items()}


def row(name: str) -> QuantSpec:
    """One format by its exact name.

    Parameters
    ----------
    name : as in data/quantization.csv [-]

    Returns
    -------
    Its numbers, before a file's own take their place [-]

    Raises
    ------
    KeyError : the table has no such row

    Examples
    --------
    >>> row("fp8-block").block_rows
    128
    """
    if name not in rows():
        raise KeyError(f"no row {name!r} in data/quantization.csv")
    return rows()[name]


def _of_row(r: Mapping[str, Any]) -> QuantSpec:
    numbers: dict[str, Any] = {
        key: int(r[key])
        for key in (
            "weight_bits",
            "group_size",
            "block_rows",
            "scale_bits",
            "zero_point_bits",
            "index_bits",
            "second_bits",
            "second_size",
        )
    }
    keep = frozenset(str(r["keeps_16_bit"]).split(";")) - {""}
    return QuantSpec(name=str(r["name"]), keep=keep, source=str(r["source"]), **numbers)


def _of_block(r: Mapping[str, Any]) -> QuantSpec:
    """A GGUF block as whole bits per weight, and the rest as the block's scale: its bytes are exact."""
    return _blocks(str(r["name"]), int(r["block_elements"]), int(r["block_bytes"]) * 8, str(r["source"]))


def _blocks(name: str, elements: int, bits: int, source: str) -> QuantSpec:
    whole = bits // elements
    return QuantSpec(
        name=name,
        weight_bits=whole,
        group_size=elements,
        scale_bits=bits - whole * elements,
        keep=GGUF_KEEP,
        source=source,
    )


@functools.cache
def aliases() -> Mapping[str, tuple[str, bool]]:
    """Every word that names a format, in one spelling, with its row and whether the word is a family's.

    Returns
    -------
    word → (row, several rows would do) [-]

    Examples
    --------
    >>> aliases()["awqmarlin"]
    ('awq', False)
    """
    found: dict[str, tuple[str, bool]] = {}
    for r in catalog.table("quantization"):
        name = str(r["name"])
        for word in (name, *str(r["aliases"]).split(";")):
            found.setdefault(_plain(word), (name, False))
        for word in str(r["ambiguous_aliases"]).split(";"):
            found.setdefault(_plain(word), (name, True))
    found.pop("", None)
    return found


def _plain(word: str) -> str:
    return "".join(c for c in word.lower() if c.isalnum() or c == ".")


@functools.cache
def file_types() -> Mapping[str, QuantSpec]:
    """GGUF file types (mixes such as Q4_K_M) as one average width, where the GGUF file is not at hand.

    Returns
    -------
    name → QuantSpec with the average spread over blocks of 256 weights [-]

    Examples
    --------
    >>> mix = file_types()["Q4_K_M"]
    >>> mix.weight_bits + mix.scale_bits / mix.group_size
    4.89453125

    Source
    ------
    llama.cpp, tools/quantize/README.md: bits per weight of Llama-3.1-8B by file type, printed to four digits.
    """
    table = catalog.table("gguf_file_types")
    named = ((str(r["name"]), float(r["bits_per_weight"]), str(r["source"])) for r in table)
    return {name: _blocks(name, 256, round(bits * 256), source) for name, bits, source in named}


def quantization_named(text: str, model: ModelSpec | None = None) -> QuantSpec | None:
    """The format that a word asks for; ``None`` when it asks for plain weights.

    An engine's name for a family (``compressed-tensors``, ``bitsandbytes``, ``fp8``) means the model's own format
    where the model is compressed already.

    Parameters
    ----------
    text : a row or alias of data/quantization.csv, or a GGUF file or tensor type [-]
    model : the model it is meant for, which may have a format of its own [-]

    Returns
    -------
    The format's numbers; the model's own where the word means that [-]

    Raises
    ------
    ValueError : no such word; the nearest are offered

    Examples
    --------
    >>> quantization_named("awq_marlin").name, quantization_named("int4").name, quantization_named("fp16")
    ('awq', 'awq', None)
    """
    word = _plain(text)
    own = model.quantization if model else None
    mixes = {_plain(n): s for n, s in file_types().items()}
    if word in mixes:
        return mixes[word]
    if word == "gguf" and own:
        return own
    name, vague = aliases().get(word) or _unknown(text)
    if own and (vague or name == own.name or (name in FAMILIES and own.name.startswith(name))):
        return own
    return rows().get(name)


def _unknown(text: str) -> tuple[str, bool]:
    known = [*(str(r["name"]) for r in catalog.table("quantization")), *file_types()]
    spelled = {_plain(n): n for n in (*known, *aliases())}
    near = [spelled[n] for n in difflib.get_close_matches(_plain(text), spelled, 3, 0.5)]
    hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known[:16])}"
    raise ValueError(f"no quantization named {text!r}; {hint}")


def own_row_of(name: str) -> tuple[str, bool] | None:
    """Row of the table that a part of a model's name stands for, or ``None``."""
    return aliases().get(_plain(name))
