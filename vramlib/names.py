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
from vramlib.name_words import (
    FILE_TYPES_LIKE,
    FP8_BLOCK_PUBLISHERS,
    OTHER_SHAPE,
    RELEASE,
    SIZE,
    VARIANTS,
    file_type_words,
    key,
    peel,
)
from vramlib.name_words import words as name_words
from vramlib.readers.config import plain, spec
from vramlib.readers.format_names import file_types, rows
from vramlib.readers.ignore import attach
from vramlib.specs import ModelSpec


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
        mix = found.quantization in file_type_words().values()
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
    words = name_words(name)
    own = _exact(words)
    if own and own not in _repacks():
        return Match(model_id=own)
    publisher = str(name).rpartition("/")[0].rpartition("/")[2].lower()
    if own and publisher in ("", own.split("/")[0].lower()):
        return Match(
            model_id=own, note="" if publisher else f"{name!r} is read as {own}, its publisher's repack"
        )
    rest, quantization, said = peel(words)
    model_id, how = _entry(name, rest)
    if not model_id:
        raise KeyError(f"no model named {name!r} in data/models; {_nearest(rest or words)}")
    if quantization == "fp8" and _block_scaled(name, model_id):
        quantization = "fp8-block"
    return Match(
        model_id=model_id, quantization=quantization, note=_note(name, model_id, quantization, said, how)
    )


def _entry(name: str, rest: tuple[str, ...]) -> tuple[str, str]:
    """The entry that a name without its format means, and how: by its own name, a fine-tune's, its first words."""
    text = str(name)
    bare = peel(name_words(re.sub(r"\(.*?\)", " ", text)))[0]
    inside = tuple(peel(name_words(part))[0] for part in re.findall(r"\(([^()]*)\)", text))
    spelled = tuple(dict.fromkeys((rest, bare, *inside)))
    for words in spelled:
        if found := _exact(words):
            return found, ""
        if found := _fine_tunes().get(key(words), ""):
            return found, "a fine-tune of the same shape"
        if found := _loose(words):
            return found, ""
    found, own = _first_words(rest)
    return found, f"{own!r} is taken for a fine-tune of the same shape" if found else ""


def _first_words(words: tuple[str, ...]) -> tuple[str, str]:
    """The entry that the words up to the last size name, where the others name no other kind of model."""
    sizes = [i for i, word in enumerate(words) if SIZE.fullmatch(word)]
    for end in range(len(words) - 1, sizes[-1] if sizes else len(words), -1):
        if OTHER_SHAPE & set(words[end:]):
            break
        if found := _exact(words[:end]) or _loose(words[:end]):
            return found, "-".join(words[end:])
    return "", ""


def _note(name: str, model_id: str, quantization: str, said: str, how: str) -> str:
    read = f"{name!r} is read as {model_id}"
    if quantization == "none":
        return f"{read} with plain weights"
    if quantization:
        mix = f"; {said} is its publisher's own mix" if said in FILE_TYPES_LIKE else ""
        doubt = "which modules its publisher left plain is not known from the name"
        read = f"{read} with quantization {quantization}{mix}; {doubt}"
    elif said == "gguf":
        hint = "no file type in the name, so weights count as plain; give the .gguf or quantization=Q4_K_M"
        read = f"{read}; {hint}"
    elif said:
        read = f"{read}; the bits of {said} are not known, so weights count as plain; give quantization="
    return f"{read}; {how}" if how else read


def _block_scaled(name: str, model_id: str) -> bool:
    publisher = (name if "/" in name else model_id).split("/")[0].lower()
    return publisher in FP8_BLOCK_PUBLISHERS


def _exact(words: tuple[str, ...]) -> str:
    return _own_names().get(key(words)) or _other_names().get(key(words), "")


def _loose(words: tuple[str, ...]) -> str:
    """The entry of the same shape: first without words for a variant, then without dates and versions too."""
    for index, strip in zip(_shapes(), (_without_variants, _without_releases), strict=True):
        candidates = index.get(key(strip(words)), ())
        if candidates:
            return max(candidates, key=lambda c: (_likeness(words, c), -len(c)))
    return ""


def _likeness(words: tuple[str, ...], model_id: str) -> float:
    return difflib.SequenceMatcher(None, key(words), key(name_words(model_id))).ratio()


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
def _repacks() -> frozenset[str]:
    """Entries that are one publisher's compressed form of another entry: only its own name means them."""
    return frozenset(i for i in _files() if peel(name_words(i))[1] not in ("", "none"))


@functools.cache
def _own_names() -> Mapping[str, str]:
    return {key(name_words(model_id)): model_id for model_id in _files()}


@functools.cache
def _aliases() -> tuple[tuple[str, str], ...]:
    """The ``_aliases`` that entries carry; read only when a name is not an entry's own."""
    return _listed("_aliases")


@functools.cache
def _fine_tunes() -> Mapping[str, str]:
    """The ``_fine_tunes`` that entries carry: models of other makers with the same shape."""
    return {key(name_words(name)): model_id for name, model_id in _listed("_fine_tunes")}


@functools.cache
def _listed(field: str) -> tuple[tuple[str, str], ...]:
    listed = {i: json.loads(p.read_text(encoding="utf-8")).get(field) or () for i, p in _files().items()}
    return tuple((name, model_id) for model_id, names in listed.items() for name in names)


@functools.cache
def _other_names() -> Mapping[str, str]:
    return {key(name_words(alias)): model_id for alias, model_id in _aliases()}


@functools.cache
def _shapes() -> tuple[Mapping[str, tuple[str, ...]], Mapping[str, tuple[str, ...]]]:
    tuned = (pair for pair in _listed("_fine_tunes") if any(sign.isdigit() for sign in pair[0]))
    names = [*((i, i) for i in _files() if i not in _repacks()), *_aliases(), *tuned]
    found: tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]] = ({}, {})
    for spelled, model_id in names:
        words = peel(name_words(spelled))[0]
        for index, strip in zip(found, (_without_variants, _without_releases), strict=True):
            one = key(strip(words))
            index[one] = tuple(dict.fromkeys((*index.get(one, ()), model_id)))
    return found


def _nearest(words: tuple[str, ...]) -> str:
    known = {key(name_words(i)): i for i in _files()}
    near = difflib.get_close_matches(key(_without_variants(words)), known, n=3, cutoff=0.5)
    listed = ", ".join(known[n].rsplit("/", 1)[-1] for n in near)
    return f"nearest: {listed}" if near else "vram models lists them all"
