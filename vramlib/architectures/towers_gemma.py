"""The towers of Gemma 3n and Gemma 4.

vLLM builds them from transformers' own modules, so every rank holds them whole.

Source: transformers 5.23, models/{gemma3n,gemma4,gemma4_unified}/modeling_*.py; vLLM 0.33,
model_executor/models/gemma3n_mm.py Gemma3nMultimodalEmbedder (what is split).
"""

from __future__ import annotations

from vramlib.architectures.tower_parts import GLU, Build, Group, Section, Tensors
from vramlib.architectures.towers_mobilenet import mobilenet


def _embedder(s: Section, prefix: str, width: int) -> Tensors:
    """Gemma 3n's, for one modality: a small vocabulary of its own, two norms, a projection."""
    g = Group(prefix, "projector")
    return (
        *g.plain("embedding.weight", s.size("vocab_size", default=128), width, split="vocab"),
        *g.norm(width, "hard_embedding_norm", "soft_embedding_norm", bias=False),
        *g.matrix("embedding_projection", s.text_width, width, bias=False, split="in"),
    )


def _projection(s: Section, prefix: str, width: int) -> Tensors:
    """Gemma 4's: one matrix."""
    return Group(prefix, "projector").matrix("embedding_projection", s.text_width, width, bias=False)


def _subsample(prefix: str, names: tuple[str, str], channels: list[int], mels: int, width: int) -> Tensors:
    """Two convolutions that halve time and frequency, then a matrix to the tower's width."""
    g, (first, second) = Group(prefix + "subsample_conv_projection.", "audio"), channels
    return (
        *g.conv(f"{names[0]}.conv", first, 1, 3, 3, bias=False, norm=f"{names[0]}.norm"),
        *g.conv(f"{names[1]}.conv", second, first, 3, 3, bias=False, norm=f"{names[1]}.norm"),
        *g.matrix("input_proj_linear", width, mels // 4 * second, bias=False),
    )


def _halves(g: Group, width: int, names: tuple[str, str], tail: str = "") -> Tensors:
    """A conformer's two MLPs, one at either end of a layer."""
    return tuple(
        t
        for name in names
        for t in (
            *g.norm(width, f"{name}.pre_layer_norm", f"{name}.post_layer_norm", bias=False),
            *g.matrix(f"{name}.ffw_layer_1{tail}", 4 * width, width, bias=False),
            *g.matrix(f"{name}.ffw_layer_2{tail}", width, 4 * width, bias=False),
        )
    )


def _squares(g: Group, width: int, *names: str) -> Tensors:
    return tuple(t for name in names for t in g.matrix(name, width, width, bias=False))


def _light_conv(g: Group, width: int, kernel: int, tail: str = "") -> Tensors:
    return (
        *g.norm(width, "lconv1d.pre_layer_norm", "lconv1d.conv_norm", bias=False),
        *g.matrix("lconv1d.linear_start" + tail, 2 * width, width, bias=False),
        *g.plain("lconv1d.depthwise_conv1d.weight", width, 1, kernel),
        *g.matrix("lconv1d.linear_end" + tail, width, width, bias=False),
    )


def _gemma3n_vision(s: Section) -> Tensors:
    return mobilenet(s) + _embedder(s, "model.embed_vision.", s.size("hidden_size", default=2048))


def _gemma3n_audio(s: Section) -> Tensors:
    """A conformer and the embedder that follows."""
    width, kernel = s.size("hidden_size", default=1536), s.size("conf_conv_kernel_size", default=5)
    heads, prefix = s.size("conf_num_attention_heads", default=8), "model.audio_tower."
    g = Group(prefix + "conformer.*.", "audio", s.size("conf_num_hidden_layers", default=12))
    channels, mels = s.numbers("sscp_conv_channel_size", [128, 32]), s.size("input_feat_size", default=128)
    return (
        *_subsample(prefix, ("conv_0", "conv_1"), channels, mels, width),
        *_halves(g, width, ("ffw_layer_start", "ffw_layer_end")),
        *g.norm(width, "attention.pre_attn_norm", "attention.post_norm", "norm", bias=False),
        *g.plain("attention.attn.per_dim_scale", width // heads),
        *_squares(g, width, "attention.attn.relative_position_embedding.pos_proj"),
        *_squares(g, width, *(f"attention.attn.{x}_proj" for x in "qkv"), "attention.post"),
        *_light_conv(g, width, kernel),
        *_embedder(s, "model.embed_audio.", width),
    )


def _gemma4_vision(s: Section) -> Tensors:
    """A ViT and the projection that follows. Scale and bias buffers of the file are not parameters."""
    width, patch, head = (
        s.size("hidden_size"),
        s.size("patch_size", default=16),
        s.size("head_dim", default=64),
    )
    heads, places = s.size("num_attention_heads"), s.size("position_embedding_size", default=10240)
    first = Group("model.vision_tower.patch_embedder.")
    g = Group("model.vision_tower.encoder.layers.*.", count=s.size("num_hidden_layers"))
    rows, keys = heads * head, s.size("num_key_value_heads", default=heads) * head
    glu = tuple(f"{name}.linear" for name in GLU)
    return (
        *first.plain("position_embedding_table", 2, places, width),
        *first.matrix("input_proj", width, 3 * patch * patch, bias=False),
        *g.matrix("self_attn.q_proj.linear", rows, width, bias=False),
        *g.matrix("self_attn.k_proj.linear", keys, width, bias=False),
        *g.matrix("self_attn.v_proj.linear", keys, width, bias=False),
        *g.matrix("self_attn.o_proj.linear", width, rows, bias=False),
        *g.norm(head, "self_attn.q_norm", "self_attn.k_norm", bias=False),
        *g.mlp(width, s.size("intermediate_size"), names=glu, bias=False, split=False),
        *g.norm(width, "input_layernorm", "post_attention_layernorm", bias=False),
        *g.norm(width, "pre_feedforward_layernorm", "post_feedforward_layernorm", bias=False),
        *_projection(s, "model.embed_vision.", width),
    )


def _gemma4_audio(s: Section) -> Tensors:
    """A conformer and the projection that follows."""
    width, heads = s.size("hidden_size", default=1024), s.size("num_attention_heads", default=8)
    outputs, kernel = s.size("output_proj_dims", default=1536), s.size("conv_kernel_size", default=5)
    prefix, layers = "model.audio_tower.", s.size("num_hidden_layers", default=12)
    channels, g = (
        s.numbers("subsampling_conv_channels", [128, 32]),
        Group(prefix + "layers.*.", "audio", layers),
    )
    matrices = (*(f"{x}_proj.linear" for x in "qkv"), "post.linear", "relative_k_proj")
    return (
        *_subsample(prefix, ("layer0", "layer1"), channels, 128, width),
        *_halves(g, width, ("feed_forward1", "feed_forward2"), ".linear"),
        *g.plain("self_attn.per_dim_scale", width // heads),
        *_squares(g, width, *(f"self_attn.{name}" for name in matrices)),
        *_light_conv(g, width, kernel, ".linear"),
        *g.norm(width, "norm_pre_attn", "norm_post_attn", "norm_out", bias=False),
        *Group(prefix, "audio").matrix("output_proj", outputs, width),
        *_projection(s, "model.embed_audio.", outputs),
    )


def _gemma4_unified_vision(s: Section) -> Tensors:
    """Gemma 4 12B has no encoder: patches of 48 × 48 pixels go straight into a dense layer."""
    width, g = s.size("mm_embed_dim", default=3840), Group("model.embed_vision.")
    side = s.size("patch_size", default=16) * s.size("pooling_kernel_size", default=3)
    places = s.size("mm_posemb_size", default=1120)
    last = s.size("output_proj_dims", default=width)
    return (
        *g.plain("pos_embedding", places, 2, width),
        *g.norm(3 * side**2, "patch_ln1"),
        *g.matrix("patch_dense", width, 3 * side**2),
        *g.norm(width, "patch_ln2", "pos_norm"),
        *_projection(s, "model.embed_vision.multimodal_embedder.", last),
    )


def _gemma4_unified_audio(s: Section) -> Tensors:
    """Gemma 4 12B has no audio encoder either: one projection."""
    return _projection(s, "model.embed_audio.", s.size("audio_embed_dim", default=640))


VISION: dict[str, Build] = {
    "gemma3n": _gemma3n_vision,
    "gemma4": _gemma4_vision,
    "gemma4_unified": _gemma4_unified_vision,
}
AUDIO: dict[str, Build] = {
    "gemma3n": _gemma3n_audio,
    "gemma4": _gemma4_audio,
    "gemma4_unified": _gemma4_unified_audio,
}
