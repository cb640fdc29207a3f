"""The words a user types: every scenario field once, and text or typed values read into clean values.

The command's flags, a sweep's columns, a report's parameters and ``vramlib.estimate(...)`` all pass through
``read``, so a value means the same everywhere, and a slip gets the same one-line message everywhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vramlib import values
from vramlib.units import MiB

MANY_CARDS = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One word of a scenario: what it is called, what it takes, and what happens without it.

    Parameters
    ----------
    name : as the engines' own flag, with underscores [-]
    kind : how it is read, one of ``values.READERS`` [-]
    help : one line for ``--help`` and for a message [-]
    default : in words, what holds when it is not given [-]
    unit : of the number [-]
    choices : the words it takes, for ``kind="choice"`` [-]
    words : further spellings, and words instead of a number, with what each stands for [-]
    minimum, maximum : smallest and largest number it takes [unit]
    many : also takes a numpy array, one number for each of many scenarios [-]
    """

    name: str
    kind: str
    help: str
    default: str = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    words: tuple[tuple[str, Any], ...] = ()
    minimum: int = 1
    maximum: int = values.HUGE
    many: bool = False

    @property
    def flag(self) -> str:
        """The field as a command-line flag.

        Examples
        --------
        >>> BY_NAME["max_model_len"].flag
        '--max-model-len'
        """
        return "--" + self.name.replace("_", "-")

    @property
    def takes(self) -> str:
        """What would work, in words, for a message.

        Examples
        --------
        >>> BY_NAME["max_model_len"].takes
        'a whole number of tokens, 1 or more, such as 8192 or 8k, or auto'
        """
        return values.takes(self)


_OWN = "the engine's own"
_DTYPE_WORDS = (
    ("half", "float16"), ("fp16", "float16"), ("f16", "float16"), ("bf16", "bfloat16"),
    ("float", "float32"), ("fp32", "float32"), ("f32", "float32"),
)  # fmt: skip
# Types of cached numbers: the first are what vLLM, SGLang and transformers call them, the others llama.cpp.
CACHE_TYPES = (
    "auto", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "int8", "float16", "bfloat16", "float32", "nvfp4",
    "fp8_per_token_head", "int8_per_token_head", "int4_per_token_head", "fp8_ds_mla", "nvfp4_ds_mla",
)  # fmt: skip
GGML_CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
SAME_CACHE_TYPE = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
_GGML_WORDS = (*SAME_CACHE_TYPE.items(), ("fp16", "f16"), ("fp32", "f32"))
_ENGINE_WORDS = (("hf", "transformers"), ("huggingface", "transformers"), ("ollama", "llama.cpp"))
_FLASH = "flash_attention_2"
_ATTENTION_WORDS = (("flash", _FLASH), ("fa2", _FLASH), ("flash_attn", _FLASH), ("flash_attn_2", _FLASH))

FIELDS = (
    Field(name="model", kind="model",
          help="catalogue name, or path to a config.json or its folder, a .gguf, .safetensors or its index"),
    Field(name="gpu", kind="gpu", default="H100-80GB",
          help="the card: catalogue name or alias"),
    Field(name="gpu_memory_bytes", kind="size", unit="byte", minimum=MiB, maximum=10**18, many=True,
          default="the card's", help="memory of the card, 25769803776 or 24GiB"),
    Field(name="engine", kind="choice", default="vllm", words=_ENGINE_WORDS,
          choices=("vllm", "sglang", "transformers", "llama.cpp"), help="what serves the model"),
    Field(name="engine_version", kind="text", default="the newest with enough logs to check against",
          help="its version, such as 0.19.0"),
    Field(name="dtype", kind="choice", default="auto", words=_DTYPE_WORDS,
          choices=("auto", "float32", "float16", "bfloat16"), help="type of weights and activations"),
    Field(name="quantization", kind="text", default="from the file",
          help="how weights are stored: none, fp8, awq, gptq, nf4, mxfp4, Q4_K_M and others"),
    Field(name="kv_cache_dtype", kind="choice", default="auto", choices=(*CACHE_TYPES, *GGML_CACHE_TYPES),
          words=(("fp16", "float16"), ("half", "float16"), ("fp32", "float32")),
          help="type of cached keys and values: fp8, int8 and others; for llama.cpp q8_0 and others"),
    Field(name="cache_type_k", kind="choice", default="kv_cache_dtype", choices=GGML_CACHE_TYPES, words=_GGML_WORDS,
          help="llama.cpp: type of cached keys"),
    Field(name="cache_type_v", kind="choice", default="kv_cache_dtype", choices=GGML_CACHE_TYPES, words=_GGML_WORDS,
          help="llama.cpp: type of cached values"),
    Field(name="max_model_len", kind="int", unit="token", words=(("auto", "auto"),), many=True,
          default="the model's limit", help="longest sequence; auto is the largest that starts"),
    Field(name="max_num_seqs", kind="int", unit="sequence", many=True, default=_OWN,
          help="sequences that the engine runs at once"),
    Field(name="max_num_batched_tokens", kind="int", unit="token", many=True, default=_OWN,
          help="tokens of one step"),
    Field(name="block_size", kind="int", unit="token", many=True, default=_OWN,
          help="tokens of one KV block"),
    Field(name="batch_size", kind="int", unit="sequence", many=True, default="1",
          help="sequences of the workload"),
    Field(name="prompt_tokens", kind="lengths", unit="token", many=True, default="1024",
          help="tokens in: one number, or one for each sequence as 100;200"),
    Field(name="new_tokens", kind="lengths", unit="token", minimum=0, many=True, default="256",
          help="tokens out: one number, or one for each sequence as 100;200"),
    Field(name="tensor_parallel_size", kind="int", unit="card", maximum=MANY_CARDS, default="1",
          help="cards that share each layer"),
    Field(name="pipeline_parallel_size", kind="int", unit="card", maximum=MANY_CARDS, default="1",
          help="groups of cards, each with its share of the layers"),
    Field(name="data_parallel_size", kind="int", unit="card", maximum=MANY_CARDS, default="1",
          help="copies of the model, each with its own requests"),
    Field(name="enable_expert_parallel", kind="bool", default="false",
          help="whole experts on each card"),
    Field(name="gpu_memory_utilization", kind="fraction", many=True, default=_OWN,
          help="share of the card that the engine may take, such as 0.9"),
    Field(name="enforce_eager", kind="bool", default="false",
          help="no CUDA graphs"),
    Field(name="enable_prefix_caching", kind="bool", default=_OWN,
          help="keep blocks of finished requests; recurrent layers then keep a second state a request"),
    Field(name="num_speculative_tokens", kind="int", unit="token", minimum=0, maximum=MANY_CARDS, default="0",
          help="tokens that a drafter proposes a step; 0 is no speculation"),
    Field(name="speculative_model", kind="text", default="the model's own multi-token prediction layers",
          help="the drafter: catalogue name or path; ngram for none"),
    Field(name="enable_lora", kind="bool", default="false",
          help="keep slots for LoRA adapters"),
    Field(name="max_loras", kind="int", unit="adapter", maximum=MANY_CARDS, default="1",
          help="adapters in one batch"),
    Field(name="max_lora_rank", kind="int", unit="element", maximum=MANY_CARDS, default="16",
          help="largest rank of an adapter"),
    Field(name="decode_context_parallel_size", kind="int", unit="card", maximum=MANY_CARDS, default="1",
          help="cards of a tensor-parallel group that share out the tokens of the KV cache"),
    Field(name="attn_implementation", kind="choice", default="sdpa", words=_ATTENTION_WORDS,
          choices=("sdpa", "eager", _FLASH), help="transformers: how attention is computed"),
    Field(name="num_processes", kind="int", unit="process", maximum=MANY_CARDS, default="1",
          help="independent processes of this kind on the same card"),
    Field(name="n_gpu_layers", kind="int", unit="layer", minimum=-1, words=(("all", -1),), default=_OWN,
          help="llama.cpp: layers on the card; -1 or all is every one"),
    Field(name="n_ubatch", kind="int", unit="token", many=True, default=_OWN,
          help="llama.cpp: tokens of one physical step"),
    Field(name="n_seq_max", kind="int", unit="sequence", many=True, default=_OWN,
          help="llama.cpp: sequences in parallel"),
    Field(name="flash_attn", kind="bool", words=(("auto", None),), default=_OWN,
          help="llama.cpp: flash attention"),
)  # fmt: skip
NAMES = tuple(f.name for f in FIELDS)
BY_NAME = {f.name: f for f in FIELDS}

# What other tools call the same thing: never read, only offered when somebody types one.
ELSEWHERE = {
    "mem_fraction_static": "gpu_memory_utilization",
    "max_running_requests": "max_num_seqs",
    "chunked_prefill_size": "max_num_batched_tokens",
    "context_length": "max_model_len",
    "ctx_size": "max_model_len",
    "n_ctx": "max_model_len",
    "page_size": "block_size",
    "model_path": "model",
    "model_id": "model",
    "tp": "tensor_parallel_size",
    "tp_size": "tensor_parallel_size",
    "num_gpus": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "pp_size": "pipeline_parallel_size",
    "dp": "data_parallel_size",
    "dp_size": "data_parallel_size",
    "ngl": "n_gpu_layers",
    "ubatch_size": "n_ubatch",
    "parallel": "n_seq_max",
    "enable_cuda_graphs": "enforce_eager",
    "nproc": "num_processes",
    "precision": "dtype",
}


def plain_name(name: str) -> str:
    """A name as fields are spelled: hyphens as underscores, no leading ones, no blanks around it.

    Examples
    --------
    >>> plain_name("--max-model-len")
    'max_model_len'
    """
    return name.strip().lstrip("-").replace("-", "_")


def nearest(name: str, names: Iterable[str] = NAMES, *, alike: float = 0.6) -> str:
    """The field that somebody who typed ``name`` most likely meant, or ``""`` where none is alike.

    Parameters
    ----------
    name : what was typed, case and hyphens do not matter [-]
    names : what could have been meant [-]
    alike : smallest likeness, 0 to 1, of difflib's measure [-]

    Returns
    -------
    One of ``names``, or the empty string [-]

    Examples
    --------
    >>> nearest("max_modl_len"), nearest("ctx-size"), nearest("colour")
    ('max_model_len', 'max_model_len', '')
    """
    typed = plain_name(name).lower()
    known = {plain_name(n).lower(): n for n in names}
    elsewhere = ELSEWHERE.get(typed, "")
    if elsewhere in known:
        return known[elsewhere]
    found = difflib.get_close_matches(typed, known, n=1, cutoff=alike)
    return known[found[0]] if found else ""


def read(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Scenario fields from text or typed values; what is empty or ``None`` was not given and is left out.

    Parameters
    ----------
    mapping : field name (hyphens or underscores) to value [-]

    Returns
    -------
    Field name to typed value, in the order of ``FIELDS``: int, float, bool, text, a tuple for a list of
    lengths; numpy arrays stay arrays [-]

    Raises
    ------
    ValueError : a name that is no field (the nearest is offered), or a value that its field does not take

    Examples
    --------
    >>> read({"model": "Llama-3.1-8B", "max-model-len": "8k", "prompt_tokens": "100;200", "gpu": ""})
    {'model': 'Llama-3.1-8B', 'max_model_len': 8000, 'prompt_tokens': (100, 200)}
    """
    given: dict[str, Any] = {}
    for typed, value in mapping.items():
        name = plain_name(typed)
        if name not in BY_NAME:
            raise ValueError(unknown(typed))
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        if name in given:
            raise ValueError(f"{name} is given twice, with a hyphen and with an underscore; write it once")
        given[name] = values.read_one(BY_NAME[name], value)
    if "kv_cache_dtype" in given:
        given["kv_cache_dtype"] = _cache_type(given["kv_cache_dtype"], given.get("engine", "vllm"))
    return {name: given[name] for name in NAMES if given.get(name) is not None}


def _cache_type(name: str, engine: str) -> str:
    """The engine's own name of a cache type; one that this engine does not know is never read as another."""
    ggml = engine == "llama.cpp"
    known: tuple[str, ...] = ("auto", *GGML_CACHE_TYPES) if ggml else CACHE_TYPES
    name = (SAME_CACHE_TYPE if ggml else {v: k for k, v in SAME_CACHE_TYPE.items()}).get(name, name)
    if name not in known:
        raise ValueError(
            f"kv_cache_dtype is {name!r}, which {engine} does not know; write {', '.join(known)}"
        )
    return name


def unknown(typed: str) -> str:
    """The message for a name that is no field.

    Examples
    --------
    >>> unknown("block-sze")
    "no field named 'block-sze'; nearest: block_size"
    """
    near = nearest(typed)
    return f"no field named {typed!r}; " + (
        f"nearest: {near}" if near else f"the fields are: {', '.join(NAMES)}"
    )
