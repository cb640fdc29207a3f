"""llama.cpp's compute buffer: the scratch memory of one micro-batch, reserved at start for the worst case.

ggml plans the whole graph ahead and lets tensors share memory as soon as nobody reads them, so the buffer is the
largest live set of one *phase*: logits, MLP, or attention. All its numbers are 32-bit; only masks are 16-bit. Depth
does not matter. The phases were read off llama.cpp's own planner, run on devices that only count: on one GPU with
flash attention they agree exactly with b9538, b11063 and b11549 for 18 models, and with public logs of 2025.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vramlib.components.kv_cells import block, build_number, context_cells, mask_cells
from vramlib.specs import ModelSpec, Scenario, Term
from vramlib.units import MiB, maximum, minimum, scale

NUMBER_BYTES = 4
PIPELINE_COPIES = (
    4  # GGML_SCHED_MAX_COPIES: inputs kept for micro-batches in flight when several GPUs share layers
)
FEW_OUTPUTS_BUILD = 9450  # about: pull request 23861, June 2026 (not in b9294, in b9538)
HALF_MASK_BUILD = 9400  # about: pull request 23764, end of May 2026: masks made in 16 bit, not copied from 32
MIXED_INPUT_BUILD = 11_549  # first build seen (not in b11063) where inputs stay allocated to the end
V_INDEX_BUILD = 6_070  # about: pull request 14959, August 2025: a row number for each value of a transposed V
SOURCE = "llama.cpp, src/llama-context.cpp (graph_reserve), src/llama-graph.cpp, ggml/src/ggml-alloc.c"


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


def device_bytes(
    model: ModelSpec,
    *,
    n_ctx: Any,
    n_ubatch: Any = 512,
    n_seq_max: Any = 1,
    n_outputs: Any = None,
    flash_attn: bool = True,
    kv_unified: bool = False,
    build: int = 6000,
    num_gpus: int = 1,
    last: bool = True,
    first: bool = True,
    streamed_layer_bytes: int = 0,
    streamed_output_bytes: int = 0,
) -> Any:
    """Compute buffer of one GPU.

    Formula: 4 · max over phases of (n_ubatch · per_token + n_outputs · per_output), + weights streamed from the CPU

    Parameters
    ----------
    model : the model's widths and caches [-]
    n_ctx : context, all sequences together [token]
    n_ubatch : tokens of one micro-batch [token]
    n_seq_max : sequences at once [-]
    n_outputs : logits rows reserved; ``None`` is one per token before b9450, one per sequence after [-]
    flash_attn : fused attention kernel [-]
    kv_unified : one pool for all sequences [-]
    build : llama.cpp's build number [-]
    num_gpus : GPUs that share the layers [-]
    last : this GPU holds the output matrix [-]
    first : this GPU holds the first layer [-]
    streamed_layer_bytes : largest matrix of a layer that stays on the CPU and is copied in for large batches [byte]
    streamed_output_bytes : the output matrix, when it stays on the CPU [byte]

    Returns
    -------
    Size of the buffer [byte]

    Examples
    --------
    >>> from vramlib import catalog
    >>> m = catalog.model("Llama-3.1-8B")
    >>> device_bytes(m, n_ctx=4096) / 2**20
    258.5

    Source
    ------
    ``llama_context::sched_reserve``; one logits row per slot: https://github.com/ggml-org/llama.cpp/pull/23861;
    streamed weights: ``op_offload`` (batches of 32 tokens and more).
    """
    cells = context_cells(n_ctx, n_seq_max=n_seq_max, kv_unified=kv_unified)
    masks = mask_cells(model, n_ctx=n_ctx, n_seq_max=n_seq_max, n_ubatch=n_ubatch, kv_unified=kv_unified)
    tokens = minimum(n_ubatch, n_ctx)
    rows = n_outputs if n_outputs is not None else (n_seq_max if build >= FEW_OUTPUTS_BUILD else tokens)
    rows = minimum(rows, tokens)
    found = phases(
        model, cells, masks, flash_attn=flash_attn, build=build, num_gpus=num_gpus, last=last, first=first
    )
    logits, mlp, attention = (NUMBER_BYTES * (tokens * p.per_token + rows * p.per_output) for p in found)
    return maximum(
        logits + streamed_output_bytes, mlp + streamed_layer_bytes, attention + streamed_layer_bytes
    )


def bounds(size: Any, gaps: Any = 0) -> tuple[Any, Any]:
    """Interval of a computed buffer: what the planner's gaps add, and what a fork or another build leaves out.

    Formula: −5 %, +10 % + gaps

    Parameters
    ----------
    size : computed compute buffer [byte]
    gaps : masks of an old build that may stay in the way [byte]

    Returns
    -------
    Low [byte], high [byte]

    Examples
    --------
    >>> bounds(1000)
    (950, 1100)

    Source
    ------
    Spread around ``device_bytes`` of 18 models × 7 settings on the planners of b9538, b11063 and b11549; of 7 models
    on two planners of 2025 for the gaps.
    """
    return scale(size, 0.95), scale(size, 1.10) + gaps


def mask_gap_bytes(
    model: ModelSpec, *, n_ctx: Any, n_ubatch: Any = 512, n_seq_max: Any = 1, build: int = 6000
) -> Any:
    """Both masks of a build before 16-bit ones: at worst they lie below the logits and are not used again.

    Formula: 6 · n_ubatch · masks before b9400, else 0

    Parameters
    ----------
    model : the model's caches [-]
    n_ctx : context, all sequences together [token]
    n_ubatch : tokens of one micro-batch [token]
    n_seq_max : sequences at once [-]
    build : llama.cpp's build number [-]

    Returns
    -------
    Size [byte]

    Examples
    --------
    >>> from vramlib import catalog
    >>> mask_gap_bytes(catalog.model("Llama-3.1-70B"), n_ctx=32768) / 2**20
    96.0

    Source
    ------
    Planner of a build of August 2025: Llama-3.1-70B takes 266.5 MiB at n_ctx 4096 and 362.5 MiB at 32768.
    """
    if build >= HALF_MASK_BUILD:
        return 0
    return (
        6 * minimum(n_ubatch, n_ctx) * mask_cells(model, n_ctx=n_ctx, n_seq_max=n_seq_max, n_ubatch=n_ubatch)
    )


def scenario_bytes(s: Scenario) -> Any:
    """Compute buffer of the fullest GPU of a llama.cpp scenario: the one with the output matrix.

    Formula: device_bytes with the scenario's settings

    Parameters
    ----------
    s : a scenario of engine llama.cpp [-]

    Returns
    -------
    Size of the buffer [byte]

    Source
    ------
    As ``device_bytes``.
    """
    from vramlib.components import weight_types

    build, n = build_number(s.engine_version), s.world_size
    layer, output = weight_types.streamed_bytes(s.model, s.quantization, s.n_gpu_layers, build=build)
    return device_bytes(
        s.model,
        n_ctx=s.max_model_len,
        n_ubatch=s.n_ubatch,
        n_seq_max=s.n_seq_max,
        flash_attn=s.flash_attn,
        build=build,
        num_gpus=n,
        first=n == 1,
        streamed_layer_bytes=layer,
        streamed_output_bytes=output,
    )


def scenario_terms(s: Scenario) -> tuple[Term, ...]:
    """The compute buffer as a term with its interval, for the activation part.

    Formula: as ``device_bytes``

    Parameters
    ----------
    s : a scenario of engine llama.cpp [-]

    Returns
    -------
    One term [-]

    Source
    ------
    As ``device_bytes``.
    """
    size = scenario_bytes(s)
    gap = mask_gap_bytes(
        s.model,
        n_ctx=s.max_model_len,
        n_ubatch=s.n_ubatch,
        n_seq_max=s.n_seq_max,
        build=build_number(s.engine_version),
    )
    low, high = bounds(size, gap if s.flash_attn else 0)
    worked = "" if hasattr(size, "shape") else _worked(s, size)
    return (
        Term(
            name="compute buffer",
            bytes=size,
            formula="4 · max(rows · (V + H), n_ubatch · (3·I + 2·H + q + inputs), "
            "n_ubatch · (2·q + 2·H + scores + inputs))",
            worked=worked,
            source=SOURCE,
            basis="modelled",
            low=low,
            high=high,
        ),
    )


def _worked(s: Scenario, size: int) -> str:
    """The largest phase with this scenario's numbers."""
    build, m = build_number(s.engine_version), s.model
    cells = context_cells(s.max_model_len, n_seq_max=s.n_seq_max)
    masks = mask_cells(m, n_ctx=s.max_model_len, n_seq_max=s.n_seq_max, n_ubatch=s.n_ubatch)
    tokens = min(s.n_ubatch, s.max_model_len)
    rows = min(s.n_seq_max if build >= FEW_OUTPUTS_BUILD else tokens, tokens)
    found = phases(
        m, cells, masks, flash_attn=s.flash_attn, build=build, num_gpus=s.world_size, first=s.world_size == 1
    )
    top = max(found, key=lambda p: tokens * p.per_token + rows * p.per_output)
    parts = [f"{tokens} · {top.per_token:,}"] if top.per_token else []
    parts += [f"{rows} · {top.per_output:,}"] if top.per_output else []
    streamed = size - NUMBER_BYTES * (tokens * top.per_token + rows * top.per_output)
    tail = f" + {streamed / MiB:.0f} MiB of weights streamed from the CPU" if streamed else ""
    return f"{top.name}: 4 · ({' + '.join(parts)}){tail}"


def dequantized_kv_bytes(
    model: ModelSpec, *, n_ctx: Any, n_seq_max: Any = 1, cache_type_k: str = "f16", cache_type_v: str = "f16"
) -> Any:
    """16-bit copy of one layer's quantized keys and values that CUDA's prefill kernels make, outside the buffer.

    Formula: 2 · cells · (n_kv · d_k if K is quantized + n_kv · d_v if V is), of the widest layer

    Parameters
    ----------
    model : the model's caches [-]
    n_ctx : context, all sequences together [token]
    n_seq_max : sequences at once [-]
    cache_type_k : type of the keys [-]
    cache_type_v : type of the values [-]

    Returns
    -------
    Size of the copy, at full context [byte]

    Examples
    --------
    >>> from vramlib import catalog
    >>> m = catalog.model("Llama-3.1-8B")
    >>> dequantized_kv_bytes(m, n_ctx=32768, cache_type_k="q8_0", cache_type_v="q8_0") / 2**20
    128.0

    Source
    ------
    ``launch_fattn`` in llama.cpp, ggml/src/ggml-cuda/fattn-common.cuh (need_f16_K, need_f16_V).
    """
    k, v = block(cache_type_k)[0] > 1, block(cache_type_v)[0] > 1
    widths = [
        (c.latent_dim * k) if c.latent_dim else c.num_key_value_heads * (c.head_dim * k + c.v_head_dim * v)
        for layer, _ in model.layer_counts
        for c in layer.caches
        if c.kind == "full"
    ]
    return 2 * n_seq_max * context_cells(n_ctx, n_seq_max=n_seq_max) * max(widths, default=0)
