"""MobileNet-V5, the vision encoder of Gemma 3n: convolutions, inverted residuals and multi-query attention.

vLLM builds it from timm, so every rank holds it whole.

Source: timm 1.0.31, models/mobilenetv5.py.
"""

from __future__ import annotations

from vramlib.architectures.tower_parts import Group, Section, Tensors

MOBILENET = "mobilenetv5_300m_enc"


def _edge(g: Group, inputs: int, inner: int, outputs: int) -> Tensors:
    expand = g.conv("conv_exp", inner, inputs, 3, 3, bias=False, norm="bn1")
    return expand + g.conv("conv_pwl", outputs, inner, 1, 1, bias=False, norm="bn2")


def _inverted(g: Group, inputs: int, inner: int, outputs: int, start: int = 0, middle: int = 0) -> Tensors:
    parts = {
        "dw_start": (inputs, 1, start, start),
        "pw_exp": (inner, inputs, 1, 1),
        "dw_mid": (inner, 1, middle, middle),
        "pw_proj": (outputs, inner, 1, 1),
    }
    convs = (
        g.conv(f"{name}.conv", *shape, bias=False, norm=f"{name}.bn")
        for name, shape in parts.items()
        if shape[-1]
    )
    return sum(convs, ()) + g.plain("layer_scale.gamma", outputs)


def _multi_query(g: Group, width: int, query: int, key: int, *, down: bool) -> Tensors:
    out = g.norm(width, "norm", bias=False) + g.conv("attn.query.proj", query, width, 1, 1, bias=False)
    for part in ("attn.key", "attn.value"):
        if down:
            out += g.conv(f"{part}.down_conv", width, 1, 3, 3, bias=False, norm=f"{part}.norm")
        out += g.conv(f"{part}.proj", key, width, 1, 1, bias=False)
    return (
        out + g.conv("attn.output.proj", width, query, 1, 1, bias=False) + g.plain("layer_scale.gamma", width)
    )


def mobilenet(s: Section) -> Tensors:
    """MobileNet-V5 300M, the only vision encoder of Gemma 3n; its sizes are fixed by its name.

    Parameters
    ----------
    s : ``vision_config`` [-]

    Returns
    -------
    The encoder's tensors [-]

    Raises
    ------
    ValueError: another architecture than the one known here.
    """
    name = s.fields.get("architecture") or MOBILENET
    if name != MOBILENET:
        raise ValueError(f"vision_config: architecture {name!r} is not known; {MOBILENET} is")
    prefix = "model.vision_tower.timm_model."
    top, last = Group(prefix), Group(prefix + "msfa.")

    def blocks(stage: int, count: int) -> Group:
        return Group(f"{prefix}blocks.{stage}.*.", count=count)

    return (
        *top.conv("conv_stem.conv", 64, 3, 3, 3, norm="conv_stem.bn"),
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
        *last.conv("ffn.pw_exp.conv", 3840, 1920, 1, 1, bias=False, norm="ffn.pw_exp.bn"),
        *last.conv("ffn.pw_proj.conv", 2048, 3840, 1, 1, bias=False, norm="ffn.pw_proj.bn"),
        *last.norm(2048, "norm", bias=False),
    )
