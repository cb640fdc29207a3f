"""A reader's answer beside the expected one: right, or described by its ratio, which often names the slip."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vramlib.messages import t
from vramlib.units import GB, GiB, MiB

# Slips that any answer in bytes can have; an exercise adds those of its own formula.
COMMON_SLIPS: Mapping[float, str] = {
    1 / 2: "slip.half",
    2: "slip.double",
    8: "slip.bits",
    1 / 8: "slip.bytes",
    GiB / GB: "slip.gib_for_gb",
    GB / GiB: "slip.gb_for_gib",
    1024: "slip.mib_for_gib",
    1 / 1024: "slip.gib_for_mib",
    **dict.fromkeys((MiB, GiB, GB), "slip.in_bytes"),
    **dict.fromkeys((1 / MiB, 1 / GiB, 1 / GB), "slip.not_bytes"),
}
ALIKE = 0.005  # two ratios count as one slip within half a per cent: GiB/GB is 1.0737, and 1.074 must match


@dataclass(frozen=True, slots=True)
class Reply:
    """What a check says; in a notebook it shows as one line.

    Parameters
    ----------
    ok : whether the answer is right [-]
    text : one sentence for the reader [-]
    todo : whether the answer is still the untouched ``...`` [-]
    """

    ok: bool
    text: str
    todo: bool = False

    def __repr__(self) -> str:
        return f"{self.sign} {self.text}"

    @property
    def sign(self) -> str:
        """✓ right, ✎ not answered yet, ✗ something to look at."""
        return "✓" if self.ok else "✎" if self.todo else "✗"

    def _repr_html_(self) -> str:
        return f'<p class="vram-check"><strong aria-hidden="true">{self.sign}</strong> {html.escape(self.text)}</p>'


def number(
    answer: Any,
    expected: float,
    *,
    slips: Mapping[float, str] | None = None,
    tolerance: float = 0.0,
    unit: str = "",
    language: str = "en",
) -> Reply:
    """Compare a number; a wrong one is described by its ratio to the expected one and the slip that ratio means.

    Parameters
    ----------
    answer : the reader's; an untouched ``...`` gets a friendly line [unit]
    expected : the right one [unit]
    slips : ratio to hint, before those that any answer in bytes can have [-]
    tolerance : largest relative error that still counts as right; 0 wants the exact number [-]
    unit : named in the reply [-]
    language : en or vi [-]

    Returns
    -------
    A line for the reader, and whether it is right [-]

    Examples
    --------
    >>> number(..., 131072)
    ✎ Your turn: replace the … with your answer and run this cell again.
    >>> number(524288, 131072, slips={4: "Are those query heads?"})
    ✗ Not yet: your answer is 4 times the expected one. Are those query heads?
    >>> number(131072, 131072)
    ✓ Right.
    """
    if answer is ...:
        return Reply(False, t("check.todo", language), todo=True)
    if isinstance(answer, bool) or (not isinstance(answer, int | float) and not hasattr(answer, "__float__")):
        hint = t("check.unit", language, unit=unit) if unit else ""
        return Reply(False, t("check.not_a_number", language, given=repr(answer), unit=hint).rstrip())
    if abs(answer - expected) <= tolerance * abs(expected):
        return Reply(True, t("check.right", language))
    return Reply(False, _wrong(answer, expected, slips or {}, language))


def _wrong(answer: float, expected: float, slips: Mapping[float, str], language: str) -> str:
    """What a wrong number tells about itself."""
    if not expected:
        return t("check.zero", language)
    ratio = answer / expected
    if ratio <= 0:
        return t("check.sign", language)
    if hint := _hint(ratio, slips, language):
        return f"{t('check.ratio', language, ratio=f'{ratio:.4g}')} {hint}"
    if abs(ratio - 1) < ALIKE:
        return t("check.near", language, off=f"{answer - expected:+,.6g}")
    return t("check.ratio", language, ratio=f"{ratio:.4g}")


def _hint(ratio: float, slips: Mapping[float, str], language: str) -> str:
    """The exercise's own slip of that ratio, else the common one, else nothing."""
    for known, words in slips.items():
        if abs(ratio / known - 1) < ALIKE:
            return words
    return next(
        (t(key, language) for known, key in COMMON_SLIPS.items() if abs(ratio / known - 1) < ALIKE), ""
    )


def choice(
    answer: Any,
    expected: str,
    *,
    choices: Sequence[str],
    why: Mapping[str, str] | None = None,
    language: str = "en",
) -> Reply:
    """Compare one of several words; a wrong one may have its own reason.

    Parameters
    ----------
    answer : the reader's; an untouched ``...`` gets a friendly line [-]
    expected : the right one [-]
    choices : all answers that may be given [-]
    why : answer to what to say about it, the right one's included [-]
    language : en or vi [-]

    Returns
    -------
    A line for the reader, and whether it is right [-]

    Examples
    --------
    >>> choice("MHA", "MLA", choices=("MHA", "GQA", "MLA"), why={"MHA": "each head keeps its own keys"})
    ✗ Not yet: MHA. each head keeps its own keys
    """
    if answer is ...:
        return Reply(False, t("check.todo", language), todo=True)
    given = str(answer).strip()
    spelled = {c.lower(): c for c in choices}.get(given.lower())
    if spelled is None:
        return Reply(False, t("check.choice_unknown", language, given=given, choices=", ".join(choices)))
    right = spelled == expected
    said = t("check.right", language) if right else t("check.choice_wrong", language, given=spelled)
    return Reply(right, f"{said} {(why or {}).get(spelled, '')}".rstrip())


def function(
    answer: Any,
    cases: Mapping[tuple[Any, ...], float],
    *,
    slips: Mapping[float, str] | None = None,
    language: str = "en",
) -> Reply:
    """Call the reader's function with several arguments and describe the first result that is wrong.

    Parameters
    ----------
    answer : the reader's function; ``...`` and one that returns ``...`` get a friendly line [-]
    cases : arguments to the expected number, asked in order [-]
    slips : ratio to hint, as in ``number`` [-]
    language : en or vi [-]

    Returns
    -------
    A line for the reader, and whether every case is right [-]

    Examples
    --------
    >>> function(lambda tokens: 2 * tokens, {(8,): 16, (9,): 18})
    ✓ Right in all 2 cases.
    >>> function(lambda tokens: tokens, {(8,): 16})
    ✗ Not yet: your answer is 0.5 times the expected one. Half of it: keys without values, or one byte for two? [8]
    """
    for arguments, expected in cases.items():
        found = number(
            answer if answer is ... else answer(*arguments), expected, slips=slips, language=language
        )
        if found.todo:
            return found
        if not found.ok:
            return Reply(False, f"{found.text} [{', '.join(map(str, arguments))}]")
    return Reply(True, t("check.right_cases", language, count=len(cases)))
