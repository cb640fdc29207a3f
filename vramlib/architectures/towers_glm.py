"""Vision encoders of GLM-4.1V to GLM-5.3 and of Step-3.7."""

from __future__ import annotations

from vramlib.architectures.tower_parts import GLU, OUT_PROJ, Group, Section
from vramlib.specs import Tensor

MERGER = ("gate_proj", "up_proj", "down_proj")


def _glm(
    s: Section, g: Group, width: int, inner: int, *, bias: bool, output_bias: bool
) -> tuple[Tensor, ...]:
    """The layers, with RMS norms and a gated MLP."""
    return (
        *g.norm("norm1", width, bias=False),
        *g.norm("norm2", width, bias=False),
        *g.matrix("attn.qkv", 3 * width, width, bias=bias, split="out"),
        *g.matrix("attn.proj", width, width, bias=output_bias, split="in"),
        *g.mlp(width, inner, names=GLU, bias=output_bias),
    )


def _merged(s: Section, prefix: str, width: int, out: int, inner: int) -> tuple[Tensor, ...]:
    """Four patches become one vector, which a gated MLP turns into a token."""
    merge, top = s.size("spatial_merge_size", default=2, quiet=True), Group(prefix)
    m = Group(prefix + "merger.", "projector")
    return (
        *top.conv("downsample", out, width, merge, merge),
        *top.norm("post_layernorm", width, bias=False),
        *m.matrix("proj", out, out, bias=False),
        *m.norm("post_projection_norm", out),
        *m.mlp(out, inner, names=MERGER, bias=False),
    )


def _patches(s: Section, prefix: str, width: int) -> tuple[Tensor, ...]:
    patch, frames = s.size("patch_size"), s.size("temporal_patch_size", default=2, quiet=True)
    channels = s.size("in_channels", default=3, quiet=True)
    return Group(prefix).conv("patch_embed.proj", width, channels, frames, patch, patch)


def glm4v(s: Section, prefix: str = "model.visual.") -> tuple[Tensor, ...]:
    """ViT of GLM-4.1V, 4.5V and 4.6V; the layers' MLP is as wide as the text model, the merger's has its own width.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors, merger included [-]

    Source
    ------
    transformers 5.23, models/glm4v/modeling_glm4v.py.
    """
    width, out, top = s.size("hidden_size"), s.size("out_hidden_size"), Group(prefix)
    places = (s.size("image_size") // s.size("patch_size")) ** 2
    blocks = Group(prefix + "blocks.*.", count=s.size("depth"))
    return (
        *_patches(s, prefix, width),
        *top.plain("embeddings.position_embedding.weight", places, width),
        *top.norm("post_conv_layernorm", width, bias=False),
        *_glm(s, blocks, width, out, bias=s.flag("attention_bias"), output_bias=False),
        *_merged(s, prefix, width, out, s.size("intermediate_size")),
    )


def glm5(s: Section, prefix: str = "model.visual.") -> tuple[Tensor, ...]:
    """ViT of GLM-5.3: no position table, a norm for each head's queries and keys.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors, merger included [-]

    Source
    ------
    transformers 5.23, models/glm5_next/modeling_glm5_next.py.
    """
    width, out = s.size("hidden_size"), s.size("out_hidden_size")
    blocks, dim = Group(prefix + "blocks.*.", count=s.size("depth")), width // s.size("num_heads")
    inner = s.size("projection_intermediate_size", default=10240)
    return (
        *_patches(s, prefix, width),
        *_glm(s, blocks, width, s.size("intermediate_size"), bias=True, output_bias=True),
        *blocks.norm("attn.q_norm", dim, bias=False),
        *blocks.norm("attn.k_norm", dim, bias=False),
        *_merged(s, prefix, width, out, inner),
    )


def step(s: Section, prefix: str = "model.vision_model.") -> tuple[Tensor, ...]:
    """ViT of Step-3.7: layer scales, then two convolutions that halve the image each, and one matrix.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors, projector included [-]

    Source
    ------
    transformers 5.23, models/step3p7/modeling_step3p7.py.
    """
    width, patch, top = s.size("hidden_size"), s.size("patch_size"), Group(prefix)
    g = Group(prefix + "layers.*.", count=s.size("num_hidden_layers"))
    return (
        *top.conv("embeddings.patch_embedding", width, 3, patch, patch, bias=False),
        *top.plain("embeddings.position_embedding.weight", (s.size("image_size") // patch) ** 2, width),
        *top.norm("pre_layernorm", width),
        *g.attention(width, names=OUT_PROJ, bias=True),
        *g.mlp(width, s.size("intermediate_size")),
        *g.plain("lambda_1", width),
        *g.plain("lambda_2", width),
        *g.norm("layernorm_before", width),
        *g.norm("layernorm_after", width),
        *top.conv("downsampler1", 2 * width, width, 3, 3),
        *top.conv("downsampler2", 4 * width, 2 * width, 3, 3),
        *Group("model.", "projector").matrix("multi_modal_projector", s.text_width, 4 * width, bias=False),
    )
