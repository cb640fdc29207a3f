"""How far to trust a budget: the interval of each figure that an engine prints, from the intervals of its terms."""

from __future__ import annotations

import math
from typing import Any

from vramlib import budget
from vramlib.components import fragmentation, framework_buffers, model_weights, multi_process
from vramlib.specs import Budget, Scenario
from vramlib.units import MiB, maximum

Interval = tuple[Any, Any]
DRIVER_PAGE = 2 * MiB
SMALL_BUFFERS = 200
"""Layers hold small buffers that no checkpoint lists: at most one part in this many of the weights, by the logs."""
DRIVER_SHARE = 0.01
"""Totals that one card prints under different drivers lie within this share: data/gpu_readings.csv."""


def of(s: Scenario, b: Budget, stage: int = 0) -> dict[str, Interval]:
    """Low and high of each budget figure of one rank.

    Formula: KV pool ± √(Σ (deviation of each charged figure)²)

    Parameters
    ----------
    s, b : a scenario and its budget [-]
    stage : pipeline stage [-]

    Returns
    -------
    weights, activation_peak, non_torch, cuda_graph and kv_pool with their intervals; some versions print FlashInfer's
    workspace as part of the graphs [byte]

    Examples
    --------
    >>> from vramlib import resolve
    >>> s = resolve.scenario(model="Llama-3.1-8B", gpu="H100-80GB")
    >>> low, high = of(s, budget.of(s))["kv_pool"]
    >>> low < budget.of(s).kv_pool_bytes < high
    True
    """
    weights = model_weights.part(s, stage)
    rounding = fragmentation.weight_rounding_bytes(s, stage)
    small = weights.bytes // SMALL_BUFFERS
    growth = s.engine_spec.constants["non_torch_growth_bytes"]
    side = multi_process.side(s, stage)
    found: dict[str, Interval] = {
        "weights": (weights.low_bytes + rounding - small, weights.high_bytes + rounding + small),
        "activation_peak": budget.activation_interval(s, stage),
        "non_torch": tuple(
            b.non_torch_bytes + growth[end][side] - growth["value"][side] for end in ("low", "high")
        ),
        "cuda_graph": (
            framework_buffers.cuda_graph_bytes(s, stage, "low"),
            framework_buffers.charged_graph_bytes(s, stage, "high"),
        ),
    }
    return found | {"kv_pool": _pool(s, b, found, stage)}


def _pool(s: Scenario, b: Budget, found: dict[str, Interval], stage: int) -> Interval:
    """More of anything else is less pool; a card's total differs between drivers where it is not given."""
    charged = {
        "weights": b.weights_bytes,
        "activation_peak": b.activation_peak_bytes,
        "non_torch": b.non_torch_bytes,
    }
    if s.engine_spec.value("charges_cuda_graphs"):
        charged["cuda_graph"] = b.cuda_graph_bytes
        found = found | {"cuda_graph": _charged_graphs(s, stage)}
    card = (
        0 if s.gpu.memory_basis == "given" else s.gpu.memory_bytes * s.gpu_memory_utilization * DRIVER_SHARE
    )
    below = math.hypot(card, *(found[k][1] - v for k, v in charged.items()))
    above = math.hypot(card, *(v - found[k][0] for k, v in charged.items()))
    return b.kv_pool_bytes - below, b.kv_pool_bytes + above


def _charged_graphs(s: Scenario, stage: int) -> Interval:
    """The engine extrapolates from two graphs, which it reads in pages of the driver: one page more or less each."""
    low, high = (framework_buffers.charged_graph_bytes(s, stage, end) for end in ("low", "high"))
    pages = framework_buffers.num_graphs(s) * DRIVER_PAGE * (0 if s.enforce_eager else 1)
    return maximum(low - pages, 0), high + pages
