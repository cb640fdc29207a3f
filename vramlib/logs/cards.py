"""Cards of an nvidia-smi table that are in use: who holds them, and what that leaves."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vramlib.logs.advice import Advice
from vramlib.logs.case import VERBS, other
from vramlib.logs.collect import Facts
from vramlib.logs.failures import Failure
from vramlib.logs.rules import Line
from vramlib.specs import Estimate
from vramlib.units import show

IN_USE = 0.05


def in_use(facts: Facts, e: Estimate | None) -> tuple[Failure, ...]:
    """Cards of which more than a little is taken; what an estimate needs beside that is what is missing.

    Parameters
    ----------
    facts : of a log that holds such a table [-]
    e : of what is to run there, where it is known [-]
    """
    return tuple(_cards(facts, e))


def _cards(facts: Facts, e: Estimate | None) -> Iterator[Failure]:
    for card in facts.cards:
        if card.rule.name != "smi_card":
            continue
        used, total = card.values["used_bytes"].value, card.values["smi_total_bytes"].value
        if used > IN_USE * total:
            yield _failure(card, _holders(facts, card), used, total, e)


def _holders(facts: Facts, card: Line) -> list[Line]:
    """Processes of the card, the largest first."""
    device = card.values["device"].value
    found = [c for c in facts.cards if c.rule.name == "smi_process" and c.values["device"].value == device]
    return sorted(found, key=lambda c: -c.values["held_bytes"].value)


def _failure(card: Line, holders: list[Line], used: int, total: int, e: Estimate | None) -> Failure:
    needed = _needed(e)
    missing = max(0, needed - (total - used)) if needed is not None else None
    listed = sum(h.values["held_bytes"].value for h in holders)
    rest = f"; {show(used - listed)} belong to no process listed" if holders and used > listed else ""
    short = f"; {show(missing)} are missing for what was estimated" if missing else ""
    words = f"card {card.values['device'].value}: {show(used)} of {show(total)} are in use, {show(total - used)} free"
    share = math.floor(100 * (total - used) / total) / 100
    knob = "--gpu-memory-utilization"
    turn = (
        f"{VERBS['down']} {knob} to {share:.2f} or less for a further server: its share is of the whole card"
    )
    return Failure(
        kind="card_in_use",
        line=card.number,
        part="multi_process",
        words=words + rest + short,
        missing_bytes=missing,
        advice=(*(_stop(h) for h in holders[:3]), other(knob, "down", turn)),
    )


def _stop(holder: Line) -> Advice:
    """A process as advice: an engine holds its whole plan from the start, so used does not mean needed."""
    pid, name, held = (holder.values[n].value for n in ("pid", "process", "held_bytes"))
    words = f"stop process {pid} ({name}), or let it plan with less: it holds {show(held)}, empty KV cache included"
    return other(f"process {pid}", "off", words)


def _needed(e: Estimate | None) -> int | None:
    """What the estimate takes of the card: an engine's plan, else the demand."""
    if e is None:
        return None
    planned = e.budget.requested_bytes if e.budget else None
    return int(planned if planned is not None else e.total_bytes)
