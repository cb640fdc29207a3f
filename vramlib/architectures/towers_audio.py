"""Audio encoders of Qwen2-Audio to Qwen3-ASR and of Voxtral, made after Whisper's.

Source: transformers 5.23, models/{qwen2_audio,voxtral,qwen2_5_omni,qwen3_omni_moe}/modeling_*.py; vLLM,
model_executor/models/whisper.py.
"""

from __future__ import annotations

from vramlib.architectures.tower_parts import LINEARS, PROJECTOR, Build, Group, Section, Tensors


def _layers(s: Section, prefix: str, width: int, *, key_bias: bool) -> Tensors:
    inner = s.size("encoder_ffn_dim", "intermediate_size", default=4 * width)
    g = Group(prefix + "layers.*.", "audio", s.size("encoder_layers", "num_hidden_layers", default=32))
    return (
        *g.attention(width, output="out_proj", bias=True, key_bias=key_bias),
        *g.norm(width, "self_attn_layer_norm"),
        *g.mlp(width, inner, names=("fc1", "fc2")),
        *g.norm(width, "final_layer_norm"),
    )


def _whisper(s: Section, prefix: str = "audio_tower.") -> Tensors:
    """Whisper's encoder; keys have no bias."""
    width, top = s.size("d_model", "hidden_size", default=1280), Group(prefix, "audio")
    return (
        *top.conv("conv1", width, s.size("num_mel_bins", default=128), 3),
        *top.conv("conv2", width, width, 3),
        *top.plain("embed_positions.weight", s.size("max_source_positions", default=1500, quiet=True), width),
        *_layers(s, prefix, width, key_bias=False),
        *top.norm(width, "layer_norm"),
    )


def _qwen2_audio(s: Section) -> Tensors:
    width = s.size("d_model", default=1280)
    return _whisper(s) + PROJECTOR.matrix("linear", s.text_width, width)


def _voxtral(s: Section) -> Tensors:
    text, inputs = s.text_width, s.size("intermediate_size", default=5120)
    return _whisper(s) + PROJECTOR.mlp(inputs, text, text, names=LINEARS, bias=False, split=False)


def _omni_2_5(s: Section) -> Tensors:
    """Whisper's with positions that are not stored, and a projection."""
    top, text = Group("thinker.audio_tower.", "audio"), s.size("output_dim", default=s.text_width)
    stored = tuple(t for t in _whisper(s, top.prefix) if "embed_positions" not in t.name)
    out = top.plain("audio_bos_eos_token.weight", 2, text)
    return stored + out + top.matrix("proj", text, s.size("d_model", default=1280))


def _omni(s: Section) -> Tensors:
    """Three strided convolutions, then layers as in a ViT."""
    width, top = s.size("d_model", "hidden_size", default=1280), Group("thinker.audio_tower.", "audio")
    inner, mels = s.size("downsample_hidden_size", default=480), s.size("num_mel_bins", default=128)
    for _ in range(3):
        mels = (mels + 1) // 2
    return (
        *top.conv("conv2d1", inner, 1, 3, 3),
        *top.conv("conv2d2", inner, inner, 3, 3),
        *top.conv("conv2d3", inner, inner, 3, 3),
        *top.matrix("conv_out", width, inner * mels, bias=False),
        *_layers(s, top.prefix, width, key_bias=True),
        *top.norm(width, "ln_post"),
        *top.matrix("proj1", width, width),
        *top.matrix("proj2", s.size("output_dim", default=s.text_width), width),
    )


AUDIO: dict[str, Build] = {
    "qwen2_audio": _qwen2_audio,
    "voxtral": _voxtral,
    "qwen2_5_omni": _omni_2_5,
    **dict.fromkeys(("qwen3_omni_moe", "qwen3_asr"), _omni),
}
