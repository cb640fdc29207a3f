"""What kind of estimate a scenario is: the words by which the accuracy ledger counts and warns."""

from __future__ import annotations

from vramlib.specs import ModelSpec, Scenario


def architecture(model: ModelSpec) -> str:
    """Kind of architecture by what is hardest to predict: vision, hybrid, latent, experts, sliding or dense.

    Examples
    --------
    >>> from vramlib import catalog
    >>> architecture(catalog.model("Llama-3.1-8B")), architecture(catalog.model("DeepSeek-V3"))
    ('dense', 'latent attention')
    """
    caches = {c.kind for layer, _ in model.layer_counts for c in layer.caches}
    if caches & {"mamba1", "mamba2", "linear", "conv"}:
        return "hybrid"
    if model.towers:
        return "vision"
    if model.kv_lora_rank:
        return "latent attention"
    if model.num_experts:
        return "experts"
    return "sliding window" if caches & {"sliding", "chunked"} else "dense"


def version(s: Scenario) -> str:
    """Engine and minor version, as ``vllm 0.19``."""
    return f"{s.engine} {'.'.join(s.engine_version.split('.')[:2])}"


def tags(s: Scenario) -> dict[str, str]:
    """Every word that the ledger groups by."""
    return {
        "version": version(s),
        "card": s.gpu.arch or s.gpu.name,
        "architecture": architecture(s.model),
        "cards": "one card" if s.world_size == 1 else "several cards",
    }
