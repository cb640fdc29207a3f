"""llama.cpp's buffers that did not fit, and ollama's refusal."""

from __future__ import annotations

from vramlib.logs import buffers
from vramlib.logs.case import Answer, Case, other
from vramlib.units import show

BUFFERS = {
    "buffer_model": ("model_weights", "weights", ("fewer layers", "narrow file")),
    "buffer_kv": (
        "kv_cache",
        "keys and values of the whole context",
        ("fewer cells", "narrow cells", "fewer sequences", "fewer layers"),
    ),
    "buffer_compute": (
        "activations",
        "one step's temporaries",
        ("small batches", "flash", "smaller masks", "fewer layers"),
    ),
}


def buffer(c: Case) -> Answer:
    """A buffer did not fit a card."""
    tried, device = c.values.get("tried_bytes"), str(c.values.get("device", ""))
    part, what, turns = BUFFERS[_what(c)]
    told = f"a buffer of {show(tried)}" if tried is not None else "a buffer"
    retried = "; it went on without pipeline copies" if "buffer_retried" in c.kinds else ""
    place = f" {name}" if (name := _device_name(device)) else ""
    words = f"{told} for {what} did not fit{place}{retried}"
    return Answer(
        part=part,
        words=words,
        missing=_missing(c, device, tried),
        advice=c.turns(*turns, cache_type_k="q8_0"),
    )


def _device_name(device: str) -> str:
    """A card as the buffers name it."""
    return f"CUDA{device}" if device.isdigit() else device


def _what(c: Case) -> str:
    """What the buffer was for: said by a line near it, else the first kind that is not in the log yet."""
    said = [kind for kind in c.kinds if kind in BUFFERS]
    if said:
        return said[-1]
    last = buffers.loads(c.facts.events)[-1].sizes
    if not last["model_buffer_bytes"]:
        return "buffer_model"
    return "buffer_compute" if last["kv_buffer_bytes"] else "buffer_kv"


def _missing(c: Case, device: str, tried: int | None) -> int | None:
    """What the card lacked: the buffer and what the load had put there, less what was free before."""
    free = getattr(c.sizes.get("free_at_start_bytes"), "value", None)
    if tried is None or free is None:
        return None
    name = _device_name(device)
    sizes = buffers.loads(c.facts.events)[-1].sizes
    taken = sum(kind[name].value for kind in sizes.values() if name in kind)
    return max(0, int(tried + taken - free))


def ollama(c: Case) -> Answer:
    """Ollama expected to need more than the computer has."""
    tried, free = c.values.get("tried_bytes", 0), c.values.get("free_bytes", 0)
    smaller = other("model", "to", "a smaller model, or a file with fewer bits a weight")
    words = f"ollama expected to need {show(tried)} of the computer's memory and saw {show(free)}"
    return Answer(
        part="model_weights", words=words, missing=tried - free, advice=(*c.turns("fewer cells"), smaller)
    )
