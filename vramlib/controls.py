"""What a widget is without a browser: controls that set scenario fields, one pure function, one chart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vramlib.messages import t

if TYPE_CHECKING:
    import altair

    from vramlib.panel import Panel

LIVE = "live"  # name of the data that a slider replaces
KINDS = ("slider", "choice")


def powers(low: int, high: int) -> tuple[int, ...]:
    """Powers of two from ``low`` to ``high``, both included, for sliders of tokens and sequences.

    Examples
    --------
    >>> powers(1024, 8192)
    (1024, 2048, 4096, 8192)
    """
    return tuple(1 << n for n in range((low - 1).bit_length(), high.bit_length()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One thing a reader can move: a scenario field, the values it steps through, and where it starts.

    Parameters
    ----------
    field : of a scenario; its message is ``field.<field>`` [-]
    values : in the order of the slider [-]
    start : one of them [-]
    kind : slider, or choice for words [-]
    flag : what stands as its label: the flag it sets [-]
    """

    field: str
    values: tuple[Any, ...]
    start: Any
    kind: str = "slider"
    flag: str = ""

    def __post_init__(self) -> None:
        if self.start not in self.values or self.kind not in KINDS or len(self.values) < 2:
            raise ValueError(
                f"{self.field}: start {self.start!r} is not one of {self.values!r}, or no {KINDS}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What a widget shows for one set of values.

    Parameters
    ----------
    rows : what the chart draws [-]
    text : the same in a sentence, which a screen reader says when it changes [-]
    command : the engine's command line for what is shown [-]
    """

    rows: tuple[Mapping[str, Any], ...]
    text: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Widget:
    """A figure with controls; called in a notebook it is live, ``still`` is the same figure without a kernel.

    Parameters
    ----------
    name : of its notebook's component [-]
    controls : what can be moved [-]
    compute : values by field, and a language, to the figure; pure [-]
    draw : the chart's data (``altair.Data``), and a language, to the chart [-]
    """

    name: str
    controls: tuple[Control, ...]
    compute: Callable[[Mapping[str, Any], str], Figure]
    draw: Callable[[altair.Data, str], altair.TopLevelMixin]

    def __call__(self, language: str = "en", **start: Any) -> Panel:
        """The live widget, to be a notebook cell's last line."""
        from vramlib.panel import Panel

        return Panel(self, language=language, start=self.values(**start))

    def values(self, **moved: Any) -> dict[str, Any]:
        """Where every control stands: at its start, unless it was moved.

        Raises
        ------
        ValueError : no control of that field, or a value that its control does not have
        """
        found = {c.field: c.start for c in self.controls}
        for field, value in moved.items():
            allowed = next((c.values for c in self.controls if c.field == field), None)
            if allowed is None or value not in allowed:
                raise ValueError(f"{field}={value!r}: {allowed or f'the controls are {sorted(found)}'}")
        return found | moved

    def figure(self, language: str = "en", **moved: Any) -> Figure:
        """The figure with some controls moved.

        Parameters
        ----------
        language : en or vi [-]
        moved : field to value [-]

        Returns
        -------
        Rows, sentence and command [-]
        """
        return self.compute(self.values(**moved), language)

    def still(self, language: str = "en", **moved: Any) -> altair.TopLevelMixin:
        """The chart of one figure, which stays when no kernel runs."""
        return self.draw(_data(self.figure(language, **moved)), language)

    def form(self, language: str = "en") -> list[dict[str, Any]]:
        """The controls as the panel's script needs them: labels, texts of all values, where each starts."""
        return [
            {
                "field": c.field,
                "kind": c.kind,
                "flag": c.flag or c.field,
                "label": t(f"field.{c.field}", language),
                "texts": [f"{v:,}" if isinstance(v, int) else str(v) for v in c.values],
                "start": c.values.index(c.start),
            }
            for c in self.controls
        ]


def _data(figure: Figure) -> altair.Data:
    """A figure's rows as chart data under the name that the panel replaces."""
    import altair

    return altair.Data(name=LIVE, values=[dict(row) for row in figure.rows])
