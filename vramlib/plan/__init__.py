"""Questions asked backwards: the largest, smallest or fewest that still fits, exact with respect to ``estimate``.

Each question takes scenario fields as ``vramlib.estimate`` does and answers with the value, the reason why it ends
there, the estimate at the answer, and the engine's command line.

>>> from vramlib import plan
>>> answer = plan.max_model_len(model="Llama-3.1-8B", gpu="A10G")
>>> answer.command == f"vllm serve meta-llama/Llama-3.1-8B --max-model-len {answer.value}"
True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vramlib.plan.answer import Answer
from vramlib.plan.changes import change_first
from vramlib.plan.hardware import fewest_cards, smallest_card
from vramlib.plan.precision import precision
from vramlib.plan.servers import servers, together
from vramlib.plan.settings import batch, gpu_memory_utilization, max_model_len, max_num_batched_tokens
from vramlib.plan.starts import Start, in_order

__all__ = [
    "ASKS", "Answer", "Start", "batch", "change_first", "everything", "fewest_cards", "gpu_memory_utilization",
    "in_order", "max_model_len", "max_num_batched_tokens", "precision", "servers", "smallest_card", "together",
]  # fmt: skip

ASKS: Mapping[str, Callable[..., Answer]] = {
    "max-model-len": max_model_len,
    "batch": batch,
    "max-num-batched-tokens": max_num_batched_tokens,
    "gpu-memory-utilization": gpu_memory_utilization,
    "precision": precision,
    "smallest-card": smallest_card,
    "fewest-cards": fewest_cards,
    "servers": servers,
    "change-first": change_first,
}


def everything(**given: Any) -> tuple[Answer, ...]:
    """Every question about one scenario, in the order of ``ASKS``.

    Parameters
    ----------
    given : scenario fields as for ``vramlib.estimate`` [-]

    Returns
    -------
    One answer a question [-]

    Raises
    ------
    ValueError: a field cannot be used.

    Examples
    --------
    >>> found = everything(model="Qwen2.5-0.5B", gpu="T4", max_model_len=4096)
    >>> [answer.ask for answer in found] == list(ASKS)
    True
    """
    return tuple(question(**given) for question in ASKS.values())
