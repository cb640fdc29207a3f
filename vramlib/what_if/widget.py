"""``widgets.what_if``: called, the live page; ``still``, its bar as a picture that stays when no kernel runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vramlib.what_if import compare, pictures
from vramlib.what_if.asked import answer
from vramlib.what_if.session import first
from vramlib.what_if.state import State

if TYPE_CHECKING:
    import altair

    from vramlib.what_if.dashboard import Dashboard


class WhatIf:
    """The dashboard as the other widgets are used: ``widgets.what_if(...)`` and ``widgets.what_if.still(...)``."""

    def __call__(self, language: str = "en", **fields: Any) -> Dashboard:
        """The live page, to be a notebook cell's last line.

        Parameters
        ----------
        language : en or vi [-]
        fields : of a scenario: model, gpu, and any other to start with [-]
        """
        from vramlib.what_if.dashboard import Dashboard

        return Dashboard(begin(language, **fields))

    def still(self, language: str = "en", **fields: Any) -> altair.LayerChart:
        """The bar of one configuration."""
        state = begin(language, **fields)
        e = answer(state)
        name = f"{e.model.name.rpartition('/')[2]}|{e.gpu.name}"
        parts = compare.bar(e, state, 0)
        return pictures.still(pictures.rows(parts, e.gpu.memory_bytes, language, name=name), language)


def begin(language: str = "en", **fields: Any) -> State:
    """A page's first state; a model that is a file, or a folder with a config.json, is read as an upload is.

    Parameters
    ----------
    language : en or vi [-]
    fields : of a scenario [-]

    Returns
    -------
    A state with one configuration [-]

    Examples
    --------
    >>> begin(model="Llama-3.1-8B", gpu="L4").fields["gpu"]
    'L4'
    """
    given = Path(str(fields.get("model", ""))).expanduser()
    if (given / "config.json").is_file():
        given = given / "config.json"
    state = State(language=language)
    if given.suffix in (".json", ".gguf", ".safetensors") and given.is_file():
        from vramlib.what_if import sources

        with given.open("rb") as file:
            state = state.use(sources.read_upload(given.name, file.read(sources.MOST_BYTES), language))
        fields = {name: value for name, value in fields.items() if name != "model"}
    named = {name: fields.pop(name) for name in ("model", "gpu") if name in fields}
    return first(state.set(**named)).set(**fields)
