"""Three questions that sound alike: does the workload fit, does the engine start, how long may a context be?

All of them are asked of ``estimate`` itself, with a workload of one token where only the start matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vramlib.estimate import estimate, workload_pool_bytes
from vramlib.messages import retold, t
from vramlib.plan.contexts import alone, longest_context, model_limit, starts
from vramlib.specs import Estimate
from vramlib.units import show

__all__ = ["context_batch_rows", "contexts", "longest_context", "model_limit", "starts", "three"]

MOST_COLUMNS = 8
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One question with its answer in a word and in a sentence."""

    question: str
    word: str
    sentence: str


def three(asked: Mapping[str, Any], e: Estimate, language: str = "en") -> tuple[Answer, Answer, Answer]:
    """The three questions with their answers.

    Parameters
    ----------
    asked : scenario fields as given [-]
    e : their estimate [-]
    language : of the words, en or vi [-]

    Returns
    -------
    Workload, start at the model's own limit, largest context [-]
    """
    limit = model_limit(e)
    longest = longest_context(asked, limit)
    return _workload(e, language), _start(asked, e, limit, language), _longest(e, longest, limit, language)


def _workload(e: Estimate, language: str) -> Answer:
    question, left = t("ask.workload", language), e.headroom_bytes
    held = workload_pool_bytes(e.scenario)
    pool = None if e.budget is None or e.budget.kv_pool_bytes is None else max(0, e.budget.kv_pool_bytes)
    if left >= 0 and pool is not None and held > pool:
        short = t("ask.pool_short", language, held=show(held), pool=show(pool))
        return Answer(question=question, word=t("ask.no", language), sentence=short)
    total, memory = show(e.total_bytes), show(e.gpu.memory_bytes)
    key = "ask.free" if left >= 0 else "ask.too_much"
    size = t(key, language, total=total, memory=memory, left=show(abs(left)))
    return Answer(question=question, word=_word(left >= 0, language), sentence=size)


def _word(yes: Any, language: str) -> str:
    return t("ask.yes" if yes else "ask.no", language)


def _start(asked: Mapping[str, Any], e: Estimate, limit: int, language: str) -> Answer:
    at = alone(asked, limit)
    key = "ask.limit_fits" if e.scenario.engine == "transformers" else "ask.limit_starts"
    question = t(key, language, limit=f"{limit:,}")
    return Answer(question=question, word=_word(at.fits, language), sentence=_why(at, language))


def _why(at: Estimate, language: str) -> str:
    b = at.budget
    if b is None or b.kv_pool_bytes is None or b.kv_bytes_at_max_model_len is None:
        total, memory = show(at.total_bytes), show(at.gpu.memory_bytes)
        return t("ask.would_need", language, total=total, memory=memory)
    if b.kv_pool_bytes <= 0:
        return t("ask.over_alone", language, size=show(-b.kv_pool_bytes))
    enough = b.kv_bytes_at_max_model_len <= b.kv_pool_bytes
    if enough and not at.fits:
        return retold("verdict", at.verdict, language)
    key = "ask.pool_has" if enough else "ask.pool_would_have"
    return t(key, language, need=show(b.kv_bytes_at_max_model_len), pool=show(b.kv_pool_bytes))


def _longest(e: Estimate, longest: int, limit: int, language: str) -> Answer:
    question = t(
        "ask.longest_fits" if e.scenario.engine == "transformers" else "ask.longest_starts", language
    )
    if not longest:
        return Answer(question=question, word=t("ask.none", language), sentence=t("ask.no_token", language))
    sentence = t("ask.share_of_limit", language, share=f"{100 * longest / limit:.0f} %")
    if longest >= limit:
        sentence = t("ask.own_limit", language)
    return Answer(question=question, word=f"{longest:,}", sentence=sentence)


def contexts(limit: int) -> tuple[int, ...]:
    """Lengths for the map: powers of two up to the limit, the limit itself, at most eight.

    Examples
    --------
    >>> contexts(131_072)
    (1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
    >>> contexts(3000)
    (1024, 2048, 3000)
    """
    powers = [2**n for n in range(10, 40) if 2**n < limit]
    return tuple((*powers, limit)[-MOST_COLUMNS:])


def context_batch_rows(asked: Mapping[str, Any], e: Estimate) -> Iterator[dict[str, Any]]:
    """What fits, for each context and batch: the engine started with just that context, all sequences full.

    Parameters
    ----------
    asked : scenario fields as given [-]
    e : their estimate [-]

    Returns
    -------
    Rows for ``charts.context_batch_map`` [-]
    """
    together = e.scenario.engine == "llama.cpp"  # its n_ctx is shared by all sequences
    for batch in (
        b for b in BATCHES if b <= max(1, int(e.scenario.max_num_seqs)) or "max_num_seqs" not in asked
    ):
        for length in contexts(model_limit(e)):
            new = min(256, length // 4)
            load = {"batch_size": batch, "prompt_tokens": length - new, "new_tokens": new}
            cell = estimate(**{**asked, **load, "max_model_len": length * (batch if together else 1)})
            yield {
                "context_tokens": length,
                "batch_size": batch,
                "total_bytes": cell.total_bytes,
                "fits": bool(cell.fits),
            }
