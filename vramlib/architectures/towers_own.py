"""Families with a vision encoder of their own: Llama 3.2 Vision and 4, Kimi, MiniMax-M3, Step-3.7.

Source: transformers 5.23, models/{mllama,llama4,kimi_k25,minimax_m3_vl,step3p7}/modeling_*.py; what is split: vLLM 0.8,
model_executor/models/mllama.py; vLLM, model_executor/models/{mllama4,kimi_k25_vit}.py.
"""

from __future__ import annotations

from vramlib.architectures.tower_parts import LINEARS, PROJECTOR, Build, Group, Section, Tensors
from vramlib.architectures.towers_vision import clip_layers


def _llama_layers(g: Group, width: int, inner: int, *, bias: bool) -> Tensors:
    norms = g.norm(width, "input_layernorm", "post_attention_layernorm")
    return g.attention(width, bias=bias) + g.mlp(width, inner) + norms


def _mllama(s: Section) -> Tensors:
    """Tiles with gated position tables, local layers, then global layers with gates."""
    width, patch, tiles = s.size("hidden_size"), s.size("patch_size"), s.size("max_num_tiles")
    top, places = Group("vision_model."), (s.size("image_size") // patch) ** 2 + 1
    ratios = s.length("supported_aspect_ratios", 8) + 1
    out = (
        *top.plain("class_embedding", width),
        *top.conv("patch_embedding", width, s.channels, patch, patch, bias=False),
        *top.plain("gated_positional_embedding.gate", 1),
        *top.plain("gated_positional_embedding.embedding", places, width),
        *top.plain("gated_positional_embedding.tile_embedding.weight", ratios, tiles * places * width),
        *top.norm(width, "layernorm_pre", "layernorm_post"),
    )
    for where in ("pre_tile_positional_embedding", "post_tile_positional_embedding"):
        out += top.plain(f"{where}.gate", 1) + top.plain(f"{where}.embedding.weight", ratios, tiles * width)
    local = Group("vision_model.transformer.layers.*.", count=s.size("num_hidden_layers"))
    far = Group("vision_model.global_transformer.layers.*.", count=s.size("num_global_layers"))
    out += far.plain("gate_attn", 1) + far.plain("gate_ffn", 1)
    for g in (local, far):
        out += _llama_layers(g, width, s.size("intermediate_size"), bias=False)
    last = Group("", "projector")
    return out + last.matrix("multi_modal_projector", s.text_width, s.size("vision_output_dim"))


def _llama4(s: Section) -> Tensors:
    """A ViT, and an adapter that shuffles pixels into channels."""
    width, inner, patch = s.size("hidden_size"), s.size("intermediate_size"), s.size("patch_size")
    g, top = Group("vision_model.model.layers.*.", count=s.size("num_hidden_layers")), Group("vision_model.")
    middle, outputs = s.size("projector_input_dim"), s.size("projector_output_dim")
    adapter = ("vision_adapter.mlp.fc1", "vision_adapter.mlp.fc2")
    return (
        *top.plain("class_embedding", width),
        *top.plain("positional_embedding_vlm", (s.size("image_size") // patch) ** 2 + 1, width),
        *top.matrix("patch_embedding.linear", width, s.channels * patch * patch, bias=False, split="out"),
        *top.norm(width, "layernorm_pre", "layernorm_post"),
        *_llama_layers(g, width, inner, bias=True),
        *top.mlp(inner, middle, outputs, names=adapter, bias=False),
        *PROJECTOR.matrix("linear_1", s.text_width, s.size("vision_output_dim"), bias=False, split="out"),
    )


def _kimi(s: Section) -> Tensors:
    """MoonViT of Kimi-VL, and its three-dimensional form in Kimi-K2.5; four patches become one token."""
    width, patch = s.size("vt_hidden_size", "hidden_size"), s.size("patch_size", default=14)
    text, last = s.size("text_hidden_size", default=s.text_width), Group("mm_projector.", "projector")
    inner, top = s.size("vt_intermediate_size", "intermediate_size"), Group("vision_tower.")
    height, across = s.size("init_pos_emb_height", default=64), s.size("init_pos_emb_width", default=64)
    layers = s.size("vt_num_hidden_layers", "num_hidden_layers")
    g = Group("vision_tower.encoder.blocks.*.", count=layers)
    return (
        *top.conv("patch_embed.proj", width, 3, patch, patch),
        *top.plain("patch_embed.pos_emb.weight", height, across, width),
        *g.norm(width, "norm0", "norm1"),
        *g.fused_attention(width, "wqkv", "wo"),
        *g.mlp(width, inner, names=("mlp.fc0", "mlp.fc1")),
        *top.norm(width, "encoder.final_layernorm"),
        *last.norm(width, "pre_norm"),
        *last.mlp(4 * width, 4 * width, text, names=("proj.0", "proj.2"), split=False),
    )


def _minimax(s: Section) -> Tensors:
    """CLIP's layers over patches of two frames, rotary positions; four tokens become one."""
    width, patch, text = s.size("hidden_size"), s.size("patch_size"), s.text_width
    nested = "img_token_compression_config.temporal_patch_size"
    frames = s.size("temporal_patch_size", nested, default=2, quiet=True)
    top, inner = Group("vision_tower.vision_model."), s.outside("projector_hidden_size", text)
    merge = ("merge_linear_1", "merge_linear_2")
    return (
        *top.conv("embeddings.proj", width, s.channels, frames, patch, patch, bias=False),
        *top.norm(width, "pre_layrnorm"),
        *clip_layers(s, top.prefix + "layers.*.", width, s.size("intermediate_size")),
        *PROJECTOR.mlp(width, inner, text, names=LINEARS, split=False),
        *PROJECTOR.mlp(4 * text, inner, text, names=merge, split=False),
    )


def _step(s: Section) -> Tensors:
    """Layer scales, then two convolutions that halve the image each, and one matrix."""
    width, patch, top = s.size("hidden_size"), s.size("patch_size"), Group("model.vision_model.")
    g = Group("model.vision_model.layers.*.", count=s.size("num_hidden_layers"))
    return (
        *top.conv("embeddings.patch_embedding", width, 3, patch, patch, bias=False),
        *top.plain("embeddings.position_embedding.weight", (s.size("image_size") // patch) ** 2, width),
        *top.norm(width, "pre_layernorm"),
        *g.attention(width, output="out_proj", bias=True),
        *g.mlp(width, s.size("intermediate_size")),
        *g.plain("lambda_1", width),
        *g.plain("lambda_2", width),
        *g.norm(width, "layernorm_before", "layernorm_after"),
        *top.conv("downsampler1", 2 * width, width, 3, 3),
        *top.conv("downsampler2", 4 * width, 2 * width, 3, 3),
        *Group("model.", "projector").matrix("multi_modal_projector", s.text_width, 4 * width, bias=False),
    )


VISION: dict[str, Build] = {
    "mllama": _mllama,
    "llama4": _llama4,
    **dict.fromkeys(("kimi_k25", "kimi_vl"), _kimi),
    "minimax_m3_vl": _minimax,
    "step3p7": _step,
}
