"""Bars cut into parts, as ``charts_sizes.sizes`` reads them: shared by the notebooks' widgets and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vramlib import charts_sizes
from vramlib.specs import GpuSpec, Part
from vramlib.units import GiB, show


def bar(name: str, pieces: Iterable[tuple[str, str, int]]) -> list[dict[str, Any]]:
    """One bar: its pieces end to end, its whole size beside its name.

    Parameters
    ----------
    name : what the bar is [-]
    pieces : key (a part, or ``card``), words and size of each [-], [-], [byte]

    Returns
    -------
    A row for each piece that is not empty [-]

    Examples
    --------
    >>> rows = bar("two", [("kv_cache", "a", 1 << 30), ("activations", "b", 1 << 30)])
    >>> [(r["bar"], r["start"], r["end"]) for r in rows]
    [('two|2.00 GiB', 0.0, 1.0), ('two|2.00 GiB', 1.0, 2.0)]
    """
    found = [(key, words, int(size)) for key, words, size in pieces if size > 0]
    whole, rows, start = show(sum(size for _, _, size in found)), [], 0
    for key, words, size in found:
        place = {"start": start / GiB, "end": (start + size) / GiB}
        rows.append({"bar": f"{name}|{whole}", "key": key, "piece": words, "size": show(size)} | place)
        start += size
    return rows


def parts(name: str, found: Iterable[Part], words: Mapping[str, str]) -> list[dict[str, Any]]:
    """A bar of an estimate's parts, with their names in the reader's language."""
    return bar(name, [(p.key, words[p.key], p.bytes) for p in found])


def card(gpu: GpuSpec) -> list[dict[str, Any]]:
    """The card's memory as a bar to compare with."""
    return bar(gpu.name, [(charts_sizes.CARD, gpu.name, gpu.memory_bytes)])
