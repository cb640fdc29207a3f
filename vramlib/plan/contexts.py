"""How long may a context be? Asked of ``estimate``, with a workload of one token where only the start matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib.estimate import estimate
from vramlib.plan.search import SAMPLES, fitting, largest
from vramlib.specs import Estimate

ONE_TOKEN = {"batch_size": 1, "prompt_tokens": 1, "new_tokens": 0}


def model_limit(e: Estimate) -> int:
    """The longest sequence that the model itself allows [token]."""
    return int(e.model.max_position_embeddings or e.scenario.max_model_len)


def starts(asked: Mapping[str, Any], max_model_len: int) -> bool:
    """Whether one sequence of this length can be served: the engine starts with it, or the demand fits.

    Parameters
    ----------
    asked : scenario fields as given [-]
    max_model_len : the length [token]

    Returns
    -------
    True where an engine that reserves ahead starts, or where one that does not could hold the sequence [-]

    Examples
    --------
    >>> starts({"model": "Llama-3.1-8B", "gpu": "L4"}, 8192)
    True
    """
    return bool(alone(asked, max_model_len).fits)


def alone(asked: Mapping[str, Any], max_model_len: int) -> Estimate:
    """The estimate of one sequence: of this length for transformers, of one token where only the start matters."""
    return estimate(**{**asked, **ONE_TOKEN, **_length(asked, max_model_len)})


def _length(asked: Mapping[str, Any], max_model_len: Any) -> dict[str, Any]:
    grows = asked.get("engine") == "transformers"
    return {"max_model_len": max_model_len} | ({"prompt_tokens": max_model_len} if grows else {})


def longest_context(asked: Mapping[str, Any], limit: int) -> int:
    """The largest context that starts, at most the model's own limit.

    Parameters
    ----------
    asked : scenario fields as given [-]
    limit : where to stop, the model's own limit [token]

    Returns
    -------
    0 where not even one token can be served [token]

    Examples
    --------
    >>> longest_context({"model": "Llama-3.1-8B", "gpu": "H200"}, 131_072)
    131072
    """
    shared = {k: v for k, v in {**asked, **ONE_TOKEN}.items() if k not in _length(asked, 0)}
    return largest(lambda n: fitting(shared, _length(asked, n)), 1, limit, exhaustive=SAMPLES) or 0
