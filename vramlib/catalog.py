"""The facts of data/ as tables and specs: every row has a source and the day it was read."""

from __future__ import annotations

import csv
import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vramlib._paths import data_dir
from vramlib.specs import GpuSpec, ModelSpec
from vramlib.units import MiB

_NUMBERS = {
    "memory_bytes": int,
    "memory_bytes_nvidia_smi": int,
    "num_sms": int,
    "memory_gb_vendor": float,
    "bandwidth_gb_s": float,
    "bf16_dense_tflops": float,
}
_MAKERS = re.compile("nvidia|geforce|tesla|quadro|rtx|gtx|amd|radeon|instinct|intel")


def table(name: str) -> list[dict[str, str]]:
    """Rows of one table of facts, each a mapping from column to text.

    Parameters
    ----------
    name : a CSV file in data/, without its ending: ``gpus``, ``runs/vllm`` [-]

    Returns
    -------
    The rows in the file's order; an empty cell is an empty string [-]

    Raises
    ------
    KeyError : no such table; the nearest names are offered
    ValueError : a row without ``source`` or ``read_on``, or with more or fewer cells than the header

    Examples
    --------
    >>> table("conversion")[2]["params"], table("conversion")[2]["fp16_gb"]
    ('7B', '13')
    """
    return [dict(row) for row in _rows(name)]


def gpus() -> tuple[GpuSpec, ...]:
    """Every card of the catalogue, in the table's order.

    Returns
    -------
    One spec a card; slices of a card (MIG) are rows of their own [-]

    Examples
    --------
    >>> len(gpus()) > 80
    True

    Source
    ------
    data/gpus.csv
    """
    return tuple(_cards().values())


def gpu(name: str) -> GpuSpec:
    """One card by its name as people write it: any case, spaces or dashes, with or without the maker's words.

    Parameters
    ----------
    name : ``H100-80GB``, ``h100 80gb``, ``NVIDIA GeForce RTX 4090``, ``4090`` [-]

    Returns
    -------
    The card; its warnings tell that the name fits several cards, or that its memory was derived [-]

    Raises
    ------
    KeyError : no card of that name; the nearest ones are offered

    Examples
    --------
    >>> gpu("nvidia l4").memory_bytes
    23583784960
    >>> gpu("A100").name, gpu("A100").warnings
    ('A100-80GB', ("gpu 'A100' fits several cards, read as A100-80GB; see vram gpus",))
    >>> gpu("RTX 4900")
    Traceback (most recent call last):
    KeyError: "no GPU named 'RTX 4900' in data/gpus.csv; nearest: RTX-4090, ..."

    Source
    ------
    data/gpus.csv: cudaMemGetInfo's total where it was printed, else the rule in its column memory_how.
    """
    key = _plain(name)
    if key not in _gpu_names():
        raise KeyError(f"no GPU named {name!r} in data/gpus.csv; {_nearest_gpus(key)}")
    card, ambiguous = _gpu_names()[key]
    spec = _cards()[card]
    if not ambiguous:
        return spec
    doubt = f"gpu {name!r} fits several cards, read as {card}; see vram gpus"
    return replace(spec, warnings=(doubt, *spec.warnings))


def models() -> tuple[str, ...]:
    """Names of every model of the catalogue, with their organisation.

    Returns
    -------
    In alphabetical order [-]

    Examples
    --------
    >>> "meta-llama/Llama-3.1-8B" in models()
    True

    Source
    ------
    data/models/*.json
    """
    from vramlib import names

    return names.models()


def model(name: str) -> ModelSpec:
    """One model by its name as people write it: any case, with or without organisation, or a variant of it.

    Parameters
    ----------
    name : ``Llama-3.1-8B``, ``qwen2.5-7b-instruct``, ``Qwen2.5-7B-Instruct-AWQ`` [-]

    Returns
    -------
    The model; its warnings tell what a variant was read as [-]

    Raises
    ------
    KeyError : no model of that name; the nearest ones are offered

    Examples
    --------
    >>> model("llama-3.1-8b").params_total
    8030261248

    Source
    ------
    data/models/*.json
    """
    from vramlib import names

    return names.model(name)


@functools.cache
def _rows(name: str) -> tuple[Mapping[str, str], ...]:
    path = data_dir() / f"{name}.csv"
    if not path.is_file():
        files = data_dir().rglob("*.csv")
        known = sorted(f.relative_to(data_dir()).with_suffix("").as_posix() for f in files)
        nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
        raise KeyError(f"no table named {name!r} in data; nearest: {', '.join(nearest)}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = tuple(csv.DictReader(file))
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise ValueError(f"{path.name}: row {number} has not as many cells as the header")
        if not (row.get("source") and row.get("read_on")):
            raise ValueError(f"{path.name}: row {number} lacks source or read_on; give both")
    return rows


@functools.cache
def _cards() -> Mapping[str, GpuSpec]:
    return {row["name"]: _gpu_spec(row) for row in _rows("gpus")}


def _gpu_spec(row: Mapping[str, str]) -> GpuSpec:
    how = f"{row['name']}: memory_bytes was not printed but derived: {row['memory_how']}"
    capability = row["compute_capability"]
    numbers: dict[str, Any] = {name: kind(row[name] or 0) for name, kind in _NUMBERS.items()}
    return GpuSpec(
        name=row["name"],
        vendor=row["vendor"],
        arch=row["arch"],
        compute_capability=float(capability) if re.fullmatch(r"\d+\.\d+", capability) else 0.0,
        unified_memory=row["unified_memory"] == "true",
        **_context(row),
        memory_basis=row["memory_basis"],
        aliases=tuple(filter(None, row["aliases"].split(";"))),
        source=row["memory_source"],
        warnings=(how,) if row["memory_basis"] == "derived" else (),
        **numbers,
    )


def _context(row: Mapping[str, str]) -> dict[str, Any]:
    """Size of an idle CUDA context: the card's own printed figure, else the rule of its kind of memory."""
    kind = (
        "HBM"
        if row["memory_type"].startswith("HBM")
        else "GDDR"
        if row["memory_type"].startswith("GDDR")
        else "other"
    )
    rule = next(
        r
        for r in _rows("cuda_context")
        if r["kind"] == "rule" and r["card"] == (kind if row["vendor"] == "NVIDIA" else "other")
    )
    low, high, value = (float(rule[k]) for k in ("low_mib", "high_mib", "value_mib"))
    if row["num_sms"] and rule["mib_per_sm"]:
        value = min(high, max(low, float(rule["mib_per_sm"]) * int(row["num_sms"])))
    if printed := row["cuda_context_mib"]:
        value = float(printed)
        low, high = min(low, 0.9 * value), max(high, 1.1 * value)
    sizes = {"": value, "_low": low, "_high": high}
    return {f"cuda_context{end}_bytes": round(mib * MiB) for end, mib in sizes.items()} | {
        "cuda_context_basis": "measured" if printed else "modelled",
        "cuda_context_source": row["cuda_context_source"]
        if printed
        else f"data/cuda_context.csv, rule {rule['card']}",
    }


@functools.cache
def _gpu_names() -> Mapping[str, tuple[str, bool]]:
    """Every spelling, made plain → the card's name and whether that spelling fits other cards too."""
    names: dict[str, tuple[str, bool]] = {}
    for row in _rows("gpus"):
        doubtful = {_plain(word) for word in row["ambiguous_aliases"].split(";")}
        for word in (row["name"], *filter(None, row["aliases"].split(";"))):
            names.setdefault(_plain(word), (row["name"], _plain(word) in doubtful))
    return names


def _nearest_gpus(key: str) -> str:
    near = difflib.get_close_matches(key, list(_gpu_names()), n=8, cutoff=0.5)
    cards = list(dict.fromkeys(_gpu_names()[word][0] for word in near))[:3]
    return f"nearest: {', '.join(cards)}" if cards else "vram gpus lists them all"


def _plain(name: str) -> str:
    """Small letters and digits only, without the maker's words."""
    return re.sub("[^a-z0-9]", "", _MAKERS.sub("", str(name).lower()))
