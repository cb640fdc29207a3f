"""Vision encoders of Llama 3.2 Vision and Llama 4."""

from __future__ import annotations

from vramlib.architectures.tower_parts import Group, Section
from vramlib.specs import Tensor


def mllama(s: Section, prefix: str = "vision_model.") -> tuple[Tensor, ...]:
    """Llama 3.2 Vision: tiles with gated position tables, local layers, then global layers with gates.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]

    Source
    ------
    transformers 5.23, models/mllama/modeling_mllama.py;
    vLLM 0.8, model_executor/models/mllama.py (what is split).
    """
    width, patch, tiles = s.size("hidden_size"), s.size("patch_size"), s.size("max_num_tiles")
    channels, top = s.size("num_channels", default=3, quiet=True), Group(prefix)
    places = (s.size("image_size") // patch) ** 2 + 1
    ratios = s.length("supported_aspect_ratios", 8) + 1
    out = (
        *top.plain("class_embedding", width),
        *top.conv("patch_embedding", width, channels, patch, patch, bias=False),
        *top.plain("gated_positional_embedding.gate", 1),
        *top.plain("gated_positional_embedding.embedding", places, width),
        *top.plain("gated_positional_embedding.tile_embedding.weight", ratios, tiles * places * width),
        *top.norm("layernorm_pre", width),
        *top.norm("layernorm_post", width),
    )
    for where in ("pre_tile_positional_embedding", "post_tile_positional_embedding"):
        out += top.plain(f"{where}.gate", 1) + top.plain(f"{where}.embedding.weight", ratios, tiles * width)
    local = Group(prefix + "transformer.layers.*.", count=s.size("num_hidden_layers"))
    far = Group(prefix + "global_transformer.layers.*.", count=s.size("num_global_layers"))
    out += far.plain("gate_attn", 1) + far.plain("gate_ffn", 1)
    return out + tuple(t for g in (local, far) for t in _mllama_layer(g, width, s.size("intermediate_size")))


def _mllama_layer(g: Group, width: int, inner: int) -> tuple[Tensor, ...]:
    return (
        *g.attention(width),
        *g.mlp(width, inner),
        *g.norm("input_layernorm", width),
        *g.norm("post_attention_layernorm", width),
    )


def llama4(s: Section, prefix: str = "vision_model.") -> tuple[Tensor, ...]:
    """Llama 4's ViT and the adapter that shuffles pixels into channels.

    Parameters
    ----------
    s : ``vision_config`` [-]
    prefix : start of the tensors' names [-]

    Returns
    -------
    The tower's tensors [-]

    Source
    ------
    transformers 5.23, models/llama4/modeling_llama4.py;
    vLLM, model_executor/models/mllama4.py (what is split).
    """
    width, inner, patch = s.size("hidden_size"), s.size("intermediate_size"), s.size("patch_size")
    channels, top = s.size("num_channels", default=3, quiet=True), Group(prefix)
    g = Group(prefix + "model.layers.*.", count=s.size("num_hidden_layers"))
    middle = s.size("projector_input_dim")
    return (
        *top.plain("class_embedding", width),
        *top.plain("positional_embedding_vlm", (s.size("image_size") // patch) ** 2 + 1, width),
        *top.matrix("patch_embedding.linear", width, channels * patch * patch, bias=False, split="out"),
        *top.norm("layernorm_pre", width),
        *top.norm("layernorm_post", width),
        *g.attention(width, bias=True),
        *g.mlp(width, inner),
        *g.norm("input_layernorm", width),
        *g.norm("post_attention_layernorm", width),
        *top.matrix("vision_adapter.mlp.fc1", middle, inner, bias=False, split="out"),
        *top.matrix("vision_adapter.mlp.fc2", s.size("projector_output_dim"), middle, bias=False, split="in"),
    )
