"""The changes that would help as a table of the report: what each brings, and the flag that sets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib import tables
from vramlib.plan.changes import Option, ranked
from vramlib.specs import Estimate
from vramlib.units import GiB

__all__ = ["heading", "ranked", "table"]


def table(asked: Mapping[str, Any], e: Estimate) -> tables.Table:
    """The options as a table, largest reach first.

    Parameters
    ----------
    asked : scenario fields as given [-]
    e : their estimate [-]

    Returns
    -------
    A row for each option, with the flag that sets it [-]
    """
    pool = e.budget is not None and e.budget.kv_pool_bytes is not None
    columns = ("change", "workload", *(("KV pool",) if pool else ()), "largest context", "fits", "set with")
    return tables.table(columns, [_row(o, e, pool) for o in ranked(asked, e)])


def _row(o: Option, e: Estimate, pool: bool) -> tuple[str, ...]:
    flags = " ".join(
        f"`--{name.replace('_', '-')} {_flag_value(value)}`" for name, value in o.changes.items()
    )
    takes = _change(o.estimate.total_bytes - e.total_bytes)
    grows = (_change(o.pool_bytes),) if pool else ()
    return o.words, takes, *grows, f"{o.longest:,}", "yes" if o.estimate.fits else "no", flags


def _flag_value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _change(size: int) -> str:
    written = f"{abs(size) / GiB:.2f} GiB"
    sign = "±" if written.startswith("0.00") else "+" if size > 0 else "−"
    return sign + written


def heading(e: Estimate, *, limit_starts: bool) -> str:
    """What the table answers: what would make it fit, what would let the limit start, or what could be saved."""
    if not e.fits:
        return "Each row changes one setting of what was asked; those that make it fit come first."
    if not limit_starts:
        return "It fits, though not at the model's own limit; the rows that reach the limit come first."
    return "It fits; each row shows what one changed setting would save or leave for the KV pool."
