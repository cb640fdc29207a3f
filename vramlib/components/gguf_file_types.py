"""Names of GGUF file types, and the type that each one's recipe starts from."""

from __future__ import annotations

# the type a recipe starts from (llama_ftype_get_default_type)
DEFAULT_TYPE: dict[str, str] = {
    "F32": "F32", "F16": "F16", "BF16": "BF16",
    "Q4_0": "Q4_0", "Q4_1": "Q4_1", "Q5_0": "Q5_0", "Q5_1": "Q5_1", "Q8_0": "Q8_0",
    "Q2_K": "Q2_K", "Q2_K_S": "Q2_K", "Q3_K_S": "Q3_K", "Q3_K_M": "Q3_K", "Q3_K_L": "Q3_K",
    "Q4_K_S": "Q4_K", "Q4_K_M": "Q4_K", "Q5_K_S": "Q5_K", "Q5_K_M": "Q5_K", "Q6_K": "Q6_K",
    "IQ1_S": "IQ1_S", "IQ1_M": "IQ1_M", "IQ2_XXS": "IQ2_XXS", "IQ2_XS": "IQ2_XS", "IQ2_S": "IQ2_XS",
    "IQ2_M": "IQ2_S", "IQ3_XXS": "IQ3_XXS", "IQ3_XS": "IQ3_S", "IQ3_S": "IQ3_S", "IQ3_M": "IQ3_S",
    "IQ4_XS": "IQ4_XS", "IQ4_NL": "IQ4_NL", "TQ1_0": "TQ1_0", "TQ2_0": "TQ2_0",
    "MXFP4_MOE": "MXFP4", "NVFP4": "NVFP4",
}  # fmt: skip
NAMES = {
    "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE", "FP16": "F16", "FP32": "F32",
}  # fmt: skip


def file_type(name: str) -> str:
    """A GGUF file type as llama.cpp spells it.

    Formula: upper case; ``Q4_K`` is ``Q4_K_M``

    Parameters
    ----------
    name : as a person writes it: ``q4_k_m``, ``Q4_K - Medium``, ``mxfp4`` [-]

    Returns
    -------
    One of ``DEFAULT_TYPE`` [-]

    Raises
    ------
    ValueError: not a file type whose recipe is known.

    Examples
    --------
    >>> file_type("q4_k_m"), file_type("Q5_K - Small")
    ('Q4_K_M', 'Q5_K_S')

    Source
    ------
    ``QUANT_OPTIONS`` in https://github.com/ggml-org/llama.cpp/blob/master/tools/quantize/quantize.cpp.
    """
    word = name.upper().replace("MOSTLY_", "").replace("-", "_").replace(" ", "")
    for long, short in (("_SMALL", "_S"), ("_MEDIUM", "_M"), ("_LARGE", "_L"), ("__", "_")):
        word = word.replace(long, short)
    word = NAMES.get(word, word)
    if word not in DEFAULT_TYPE:
        raise ValueError(
            f"{name!r} is not a GGUF file type with a known recipe; these are: {', '.join(DEFAULT_TYPE)}"
        )
    return word
