"""A configuration's estimate, or why there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from vramlib import text
from vramlib.estimate import estimate
from vramlib.messages import t
from vramlib.specs import Estimate
from vramlib.what_if.state import State
from vramlib.what_if.uploads import short

BAD = (ValueError, KeyError, OSError)
# What a formula meets in an uploaded model that no reader of files refused: shapes that no layer has.
UNSOUND = (IndexError, ArithmeticError, TypeError, AttributeError, RecursionError)


@contextlib.contextmanager
def sound(state: State) -> Iterator[None]:
    """Formulas that meet an unsound model say so in one line.

    Raises
    ------
    ValueError : the model's sizes make no sense together

    Examples
    --------
    >>> with sound(State()):
    ...     [][0]
    Traceback (most recent call last):
    ValueError: Llama-3.1-8B cannot be computed: its sizes make no sense together (list index out of range)
    """
    try:
        yield
    except UNSOUND as problem:
        why = t("what.unsound", state.language, model=state.fields["model"], why=str(problem)[:100])
        raise ValueError(short(why)) from None


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
    with sound(state):
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
