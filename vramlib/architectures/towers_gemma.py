"""The towers of Gemma 3n and Gemma 4: MobileNet-V5, a ViT with clippable matrices, and conformers for audio.

vLLM builds them from transformers and timm, so every rank holds them whole.
"""

from __future__ import annotations

from vramlib.architectures.tower_parts import Group, Section
from vramlib.specs import Tensor

GLU = ("mlp.gate_proj.linear", "mlp.up_proj.linear", "mlp.down_proj.linear")
MOBILENET = "mobilenetv5_300m_enc"


def _convs(g: Group, parts: tuple[tuple[str, str, tuple[int, ...]], ...]) -> tuple[Tensor, ...]:
    """Convolutions, each followed by its norm."""
    return tuple(
        t
        for name, after, shape in parts
        for t in (*g.conv(name, *shape, bias=False), *g.norm(after, shape[0], bias=False))
    )


def _edge(g: Group, inputs: int, inner: int, outputs: int) -> tuple[Tensor, ...]:
    expand = ("conv_exp", "bn1", (inner, inputs, 3, 3))
    return _convs(g, (expand, ("conv_pwl", "bn2", (outputs, inner, 1, 1))))


def _inverted(
    g: Group, inputs: int, inner: int, outputs: int, start: int = 0, middle: int = 0
) -> tuple[Tensor, ...]:
    parts = (
        ("dw_start.conv", "dw_start.bn", (inputs, 1, start, start)),
        ("pw_exp.conv", "pw_exp.bn", (inner, inputs, 1, 1)),
        ("dw_mid.conv", "dw_mid.bn", (inner, 1, middle, middle)),
        ("pw_proj.conv", "pw_proj.bn", (outputs, inner, 1, 1)),
    )
    return _convs(g, tuple(p for p in parts if p[2][-1])) + g.plain("layer_scale.gamma", outputs)


def _multi_query(g: Group, width: int, query: int, key: int, *, down: bool) -> tuple[Tensor, ...]:
    out = g.norm("norm", width, bias=False) + g.conv("attn.query.proj", query, width, 1, 1, bias=False)
    for part in ("attn.key", "attn.value"):
        if down:
            out += g.conv(f"{part}.down_conv", width, 1, 3, 3, bias=False)
            out += g.norm(f"{part}.norm", width, bias=False)
        out += g.conv(f"{part}.proj", key, width, 1, 1, bias=False)
    return (
        out + g.conv("attn.output.proj", width, query, 1, 1, bias=False) + g.plain("layer_scale.gamma", width)
    )


def mobilenet(s: Section, prefix: str = "model.vision_tower.timm_model.") -> tuple[Tensor, ...]:
    """MobileNet-V5 300M, the only vision encoder of Gemma 3n; its sizes are fixed by its name.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The encoder's tensors and the embedder that follows [-]

    Raises
    ------
    ValueError: another architecture than the one known here.

    Source
    ------
    timm 1.0.31, models/mobilenetv5.py;
    transformers 5.23, models/gemma3n/modeling_gemma3n.py Gemma3nMultimodalEmbedder.
    """
    name = s.fields.get("architecture") or MOBILENET
    if name != MOBILENET:
        raise ValueError(f"vision_config: architecture {name!r} is not known; {MOBILENET} is")
    top, last = Group(prefix), Group(prefix + "msfa.")

    def blocks(stage: int, count: int) -> Group:
        return Group(f"{prefix}blocks.{stage}.*.", count=count)

    return (
        *top.conv("conv_stem.conv", 64, 3, 3, 3),
        *top.norm("conv_stem.bn", 64, bias=False),
        *_edge(blocks(0, 1), 64, 256, 128),
        *_edge(blocks(0, 2), 128, 512, 128),
        *_inverted(blocks(1, 1), 128, 768, 256, start=3, middle=5),
        *_inverted(blocks(1, 2), 256, 1024, 256, start=5),
        *_inverted(blocks(1, 2), 256, 1024, 256, start=3),
        *_inverted(blocks(2, 1), 256, 1536, 640, start=5, middle=5),
        *_inverted(blocks(2, 7), 640, 2560, 640, start=5),
        *_inverted(blocks(2, 1), 640, 640, 640),
        *_multi_query(blocks(2, 14), 640, 768, 64, down=True),
        *_inverted(blocks(2, 14), 640, 1280, 640),
        *_inverted(blocks(3, 1), 640, 3840, 1280, start=5, middle=5),
        *_multi_query(blocks(3, 19), 1280, 1536, 96, down=False),
        *_inverted(blocks(3, 19), 1280, 2560, 1280),
        *_convs(last, (("ffn.pw_exp.conv", "ffn.pw_exp.bn", (3840, 1920, 1, 1)),)),
        *_convs(last, (("ffn.pw_proj.conv", "ffn.pw_proj.bn", (2048, 3840, 1, 1)),)),
        *last.norm("norm", 2048, bias=False),
        *_embedder(s, "model.embed_vision.", s.size("hidden_size", default=2048)),
    )


def _embedder(s: Section, prefix: str, width: int) -> tuple[Tensor, ...]:
    g = Group(prefix, "projector")
    return (
        *g.plain("embedding.weight", s.size("vocab_size", default=128), width, split="vocab"),
        *g.norm("hard_embedding_norm", width, bias=False),
        *g.norm("soft_embedding_norm", width, bias=False),
        *g.matrix("embedding_projection", s.text_width, width, bias=False, split="in"),
    )


def _subsample(
    g: Group, names: tuple[str, str], channels: list[int], mels: int, width: int
) -> tuple[Tensor, ...]:
    """Two convolutions that halve time and frequency, then a matrix to the tower's width."""
    first, second = channels
    rows = mels // 4 * second
    return (
        *_convs(g, ((f"{names[0]}.conv", f"{names[0]}.norm", (first, 1, 3, 3)),)),
        *_convs(g, ((f"{names[1]}.conv", f"{names[1]}.norm", (second, first, 3, 3)),)),
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
    return out + _embedder(s, "model.embed_audio.", width)


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
