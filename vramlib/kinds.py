"""What kind of estimate a scenario is: the words by which the accuracy ledger counts and warns."""

from __future__ import annotations

import functools
import json

from vramlib._paths import data_dir
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


def group(model: ModelSpec) -> str:
    """Text or vision: whether images are profiled at start-up.

    Examples
    --------
    >>> from vramlib import catalog
    >>> group(catalog.model("Llama-3.1-8B")), group(catalog.model("gemma-3-27b-it"))
    ('text', 'vision')
    """
    return "vision" if model.towers else "text"


def version(s: Scenario) -> str:
    """Engine and minor version, as ``vllm 0.19``."""
    return f"{s.engine} {'.'.join(s.engine_version.split('.')[:2])}"


def tags(s: Scenario) -> dict[str, str]:
    """Every word that the ledger groups by."""
    return {
        "version": version(s),
        "card": s.gpu.arch or s.gpu.name,
        "architecture": architecture(s.model),
        "group": group(s.model),
        "cards": "one card" if s.world_size == 1 else "several cards",
    }


ENOUGH_RUNS = 8
"""Fewer public runs of a kind than this, and every estimate of that kind says so."""


def of(s: Scenario) -> str:
    """The kind that the ledger counts runs by: engine, range of its most changing constant, cards, text or vision.

    Examples
    --------
    >>> from vramlib import resolve
    >>> of(resolve.scenario(model="Llama-3.1-8B"))
    'vllm 0.17-0.21, one card, text'
    """
    cards = "one card" if s.world_size == 1 else "several cards"
    versions = ""
    if s.engine == "vllm":
        row = s.engine_spec.constants["sampler_bytes_per_logit"]
        versions = f" {row['from']}-{row['to']}" if row["to"] != "9" else f" {row['from']} and later"
    return f"{s.engine}{versions}, {cards}, {group(s.model)}"


@functools.cache
def counts() -> dict[str, int]:
    """Public runs of each kind that were compared: data/accuracy.json, written by the ledger."""
    found: dict[str, int] = json.loads((data_dir() / "accuracy.json").read_text(encoding="utf-8"))["runs"]
    return found


def warning(s: Scenario) -> str:
    """The sentence that an estimate carries where too few runs of its kind were compared, or an empty one."""
    if s.engine not in ("vllm", "sglang", "llama.cpp"):
        return ""
    n = counts().get(of(s), 0)
    if n >= ENOUGH_RUNS:
        return ""
    return f"not validated: {n} public runs of this kind were compared ({of(s)}); {ENOUGH_RUNS} are asked for"
