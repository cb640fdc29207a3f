"""Small projectors behind known encoders: Idefics 3 and SmolVLM, MiniCPM-V, Phi-3-vision."""

from __future__ import annotations

from vramlib.architectures import towers_vision as vision
from vramlib.architectures.tower_parts import Group, Section
from vramlib.specs import Tensor

# openai/clip-vit-large-patch14-336, which Phi-3-vision names in its file instead of giving sizes.
CLIP_LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
}
CLIP_LARGE |= {"image_size": 336, "patch_size": 14}


def idefics3(s: Section) -> tuple[Tensor, ...]:
    """SigLIP, and one matrix over ``scale_factor`` by ``scale_factor`` neighbours.

    Parameters
    ----------
    s : ``vision_config`` [-]

    Returns
    -------
    The tower's tensors, projector included [-]

    Source
    ------
    transformers 5.23, models/idefics3 and smolvlm modeling_*.py.
    """
    width, scale = s.size("hidden_size", default=1152), s.outside("scale_factor", 2)
    projector = Group("model.connector.modality_projection.", "projector")
    matrix = projector.matrix("proj", s.text_width, width * scale**2, bias=False)
    return vision.siglip(s, "model.vision_model.", pooled=False) + matrix


def minicpm_v(s: Section) -> tuple[Tensor, ...]:
    """SigLIP, and a resampler: a few learned queries attend to all patches.

    Parameters
    ----------
    s : ``vision_config`` [-]

    Returns
    -------
    The tower's tensors, resampler included [-]

    Source
    ------
    openbmb/MiniCPM-V-2_6, resampler.py; vLLM, model_executor/models/minicpmv.py Resampler2_5.
    """
    text, g = s.text_width, Group("resampler.", "projector")
    out = vision.siglip(s, "vpm.", pooled=False) + g.plain("query", s.outside("query_num", 64), text)
    out += g.plain("proj", text, text) + g.matrix("kv_proj", text, s.size("hidden_size"), bias=False)
    out += g.plain("attn.in_proj_weight", 3 * text, text) + g.plain("attn.in_proj_bias", 3 * text)
    out += g.matrix("attn.out_proj", text, text)
    return out + g.norm("ln_q", text) + g.norm("ln_kv", text) + g.norm("ln_post", text)


def phi3_v(s: Section) -> tuple[Tensor, ...]:
    """CLIP, two separators and two matrices over four neighbours.

    Parameters
    ----------
    s : ``img_processor`` [-]

    Returns
    -------
    The tower's tensors, projector included [-]

    Source
    ------
    microsoft/Phi-3.5-vision-instruct, modeling_phi3_v.py; vLLM, model_executor/models/phi3v.py.
    """
    prefix, text = "model.vision_embed_tokens.", s.text_width
    g, inputs = Group(prefix, "projector"), 4 * s.size("image_dim_out", default=1024)
    out = vision.clip(
        Section({"vision_config": CLIP_LARGE}, "vision_config"), prefix + "img_processor.vision_model."
    )
    out += g.plain("glb_GN", 1, 1, inputs) + g.plain("sub_GN", 1, 1, 1, inputs)
    return out + g.matrix("img_projection.0", text, inputs) + g.matrix("img_projection.2", text, text)
