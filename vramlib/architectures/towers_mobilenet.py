"""MobileNet-V5, the vision encoder of Gemma 3n: convolutions, inverted residuals and multi-query attention.

vLLM builds it from timm, so every rank holds it whole.
"""

from __future__ import annotations

from vramlib.architectures.tower_parts import Group, Section
from vramlib.specs import Tensor

MOBILENET = "mobilenetv5_300m_enc"


def convs(g: Group, parts: tuple[tuple[str, str, tuple[int, ...]], ...]) -> tuple[Tensor, ...]:
    """Convolutions, each followed by its norm.

    Parameters
    ----------
    g : where they are [-]
    parts : name of the convolution, name of its norm, shape of its kernel [-], [-], [element]

    Returns
    -------
    Their tensors [-]
    """
    return tuple(
        t
        for name, after, shape in parts
        for t in (*g.conv(name, *shape, bias=False), *g.norm(after, shape[0], bias=False))
    )


def _edge(g: Group, inputs: int, inner: int, outputs: int) -> tuple[Tensor, ...]:
    expand = ("conv_exp", "bn1", (inner, inputs, 3, 3))
    return convs(g, (expand, ("conv_pwl", "bn2", (outputs, inner, 1, 1))))


def _inverted(
    g: Group, inputs: int, inner: int, outputs: int, start: int = 0, middle: int = 0
) -> tuple[Tensor, ...]:
    parts = (
        ("dw_start.conv", "dw_start.bn", (inputs, 1, start, start)),
        ("pw_exp.conv", "pw_exp.bn", (inner, inputs, 1, 1)),
        ("dw_mid.conv", "dw_mid.bn", (inner, 1, middle, middle)),
        ("pw_proj.conv", "pw_proj.bn", (outputs, inner, 1, 1)),
    )
    return convs(g, tuple(p for p in parts if p[2][-1])) + g.plain("layer_scale.gamma", outputs)


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
        *convs(last, (("ffn.pw_exp.conv", "ffn.pw_exp.bn", (3840, 1920, 1, 1)),)),
        *convs(last, (("ffn.pw_proj.conv", "ffn.pw_proj.bn", (2048, 3840, 1, 1)),)),
        *last.norm("norm", 2048, bias=False),
        *embedder(s, "model.embed_vision.", s.size("hidden_size", default=2048)),
    )


def embedder(s: Section, prefix: str, width: int) -> tuple[Tensor, ...]:
    """Gemma 3n's embedder for one modality: a small vocabulary of its own, two norms, a projection.

    Parameters
    ----------
    s : ``vision_config`` or ``audio_config`` [-]
    prefix : start of the tensors' names [-]
    width : width of the encoder's output [element]

    Returns
    -------
    Its tensors [-]

    Source
    ------
    vLLM 0.33, model_executor/models/gemma3n_mm.py Gemma3nMultimodalEmbedder (what is split).
    """
    g = Group(prefix, "projector")
    return (
        *g.plain("embedding.weight", s.size("vocab_size", default=128), width, split="vocab"),
        *g.norm("hard_embedding_norm", width, bias=False),
        *g.norm("soft_embedding_norm", width, bias=False),
        *g.matrix("embedding_projection", s.text_width, width, bias=False, split="in"),
    )
