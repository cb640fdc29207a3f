"""GGUF file types: a recipe that picks a type for each matrix.

``Q4_K_M`` is not a width: llama.cpp's quantizer gives more bits to values, to the down projection of some layers
and to the output matrix. The recipes are those of ``llama-quantize`` without an importance matrix (with one where
the type cannot be made without it). What is *not* here: mixes made by hand, whose sizes only the file itself knows.
"""

from __future__ import annotations

from dataclasses import dataclass

from vramlib.components.ggml import block
from vramlib.components.gguf_categories import is_value
from vramlib.components.gguf_file_types import DEFAULT_TYPE

NEEDS_IMATRIX = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "Q2_K_S"})
TINY = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"})
# types whose rows must fill blocks of 256, and what stands in for them (tensor_type_fallback)
FALLBACK = {
    **dict.fromkeys(("Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"), "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
}  # fmt: skip
# attention's output matrix, which eight experts make worth more
FIVE_BITS_OF_EIGHT_EXPERTS = frozenset({
    "Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ3_S", "IQ3_M", "IQ4_XS",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What the recipe of a file type needs to know about the model.

    Parameters
    ----------
    file_type : one of ``DEFAULT_TYPE`` [-]
    num_layers : layers, as the quantizer counts down projections [-]
    num_values : attention layers, as it counts value matrices [-]
    heads_per_kv : query heads that share a key-value head [-]
    num_experts : routed experts, 0 when dense [-]
    falcon : Falcon's own exceptions [-]
    seventy : a Llama or Qwen2 of 80 layers with grouped heads ("70B") [-]
    tied : the embedding is also the output matrix [-]
    imatrix : made with an importance matrix [-]
    """

    file_type: str
    num_layers: int
    num_values: int
    heads_per_kv: int = 1
    num_experts: int = 0
    falcon: bool = False
    seventy: bool = False
    tied: bool = False
    imatrix: bool = False


def more_bits(layer: int, layers: int) -> bool:
    """Whether a ``_M`` recipe stores a layer with more bits: the first and last eighth, and every third between.

    Formula: i < L/8 or i ≥ 7L/8 or (i − L/8) mod 3 = 2

    Parameters
    ----------
    layer : its number, i [-]
    layers : layers, L [-]

    Returns
    -------
    More bits [-]

    Examples
    --------
    >>> sum(more_bits(i, 32) for i in range(32))
    16

    Source
    ------
    ``use_more_bits`` in llama.cpp, src/llama-quant.cpp.
    """
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _output(r: Recipe) -> str:
    start = DEFAULT_TYPE[r.file_type]
    if r.file_type in ("F32", "F16", "BF16"):
        return start
    if r.falcon or start in ("Q8_0", "MXFP4"):
        return "Q8_0"
    return "Q5_K" if r.file_type in TINY or r.file_type == "IQ3_XXS" else "Q6_K"


def _embedding(r: Recipe) -> str:
    special = dict.fromkeys(("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"), "Q2_K")
    special |= (
        {"MXFP4_MOE": "Q8_0"}
        | dict.fromkeys(("IQ2_S", "IQ2_M", "IQ3_XXS"), "IQ3_S")
        | dict.fromkeys(("TQ1_0", "TQ2_0"), "Q4_K")
    )
    return _output(r) if r.tied else special.get(r.file_type, DEFAULT_TYPE[r.file_type])


def _tiny(r: Recipe, category: str, layer: int) -> str:
    """Recipes of one and two bits."""
    kind, wider = r.file_type, "IQ3_S" if r.file_type in ("IQ2_S", "IQ2_M") else "Q2_K"
    if is_value(category):
        return "Q4_K" if r.heads_per_kv >= 4 or r.num_experts >= 4 else wider
    if category == "attn_k" and r.num_experts == 8:
        return "Q4_K"
    if category == "ffn_down" and layer < r.num_layers // 8:
        return wider
    if category == "attn_output":
        if r.num_experts == 8:
            return "Q5_K"
        return {"IQ1_S": "IQ2_XXS", "IQ1_M": "IQ2_XXS", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S"}.get(
            kind, DEFAULT_TYPE[kind]
        )
    return DEFAULT_TYPE[kind]


def _value(r: Recipe, index: int) -> str:
    """Value matrices, the most sensitive of attention."""
    kind, grouped = r.file_type, r.heads_per_kv >= 4
    found = {
        "Q2_K": "Q4_K" if grouped else "Q3_K",
        "Q2_K_S": "Q4_K" if grouped else "Q2_K",
        "IQ3_XXS": "Q4_K" if grouped else "IQ3_XXS" if r.imatrix else "IQ3_S",
        "IQ3_XS": "Q4_K" if grouped else "IQ3_S",
        "IQ3_S": "Q4_K" if grouped else "IQ3_S",
        "IQ3_M": "Q4_K",
        "Q3_K_M": "Q5_K" if index < 2 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "IQ4_NL": "Q5_K" if grouped else "IQ4_NL",
        "IQ4_XS": "Q5_K" if grouped else "IQ4_XS",
        "Q4_K_M": "Q6_K" if more_bits(index, r.num_values) else "Q4_K",
        "Q5_K_M": "Q6_K" if more_bits(index, r.num_values) else "Q5_K",
        "Q4_K_S": "Q5_K" if index < 4 else "Q4_K",
    }.get(kind, DEFAULT_TYPE[kind])
    if r.seventy and found in ("Q3_K", "Q4_K"):
        found = "Q5_K"
    return "Q8_0" if r.num_experts == 8 else found


def _down(r: Recipe, layer: int) -> str:
    """Down projections of the MLP."""
    kind, layers, start = r.file_type, r.num_layers, DEFAULT_TYPE[r.file_type]
    early, more = layer < layers // 8, more_bits(layer, layers)
    if r.falcon and kind in ("Q3_K_M", "Q3_K_L", "Q4_K_M", "Q4_K_S"):
        very_early = layer < layers // 16
        return {
            "Q3_K_M": "Q5_K" if very_early else "Q4_K" if more else "Q3_K",
            "Q3_K_L": "Q4_K",
            "Q4_K_M": "Q6_K" if very_early else "Q5_K" if more else "Q4_K",
            "Q4_K_S": "Q4_K",
        }[kind]
    return {
        "Q2_K": "Q3_K",
        "Q2_K_S": "Q4_K" if early else "Q2_K",
        "IQ3_XXS": start if r.imatrix else "Q4_K" if early else "Q3_K",
        "Q3_K_M": "Q5_K" if layer < layers // 16 else "Q4_K",
        "IQ3_M": "Q4_K" if early or (r.num_experts == 8 and more) else "IQ3_S",
        "Q3_K_L": "Q5_K",
        "Q4_K_M": "Q6_K" if more else "Q4_K",
        "IQ4_NL": "Q5_K" if early and not r.imatrix else "IQ4_NL",
        "IQ4_XS": "Q5_K" if early and not r.imatrix else "IQ4_XS",
        "Q5_K_M": "Q6_K" if more else "Q5_K",
        "Q4_K_S": "Q5_K" if early else "Q4_K",
    }.get(kind, start)


def _attention_output(r: Recipe) -> str:
    kind = r.file_type
    if r.falcon:
        return "Q4_K" if kind == "Q3_K_L" else DEFAULT_TYPE[kind]
    if r.num_experts == 8:
        return "Q5_K" if kind in FIVE_BITS_OF_EIGHT_EXPERTS else DEFAULT_TYPE[kind]
    wider = {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}
    return wider.get(kind, DEFAULT_TYPE[kind])


def _query_key(r: Recipe, category: str) -> str:
    if category == "attn_k" and r.num_experts == 8:
        return "Q8_0"
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(r.file_type, DEFAULT_TYPE[r.file_type])


def tensor_type(category: str, r: Recipe, *, layer_index: int = 0, value_index: int = -1) -> str:
    """Type that a recipe gives to a matrix, before rows that do not fill its blocks are looked at.

    Formula: the rules of ``llama_tensor_get_type_impl``

    Parameters
    ----------
    category : ``token_embd``, ``output``, ``attn_q``, ``attn_k``, ``attn_v``, ``attn_qkv``, ``attn_output``,
        ``ffn_gate``, ``ffn_up``, ``ffn_down``, ``experts`` (with ``MXFP4_MOE``), or ``other`` [-]
    r : the recipe [-]
    layer_index : layer number [-]
    value_index : how many value matrices come before; -1 is the layer number [-]

    Returns
    -------
    A ggml type [-]

    Examples
    --------
    >>> q4 = Recipe(file_type="Q4_K_M", num_layers=32, num_values=32, heads_per_kv=4)
    >>> [tensor_type(c, q4, layer_index=5) for c in ("attn_q", "attn_v", "ffn_down", "output")]
    ['Q4_K', 'Q4_K', 'Q4_K', 'Q6_K']
    >>> tensor_type("ffn_down", q4, layer_index=6)
    'Q6_K'

    Source
    ------
    ``llama_tensor_get_type_impl`` in https://github.com/ggml-org/llama.cpp/blob/master/src/llama-quant.cpp.
    """
    kind, start = r.file_type, DEFAULT_TYPE[r.file_type]
    if kind in ("F32", "F16", "BF16"):
        return start
    if category in ("output", "token_embd"):
        return _output(r) if category == "output" else _embedding(r)
    if kind == "MXFP4_MOE":
        return "MXFP4" if category.startswith("experts") else "Q8_0"
    part = category.removeprefix("experts_")
    if kind in TINY:
        return _tiny(r, part, layer_index)
    if is_value(part):
        return _value(r, layer_index if value_index < 0 else value_index)
    if part in ("attn_k", "attn_q"):
        return _query_key(r, part)
    if part == "ffn_down":
        return _down(r, layer_index)
    if part == "attn_output":
        return _attention_output(r)
    middle = r.num_layers // 8 <= layer_index < 7 * r.num_layers // 8
    return "IQ3_XXS" if part in ("ffn_gate", "ffn_up") and kind == "IQ3_XS" and middle else start


def fitting_type(ggml_type: str, row: int) -> str:
    """The type itself, or what stands in when a row does not fill its blocks.

    Formula: row mod values_per_block ≠ 0 → fallback of 32 values per block, else F16

    Parameters
    ----------
    ggml_type : wanted type [-]
    row : values in a row [element]

    Returns
    -------
    A type that the row fills [-]

    Examples
    --------
    >>> fitting_type("Q4_K", 2880), fitting_type("Q4_K", 4096)
    ('Q5_0', 'Q4_K')

    Source
    ------
    ``tensor_type_fallback`` in llama.cpp, src/llama-quant.cpp.
    """
    if row % block(ggml_type)[0] == 0:
        return ggml_type
    other = FALLBACK.get(ggml_type, "F16")
    return other if row % block(other)[0] == 0 else "F16"
