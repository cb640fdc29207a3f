"""A configuration's estimate, or why there is none."""

from __future__ import annotations

from typing import Any

from vramlib import text
from vramlib.estimate import estimate
from vramlib.specs import Estimate
from vramlib.what_if.state import State
from vramlib.what_if.uploads import short

BAD = (ValueError, KeyError, OSError, OverflowError, ZeroDivisionError, TypeError)  # as of a sweep's row


def answer(state: State, place: int | None = None, **changes: Any) -> Estimate:
    """The estimate of one configuration, some of its fields changed.

    Parameters
    ----------
    state : any [-]
    place : of the configuration; the current one when not given [-]
    changes : field to value [-]

    Returns
    -------
    The same as ``vramlib.estimate`` of its fields [-]

    Raises
    ------
    ValueError : a value or a combination cannot be used
    KeyError : no such model or card

    Examples
    --------
    >>> answer(State().set(gpu="L4"), max_model_len=8192).fits
    True
    """
    return estimate(**{**state.given(place), **changes})


def tried(state: State, place: int | None = None, **changes: Any) -> tuple[Estimate | None, str]:
    """The same estimate, or the one line that says why there is none.

    Examples
    --------
    >>> tried(State(), tensor_parallel_size=7)[1][:35]
    'tensor_parallel_size 7 does not div'
    """
    try:
        return answer(state, place, **changes), ""
    except BAD as problem:
        return None, short(text.message(problem))
