"""A model's name in small words, and the words that publishers and engines add to it."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from vramlib._paths import data_dir
from vramlib.readers.format_names import file_types

VARIANTS = frozenset(
    {"instruct", "it", "chat", "hf", "base", "pt", "sft", "thinking", "reasoning", "preview", "mtp", "gguf"}
    | {"ud", "mlx", "meta", "qat", "abliterated", "uncensored", "heretic", "latest", "byteshape"}
)
"""Words that change what a model was trained on, or who packed it, not its shape."""
RELEASE = re.compile(r"\d{4}|\d{6}|\d{8}|v[01](\.\d+)*|\d+k")
"""A date (2507, 0324), a small version (v0.1) or a context (128k) of the same shape; V2 and V3 are other models."""
QUANTIZED = {
    "quantized.w8a8": "w8a8", "quantized.w4a16": "w4a16", "quantized.w8a16": "gptq-int8",
    "fp8-dynamic": "fp8-channel", "fp8-block": "fp8-block", "fp8-per-tensor": "fp8", "fp8-kv": "fp8",
    "w8a8-fp8": "fp8-channel", "fp8": "fp8",
    "gptq-int8": "gptq-int8", "gptq-8bit": "gptq-int8", "gptq-int4": "gptq", "gptq-4bit": "gptq",
    "gptq-4b-128g": "gptq", "gptqmodel-w4a16": "gptq", "gptqmodel-4bit": "gptq", "gptq": "gptq",
    "awq-int4": "awq", "awq-4bit": "awq", "awq-8bit": "w8a8", "int4-awq": "awq", "awq-fp16mix": "awq",
    "awq": "awq",
    "autoround-int4": "gptq", "int4-mixed-autoround": "gptq", "int4-autoround": "gptq", "autoround": "gptq",
    "int4-mixed": "gptq",
    "nvfp4a16": "nvfp4", "nvfp4": "nvfp4", "fp4-v2": "nvfp4", "fp4": "nvfp4", "mxfp4": "mxfp4",
    "mxfp8": "mxfp8",
    "unsloth-bnb-4bit": "nf4-double-quant", "bnb-4bit": "nf4-double-quant", "bnb-8bit": "int8", "bnb": "nf4",
    "w8a8": "w8a8", "w4a16": "w4a16", "int4": "w4a16", "4bit": "w4a16", "int8": "w8a8", "8bit": "w8a8",
    "bf16": "none", "fp16": "none", "f16": "none",
}  # fmt: skip
"""What publishers append to a name, longest first, and the row of data/quantization.csv it stands for."""
FILE_TYPES_LIKE = {
    **{f"Q{n}_K_XL": f"Q{n}_K_{'L' if n == 3 else 'M'}" for n in (3, 4, 5)},
    **{"Q2_K_XL": "Q2_K", "Q2_K_L": "Q2_K", "Q4_K_L": "Q4_K_M", "Q5_K_L": "Q5_K_M"},
    **{"Q6_K_XL": "Q6_K", "Q6_K_L": "Q6_K", "Q8_K_XL": "Q8_0"},
}
"""Mixes of single publishers, and the nearest of llama.cpp's own: some tensors of theirs are wider."""
UNKNOWN_BITS = ("exl3", "exl2", "hqq", "aqlm", "quip", "eetq", "marlin", "squeezellm")
"""Formats that say nothing of their bits in the name, or that have no row in data/quantization.csv."""
FP8_BLOCK_PUBLISHERS = ("qwen", "deepseek-ai", "xiaomimimo", "minimaxai")
"""Their files named FP8 have one scale per tile of 128 × 128 (weight_block_size in config.json)."""
PUBLISHERS = (
    *("unsloth", "bartowski", "thebloke", "mradermacher", "lmstudio", "ubergarm", "redhatai", "neuralmagic"),
    *("meta-llama", "mistralai", "huihui-ai", "cognitivecomputations", "nousresearch", "lmstudio-community"),
)
"""Organisations that also stand before a name with an underscore, besides those of the catalogue."""
SIZE = re.compile(r"(a|e)?\d+(\.\d+)?[bm]|\d+x\d+b|\d+e|a\d+(\.\d+)?b|mini|small|nano|large|flash|pro")
"""A word that gives a size: what follows the last one in a name is a release's or a fine-tune's own."""
OTHER_SHAPE = frozenset(
    {
        "eagle",
        "eagle2",
        "eagle3",
        "dflash",
        "draft",
        "drafter",
        "speculator",
        "medusa",
        "mtp",
        "nextn",
        "lora",
    }
    | {
        "adapter",
        "embedding",
        "reranker",
        "reward",
        "rm",
        "vl",
        "vision",
        "audio",
        "omni",
        "asr",
        "tts",
        "ocr",
    }
    | {
        "reap",
        "pruned",
        "merge",
        "moe",
        "distill",
        "width",
        "depth",
        "mamba",
        "assistant",
        "classifier",
        "layers",
    }
    | {"random", "tiny", "test", "mmproj", "guard", "prm", "value"}
)
"""Words after which a name is another model, not a fine-tune of the same shape."""


def words(name: str) -> tuple[str, ...]:
    """Small words of a name without its organisation; a point stays inside a word (2.5, w8a8).

    Parameters
    ----------
    name : as people write it, a path or an organisation before it [-]

    Returns
    -------
    Its words [-]

    Examples
    --------
    >>> words("bartowski/Qwen_Qwen3-8B-Q4_K_M.gguf")
    ('qwen3', '8b', 'q4.k.m')
    """
    text = str(name).rstrip("/").rsplit("/", 1)[-1].lower().removesuffix(".gguf")
    text = re.sub(r"-\d{5}-of-\d{5}$", "", text)
    text = re.sub(_before_underscore(), "", text)
    text = text.replace("auto_round", "autoround").replace("auto-round", "autoround")
    text = re.sub(r"\.(i?q\d\w*)$", r"-\1", text)
    text = re.sub(r"\bq(\d)k(s|m|l|xl)\b", r"q\1_k_\2", text)
    return tuple(w for w in re.split(r"[^a-z0-9.+]+", _file_type_marked(text)) if w.strip("."))


def _file_type_marked(text: str) -> str:
    """``q4_k_m`` as one word, which else would fall apart at its underscores."""
    return re.sub(r"\b(i?q\d)_(\w+)\b", lambda m: f"{m[1]}.{m[2].replace('_', '.')}", text)


@functools.cache
def _before_underscore() -> str:
    """An organisation that stands before the name, as in ``Qwen_Qwen3-8B``."""
    files = (data_dir() / "models").glob("*--*.json")
    known = {file.name.split("--")[0].lower() for file in files} | set(PUBLISHERS)
    return rf"^(?:{'|'.join(sorted(map(re.escape, known), key=len, reverse=True))})_"


def key(parts: tuple[str, ...]) -> str:
    """What two spellings of one name have in common.

    Parameters
    ----------
    parts : words of a name [-]

    Returns
    -------
    The words as one [-]

    Examples
    --------
    >>> key(words("Llama-3.1 8B")) == key(words("llama3.1:8b"))
    True
    """
    return "".join(parts)


def peel(parts: tuple[str, ...]) -> tuple[tuple[str, ...], str, str]:
    """The words without those of a compressed variant, the format they stand for, and a word that names none.

    Parameters
    ----------
    parts : words of a name [-]

    Returns
    -------
    The other words; the format; a bare ``gguf``, a format whose bits are unknown, or a publisher's own mix [-]

    Examples
    --------
    >>> peel(words("Qwen2.5-7B-Instruct-AWQ"))
    (('qwen2.5', '7b', 'instruct'), 'awq', '')
    """
    text, quantization, said = f"-{'-'.join(parts)}-", "", ""
    for word, name in (*QUANTIZED.items(), *file_type_words().items()):
        if f"-{word}-" in text:
            text, quantization = text.replace(f"-{word}-", "-", 1), quantization or name
            said = said or next((mix for mix in FILE_TYPES_LIKE if _dotted(mix) == word), "")
    for word in UNKNOWN_BITS:
        if f"-{word}-" in text:
            text, said = text.replace(f"-{word}-", "-", 1), said or word
    said = "gguf" if "gguf" in parts and not quantization else said
    return tuple(text.strip("-").split("-")), quantization, said


def _dotted(file_type: str) -> str:
    return file_type.lower().replace("_", ".")


@functools.cache
def file_type_words() -> Mapping[str, str]:
    """llama.cpp's file types and single publishers' mixes as words of a name.

    Returns
    -------
    The word, and the file type it stands for, longest first [-]

    Examples
    --------
    >>> file_type_words()["q4.k.xl"]
    'Q4_K_M'
    """
    names = sorted(file_types(), key=len, reverse=True)
    mixes = {_dotted(mix): name for mix, name in FILE_TYPES_LIKE.items()}
    return mixes | {_dotted(n): n for n in (*names, "Q4_0", "Q4_1", "Q5_0", "Q5_1")}
