"""Vision and audio towers with their projectors: which a config.json has, and every tensor they store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib.architectures import towers_audio as audio
from vramlib.architectures import towers_gemma as gemma
from vramlib.architectures import towers_merged as merged
from vramlib.architectures import towers_own as own
from vramlib.architectures import towers_projected as projected
from vramlib.architectures.tower_parts import Build, Section
from vramlib.specs import Tensor

KEYS = ("vision_config", "audio_config")
BUILDS: dict[str, dict[str, Build]] = {
    "vision_config": projected.VISION | own.VISION | merged.VISION | gemma.VISION,
    "audio_config": gemma.AUDIO | audio.AUDIO,
    "img_processor": projected.IMAGES,
}
# Towers of each model_type, by the section that describes them.
FAMILIES: dict[str, dict[str, Build]] = {
    kind: {key: builds[kind] for key, builds in BUILDS.items() if kind in builds}
    for kind in dict.fromkeys(kind for builds in BUILDS.values() for kind in builds)
}


def tensors(config: Mapping[str, Any]) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    """Every tensor of a model's vision and audio towers and projectors, with what could not be counted.

    Parameters
    ----------
    config : a parsed config.json [-]

    Returns
    -------
    The tensors, none for a text model; and warnings, one a missing or unknown tower [-]

    Raises
    ------
    ValueError: a size of a tower is missing where nothing sound stands in, or is not a positive whole number.

    Examples
    --------
    >>> tensors({"model_type": "llama"})
    ((), ())
    >>> tensors({"model_type": "mllama", "text_config": {"hidden_size": 4096}})[1]
    ('vision_config is missing: the vision tower is not counted',)
    """
    inner = config.get("thinker_config")
    config = {"model_type": config.get("model_type"), **inner} if isinstance(inner, Mapping) else config
    kind = str(config.get("model_type") or "").removesuffix("_thinker")
    towers = FAMILIES.get(kind, {})
    parts: tuple[Tensor, ...] = ()
    notes: tuple[str, ...] = tuple(
        _unknown(config, kind, key) for key in KEYS if config.get(key) and key not in towers
    )
    for key, build in towers.items():
        if isinstance(config.get(key), Mapping):
            section = Section(config, key)
            parts += build(section)
            notes += section.warnings
        elif key == "vision_config" or key not in config:  # "audio_config": null says that there is none
            notes += (f"{key} is missing: the {key.removesuffix('_config')} tower is not counted",)
    return parts, notes


def _unknown(config: Mapping[str, Any], kind: str, key: str) -> str:
    tower = key.removesuffix("_config")
    return f"{key} is there, but the {tower} tower of model_type {kind!r} is not known: it is not counted"
