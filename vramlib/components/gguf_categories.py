"""Which of the quantizer's categories a tensor belongs to, by its role, split and name."""

from __future__ import annotations

import re
from collections import Counter

from vramlib.specs import Layer, Tensor

PLAIN = re.compile(r"bias|router|conv1d|\bconv\b|position|wpe|norm|A_log|per_layer_model_proj|altup|laurel")
FUSED_QKV = re.compile(r"query_key_value|qkv_proj|c_attn|Wqkv|attn_qkv|in_proj_qkv")
SPLIT_QKV = re.compile(r"wqkv|W_pack")  # the converter takes these apart
VALUE = re.compile(r"v_proj|\bwv\b|\battn_v\.|value\.")
KEY = re.compile(r"k_proj|\bwk\b|\battn_k\.|key\.")
QUERY = re.compile(r"\bq_proj|\bwq\b|\battn_q\.|query\.")
GATE = re.compile(r"gate|\bw1\b|c_fc_0")


def categories(layer: Layer) -> tuple[tuple[Tensor, str], ...]:
    """Each tensor of a layer with the quantizer's word for it; ``plain`` stays in 32 bit.

    Formula: by role, split and name

    Parameters
    ----------
    layer : one layer of the model [-]

    Returns
    -------
    Pairs of tensor and category [-]

    Examples
    --------
    >>> q = Tensor(name="self_attn.q_proj.weight", shape=(8, 8), role="attention", split="out", linear=True)
    >>> categories(Layer(tensors=(q,)))[0][1]
    'attn_q'

    Source
    ------
    ``tensor_get_category`` and ``tensor_allows_quantization`` in llama.cpp, src/llama-quant.cpp; names as made by
    convert_hf_to_gguf.py.
    """
    seen: Counter[str] = Counter()
    found = []
    for t in layer.tensors:
        found.append((t, _category(t, seen[t.name])))
        seen[t.name] += 1
    return tuple(found)


def _category(t: Tensor, nth: int) -> str:
    if len(t.shape) < 2 or t.role in ("norm", "router") or PLAIN.search(t.name):
        return "plain"
    if t.role in ("mlp", "expert", "shared_expert"):
        return _mlp_category(t)
    if t.role in ("attention", "state"):
        return _attention_category(t, nth)
    return "other"


def _mlp_category(t: Tensor) -> str:
    part = "ffn_down" if t.split == "in" else "ffn_gate" if GATE.search(t.name) else "ffn_up"
    return f"experts_{part}" if t.role == "expert" else part


def _attention_category(t: Tensor, nth: int) -> str:
    if SPLIT_QKV.search(t.name):
        return ("attn_q", "attn_k", "attn_v")[min(nth, 2)]
    if FUSED_QKV.search(t.name) and not re.search(r"out_proj|c_proj", t.name):
        return "attn_qkv"
    if t.role == "state":
        return "other"
    if t.split == "in":
        return "attn_output"
    if re.search(r"_[ab]_proj|kv_a|kv_b|q_a|q_b|with_mqa", t.name):
        return "other"
    for category, pattern in (("attn_v", VALUE), ("attn_k", KEY), ("attn_q", QUERY)):
        if pattern.search(t.name):
            return category
    return "other"


def is_value(category: str) -> bool:
    """Value matrices, alone or fused: the most sensitive of attention [-]."""
    return category in ("attn_v", "attn_qkv", "attn_kv_b")
