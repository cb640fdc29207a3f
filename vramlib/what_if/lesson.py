"""Notebook 11: sixteen chats that do not fit, what each single change does for them, two exercises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib import commands, plan, tables
from vramlib.messages import t
from vramlib.specs import Budget
from vramlib.units import show
from vramlib.what_if.asked import tried
from vramlib.what_if.state import State
from vramlib.what_if.widget import begin

CHATS: Mapping[str, Any] = {"batch_size": 16, "prompt_tokens": 3840, "new_tokens": 256}
# What people turn first, in the order in which they turn it.
CHANGES: tuple[Mapping[str, Any], ...] = (
    {},
    {"max_model_len": 4096},
    {"gpu_memory_utilization": 0.95},
    {"max_num_seqs": 16},
    {"enforce_eager": True},
    {"kv_cache_dtype": "fp8"},
    {"quantization": "fp8"},
    {"tensor_parallel_size": 2},
)


def start(model: str = "Llama-3.1-8B", gpu: str = "L4", language: str = "en") -> State:
    """The chats as the page starts.

    Examples
    --------
    >>> tried(start())[0].fits
    False
    """
    return begin(language, model=model, gpu=gpu, **CHATS)


def changes(state: State) -> tables.Table:
    """Each change alone: what the chats then need, the tokens that the pool holds, whether both suffice.

    Parameters
    ----------
    state : where the page starts [-]

    Returns
    -------
    A row for each change [-]
    """
    columns = [
        t(f"app.{word}", state.language) for word in ("changed", "needed", "pool_tokens", "fits_column")
    ]
    return tables.table(columns, [_row(state, change) for change in CHANGES])


def _row(state: State, change: Mapping[str, Any]) -> tuple[str, ...]:
    label = ", ".join(_typed(*one) for one in change.items()) or t("app.nothing", state.language)
    e, error = tried(state, **change)
    if e is None:
        return label, error, "", ""
    held = (e.budget or Budget()).kv_pool_tokens
    fits = t("app.fits" if e.fits else "app.too_big", state.language)
    return label, show(e.total_bytes), "" if held is None else f"{held:,}", fits


def _typed(name: str, value: Any) -> str:
    """A setting as it is typed."""
    flag = commands.flag("vllm", name)
    return f"`{flag}`" if value is True else f"`{flag} {value}`"


def most_chats() -> int:
    """How many of the chats Llama-3.1-8B takes on one L4 with 8-bit weights.

    Examples
    --------
    >>> most_chats()
    21
    """
    given = {**start().fields, "quantization": "fp8"}
    return int(plan.batch(**{name: v for name, v in given.items() if name != "batch_size"}).value)


def slips(language: str = "en") -> dict[float, str]:
    """What a wrong number of chats means, by its ratio to the right one."""
    return {
        10 / 21: t("app.slip_longest", language),
        42 / 21: t("app.slip_both", language),
        8 / 21: t("app.slip_weights", language),
    }


def wrong(language: str = "en") -> dict[str, str]:
    """Why each other setting does not make the chats fit on one card with the weights as they are."""
    flags = ("max_model_len", "gpu_memory_utilization", "max_num_seqs", "enforce_eager")
    return {flag: t(f"app.not_{flag}", language) for flag in flags}
