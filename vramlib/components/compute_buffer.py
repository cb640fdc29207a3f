"""llama.cpp's compute buffer: the scratch memory of one micro-batch, reserved at start for the worst case.

ggml plans the whole graph ahead and lets tensors share memory as soon as nobody reads them, so the buffer is the
largest live set of one *phase* (``compute_phases``): logits, MLP, or attention. Depth does not matter.
"""

from __future__ import annotations

from typing import Any

from vramlib.components import weight_types
from vramlib.components.cells import context_cells, mask_cells
from vramlib.components.compute_phases import HALF_MASK_BUILD, phases
from vramlib.components.ggml import build_number
from vramlib.specs import ModelSpec, Scenario, Term
from vramlib.units import MiB, maximum, minimum, scale

NUMBER_BYTES = 4
FEW_OUTPUTS_BUILD = 9450  # about: pull request 23861, June 2026 (not in b9294, in b9538)
SOURCE = "llama.cpp, src/llama-context.cpp (graph_reserve), src/llama-graph.cpp, ggml/src/ggml-alloc.c"


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

    Formula: −10 %, +10 % + gaps

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
    (900, 1100)

    Source
    ------
    Spread around ``device_bytes`` of 18 models × 7 settings on the planners of b9538, b11063 and b11549; of 7 models
    on two planners of 2025 for the gaps. Hybrids with linear attention reach the ends.
    """
    return scale(size, 0.90), scale(size, 1.10) + gaps


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
    return _scenario_device(s, first=s.world_size == 1, last=True)


def scenario_total_bytes(s: Scenario) -> Any:
    """Compute buffers of all GPUs of a llama.cpp scenario; only the last holds the output matrix [byte].

    Formula: first + (n − 2) · middle + last
    """
    n, last = s.world_size, scenario_bytes(s)
    if n == 1:
        return last
    middle = _scenario_device(s, first=False, last=False) if n > 2 else 0
    return _scenario_device(s, first=True, last=False) + (n - 2) * middle + last


def _scenario_device(s: Scenario, *, first: bool, last: bool) -> Any:
    build = build_number(s.engine_version)
    layer, output = weight_types.streamed_bytes(s.model, s.quantization, s.n_gpu_layers, build=build)
    return device_bytes(
        s.model,
        n_ctx=s.max_model_len,
        n_ubatch=s.n_ubatch,
        n_seq_max=s.n_seq_max,
        flash_attn=s.flash_attn,
        build=build,
        num_gpus=s.world_size,
        first=first,
        last=last,
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
