"""What the claims are asked of: every text model of the catalogue, and the same scenario for each of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from vramlib import names
from vramlib.claims import Spread, Verdict
from vramlib.components import kv_cache, state
from vramlib.estimate import estimate
from vramlib.specs import Estimate, ModelSpec
from vramlib.units import GB

BIG_CARD, SMALL_CARD = "H100-80GB", "L4"
MIXED = (100, 300, 600, 1000)

Row = Mapping[str, str]
Check = Callable[[Row], Verdict]


@functools.cache
def text_models() -> tuple[ModelSpec, ...]:
    """Every model of the catalogue without vision or audio towers."""
    found = (names.model(name) for name in names.models())
    return tuple(m for m in found if not m.towers)


@functools.cache
def over(gpu: str = BIG_CARD, **given: Any) -> tuple[Estimate, ...]:
    """The same scenario for every text model."""
    return tuple(estimate(model=m, gpu=gpu, **given) for m in text_models())


def plain_bytes(m: ModelSpec) -> int:
    """What the seed calls the model's size: two bytes a parameter [byte]."""
    return 2 * m.params_total


def parts(key: str, found: tuple[Estimate, ...], unit: int = GB) -> dict[str, float]:
    """One part of many estimates by the model's name, in a unit."""
    return {e.model.name: e.part(key).bytes / unit for e in found}


def bounds(row: Row) -> tuple[float, float]:
    """The bounds that the claim prints."""
    return float(row["low"]), float(row["high"])


def decided(row: Row, sentence: str, *spreads: Spread, every: bool = False) -> Verdict:
    """The verdict of a row; with ``every`` its worst condition decides."""
    return Verdict(claim=row, spreads=spreads, sentence=sentence, every=every)


def middle(values: Mapping[str, float]) -> float:
    """The value in the middle, the larger of two."""
    return sorted(values.values())[len(values) // 2]


def cache_bytes(m: ModelSpec, tokens: int) -> int:
    """Keys and values of one sequence, and its recurrent states [byte]."""
    caches = [(c, n) for layer, n in m.layer_counts for c in layer.caches]
    rows = sum(n * kv_cache.row_bytes(c) * kv_cache.tokens_kept(c, tokens) for c, n in caches)
    return rows + sum(n * state.state_bytes(c) for c, n in caches if c.is_state)


def short(name: str) -> str:
    """A model's name without its organisation."""
    return name.rsplit("/", 1)[-1]
