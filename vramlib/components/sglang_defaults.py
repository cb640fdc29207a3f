"""SGLang's defaults by the card's memory: prefill chunk, CUDA graphs, and the fraction for weights and KV pool.

Read in SGLang 0.5.23.
"""

from __future__ import annotations

from typing import Any

from vramlib.units import MiB, maximum

LARGE_GPU_MIB, LARGE_GPU_RESERVE_MIB = 60 * 1024, 10 * 1024
MLA_GRAPH_MIB = 1536  # what prefill graphs cost with the MLA kernels

# up to this many MiB: (prefill chunk, largest decode graph with tp < 4, with tp ≥ 4)
TIERS: tuple[tuple[int, tuple[int, int, int]], ...] = (
    (20 * 1024, (2048, 8, 8)),
    (35 * 1024, (4096, 48, 160)),
    (60 * 1024, (4096, 32, 160)),
    (160 * 1024, (8192, 256, 512)),
)
LARGEST_TIER = (16_384, 512, 512)


def _tier(memory_bytes: int) -> tuple[int, int, int]:
    """Prefill chunk and largest decode graphs for a card of this size."""
    return next((tier for limit, tier in TIERS if memory_bytes < limit * MiB), LARGEST_TIER)


def chunked_prefill_size(memory_bytes: int, tp: int = 1) -> int:
    """Tokens of one prefill step that SGLang picks by the card's memory.

    Formula: 2k below 20 GiB, 4k below 60, 8k below 160, else 16k

    Parameters
    ----------
    memory_bytes : memory of one card [byte]
    tp : tensor-parallel ranks; does not matter in this version [-]

    Returns
    -------
    Chunk [token]

    Examples
    --------
    >>> chunked_prefill_size(80 * 2**30)
    8192

    Source
    ------
    SGLang 0.5.23, sglang/srt/arg_groups/memory_hook.py, handle_gpu_memory_settings.
    """
    return _tier(memory_bytes)[0]


def cuda_graph_max_bs(memory_bytes: int, tp: int = 1) -> int:
    """Largest decode batch that gets a CUDA graph.

    Formula: 8 below 20 GiB, 48 below 35, 32 below 60, 256 below 160, else 512; with tp ≥ 4: 160 or 512

    Parameters
    ----------
    memory_bytes : memory of one card [byte]
    tp : tensor-parallel ranks [-]

    Returns
    -------
    Sequences [-]

    Examples
    --------
    >>> cuda_graph_max_bs(80 * 2**30), cuda_graph_max_bs(80 * 2**30, tp=4)
    (256, 512)

    Source
    ------
    SGLang 0.5.23, sglang/srt/arg_groups/memory_hook.py, handle_gpu_memory_settings.
    """
    return _tier(memory_bytes)[1 if tp < 4 else 2]


def cuda_graph_sizes(memory_bytes: int, tp: int = 1, max_bs: int | None = None) -> tuple[int, ...]:
    """Decode batch sizes that SGLang captures as CUDA graphs.

    Formula: {1, 2, 4, 8, 12} ∪ 16..256 step 8 ∪ 272..496 step 16 ∪ 512.. step 32, up to max_bs

    Parameters
    ----------
    memory_bytes : memory of one card [byte]
    tp : tensor-parallel ranks [-]
    max_bs : ``--cuda-graph-max-bs``; ``None`` is the default for this card [-]

    Returns
    -------
    Batch sizes [-]

    Examples
    --------
    >>> len(cuda_graph_sizes(80 * 2**30)), cuda_graph_sizes(16 * 2**30)
    (36, (1, 2, 4, 8))

    Source
    ------
    SGLang 0.5.23, sglang/srt/arg_groups/cuda_graph_hook.py, generate_decode_cuda_graph_batch_sizes.
    """
    top = cuda_graph_max_bs(memory_bytes, tp) if max_bs is None else max_bs
    steps = (1, 2, 4, 8, 12, *range(16, 257, 8), *range(272, 512, 16), *range(512, top + 1, 32))
    return tuple(sorted({n for n in steps if n <= top} | {top}))


def prefill_graph_sizes(max_tokens: int) -> tuple[int, ...]:
    """Prefill lengths that SGLang captures as CUDA graphs.

    Formula: steps of 4, 16, 32, 64, 256 and 512 that widen with the length, up to max_tokens

    Parameters
    ----------
    max_tokens : the prefill chunk; 2048 with MLA [token]

    Returns
    -------
    Lengths [token]

    Examples
    --------
    >>> len(prefill_graph_sizes(8192))
    58

    Source
    ------
    SGLang 0.5.23, sglang/srt/arg_groups/cuda_graph_hook.py, generate_prefill_cuda_graph_batch_sizes.
    """
    ranges = ((4, 33, 4), (48, 257, 16), (288, 513, 32), (576, 1025, 64), (1280, 4097, 256))
    steps = [n for r in ranges for n in range(*r)] + list(range(4608, max_tokens + 1, 512))
    return tuple(n for n in steps if n <= max_tokens)


def reserved_mib(
    memory_bytes: int,
    chunk: Any,
    *,
    tp: int = 1,
    pp: int = 1,
    mla: bool = False,
    post_capture: bool | None = None,
) -> Any:
    """Memory that the default fraction leaves for activations, graphs and communication.

    Formula: 1536 + 128·tp·pp when the pool is sized after graph capture; else 512 + 1.5·max(chunk, 2048) + 128·tp·pp +
    2·max_bs + 8·prefill graphs (1536 with MLA), at least 10 GiB on cards over 60 GiB

    Parameters
    ----------
    memory_bytes : memory of one card [byte]
    chunk : ``--chunked-prefill-size`` [token]
    tp : tensor-parallel ranks [-]
    pp : pipeline-parallel ranks [-]
    mla : multi-head latent attention [-]
    post_capture : the pool is sized after capture; ``None`` is the default: wherever MLA is not used [-]

    Returns
    -------
    Reserve [MiB]

    Examples
    --------
    >>> reserved_mib(80 * 2**30, 8192)
    1664.0
    >>> reserved_mib(80 * 2**30, 8192, post_capture=False)
    13904.0

    Source
    ------
    SGLang 0.5.23, sglang/srt/arg_groups/memory_hook.py, handle_gpu_memory_settings and reserve_for_graph_mb.
    """
    parallel = tp * pp / 8 * 1024
    if post_capture if post_capture is not None else not mla:
        return 1536 + parallel
    graphs = 2 * cuda_graph_max_bs(memory_bytes, tp)
    graphs += MLA_GRAPH_MIB if mla else 8 * len(prefill_graph_sizes(chunk))
    reserve = 512 + 1.5 * maximum(chunk, 2048) + parallel + graphs
    return maximum(reserve, LARGE_GPU_RESERVE_MIB) if memory_bytes > LARGE_GPU_MIB * MiB else reserve


def mem_fraction_static(
    memory_bytes: int,
    chunk: Any,
    *,
    tp: int = 1,
    pp: int = 1,
    mla: bool = False,
    post_capture: bool | None = None,
) -> Any:
    """Default of ``--mem-fraction-static``: the share of free memory for weights and KV pool.

    Formula: round((memory − reserve) / memory, 3)

    Parameters
    ----------
    memory_bytes : memory of one card; the engine asks nvidia-smi [byte]
    chunk : ``--chunked-prefill-size`` [token]
    tp : tensor-parallel ranks [-]
    pp : pipeline-parallel ranks [-]
    mla : multi-head latent attention [-]
    post_capture : as in ``reserved_mib`` [-]

    Returns
    -------
    Fraction [-]

    Examples
    --------
    >>> mem_fraction_static(81559 * 2**20, 8192), mem_fraction_static(81559 * 2**20, 8192, mla=True)
    (0.98, 0.816)

    Source
    ------
    SGLang 0.5.23, sglang/srt/arg_groups/memory_hook.py, handle_gpu_memory_settings.
    """
    total = memory_bytes / MiB
    share = 1 - reserved_mib(memory_bytes, chunk, tp=tp, pp=pp, mla=mla, post_capture=post_capture) / total
    return share.round(3) if hasattr(share, "shape") else round(share, 3)
