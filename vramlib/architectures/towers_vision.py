"""Vision encoders: one function each, from their section of config.json to every tensor they store."""

from __future__ import annotations

from vramlib.architectures.tower_parts import GLU, OUT_PROJ, Group, Section
from vramlib.specs import Tensor


def _encoder(s: Section, prefix: str, width: int, inner: int) -> tuple[Tensor, ...]:
    g = Group(prefix, count=s.size("num_hidden_layers"))
    return (
        *g.norm("layer_norm1", width),
        *g.attention(width, names=OUT_PROJ, bias=True),
        *g.norm("layer_norm2", width),
        *g.mlp(width, inner),
    )


def siglip(
    s: Section, prefix: str = "vision_tower.vision_model.", *, pooled: bool = True
) -> tuple[Tensor, ...]:
    """SigLIP: the ViT of Gemma 3, Granite-Vision, LLaVA-OneVision; with ``num_patches``, SigLIP 2 (LFM2-VL).

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]
    pooled : whether the family keeps the pooling head, unless the file says otherwise [-]

    Returns
    -------
    The tower's tensors [-]

    Source
    ------
    transformers 5.23, models/siglip and siglip2 modeling_*.py;
    vLLM, model_executor/models/siglip.py (what is split).
    """
    width, inner, patch = s.size("hidden_size"), s.size("intermediate_size"), s.size("patch_size", default=16)
    channels, e = s.size("num_channels", default=3, quiet=True), Group(prefix + "embeddings.")
    if s.fields.model_type.startswith("siglip2"):
        out = e.matrix("patch_embedding", width, channels * patch * patch)
        places = s.size("num_patches", default=256)
    else:
        out = e.conv("patch_embedding", width, channels, patch, patch)
        places = (s.size("image_size") // patch) ** 2
    out += e.plain("position_embedding.weight", places, width)
    out += _encoder(s, prefix + "encoder.layers.*.", width, inner)
    out += Group(prefix).norm("post_layernorm", width)
    return out + (_pooling_head(prefix + "head.", width, inner) if s.flag("vision_use_head", pooled) else ())


def _pooling_head(prefix: str, width: int, inner: int) -> tuple[Tensor, ...]:
    g = Group(prefix)
    return (
        *g.plain("probe", 1, 1, width),
        *g.plain("attention.in_proj_weight", 3 * width, width),
        *g.plain("attention.in_proj_bias", 3 * width),
        *g.matrix("attention.out_proj", width, width),
        *g.norm("layernorm", width),
        *g.mlp(width, inner),
    )


def clip(s: Section, prefix: str = "vision_tower.vision_model.") -> tuple[Tensor, ...]:
    """CLIP's ViT, as LLaVA uses it.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]

    Source
    ------
    transformers 5.23, models/clip/modeling_clip.py; vLLM, model_executor/models/clip.py (what is split).
    """
    width, patch = s.size("hidden_size"), s.size("patch_size")
    channels, e, top = (
        s.size("num_channels", default=3, quiet=True),
        Group(prefix + "embeddings."),
        Group(prefix),
    )
    return (
        *e.plain("class_embedding", width),
        *e.conv("patch_embedding", width, channels, patch, patch, bias=False),
        *e.plain("position_embedding.weight", (s.size("image_size") // patch) ** 2 + 1, width),
        *top.norm("pre_layrnorm", width),
        *_encoder(s, prefix + "encoder.layers.*.", width, s.size("intermediate_size")),
        *top.norm("post_layernorm", width),
    )


def pixtral(s: Section, prefix: str = "vision_tower.") -> tuple[Tensor, ...]:
    """Pixtral's ViT: rotary positions, RMS norms, a gated MLP and no biases.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]

    Source
    ------
    transformers 5.23, models/pixtral/modeling_pixtral.py;
    vLLM, model_executor/models/pixtral.py (what is split).
    """
    width, inner = s.size("hidden_size", default=1024), s.size("intermediate_size", default=4096)
    patch, channels = s.size("patch_size", default=16), s.size("num_channels", default=3, quiet=True)
    top = Group(prefix)
    g = Group(prefix + "transformer.layers.*.", count=s.size("num_hidden_layers", default=24))
    return (
        *top.conv("patch_conv", width, channels, patch, patch, bias=False),
        *top.norm("ln_pre", width, bias=False),
        *g.norm("attention_norm", width, bias=False),
        *g.attention(width, prefix="attention."),
        *g.norm("ffn_norm", width, bias=False),
        *g.mlp(width, inner, names=tuple(n.replace("mlp", "feed_forward") for n in GLU), bias=False),
    )


def intern(s: Section, prefix: str = "vision_tower.") -> tuple[Tensor, ...]:
    """InternViT with layer scales, named as in transformers; the original's ``attn.qkv`` adds up to the same.

    Parameters
    ----------
    s : ``vision_config``, of transformers or of the original files (``intern_vit_6b``) [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]

    Source
    ------
    transformers 5.23, models/internvl/modeling_internvl.py;
    vLLM, model_executor/models/intern_vit.py (what is split).
    """
    width, e = s.size("hidden_size"), Group(prefix + "embeddings.")
    image, patch = s.size("image_size", default=448), s.size("patch_size", default=14)
    channels = s.size("num_channels", default=3, quiet=True)
    g = Group(prefix + "encoder.layer.*.", count=s.size("num_hidden_layers"))
    bias, rms = s.flag("qkv_bias", s.flag("attention_bias", False)), s.fields.get("norm_type") == "rms_norm"
    out = e.plain("cls_token", 1, 1, width)
    if s.flag("use_absolute_position_embeddings", True):
        out += e.plain("position_embeddings", 1, (image // patch) ** 2 + 1, width)
    out += e.conv("patch_embeddings.projection", width, channels, patch, patch)
    names = ("q_proj", "k_proj", "v_proj", "projection_layer")
    out += g.attention(width, prefix="attention.", names=names, bias=bias, output_bias=True)
    if s.flag("qk_normalization", s.flag("use_qk_norm", False)):
        out += g.norm("attention.q_norm", width, bias=False) + g.norm("attention.k_norm", width, bias=False)
    out += g.mlp(width, s.size("intermediate_size")) + g.plain("lambda_1", width) + g.plain("lambda_2", width)
    return (
        out + g.norm("layernorm_before", width, bias=not rms) + g.norm("layernorm_after", width, bias=not rms)
    )


def moonvit(s: Section, prefix: str = "vision_tower.") -> tuple[Tensor, ...]:
    """MoonViT of Kimi-VL, and its three-dimensional form in Kimi-K2.5.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]

    Source
    ------
    transformers 5.23, models/kimi_k25/modeling_kimi_k25.py;
    vLLM, model_executor/models/kimi_k25_vit.py (what is split).
    """
    width, patch = s.size("vt_hidden_size", "hidden_size"), s.size("patch_size", default=14)
    inner, top = s.size("vt_intermediate_size", "intermediate_size"), Group(prefix)
    height, across = s.size("init_pos_emb_height", default=64), s.size("init_pos_emb_width", default=64)
    layers = s.size("vt_num_hidden_layers", "num_hidden_layers")
    g = Group(prefix + "encoder.blocks.*.", count=layers)
    return (
        *top.conv("patch_embed.proj", width, 3, patch, patch),
        *top.plain("patch_embed.pos_emb.weight", height, across, width),
        *g.norm("norm0", width),
        *g.norm("norm1", width),
        *g.matrix("wqkv", 3 * width, width, split="out"),
        *g.matrix("wo", width, width, split="in"),
        *g.mlp(width, inner, names=("mlp.fc0", "mlp.fc1")),
        *top.norm("encoder.final_layernorm", width),
    )


def minimax(s: Section, prefix: str = "vision_tower.vision_model.") -> tuple[Tensor, ...]:
    """MiniMax-M3's ViT: CLIP's layers over patches of two frames, rotary positions.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]

    Source
    ------
    transformers 5.23, models/minimax_m3_vl/modeling_minimax_m3_vl.py.
    """
    width, patch = s.size("hidden_size"), s.size("patch_size")
    frames = s.size(
        "temporal_patch_size", "img_token_compression_config.temporal_patch_size", default=2, quiet=True
    )
    channels = s.size("num_channels", default=3, quiet=True)
    top = Group(prefix)
    return (
        *top.conv("embeddings.proj", width, channels, frames, patch, patch, bias=False),
        *top.norm("pre_layrnorm", width),
        *_encoder(s, prefix + "layers.*.", width, s.size("intermediate_size")),
    )
