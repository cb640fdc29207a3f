"""The verdict of an estimate in the reader's language; in English it is the estimate's own sentence."""

from __future__ import annotations

from typing import Any

from vramlib.estimate import shortfalls, workload_pool_bytes
from vramlib.messages import t
from vramlib.specs import Budget, Estimate, Scenario
from vramlib.units import show


def sentence(e: Estimate, language: str) -> str:
    """Whether it fits, and what failed and by how much, in one sentence.

    Parameters
    ----------
    e : of one scenario [-]
    language : en or vi [-]

    Returns
    -------
    Text; in English the same as ``e.verdict`` [-]

    Examples
    --------
    >>> import vramlib
    >>> e = vramlib.estimate(model="Llama-3.1-8B", gpu="L4", max_model_len=8192)
    >>> sentence(e, "en") == e.verdict, sentence(e, "vi")[:4]
    (True, 'Vừa:')
    """
    s = e.scenario
    cards = s.gpu.name if s.world_size == 1 else f"{s.world_size} × {s.gpu.name}"
    where = t(
        "what.where",
        language,
        model=s.model.name,
        cards=cards,
        engine=s.engine,
        version=s.engine_version,
    )
    if e.fits:
        numbers = {"total": show(e.total_bytes), "memory": show(e.gpu.memory_bytes)}
        return t("what.fits", language, where=where, room=_room(e, language), **numbers)
    return t("what.fails", language, where=where, why="; ".join(problems(e, language)))


def _room(e: Estimate, language: str) -> str:
    b = e.budget
    if b is None or b.kv_pool_tokens is None or b.max_concurrency is None or b.kv_pool_bytes is None:
        return ""
    numbers = {"pool": show(b.kv_pool_bytes), "tokens": f"{b.kv_pool_tokens:,}"}
    requests, length = f"{b.max_concurrency:.2f}", f"{e.scenario.max_model_len:,}"
    return t("what.room", language, requests=requests, length=length, **numbers)


def problems(e: Estimate, language: str) -> list[str]:
    """Each condition that fails, in words, and at the end what length would start."""
    s, b = e.scenario, e.budget or Budget()
    missing = shortfalls(s, e.total_bytes, e.budget)
    numbers = _numbers(e, b, missing)
    failed = [name for name, amount in missing.items() if amount > 0]
    if "request" in failed and "workload" in failed:
        failed.remove("workload")
    found = [t(f"what.short_{name}", language, short=show(missing[name]), **numbers[name]) for name in failed]
    return [*found, *_way_out(s, b, language)]


def _numbers(e: Estimate, b: Budget, missing: Any) -> dict[str, dict[str, str]]:
    """What stands in the sentence of each condition that fails."""
    s = e.scenario
    found = {"card": {"total": show(e.total_bytes), "memory": show(s.gpu.memory_bytes)}}
    if "cells" in missing:
        held = sum(n * (prompt + new) for n, prompt, new in s.sequences)
        found["cells"] = {"held": f"{held:,}", "cells": f"{held - missing['cells']:,}"}
    if b.kv_pool_bytes is not None and "start" in missing:
        found["start"] = {"requested": show(b.requested_bytes)}
        found["request"] = {
            "length": f"{s.max_model_len:,}",
            "need": show(b.kv_bytes_at_max_model_len or 0),
        }
        found["workload"] = {"held": show(workload_pool_bytes(s)), "pool": show(b.kv_pool_bytes)}
    return found


def _way_out(s: Scenario, b: Budget, language: str) -> list[str]:
    if b.max_model_len_that_fits is None or b.kv_pool_bytes is None:
        return []
    if b.max_model_len_that_fits <= 0:
        return [t("what.no_length", language)]
    if b.max_model_len_that_fits < s.max_model_len:
        return [t("what.largest", language, length=f"{b.max_model_len_that_fits:,}")]
    return []
