"""Vision encoders of Qwen2-VL to Qwen3.5 and GLM-4.1V to GLM-5.3: blocks, then a merger that is the projector.

Source: transformers 5.23, models/{qwen2_vl,qwen2_5_vl,qwen3_vl,qwen3_5,glm4v,glm5_next}/modeling_*.py; what is split:
vLLM, model_executor/models/{qwen2_vl,qwen2_5_vl,qwen3_vl}.py.
"""

from __future__ import annotations

from vramlib.architectures.tower_parts import FC, GLU, Build, Group, Section, Tensors

LINEAR_FC = ("linear_fc1", "linear_fc2")


def _patches(s: Section, prefix: str, width: int, *, side: int | None = None, bias: bool = True) -> Tensors:
    channels = s.size("in_channels", "in_chans", default=3, quiet=True)
    frames, patch = s.size("temporal_patch_size", default=2, quiet=True), s.size("patch_size", default=side)
    return Group(prefix).conv("patch_embed.proj", width, channels, frames, patch, patch, bias=bias)


def _blocks(
    g: Group, width: int, inner: int, names: tuple[str, ...], *, bias: bool = True, rest: bool = True
) -> Tensors:
    """Blocks; a gated MLP comes with RMS norms. ``bias`` is that of queries, keys and values, ``rest`` of the rest."""
    return (
        *g.norm(width, "norm1", "norm2", bias=names is not GLU),
        *g.fused_attention(width, bias=bias, output_bias=rest),
        *g.mlp(width, inner, names=names, bias=rest),
    )


def _merge(s: Section) -> int:
    """Neighbours on a side that become one token."""
    return s.size("spatial_merge_size", default=2, quiet=True)


def _qwen2(s: Section, width: int, inner: int, names: tuple[str, ...], outputs: str) -> Tensors:
    merged, merger = width * _merge(s) ** 2, Group("visual.merger.", "projector")
    g = Group("visual.blocks.*.", count=s.size("depth", default=32))
    return (
        *_patches(s, "visual.", width, side=14, bias=False),
        *_blocks(g, width, inner, names),
        *merger.norm(width, "ln_q", bias=names is not GLU),
        *merger.mlp(merged, merged, s.size(outputs, default=3584), names=("mlp.0", "mlp.2")),
    )


def _qwen2_vl(s: Section) -> Tensors:
    width = s.size("embed_dim", default=1280)
    return _qwen2(s, width, s.size("mlp_ratio", default=4) * width, FC, "hidden_size")


def _qwen2_5_vl(s: Section) -> Tensors:
    width, inner = s.size("hidden_size", default=3584), s.size("intermediate_size", default=3420)
    return _qwen2(s, width, inner, GLU, "out_hidden_size")


def _qwen3_merger(s: Section, prefix: str, width: int, outputs: int, *, count: int = 0) -> Tensors:
    """One merger that is the projector, or ``count`` of them whose norms come after the merge."""
    g, merged = Group(prefix, "projector", count or 1), width * _merge(s) ** 2
    return g.norm(merged if count else width, "norm") + g.mlp(merged, merged, outputs, names=LINEAR_FC)


def _qwen3_5(s: Section) -> Tensors:
    """LayerNorms, a plain MLP and a position table."""
    width, inner = s.size("hidden_size", default=1152), s.size("intermediate_size", default=4304)
    outputs = s.size("out_hidden_size", default=3584)
    g, top = Group("model.visual.blocks.*.", count=s.size("depth", default=27)), Group("model.visual.")
    places = s.size("num_position_embeddings", default=2304)
    return (
        *_patches(s, "model.visual.", width, side=16),
        *top.plain("pos_embed.weight", places, width),
        *_blocks(g, width, inner, tuple(f"mlp.{name}" for name in LINEAR_FC)),
        *_qwen3_merger(s, "model.visual.merger.", width, outputs),
    )


def _qwen3_vl(s: Section) -> Tensors:
    """Qwen3.5's, and one more merger a layer that feeds text layers directly."""
    out, taps = _qwen3_5(s), s.numbers("deepstack_visual_indexes", [8, 16, 24])
    width, outputs = s.size("hidden_size", default=1152), s.size("out_hidden_size", default=3584)
    prefix = "model.visual.deepstack_merger_list.*."
    return out + (_qwen3_merger(s, prefix, width, outputs, count=len(taps)) if taps else ())


def _glm_merger(s: Section, width: int, outputs: int, inner: int) -> Tensors:
    """Four patches become one vector, which a gated MLP turns into a token."""
    top, merger = Group("model.visual."), Group("model.visual.merger.", "projector")
    return (
        *top.conv("downsample", outputs, width, _merge(s), _merge(s)),
        *top.norm(width, "post_layernorm", bias=False),
        *merger.matrix("proj", outputs, outputs, bias=False),
        *merger.norm(outputs, "post_projection_norm"),
        *merger.mlp(outputs, inner, names=("gate_proj", "up_proj", "down_proj"), bias=False),
    )


def _glm4v(s: Section) -> Tensors:
    """The layers' MLP is as wide as the text model, the merger's has its own width."""
    width, out, top = s.size("hidden_size"), s.size("out_hidden_size"), Group("model.visual.")
    places = (s.size("image_size") // s.size("patch_size")) ** 2
    g = Group("model.visual.blocks.*.", count=s.size("depth"))
    return (
        *_patches(s, "model.visual.", width),
        *top.plain("embeddings.position_embedding.weight", places, width),
        *top.norm(width, "post_conv_layernorm", bias=False),
        *_blocks(g, width, out, GLU, bias=s.flag("attention_bias"), rest=False),
        *_glm_merger(s, width, out, s.size("intermediate_size")),
    )


def _glm5(s: Section) -> Tensors:
    """No position table, a norm for each head's queries and keys."""
    width, out = s.size("hidden_size"), s.size("out_hidden_size")
    g, dim = Group("model.visual.blocks.*.", count=s.size("depth")), width // s.size("num_heads")
    inner = s.size("projection_intermediate_size", default=10240)
    return (
        *_patches(s, "model.visual.", width),
        *_blocks(g, width, s.size("intermediate_size"), GLU),
        *g.norm(dim, "attn.q_norm", "attn.k_norm", bias=False),
        *_glm_merger(s, width, out, inner),
    )


VISION: dict[str, Build] = {
    "qwen2_vl": _qwen2_vl,
    **dict.fromkeys(("qwen2_5_vl", "qwen2_5_omni"), _qwen2_5_vl),
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe", "qwen3_omni_moe"), _qwen3_vl),
    **dict.fromkeys(("qwen3_5", "qwen3_5_moe"), _qwen3_5),
    **dict.fromkeys(("glm4v", "glm4v_moe", "glm46v"), _glm4v),
    "glm5_next": _glm5,
}
