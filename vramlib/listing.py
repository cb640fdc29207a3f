"""What is known by name, as rows: the models and the cards of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from vramlib import catalog, names
from vramlib.units import show


def models(part_of_name: str = "") -> list[dict[str, Any]]:
    """Models whose name contains a text, with their exact parameter counts.

    Parameters
    ----------
    part_of_name : any case, blanks and hyphens do not matter; empty for all [-]

    Returns
    -------
    One row a model, in alphabetical order; a variant's name that none contains gives the model it is read as [-]

    Raises
    ------
    KeyError : nothing contains the text, and it is no other name of a model; the nearest is offered

    Examples
    --------
    >>> [row["params_total"] for row in models("llama 3.1 8b")]
    [8030261248]
    """
    named = [name for name in names.models() if _matches(part_of_name, [name])]
    found = [names.model(name) for name in named or [part_of_name]]
    return [
        {
            "name": m.name,
            "params_total": m.params_total,
            "params_active": m.params_active,
            "dtype": m.dtype,
            "max_position_embeddings": m.max_position_embeddings,
            "source": m.source or m.config.get("_source", {}).get("source", ""),
        }
        for m in found
    ]


def gpus(part_of_name: str = "") -> list[dict[str, Any]]:
    """Cards whose name or alias contains a text, with what CUDA can allocate from beside the vendor's label.

    Parameters
    ----------
    part_of_name : any case, blanks and hyphens do not matter; empty for all [-]

    Returns
    -------
    One row a card, sizes in bytes [-]

    Raises
    ------
    KeyError : nothing contains the text, and it is no other name of a card; the nearest are offered

    Examples
    --------
    >>> [row["name"] for row in gpus("h100 80")][:1]
    ['H100-80GB']
    """
    cards = [c for c in catalog.gpus() if _matches(part_of_name, (c.name, *c.aliases))] or [
        catalog.gpu(part_of_name)
    ]
    return [
        {
            "name": c.name,
            "vendor": c.vendor,
            "memory_bytes": c.memory_bytes,
            "memory_bytes_nvidia_smi": c.memory_bytes_nvidia_smi or None,
            "memory_gb_vendor": c.memory_gb_vendor or None,
            "memory_basis": c.memory_basis,
            "aliases": list(c.aliases),
            "source": c.source,
        }
        for c in cards
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as aligned columns for a terminal: sizes in GiB, lists and sources left to ``--json``.

    Parameters
    ----------
    rows : all with the same names, at least one [-]

    Returns
    -------
    Lines of text, the first with the names [-]
    """
    columns = [n for n in rows[0] if n not in ("aliases", "source")]
    cells = [[_title(n) for n in columns], *([_cell(n, row[n]) for n in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _matches(wanted: str, names: Iterable[str]) -> bool:
    return any(_plain(wanted) in _plain(name) for name in names)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.lower())


def _title(name: str) -> str:
    return name.replace("_bytes", "").replace("_", " ")


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if "bytes" in name:
        return show(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
