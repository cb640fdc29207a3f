"""Notebook 08: what tensor, pipeline, data and expert parallelism share out or repeat, and what NCCL keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from vramlib import resolve, tables
from vramlib.components import kv_cache, model_weights
from vramlib.lessons.kv_cache import short
from vramlib.messages import t
from vramlib.specs import ModelSpec, Tensor
from vramlib.units import MiB, round_up, show

WAYS = ("tensor", "pipeline", "data", "expert")
# Receive buffers of one NCCL connection, by protocol: slots and sizes of prims and of device.h.
PROTOCOLS: Mapping[str, int] = {"LL": 8 * 512 * 8 * 16, "LL128": 120 * 640 * 8 * 8, "SIMPLE": 4 * MiB}


def catalog_model(name: str) -> ModelSpec:
    """A model by the name or path that a scenario takes."""
    return resolve.scenario(model=name).model


# What a row of the table holds: the first rule that a tensor keeps decides.
GROUPS: Mapping[str, Callable[[Tensor], bool]] = {
    "expert": lambda x: x.role == "expert",
    "vocab": lambda x: x.split == "vocab",
    "kv": lambda x: x.split == "kv",
    "cut": lambda x: x.split in ("out", "in"),
    "whole": lambda x: True,
}


def only(model: ModelSpec, group: str) -> ModelSpec:
    """The inventory with the tensors of one group alone.

    Parameters
    ----------
    model : the whole inventory [-]
    group : one of ``GROUPS`` [-]

    Returns
    -------
    The same model, every other tensor left out [-]

    Examples
    --------
    >>> from vramlib import catalog
    >>> only(catalog.model("Llama-3.1-8B"), "whole").params_total      # two norms a layer, and the last one
    266240
    """

    def kept(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(x for x in tensors if next(name for name, rule in GROUPS.items() if rule(x)) == group)

    layers = tuple(dataclasses.replace(layer, tensors=kept(layer.tensors)) for layer in model.layers)
    return dataclasses.replace(
        model,
        layers=layers,
        embedding=kept(model.embedding),
        head=kept(model.head),
        towers=kept(model.towers),
    )


def all_cards(model: ModelSpec, way: str, cards: int) -> int:
    """Bytes of a model's tensors on all cards together [byte]."""
    if way == "pipeline":
        return sum(model_weights.tensor_bytes(model, pp=cards, stage=stage) for stage in range(cards))
    rank = {"tensor": {"tp": cards}, "data": {"dp": cards}, "expert": {"dp": cards, "ep": cards}}[way]
    return cards * model_weights.tensor_bytes(model, **rank)


def repeats(model: str, language: str = "en", *, cards: int = 8) -> tables.Table:
    """All cards together over one copy: 1× where a tensor is shared out, as many as cards where each has it whole.

    Parameters
    ----------
    model : a name of the catalogue [-]
    language : en or vi [-]
    cards : how many [-]

    Returns
    -------
    A row for each kind of tensor, and one for the cache of a token [-]
    """
    spec = catalog_model(model)
    rows = []
    for group in GROUPS:
        part = only(spec, group)
        one = model_weights.tensor_bytes(part)
        if one:
            times = [f"{all_cards(part, way, cards) / one:.3g}×" for way in WAYS]
            rows.append((t(f"proc.group_{group}", language), show(one), *times))
    one = kv_cache.bytes_per_token(spec)
    if one:
        by_heads = cards * kv_cache.bytes_per_token(spec, tp=cards) / one
        rows.append((t("proc.group_token", language), show(one), f"{by_heads:.3g}×", "1×", "1×", "1×"))
    columns = [t(f"proc.column_{c}", language) for c in ("tensors", "one")]
    return tables.table([*columns, *(f"{way} {cards}" for way in WAYS)], rows, caption=short(spec.name))


def connection_bytes() -> int:
    """Buffers of one pair of NCCL connections: what is received into, and what is sent from.

    Formula: round_up(LL + LL128 + SIMPLE, 2 MiB) + 2 MiB

    Returns
    -------
    One receiving and one sending end [byte]

    Examples
    --------
    >>> connection_bytes() >> 20
    12

    Source
    ------
    NCCL 2.27, src/transport/p2p.cc, src/include/device.h, src/init.cc: buffer sizes by protocol.
    """
    return round_up(sum(PROTOCOLS.values()), 2 * MiB) + 2 * MiB


def nccl_bytes(communicators: int, channels: int, connections: int = 1) -> int:
    """What NCCL keeps on one card: lazily, when an algorithm is first used.

    Formula: communicators · channels · connections · 12 MiB

    Parameters
    ----------
    communicators : groups of ranks that talk [-]
    channels : parallel rings, or trees [-]
    connections : pairs a channel: 1 in a ring, up to 3 in a tree [-]

    Returns
    -------
    Size [byte]

    Examples
    --------
    >>> nccl_bytes(1, 24) >> 20
    288
    """
    return communicators * channels * connections * connection_bytes()
