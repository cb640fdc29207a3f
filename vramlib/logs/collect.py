"""From lines to facts: what each rank printed, the settings, the kinds of lines met, and how often."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from vramlib import fields
from vramlib.logs import rules_failures, rules_llamacpp, rules_sglang, rules_vllm, settings, smi, source
from vramlib.logs.rules import Line, Rule, Value, match
from vramlib.units import KiB

MAX_KEPT = 2_000
MAX_EVENTS = 20_000
MAX_RANKS = 2_048
MAX_REPEATS = 64
MAX_UNDERSTOOD = 50_000
BATCH = 256 * KiB
RULES: tuple[Rule, ...] = (
    *rules_vllm.RULES, *rules_sglang.RULES, *rules_llamacpp.RULES, *rules_failures.RULES,
)  # fmt: skip
OF_A_RANK = (
    "weights_bytes",
    "kv_pool_bytes",
    "consumed_bytes",
    "free_after_load_bytes",
    "model_buffer_bytes",
)
EVENTS = ("buffer", "load", "context", "breakdown")
LAUNCHES = ("launch", "settings", "command")


@dataclass(slots=True, kw_only=True)
class Facts:
    """What a log told.

    Parameters
    ----------
    read : how much was read [-]
    lines : lines understood, at most ``MAX_KEPT`` [-]
    understood : how many there were [line]
    values : (rank, name) to what was printed, in order [-]
    settings : scenario fields [-]
    events : lines whose order matters: buffers and what starts a new load [-]
    failures : lines of failures, and the stage that the start had reached [-]
    cards : lines of an nvidia-smi table [-]
    kinds : names of rules met, with the first line of each [-]
    engines : lines of each engine [line]
    """

    read: source.Reading = field(default_factory=source.Reading)
    lines: list[Line] = field(default_factory=list)
    understood: int = 0
    values: dict[tuple[str, str], list[Value]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    events: list[Line] = field(default_factory=list)
    failures: list[tuple[Line, str]] = field(default_factory=list)
    cards: list[Line] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    engines: Counter[str] = field(default_factory=Counter)
    printed_by: set[Rule] = field(default_factory=set)
    stage: str = ""

    @property
    def engine(self) -> str:
        """The engine that printed most of the lines; ``""`` where none did."""
        return self.engines.most_common(1)[0][0] if self.engines else ""

    @property
    def ranks(self) -> tuple[str, ...]:
        """Processes that printed weights or KV cache, in order of first use; ``""`` is one without a name."""
        return tuple(dict.fromkeys(rank for rank, name in self.values if name in OF_A_RANK))


def collect(log: str | bytes | Iterable[str] | BinaryIO) -> Facts:
    """Everything a log tells.

    Examples
    --------
    >>> facts = collect("INFO model_runner.py:1024] Loading model weights took 14.9595 GB")
    >>> facts.engine, facts.understood, sorted(name for _, name in facts.values)
    ('vllm', 1, ['weights_bytes'])
    """
    facts, reader = Facts(), Reader()
    for batch in _batches(source.lines(log, facts.read)):
        reader.take(facts, batch)
        if facts.understood > MAX_UNDERSTOOD:
            facts.read.stopped = True
            break
    return facts


def _batches(lines: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Lines in batches, so that one look tells which rules can be skipped for all of them."""
    batch: list[tuple[int, str]] = []
    length = 0
    for number, text in lines:
        batch.append((number, text))
        length += len(text)
        if length > BATCH:
            yield batch
            batch, length = [], 0
    yield batch


class Reader:
    """What must be remembered from line to line: a table's card, a command that goes on."""

    def __init__(self) -> None:
        self.table = smi.Table()
        self.unfinished: Line | None = None

    def take(self, facts: Facts, batch: list[tuple[int, str]]) -> None:
        """Add what a batch of lines tells."""
        blob = "\n".join(text for _, text in batch)
        rules = {key: its for key, its in _by_key().items() if key in blob}
        commands = self.unfinished or any(key in blob for _, key, _ in settings.COMMANDS)
        if not (rules or commands or "MiB" in blob):
            return
        for number, text in batch:
            if commands:
                self.unfinished = _command(facts, number, text, self.unfinished)
            for line in (*understood(number, text, rules), self.table.line(number, text)):
                if line is not None:
                    _add(facts, line, text)


def understood(number: int, text: str, rules: Mapping[str, list[Rule]]) -> Iterator[Line]:
    """What each rule reads in one line; a line can say several things."""
    rank: str | None = None
    for key, its_rules in rules.items():
        if key in text:
            rank = source.rank(text) if rank is None else rank
            yield from filter(None, (match(r, number, text, rank) for r in its_rules))


@functools.cache
def _by_key() -> dict[str, list[Rule]]:
    grouped: dict[str, list[Rule]] = {}
    for r in RULES:
        grouped.setdefault(r.key, []).append(r)
    return grouped


def _command(facts: Facts, number: int, text: str, unfinished: Line | None) -> Line | None:
    """Flags of a command, which may go on over lines that end with a backslash; the command while it does."""
    line = unfinished or settings.command(number, text)
    if line is None:
        return None
    if unfinished:
        line = replace(line, values={**line.values, **settings.more_flags(line, text)})
    if text.rstrip().endswith("\\") and number < line.number + 200:
        return line
    _add(facts, line, text)
    return None


def _add(facts: Facts, line: Line, text: str) -> None:
    facts.understood += 1
    if len(facts.lines) < MAX_KEPT:
        facts.lines.append(line)
    if line.rule.engine:
        facts.engines[line.rule.engine] += 1
        facts.printed_by.add(line.rule)
    kind = line.rule.name
    facts.kinds.setdefault(kind, line.number)
    if line.rule in rules_failures.RULES:
        _add_failure(facts, line)
    elif kind.startswith("smi_"):
        facts.cards.extend([line] if len(facts.cards) < MAX_KEPT else [])
    else:
        facts.stage = kind if kind in ("captured", "serving") else facts.stage
        _add_values(facts, line)
    if kind in EVENTS and len(facts.events) < MAX_EVENTS:
        facts.events.append(line)
    _add_settings(facts, line, text)


def _add_failure(facts: Facts, line: Line) -> None:
    """A failure with the stage reached; sizes that the engine prints in a refusal count as its own."""
    if len(facts.failures) < MAX_KEPT:
        facts.failures.append((line, _stage(facts)))
    if line.rule.engine in ("vllm", "sglang"):
        _add_values(facts, line)


def _stage(facts: Facts) -> str:
    """How far the start had come, from the sizes printed so far."""
    names = {name for _, name in facts.values}
    if facts.stage:
        return facts.stage
    if names & {"kv_pool_tokens", "num_blocks", "free_after_pool_bytes"}:
        return "pool"
    return "loaded" if names & {"weights_bytes", "free_after_load_bytes"} else ""


def _add_values(facts: Facts, line: Line) -> None:
    if line.rule.engine == "sglang" and "draft" in str(getattr(line.values.get("role"), "value", "")):
        return
    for name, item in line.values.items():
        key = (line.rank, name)
        if key not in facts.values and len(facts.values) >= MAX_RANKS * 8:
            continue
        printed = facts.values.setdefault(key, [])
        if len(printed) < MAX_REPEATS:
            printed.append(item)
        else:
            printed[-1] = item


def _add_settings(facts: Facts, line: Line, text: str) -> None:
    found = {n: v.value for n, v in line.values.items() if n in fields.BY_NAME}
    if line.rule.name == "settings":
        found |= settings.printed(line, text)
    weaker = line.rule.name not in LAUNCHES
    for name, given in found.items():
        if weaker and name == "model" and name in facts.settings:
            continue
        facts.settings[name] = given
