"""Words that a reader sees, in the reader's language: one table, data/messages.csv, a row for each message.

Keys are grouped by a first word: ``part.kv_cache``, ``field.batch_size``, ``chart.context``, ``widget.reset``.
"""

from __future__ import annotations

import csv
import difflib
import functools
import os
import re
import string
from collections.abc import Iterable, Mapping
from typing import Any

from vramlib._paths import data_dir
from vramlib.specs import PART_KEYS
from vramlib.units import show_count

LANGUAGES = ("en", "vi")
ENVIRONMENT = "VRAM_LANGUAGE"  # what `vram lab --language vi` sets for its kernels
LONGEST_RETOLD = 4000  # characters; what is longer is no sentence of ours


def t(key: str, language: str = "en", **numbers: Any) -> str:
    """One message in one language, with numbers put where it has ``{name}``.

    Parameters
    ----------
    key : of data/messages.csv [-]
    language : en or vi [-]
    numbers : what stands for each ``{name}`` of the message [-]

    Returns
    -------
    Text [-]

    Raises
    ------
    KeyError : no message of that key; the nearest is offered
    ValueError : another language

    Examples
    --------
    >>> t("part.model_weights", "vi")
    'Trọng số mô hình'
    >>> t("check.unit", unit="byte")
    '(in byte)'
    """
    words = _column(language)
    if key not in words:
        near = difflib.get_close_matches(key, words, n=1)
        raise KeyError(f"no message {key!r} in data/messages.csv" + (f"; nearest: {near[0]}" if near else ""))
    return words[key].format(**numbers) if numbers else words[key]


def names(group: str, keys: Iterable[str], language: str = "en") -> dict[str, str]:
    """Several messages of one group by the second word of their keys.

    Parameters
    ----------
    group : first word of the keys, such as ``part`` [-]
    keys : second words [-]
    language : en or vi [-]

    Returns
    -------
    Second word to text, for a chart's ``labels`` [-]

    Examples
    --------
    >>> names("field", ("model", "gpu"), "vi")
    {'model': 'mô hình', 'gpu': 'card GPU'}
    """
    return {key: t(f"{group}.{key}", language) for key in keys}


def parts(language: str = "en") -> dict[str, str]:
    """Names of the eight parts by key, in the table's order.

    Examples
    --------
    >>> parts("vi")["fragmentation"]
    'Phân mảnh bộ nhớ'
    """
    return names("part", PART_KEYS, language)


def count(number: float, language: str = "en") -> str:
    """A parameter count in words.

    Examples
    --------
    >>> count(8_030_261_248, "vi")
    '8.03 tỉ'
    """
    figure, _, word = show_count(number).partition(" ")
    return f"{figure} {t(f'count.{word}', language)}" if word else figure


def retold(group: str, sentence: str, language: str = "en") -> str:
    """A sentence that the package made in English, in another language: the message of a group that reads like it.

    Warnings, verdicts and names of terms are made where no language is known; their English is found again by
    its words, and what stands for each ``{name}`` is carried over. Pieces between ``; `` or ``, `` are told one by
    one. What no message reads like stays as it is.

    Parameters
    ----------
    group : first word of the messages' keys [-]
    sentence : in English [-]
    language : en or vi [-]

    Returns
    -------
    Text [-]

    Examples
    --------
    >>> retold("term", "full attention, 32 layers", "vi")
    'attention kiểu full, 32 lớp'
    >>> retold("term", "of no message", "vi")
    'of no message'
    """
    if language == LANGUAGES[0] or len(sentence) > LONGEST_RETOLD:
        return sentence
    return _retold(sentence, _patterns(group, language))


def _retold(sentence: str, patterns: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    """Sentences side by side, where each is a message; else the whole; else its pieces, as far as they go."""
    several = sentence.split("; ")
    told = [_matched(piece, patterns) for piece in several]
    if not all(told):
        told = [_matched(sentence, patterns)]
    if all(told):
        return "; ".join(filter(None, told))
    mark = "; " if len(several) > 1 else ", "
    pieces = sentence.split(mark)
    return mark.join(_retold(piece, patterns) for piece in pieces) if len(pieces) > 1 else sentence


def _matched(sentence: str, patterns: tuple[tuple[re.Pattern[str], str], ...]) -> str | None:
    for pattern, words in patterns:
        if found := pattern.fullmatch(sentence):
            return words.format(**{name: _retold(text, patterns) for name, text in found.groupdict().items()})
    return None


@functools.cache
def _patterns(group: str, language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Each message of a group as a pattern of its English, with its words in the language; longest first."""
    rows = [row for key, row in table().items() if key.startswith(f"{group}.")]
    rows.sort(key=lambda row: -len(re.sub(r"{\w+}", "", row["en"])))
    return tuple((_pattern(row["en"]), row[language]) for row in rows)


def _pattern(message: str) -> re.Pattern[str]:
    """A message's English as a pattern: a name ends where the words after it begin, and is never tried again."""
    pieces = list(string.Formatter().parse(message))
    names = [name for _, name, *_ in pieces if name]
    texts = [re.escape(text) for text, *_ in pieces] + [""]
    pattern = texts[0]
    for name, after in zip(names, texts[1:], strict=False):
        last = name == names[-1]
        pattern += f"(?P<{name}>.+){after}" if last else f"(?>(?P<{name}>.+?){after})"
    return re.compile(pattern)


def reader(language: str = "auto") -> str:
    """The language to speak: the one asked for, or for ``auto`` the one that ``vram lab`` was started in.

    Parameters
    ----------
    language : en, vi or auto [-]

    Returns
    -------
    One of ``LANGUAGES``; English where nothing was chosen [-]

    Raises
    ------
    ValueError : another language

    Examples
    --------
    >>> reader("vi")
    'vi'
    """
    chosen = os.environ.get(ENVIRONMENT, "") or LANGUAGES[0] if language == "auto" else language
    if chosen not in LANGUAGES:
        raise ValueError(f"language is {chosen!r}; write {' or '.join(LANGUAGES)}")
    return chosen


@functools.cache
def table() -> Mapping[str, Mapping[str, str]]:
    """All messages: key to language to text.

    Raises
    ------
    ValueError : a key twice, or a language missing
    """
    found: dict[str, Mapping[str, str]] = {}
    with (data_dir() / "messages.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = row["key"]
            if key in found:
                raise ValueError(f"messages.csv: {key} stands there twice; keep one row")
            if None in row or not all(row.get(language) for language in LANGUAGES):
                raise ValueError(
                    f"messages.csv: {key} needs {' and '.join(LANGUAGES)}, with commas in quotes"
                )
            found[key] = row
    return found


@functools.cache
def _column(language: str) -> Mapping[str, str]:
    if language not in LANGUAGES:
        raise ValueError(f"language is {language!r}; {' or '.join(LANGUAGES)} is needed")
    return {key: row[language] for key, row in table().items()}
