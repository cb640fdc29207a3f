"""A reader's own prices of cards by the hour; none are shipped."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vramlib import catalog
from vramlib.messages import t
from vramlib.units import show
from vramlib.what_if.uploads import short

MOST_BYTES, MOST_ROWS, MOST_NOTES = 1 << 18, 2_000, 20
HIGHEST = 10**9  # per hour, in any currency


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """A reader's own prices.

    Parameters
    ----------
    per_hour : card, by its name in the catalogue, to the price of one card for one hour [currency]
    currency : of all of them; ``""`` where the file names none [-]
    notes : rows that were left out, and why [-]
    """

    per_hour: Mapping[str, float] = field(default_factory=dict)
    currency: str = ""
    notes: tuple[str, ...] = ()


def read_prices(data: bytes, language: str = "en") -> Prices:
    r"""Prices from a CSV with columns gpu and per_hour, and currency where the reader wants one.

    Parameters
    ----------
    data : the file, UTF-8, at most 256 KiB and 2,000 rows [byte]
    language : of messages, en or vi [-]

    Returns
    -------
    Prices by card; an unknown card or a price that is no number is left out and told in ``notes`` [-]

    Raises
    ------
    ValueError : too large, no CSV with these columns, or no row that can be used

    Examples
    --------
    >>> found = read_prices(b"gpu,per_hour,currency\nL4,0.71,USD\nh100 80gb,2.5,USD\nL5,1,USD\n")
    >>> found.per_hour, found.currency, len(found.notes)
    ({'L4': 0.71, 'H100-80GB': 2.5}, 'USD', 1)
    """
    if len(data) > MOST_BYTES:
        raise ValueError(t("what.prices_large", language, size=show(len(data)), most=show(MOST_BYTES)))
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise ValueError(t("what.prices_unread", language, why=short(str(problem))[:100])) from None
    if (
        not rows
        or not {"gpu", "per_hour"} <= {str(name).strip() for name in rows[0]}
        or len(rows) > MOST_ROWS
    ):
        raise ValueError(t("what.prices_columns", language, most=f"{MOST_ROWS:,}"))
    found = _gathered(rows, language)
    if not found.per_hour:
        raise ValueError(t("what.prices_none", language, why=found.notes[0] if found.notes else ""))
    return found


def _gathered(rows: list[dict[str, Any]], language: str) -> Prices:
    found, currency, notes = dict[str, float](), "", list[str]()
    for line, raw in enumerate(rows, 2):
        row = {str(k).strip(): str(v or "").strip() for k, v in raw.items()}
        try:
            card, price = catalog.gpu(row["gpu"]).name, _price(row["per_hour"])
            if row.get("currency", "") != (currency if found else row.get("currency", "")):
                raise ValueError(
                    t("what.prices_currency", language, other=row["currency"][:20], first=currency)
                )
        except (ValueError, KeyError) as problem:
            notes.append(t("what.prices_row", language, line=line, why=short(str(problem.args[0]))))
            continue
        currency = row.get("currency", "")[:20]
        found[card] = price
    if len(notes) > MOST_NOTES:
        notes = [*notes[:MOST_NOTES], t("what.prices_more", language, count=len(notes) - MOST_NOTES)]
    return Prices(per_hour=found, currency=currency, notes=tuple(notes))


def _price(text: str) -> float:
    """A price; not below zero, not beyond sense."""
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"per_hour is {text[:40]!r}; write a number such as 1.20") from None
    if not (math.isfinite(number) and 0 <= number <= HIGHEST):
        raise ValueError(f"per_hour is {text[:40]!r}; write a number such as 1.20")
    return number
