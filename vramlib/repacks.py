"""What publishers of compressed models leave in 16 bit, where a name says no more than the format.

A recipe is not part of a format: each row of ``data/repacks.csv`` names the start-up that showed it.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import replace

from vramlib._paths import data_dir
from vramlib.specs import ModelSpec, QuantSpec


@functools.cache
def rows() -> tuple[dict[str, str], ...]:
    """The table, one row a format, publisher and family."""
    with (data_dir() / "repacks.csv").open(encoding="utf-8", newline="") as stream:
        return tuple(csv.DictReader(stream))


def as_published(quant: QuantSpec | None, name: str, model: ModelSpec) -> QuantSpec | None:
    """The format with the roles that this publisher is known to keep; unchanged where nothing is known.

    Parameters
    ----------
    quant : the format [-]
    name : of the repack as typed, its publisher before the stroke [-]
    model : the base model [-]

    Returns
    -------
    The same format, some more roles kept in 16 bit [-]

    Examples
    --------
    >>> from vramlib import catalog
    >>> kept = catalog.model("unsloth/Qwen3.6-27B-NVFP4").quantization.keep
    >>> "attention" in kept
    True
    """
    if quant is None:
        return None
    publisher = name.split("/")[0].lower() if "/" in name else ""
    for row in rows():
        same = row["format"] == quant.name and row["model_type"] == model.model_type
        if same and row["publisher"] in ("", publisher):
            return replace(quant, keep=quant.keep | frozenset(row["keeps_16_bit"].split(";")))
    return quant
