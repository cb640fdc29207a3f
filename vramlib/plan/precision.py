"""The question about formats: the highest precision of the weights that fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib import resolve
from vramlib.components import weight_types
from vramlib.estimate import estimate
from vramlib.plan.answer import Answer, nothing, plain, reason, where
from vramlib.readers.format_names import row
from vramlib.specs import Estimate, Scenario
from vramlib.units import show

# By the precision of one weight, highest first. Formats that need a newer card than the one asked for are left out.
FORMATS: Mapping[str, tuple[str, ...]] = {
    "vllm": ("none", "fp8", "nvfp4", "awq"),
    "sglang": ("none", "fp8", "nvfp4", "awq"),
    "transformers": ("none", "int8", "nf4"),
    "llama.cpp": ("BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"),
}
LEAST_CAPABILITY = {"nvfp4": 10.0}


def precision(**given: Any) -> Answer:
    """The highest precision of the weights with which the workload fits; every format of the engine is tried.

    Parameters
    ----------
    given : scenario fields as for ``vramlib.estimate``; ``quantization`` is not read [-]

    Returns
    -------
    The answer, a format; ``rows`` has all of them with their sizes [-]

    Raises
    ------
    ValueError: a field cannot be used.

    Examples
    --------
    >>> precision(model="Llama-3.1-8B", gpu="RTX-4070", max_model_len=4096).value
    'fp8'
    """
    ask, asked = "precision", plain(given, "quantization")
    tried = [(name, estimate(**asked, quantization=name)) for name in formats(resolve.scenario(**asked))]
    rows = tuple(_row(name, e) for name, e in tried)
    first = next((i for i, (_, e) in enumerate(tried) if e.fits), None)
    if first is None:
        lowest = nothing(ask, {**asked, "quantization": tried[-1][0]}, f"Not even {tried[-1][0]} fits")
        return Answer(ask=ask, value=None, text=lowest.text, estimate=lowest.estimate, rows=rows)
    name, e = tried[first]
    text = f"The highest precision that fits for {where(e)} is {_words(name, e)}"
    if first:
        higher, failed = tried[first - 1]
        text += f"; {_words(higher, failed)} does not: {reason(failed)}"
    return Answer(
        ask=ask,
        value=name,
        text=f"{text}.",
        changes={"quantization": name},
        estimate=e,
        beyond={"quantization": tried[first - 1][0]} if first else {},
        rows=rows,
    )


def formats(s: Scenario) -> tuple[str, ...]:
    """Formats to try for a model, card and engine, highest precision first; a compressed file begins with its own.

    Examples
    --------
    >>> formats(resolve.scenario(model="Llama-3.1-8B", gpu="L4"))
    ('none', 'fp8', 'awq')
    """
    known = tuple(n for n in FORMATS[s.engine] if s.gpu.compute_capability >= LEAST_CAPABILITY.get(n, 0))
    own = s.model.gguf_file_type if s.engine == "llama.cpp" else getattr(s.model.quantization, "name", "")
    if not own:
        return known
    return (own, *(name for name in known if name != own and _finer(s, own, name)))


def _finer(s: Scenario, own: str, name: str) -> bool:
    """Whether a model's own format is more precise than another: more bits a weight, for GGUF more bytes."""
    if s.engine == "llama.cpp":
        return weight_types.model_buffer_bytes(s.model, own) > weight_types.model_buffer_bytes(s.model, name)
    return name != "none" and row(own).weight_bits > row(name).weight_bits


def _words(name: str, e: Estimate) -> str:
    kind = e.scenario.dtype if name == "none" else name
    return f"{kind} (weights {show(e.part('model_weights').bytes)})"


def _row(name: str, e: Estimate) -> dict[str, Any]:
    return {
        "quantization": name,
        "model_weights_bytes": e.part("model_weights").bytes,
        "total_bytes": e.total_bytes,
        "fits": bool(e.fits),
    }
