"""The live half of a widget: moved values come in, rows and a sentence go out; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from vramlib import vega
from vramlib.controls import Figure, Widget
from vramlib.messages import t

_HERE = Path(__file__).parent


class Panel(anywidget.AnyWidget):
    """Sliders over a chart; a moved slider sends its place, and only rows and text come back.

    Parameters
    ----------
    widget : controls, compute and draw [-]
    language : en or vi [-]
    start : value of every control [-]
    """

    _esm = (_HERE / "panel.js").read_text(encoding="utf-8")
    _css = (_HERE / "panel.css").read_text(encoding="utf-8")
    spec = traitlets.Dict().tag(sync=True)
    form: Any = traitlets.List().tag(sync=True)
    words = traitlets.Dict().tag(sync=True)
    chosen = traitlets.Dict().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)

    def __init__(self, widget: Widget, *, language: str, start: Mapping[str, Any]) -> None:
        if not vega.loaded():
            vega.enable()
        self._widget, self._language = widget, language
        places = {c.field: c.values.index(start[c.field]) for c in widget.controls}
        super().__init__(
            spec=_resizing(widget.still(language, **start).to_dict()),
            form=widget.form(language),
            words={
                key: t(f"widget.{key}", language) for key in ("reset", "copy", "copied", "command", "offline")
            },
            chosen=places,
            shown=_shown(widget.figure(language, **start)),
        )

    @traitlets.observe("chosen")
    def _moved(self, change: Any) -> None:
        """Values by field from the places that the page sent; what an engine refuses is said, not drawn."""
        values = {c.field: c.values[int(self.chosen[c.field])] for c in self._widget.controls}
        try:
            self.shown = _shown(self._widget.compute(values, self._language))
        except (ValueError, KeyError) as refusal:
            self.shown = {**self.shown, "text": str(refusal.args[0]), "command": ""}


def _shown(figure: Figure) -> dict[str, Any]:
    return {"rows": [dict(row) for row in figure.rows], "text": figure.text, "command": figure.command}


def _resizing(spec: dict[str, Any]) -> dict[str, Any]:
    """A specification that makes room again when its labels grow."""
    return {**spec, "autosize": {"type": "fit-x", "contains": "padding", "resize": True}}
