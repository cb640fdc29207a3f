"""Engines by version: ``data/engines.json`` into an ``EngineSpec``.

A constant has one row per version range. A version outside every range uses the nearest one, and the spec
says so.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from typing import Any

from vramlib._paths import data_dir
from vramlib.specs import EngineSpec

ALIASES = {"llamacpp": "llama.cpp", "llama-cpp": "llama.cpp", "ollama": "llama.cpp", "hf": "transformers"}


@functools.cache
def _data() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((data_dir() / "engines.json").read_text(encoding="utf-8"))
    return loaded


def names() -> tuple[str, ...]:
    """Names of the engines we know."""
    return tuple(_data())


def numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version, so that versions compare.

    Raises
    ------
    ValueError: the text does not begin with a number (an optional ``v`` or llama.cpp's ``b`` before it).

    Examples
    --------
    >>> numbers("0.27.2rc1.dev150")
    (0, 27, 2)
    >>> numbers("b6000")
    (6000,)
    """
    match = re.match(r"[vb]?(\d{1,9}(?:\.\d{1,9})*)", str(version).strip())
    if not match:
        raise ValueError(
            f"engine_version {version!r} is not a version; write it as 0.19.0 (llama.cpp: b6000)"
        )
    return tuple(int(n) for n in match[1].split("."))


def _covers(row: dict[str, Any], version: tuple[int, ...]) -> bool:
    low, high = numbers(row["from"]), numbers(row["to"])
    return low <= version[: len(low)] and version[: len(high)] <= high


def _distance(row: dict[str, Any], version: tuple[int, ...]) -> tuple[int, ...]:
    edge = numbers(row["from"]) if version < numbers(row["from"]) else numbers(row["to"])
    return tuple(abs(a - b) for a, b in zip(edge, (*version, 0, 0), strict=False))


@functools.lru_cache(512)
def engine(name: str, version: str = "") -> EngineSpec:
    """Defaults and constants of one engine in one version.

    Parameters
    ----------
    name : vllm, sglang, transformers or llama.cpp [-]
    version : as the engine prints it; empty for the default of data/engines.json [-]

    Raises
    ------
    ValueError: the engine is not known (the nearest is offered), or the version cannot be read.

    Examples
    --------
    >>> engine("vllm", "0.16.0").value("sampler_bytes_per_logit")
    38.3
    >>> engine("vllm", "0.19.1").value("charges_cuda_graphs")
    False
    """
    key = ALIASES.get(name.lower().strip(), name.lower().strip())
    if key not in _data():
        near = difflib.get_close_matches(key, [*names(), *ALIASES], 1)
        hint = f"; nearest: {ALIASES.get(near[0], near[0])}" if near else ""
        raise ValueError(f"no engine named {name!r}{hint}; known: {', '.join(names())}")
    entry = _data()[key]
    version = str(version).strip() or entry["default_version"]
    wanted = numbers(version)
    constants: dict[str, Any] = {}
    for row in sorted(entry["constants"], key=lambda r: (not _covers(r, wanted), _distance(r, wanted))):
        constants.setdefault(row["key"], row)
    known = all(_covers(r, wanted) for r in constants.values()) and wanted <= numbers(entry["newest"])
    return EngineSpec(name=key, version=version, constants=constants, known=known)


def checked_until(name: str) -> str:
    """Newest version whose constants were compared with start-up logs, or ``""`` where none were."""
    return str(_data()[name].get("checked_until", ""))
