"""The towers of Qwen: vision encoders of Qwen2-VL to Qwen3.5, audio encoders of Qwen2-Audio to Qwen3-ASR."""

from __future__ import annotations

from vramlib.architectures.tower_parts import GLU, OUT_PROJ, Group, Section
from vramlib.specs import Tensor


def _patches(s: Section, prefix: str, width: int, *, side: int, bias: bool) -> tuple[Tensor, ...]:
    channels = s.size("in_channels", "in_chans", default=3, quiet=True)
    frames, patch = s.size("temporal_patch_size", default=2, quiet=True), s.size("patch_size", default=side)
    return Group(prefix).conv("patch_embed.proj", width, channels, frames, patch, patch, bias=bias)


def _blocks(g: Group, width: int, *, norm_bias: bool) -> tuple[Tensor, ...]:
    return (
        *g.norm("norm1", width, bias=norm_bias),
        *g.norm("norm2", width, bias=norm_bias),
        *g.matrix("attn.qkv", 3 * width, width, split="out"),
        *g.matrix("attn.proj", width, width, split="in"),
    )


def _merger(g: Group, merged: int, outputs: int, names: tuple[str, str]) -> tuple[Tensor, ...]:
    first = g.matrix(names[0], merged, merged, split="out")
    return first + g.matrix(names[1], outputs, merged, split="in")


def qwen2_vl(s: Section, prefix: str = "visual.") -> tuple[Tensor, ...]:
    """Qwen2-VL's ViT and its patch merger, which is the projector.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors, merger included [-]

    Source
    ------
    transformers 5.23, models/qwen2_vl/modeling_qwen2_vl.py;
    vLLM, model_executor/models/qwen2_vl.py (what is split).
    """
    width, ratio = s.size("embed_dim", default=1280), s.size("mlp_ratio", default=4)
    merged = width * s.size("spatial_merge_size", default=2, quiet=True) ** 2
    g = Group(prefix + "blocks.*.", count=s.size("depth", default=32))
    top = Group(prefix + "merger.", "projector")
    return (
        *_patches(s, prefix, width, side=14, bias=False),
        *_blocks(g, width, norm_bias=True),
        *g.mlp(width, ratio * width),
        *top.norm("ln_q", width),
        *_merger(top, merged, s.size("hidden_size", default=3584), ("mlp.0", "mlp.2")),
    )


def qwen2_5_vl(s: Section, prefix: str = "visual.") -> tuple[Tensor, ...]:
    """Qwen2.5-VL's ViT: RMS norms and a gated MLP with biases.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors, merger included [-]

    Source
    ------
    transformers 5.23, models/qwen2_5_vl/modeling_qwen2_5_vl.py; vLLM, model_executor/models/qwen2_5_vl.py.
    """
    width, inner = s.size("hidden_size", default=3584), s.size("intermediate_size", default=3420)
    merged = width * s.size("spatial_merge_size", default=2, quiet=True) ** 2
    g = Group(prefix + "blocks.*.", count=s.size("depth", default=32))
    top = Group(prefix + "merger.", "projector")
    return (
        *_patches(s, prefix, width, side=14, bias=False),
        *_blocks(g, width, norm_bias=False),
        *g.mlp(width, inner, names=GLU),
        *top.norm("ln_q", width, bias=False),
        *_merger(top, merged, s.size("out_hidden_size", default=3584), ("mlp.0", "mlp.2")),
    )


def qwen3_vl(s: Section, prefix: str = "model.visual.", *, deepstack: bool = True) -> tuple[Tensor, ...]:
    """Qwen3-VL's ViT with a position table, and one more merger a layer that feeds text layers directly.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]
    deepstack : whether the family has those mergers; Qwen3.5 has none [-]

    Returns
    -------
    The tower's tensors, mergers included [-]

    Source
    ------
    transformers 5.23, models/qwen3_vl/modeling_qwen3_vl.py;
    vLLM, model_executor/models/qwen3_vl.py (what is split).
    """
    width, inner = s.size("hidden_size", default=1152), s.size("intermediate_size", default=4304)
    merged = width * s.size("spatial_merge_size", default=2, quiet=True) ** 2
    outputs, names = s.size("out_hidden_size", default=3584), ("linear_fc1", "linear_fc2")
    g = Group(prefix + "blocks.*.", count=s.size("depth", default=27))
    top, places = Group(prefix + "merger.", "projector"), s.size("num_position_embeddings", default=2304)
    out = (
        *_patches(s, prefix, width, side=16, bias=True),
        *Group(prefix).plain("pos_embed.weight", places, width),
        *_blocks(g, width, norm_bias=True),
        *g.mlp(width, inner, names=("mlp.linear_fc1", "mlp.linear_fc2")),
        *top.norm("norm", width),
        *_merger(top, merged, outputs, names),
    )
    taps = s.numbers("deepstack_visual_indexes", [8, 16, 24]) if deepstack else []
    if not taps:
        return out
    more = Group(prefix + "deepstack_merger_list.*.", "projector", len(taps))
    return out + more.norm("norm", merged) + _merger(more, merged, outputs, names)


def qwen3_5(s: Section, prefix: str = "model.visual.") -> tuple[Tensor, ...]:
    """Qwen3.5's ViT: Qwen3-VL's without the deep-stack mergers.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors, merger included [-]

    Source
    ------
    transformers 5.23, models/qwen3_5/modeling_qwen3_5.py.
    """
    return qwen3_vl(s, prefix, deepstack=False)


def _audio_layers(s: Section, prefix: str, width: int, *, key_bias: bool) -> tuple[Tensor, ...]:
    inner = s.size("encoder_ffn_dim", "intermediate_size", default=4 * width)
    layers = s.size("encoder_layers", "num_hidden_layers", default=32)
    g = Group(prefix + "layers.*.", "audio", layers)
    return (
        *g.attention(width, names=OUT_PROJ, bias=True, key_bias=key_bias),
        *g.norm("self_attn_layer_norm", width),
        *g.mlp(width, inner, names=("fc1", "fc2")),
        *g.norm("final_layer_norm", width),
    )


def whisper(s: Section, prefix: str = "audio_tower.") -> tuple[Tensor, ...]:
    """Whisper's encoder, as Qwen2-Audio and Voxtral use it; keys have no bias.

    Parameters
    ----------
    s : ``audio_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]

    Source
    ------
    transformers 5.23, models/qwen2_audio/modeling_qwen2_audio.py; vLLM, model_executor/models/whisper.py.
    """
    width, top = s.size("d_model", "hidden_size", default=1280), Group(prefix, "audio")
    return (
        *top.conv("conv1", width, s.size("num_mel_bins", default=128), 3),
        *top.conv("conv2", width, width, 3),
        *top.plain("embed_positions.weight", s.size("max_source_positions", default=1500, quiet=True), width),
        *_audio_layers(s, prefix, width, key_bias=False),
        *top.norm("layer_norm", width),
    )


def omni_audio(s: Section, prefix: str = "thinker.audio_tower.") -> tuple[Tensor, ...]:
    """Audio encoder of Qwen3-Omni and Qwen3-ASR: three strided convolutions, then layers as in a ViT.

    Parameters
    ----------
    s : ``audio_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors, projection to the text width included [-]

    Source
    ------
    transformers 5.23, models/qwen3_omni_moe/modeling_qwen3_omni_moe.py Qwen3OmniMoeAudioEncoder.
    """
    width, top = s.size("d_model", "hidden_size", default=1280), Group(prefix, "audio")
    inner, mels = s.size("downsample_hidden_size", default=480), s.size("num_mel_bins", default=128)
    for _ in range(3):
        mels = (mels + 1) // 2
    return (
        *top.conv("conv2d1", inner, 1, 3, 3),
        *top.conv("conv2d2", inner, inner, 3, 3),
        *top.conv("conv2d3", inner, inner, 3, 3),
        *top.matrix("conv_out", width, inner * mels, bias=False),
        *_audio_layers(s, prefix, width, key_bias=True),
        *top.norm("ln_post", width),
        *top.matrix("proj1", width, width),
        *top.matrix("proj2", s.size("output_dim", default=s.text_width), width),
    )


def omni_2_5_audio(s: Section, prefix: str = "thinker.audio_tower.") -> tuple[Tensor, ...]:
    """Audio encoder of Qwen2.5-Omni: Whisper's with positions that are not stored, and a projection.

    Parameters
    ----------
    s : ``audio_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors, projection to the text width included [-]

    Source
    ------
    transformers 5.23, models/qwen2_5_omni/modeling_qwen2_5_omni.py Qwen2_5OmniAudioEncoder.
    """
    top, text = Group(prefix, "audio"), s.size("output_dim", default=s.text_width)
    stored = tuple(t for t in whisper(s, prefix) if "embed_positions" not in t.name)
    out = top.plain("audio_bos_eos_token.weight", 2, text)
    return stored + out + top.matrix("proj", text, s.size("d_model", default=1280))
