"""Vision encoders that several families share: one function each, to every tensor they store.

Source: transformers 5.23, models/{siglip,siglip2,clip,pixtral,internvl}/modeling_*.py; what is split: vLLM,
model_executor/models/{siglip,clip,pixtral,intern_vit}.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from vramlib.architectures.tower_parts import GLU, Build, Group, Section, Tensors


def clip_layers(s: Section, prefix: str, width: int, inner: int) -> Tensors:
    """Layers of CLIP's ViT, and of others made after it.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]
    width, inner : hidden_size and intermediate_size [element]

    Returns
    -------
    The layers' tensors [-]
    """
    g = Group(prefix, count=s.size("num_hidden_layers"))
    return (
        *g.norm(width, "layer_norm1"),
        *g.attention(width, output="out_proj", bias=True),
        *g.norm(width, "layer_norm2"),
        *g.mlp(width, inner),
    )


def siglip(s: Section, prefix: str = "vision_tower.vision_model.", *, pooled: bool = True) -> Tensors:
    """SigLIP: the ViT of Gemma 3, Granite-Vision, LLaVA-OneVision; with ``num_patches``, SigLIP 2 (LFM2-VL).

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]
    pooled : whether the family keeps the pooling head, unless the file says otherwise [-]

    Returns
    -------
    The tower's tensors [-]
    """
    width, inner, patch = s.size("hidden_size"), s.size("intermediate_size"), s.size("patch_size", default=16)
    top, head = Group(prefix), Group(prefix + "head.")
    if s.fields.model_type.startswith("siglip2"):
        out = top.matrix("embeddings.patch_embedding", width, s.channels * patch * patch)
        places = s.size("num_patches", default=256)
    else:
        out = top.conv("embeddings.patch_embedding", width, s.channels, patch, patch)
        places = (s.size("image_size") // patch) ** 2
    out += top.plain("embeddings.position_embedding.weight", places, width)
    out += clip_layers(s, prefix + "encoder.layers.*.", width, inner) + top.norm(width, "post_layernorm")
    if s.flag("vision_use_head", pooled):
        out += head.plain("probe", 1, 1, width) + head.multihead_attention("attention.", width)
        out += head.norm(width, "layernorm") + head.mlp(width, inner)
    return out


def clip(s: Section, prefix: str = "vision_tower.vision_model.") -> Tensors:
    """CLIP's ViT, as LLaVA uses it.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]
    """
    width, patch, top = s.size("hidden_size"), s.size("patch_size"), Group(prefix)
    return (
        *top.plain("embeddings.class_embedding", width),
        *top.conv("embeddings.patch_embedding", width, s.channels, patch, patch, bias=False),
        *top.plain("embeddings.position_embedding.weight", (s.size("image_size") // patch) ** 2 + 1, width),
        *top.norm(width, "pre_layrnorm"),
        *clip_layers(s, prefix + "encoder.layers.*.", width, s.size("intermediate_size")),
        *top.norm(width, "post_layernorm"),
    )


def pixtral(s: Section, prefix: str = "vision_tower.") -> Tensors:
    """Pixtral's ViT: rotary positions, RMS norms, a gated MLP and no biases.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]
    """
    width, inner = s.size("hidden_size", default=1024), s.size("intermediate_size", default=4096)
    patch, top = s.size("patch_size", default=16), Group(prefix)
    g = Group(prefix + "transformer.layers.*.", count=s.size("num_hidden_layers", default=24))
    return (
        *top.conv("patch_conv", width, s.channels, patch, patch, bias=False),
        *top.norm(width, "ln_pre", bias=False),
        *g.norm(width, "attention_norm", bias=False),
        *g.attention(width, prefix="attention."),
        *g.norm(width, "ffn_norm", bias=False),
        *g.mlp(width, inner, names=tuple(n.replace("mlp", "feed_forward") for n in GLU), bias=False),
    )


def intern(s: Section, prefix: str = "vision_tower.") -> Tensors:
    """InternViT with layer scales, named as in transformers; the original's ``attn.qkv`` adds up to the same.

    Parameters
    ----------
    s : ``vision_config``, of transformers or of the original files (``intern_vit_6b``) [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]
    """
    width, top = s.size("hidden_size"), Group(prefix + "embeddings.")
    image, patch = s.size("image_size", default=448), s.size("patch_size", default=14)
    g = Group(prefix + "encoder.layer.*.", count=s.size("num_hidden_layers"))
    bias, rms = s.flag("qkv_bias", s.flag("attention_bias", False)), s.fields.get("norm_type") == "rms_norm"
    out = top.plain("cls_token", 1, 1, width)
    if s.flag("use_absolute_position_embeddings", True):
        out += top.plain("position_embeddings", 1, (image // patch) ** 2 + 1, width)
    out += top.conv("patch_embeddings.projection", width, s.channels, patch, patch)
    out += g.attention(width, prefix="attention.", output="projection_layer", bias=bias, output_bias=True)
    if s.flag("qk_normalization", s.flag("use_qk_norm", False)):
        out += g.norm(width, "attention.q_norm", "attention.k_norm", bias=False)
    out += g.mlp(width, s.size("intermediate_size")) + g.plain("lambda_1", width) + g.plain("lambda_2", width)
    return out + g.norm(width, "layernorm_before", "layernorm_after", bias=not rms)


# By the model_type of their own section.
ENCODERS: Mapping[str, Build] = {
    "siglip_vision_model": siglip,
    "siglip2_vision_model": siglip,
    "clip_vision_model": clip,
    "pixtral": pixtral,
    "intern_vit_6b": intern,
    "internvl_vision": intern,
}


def encoder(s: Section, default: str) -> Tensors:
    """The encoder that a section names.

    Parameters
    ----------
    s : ``vision_config`` [-]
    default : the family's own, where the section does not say [-]

    Returns
    -------
    The tower's tensors [-]

    Raises
    ------
    ValueError: an encoder that is not known.
    """
    kind = s.fields.model_type or default
    if kind not in ENCODERS:
        raise ValueError(f"vision_config: model_type {kind!r} is not known; known: {', '.join(ENCODERS)}")
    return ENCODERS[kind](s)
