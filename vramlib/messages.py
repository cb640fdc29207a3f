"""Words that a reader sees, in the reader's language: one table, data/messages.csv, a row for each message.

Keys are grouped by a first word: ``part.kv_cache``, ``field.batch_size``, ``chart.context``, ``widget.reset``.
"""

from __future__ import annotations

import csv
import difflib
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from vramlib._paths import data_dir
from vramlib.specs import PART_KEYS

LANGUAGES = ("en", "vi")


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
