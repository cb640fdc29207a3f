"""What would make it fit, or what could be saved: the same estimate with one setting changed, for each in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vramlib import catalog
from vramlib.estimate import estimate
from vramlib.plan.answer import Answer, plain, reason, where
from vramlib.plan.contexts import longest_context, model_limit
from vramlib.specs import Estimate
from vramlib.units import MiB, round_up, show

WORTH_A_ROW = 10 * MiB
PLAIN = ("none", "", "F16", "BF16", "F32")
NARROW_CACHE = {"vllm": "fp8", "sglang": "fp8_e4m3", "llama.cpp": "q8_0"}
NARROW_WEIGHTS = {
    "vllm": (("fp8", "weights in 8 bit"), ("awq", "weights in 4 bit")),
    "sglang": (("fp8", "weights in 8 bit"), ("awq", "weights in 4 bit")),
    "transformers": (("int8", "weights in 8 bit"), ("nf4", "weights in 4 bit")),
    "llama.cpp": (("Q8_0", "weights in 8 bit"), ("Q4_K_M", "weights in about 4 bit")),
}

# What a reader gives up for each changed field.
COSTS = {
    "kv_cache_dtype": "attention reads keys and values rounded to 8 bit",
    "quantization": "some accuracy; most engines need a checkpoint stored in that format",
    "max_num_seqs": "further requests wait",
    "max_num_batched_tokens": "long prompts take more steps, so first tokens come later",
    "max_model_len": "longer requests are refused",
    "enforce_eager": "decoding is slower, most with few sequences",
    "gpu_memory_utilization": "less is left for other programs on the card",
    "tensor_parallel_size": "twice the cards, and traffic between them in every layer",
    "gpu": "a card that costs more",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One change and what it brings.

    Parameters
    ----------
    words : the change in words [-]
    cost : what it takes away, in words [-]
    changes : the fields it sets [-]
    estimate : the estimate with the change [-]
    saved_bytes : how much more of each card stays free with the same workload [byte]
    pool_bytes : how much the KV pool grows; 0 where there is none [byte]
    longest : the largest context that then starts [token]
    limit_starts : whether that is the model's own limit [-]
    """

    words: str
    cost: str
    changes: Mapping[str, Any]
    estimate: Estimate
    saved_bytes: int
    pool_bytes: int
    longest: int
    limit_starts: bool

    @property
    def gained_bytes(self) -> int:
        """The larger of the two gains, by which options are ranked [byte]."""
        return max(self.saved_bytes, self.pool_bytes)


def ranked(asked: Mapping[str, Any], e: Estimate) -> tuple[Option, ...]:
    """Options that gain something, the ones that reach most first: fits, starts at the limit, bytes gained.

    Parameters
    ----------
    asked : scenario fields as given [-]
    e : their estimate [-]

    Returns
    -------
    One for each change that the engine takes and that helps [-]
    """
    tried = (_option(asked, e, words, changes) for words, changes in _changes(asked, e))
    before = longest_context(asked, model_limit(e))
    helps = [o for o in tried if o and _helps(o, e, before)]
    return tuple(sorted(helps, key=lambda o: (not o.estimate.fits, not o.limit_starts, -o.gained_bytes)))


def _helps(o: Option, e: Estimate, longest_before: int) -> bool:
    """Whether the change is worth a row: it makes it fit, allows a longer context, or gains what a reader can see."""
    makes_it_fit = bool(o.estimate.fits) and not e.fits
    return makes_it_fit or o.longest > longest_before or o.gained_bytes >= WORTH_A_ROW


def _option(asked: Mapping[str, Any], e: Estimate, words: str, changes: Mapping[str, Any]) -> Option | None:
    """The estimate with the change; ``None`` where this model or engine does not take it."""
    given = {**asked, **changes}
    try:
        changed = estimate(**given)
    except (ValueError, KeyError):
        return None
    longest = longest_context(given, model_limit(e))
    return Option(
        words=words,
        cost=COSTS[next(iter(changes))],
        changes=changes,
        estimate=changed,
        saved_bytes=changed.headroom_bytes - e.headroom_bytes,
        pool_bytes=_pool(changed) - _pool(e),
        longest=longest,
        limit_starts=longest >= model_limit(e),
    )


def _pool(e: Estimate) -> int:
    """The KV pool, 0 where there is none; a negative one is what is missing before there can be one."""
    return int(e.budget.kv_pool_bytes) if e.budget and e.budget.kv_pool_bytes is not None else 0


def _changes(asked: Mapping[str, Any], e: Estimate) -> Iterator[tuple[str, dict[str, Any]]]:
    """The changes worth trying: narrower numbers, smaller limits, more or larger cards."""
    yield from _narrower(e)
    if e.budget is not None and e.scenario.engine != "llama.cpp":
        yield from _smaller_limits(asked, e)
    yield from _more_memory(asked, e)


def _narrower(e: Estimate) -> Iterator[tuple[str, dict[str, Any]]]:
    s = e.scenario
    if s.engine in NARROW_CACHE and s.kv_cache_dtype in ("auto", "f16", "float16", "bfloat16"):
        yield "keys and values in 8 bit", {"kv_cache_dtype": NARROW_CACHE[s.engine]}
    if s.quantization in PLAIN:
        for name, words in NARROW_WEIGHTS[s.engine]:
            yield words, {"quantization": name}


def _smaller_limits(asked: Mapping[str, Any], e: Estimate) -> Iterator[tuple[str, dict[str, Any]]]:
    s = e.scenario
    fewer = max(s.num_sequences, s.max_num_seqs // 4)
    if fewer < s.max_num_seqs:
        yield f"at most {fewer} sequences at once instead of {s.max_num_seqs}", {"max_num_seqs": fewer}
    step = max(512, s.max_num_batched_tokens // 4)
    if step < s.max_num_batched_tokens:
        words = f"steps of {step:,} tokens instead of {s.max_num_batched_tokens:,}"
        yield words, {"max_num_batched_tokens": step}
    needed = round_up(max(prompt + new for _, prompt, new in s.sequences), 1024)
    if needed < s.max_model_len:
        yield f"a limit of {needed:,} tokens, enough for this workload", {"max_model_len": needed}
    if not s.enforce_eager:
        yield "no CUDA graphs, slower decoding", {"enforce_eager": True}
    if s.gpu_memory_utilization < 0.95 and s.engine == "vllm":
        yield "let the engine plan with 95 % of the card", {"gpu_memory_utilization": 0.95}


def _more_memory(asked: Mapping[str, Any], e: Estimate) -> Iterator[tuple[str, dict[str, Any]]]:
    s = e.scenario
    if s.engine in ("vllm", "sglang"):
        degree = 2 * s.tensor_parallel_size
        yield f"each layer on {degree} cards", {"tensor_parallel_size": degree}
    if "gpu_memory_bytes" not in asked:
        larger = next_card(e)
        if larger:
            yield f"a larger card, {larger}", {"gpu": larger}


def next_card(e: Estimate) -> str:
    """The smallest card of the same maker with at least a fifth more memory, whole cards only; ``""`` for none.

    Examples
    --------
    >>> next_card(estimate(model="Llama-3.1-8B", gpu="H200")) != "H200"
    True
    """
    enough = e.gpu.memory_bytes * 6 // 5
    cards = [c for c in catalog.gpus() if c.vendor == e.gpu.vendor and c.memory_bytes >= enough]
    whole = [c for c in cards if "MIG" not in c.name.upper() and not c.unified_memory]
    return min(whole, key=lambda c: (c.memory_bytes, c.name)).name if whole else ""


def change_first(**given: Any) -> Answer:
    """What to change first: every change that helps, the ones that make it fit before the others, then by bytes.

    Parameters
    ----------
    given : scenario fields as for ``vramlib.estimate`` [-]

    Returns
    -------
    The answer, the first change in words; ``rows`` has each with the bytes it gains and what it costs [-]

    Raises
    ------
    ValueError: a field cannot be used.

    Examples
    --------
    >>> answer = change_first(model="Llama-3.1-8B", gpu="L4")
    >>> answer.estimate.fits, sorted(answer.rows[0])[:4]
    (True, ['changes', 'cost', 'fits', 'gained_bytes'])
    """
    asked = plain(given)
    e = estimate(**asked)
    options = ranked(asked, e)
    now = f"{where(e)} fits" if e.fits else f"{where(e)} does not fit: {reason(e)}"
    if not options:
        return Answer(ask="change-first", value=None, text=f"{now}. No single change would help.", estimate=e)
    best = options[0]
    effect = "makes it fit" if best.estimate.fits and not e.fits else f"gains {show(best.gained_bytes)}"
    first = "Nothing has to change; most would come from" if e.fits else "Change first"
    return Answer(
        ask="change-first",
        value=best.words,
        text=f"{now}. {first}: {best.words}, which {effect}. Its cost: {best.cost}.",
        changes=best.changes,
        estimate=best.estimate,
        rows=tuple(_as_row(o) for o in options),
    )


def _as_row(o: Option) -> dict[str, Any]:
    names = ("words", "cost", "gained_bytes", "saved_bytes", "pool_bytes", "longest")
    row = {name: getattr(o, name) for name in names}
    return row | {"changes": dict(o.changes), "fits": bool(o.estimate.fits)}
