"""sampler: picking one token for each row of logits, by rows and vocabulary."""

from __future__ import annotations

from typing import Any

from vramlib import catalog
from vramlib.measure.bench import Bench
from vramlib.measure.plan import Experiment, NotEnoughMemoryError, Plan, Prediction, Readings, Room
from vramlib.units import show

MODEL = "Llama-3.1-8B"
GREEDY_BYTES = 2 + 4
TOP_P_BYTES = 2 + 4 + 4 + 8 + 4 + 1
SORT_BYTES = 24
SOURCE = "counted step by step from this sampler's own tensors; the sort's scratch is the library's"


def plan(room: Room) -> Plan:
    """Greedy and top-p sampling at a quarter of, and at, the most rows that fit."""
    vocabulary = catalog.model(MODEL).vocab_size
    each = vocabulary * (TOP_P_BYTES + SORT_BYTES)
    rows = min(512, room.tensor_bytes // each // 4 * 4)
    if rows < 4:
        raise NotEnoughMemoryError(
            f"four rows of {vocabulary:,} logits take {show(4 * each)} while they are sampled"
        )
    found = []
    for n in (rows // 4, rows):
        for word, count, scratch in (("greedy", GREEDY_BYTES, 0), ("top-p", TOP_P_BYTES, SORT_BYTES)):
            found.append(
                Prediction(
                    name=f"{word}, {n} rows",
                    bytes=n * vocabulary * count,
                    low_bytes=n * vocabulary * count,
                    high_bytes=n * vocabulary * (count + scratch) + (1 << 20),
                    meter="allocator",
                    formula=f"R · V · {count}",
                    source=SOURCE,
                )
            )
    return Plan(
        experiment="sampler",
        scale=f"{rows // 4} and {rows} rows of {vocabulary:,} logits",
        headline=f"top-p, {rows} rows",
        predictions=tuple(found),
        needs_bytes=rows * each + room.gpu.cuda_context_high_bytes,
        settings={"rows": [rows // 4, rows], "vocab_size": vocabulary},
    )


def perform(plan: Plan, bench: Bench) -> Readings:
    """Peak of requested bytes while rows are sampled, the logits themselves included."""
    bench.limit()
    vocabulary = plan.settings["vocab_size"]
    for rows in plan.settings["rows"]:
        for word, sample in (("greedy", greedy), ("top-p", top_p)):
            _sample(bench, 1, vocabulary, sample)
            yield f"{word}, {rows} rows", _sample(bench, rows, vocabulary, sample)


def _sample(bench: Bench, rows: int, vocabulary: int, sample: Any) -> int:
    torch = bench.torch

    def run() -> None:
        logits = torch.zeros((rows, vocabulary), dtype=torch.bfloat16, device=bench.device)
        sample(logits, torch)

    return bench.peak(run)[1]


def greedy(logits: Any, torch: Any) -> Any:
    """The most likely token of each row: logits (2 bytes) and their float32 copy (4)."""
    return logits.float().argmax(dim=-1)


def top_p(logits: Any, torch: Any, *, p: float = 0.9) -> Any:
    """A token of each row among the likeliest that hold a share ``p``.

    Alive at the widest moment, per logit: logits 2, float32 copy 4, sorted values 4 and places 8, running sum 4,
    what is cut 1.
    """
    scores = logits.float()
    ordered, places = scores.sort(dim=-1, descending=True)
    ordered.exp_()
    ordered.div_(ordered.sum(dim=-1, keepdim=True))
    ordered.masked_fill_(ordered.cumsum(dim=-1) > p + ordered[:, :1], 0.0)
    return places.gather(-1, torch.multinomial(ordered, 1))


EXPERIMENT = Experiment(
    name="sampler",
    part="activations",
    question="How much memory does choosing the next token take, by rows and vocabulary?",
    plan=plan,
    perform=perform,
)
