"""Three questions that sound alike: does the workload fit, does the engine start, how long may a context be?

All of them are asked of ``estimate`` itself, with a workload of one token where only the start matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vramlib.estimate import estimate, workload_pool_bytes
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


def three(asked: Mapping[str, Any], e: Estimate) -> tuple[Answer, Answer, Answer]:
    """The three questions with their answers.

    Parameters
    ----------
    asked : scenario fields as given [-]
    e : their estimate [-]

    Returns
    -------
    Workload, start at the model's own limit, largest context [-]
    """
    limit = model_limit(e)
    longest = longest_context(asked, limit)
    return _workload(e), _start(asked, e, limit), _longest(e, longest, limit)


def _workload(e: Estimate) -> Answer:
    question, left = "Does the workload fit?", e.headroom_bytes
    held = workload_pool_bytes(e.scenario)
    pool = None if e.budget is None or e.budget.kv_pool_bytes is None else max(0, e.budget.kv_pool_bytes)
    if left >= 0 and pool is not None and held > pool:
        short = f"Its {show(held)} of KV blocks are more than the engine's pool, {show(pool)}."
        return Answer(question=question, word="no", sentence=f"The card has room, the pool has not. {short}")
    room = f"{show(left)} stay free" if left >= 0 else f"{show(-left)} too much"
    size = f"It needs {show(e.total_bytes)} of {show(e.gpu.memory_bytes)}: {room}."
    return Answer(question=question, word="yes" if left >= 0 else "no", sentence=size)


def _start(asked: Mapping[str, Any], e: Estimate, limit: int) -> Answer:
    at = alone(asked, limit)
    question = f"Does it start at the model's own limit, {limit:,} tokens?"
    if e.scenario.engine == "transformers":
        question = f"Does one sequence of the model's own limit fit, {limit:,} tokens?"
    return Answer(question=question, word="yes" if at.fits else "no", sentence=_why(at))


def _why(at: Estimate) -> str:
    b = at.budget
    if b is None or b.kv_pool_bytes is None or b.kv_bytes_at_max_model_len is None:
        return f"It would need {show(at.total_bytes)} of {show(at.gpu.memory_bytes)}."
    if b.kv_pool_bytes <= 0:
        return f"Weights and buffers alone take {show(-b.kv_pool_bytes)} more than the engine may plan with."
    need = f"One request of that length takes {show(b.kv_bytes_at_max_model_len)} of KV cache; the pool"
    enough = b.kv_bytes_at_max_model_len <= b.kv_pool_bytes
    if enough and not at.fits:
        return at.verdict
    return f"{need} has {show(b.kv_pool_bytes)}." if enough else f"{need} would have {show(b.kv_pool_bytes)}."


def _longest(e: Estimate, longest: int, limit: int) -> Answer:
    starts_or_fits = "fits" if e.scenario.engine == "transformers" else "starts"
    question = f"What is the largest context that {starts_or_fits}?"
    if not longest:
        return Answer(
            question=question, word="none", sentence="Not even one token can be served on this card."
        )
    if longest >= limit:
        return Answer(
            question=question, word=f"{longest:,}", sentence="The model's own limit; the card allows it."
        )
    share = f"{100 * longest / limit:.0f} %"
    return Answer(
        question=question, word=f"{longest:,}", sentence=f"That is {share} of the model's own limit."
    )


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
