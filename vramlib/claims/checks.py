"""Which numbers decide which claim of the seed table."""

from __future__ import annotations

from collections.abc import Mapping

from vramlib.claims import Verdict, effects, sizes
from vramlib.claims.cases import Check, Row


def check(row: Row) -> Verdict:
    """The verdict of one row of data/table.csv.

    Raises
    ------
    KeyError : nothing computes this claim
    """
    if row["id"] not in CHECKS:
        raise KeyError(f"no check for the claim {row['id']!r}; the checks are: {', '.join(CHECKS)}")
    return CHECKS[row["id"]](row)


_SIZES = (
    "weights_ratio", "kv_ratio", "kv_4096_vs_1024", "activations_ratio", "cuda_context_size",
    "framework_buffers_size", "prefill_padding_size", "fragmentation_fraction", "multi_process_size",
)  # fmt: skip
_EFFECTS = (
    "enable_cuda_graphs_flag", "tokenizer_preload", "gpu_memory_utilization_limits", "paged_attention",
    "dynamic_memory_pool", "smart_batching", "cuda_graphs_speed", "quick_conversion",
)  # fmt: skip
CHECKS: Mapping[str, Check] = {
    **{name: getattr(sizes, name) for name in _SIZES},
    **{name: getattr(effects, name) for name in _EFFECTS},
}
