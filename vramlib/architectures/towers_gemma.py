"""The towers of Gemma 4, and the conformer of Gemma 3n.

vLLM builds them from transformers' own modules, so every rank holds them whole.
"""

from __future__ import annotations

from vramlib.architectures.tower_parts import Group, Section
from vramlib.architectures.towers_mobilenet import convs, embedder
from vramlib.specs import Tensor

GLU = ("mlp.gate_proj.linear", "mlp.up_proj.linear", "mlp.down_proj.linear")


def _subsample(
    g: Group, names: tuple[str, str], channels: list[int], mels: int, width: int
) -> tuple[Tensor, ...]:
    """Two convolutions that halve time and frequency, then a matrix to the tower's width."""
    first, second = channels
    rows = mels // 4 * second
    return (
        *convs(g, ((f"{names[0]}.conv", f"{names[0]}.norm", (first, 1, 3, 3)),)),
        *convs(g, ((f"{names[1]}.conv", f"{names[1]}.norm", (second, first, 3, 3)),)),
        *g.matrix("input_proj_linear", width, rows, bias=False),
    )


def _many(g: Group, width: int, names: tuple[str, ...]) -> tuple[Tensor, ...]:
    return tuple(t for name in names for t in g.norm(name, width, bias=False))


def gemma3n_audio(s: Section, prefix: str = "model.audio_tower.") -> tuple[Tensor, ...]:
    """Gemma 3n's conformer and the embedder that follows.

    Parameters
    ----------
    s : ``audio_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]

    Source
    ------
    transformers 5.23, models/gemma3n/modeling_gemma3n.py Gemma3nAudioEncoder.
    """
    width, kernel = s.size("hidden_size", default=1536), s.size("conf_conv_kernel_size", default=5)
    heads = s.size("conf_num_attention_heads", default=8)
    g = Group(prefix + "conformer.*.", "audio", s.size("conf_num_hidden_layers", default=12))
    channels = s.numbers("sscp_conv_channel_size", [128, 32])
    first = Group(prefix + "subsample_conv_projection.", "audio")
    out = _subsample(first, ("conv_0", "conv_1"), channels, s.size("input_feat_size", default=128), width)
    for half in ("ffw_layer_start", "ffw_layer_end"):
        out += _many(g, width, (f"{half}.pre_layer_norm", f"{half}.post_layer_norm"))
        names = (f"{half}.ffw_layer_1", f"{half}.ffw_layer_2")
        out += g.mlp(width, 4 * width, names=names, bias=False, split=False)
    out += _many(g, width, ("attention.pre_attn_norm", "attention.post_norm", "norm"))
    out += g.plain("attention.attn.per_dim_scale", width // heads)
    out += g.matrix("attention.attn.relative_position_embedding.pos_proj", width, width, bias=False)
    for name in ("attention.attn.q_proj", "attention.attn.k_proj", "attention.attn.v_proj", "attention.post"):
        out += g.matrix(name, width, width, bias=False)
    out += _light_conv(g, width, kernel, "")
    return out + embedder(s, "model.embed_audio.", width)


def _light_conv(g: Group, width: int, kernel: int, tail: str) -> tuple[Tensor, ...]:
    return (
        *_many(g, width, ("lconv1d.pre_layer_norm", "lconv1d.conv_norm")),
        *g.matrix("lconv1d.linear_start" + tail, 2 * width, width, bias=False),
        *g.plain("lconv1d.depthwise_conv1d.weight", width, 1, kernel),
        *g.matrix("lconv1d.linear_end" + tail, width, width, bias=False),
    )


def gemma4_vision(s: Section, prefix: str = "model.vision_tower.") -> tuple[Tensor, ...]:
    """Gemma 4's ViT and the projection that follows. Scale and bias buffers of the file are not parameters.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]

    Source
    ------
    transformers 5.23, models/gemma4/modeling_gemma4.py Gemma4VisionModel.
    """
    width, patch, head = (
        s.size("hidden_size"),
        s.size("patch_size", default=16),
        s.size("head_dim", default=64),
    )
    heads, places = s.size("num_attention_heads"), s.size("position_embedding_size", default=10240)
    first = Group(prefix + "patch_embedder.")
    g = Group(prefix + "encoder.layers.*.", count=s.size("num_hidden_layers"))
    names = ("q_proj.linear", "k_proj.linear", "v_proj.linear", "o_proj.linear")
    rows = (heads, *(s.size("num_key_value_heads", default=heads),) * 2)
    out = first.plain("position_embedding_table", 2, places, width)
    out += first.matrix("input_proj", width, 3 * patch * patch, bias=False)
    for name, num in zip(names[:3], rows, strict=True):
        out += g.matrix(f"self_attn.{name}", num * head, width, bias=False)
    out += g.matrix(f"self_attn.{names[3]}", width, heads * head, bias=False)
    out += _many(g, head, ("self_attn.q_norm", "self_attn.k_norm"))
    out += g.mlp(width, s.size("intermediate_size"), names=GLU, bias=False, split=False)
    norms = (
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    )
    out += _many(g, width, norms)
    last = Group("model.embed_vision.", "projector")
    return out + last.matrix("embedding_projection", s.text_width, width, bias=False)


def gemma4_audio(s: Section, prefix: str = "model.audio_tower.") -> tuple[Tensor, ...]:
    """Gemma 4's conformer and the projection that follows.

    Parameters
    ----------
    s : ``audio_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]

    Source
    ------
    transformers 5.23, models/gemma4/modeling_gemma4.py Gemma4AudioModel.
    """
    width, heads = s.size("hidden_size", default=1024), s.size("num_attention_heads", default=8)
    outputs, kernel = s.size("output_proj_dims", default=1536), s.size("conv_kernel_size", default=5)
    top, first = Group(prefix, "audio"), Group(prefix + "subsample_conv_projection.", "audio")
    g = Group(prefix + "layers.*.", "audio", s.size("num_hidden_layers", default=12))
    out = _subsample(
        first, ("layer0", "layer1"), s.numbers("subsampling_conv_channels", [128, 32]), 128, width
    )
    for half in ("feed_forward1", "feed_forward2"):
        out += _many(g, width, (f"{half}.pre_layer_norm", f"{half}.post_layer_norm"))
        names = (f"{half}.ffw_layer_1.linear", f"{half}.ffw_layer_2.linear")
        out += g.mlp(width, 4 * width, names=names, bias=False, split=False)
    out += g.plain("self_attn.per_dim_scale", width // heads)
    for name in ("q_proj.linear", "k_proj.linear", "v_proj.linear", "post.linear", "relative_k_proj"):
        out += g.matrix(f"self_attn.{name}", width, width, bias=False)
    out += _light_conv(g, width, kernel, ".linear") + _many(
        g, width, ("norm_pre_attn", "norm_post_attn", "norm_out")
    )
    out += top.matrix("output_proj", outputs, width)
    last = Group("model.embed_audio.", "projector")
    return out + last.matrix("embedding_projection", s.text_width, outputs, bias=False)


def gemma4_unified_vision(s: Section, prefix: str = "model.embed_vision.") -> tuple[Tensor, ...]:
    """Gemma 4 12B has no encoder: patches of 48 × 48 pixels go straight into a dense layer.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The embedder's tensors [-]

    Source
    ------
    transformers 5.23, models/gemma4_unified/modeling_gemma4_unified.py.
    """
    width, g = s.size("mm_embed_dim", default=3840), Group(prefix)
    side = s.size("patch_size", default=16) * s.size("pooling_kernel_size", default=3)
    last = Group(prefix + "multimodal_embedder.", "projector")
    return (
        *g.plain("pos_embedding", s.size("mm_posemb_size", default=1120), 2, width),
        *g.norm("patch_ln1", 3 * side**2),
        *g.matrix("patch_dense", width, 3 * side**2),
        *g.norm("patch_ln2", width),
        *g.norm("pos_norm", width),
        *last.matrix(
            "embedding_projection", s.text_width, s.size("output_proj_dims", default=width), bias=False
        ),
    )


def gemma4_unified_audio(s: Section, prefix: str = "model.embed_audio.") -> tuple[Tensor, ...]:
    """Gemma 4 12B has no audio encoder either: one projection.

    Parameters
    ----------
    s : ``audio_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The projection [-]

    Source
    ------
    transformers 5.23, models/gemma4_unified/modeling_gemma4_unified.py.
    """
    width = s.size("audio_embed_dim", default=640)
    return Group(prefix, "projector").matrix("embedding_projection", s.text_width, width, bias=False)
