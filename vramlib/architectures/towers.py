"""Vision and audio towers with their projectors: which a config.json has, and every tensor they store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vramlib.architectures import towers_gemma as gemma
from vramlib.architectures import towers_glm as glm
from vramlib.architectures import towers_llama as llama
from vramlib.architectures import towers_mobilenet as mobilenet
from vramlib.architectures import towers_qwen as qwen
from vramlib.architectures import towers_resampled as resampled
from vramlib.architectures import towers_vision as vision
from vramlib.architectures.tower_parts import Group, Section
from vramlib.specs import Tensor

Build = Callable[[Section], tuple[Tensor, ...]]
KEYS = ("vision_config", "audio_config")
# Encoders that several families share, by the model_type of their own section.
ENCODERS: Mapping[str, Build] = {
    "siglip_vision_model": vision.siglip,
    "siglip2_vision_model": vision.siglip,
    "clip_vision_model": vision.clip,
    "pixtral": vision.pixtral,
    "intern_vit_6b": vision.intern,
    "internvl_vision": vision.intern,
}


def _encoder(s: Section, default: str) -> tuple[Tensor, ...]:
    kind = s.fields.model_type or default
    if kind not in ENCODERS:
        raise ValueError(f"vision_config: model_type {kind!r} is not known; known: {', '.join(ENCODERS)}")
    return ENCODERS[kind](s)


def _width(s: Section) -> int:
    return s.size("hidden_size")


def _llava(s: Section) -> tuple[Tensor, ...]:
    """Encoder and two matrices; several feature layers stand side by side in the first one's input."""
    out, g, text = (
        _encoder(s, "clip_vision_model"),
        Group("multi_modal_projector.", "projector"),
        s.text_width,
    )
    layers, bias = s.outer.get("vision_feature_layer"), s.outer.get("multimodal_projector_bias") is not False
    inputs = _width(s) * (len(layers) if isinstance(layers, list) else 1)
    out += g.matrix("linear_1", text, inputs, bias=bias, split="out")
    return out + g.matrix("linear_2", text, text, bias=bias, split="in")


def _llava_next(s: Section) -> tuple[Tensor, ...]:
    return _llava(s) + Group("", "projector").plain("image_newline", s.text_width)


def _mistral3(s: Section) -> tuple[Tensor, ...]:
    out, g, text = _encoder(s, "pixtral"), Group("multi_modal_projector.", "projector"), s.text_width
    width = s.size("hidden_size", default=1024)
    merge, bias = s.outside("spatial_merge_size", 2), s.outer.get("multimodal_projector_bias") is True
    out += g.norm("norm", width, bias=False)
    out += g.matrix("patch_merger.merging_layer", width, width * merge**2, bias=False)
    out += g.matrix("linear_1", text, width, bias=bias, split="out")
    return out + g.matrix("linear_2", text, text, bias=bias, split="in")


def _gemma3(s: Section) -> tuple[Tensor, ...]:
    g = Group("multi_modal_projector.", "projector")
    out = _encoder(s, "siglip_vision_model")
    out += g.plain("mm_input_projection_weight", _width(s), s.text_width)
    return out + g.norm("mm_soft_emb_norm", _width(s), bias=False)


def _paligemma(s: Section) -> tuple[Tensor, ...]:
    g = Group("multi_modal_projector.", "projector")
    return _encoder(s, "siglip_vision_model") + g.matrix("linear", s.text_width, _width(s))


def _mllama(s: Section) -> tuple[Tensor, ...]:
    projector = Group("", "projector").matrix(
        "multi_modal_projector", s.text_width, s.size("vision_output_dim")
    )
    return llama.mllama(s) + projector


def _llama4(s: Section) -> tuple[Tensor, ...]:
    g, inputs = Group("multi_modal_projector.", "projector"), s.size("vision_output_dim")
    return llama.llama4(s) + g.matrix("linear_1", s.text_width, inputs, bias=False, split="out")


def _internvl(s: Section) -> tuple[Tensor, ...]:
    g, text = Group("multi_modal_projector.", "projector"), s.text_width
    inputs = round(_width(s) / s.fraction("downsample_ratio", 0.5) ** 2)
    out = vision.intern(s) + g.norm("layer_norm", inputs)
    return out + g.matrix("linear_1", text, inputs) + g.matrix("linear_2", text, text)


def _kimi(s: Section) -> tuple[Tensor, ...]:
    g, width = Group("mm_projector.", "projector"), s.size("vt_hidden_size", "hidden_size")
    merged, text = 4 * width, s.size("text_hidden_size", default=s.text_width)
    out = vision.moonvit(s) + g.norm("pre_norm", width)
    return out + g.matrix("proj.0", merged, merged) + g.matrix("proj.2", text, merged)


def _minimax_m3(s: Section) -> tuple[Tensor, ...]:
    g, text = Group("multi_modal_projector.", "projector"), s.text_width
    inner = s.outside("projector_hidden_size", text)
    out = vision.minimax(s) + g.matrix("linear_1", inner, _width(s)) + g.matrix("linear_2", text, inner)
    return out + g.matrix("merge_linear_1", inner, 4 * text) + g.matrix("merge_linear_2", text, inner)


def _lfm2_vl(s: Section) -> tuple[Tensor, ...]:
    g, text = Group("multi_modal_projector.", "projector"), s.text_width
    inputs = _width(s) * s.outside("downsample_factor", 2) ** 2
    inner, bias = s.outside("projector_hidden_size", 2560), s.outer.get("projector_bias") is not False
    norm = g.norm("layer_norm", inputs) if s.outer.get("projector_use_layernorm") is not False else ()
    out = _encoder(s, "siglip2_vision_model") + norm
    return out + g.matrix("linear_1", inner, inputs, bias=bias) + g.matrix("linear_2", text, inner, bias=bias)


def _qwen2_audio(s: Section) -> tuple[Tensor, ...]:
    width = s.size("d_model", default=1280)
    projector = Group("multi_modal_projector.", "projector").matrix("linear", s.text_width, width)
    return qwen.whisper(s) + projector


def _voxtral(s: Section) -> tuple[Tensor, ...]:
    g, text = Group("multi_modal_projector.", "projector"), s.text_width
    inputs = s.size("intermediate_size", default=5120)
    return (
        qwen.whisper(s)
        + g.matrix("linear_1", text, inputs, bias=False)
        + g.matrix("linear_2", text, text, bias=False)
    )


# Towers of each model_type, by the section that describes them.
FAMILIES: Mapping[str, Mapping[str, Build]] = {
    "llava": {"vision_config": _llava},
    "llava_next": {"vision_config": _llava_next},
    "llava_next_video": {"vision_config": _llava_next},
    "llava_onevision": {"vision_config": _llava_next},
    "mistral3": {"vision_config": _mistral3},
    "gemma3": {"vision_config": _gemma3},
    "paligemma": {"vision_config": _paligemma},
    "gemma3n": {"vision_config": mobilenet.mobilenet, "audio_config": gemma.gemma3n_audio},
    "gemma4": {"vision_config": gemma.gemma4_vision, "audio_config": gemma.gemma4_audio},
    "gemma4_unified": {
        "vision_config": gemma.gemma4_unified_vision,
        "audio_config": gemma.gemma4_unified_audio,
    },
    "mllama": {"vision_config": _mllama},
    "llama4": {"vision_config": _llama4},
    "internvl": {"vision_config": _internvl},
    "internvl_chat": {"vision_config": _internvl},
    "kimi_k25": {"vision_config": _kimi},
    "kimi_vl": {"vision_config": _kimi},
    "minimax_m3_vl": {"vision_config": _minimax_m3},
    "lfm2_vl": {"vision_config": _lfm2_vl},
    "qwen2_vl": {"vision_config": qwen.qwen2_vl},
    "qwen2_5_vl": {"vision_config": qwen.qwen2_5_vl},
    "qwen3_vl": {"vision_config": qwen.qwen3_vl},
    "qwen3_vl_moe": {"vision_config": qwen.qwen3_vl},
    "qwen3_5": {"vision_config": qwen.qwen3_5},
    "qwen3_5_moe": {"vision_config": qwen.qwen3_5},
    "qwen3_asr": {"audio_config": qwen.omni_audio},
    "qwen3_omni_moe": {"vision_config": qwen.qwen3_vl, "audio_config": qwen.omni_audio},
    "qwen2_5_omni": {"vision_config": qwen.qwen2_5_vl, "audio_config": qwen.omni_2_5_audio},
    "qwen2_audio": {"audio_config": _qwen2_audio},
    "voxtral": {"audio_config": _voxtral},
    "glm4v": {"vision_config": glm.glm4v},
    "glm4v_moe": {"vision_config": glm.glm4v},
    "glm46v": {"vision_config": glm.glm4v},
    "glm5_next": {"vision_config": glm.glm5},
    "step3p7": {"vision_config": glm.step},
    "idefics3": {"vision_config": resampled.idefics3},
    "smolvlm": {"vision_config": resampled.idefics3},
    "minicpmv": {"vision_config": resampled.minicpm_v},
    "phi3_v": {"img_processor": resampled.phi3_v},
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
