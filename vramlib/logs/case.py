"""A failure with what is known around it, and the sentences that advise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vramlib.logs.advice import Advice, flag
from vramlib.logs.collect import Facts
from vramlib.logs.measured import Sizes

TURNS = {
    "less share": ("gpu_memory_utilization", "down", "the KV cache takes less, more of the card stays free"),
    "more share": ("gpu_memory_utilization", "up", "the KV cache is what is left of the plan"),
    "smaller steps": ("max_num_batched_tokens", "down", "the peak of one step follows it"),
    "fewer requests": ("max_num_seqs", "down", "the sampler's peak follows it, times the vocabulary"),
    "sharing requests": ("max_num_seqs", "down", "fewer requests share the pool"),
    "more cards": (
        "tensor_parallel_size",
        "up",
        "each card holds a share of the weights and of the KV cache",
    ),
    "narrow weights": ("quantization", "to", "fewer bits a weight"),
    "narrow keys": ("kv_cache_dtype", "to", "half the bytes a token"),
    "no graphs": ("enforce_eager", "on", "no CUDA graphs"),
    "shorter": ("max_model_len", "down", "the start only checks that one request of it fits"),
    "fewer cells": ("max_model_len", "down", "every cell of the context is allocated at start"),
    "smaller masks": ("max_model_len", "down", "masks, and without flash attention scores, grow with it"),
    "fewer layers": ("n_gpu_layers", "down", "what is left out stays in the computer's memory"),
    "narrow file": ("quantization", "to", "a file with fewer bits a weight"),
    "narrow cells": ("cache_type_k", "to", "half of f16; the same for --cache-type-v, with flash attention"),
    "fewer sequences": ("n_seq_max", "down", "each has its own share of the context"),
    "small batches": ("n_ubatch", "down", "the buffer grows with the tokens of a physical step"),
    "flash": ("flash_attn", "on", "without it a table of scores, heads × context × step, is held"),
}
VERBS = {"up": "raise", "down": "lower", "on": "switch on", "off": "switch off", "to": "set"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a failure comes to.

    Parameters
    ----------
    part : key of the part that had no room; ``""`` where the message alone cannot tell [-]
    words : what happened [-]
    missing : how much was missing [byte]; ``None`` where it cannot be told
    advice : what to change, the best first [-]
    """

    part: str
    words: str
    missing: int | None = None
    advice: tuple[Advice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A failure with what is known around it.

    Parameters
    ----------
    kinds : its own rule, then those of the lines that complete it [-]
    stage : how far the start had come: ``""``, ``loaded``, ``pool``, ``captured``, ``serving`` [-]
    engine : whose log it is [-]
    values : what its lines print [-]
    sizes : what the log prints besides [-]
    facts : the whole log [-]
    """

    kinds: tuple[str, ...]
    stage: str
    engine: str
    values: Mapping[str, Any]
    sizes: Sizes
    facts: Facts

    def size(self, name: str) -> Any:
        """A figure from the failure's own lines, else from the log; ``None`` where neither prints it."""
        own = self.values.get(name)
        return own if own is not None else getattr(self.sizes.get(name), "value", None)

    def turns(self, *names: str, **to: str) -> tuple[Advice, ...]:
        """Advice by name (``TURNS``), in the engine's own flags; ``to`` gives a field's aim."""
        return tuple(self._turn(*TURNS[name], to=to) for name in names)

    def _turn(self, field: str, direction: str, why: str, to: Mapping[str, str]) -> Advice:
        knob = flag(field, self.engine)
        aim = f" to {to[field]}" if to.get(field) else ""
        return Advice(knob=knob, direction=direction, words=f"{VERBS[direction]} {knob}{aim}: {why}")


def other(knob: str, direction: str, words: str) -> Advice:
    """Advice that is no flag of the engine."""
    return Advice(knob=knob, direction=direction, words=words)
