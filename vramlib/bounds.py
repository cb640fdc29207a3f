"""How far to trust a budget: the interval of each figure that an engine prints, from the intervals of its terms."""

from __future__ import annotations

import math
from typing import Any

from vramlib import budget
from vramlib.components import fragmentation, framework_buffers, model_weights
from vramlib.specs import Budget, Scenario

Interval = tuple[Any, Any]


def of(s: Scenario, b: Budget, stage: int = 0) -> dict[str, Interval]:
    """Low and high of each budget figure of one rank.

    Formula: KV pool ± √(Σ (deviation of each charged figure)²)

    Parameters
    ----------
    s, b : a scenario and its budget [-]
    stage : pipeline stage [-]

    Returns
    -------
    weights, activation_peak, non_torch, cuda_graph and kv_pool with their intervals [byte]

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
    growth = s.engine_spec.constants["non_torch_growth_bytes"]
    side = budget.parallel_side(s)
    found: dict[str, Interval] = {
        "weights": (weights.low_bytes + rounding, weights.high_bytes + rounding),
        "activation_peak": budget.activation_interval(s, stage),
        "non_torch": (growth["low"][side], growth["high"][side]),
        "cuda_graph": tuple(framework_buffers.cuda_graph_bytes(s, stage, end) for end in ("low", "high")),
    }
    return found | {"kv_pool": _pool(s, b, found)}


def _pool(s: Scenario, b: Budget, found: dict[str, Interval]) -> Interval:
    """More of anything else is less pool."""
    charged = {
        "weights": b.weights_bytes,
        "activation_peak": b.activation_peak_bytes,
        "non_torch": b.non_torch_bytes,
    }
    if s.engine_spec.value("charges_cuda_graphs"):
        charged["cuda_graph"] = b.cuda_graph_bytes
    below = math.hypot(*(found[k][1] - v for k, v in charged.items()))
    above = math.hypot(*(v - found[k][0] for k, v in charged.items()))
    return b.kv_pool_bytes - below, b.kv_pool_bytes + above
