"""An explanation as plain data, in the words and the order that programs outside rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vramlib.contract import to_dict
from vramlib.logs.advice import Advice
from vramlib.logs.compare import Row
from vramlib.logs.failures import Failure
from vramlib.logs.measured import Identity
from vramlib.logs.rules import Line

if TYPE_CHECKING:
    from vramlib.logs.explanation import Explanation


def explanation(told: Explanation) -> dict[str, Any]:
    """An explanation; sizes in bytes, what is not known is null."""
    return {
        "engine": told.engine,
        "engine_version": told.engine_version,
        "version_basis": told.version_basis,
        "ranks": list(told.ranks),
        "lines": [_line(line) for line in told.lines],
        "fields": {name: _plain(value) for name, value in told.fields.items()},
        "measured": {name: v.value for name, v in told.measured.items()},
        "parts": dict(told.parts),
        "comparison": [_row(row) for row in told.rows],
        "unexplained_bytes": told.unexplained_bytes,
        "identity": None if told.identity is None else _identity(told.identity),
        "missing": list(told.missing),
        "failures": [_failure(f) for f in told.failures],
        "advice": [_advice(a) for a in told.advice],
        "notes": list(told.notes),
        "estimate": None if told.estimate is None else to_dict(told.estimate),
    }


def _plain(value: Any) -> Any:
    return getattr(value, "name", value)


def _line(line: Line) -> dict[str, Any]:
    return {
        "number": line.number,
        "rank": line.rank,
        "text": line.text,
        "words": line.words,
        "values": {name: v.value for name, v in line.values.items()},
        "parts": list(line.parts),
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "measured": row.measured,
        "estimated": row.estimated,
        "residual": row.residual,
        "residual_share": row.residual_share,
    }


def _identity(identity: Identity) -> dict[str, Any]:
    return {
        "terms": [{"name": words, "bytes": size} for words, size in identity.terms],
        "sum_bytes": identity.sum_bytes,
        "printed_bytes": identity.printed,
        "difference_bytes": identity.difference_bytes,
        "holds": identity.holds,
    }


def _failure(f: Failure) -> dict[str, Any]:
    return {
        "kind": f.kind,
        "line": f.line,
        "part": f.part,
        "words": f.words,
        "missing_bytes": f.missing_bytes,
        "times": f.times,
        "advice": [_advice(a) for a in f.advice],
    }


def _advice(a: Advice) -> dict[str, Any]:
    changes = None if a.changes is None else dict(a.changes)
    return {
        "knob": a.knob,
        "direction": a.direction,
        "words": a.words,
        "changes": changes,
        "gain_bytes": a.gain_bytes,
        "gain_tokens": a.gain_tokens,
    }
