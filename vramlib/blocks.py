"""Many scenarios at once: those that differ in numbers alone are one array each, evaluated by the same formulas.

What an array cannot hold exactly, and what cannot be used, is evaluated one scenario at a time, as Python's whole
numbers and with the message of its own row.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy

from vramlib import contract, fields, many, text
from vramlib.components import kv_cache
from vramlib.specs import Estimate, ModelSpec

# Numbers that may differ within a group; the plan of a KV pool holds for one block size.
ARRAYS = tuple(f.name for f in fields.FIELDS if f.many and f.name != "block_size")
BAD_ROW = (ValueError, KeyError, OSError, OverflowError, ZeroDivisionError, TypeError)
CHUNK = 1 << 14  # scenarios evaluated together: their arrays stay in a processor's cache
FEW = 6  # below, one at a time is as fast
LARGEST = 1 << 52  # of a result: the steps on the way to it stay below 2^63, and floats are exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Answers of scenarios that follow each other.

    Parameters
    ----------
    size : how many [-]
    columns : of ``contract.COLUMNS``: an array with one value each, or one value for all [-]
    """

    size: int
    columns: Mapping[str, Any]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each scenario's columns as plain values, in order."""
        names, lists = tuple(self.columns), [listed(v, self.size) for v in self.columns.values()]
        return (dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True))


def listed(value: Any, size: int) -> Sequence[Any]:
    """A column as a list of plain values, one value repeated where it holds for all.

    Examples
    --------
    >>> listed(None, 2), listed(many.of([1, 2]), 2)
    ([None, None], [1, 2])
    """
    return value.tolist() if hasattr(value, "tolist") else [value] * size


def evaluate(shared: Mapping[str, Any], arrays: Mapping[str, Any], size: int) -> Iterator[Block]:
    """Answers of ``size`` scenarios that share some fields and have an array for each of the others.

    Parameters
    ----------
    shared : field to its one value [-]
    arrays : field of ``ARRAYS`` to an array of ``size`` values [-]
    size : scenarios [-]

    Returns
    -------
    Blocks in order, together ``size`` scenarios; ``error`` says what is wrong with a bad one [-]

    Examples
    --------
    >>> batch = many.of([1, 2, 4, 8, 16, 32, 64])
    >>> [block] = evaluate({"model": "Llama-3.1-8B", "gpu": "L4", "max_model_len": 4096}, {"batch_size": batch}, 7)
    >>> block.size, block.columns["fits"].tolist()
    (7, [True, True, True, True, True, False, False])
    """
    if not arrays:
        yield Block(size=size, columns=one(shared))
        return
    if size > CHUNK:
        for i in range(0, size, CHUNK):
            yield from evaluate(
                shared, {k: v[i : i + CHUNK] for k, v in arrays.items()}, min(CHUNK, size - i)
            )
        return
    if size < FEW:
        for i in range(size):
            yield Block(size=1, columns=one({**shared, **{k: v[i].item() for k, v in arrays.items()}}))
        return
    columns = _at_once(shared, arrays) if exact(shared, arrays) else None
    if columns is not None:
        yield Block(size=size, columns=columns)
        return
    half = size // 2
    yield from evaluate(shared, {k: v[:half] for k, v in arrays.items()}, half)
    yield from evaluate(shared, {k: v[half:] for k, v in arrays.items()}, size - half)


def one(given: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of one scenario; what is wrong with it as their ``error``.

    Examples
    --------
    >>> one({"model": "Llama-3.1-8B", "gpu": "no such card"})["error"][:15]
    "no GPU named 'n"
    """
    import vramlib

    try:
        return contract.row(vramlib.estimate(**given))
    except BAD_ROW as error:
        return failed(text.message(error))


def failed(why: str) -> dict[str, Any]:
    """Columns of a scenario without an answer."""
    return {**dict.fromkeys(contract.COLUMNS), "error": why}


def exact(shared: Mapping[str, Any], arrays: Mapping[str, Any]) -> bool:
    """Whether 64-bit numbers hold every result of these scenarios: true when they hold that of the largest values.

    Examples
    --------
    >>> exact({"model": "Llama-3.1-8B"}, {"batch_size": many.of([1, 10**12])})
    False
    """
    import vramlib

    try:
        largest = vramlib.estimate(**shared, **{k: v.max().item() for k, v in arrays.items()})
    except BAD_ROW:
        return False
    return all(abs(n) < LARGEST for n in _numbers(largest))


def _numbers(e: Estimate) -> Iterator[Any]:
    """Results, and what is multiplied on the way and then cut to a limit."""
    s = e.scenario
    yield from (p.high_bytes for p in e.parts)
    yield from (v for v in contract.columns(e).values() if isinstance(v, int | float))
    yield from (s.gpu.memory_bytes, s.max_num_batched_tokens * s.world_size)
    per_token, states = _widest(s.model)
    yield sum(n * ((prompt + new) * per_token + states) for n, prompt, new in s.sequences)
    yield max(s.max_num_seqs, s.n_seq_max) * (s.max_model_len + s.block_size + s.n_ubatch)


@functools.lru_cache(1024)
def _widest(model: ModelSpec) -> tuple[int, int]:
    """At least the bytes that one token, and one sequence, leave behind in a model's caches: numbers of 32 bit."""
    states = sum(n * c.state_elements for layer, n in model.layer_counts for c in layer.caches)
    return kv_cache.bytes_per_token(model, dtype_bits=32) + 1, 4 * states


def _at_once(shared: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any] | None:
    """Columns of all the scenarios, or ``None`` where one of them cannot be used."""
    import vramlib

    try:
        with numpy.errstate(divide="raise", invalid="raise"):
            return contract.columns(vramlib.estimate(**shared, **arrays))
    except (*BAD_ROW, FloatingPointError):
        return None


def answers(scenarios: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Columns of each scenario, in order; those that differ in numbers alone are evaluated together.

    Parameters
    ----------
    scenarios : field names to text or typed values, as ``fields.read`` takes them [-]

    Returns
    -------
    One mapping each of ``contract.COLUMNS`` to plain values [-]

    Examples
    --------
    >>> found = answers([{"model": "Llama-3.1-8B", "gpu": "L4", "batch_size": str(n)} for n in range(1, 9)])
    >>> [n["kv_cache_bytes"] >> 20 for n in found]
    [160, 320, 480, 640, 800, 960, 1120, 1280]
    """
    found: list[dict[str, Any]] = [{} for _ in scenarios]
    groups: dict[Any, tuple[dict[str, Any], list[int], list[tuple[Any, ...]]]] = {}
    for place, scenario in enumerate(scenarios):
        try:
            shared, numbers = _divided(_read(scenario))
        except BAD_ROW as error:
            found[place] = failed(text.message(error))
            continue
        key = (tuple(shared.items()), tuple(numbers))
        _, places, values = groups.setdefault(key, (shared, [], []))
        places.append(place)
        values.append(tuple(numbers.values()))
    for (_, names), (shared, places, values) in groups.items():
        arrays = {
            name: many.of(column) for name, column in zip(names, zip(*values, strict=True), strict=True)
        }
        blocks = evaluate(shared, arrays, len(places))
        for place, row in zip(places, (row for block in blocks for row in block.rows()), strict=True):
            found[place] = row
    return found


def _read(scenario: Mapping[str, Any]) -> dict[str, Any]:
    typed = fields.read(scenario)
    if "model" not in typed:
        raise ValueError("no model is given; write a catalogue name or a path in column model")
    return typed


def _divided(typed: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a group shares, and the numbers of one scenario."""
    numbers = {n for n in ARRAYS if isinstance(typed.get(n), int | float)}
    own = numbers - kept_apart(numbers, set(typed), {str(typed.get("engine", "vllm"))})
    return {n: v for n, v in typed.items() if n not in own}, {n: v for n, v in typed.items() if n in own}


def kept_apart(numbers: Set[str], given: Set[str], engines: Set[str]) -> set[str]:
    """Fields that a group shares although they are numbers, because another field depends on their value.

    A list of lengths sets the batch; without a named card its memory picks the card, and SGLang's defaults follow it.

    Parameters
    ----------
    numbers : fields of ``ARRAYS`` whose values are all numbers [-]
    given : all fields that are given [-]
    engines : engines of the scenarios [-]

    Examples
    --------
    >>> numbers = {"gpu_memory_bytes", "batch_size"}
    >>> kept_apart(numbers, numbers | {"prompt_tokens"}, {"vllm"}) == numbers
    True
    """
    lists = {"prompt_tokens", "new_tokens"} & given - numbers
    chooses = "gpu" not in given or "sglang" in engines
    return ({"batch_size"} if lists else set()) | ({"gpu_memory_bytes"} if chooses else set())
