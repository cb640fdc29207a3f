"""Live sets of llama.cpp's graph: what one token keeps alive in the logits, the MLP and attention.

ggml plans the whole graph ahead and lets tensors share memory as soon as nobody reads them, so the buffer is the
largest live set of one *phase*: logits, MLP, or attention. All its numbers are 32-bit; only masks are 16-bit. Depth
does not matter. The phases were read off llama.cpp's own planner, run on devices that only count: on one GPU with
flash attention, 18 models and builds b9538, b11063 and b11549, 268 of 270 sizes agree to 0.1 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vramlib.specs import ModelSpec

PIPELINE_COPIES = 4  # GGML_SCHED_MAX_COPIES: inputs kept for micro-batches in flight on several GPUs
HALF_MASK_BUILD = 9400  # about: pull request 23764, end of May 2026: masks made in 16 bit, not copied from 32
MIXED_INPUT_BUILD = 11_549  # first build seen (not in b11063) where inputs stay allocated to the end
V_INDEX_BUILD = 6_070  # about: pull request 14959, August 2025: a row number for each value of a transposed V


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One live set of a micro-batch: ``per_token`` 32-bit numbers per token, and ``per_output`` per logits row."""

    name: str
    per_token: Any
    per_output: Any = 0
    formula: str = ""


def mlp_numbers(model: ModelSpec) -> int:
    """Gate, up and activated rows of one token, with the experts' outputs where they find no room below.

    Formula: 3·I; experts: 3·k·F (+ k·H if k·H > 2·k·F)

    Parameters
    ----------
    model : the model's widths [-]

    Returns
    -------
    32-bit numbers per token [element]

    Examples
    --------
    >>> from vramlib import catalog
    >>> mlp_numbers(catalog.model("Llama-3.1-8B"))
    43008

    Source
    ------
    ``build_ffn`` and ``build_moe_ffn`` in llama-graph.cpp; the down projection of k experts takes the place of gate and
    up when it fits there, else it is placed above them (best fit in ggml-alloc.c).
    """
    dense = 3 * model.intermediate_size if model.gated_mlp else 2 * model.intermediate_size
    if not model.num_experts:
        return dense
    wide = model.num_experts_per_tok * (model.moe_intermediate_size or model.intermediate_size)
    out = model.num_experts_per_tok * model.hidden_size
    placed = 3 * wide + (out if out > 2 * wide else 0)
    if wide <= model.hidden_size:  # the activated rows fit where the norm was
        placed = max(2 * wide, out)
    has_dense = any(layer.mlp_width and not layer.num_experts for layer, _ in model.layer_counts)
    return max(placed, dense) if has_dense else placed


def _query_width(model: ModelSpec) -> int:
    """Queries of one token: n_q · d_head."""
    return model.num_attention_heads * model.head_dim


def attention_numbers(model: ModelSpec, cells: Any, *, flash_attn: bool = True) -> Any:
    """Queries and their rotated copy; MLA's absorbed queries and latent outputs; scores where there is no flash kernel.

    Formula: 2·q; MLA: 2·n_q·(r_kv + d_rope) + n_q·(d_nope + d_rope) + r_q; without flash attention + n_q · cells

    Parameters
    ----------
    model : the model's widths [-]
    cells : KV cells that one token attends to at most [token]
    flash_attn : a fused kernel keeps no scores [-]

    Returns
    -------
    32-bit numbers per token [element]

    Examples
    --------
    >>> from vramlib import catalog
    >>> small = catalog.model("Llama-3.1-8B")
    >>> attention_numbers(small, 8192, flash_attn=False)
    270336

    Source
    ------
    ``build_attn_mha`` in llama-graph.cpp; softmax works in place, so scores count once.
    """
    heads, scores = model.num_attention_heads, (0 if flash_attn else model.num_attention_heads * cells)
    if model.kv_lora_rank:
        latent = heads * (model.kv_lora_rank + model.qk_rope_head_dim)
        query = heads * (model.qk_nope_head_dim + model.qk_rope_head_dim)
        return 2 * latent + query + (model.q_lora_rank or 0) + scores
    return 2 * _query_width(model) + scores


def input_numbers(model: ModelSpec, masks: Any, *, flash_attn: bool = True, build: int = 6000) -> Any:
    """Masks, and the row numbers of a transposed V: what each token brings along.

    Formula: masks / 2 with flash attention (16-bit masks), masks + 2 · n_kv · d_v without

    Parameters
    ----------
    model : the model's widths [-]
    masks : cells that all masks cover [token]
    flash_attn : masks in 16 bit [-]
    build : llama.cpp's build number [-]

    Returns
    -------
    32-bit numbers per token [element]

    Examples
    --------
    >>> from vramlib import catalog
    >>> input_numbers(catalog.model("Llama-3.1-8B"), 4096)
    2048

    Source
    ------
    ``build_attn_inp_kq_mask`` and ``build_input_v_idxs`` (llama-graph.cpp, llama-kv-cache.cpp). Before
    https://github.com/ggml-org/llama.cpp/pull/23764 a 32-bit mask comes first and is dropped after its copy.
    """
    if flash_attn:
        return masks // 2
    rows = 2 * model.num_key_value_heads * (model.v_head_dim or model.head_dim)
    return masks + (rows if build >= V_INDEX_BUILD else 0)


def phases(
    model: ModelSpec,
    cells: Any,
    masks: Any,
    *,
    flash_attn: bool = True,
    build: int = 6000,
    num_gpus: int = 1,
    last: bool = True,
    first: bool = True,
) -> tuple[Phase, ...]:
    """Live sets that compete for the compute buffer of one GPU.

    Formula: logits V + H · rows; MLP 3·I + 2·H + q + inputs; attention 2·q + 2·H + scores + inputs

    Parameters
    ----------
    model : the model's widths [-]
    cells : KV cells of a full layer's stream [token]
    masks : cells that all masks cover [token]
    flash_attn : fused attention kernel [-]
    build : llama.cpp's build number [-]
    num_gpus : GPUs that share the layers; more than one keeps four copies of each input [-]
    last : this GPU holds the output matrix [-]
    first : this GPU holds the first layer [-]

    Returns
    -------
    The phases in the order logits, MLP, attention [-]

    Examples
    --------
    >>> from vramlib import catalog
    >>> m = catalog.model("Llama-3.1-8B")
    >>> [p.name for p in phases(m, 4096, 4096)]
    ['logits', 'MLP', 'attention']

    Source
    ------
    Read off the planner of builds b9538, b11063 and b11549 for 18 models: most agree exactly, the others to 10 %.
    """
    H, q = model.hidden_size, _query_width(model)
    inputs = input_numbers(model, masks, flash_attn=flash_attn, build=build)
    held = 4 * H if build >= MIXED_INPUT_BUILD else 2 * H
    kept: Any = 0
    if num_gpus > 1:
        first_width = 13 if build >= MIXED_INPUT_BUILD else 4
        wide = flash_attn and build < HALF_MASK_BUILD  # four 32-bit masks beside the 16-bit one
        copies = PIPELINE_COPIES * masks if wide else (PIPELINE_COPIES - 1) * inputs
        kept = (first_width if first else 8) * H + copies
    after: Any = kept + inputs if num_gpus > 1 else 0
    if build >= MIXED_INPUT_BUILD and num_gpus == 1:
        after = 3 * H + inputs
    mlp = held + (0 if build >= MIXED_INPUT_BUILD else q) + mlp_numbers(model) + inputs + kept
    attention = held + attention_numbers(model, cells, flash_attn=flash_attn) + inputs + kept
    logits = Phase(
        name="logits",
        per_token=after if last else 0,
        per_output=(model.vocab_size + H) if last else 0,
        formula="rows · (V + H) · 4",
    )
    return (
        logits,
        Phase(name="MLP", per_token=mlp, formula="n_ubatch · (3·I + 2·H + q + inputs) · 4"),
        Phase(name="attention", per_token=attention, formula="n_ubatch · (2·q + 2·H + scores + inputs) · 4"),
    )
