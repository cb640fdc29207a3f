"""The seed table's claims, each with a verdict that is computed from numbers over the whole catalogue.

A claim is asked of every model, card or figure there is, once for each condition under which it could hold. How many of
them lie inside its own bounds decides; nobody types a verdict.
"""

from __future__ import annotations

import functools
import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vramlib import catalog, tables
from vramlib.messages import names, retold, t

HOLDS, HOLDS_WHEN, MISCONCEPTION = "holds", "holds when", "misconception"
NEARLY_ALL, MOST = 0.9, 0.5
SIGNS = {HOLDS: "✓", HOLDS_WHEN: "≈", MISCONCEPTION: "✗"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One number for each model, card or figure, under one condition, against the bounds of a claim.

    Parameters
    ----------
    condition : in words, what was asked of each [-]
    values : name of each with its number [unit]
    low, high : the claim's bounds, both included [unit]
    unit : of the numbers; ``""`` for a ratio [-]
    """

    condition: str
    values: tuple[tuple[str, float], ...]
    low: float
    high: float
    unit: str = ""

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.condition}: nothing to look at")

    @property
    def share(self) -> float:
        """Part of the values that lie inside the bounds, 0 to 1 [-]."""
        return sum(self.low <= value <= self.high for _, value in self.values) / len(self.values)

    @property
    def yes_or_no(self) -> bool:
        """Whether the values are 1 for yes and 0 for no, and the claim wants yes."""
        return (
            self.low == self.high == 1 and all(value in (0, 1) for _, value in self.values) and not self.unit
        )

    @property
    def ordered(self) -> list[tuple[str, float]]:
        """The values from the smallest to the largest, names in alphabetical order where equal."""
        return sorted(self.values, key=lambda pair: (pair[1], pair[0]))

    @property
    def median(self) -> float:
        """The value in the middle [unit]."""
        return statistics.median(value for _, value in self.values)


def spread(
    condition: str,
    values: Mapping[str, float] | Iterable[tuple[str, float]],
    low: float,
    high: float,
    unit: str = "",
) -> Spread:
    """A ``Spread`` from names and numbers.

    Examples
    --------
    >>> s = spread("each", {"a": 0.1, "b": 0.3, "c": 9.0}, 0.2, 0.6)
    >>> round(s.share, 2), s.median, s.ordered[-1]
    (0.33, 0.3, ('c', 9.0))
    """
    pairs = values.items() if isinstance(values, Mapping) else values
    return Spread(condition=condition, values=tuple(pairs), low=low, high=high, unit=unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One claim of the seed table, what decides it, and the verdict.

    Parameters
    ----------
    claim : its row of data/table.csv [-]
    spreads : the numbers, one for each condition [-]
    sentence : what the numbers say [-]
    every : the claim says all of it at once, so the worst condition decides [-]
    """

    claim: Mapping[str, str]
    spreads: tuple[Spread, ...]
    sentence: str
    every: bool = False

    @property
    def verdict(self) -> str:
        """Holds, holds when, or misconception, as ``judge`` says."""
        return judge([s.share for s in self.spreads], every=self.every)

    @property
    def decisive(self) -> Spread:
        """The condition that decides: the best one, or the worst where the claim says all of it at once."""
        return (min if self.every else max)(self.spreads, key=lambda s: s.share)


def judge(shares: Iterable[float], *, every: bool = False) -> str:
    """The verdict that shares inside a claim's bounds lead to.

    Parameters
    ----------
    shares : part of the cases inside the bounds, one for each condition [-]
    every : the conditions are parts of one claim rather than cases of it [-]

    Returns
    -------
    ``holds`` where nine in ten are inside under every condition, ``holds when`` where at least half are inside under
    some condition (under each, with ``every``), else ``misconception`` [-]

    Examples
    --------
    >>> judge([1.0, 0.95]), judge([0.1, 0.6]), judge([0.1, 0.2]), judge([1.0, 0.0], every=True)
    ('holds', 'holds when', 'misconception', 'misconception')
    """
    found = tuple(shares)
    if min(found) >= NEARLY_ALL:
        return HOLDS
    decisive = min(found) if every else max(found)
    return HOLDS_WHEN if decisive >= MOST else MISCONCEPTION


@functools.cache
def verdicts() -> tuple[Verdict, ...]:
    """Every claim of data/table.csv with its verdict, in the table's order.

    Returns
    -------
    Computed once a session; about a second [-]

    Raises
    ------
    KeyError : a claim that nothing computes
    """
    from vramlib.claims import checks

    return tuple(checks.check(row) for row in catalog.table("table"))


def verdict(claim_id: str) -> Verdict:
    """One claim by its id.

    Raises
    ------
    KeyError : no such claim; the ids are listed
    """
    for found in verdicts():
        if found.claim["id"] == claim_id:
            return found
    raise KeyError(
        f"no claim named {claim_id!r}; the claims are: {', '.join(v.claim['id'] for v in verdicts())}"
    )


def verdict_table(*part_keys: str, language: str = "en") -> tables.Table:
    """Claims with their verdicts and one sentence each: of these parts, or all where none is named."""
    chosen = [v for v in verdicts() if not part_keys or v.claim["part"] in part_keys]
    columns = names("judged", ("said", "verdict", "inside", "sentence"), language)
    rows = [
        (
            _said(v.claim, language),
            _marked(v.verdict, language),
            f"{v.decisive.share:.0%}".replace("%", " %"),
            retold("claim", v.sentence, language),
        )
        for v in chosen
    ]
    return tables.table(tuple(columns.values()), rows)


def _said(claim: Mapping[str, str], language: str) -> str:
    """The seed's own Vietnamese words, its rows of cells as one line; in English their rendering."""
    if language == "en":
        return claim["english"]
    return "; ".join(re.sub(r" *\| *", " · ", row).strip(" ·") for row in claim["seed_words"].split(" // "))


def word(verdict: str, language: str = "en") -> str:
    """A verdict as a reader sees it.

    Examples
    --------
    >>> word(HOLDS_WHEN), word(MISCONCEPTION, "vi")
    ('holds when', 'ngộ nhận')
    """
    return t(f"judged.{verdict.replace(' ', '_')}", language)


def signed(verdict: str, language: str = "en") -> str:
    """A verdict after its sign.

    Examples
    --------
    >>> signed(MISCONCEPTION), signed(MISCONCEPTION, "vi")
    ('✗ misconception', '✗ ngộ nhận')
    """
    return f"{SIGNS[verdict]} {word(verdict, language)}"


def _marked(found: str, language: str) -> str:
    """The same in one piece that no line breaks."""
    return signed(found, language).replace(" ", "\N{NO-BREAK SPACE}")


def numbers_table(*part_keys: str, language: str = "en") -> tables.Table:
    """The numbers that decide, a row for each condition: of these parts' claims, or of all where none is named."""
    chosen = [v for v in verdicts() if not part_keys or v.claim["part"] in part_keys]
    rows = [_row(s, language) for v in chosen for s in v.spreads]
    keys = ("condition", "count", "bounds", "inside", "smallest", "median", "largest", "which")
    return tables.table(tuple(names("judged", keys, language).values()), rows)


def _row(s: Spread, language: str) -> tuple[str, ...]:
    share = f"{s.share:.0%}".replace("%", " %")
    head = retold("claim", s.condition, language), str(len(s.values)), _bounds(s, language), share
    if s.yes_or_no:
        return *head, "", "", "", ""
    (_, low), (name, high) = s.ordered[0], s.ordered[-1]
    sizes = [_number(value, s.unit) for value in (low, s.median, high)]
    return *head, *sizes, t("judged.same", language) if sizes[0] == sizes[-1] else name.rsplit("/", 1)[-1]


def _bounds(s: Spread, language: str) -> str:
    if s.yes_or_no:
        return t("ask.yes", language)
    low, high = _number(s.low), _number(s.high)
    return f"{low if low == high else f'{low} – {high}'} {s.unit}".strip()


def _number(value: float, unit: str = "") -> str:
    """Three significant digits, no exponent; what rounds to nothing is named as such.

    Examples
    --------
    >>> _number(0.000123), _number(12.345, "GB"), _number(1234.6)
    ('< 0.001', '12.3 GB', '1,235')
    """
    if 0 < value < 0.001:
        return f"< 0.001 {unit}".strip()
    few = f"{float(f'{value:.3g}'):.10f}".rstrip("0").rstrip(".")
    return f"{f'{value:,.0f}' if value >= 1000 else few} {unit}".strip()
