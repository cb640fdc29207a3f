"""Questions about settings: the longest context, the most sequences, the largest step, the smallest share of a card."""

from __future__ import annotations

from typing import Any

import numpy

from vramlib import many, resolve
from vramlib.estimate import estimate
from vramlib.plan.answer import Answer, nothing, plain, reason, where
from vramlib.plan.search import bracket, fitting, largest
from vramlib.specs import Scenario

MOST_SEQUENCES = 1 << 24
LIMITS = {
    "max-model-len": "the model's own limit",
    "batch": "where the search ends",
    "max-num-batched-tokens": "every sequence at its full length in one step",
}
STEPS = 1000  # of the share of a card that an engine may take


def max_model_len(**given: Any) -> Answer:
    """The largest ``max_model_len`` that starts and still serves the workload, at most the model's own limit.

    For transformers, which reserves nothing, the longest sequence: the prompt grows with it.

    Parameters
    ----------
    given : scenario fields as for ``vramlib.estimate``; ``max_model_len`` itself is not read [-]

    Returns
    -------
    The answer, in tokens [token]

    Raises
    ------
    ValueError: a field cannot be used.

    Examples
    --------
    >>> answer = max_model_len(model="Llama-3.1-8B", gpu="L4")
    >>> from vramlib import estimate
    >>> [estimate(model="Llama-3.1-8B", gpu="L4", max_model_len=answer.value + n).fits for n in (0, 1)]
    [True, False]
    """
    asked = plain(given, "max_model_len")
    s = resolve.scenario(**asked)
    limit, new = int(s.max_model_len), _one_length(s)
    if s.engine == "transformers":
        asked = plain(asked, "prompt_tokens")

    def changes(length: Any) -> dict[str, Any]:
        own = {"max_model_len": length}
        return own | ({"prompt_tokens": length - new} if s.engine == "transformers" else {})

    found = largest(lambda n: fitting(asked, changes(n)), new + 1, limit)
    if found is None:
        return nothing("max-model-len", {**asked, **changes(new + 1)}, "No max_model_len fits")
    return _answer(
        "max-model-len", asked, found, changes(found), changes(found + 1), limit, "max_model_len", "token"
    )


def _one_length(s: Scenario) -> int:
    """Tokens that the longest sequence must leave room for: only transformers grows its workload with the question."""
    if s.engine != "transformers":
        return 0
    if isinstance(s.prompt_tokens, tuple):
        raise ValueError(
            f"prompt_tokens is a list of {len(s.prompt_tokens)} lengths; give one number to ask for the longest"
        )
    return int(s.new_tokens)


def _answer(
    ask: str, asked: Any, value: int, changes: Any, beyond: Any, limit: int | None, name: str, unit: str
) -> Answer:
    """A largest number, with why one more does not fit; at a limit there is no more."""
    e = estimate(**{**asked, **changes})
    if value == limit:
        text = f"{name} {value:,} fits for {where(e)}; that is {LIMITS[ask]}, memory would allow it."
        return Answer(ask=ask, value=value, text=text, changes=changes, estimate=e)
    why = reason(estimate(**{**asked, **beyond}))
    text = f"The largest {name} for {where(e)} is {value:,}; one {unit} more fails: {why}."
    return Answer(ask=ask, value=value, text=text, changes=changes, estimate=e, beyond=beyond)


def batch(**given: Any) -> Answer:
    """The most sequences of the workload's length at once.

    Parameters
    ----------
    given : scenario fields as for ``vramlib.estimate``; ``batch_size`` itself is not read [-]

    Returns
    -------
    The answer, in sequences; an engine runs at most ``max_num_seqs`` of them in one step [-]

    Raises
    ------
    ValueError: a field cannot be used, or the lengths are a list.

    Examples
    --------
    >>> answer = batch(model="Llama-3.1-8B", gpu="L4", max_model_len=8192, prompt_tokens=2000, new_tokens=200)
    >>> answer.changes == {"batch_size": answer.value}, answer.estimate.fits
    (True, True)
    """
    asked = plain(given, "batch_size")
    s = resolve.scenario(**asked)
    if isinstance(s.prompt_tokens, tuple):
        raise ValueError(
            "prompt_tokens or new_tokens is a list of lengths; give one number to ask for the batch"
        )

    def fits(numbers: Any) -> Any:
        return fitting(asked, {"batch_size": numbers})

    found = largest(fits, 1, bracket(fits, MOST_SEQUENCES))
    if found is None:
        return nothing("batch", {**asked, "batch_size": 1}, "Not even one sequence fits")
    return _answer(
        "batch",
        asked,
        found,
        {"batch_size": found},
        {"batch_size": found + 1},
        MOST_SEQUENCES,
        "batch_size",
        "sequence",
    )


def max_num_batched_tokens(**given: Any) -> Answer:
    """The largest step of prompt tokens: ``max_num_batched_tokens``, for llama.cpp ``n_ubatch``.

    Parameters
    ----------
    given : scenario fields as for ``vramlib.estimate``; the setting itself is not read [-]

    Returns
    -------
    The answer, in tokens; at most all sequences at their full length [token]

    Raises
    ------
    ValueError: a field cannot be used.

    Examples
    --------
    >>> answer = max_num_batched_tokens(model="Llama-3.1-8B", gpu="L4", max_model_len=8192)
    >>> answer.value > 2048, answer.estimate.fits
    (True, True)
    """
    asked = plain(given, "max_num_batched_tokens", "n_ubatch")
    s = resolve.scenario(**asked)
    if s.engine == "transformers":
        words = "transformers reads all prompts in one step; it has no max_num_batched_tokens"
        return Answer(ask="max-num-batched-tokens", value=None, text=f"{words}.", estimate=estimate(**asked))
    limit = int(s.max_model_len * (1 if s.engine == "llama.cpp" else s.max_num_seqs))

    def changes(tokens: Any) -> dict[str, Any]:
        own = {"max_num_batched_tokens": tokens}
        return own | ({"n_ubatch": tokens} if s.engine == "llama.cpp" else {})

    found = largest(lambda n: fitting(asked, changes(n)), 1, limit)
    if found is None:
        return nothing("max-num-batched-tokens", {**asked, **changes(1)}, "No step fits")
    return _answer(
        "max-num-batched-tokens",
        asked,
        found,
        changes(found),
        changes(found + 1),
        limit,
        "max_num_batched_tokens",
        "token",
    )


def gpu_memory_utilization(**given: Any) -> Answer:
    """The lowest share of the card that still starts and serves the workload, in thousandths.

    Parameters
    ----------
    given : scenario fields as for ``vramlib.estimate``; the share itself is not read [-]

    Returns
    -------
    The answer, for engines that reserve a share of the card [-]

    Raises
    ------
    ValueError: a field cannot be used.

    Examples
    --------
    >>> answer = gpu_memory_utilization(model="Llama-3.1-8B", gpu="H100-80GB", max_model_len=8192)
    >>> 0.2 < answer.value < 0.4
    True
    """
    ask, asked = "gpu-memory-utilization", plain(given, "gpu_memory_utilization")
    s = resolve.scenario(**asked)
    if s.engine not in ("vllm", "sglang"):
        words = f"{s.engine} reserves no share of the card; it takes what it needs"
        return Answer(ask=ask, value=None, text=f"{words}.", estimate=estimate(**asked))
    shares = many.of(numpy.arange(1, STEPS + 1)) / STEPS
    good = numpy.flatnonzero(fitting(asked, {"gpu_memory_utilization": shares})) + 1
    if not good.size:
        return nothing(ask, asked, "No gpu_memory_utilization serves this workload")
    lowest, highest = int(good[0]), int(good[-1])
    changes, beyond = ({"gpu_memory_utilization": n / STEPS} for n in (lowest, lowest - 1))
    e = estimate(**{**asked, **changes})
    text = f"The lowest gpu_memory_utilization that serves this workload on {where(e)} is {lowest / STEPS:g}"
    if lowest == 1:
        return Answer(ask=ask, value=1 / STEPS, text=f"{text}.", changes=changes, estimate=e)
    why = reason(estimate(**{**asked, **beyond}))
    text += f"; up to {highest / STEPS:g} starts, and {beyond['gpu_memory_utilization']:g} fails: {why}."
    return Answer(ask=ask, value=lowest / STEPS, text=text, changes=changes, estimate=e, beyond=beyond)
