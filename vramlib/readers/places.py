"""Where a tensor of a checkpoint belongs, from its name alone: a layer, an end, a tower, or nowhere."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d+)\.(.+)$")
NEXT_TOKEN = re.compile(r"(?:^|\.)(?:mtp|nextn|mtp_layers|mtp_block)\.")
BUFFER = re.compile(
    r"(?:rotary_emb\.inv_freq|rope\.freqs|attn\.masked_bias|attention\.masked_bias|attention\.bias)$"
)
EXPERT = re.compile(r"(\bexperts?)\.\d+\.")
PACKED = re.compile(r"^(?P<module>.+?)[._](?P<part>qweight|weight_packed|W_q|blocks)$")
SCALE = re.compile(
    r"^(?P<module>.+?)[._](?P<part>"
    r"qzeros|scales|g_idx|weight_scale(?:_inv|_2)?|weight_global_scale|weight_zero_point|weight_shape|weight_g_idx|"
    r"input_scale|input_global_scale|input_zero_point|activation_scale|output_scale|[qkv]_scale|scale_inv|"
    r"weight\.(?:absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..+)|SCB|weight_format)$"
)
TOWERS = {
    "visual": "vision", "vision": "vision", "vit": "vision", "vpm": "vision", "img": "vision",
    "image": "vision",
    "audio": "audio", "speech": "audio", "sound": "audio",
    "projector": "projector", "connector": "projector", "resampler": "projector", "aligner": "projector",
    "mlp1": "projector", "merger": "projector", "adapter": "projector",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one stored tensor belongs.

    Parameters
    ----------
    where : ``layer``, ``end``, ``tower``, ``next_token`` (layers for speculation), ``buffer`` (not loaded) [-]
    layer : number of the layer [-]
    name : without the layer's prefix, the number of an expert as ``*`` [-]
    module : name of the matrix that it is, or belongs to [-]
    part : ``""`` for a plain tensor, ``codes`` for a compressed matrix, else the kind of scale [-]
    """

    where: str
    layer: int = -1
    name: str
    module: str
    part: str = ""


def place(name: str, num_layers: int) -> Place:
    """Where a tensor belongs.

    Parameters
    ----------
    name : its full name in the checkpoint [-]
    num_layers : num_hidden_layers; layers beyond predict further tokens and are not part of the model [-]

    Returns
    -------
    Its place [-]

    Examples
    --------
    >>> found = place("model.layers.3.mlp.experts.17.up_proj.qweight", 32)
    >>> found.layer, found.module, found.part
    (3, 'mlp.experts.*.up_proj.weight', 'codes')
    >>> place("model.layers.61.embed_tokens.weight", 61).where
    'next_token'
    """
    match = LAYER.search(name)
    if not match or tower_role(prefix := name[: match.start() + 1]):
        return _outside(name)
    layer, local = int(match[1]), EXPERT.sub(r"\1.*.", match[2])
    if layer >= num_layers or NEXT_TOKEN.search(prefix):
        return Place(where="next_token", name=name, module=name)
    return _inside(layer, local)


@functools.lru_cache(maxsize=1 << 14)
def _inside(layer: int, local: str) -> Place:
    where = "next_token" if NEXT_TOKEN.search(local) else "buffer" if BUFFER.search(local) else "layer"
    return _local(where, layer, local)


def _outside(name: str) -> Place:
    if NEXT_TOKEN.search(name):
        return Place(where="next_token", name=name, module=name)
    if tower_role(name):
        return _local("tower", -1, re.sub(r"\.\d+\.", ".*.", name))
    return _local("buffer" if BUFFER.search(name) else "end", -1, name)


def _local(where: str, layer: int, name: str) -> Place:
    module, part = _part(name)
    return Place(where=where, layer=layer, name=name, module=module, part=part)


def _part(name: str) -> tuple[str, str]:
    if match := PACKED.match(name):
        return f"{match['module']}.weight", "codes"
    if match := SCALE.match(name):
        return f"{match['module']}.weight", match["part"]
    return name, ""


@functools.lru_cache(maxsize=1 << 12)
def tower_role(name: str) -> str:
    """Role of a tensor outside the text model; ``""`` for the text model's own.

    Parameters
    ----------
    name : its full name in the checkpoint [-]

    Returns
    -------
    ``vision``, ``audio``, ``projector`` or ``""`` [-]

    Examples
    --------
    >>> tower_role("model.visual.blocks.3.attn.qkv.weight"), tower_role("model.layers.3.mlp.gate.weight")
    ('vision', '')
    """
    head = re.split(r"\.(?:layers|h|blocks|block)\.\d+\.", name, maxsplit=1)[0]
    words = re.split(r"[._]", head)
    found = [TOWERS[w] for w in words if w in TOWERS]
    return ("projector" if "projector" in found else found[0]) if found else ""
