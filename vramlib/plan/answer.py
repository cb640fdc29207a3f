"""An answer to a question asked backwards: the value, why it is the last one, and the command that starts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vramlib import commands, contract
from vramlib.estimate import estimate
from vramlib.fields import plain_name
from vramlib.specs import Estimate


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """One question with its answer.

    Parameters
    ----------
    ask : the question's key, one of ``plan.ASKS`` [-]
    value : what was asked for; ``None`` where nothing fits, or the engine has no such setting [-]
    text : the answer in a sentence or two, with the reason why it ends there [-]
    changes : scenario fields that the answer sets [-]
    estimate : the forward estimate at the answer; without one, of what was asked [-]
    beyond : fields of one step beyond, which does not fit; empty where a limit ends the search, not memory [-]
    rows : what was tried, for answers that choose from a list [-]
    """

    ask: str
    value: Any
    text: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    estimate: Estimate
    beyond: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Mapping[str, Any], ...] = ()

    @property
    def command(self) -> str:
        """The engine's command line at the answer; ``""`` where there is no answer."""
        return "" if self.value is None else commands.command_line(self.estimate.scenario)

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain data: what ``vram plan --json`` prints."""
        return {
            "ask": self.ask,
            "value": self.value,
            "text": self.text,
            "changes": dict(self.changes),
            "beyond": dict(self.beyond),
            "command": self.command,
            "fits": bool(self.estimate.fits),
            "total_bytes": self.estimate.total_bytes,
            "scenario": contract.scenario(self.estimate.scenario),
            "rows": [dict(row) for row in self.rows],
        }

    def __str__(self) -> str:
        lines = self.command.splitlines()
        return "\n".join([self.text, *(f"  {line}" for line in lines)])


def plain(given: Mapping[str, Any], *without: str) -> dict[str, Any]:
    """What was asked, with fields spelled one way, and without some of them and without what was not given.

    Examples
    --------
    >>> plain({"model": "x", "max-model-len": 8, "gpu": None}, "model")
    {'max_model_len': 8}
    """
    named = {plain_name(name): value for name, value in given.items()}
    return {k: v for k, v in named.items() if v is not None and v != "" and k not in without}


def where(e: Estimate) -> str:
    """Model, card and engine in words."""
    s = e.scenario
    cards = s.gpu.name if s.world_size == 1 else f"{s.world_size} × {s.gpu.name}"
    return f"{s.model.name} on {cards} with {s.engine} {s.engine_version}"


def reason(e: Estimate) -> str:
    """Why an estimate does not fit: its verdict without the opening words.

    Examples
    --------
    >>> reason(estimate(model="Llama-3.1-70B", gpu="L4"))[:18]
    'the workload needs'
    """
    why = e.verdict.partition(f"{e.scenario.engine} {e.scenario.engine_version}: ")[2].rstrip(".")
    return why.partition("; the largest max_model_len")[0].removesuffix("; no max_model_len starts")


def nothing(ask: str, asked: Mapping[str, Any], words: str) -> Answer:
    """The answer where no value fits: what was asked, and why it does not."""
    e = estimate(**asked)
    why = reason(e)
    return Answer(ask=ask, value=None, text=f"{words} for {where(e)}{f': {why}' if why else ''}.", estimate=e)
