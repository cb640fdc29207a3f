"""The experiments: one or more for each row of the table, each with a plan that needs no GPU."""

from __future__ import annotations

import difflib

from vramlib.measure.experiments import (
    activations,
    context,
    cuda_graphs,
    fragmentation,
    kv_growth,
    multi_process,
    padding,
    sampler,
    weights,
    whole_budget,
)
from vramlib.measure.plan import Experiment

_MODULES = (
    context, weights, kv_growth, activations, sampler, cuda_graphs, padding, fragmentation, multi_process, whole_budget,
)  # fmt: skip
EXPERIMENTS: dict[str, Experiment] = {m.EXPERIMENT.name: m.EXPERIMENT for m in _MODULES}


def named(name: str) -> Experiment:
    """One experiment by its name.

    Raises
    ------
    KeyError: there is none of that name; the nearest is offered.

    Examples
    --------
    >>> named("kv-growth").part
    'kv_cache'
    >>> named("contxt")
    Traceback (most recent call last):
    KeyError: "no experiment named 'contxt'; nearest: context"
    """
    key = name.strip().lower().replace("-", "_")
    if key in EXPERIMENTS:
        return EXPERIMENTS[key]
    near = difflib.get_close_matches(key, EXPERIMENTS, n=1)
    offer = f"nearest: {near[0]}" if near else f"they are: {', '.join(EXPERIMENTS)}"
    raise KeyError(f"no experiment named {name!r}; {offer}")
