"""GGUF tensor names into roles and splits: the names are a closed list, the same for every architecture."""

from __future__ import annotations

import re

from vramlib.readers.safetensors import Stored
from vramlib.specs import Tensor

ROLES = (
    (r".*norm.*", "norm", "none"),
    (r"ffn_gate_inp.*|exp_probs_b.*|altup_router", "router", "none"),
    (r"ffn_down_exps", "expert", "in"),
    (r"ffn_\w*(exps|chexps)", "expert", "out"),
    (r"ffn_down_shexp", "shared_expert", "in"),
    (r"ffn_\w*shexp", "shared_expert", "out"),
    (r"ffn_down", "mlp", "in"),
    (r"ffn_.*", "mlp", "out"),
    (r"ssm_out|shortconv\.out_proj|time_mix_output", "state", "in"),
    (r"ssm_.*|shortconv\..*|time_mix_.*|channel_mix_.*", "state", "out"),
    (r"(cross_)?attn_output|attn_o", "attention", "in"),
    (r"(cross_)?attn_(k|v)", "attention", "kv"),
    (r"attn_(q_a|kv_a_mqa)|indexer\..*", "attention", "none"),
    (r"(cross_)?attn_.*", "attention", "out"),
)
"""Pattern of a name inside a block, role, split; the first match counts. Source: gguf, constants.py."""
ENDS = (
    (r"token_embd", "embedding", "vocab"),
    (r"token_embd_norm|.*norm.*", "norm", "none"),
    (r"(position|per_layer_token|token_types?)_?embd|token_types", "embedding", "none"),
    (r"output", "head", "vocab"),
    (r"v\..*", "vision", "none"),
    (r"a\..*", "audio", "none"),
    (r"(mm|resampler)\..*", "projector", "none"),
)
FUSE = {"attn_q": "qkv_proj", "attn_k": "qkv_proj", "attn_v": "qkv_proj", "ffn_gate": "gate_up_proj"}
FUSE |= {"ffn_up": "gate_up_proj"}
MATRIX_ROLES = ("attention", "mlp", "expert", "shared_expert", "state")


def tensor(name: str, stored: Stored, kv_heads: int) -> Tensor:
    """One tensor of a block.

    Parameters
    ----------
    name : without ``blk.N.`` [-]
    stored : type, shape and bytes from the header [-]
    kv_heads : key-value heads of this block [-]

    Returns
    -------
    The tensor with its exact bytes; stacked experts are counted one by one [-]

    Examples
    --------
    >>> made = tensor("ffn_up_exps.weight", Stored(dtype="Q4_K", shape=(8, 512, 256), nbytes=589824), 4)
    >>> made.role, made.count, made.shape, made.nbytes
    ('expert', 8, (512, 256), 73728)
    """
    stem, ending = _stem(name)
    role, split = _known(ROLES, stem)
    shape, count, nbytes = stored.shape, 1, stored.nbytes
    if role == "expert" and len(shape) == 3 and shape[0] and nbytes % shape[0] == 0:
        shape, count, nbytes = shape[1:], shape[0], nbytes // shape[0]
    if len(shape) < 2 and split == "in":
        split = "none"
    if split == "kv" and (not kv_heads or shape[:1] == () or shape[0] % kv_heads):
        split = "out"
    return Tensor(
        name=name,
        shape=shape,
        role=role,
        split=split,
        heads=kv_heads if split == "kv" else 0,
        count=count,
        fuse=FUSE.get(stem, "") and f"{FUSE[stem]}{ending.removeprefix('weight')}",
        linear=ending == "weight" and len(shape) == 2 and role in MATRIX_ROLES,
        dtype=stored.dtype,
        nbytes=nbytes,
    )


def end(name: str, stored: Stored) -> Tensor:
    """One tensor outside the blocks: embedding, output, their norms, rope factors, a projector.

    Parameters
    ----------
    name : as in the file [-]
    stored : type, shape and bytes from the header [-]

    Returns
    -------
    The tensor with its exact bytes [-]

    Examples
    --------
    >>> end("output_norm.weight", Stored(dtype="F32", shape=(64,), nbytes=256)).role
    'norm'
    """
    role, split = _known(ENDS, _stem(name)[0])
    return Tensor(
        name=name, shape=stored.shape, role=role, split=split, dtype=stored.dtype, nbytes=stored.nbytes
    )


def _stem(name: str) -> tuple[str, str]:
    stem, _, ending = name.rpartition(".")
    return (stem, ending) if stem else (name, "")


def _known(table: tuple[tuple[str, str, str], ...], stem: str) -> tuple[str, str]:
    return next(
        ((role, split) for pattern, role, split in table if re.fullmatch(pattern, stem)), ("other", "none")
    )
