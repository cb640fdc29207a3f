"""How many kernels a layer launches: what a recorded CUDA graph costs the driver goes by them.

Counting kernels makes one constant do for every version and card: mixture-of-experts layers and latent attention
launch two to three times as many as a dense layer, and their graphs are as much larger.
"""

from __future__ import annotations

import functools

from vramlib.components.model_weights import stage_layers
from vramlib.specs import Layer, ModelSpec

ATTENTION_KERNELS = 6
"""QKV product, rotary, cache write, attention, combination of its parts, output product."""
LATENT_KERNELS = 11
"""Down product, two norms, up product, rotary, cache write, absorb, attention, combination, expand, output product."""
COMPRESSED_QUERY_KERNELS = 2
INDEXER_KERNELS = 8
"""Two products, norm, rotary, quantization, cache write, scores, top-k."""
RECURRENT_KERNELS = 7
"""Two input products, convolution, gates, recurrence, gated norm, output product."""
NORM_KERNELS = 2
MLP_KERNELS = 3
EXPERT_KERNELS = 8
"""Router, top-k, two that sort tokens by expert, two products, activation, sum."""
TRITON_MXFP4_KERNELS = 30
"""At most: routing of triton_kernels, and the modules that Triton loads for each size."""
SHARED_EXPERT_KERNELS = 4
QUANTIZE_KERNELS = 4
"""Int8 activations: one before each product; fp8 is fused into its neighbours by torch.compile."""


def layer_kernels(layer: Layer, model: ModelSpec, quantization: str = "", end: str = "value") -> int:
    """Kernels that one layer launches in a step of a compiled engine.

    Formula: attention + norms + (dense MLP or experts) + quantization of activations

    Parameters
    ----------
    layer, model : what it is made of [-]
    quantization : as the scenario names it [-]
    end : value, low or high [-]

    Returns
    -------
    Kernels of one layer [-]

    Examples
    --------
    >>> from vramlib import catalog
    >>> names = "Llama-3.1-8B", "Qwen3-30B-A3B", "DeepSeek-V2-Lite"
    >>> [layer_kernels(m.layers[-1], m) for m in map(catalog.model, names)]
    [11, 16, 25]

    Source
    ------
    vLLM 0.19, vllm/model_executor/models/llama.py, layers/fused_moe/fused_moe.py, layers/attention/mla_attention.py;
    additions of neighbouring norms and residuals are fused.
    """
    found = NORM_KERNELS + _mixer_kernels(layer, model)
    if not layer.num_experts:
        found += MLP_KERNELS
    else:
        triton = end == "high" and quantization == "mxfp4"
        found += TRITON_MXFP4_KERNELS if triton else EXPERT_KERNELS
        found += SHARED_EXPERT_KERNELS if model.shared_expert_intermediate_size else 0
    return found + (QUANTIZE_KERNELS if quantization == "w8a8" else 0)


def _mixer_kernels(layer: Layer, model: ModelSpec) -> int:
    if any(c.is_state for c in layer.caches):
        return RECURRENT_KERNELS
    if not any(c.latent_dim for c in layer.caches):
        return ATTENTION_KERNELS
    indexer = INDEXER_KERNELS if any(c.indexer_dim for c in layer.caches) else 0
    return LATENT_KERNELS + (COMPRESSED_QUERY_KERNELS if model.q_lora_rank else 0) + indexer


@functools.lru_cache(1024)
def stage_kernels(
    model: ModelSpec, pp: int = 1, stage: int = 0, quantization: str = "", end: str = "value"
) -> int:
    """Kernels of all layers of one pipeline stage, for one captured size.

    Examples
    --------
    >>> from vramlib import catalog
    >>> stage_kernels(catalog.model("Llama-3.1-8B"))
    352
    """
    return sum(n * layer_kernels(x, model, quantization, end) for x, n in stage_layers(model, pp, stage))
