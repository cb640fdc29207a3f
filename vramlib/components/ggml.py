"""ggml's block types and llama.cpp's words: bytes of a row, build numbers, which layers a GPU holds."""

from __future__ import annotations

import re
from typing import Any

OUTPUT_FIRST_BUILD = 7450  # about: pull request 18148, December 2025

# GGML_QUANT_SIZES: (values per block, bytes per block)
BLOCKS: dict[str, tuple[int, int]] = {
    "F32": (1, 4), "F16": (1, 2), "BF16": (1, 2),
    "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34),
    "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210),
    "IQ1_S": (256, 50), "IQ1_M": (256, 56), "IQ2_XXS": (256, 66), "IQ2_XS": (256, 74), "IQ2_S": (256, 82),
    "IQ3_XXS": (256, 98), "IQ3_S": (256, 110), "IQ4_XS": (256, 136), "IQ4_NL": (32, 18),
    "TQ1_0": (256, 54), "TQ2_0": (256, 66), "MXFP4": (32, 17), "NVFP4": (64, 36),
}  # fmt: skip
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")


def build_number(version: str) -> int:
    """llama.cpp's build number from a version as people write it.

    Formula: the digits after ``b``

    Parameters
    ----------
    version : ``b6000``, ``6000``, ``0.0.6000`` [-]

    Returns
    -------
    Build number [-]

    Raises
    ------
    ValueError: no number in it.

    Examples
    --------
    >>> build_number("b6000")
    6000

    Source
    ------
    Release tags of https://github.com/ggml-org/llama.cpp/releases.
    """
    digits = re.findall(r"\d+", version)
    if not digits:
        raise ValueError(f"{version!r} has no llama.cpp build number; write it as b6000")
    return int(digits[-1])


def block(ggml_type: str) -> tuple[int, int]:
    """Values and bytes of one block of a ggml type.

    Formula: GGML_QUANT_SIZES[type]

    Parameters
    ----------
    ggml_type : ``f16``, ``q8_0``, ``Q4_K`` …, in any case [-]

    Returns
    -------
    Values per block [element], bytes per block [byte]

    Raises
    ------
    ValueError: not a ggml type in the table.

    Examples
    --------
    >>> block("q8_0")
    (32, 34)

    Source
    ------
    gguf 0.19 ``constants.py``, GGML_QUANT_SIZES (https://github.com/ggml-org/llama.cpp/tree/master/gguf-py).
    """
    try:
        return BLOCKS[ggml_type.upper()]
    except KeyError:
        raise ValueError(f"{ggml_type!r} is not a ggml type; known: {', '.join(BLOCKS)}") from None


def row_bytes(ggml_type: str, n: Any) -> Any:
    """Bytes of one row of ``n`` values stored in a ggml type.

    Formula: n / values_per_block · bytes_per_block

    Parameters
    ----------
    ggml_type : ``f16``, ``q8_0``, ``q4_0`` … [-]
    n : values in the row [element]

    Returns
    -------
    Size of the row [byte]

    Raises
    ------
    ValueError: the type is unknown, or the row does not fill whole blocks.

    Examples
    --------
    >>> row_bytes("q8_0", 1024)
    1088

    Source
    ------
    ``ggml_row_size`` in ggml.c (https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml.c).
    """
    values, size = block(ggml_type)
    if values > 1 and n % values:
        raise ValueError(f"a row of {n} values does not fill blocks of {values} ({ggml_type}); try f16")
    return n // values * size


def offloaded(num_layers: int, n_gpu_layers: int = -1, *, output_first: bool = True) -> tuple[range, bool]:
    """Layers that live on the GPU, and whether the output matrix does.

    Formula: the output, then the last n_gpu_layers − 1 layers; before output-first, the last n_gpu_layers
    layers, and the output only when n_gpu_layers > L

    Parameters
    ----------
    num_layers : repeating layers, L [-]
    n_gpu_layers : ``--n-gpu-layers``; negative is all [-]
    output_first : llama.cpp from December 2025 moves the output matrix first [-]

    Returns
    -------
    Layer numbers on the GPU [-], output on the GPU [-]

    Examples
    --------
    >>> offloaded(32, 9)
    (range(24, 32), True)
    >>> offloaded(32, 9, output_first=False)
    (range(23, 32), False)

    Source
    ------
    "llama: offload output layer to GPU first" (https://github.com/ggml-org/llama.cpp/pull/18148).
    """
    wanted = num_layers + 1 if n_gpu_layers < 0 else min(n_gpu_layers, num_layers + 1)
    repeating = max(wanted - 1, 0) if output_first else min(wanted, num_layers)
    return range(num_layers - repeating, num_layers), (wanted > 0 if output_first else wanted > num_layers)
