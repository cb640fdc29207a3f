"""Families that put a projector of their own behind a vision encoder that others use too.

Source: transformers 5.23, models/<model_type>/modeling_<model_type>.py; openbmb/MiniCPM-V-2_6, resampler.py and vLLM,
model_executor/models/minicpmv.py Resampler2_5; microsoft/Phi-3.5-vision-instruct, modeling_phi3_v.py.
"""

from __future__ import annotations

from vramlib.architectures.tower_parts import LINEARS, PROJECTOR, Build, Group, Section, Tensors
from vramlib.architectures.towers_vision import clip, encoder, intern, siglip

# openai/clip-vit-large-patch14-336, which Phi-3-vision names in its file instead of giving sizes.
CLIP_LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}


def _llava(s: Section) -> Tensors:
    """Several feature layers stand side by side in the projector's input."""
    out, text = encoder(s, "clip_vision_model"), s.text_width
    layers, bias = s.outer.get("vision_feature_layer"), s.outer.get("multimodal_projector_bias") is not False
    inputs = s.size("hidden_size") * (len(layers) if isinstance(layers, list) else 1)
    return out + PROJECTOR.mlp(inputs, text, text, names=LINEARS, bias=bias)


def _llava_next(s: Section) -> Tensors:
    return _llava(s) + Group("", "projector").plain("image_newline", s.text_width)


def _mistral3(s: Section) -> Tensors:
    out, text = encoder(s, "pixtral"), s.text_width
    width, merge = s.size("hidden_size", default=1024), s.outside("spatial_merge_size", 2)
    out += PROJECTOR.norm(width, "norm", bias=False)
    out += PROJECTOR.matrix("patch_merger.merging_layer", width, width * merge**2, bias=False)
    bias = s.outer.get("multimodal_projector_bias") is True
    return out + PROJECTOR.mlp(width, text, text, names=LINEARS, bias=bias)


def _gemma3(s: Section) -> Tensors:
    out, width = encoder(s, "siglip_vision_model"), s.size("hidden_size")
    out += PROJECTOR.plain("mm_input_projection_weight", width, s.text_width)
    return out + PROJECTOR.norm(width, "mm_soft_emb_norm", bias=False)


def _paligemma(s: Section) -> Tensors:
    return encoder(s, "siglip_vision_model") + PROJECTOR.matrix("linear", s.text_width, s.size("hidden_size"))


def _internvl(s: Section) -> Tensors:
    text, inputs = s.text_width, round(s.size("hidden_size") / s.fraction("downsample_ratio", 0.5) ** 2)
    projector = PROJECTOR.mlp(inputs, text, text, names=LINEARS, split=False)
    return intern(s) + PROJECTOR.norm(inputs, "layer_norm") + projector


def _lfm2_vl(s: Section) -> Tensors:
    inputs = s.size("hidden_size") * s.outside("downsample_factor", 2) ** 2
    inner, bias = s.outside("projector_hidden_size", 2560), s.outer.get("projector_bias") is not False
    norm = PROJECTOR.norm(inputs, "layer_norm") if s.outer.get("projector_use_layernorm") is not False else ()
    projector = PROJECTOR.mlp(inputs, inner, s.text_width, names=LINEARS, bias=bias, split=False)
    return encoder(s, "siglip2_vision_model") + norm + projector


def _idefics3(s: Section) -> Tensors:
    """SigLIP, and one matrix over ``scale_factor`` by ``scale_factor`` neighbours."""
    inputs = s.size("hidden_size", default=1152) * s.outside("scale_factor", 2) ** 2
    projector = Group("model.connector.modality_projection.", "projector")
    matrix = projector.matrix("proj", s.text_width, inputs, bias=False)
    return siglip(s, "model.vision_model.", pooled=False) + matrix


def _minicpm_v(s: Section) -> Tensors:
    """SigLIP, and a resampler: a few learned queries attend to all patches."""
    text, g = s.text_width, Group("resampler.", "projector")
    return (
        *siglip(s, "vpm.", pooled=False),
        *g.plain("query", s.outside("query_num", 64), text),
        *g.plain("proj", text, text),
        *g.matrix("kv_proj", text, s.size("hidden_size"), bias=False),
        *g.multihead_attention("attn.", text),
        *g.norm(text, "ln_q", "ln_kv", "ln_post"),
    )


def _phi3_v(s: Section) -> Tensors:
    """CLIP, two separators and two matrices over four neighbours."""
    prefix, text = "model.vision_embed_tokens.", s.text_width
    g, inputs = Group(prefix, "projector"), 4 * s.size("image_dim_out", default=1024)
    large = Section({"vision_config": CLIP_LARGE}, "vision_config")
    return (
        *clip(large, prefix + "img_processor.vision_model."),
        *g.plain("glb_GN", 1, 1, inputs),
        *g.plain("sub_GN", 1, 1, 1, inputs),
        *g.mlp(inputs, text, text, names=("img_projection.0", "img_projection.2"), split=False),
    )


VISION: dict[str, Build] = {
    "llava": _llava,
    **dict.fromkeys(("llava_next", "llava_next_video", "llava_onevision"), _llava_next),
    "mistral3": _mistral3,
    "gemma3": _gemma3,
    "paligemma": _paligemma,
    **dict.fromkeys(("internvl", "internvl_chat"), _internvl),
    "lfm2_vl": _lfm2_vl,
    **dict.fromkeys(("idefics3", "smolvlm"), _idefics3),
    "minicpmv": _minicpm_v,
}
IMAGES: dict[str, Build] = {"phi3_v": _phi3_v}
