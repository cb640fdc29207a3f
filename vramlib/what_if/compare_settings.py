"""Side by side: the settings in which configurations differ, as they were given."""

from __future__ import annotations

from vramlib import fields
from vramlib.messages import t
from vramlib.what_if import settings
from vramlib.what_if.state import State

ELSEWHERE = (
    "model",
    "gpu",
    "engine",
    "engine_version",
    "quantization",
    "max_model_len",
)  # rows of compare.table


def rows(state: State) -> list[list[str]]:
    """A row for each further setting that is not the same in all configurations.

    Parameters
    ----------
    state : any [-]

    Returns
    -------
    The setting's flag, then a text for each configuration; what is not given reads ``auto`` [-]

    Examples
    --------
    >>> rows(State().set(gpu="L4", batch_size=8).add().set(kv_cache_dtype="fp8"))
    [['kv_cache_dtype', 'auto', 'fp8']]
    """
    given = [c.fields for c in state.configurations]
    differing = [
        name for name in fields.NAMES if name not in ELSEWHERE and len({one.get(name) for one in given}) > 1
    ]
    return [[name, *(_text(one.get(name), state.language) for one in given)] for name in differing]


def _text(value: object, language: str) -> str:
    return t("what.auto", language) if value is None else settings.text(value, language)
