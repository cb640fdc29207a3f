"""Model names as people write them: any case, with or without organisation, chat and compressed variants."""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vramlib import repacks
from vramlib._paths import data_dir
from vramlib.readers.config import plain, spec
from vramlib.readers.format_names import file_types, rows
from vramlib.readers.ignore import attach
from vramlib.specs import ModelSpec

VARIANTS = frozenset(
    {"instruct", "it", "chat", "hf", "base", "pt", "sft", "thinking", "reasoning", "preview", "mtp", "gguf"}
    | {"ud", "mlx", "meta"}
)
"""Words that change what a model was trained on, not its shape."""
RELEASE = re.compile(r"\d{4}|\d{6}|\d{8}|v[01](\.\d+)*")
"""A date (2507, 0324) or a small version (v0.1) of the same shape; V2 and V3 are other models."""
QUANTIZED = {
    "quantized.w8a8": "w8a8", "quantized.w4a16": "w4a16", "quantized.w8a16": "gptq-int8",
    "fp8-dynamic": "fp8-channel", "fp8-block": "fp8-block", "fp8-per-tensor": "fp8", "fp8": "fp8",
    "gptq-int8": "gptq-int8", "gptq-8bit": "gptq-int8", "gptq-int4": "gptq", "gptq-4bit": "gptq",
    "gptq": "gptq",
    "awq-int4": "awq", "awq-4bit": "awq", "awq": "awq", "autoround-int4": "gptq", "autoround": "gptq",
    "nvfp4a16": "nvfp4", "nvfp4": "nvfp4", "fp4": "nvfp4", "mxfp4": "mxfp4", "mxfp8": "mxfp8",
    "unsloth-bnb-4bit": "nf4-double-quant", "bnb-4bit": "nf4-double-quant", "bnb-8bit": "int8", "bnb": "nf4",
    "w8a8": "w8a8", "w4a16": "w4a16", "int4": "w4a16", "4bit": "w4a16", "int8": "w8a8", "8bit": "w8a8",
    "bf16": "none", "fp16": "none", "f16": "none",
}  # fmt: skip
"""What publishers append to a name, longest first, and the row of data/quantization.csv it stands for."""
FP8_BLOCK_PUBLISHERS = ("qwen", "deepseek-ai")
"""Their files named FP8 have one scale per tile of 128 × 128 (weight_block_size in config.json)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a name was read as: a catalogue entry, a format (``""`` its own), what to tell the user."""

    model_id: str
    quantization: str = ""
    note: str = ""


def models() -> tuple[str, ...]:
    """Names of every model in the catalogue, with their organisation.

    Returns
    -------
    In alphabetical order [-]

    Examples
    --------
    >>> "meta-llama/Llama-3.1-8B" in models()
    True
    """
    return tuple(sorted(_files()))


@functools.lru_cache(maxsize=1024)
def model(name: str) -> ModelSpec:
    """One model of the catalogue by its name as people write it.

    Parameters
    ----------
    name : ``Llama-3.1-8B``, ``qwen/qwen2.5-7b-instruct``, ``Qwen2.5-7B-Instruct-AWQ`` [-]

    Returns
    -------
    Its inventory; for a compressed repack that of the base model with ``quantization`` and a warning [-]

    Raises
    ------
    KeyError : no such model; the nearest names are offered

    Examples
    --------
    >>> model("llama-3.1-8b").params_total
    8030261248
    >>> model("Qwen2.5-7B-Instruct-AWQ").quantization.name
    'awq'
    """
    found = find(name)
    built = _spec(found.model_id)
    if found.quantization:
        mix = found.quantization in _file_type_words().values()
        quant = file_types().get(found.quantization) or rows().get(found.quantization)
        quant = repacks.as_published(quant, name, built)
        built = replace(attach(plain(built), quant), gguf_file_type=found.quantization if mix else "")
    return replace(built, warnings=(found.note, *built.warnings)) if found.note else built


@functools.cache
def _spec(model_id: str) -> ModelSpec:
    entry = json.loads(_files()[model_id].read_text(encoding="utf-8"))
    return replace(spec(entry, name=model_id), source=str(entry.get("_source", {}).get("source", "")))


@functools.lru_cache(maxsize=4096)
def find(name: str) -> Match:
    """The catalogue entry that a name means, without building it.

    Parameters
    ----------
    name : as people write it [-]

    Returns
    -------
    The entry, the format its variant stands for, and a note where the name was not the entry's own [-]

    Raises
    ------
    KeyError : no such model; the nearest names are offered

    Examples
    --------
    >>> find("TheBloke/Mixtral-8x7B-Instruct-v0.1-AWQ").model_id
    'mistralai/Mixtral-8x7B-v0.1'
    """
    words = _words(name)
    if own := _exact(words):
        return Match(model_id=own)
    rest, quantization, said = _peel(words)
    bare = _peel(_words(re.sub(r"\(.*?\)", " ", str(name))))[0]
    model_id = _exact(rest) or _loose(rest) or _exact(bare) or _loose(bare)
    if not model_id:
        raise KeyError(f"no model named {name!r} in data/models; {_nearest(rest or words)}")
    if quantization == "fp8" and _block_scaled(name, model_id):
        quantization = "fp8-block"
    return Match(model_id=model_id, quantization=quantization, note=_note(name, model_id, quantization, said))


def _note(name: str, model_id: str, quantization: str, said: str) -> str:
    if quantization:
        if quantization == "none":
            return f"{name!r} is read as {model_id} with plain weights"
        doubt = "which modules its publisher left plain is not known from the name"
        return f"{name!r} is read as {model_id} with quantization {quantization}; {doubt}"
    if said == "gguf":
        hint = "no file type in the name, so weights count as plain; give the .gguf or quantization=Q4_K_M"
        return f"{name!r} is read as {model_id}; {hint}"
    return f"{name!r} is read as {model_id}"


def _block_scaled(name: str, model_id: str) -> bool:
    publisher = (name if "/" in name else model_id).split("/")[0].lower()
    return publisher in FP8_BLOCK_PUBLISHERS


def _words(name: str) -> tuple[str, ...]:
    """Small words of a name without its organisation; a point stays inside a word (2.5, w8a8)."""
    text = str(name).rsplit("/", 1)[-1].lower().removesuffix(".gguf")
    text = text.replace("auto_round", "autoround").replace("auto-round", "autoround")
    text = re.sub(r"\.(i?q\d\w*)$", r"-\1", text)
    return tuple(w for w in re.split(r"[^a-z0-9.+]+", _file_type_marked(text)) if w.strip("."))


def _file_type_marked(text: str) -> str:
    """``q4_k_m`` as one word, which else would fall apart at its underscores."""
    return re.sub(r"\b(i?q\d)_(\w+)\b", lambda m: f"{m[1]}.{m[2].replace('_', '.')}", text)


def _key(words: tuple[str, ...]) -> str:
    return "".join(words)


def _exact(words: tuple[str, ...]) -> str:
    return _own_names().get(_key(words)) or _other_names().get(_key(words), "")


def _peel(words: tuple[str, ...]) -> tuple[tuple[str, ...], str, str]:
    """The words without those of a compressed variant, the format they stand for, and a bare ``gguf``."""
    text, quantization = f"-{'-'.join(words)}-", ""
    for word, name in (*QUANTIZED.items(), *_file_type_words().items()):
        if f"-{word}-" in text:
            text, quantization = text.replace(f"-{word}-", "-", 1), quantization or name
    said = "gguf" if "gguf" in words and not quantization else ""
    return tuple(text.strip("-").split("-")), quantization, said


@functools.cache
def _file_type_words() -> Mapping[str, str]:
    names = sorted(file_types(), key=len, reverse=True)
    return {n.lower().replace("_", "."): n for n in (*names, "Q4_0", "Q4_1", "Q5_0", "Q5_1")}


def _loose(words: tuple[str, ...]) -> str:
    """The entry of the same shape: first without words for a variant, then without dates and versions too."""
    for index, strip in zip(_shapes(), (_without_variants, _without_releases), strict=True):
        candidates = index.get(_key(strip(words)), ())
        if candidates:
            return max(candidates, key=lambda c: (_likeness(words, c), -len(c)))
    return ""


def _likeness(words: tuple[str, ...], model_id: str) -> float:
    return difflib.SequenceMatcher(None, _key(words), _key(_words(model_id))).ratio()


def _without_variants(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(w for w in words if w not in VARIANTS)


def _without_releases(words: tuple[str, ...]) -> tuple[str, ...]:
    kept = _without_variants(words)
    return tuple(w for i, w in enumerate(kept) if i == 0 or not RELEASE.fullmatch(w))


@functools.cache
def _files() -> Mapping[str, Path]:
    """Catalogue entries by name; the file's name is the model's, ``/`` written ``--``."""
    return {p.stem.replace("--", "/", 1): p for p in sorted((data_dir() / "models").glob("*.json"))}


@functools.cache
def _own_names() -> Mapping[str, str]:
    return {_key(_words(model_id)): model_id for model_id in _files()}


@functools.cache
def _aliases() -> tuple[tuple[str, str], ...]:
    """The ``_aliases`` that entries carry; read only when a name is not an entry's own."""
    listed = {i: json.loads(p.read_text(encoding="utf-8")).get("_aliases") or () for i, p in _files().items()}
    return tuple((alias, model_id) for model_id, aliases in listed.items() for alias in aliases)


@functools.cache
def _other_names() -> Mapping[str, str]:
    return {_key(_words(alias)): model_id for alias, model_id in _aliases()}


@functools.cache
def _shapes() -> tuple[Mapping[str, tuple[str, ...]], Mapping[str, tuple[str, ...]]]:
    names = [*((i, i) for i in _files()), *_aliases()]
    found: tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]] = ({}, {})
    for spelled, model_id in names:
        words = _peel(_words(spelled))[0]
        for index, strip in zip(found, (_without_variants, _without_releases), strict=True):
            key = _key(strip(words))
            index[key] = tuple(dict.fromkeys((*index.get(key, ()), model_id)))
    return found


def _nearest(words: tuple[str, ...]) -> str:
    known = {_key(_words(i)): i for i in _files()}
    near = difflib.get_close_matches(_key(_without_variants(words)), known, n=3, cutoff=0.5)
    listed = ", ".join(known[n].rsplit("/", 1)[-1] for n in near)
    return f"nearest: {listed}" if near else "vram models lists them all"
