"""Resolved sizes of a text model: every spelling of a config.json field is known here, and nowhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vramlib.architectures import kinds
from vramlib.architectures.fields import Fields, whole
from vramlib.specs import DTYPE_BITS

MOST_LAYERS = 10_000
LAYER_SIZES = ("head_dim", "v_head_dim", "num_attention_heads", "num_key_value_heads", "intermediate_size")
NO_ATTENTION = frozenset({"mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm"})
MULTI_HEAD = frozenset({"gpt2", "gptj", "gpt_neo", "gpt_neox", "codegen", "opt", "bloom", "mpt", "qwen"})
MULTI_HEAD |= {"baichuan", "nemotron-nas"}  # the last has block_configs, each with its own
FOUR_TIMES = frozenset(
    {"gpt2", "gptj", "gpt_neo", "codegen", "bloom", "falcon", "mpt", "gpt_bigcode", "nemotron-nas"}
)
SPARSE = frozenset(
    {"mixtral", "deepseek_v2", "deepseek_v3", "kimi_k2", "gpt_oss", "dbrx", "qwen3_next", "olmoe"}
)
EXPERT_SIZES = (
    "num_experts_per_tok",
    "moe_intermediate_size",
    "num_shared_experts",
    "shared_expert_intermediate_size",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Resolved sizes of one text model; ``fields`` gives a family its own extra fields.

    ``kinds`` holds one word a layer (``full``, ``sliding``, ``chunked``, or a hybrid's own word of
    ``layer_types`` without its ``_attention``), ``moe`` whether each layer has routed experts.
    """

    model_type: str
    hidden_size: int
    num_hidden_layers: int
    vocab_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    v_head_dim: int
    intermediate_size: int
    max_position_embeddings: int
    dtype: str
    num_experts: int
    num_experts_per_tok: int
    moe_intermediate_size: int
    shared_expert_intermediate_size: int
    sliding_window: int
    attention_chunk_size: int
    kv_lora_rank: int
    q_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    kinds: tuple[str, ...]
    moe: tuple[bool, ...]
    fields: Fields = dataclasses.field(repr=False, compare=False)

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes-or-no field of the text config."""
        return self.fields.flag(name, default)

    def size(self, name: str, *, default: int | None = None, why: str = "", least: int = 1) -> int:
        """A whole number of the text config; see ``Fields.size``."""
        return self.fields.size(name, default=default, why=why, least=least)

    def get(self, name: str) -> Any:
        """Any field of the text config; see ``Fields.get``."""
        return self.fields.get(name)

    def tied(self, default: bool) -> bool:
        """Whether the output matrix is the embedding: outer field, inner field, else the family's way."""
        for part in (self.fields.outer, self.fields.text):
            if isinstance(part.get("tie_word_embeddings"), bool):
                return bool(part["tie_word_embeddings"])
        return default

    def replace(self, **changes: Any) -> Shape:
        """The same with other sizes, for a layer that differs."""
        return dataclasses.replace(self, **changes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What had to be assumed so far."""
        return tuple(self.fields.warnings)


def shape(config: Mapping[str, Any], *, name: str = "") -> Shape:
    """Every size that formulas read, from one config.json.

    Parameters
    ----------
    config : the parsed file, text only or with a nested text config [-]
    name : what messages call the model [-]

    Returns
    -------
    The resolved sizes, with ``warnings`` for each fall-back [-]

    Raises
    ------
    ValueError: a field that nothing sound can replace is missing, or a size is not a positive whole number.

    Examples
    --------
    >>> sizes = {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "n_positions": 1024}
    >>> shape({"model_type": "gpt2", "torch_dtype": "float32", **sizes}).intermediate_size
    3072

    Source
    ------
    transformers 5.23, configuration_<model_type>.py: attribute_map and __post_init__ of each class.
    """
    f = Fields(config, name=name)
    layers = f.size("num_hidden_layers", default=_listed_layers(f))
    if layers > MOST_LAYERS:
        raise ValueError(f"{f.name}: num_hidden_layers is {layers}; at most {MOST_LAYERS} make sense")
    width = f.size("hidden_size")
    heads = _attention(f, width) | _latent(f)
    experts = _experts(f, width, layers)
    window = f.size("sliding_window", default=0, least=0)
    limit = f.size("max_position_embeddings", default=2048, why="no limit is known")
    chunk = f.size("attention_chunk_size", default=0, least=0)
    return Shape(
        model_type=f.model_type,
        hidden_size=width,
        num_hidden_layers=layers,
        vocab_size=f.size("vocab_size"),
        max_position_embeddings=limit,
        dtype=_dtype(f),
        sliding_window=window,
        attention_chunk_size=chunk,
        kinds=kinds.attention_kinds(f, layers, window, chunk, limit),
        moe=kinds.expert_layers(f, layers, experts["num_experts"]),
        fields=f,
        **heads,
        **experts,
    )


def _listed_layers(f: Fields) -> int | None:
    """Number of layers where the file only lists what each of them is."""
    lists = (f.get(name) for name in ("layers_block_type", "hybrid_override_pattern", "layer_types"))
    return next((len(words) for words in lists if isinstance(words, list | str) and words), None)


def _attention(f: Fields, width: int) -> dict[str, int]:
    if f.model_type in NO_ATTENTION:  # Mamba-2's num_heads are not attention's
        return dict.fromkeys(("num_attention_heads", "num_key_value_heads", "head_dim", "v_head_dim"), 0)
    heads = f.size("num_attention_heads")
    rest = width % heads and f.get("kv_lora_rank") is None
    uneven = f"hidden_size {width} is not a multiple of {heads} heads" if rest else ""
    head_dim = f.size("head_dim", default=max(1, width // heads), why=uneven)
    return {
        "num_attention_heads": heads,
        "num_key_value_heads": _key_value_heads(f, heads),
        "head_dim": head_dim,
        "v_head_dim": f.size("v_head_dim", default=head_dim),
    }


def _key_value_heads(f: Fields, heads: int) -> int:
    if f.flag("multi_query_attention") or f.flag("new_decoder_architecture"):
        return f.size("num_key_value_heads")  # grouped: without the number there is nothing sound to take
    if f.model_type in ("falcon", "gpt_bigcode") or f.get("multi_query") is not None:
        if f.get("multi_query") is None:
            f.warn("multi_query", "true", f"transformers' default for {f.model_type}")
        return 1 if f.flag("multi_query", True) else heads
    known = f.model_type in MULTI_HEAD or f.get("kv_lora_rank") is not None
    return f.size("num_key_value_heads", default=heads, why="" if known else "as many as num_attention_heads")


def _latent(f: Fields) -> dict[str, int]:
    if f.get("kv_lora_rank") is None:
        return dict.fromkeys(("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim"), 0)
    nope, rope = f.size("qk_nope_head_dim"), f.size("qk_rope_head_dim", least=0)
    return {
        "kv_lora_rank": f.size("kv_lora_rank"),
        "q_lora_rank": f.size("q_lora_rank", default=0),
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rope,
        "head_dim": nope + rope,
        "v_head_dim": f.size("v_head_dim"),
    }


def _num_experts(f: Fields) -> int:
    """Routed experts; a file that speaks of experts and not of their number is not taken for a dense model."""
    sparse = f.model_type in SPARSE or "moe" in f.model_type or any(f.get(name) for name in EXPERT_SIZES)
    return f.size("num_experts", default=None if sparse else 0, least=0)


def _experts(f: Fields, width: int, layers: int) -> dict[str, int]:
    num = _num_experts(f)
    sparse = (
        num > 1 and all(kinds.expert_layers(f, layers, num)) and f.get("moe_intermediate_size") is not None
    )
    own = f.model_type in FOUR_TIMES | NO_ATTENTION or sparse  # with no dense layer its width is not needed
    ratio = f.size("expansion_ratio", default=2 if f.model_type in NO_ATTENTION else 4)
    dense = f.size(
        "intermediate_size", default=0 if sparse else ratio * width, why="" if own else "4 × hidden_size"
    )
    if num <= 1:
        names = ("num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size")
        return dict.fromkeys(("num_experts", *names), 0) | {"intermediate_size": dense}
    top = f.size("num_experts_per_tok")
    if top > num:
        raise ValueError(f"{f.name}: num_experts_per_tok is {top}; at most the {num} experts make sense")
    expert = f.size("moe_intermediate_size", default=dense)
    shared = expert * f.size("num_shared_experts", default=0, least=0)
    return {
        "intermediate_size": dense,
        "num_experts": num,
        "num_experts_per_tok": top,
        "moe_intermediate_size": expert,
        "shared_expert_intermediate_size": f.size("shared_expert_intermediate_size", default=shared, least=0),
    }


def own_sizes(s: Shape) -> dict[int, tuple[tuple[str, int], ...]]:
    """Sizes of single layers that differ from the model's, as transformers 5 writes them.

    Parameters
    ----------
    s : the model's sizes [-]

    Returns
    -------
    Pairs (name, size) for each layer that has any, from ``per_layer_config`` [-]
    """
    found = s.get("per_layer_config")
    out: dict[int, tuple[tuple[str, int], ...]] = {}
    for index, sizes in found.items() if isinstance(found, Mapping) else ():
        own = {
            name: whole(value, field=f"per_layer_config[{index}].{name}", name=s.fields.name)
            for name, value in sizes.items()
            if name in LAYER_SIZES
        }
        if "head_dim" in own and s.v_head_dim == s.head_dim:
            own.setdefault("v_head_dim", own["head_dim"])
        out[whole(int(index), field="per_layer_config", least=0)] = tuple(own.items())
    return out


def _dtype(f: Fields) -> str:
    for part in (f.outer, f.text):
        for key in ("dtype", "torch_dtype"):
            word = str(part.get(key) or "").removeprefix("torch.")
            if word in DTYPE_BITS:
                return word
    f.warn("torch_dtype", "bfloat16", "float32, float16 and bfloat16 are known")
    return "bfloat16"
