"""Images at start-up: what a serving engine runs through the vision tower while it profiles, and what it keeps of it.

The largest image that a model takes decides; its tokens come from the config where the config says so, else from the
family's processor.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vramlib.specs import ModelSpec, Scenario
from vramlib.units import maximum

# Families whose processors resize an image up to this many merged tokens: (tokens, patches kept in time).
FLEXIBLE = {
    "qwen2_vl": (16_384, 2), "qwen2_5_vl": (16_384, 2), "qwen2_5_omni": (16_384, 2),
    "qwen3_vl": (16_384, 2), "qwen3_vl_moe": (16_384, 2), "qwen3_5": (16_384, 2), "qwen3_5_moe": (16_384, 2),
}  # fmt: skip
# Families that cut an image into tiles of ``image_size``: tiles, the overview included.
TILED = {"internvl_chat": 13, "internvl": 13, "llama4": 17, "llava_next": 5, "mllama": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """The largest image of a model: tokens for the language model, patches in the tower, pixels as the tower reads."""

    tokens: int
    patches: int
    pixels: int


@functools.lru_cache(1024)
def largest_item(model: ModelSpec) -> Item | None:
    """The largest image that a model takes; None for a model without a vision tower.

    Formula: patches = (image side / patch)² · tiles;  tokens = patches / merge²;  pixels = 3 · side² · tiles

    Examples
    --------
    >>> from vramlib import catalog
    >>> largest_item(catalog.model("gemma-3-27b-it"))
    Item(tokens=256, patches=4096, pixels=2408448)
    >>> largest_item(catalog.model("Llama-3.1-8B")) is None
    True

    Source
    ------
    The configs; tiles and the 16,384 tokens of Qwen are their processors' defaults. Checked: vLLM 0.19 prints 32, 2 and
    3 images at 8,192 tokens for Gemma-3, Mistral-Small-3.1 and Llama-4-Scout, 0.27 a budget of 16,384 for Qwen3.6.
    """
    vision = model.config.get("vision_config")
    if not model.towers or not isinstance(vision, Mapping):
        return None
    patch = _size(vision.get("patch_size"), 14)
    merge = _size(vision.get("spatial_merge_size") or model.config.get("spatial_merge_size"), 1)
    if model.model_type in FLEXIBLE:
        tokens, frames = FLEXIBLE[model.model_type]
        patches = tokens * merge * merge
        return Item(tokens=tokens, patches=patches, pixels=patches * 3 * frames * patch * patch)
    side = _size(vision.get("image_size"), 0)
    if not side:
        return None
    tiles = TILED.get(model.model_type, 1)
    patches = (side // patch) ** 2 * tiles
    return Item(
        tokens=_tokens(model, patches, side // patch, merge), patches=patches, pixels=3 * side * side * tiles
    )


def _tokens(model: ModelSpec, patches: int, across: int, merge: int) -> int:
    config = model.config
    if isinstance(fixed := config.get("mm_tokens_per_image"), int):
        return fixed
    if model.model_type in ("mistral3", "pixtral"):
        rows = across // merge
        return rows * (rows + 1)
    if model.model_type == "llama4":
        ratio = float(config["vision_config"].get("pixel_shuffle_ratio", 0.5))
        return int(patches * ratio * ratio)
    if model.model_type.startswith("internvl"):
        return int(patches * float(config.get("downsample_ratio", 0.5)) ** 2)
    return patches // (merge * merge)


def _size(value: Any, fallback: int) -> int:
    """A side in pixels; configs write one number or one for each side."""
    if isinstance(value, list | tuple) and value:
        value = max(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else fallback


def budget_tokens(s: Scenario) -> Any:
    """Tokens of encoder output that the engine leaves room for: one step, or the largest image [token].

    Formula: max(T, tokens of the largest image)
    """
    item = largest_item(s.model)
    return maximum(s.max_num_batched_tokens, item.tokens if item else 0)


def num_items(s: Scenario) -> Any:
    """Images of the largest size that the engine profiles with [-].

    Formula: max(1, ⌊budget / tokens of one image⌋)
    """
    item = largest_item(s.model)
    return maximum(1, budget_tokens(s) // item.tokens) if item else 0


def cache_bytes(s: Scenario) -> Any:
    """Encoder outputs that the engine keeps room for [byte].

    Formula: max(T, tokens of the largest image) · d_model · b where the model has towers, else 0

    Source
    ------
    vLLM 0.19, vllm/v1/core/encoder_cache_manager.py compute_mm_encoder_budget.
    """
    if not s.model.towers:
        return 0
    return budget_tokens(s) * s.model.hidden_size * s.dtype_bytes


def pixel_bytes(s: Scenario) -> Any:
    """Pixels of the profiled images, alive until the profile run ends [byte].

    Formula: images · pixels · b

    Source
    ------
    vLLM 0.19, vllm/v1/worker/gpu_model_runner.py profile_run: batched_dummy_mm_inputs stays in its frame.
    """
    item = largest_item(s.model)
    return num_items(s) * item.pixels * s.dtype_bytes if item else 0


def tower_bytes(s: Scenario) -> Any:
    """Live set of one layer of the vision tower over the profiled images; it runs without compilation [byte].

    Formula: patches · b · max(2 · d_ff + 4 · d, 14 · d where queries and keys are rotated, else 8 · d)

    Source
    ------
    Fitted: 14 on two start-ups of Qwen3.6-27B with 65,536 patches (2.31 and 2.29 GiB, runs rlog20 and rlog21); 8 is not
    above what gemma-3 prints in 0.19, where the language model decides. The MLP's term is its two products.
    """
    item = largest_item(s.model)
    vision = s.model.config.get("vision_config")
    if item is None or not isinstance(vision, Mapping):
        return 0
    width = _size(vision.get("hidden_size") or vision.get("embed_dim"), 0)
    inner = _size(vision.get("intermediate_size"), 4 * width)
    attention = (14 if s.model.model_type in FLEXIBLE else 8) * width
    return num_items(s) * item.patches * s.dtype_bytes * max(2 * inner + 4 * width, attention)
