"""Questions about cards: the smallest that serves a workload, and the fewest with the way to share the model out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from vramlib import catalog, resolve
from vramlib.components.model_weights import VOCAB_PADDING
from vramlib.estimate import estimate
from vramlib.plan.answer import Answer, nothing, plain, reason
from vramlib.specs import Estimate, GpuSpec, ModelSpec, QuantSpec, Scenario
from vramlib.units import round_up, show

LEAST_CAPABILITY = 7.0  # of a card that vLLM and SGLang have kernels for
MOST_CARDS = 64
CARDS_OF_A_MACHINE = 8  # tensor parallelism wants the links inside one machine


def smallest_card(cards: Iterable[str | GpuSpec] = (), **given: Any) -> Answer:
    """The card with the least memory that serves the workload; every one of the list is tried.

    Parameters
    ----------
    cards : names or specs to choose from; when empty NVIDIA's whole cards with memory of their own, for vLLM and SGLang
        of compute capability 7.0 and more [-]
    given : scenario fields as for ``vramlib.estimate``; ``gpu`` and ``gpu_memory_bytes`` are not read [-]

    Returns
    -------
    The answer, a card's name; ``rows`` has every card with what it would hold [-]

    Raises
    ------
    ValueError: a field cannot be used.
    KeyError: a card is not in the catalogue; the nearest is named.

    Examples
    --------
    >>> smallest_card(["L4", "T4", "H100-80GB"], model="Llama-3.1-8B", max_model_len=8192).value
    'L4'

    Source
    ------
    https://docs.vllm.ai/en/stable/getting_started/installation/gpu.html: compute capability 7.0 or higher.
    """
    asked = plain(given, "gpu", "gpu_memory_bytes")
    chosen = [c if isinstance(c, GpuSpec) else catalog.gpu(c) for c in cards] or list(
        _whole_cards(str(asked.get("engine", "vllm")))
    )
    ordered = sorted(chosen, key=lambda card: (card.memory_bytes, card.name))
    tried = [(card, estimate(**asked, gpu=card)) for card in ordered]
    rows = tuple(_card_row(card, e) for card, e in tried)
    first = next((i for i, (_, e) in enumerate(tried) if e.fits), None)
    if first is None:
        words = f"None of {len(tried)} cards serves this workload"
        largest = nothing(
            "smallest-card", {**asked, "gpu": ordered[-1]}, f"{words}; the largest is too small"
        )
        return Answer(
            ask="smallest-card", value=None, text=largest.text, estimate=largest.estimate, rows=rows
        )
    card, e = tried[first]
    text = f"The smallest card that serves this workload is {card.name} ({show(card.memory_bytes)})"
    same = [c.name for c, other in tried[first + 1 :] if other.fits and c.memory_bytes == card.memory_bytes]
    text += f", as would {', '.join(same)}" if same else ""
    if first:
        smaller, failed = tried[first - 1]
        text += f"; {smaller.name} ({show(smaller.memory_bytes)}) does not: {reason(failed)}"
    return Answer(
        ask="smallest-card",
        value=card.name,
        text=f"{text}.",
        changes={"gpu": card.name},
        estimate=e,
        beyond={"gpu": tried[first - 1][0].name} if first else {},
        rows=rows,
    )


def _whole_cards(engine: str) -> Iterator[GpuSpec]:
    """Cards whose context and kernels are known by measurements: NVIDIA's, neither slices nor shared with a CPU."""
    least = 0.0 if engine in ("transformers", "llama.cpp") else LEAST_CAPABILITY
    for card in catalog.gpus():
        whole = not card.unified_memory and "g." not in card.name
        if card.vendor == "NVIDIA" and whole and card.compute_capability >= least:
            yield card


def _card_row(card: GpuSpec, e: Estimate) -> dict[str, Any]:
    pool = e.budget.kv_pool_tokens if e.budget else None
    return {
        "gpu": card.name,
        "memory_bytes": card.memory_bytes,
        "total_bytes": e.total_bytes,
        "fits": bool(e.fits),
        "kv_pool_tokens": pool,
    }


def fewest_cards(most: int = MOST_CARDS, **given: Any) -> Answer:
    """The fewest cards of one kind that serve the workload, and how tensor and pipeline parallelism share it out.

    Of the ways with that many cards, tensor parallelism inside one machine is preferred, then the larger degree.

    Parameters
    ----------
    most : where to stop [card]
    given : scenario fields as for ``vramlib.estimate``; the two degrees are not read [-]

    Returns
    -------
    The answer, in cards; ``rows`` has every way with that many that the model divides into [-]

    Raises
    ------
    ValueError: a field cannot be used.

    Examples
    --------
    >>> answer = fewest_cards(model="Llama-3.1-70B", gpu="H100-80GB", max_model_len=8192)
    >>> answer.value, answer.changes
    (2, {'tensor_parallel_size': 2, 'pipeline_parallel_size': 1})
    """
    ask, asked = "fewest-cards", plain(given, "tensor_parallel_size", "pipeline_parallel_size")
    s, before = resolve.scenario(**asked), None
    for cards in range(1, most + 1):
        tried = [(degrees, estimate(**asked, **degrees)) for degrees in _ways(s, cards)]
        fitting = [(degrees, e) for degrees, e in tried if e.fits]
        if fitting:
            (degrees, e), rows = fitting[0], tuple(_way_row(d, other) for d, other in tried)
            return _cards_answer(cards, degrees, e, before, rows)
        before = tried[0] if tried else before
    return nothing(ask, asked, f"No way to share the model over up to {most} cards serves this workload")


def _cards_answer(cards: int, degrees: Any, e: Estimate, before: Any, rows: tuple[Any, ...]) -> Answer:
    tp, pp = degrees["tensor_parallel_size"], degrees["pipeline_parallel_size"]
    what = f"this workload of {e.model.name} with {e.scenario.engine}"
    text = f"One {e.gpu.name} serves {what}"
    if cards > 1:
        degrees_words = f"tensor_parallel_size {tp} × pipeline_parallel_size {pp}"
        how = "layers shared out" if e.scenario.engine == "llama.cpp" else degrees_words
        text = f"{cards} × {e.gpu.name} serve {what}, {how}"
    if cards > 1 and before:
        text += f"; fewer do not: {before[1].scenario.world_size} × {e.gpu.name}: {reason(before[1])}"
    return Answer(
        ask="fewest-cards",
        value=cards,
        text=f"{text}.",
        changes=degrees,
        estimate=e,
        beyond=before[0] if cards > 1 and before else {},
        rows=rows,
    )


def _way_row(degrees: dict[str, int], e: Estimate) -> dict[str, Any]:
    return {**degrees, "total_bytes": e.total_bytes, "headroom_bytes": e.headroom_bytes, "fits": bool(e.fits)}


def _ways(s: Scenario, cards: int) -> list[dict[str, int]]:
    """Degrees whose product is this many cards and that the model divides into, the preferred one first."""
    found = [tp for tp in range(1, cards + 1) if cards % tp == 0 and not refusal(s, tp, cards // tp)]
    found.sort(key=lambda tp: (tp > CARDS_OF_A_MACHINE, -tp))
    return [{"tensor_parallel_size": tp, "pipeline_parallel_size": cards // tp} for tp in found]


def refusal(s: Scenario, tp: int, pp: int = 1) -> str:
    """Why a model does not divide over tp × pp cards of this engine; ``""`` where it does.

    Formula: tp divides heads, MLP widths (in whole quantization groups) and the padded vocabulary, and key-value heads
    or they divide it; tp · dp divides whole experts; pp ≤ layers

    Parameters
    ----------
    s : model, engine and format [-]
    tp, pp : tensor and pipeline parallel degrees [-]

    Returns
    -------
    The first reason in words [-]

    Examples
    --------
    >>> s = resolve.scenario(model="Qwen2.5-7B")
    >>> refusal(s, 4), refusal(s, 8)
    ('', '28 attention heads do not divide by 8')

    Source
    ------
    vLLM 0.33, vllm/config/model.py verify_with_parallel_config; vllm/distributed/utils.py divide.
    """
    m = s.model
    if s.engine == "llama.cpp":
        return (
            "" if pp == 1 and tp <= m.num_hidden_layers + 1 else "llama.cpp gives whole layers to each card"
        )
    if s.engine == "transformers" and pp > 1:
        return "transformers has no pipeline of servers"
    if pp > m.num_hidden_layers:
        return f"{m.num_hidden_layers} layers are fewer than {pp} stages"
    return next(_undivided(s, tp), "") if tp > 1 else ""


def _undivided(s: Scenario, tp: int) -> Iterator[str]:
    m, serving = s.model, s.engine in ("vllm", "sglang")
    if m.num_attention_heads % tp:
        yield f"{m.num_attention_heads} attention heads do not divide by {tp}"
    kv = m.num_key_value_heads
    if kv and kv % tp and tp % kv:
        yield f"{kv} key-value heads and {tp} cards do not divide either way"
    if serving and round_up(m.vocab_size, VOCAB_PADDING) % tp:
        yield f"a vocabulary of {m.vocab_size:,}, padded to a multiple of {VOCAB_PADDING}, does not divide by {tp}"
    yield from _undivided_widths(m, s.quant, tp)
    ranks = tp * s.data_parallel_size
    if m.num_experts and s.enable_expert_parallel and m.num_experts % ranks:
        yield f"{m.num_experts} experts do not divide by {ranks}"
    elif m.num_experts and not s.enable_expert_parallel and m.moe_intermediate_size % tp:
        yield f"an expert's width of {m.moe_intermediate_size:,} does not divide by {tp}"


def _undivided_widths(m: ModelSpec, quant: QuantSpec | None, tp: int) -> Iterator[str]:
    """MLP widths that do not divide, or not in whole groups of a format that keeps a scale for each group."""
    group = max(quant.group_size, quant.block_rows, 1) if quant else 1
    for width in {
        layer.mlp_width for layer, _ in m.layer_counts if layer.mlp_width and not layer.num_experts
    }:
        if width % tp:
            yield f"an MLP width of {width:,} does not divide by {tp}"
        elif width % group == 0 and width // tp % group:
            yield f"an MLP width of {width:,} over {tp} cards cuts groups of {group} in {quant.name if quant else ''}"
