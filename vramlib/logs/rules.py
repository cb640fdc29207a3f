"""What a line can say: patterns with named numbers, and the sentence that tells them in words.

Every repeat in a pattern has an upper bound, and a plain word must be in the line before its pattern is
tried; so the work for a line grows no faster than its length.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vramlib.units import GiB, MiB, show

NUMBER = r"-?\d(?:[\d,]{0,20}\d)?(?:\.\d{1,15})?"
UNITS = {"B": 1, "BYTES": 1, "": 1} | {
    f"{k}{i}B": 1024**n for n, k in enumerate("KMGT", 1) for i in ("", "I")
}
GIB_AS_GB = " (printed as GB; the engine divides by 2^30, so it is GiB)"


KINDS = {
    "": NUMBER,
    "size": NUMBER + r"\s{0,3}(?:[KMGT]i?B|[Bb]ytes|B)",
    "word": r"[^\s,()'\"]{1,200}",
}


def template(text: str) -> str:
    """A pattern from its short form: ``<name>`` is a number, ``<name size>`` one with its unit, ``<name word>`` a word.

    Examples
    --------
    >>> re.search(template("took <weights>, <free size>"), "took 1,024.50, 0 bytes free").groups()
    ('1,024.50', '0 bytes')
    """
    return re.sub(r"(?<!\?P)<(\w+) ?(size|word|)>", lambda m: f"(?P<{m[1]}>{KINDS[m[2]]})", text)


PART_OF = {
    "weights_bytes": "model_weights",
    "model_buffer_bytes": "model_weights",
    "kv_pool_bytes": "kv_cache",
    "kv_pool_tokens": "kv_cache",
    "num_blocks": "kv_cache",
    "kv_bytes_at_max_model_len": "kv_cache",
    "kv_buffer_bytes": "kv_cache",
    "state_buffer_bytes": "kv_cache",
    "k_bytes": "kv_cache",
    "ssm_bytes": "kv_cache",
    "activation_peak_bytes": "activations",
    "compute_buffer_bytes": "activations",
    "output_buffer_bytes": "activations",
    "outside_torch_bytes": "cuda_context",
    "non_torch_bytes": "cuda_context",
    "cuda_graph_bytes": "framework_buffers",
    "cuda_graph_estimated_bytes": "framework_buffers",
    "unallocated_bytes": "fragmentation",
    "communication_bytes": "multi_process",
    "held_bytes": "multi_process",
}
"""Home of each figure among the eight parts; with several ranks what grows outside PyTorch is mostly communication."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One number or word of a line.

    Parameters
    ----------
    value : bytes, a count, a fraction or a word [-]
    half_digit : half of the last printed digit, what rounding can hide [byte]
    """

    value: Any
    half_digit: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One kind of line.

    Parameters
    ----------
    engine : who prints it; ``""`` for PyTorch, the driver and its tools [-]
    key : plain text that the line contains [-]
    pattern : with a named group for each value; names that end in ``_bytes`` are sizes [-]
    words : the meaning, with the values' names in braces [-]
    unit : of sizes printed without one [byte]
    name : what kind of line it is, for rules that others ask for [-]
    since, until : versions that print it; ``""`` where it is not known [-]
    """

    engine: str
    key: str
    pattern: re.Pattern[str]
    words: str
    unit: int = GiB
    name: str = ""
    since: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the log that was understood.

    Parameters
    ----------
    number : in the log, from 1 [-]
    text : what stands there, shortened [-]
    rank : which process wrote it [-]
    words : what it means [-]
    values : name to number or word [-]
    rule : the rule that read it [-]
    """

    number: int
    text: str
    rank: str
    words: str
    rule: Rule
    values: Mapping[str, Value] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        """Keys of the parts that its figures belong to."""
        return tuple(dict.fromkeys(PART_OF[name] for name in self.values if name in PART_OF))


def rule(engine: str, key: str, pattern: str, words: str, **more: Any) -> Rule:
    """A rule from the short form of its pattern."""
    return Rule(engine=engine, key=key, pattern=re.compile(template(pattern)), words=words, **more)


def match(found: Rule, number: int, text: str, rank: str) -> Line | None:
    """What the rule reads in a line, or ``None``.

    Examples
    --------
    >>> took = rule("vllm", "took", "took <weights_bytes> G", "weights are {weights_bytes}")
    >>> match(took, 7, "it took 14.99 GiB", "").words
    'weights are 14.99 GiB'
    """
    if found.key not in text:
        return None
    hit = found.pattern.search(text)
    if hit is None:
        return None
    values = {n: value(n, t, found.unit) for n, t in hit.groupdict().items() if t is not None}
    words = found.words.format_map(_Shown(values))
    if found.engine == "vllm" and re.search(r"\d ?GB", hit[0]):
        words += GIB_AS_GB
    return Line(
        number=number, text=_short(text, hit.start()), rank=rank, words=words, values=values, rule=found
    )


def is_size(name: str) -> bool:
    """Whether a name is that of a size.

    Examples
    --------
    >>> is_size("weights_bytes"), is_size("kv_bytes_at_max_model_len"), is_size("num_blocks")
    (True, True, False)
    """
    return name.endswith("_bytes") or "_bytes_at_" in name


def value(name: str, text: str, unit: int) -> Value:
    """A value from its text: bytes where the name says so, a number where it is one, else a word.

    Examples
    --------
    >>> value("weights_bytes", "14.99", GiB).value, value("tokens", "476,016", GiB).value
    (16095389942, 476016)
    """
    digits = re.match(NUMBER, text)
    plain = digits[0].replace(",", "") if digits else ""
    if is_size(name) and plain:
        own = text[len(digits[0]) :].strip().upper() if digits else ""
        scale = UNITS[own] if own else unit
        decimals = len(plain.partition(".")[2])
        return Value(value=round(float(plain) * scale), half_digit=scale * 0.5 / 10**decimals)
    if plain and digits and digits[0] == text.strip():
        return Value(value=float(plain) if "." in plain else int(plain))
    return Value(value=text.strip())


class _Shown(dict[str, Any]):
    """Values as a person reads them; what the line does not give is a dash."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        super().__init__({name: _shown(name, v.value) for name, v in values.items()})

    def __missing__(self, name: str) -> str:
        return "–"


def _shown(name: str, item: Any) -> str:
    if is_size(name) and not isinstance(item, str):
        return show(item)
    return f"{item:,}" if isinstance(item, int) else str(item)


def _short(text: str, start: int, width: int = 240) -> str:
    """The line around what was found, in one piece of printable text."""
    text = text.strip()
    begin = max(0, min(start - 60, len(text) - width)) if len(text) > width else 0
    piece = "".join(c if c.isprintable() else "·" for c in text[begin : begin + width])
    return ("…" if begin else "") + piece + ("…" if begin + width < len(text) else "")


__all__ = ["GiB", "Line", "MiB", "Rule", "Value", "is_size", "match", "rule", "template", "value"]
