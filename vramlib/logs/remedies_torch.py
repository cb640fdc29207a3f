"""PyTorch's out-of-memory and the driver's: which stage had no room, and what to change there."""

from __future__ import annotations

from vramlib.logs.advice import Advice
from vramlib.logs.case import Answer, Case, other
from vramlib.units import MiB, show

STAGES = {
    "": ("model_weights", "the weights, which were still being loaded"),
    "loaded": ("activations", "the profile run or the KV cache: the weights were in, no pool was reported yet"),
    "pool": ("framework_buffers", "CUDA graphs or the warm-up: the KV cache had its share already"),
    "captured": ("activations", "a step: weights, KV cache and CUDA graphs had their share already"),
    "serving": ("activations", "a step while serving: weights, KV cache and CUDA graphs had their share already"),
}  # fmt: skip
UNKNOWN = ("", "something that the message alone does not tell")
ENGINES = ("vllm", "sglang")
OTHERS_WORTH = 512 * MiB
TURNS = {
    ("vllm", ""): ("more cards", "narrow weights"),
    ("vllm", "loaded"): ("smaller steps", "fewer requests"),
    ("vllm", "pool"): ("less share", "no graphs", "fewer requests"),
    ("vllm", "captured"): ("less share", "smaller steps", "fewer requests"),
    ("vllm", "serving"): ("less share", "smaller steps", "fewer requests"),
    ("sglang", ""): ("more cards", "narrow weights"),
    ("sglang", "loaded"): ("smaller steps", "more cards"),
    ("sglang", "pool"): ("less share", "smaller steps", "no graphs"),
    ("sglang", "captured"): ("less share", "smaller steps"),
    ("sglang", "serving"): ("less share", "smaller steps", "fewer requests"),
}
PLAIN = (
    other("batch size and lengths", "down", "fewer sequences at once, or shorter ones: activations and cache grow so"),
    other("weights", "to", "a narrower type or quantization, where weights take most of the card"),
)  # fmt: skip


def torch_oom(c: Case) -> Answer:
    """PyTorch's message: the stage tells the part, unless what it held unused would have been enough."""
    tried, free, gaps = c.values.get("tried_bytes", 0), c.values.get("free_bytes"), _gaps(c)
    missing = max(0, tried - free) if free is not None else None
    if gaps is not None and missing and gaps >= missing:
        words = (
            f"PyTorch wanted {show(tried)} in one piece and held {show(gaps)} in pieces that were too small"
        )
        setting = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
        first = other(setting, "to", f"set {setting}: gaps can then be reused")
        return Answer(
            part="fragmentation", words=words, missing=missing, advice=(first, *_others(c), *stage_turns(c))
        )
    part, doing = STAGES[c.stage] if c.engine in ENGINES else UNKNOWN
    words = f"PyTorch wanted {show(tried)} for {doing}"
    return Answer(part=part, words=words, missing=missing, advice=(*stage_turns(c), *_others(c)))


def stage_turns(c: Case) -> tuple[Advice, ...]:
    """What gives room at the stage that was reached."""
    return c.turns(*TURNS[c.engine, c.stage]) if c.engine in ENGINES else PLAIN


def _gaps(c: Case) -> int | None:
    """What PyTorch held and no tensor used."""
    if "unallocated_bytes" in c.values:
        return int(c.values["unallocated_bytes"])
    if {"reserved_bytes", "allocated_bytes"} <= c.values.keys():
        return int(c.values["reserved_bytes"] - c.values["allocated_bytes"])
    return None


def _others(c: Case) -> tuple[Advice, ...]:
    """What neither the process nor the free rest accounts for belongs to other processes."""
    total, free, used = (c.values.get(name) for name in ("gpu_total_bytes", "free_bytes", "in_use_bytes"))
    rest = (total or 0) - (free or 0) - (used or 0)
    if not used or total is None or rest < OTHERS_WORTH:
        return ()
    return (other("other processes", "off", f"stop what else runs on the card: it holds about {show(rest)}"),)


def driver_oom(c: Case) -> Answer:
    """The driver refused memory that does not pass through PyTorch."""
    if c.engine == "llama.cpp":
        words = "the driver found no memory for the temporaries of a step, which grow while llama.cpp serves"
        return Answer(
            part="activations", words=words, advice=c.turns("small batches", "fewer cells", "fewer layers")
        )
    words = "the driver or a library found no memory outside PyTorch's pool"
    turns = c.turns("less share") if c.engine in ENGINES else PLAIN
    return Answer(part="cuda_context", words=words, advice=(*turns, *_others(c)))
