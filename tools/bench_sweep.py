"""Scenarios per second of a grid: beside its bare numpy operations, beside one at a time, and written as CSV."""

import itertools
import os
import time
import timeit
from collections.abc import Callable
from typing import Any

import numpy

import vramlib
from vramlib import blocks, grid, many, sweep

WORDS = {
    "model": ["Llama-3.1-8B", "Qwen3-30B-A3B", "gemma-3-27b-it", "DeepSeek-V3", "Qwen2.5-7B"],
    "gpu": ["L4", "A100-80GB", "H100-80GB", "B200"],
    "engine": ["vllm", "sglang", "transformers", "llama.cpp"],
}
NUMBERS = {
    "max_model_len": range(1024, 25_601, 1024),
    "batch_size": range(1, 51),
    "prompt_tokens": range(500, 5001, 500),
}
ROUNDS = 3


class Taped(many.Many):
    """An array that notes each numpy operation on it with its operands, to be run again without anything else."""

    tape: list[tuple[Any, list[Any]]] = []  # noqa: RUF012

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **extra: Any) -> Any:
        plain = [numpy.asarray(o) if isinstance(o, numpy.ndarray) else o for o in operands]
        extra.pop("out", None)
        if method == "__call__":
            self.tape.append((ufunc, plain))
        return numpy.asarray(getattr(ufunc, method)(*plain, **extra)).view(Taped)


def seconds(run: Callable[[], Any]) -> float:
    """Best of a few rounds, so that another process on the machine does not count."""
    return min(timeit.repeat(run, number=1, repeat=ROUNDS))


def replay() -> None:
    """The noted operations again, each result dropped as the formulas drop theirs."""
    for ufunc, operands in Taped.tape:
        ufunc(*operands)


def bare_seconds() -> float:
    """The numpy operations of the whole grid again, a block at a time, without the formulas around them."""
    of, many.of, total = many.of, lambda values: numpy.asarray(values).view(Taped), 0.0
    try:
        for words in itertools.product(*WORDS.values()):
            Taped.tape.clear()
            for _ in grid.of(**dict(zip(WORDS, words, strict=True)), **NUMBERS):
                pass
            total += seconds(replay)
    finally:
        many.of = of
    return total


def one_at_a_time_seconds(count: int) -> float:
    """Seconds of the first scenarios of each word, one estimate at a time, as if for ``count`` of them."""
    numbers = {name: axis[len(axis) // 2] for name, axis in NUMBERS.items()}
    given = [dict(zip(WORDS, words, strict=True)) | numbers for words in itertools.product(*WORDS.values())]
    return seconds(lambda: [vramlib.estimate(**g) for g in given]) / len(given) * count


def main() -> None:
    """Print the rates; the first pass, which reads the catalogue, is not counted."""
    whole = grid.of(**WORDS, **NUMBERS)
    count, bad = len(whole), sum(a.size for a in whole if a.columns["error"])
    took, bare, alone = (
        seconds(lambda: sum(a.size for a in whole)),
        bare_seconds(),
        one_at_a_time_seconds(count),
    )
    start = time.perf_counter()
    sweep.run_grid(whole, os.devnull)
    wrote = time.perf_counter() - start - took
    print(
        f"sweep {count:,} scenarios ({bad} bad) in {took:.2f} s, {count / took:,.0f} a second,"
        f" blocks of {blocks.CHUNK:,}; bare numpy {bare:.2f} s, ratio {took / bare:.1f};"
        f" one at a time {count / alone:,.0f} a second, ratio {alone / took:.0f}; writing CSV {wrote:.1f} s more"
    )


if __name__ == "__main__":
    main()
