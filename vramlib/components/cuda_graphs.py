"""CUDA graphs: which batch sizes vLLM captures, and the tensors that all of them share in one private pool.

What the driver keeps for the recordings themselves is counted in ``graph_kernels``.
"""

from __future__ import annotations

from typing import Any

from vramlib.components import activations
from vramlib.specs import Scenario
from vramlib.units import ceil_div, maximum, minimum

PREFIX_MODELS = ("bagel", "gemma3", "molmo2", "paligemma")
"""Images attend both ways in these, which FlashAttention cannot do: vllm/config/model.py is_mm_prefix_lm of 0.19."""
FLASH_HEAD_DIM = 256


def capture_sizes(
    max_num_seqs: int, max_num_batched_tokens: int, *, cap: int = 512, eights: int = 256
) -> tuple[int, ...]:
    """Batch sizes that vLLM captures as CUDA graphs.

    Formula: {1, 2, 4} ∪ {8, 16, … < 256} ∪ {256, 272, …} up to min(2 · R, cap, T)

    Parameters
    ----------
    max_num_seqs, max_num_batched_tokens : R [-] and T [token]
    cap : largest size of this version [token]
    eights : sizes go by eights below it, by sixteens from it on; 512 before 0.11.1 [token]

    Returns
    -------
    Sizes in ascending order [token]

    Examples
    --------
    >>> len(capture_sizes(1024, 8192)), len(capture_sizes(8, 2048)), len(capture_sizes(1024, 8192, eights=512))
    (51, 5, 67)

    Source
    ------
    vLLM 0.19, vllm/config/vllm.py _set_cudagraph_sizes; 0.11.0, vllm/config/scheduler.py cuda_graph_sizes.
    """
    top = min(2 * max_num_seqs, cap, max_num_batched_tokens)
    sizes = {1, 2, 4} | set(range(8, eights, 8)) | set(range(eights, top + 1, 16))
    return tuple(sorted(n for n in sizes if n <= top))


def num_capture_sizes(top: Any, *, eights: int = 256) -> Any:
    """How many sizes ``capture_sizes`` gives up to ``top``, for whole numbers or arrays.

    Examples
    --------
    >>> num_capture_sizes(512), num_capture_sizes(16), num_capture_sizes(2)
    (51, 5, 2)
    """
    small = minimum(top, 2) + minimum(maximum(top - 3, 0), 1)
    return small + minimum(top, eights - 1) // 8 + maximum(top - eights + 16, 0) // 16


def captured_tokens(s: Scenario) -> tuple[Any, Any]:
    """Widest batches that vLLM captures: in pieces, for any mix, and whole, for decoding alone; 0 for none [token].

    Formula: min(per_slot · R · q, cap, T), min(that, R · q);  q = 1 + num_speculative_tokens

    Source
    ------
    vLLM 0.19, vllm/config/vllm.py _set_cudagraph_sizes, vllm/v1/cudagraph_dispatcher.py initialize_cudagraph_keys.
    """
    rule = s.engine_spec.value("cuda_graph_sizes")
    rows = s.max_num_seqs * (1 + s.num_speculative_tokens * rule["per_draft"])
    cap = rule["cap_10x"] if 10 <= s.gpu.compute_capability < 11 else rule["cap"]
    top = minimum(rule["per_slot"] * rows, cap, s.max_num_batched_tokens)
    return top, minimum(top, rows) * (1 if s.engine_spec.value("full_cuda_graphs") else 0)


def num_graphs(s: Scenario) -> Any:
    """Graphs captured at start: one piecewise set per size, and one full graph per size up to ``max_num_seqs`` [-].

    With drafts every size is a multiple of the tokens of one step, so the smallest ones fall together.
    """
    rule = s.engine_spec.value("cuda_graph_sizes")
    together = _sizes_lost(1 + s.num_speculative_tokens * rule["per_draft"])
    counts = [num_capture_sizes(top, eights=rule["eights"]) for top in captured_tokens(s)]
    return sum(maximum(n - together, minimum(n, 1)) for n in counts)


def _sizes_lost(tokens: int) -> int:
    """Of the sizes 1, 2, 4 and 8, how many are another one's once rounded up to a multiple."""
    return 4 - len({ceil_div(n, tokens) for n in (1, 2, 4, 8)})


def uses_flash_attention_3(s: Scenario) -> bool:
    """Whether vLLM's decode attention is FlashAttention 3: Hopper, no head above 256, no sparse attention.

    Source
    ------
    vLLM 0.19, vllm/platforms/cuda.py _get_backend_priorities, vllm/v1/attention/backends/fa_utils.py; 0.24,
    vllm/model_executor/models/config.py Gemma4Config: one wide layer takes all others from FlashAttention 3.
    """
    m = s.model
    caches = [c for layer, _ in m.layer_counts for c in layer.caches]
    fits = not any(c.indexer_dim or c.head_dim > FLASH_HEAD_DIM for c in caches)
    return 9 <= s.gpu.compute_capability < 10 and fits and m.model_type not in PREFIX_MODELS


def split_bytes(s: Scenario, rows: Any) -> Any:
    """Partial results of FlashAttention 3 that a full graph keeps, for the widest captured batch.

    Formula: splits · n_q / tp · rows · d_head · 4,  d_head = r_kv for latent attention

    Parameters
    ----------
    rows : tokens of the widest full graph [token]

    Returns
    -------
    Bytes in the private pool; other cards keep none [byte]

    Examples
    --------
    >>> from vramlib import resolve
    >>> split_bytes(resolve.scenario(model="codellama/CodeLlama-7b-hf", gpu="H100-80GB"), 512) >> 20
    256

    Source
    ------
    vLLM 0.19, vllm/v1/attention/backends/flash_attn.py and mla/flashattn_mla.py: buffers of [splits, heads, tokens,
    width], flash_attn_max_num_splits_for_cuda_graph = 32. The DEBUG log of run llmd_codellama-codellama-7b-h prints
    262 MiB for the first full graph and 6 MiB for the second.
    """
    m, splits = s.model, s.engine_spec.value("flash_attention_graph_splits")
    if not uses_flash_attention_3(s):
        return rows * 0
    heads = m.num_attention_heads // s.tensor_parallel_size
    return splits * heads * rows * (m.kv_lora_rank or m.head_dim) * 4


def uses_flashinfer(s: Scenario) -> bool:
    """Whether vLLM's attention is FlashInfer's: data-centre Blackwell, and quantized caches on cards but Hopper.

    Source
    ------
    vLLM 0.20-0.27, vllm/platforms/cuda.py _get_backend_priorities; vllm/v1/attention/backends/flash_attn.py
    supports_kv_cache_dtype.
    """
    capability = s.gpu.compute_capability
    if s.model.kv_lora_rank or not s.model.num_attention_heads or s.model.model_type in PREFIX_MODELS:
        return False
    quantized = s.kv_cache_dtype not in ("auto", "float16", "bfloat16", "float32")
    return 10 <= capability < 11 or (quantized and not 9 <= capability < 10)


def live_bytes(s: Scenario, tokens: Any) -> Any:
    """Tensors inside the layers for the widest captured batch: smaller sizes reuse them [byte].

    Formula: forward pass of that many tokens, without logits
    """
    return activations.step_forward_bytes(s, tokens)
