"""The changes that would help as a table of the report: what each brings, and the flag that sets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib import tables
from vramlib.messages import retold, t
from vramlib.plan.changes import Option, ranked
from vramlib.specs import Estimate
from vramlib.units import GiB

__all__ = ["heading", "ranked", "table"]


def table(asked: Mapping[str, Any], e: Estimate, language: str = "en") -> tables.Table:
    """The options as a table, largest reach first.

    Parameters
    ----------
    asked : scenario fields as given [-]
    e : their estimate [-]
    language : of the words, en or vi [-]

    Returns
    -------
    A row for each option, with the flag that sets it [-]
    """
    pool = e.budget is not None and e.budget.kv_pool_bytes is not None
    keys = ("change", "workload", *(("pool",) if pool else ()), "longest", "fits", "flag")
    columns = [t(f"options.{key}", language) for key in keys]
    return tables.table(columns, [_row(o, e, pool, language) for o in ranked(asked, e)])


def _row(o: Option, e: Estimate, pool: bool, language: str) -> tuple[str, ...]:
    flags = " ".join(
        f"`--{name.replace('_', '-')} {_flag_value(value)}`" for name, value in o.changes.items()
    )
    takes = _change(o.estimate.total_bytes - e.total_bytes)
    grows = (_change(o.pool_bytes),) if pool else ()
    fits = t("ask.yes" if o.estimate.fits else "ask.no", language)
    return retold("change", o.words, language), takes, *grows, f"{o.longest:,}", fits, flags


def _flag_value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _change(size: int) -> str:
    written = f"{abs(size) / GiB:.2f} GiB"
    sign = "±" if written.startswith("0.00") else "+" if size > 0 else "−"
    return sign + written


def heading(e: Estimate, *, limit_starts: bool, language: str = "en") -> str:
    """What the table answers: what would make it fit, what would let the limit start, or what could be saved."""
    if not e.fits:
        return t("options.make_it_fit", language)
    return t("options.save" if limit_starts else "options.reach_limit", language)
