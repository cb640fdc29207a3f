"""Model weights: every tensor that this rank stores, at the width it is stored in.

Home of: parameters, quantization scales and zero points (``stored_weights``); rope tables, absorbed MLA copies,
drafters and adapters' slots (``added_weights``); llama.cpp's file types (``weight_types``). The allocator's rounding of
these tensors belongs to ``fragmentation``; the rule lives there and the sizes come from here.
"""

from __future__ import annotations

import dataclasses

from vramlib.components import added_weights, ggml, weight_types
from vramlib.components.added_weights import absorbed_mla_bytes, drafter_bytes, lora_bytes, rope_bytes
from vramlib.components.stored_weights import (
    VOCAB_PADDING,
    quantized_bytes,
    rank,
    rank_shape,
    stage_layers,
    stored_sizes,
    tensor_bytes,
    used_towers,
)
from vramlib.specs import Part, Scenario, Term
from vramlib.units import ceil_div, show_count

__all__ = [
    "VOCAB_PADDING", "absorbed_mla_bytes", "drafter_bytes", "lora_bytes", "part", "quantized_bytes", "rank",
    "rank_shape", "rope_bytes", "size_bytes", "stage_layers", "stored_sizes", "tensor_bytes", "terms", "used_towers",
]  # fmt: skip


def terms(s: Scenario, stage: int = 0) -> tuple[Term, ...]:
    """Addends of the weights of one rank: tensors, and what a serving engine adds to them."""
    if s.engine == "llama.cpp":
        return (_llamacpp_term(s),)
    added = added_weights.terms(s, stage) if s.engine in ("vllm", "sglang") else ()
    return (_tensor_term(s, stage), *added)


def _tensor_term(s: Scenario, stage: int) -> Term:
    total = tensor_bytes(s.model, **rank(s, stage))
    most, ranks = _most(s, stage, total), s.tensor_parallel_size * s.pipeline_parallel_size
    width = f"{s.quantization} + {s.dtype}" if s.quant else s.dtype
    share = f" / {ranks} ranks" if ranks > 1 else ""
    return Term(
        name="tensors",
        bytes=total,
        formula="Σ out · in · b_w / 8",
        worked=f"{show_count(s.model.params_total)} parameters in {width}{share} = {total:,} B",
        source=f"shapes: {'tensor headers' if s.model.exact_bytes else s.model.source}",
        basis="modelled" if most > total else "exact",
        high=most if most > total else None,
    )


def _most(s: Scenario, stage: int, total: int) -> int:
    """Upper end where a repack's recipe is not known: it may keep more than the format's own roles.

    Publishers of 4-bit models differ in what they leave in 16 bit: attention, recurrent layers, shared experts.
    """
    recurrent = any(t.role == "state" for t, _ in s.model.tensors)
    open_recipe = s.quant is not None and not s.quant.ignore and not s.model.exact_bytes
    if not open_recipe or s.quant is None or not (s.quantization == "nvfp4" or recurrent):
        return total
    kept = dataclasses.replace(s.quant, keep=s.quant.keep | {"attention", "state", "shared_expert"})
    return max(total, tensor_bytes(s.model, **(rank(s, stage) | {"quant": kept})))


def _llamacpp_term(s: Scenario) -> Term:
    build = ggml.build_number(s.engine_version)
    on_gpu, on_cpu = weight_types.model_buffer_bytes(s.model, s.quantization, s.n_gpu_layers, build=build)
    return Term(
        name="model buffer",
        bytes=ceil_div(on_gpu, s.world_size),
        formula="Σ rows · row_bytes(type) over offloaded layers and the output",
        worked=f"{on_gpu:,} B on the GPU, {on_cpu:,} B stay on the CPU",
        source="llama.cpp, src/llama-quant.cpp and src/llama-model.cpp; sizes of types: the gguf package",
    )


def size_bytes(s: Scenario, stage: int = 0) -> int:
    """Bytes of this part on one rank [byte]."""
    return sum(t.bytes for t in terms(s, stage))


def part(s: Scenario, stage: int = 0) -> Part:
    """The part with its formula, numbers and sources."""
    return Part.of("model_weights", *terms(s, stage))
