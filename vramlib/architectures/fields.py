"""One config.json, read field by field: under any spelling, checked, with notes of what was assumed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

TEXT_KEYS = ("text_config", "decoder", "generator", "llm_config", "language_config", "thinker_config")
# Other spellings of a field, tried in this order after the usual one.
ALIASES: dict[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd", "d_model", "dim"),
    "num_hidden_layers": ("n_layer", "num_layers", "n_layers"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "num_key_value_heads": (
        *("num_kv_heads", "n_head_kv", "multi_query_group_num", "num_query_groups", "attn_config.kv_n_heads"),
    ),
    "head_dim": ("attention_head_size", "kv_channels", "attention_head_dim"),
    "intermediate_size": (
        *("ffn_hidden_size", "n_inner", "ffn_dim", "d_ff", "ffn_config.ffn_hidden_size", "block_ff_dim"),
    ),
    "vocab_size": ("padded_vocab_size", "n_vocab"),
    "max_position_embeddings": (
        *("n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length", "model_max_length"),
    ),
    "num_experts": (
        *("n_routed_experts", "num_local_experts", "moe_num_experts", "ffn_config.moe_num_experts"),
    ),
    "num_experts_per_tok": (
        *("moe_top_k", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_k", "experts_per_token"),
        *("num_selected_experts", "ffn_config.moe_top_k"),
    ),
    "moe_intermediate_size": ("expert_ffn_hidden_size",),
    "num_shared_experts": ("n_shared_experts", "num_shared_expert", "moe_num_shared_experts"),
    "shared_expert_intermediate_size": (
        *("shared_intermediate_size", "moe_shared_expert_intermediate_size", "share_expert_dim"),
    ),
    "sliding_window": ("sliding_window_size", "attention_window_size"),
    "sliding_window_pattern": ("_sliding_window_pattern",),
    "first_k_dense_replace": ("moe_layer_start_index", "num_dense_layers"),
    "moe_layer_freq": ("expert_layer_period",),
    "decoder_sparse_step": ("interleave_moe_layer_step", "moe_layer_interval"),
}
LARGEST = 1 << 31  # no size of a real model comes near; a larger one is a damaged file

# What transformers leaves out of a nested text_config because it equals the class default.
# Source: transformers 5.23, configuration_<model_type>.py
_LLAMA = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 11008}
_LLAMA |= {"vocab_size": 32000, "max_position_embeddings": 2048, "num_key_value_heads": 32}
_GEMMA = {"hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 16}
_GEMMA |= {"head_dim": 256, "intermediate_size": 24576, "vocab_size": 256000, "max_position_embeddings": 8192}
_GEMMA2 = {"hidden_size": 2304, "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4}
_GEMMA2 |= {"head_dim": 256, "intermediate_size": 9216, "vocab_size": 256000, "max_position_embeddings": 8192}
_GEMMA3 = _GEMMA2 | {"vocab_size": 262208, "max_position_embeddings": 131072, "sliding_window": 4096}
_MISTRAL = _LLAMA | {"num_key_value_heads": 8, "intermediate_size": 14336, "max_position_embeddings": 131072}
NESTED_DEFAULTS: dict[str, dict[str, int]] = {
    "llama": _LLAMA,
    "mistral": _MISTRAL | {"sliding_window": 4096},
    "qwen2": _LLAMA | {"vocab_size": 151936, "intermediate_size": 22016, "max_position_embeddings": 32768},
    "gemma": _GEMMA,
    "gemma2": _GEMMA2 | {"sliding_window": 4096},
    "gemma3": _GEMMA3,
    "gemma3_text": _GEMMA3,
}


class Fields:
    """The fields of one config.json, under any of their names, with a list of what had to be assumed.

    Parameters
    ----------
    config : the parsed file [-]
    name : what messages call the model [-]
    """

    def __init__(self, config: Mapping[str, Any], *, name: str = "") -> None:
        if not isinstance(config, Mapping):
            raise ValueError(
                f"{name or 'config.json'}: an object with fields is needed, not {type(config).__name__}"
            )
        self.outer: Mapping[str, Any] = config
        self.text: Mapping[str, Any] = text_config(config)
        self.model_type = str(self.text.get("model_type") or config.get("model_type") or "")
        self.name = name or str(config.get("_name_or_path") or "") or self.model_type or "config.json"
        self.warnings: list[str] = []

    def find(self, name: str) -> tuple[str, Any]:
        """Spelling and value of a field under any of its names; ``("", None)`` when missing or null."""
        for spelling in (name, *ALIASES.get(name, ())):
            value: Any = self.text
            for step in spelling.split("."):
                value = value.get(step) if isinstance(value, Mapping) else None
            if value is not None:
                return spelling, value
        return "", None

    def get(self, name: str) -> Any:
        """Value of a field under any of its names, None when missing or null; ``a.b`` looks inside ``a``."""
        return self.find(name)[1]

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes-or-no field; anything else in its place is an error."""
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise ValueError(f"{self.name}: {name} is {value!r}; true or false is needed")
        return default if value is None else value

    def listing(self, name: str) -> list[Any]:
        """A list field, empty when missing or null; anything else in its place is an error."""
        value = self.get(name)
        if value is not None and not isinstance(value, list):
            raise ValueError(f"{self.name}: {name} is {value!r}; a list is needed")
        return value or []

    def size(self, name: str, *, default: int | None = None, why: str = "", least: int = 1) -> int:
        """A whole number under any of the field's names; of a list with one number a layer, the largest.

        Parameters
        ----------
        name : the usual spelling; others come from ``ALIASES`` [-]
        default : taken when missing or null; None makes that an error [-]
        why : reason of that default for the reader; empty where the family itself defines it (no warning) [-]
        least : smallest number that makes sense [-]

        Returns
        -------
        The number [-]

        Raises
        ------
        ValueError: missing with no sound default, or not a whole number from ``least`` to 2^31.
        """
        found, value = self.find(name)
        if found:
            numbers = value if isinstance(value, list) and value else [value]
            return max(whole(v, field=found, name=self.name, least=least) for v in numbers)
        nested = NESTED_DEFAULTS.get(self.model_type, {}) if self.text is not self.outer else {}
        if name in nested and name not in self.text:
            self.warn(name, nested[name], f"transformers leaves out its default for {self.model_type}")
            return nested[name]
        if default is None:
            other = f" (or {', '.join(ALIASES[name])})" if name in ALIASES else ""
            raise ValueError(f"{self.name}: {name}{other} is missing; look in the model's own config.json")
        if why:
            self.warn(name, default, why)
        return default

    def sizes(self, name: str, num: int, *, default: int, least: int = 1) -> tuple[int, ...]:
        """One whole number a layer, from a list of ``num`` or from one number for all."""
        value = self.get(name)
        if not isinstance(value, list):
            return (self.size(name, default=default, least=least),) * num
        if len(value) != num:
            raise ValueError(f"{self.name}: {name} has {len(value)} entries for {num} layers")
        return tuple(whole(v, field=name, name=self.name, least=least) for v in value)

    def warn(self, field: str, value: object, why: str) -> None:
        """Note that a field was missing, what was taken instead and why."""
        note = f"{field} is missing or null in config.json; {value} is used ({why})"
        if note not in self.warnings:
            self.warnings.append(note)


def whole(value: Any, *, field: str, name: str = "config.json", least: int = 1) -> int:
    """A checked whole number; text, fractions, infinities and absurd sizes are refused.

    Parameters
    ----------
    value : what the file holds [-]
    field, name : for the message: the field and the model [-]
    least : smallest number that makes sense [-]

    Returns
    -------
    The number [-]

    Raises
    ------
    ValueError: anything but a whole number from ``least`` to 2^31.

    Examples
    --------
    >>> whole(4096.0, field="hidden_size")
    4096
    >>> whole("4096", field="hidden_size")
    Traceback (most recent call last):
    ValueError: config.json: hidden_size is '4096'; a whole number from 1 to 2147483648 is needed
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value != int(value) or not least <= value <= LARGEST:
        raise ValueError(f"{name}: {field} is {value!r}; a whole number from {least} to {LARGEST} is needed")
    return int(value)


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the file that describes the text model; the file itself when it is text only.

    Parameters
    ----------
    config : the parsed file [-]

    Returns
    -------
    The inner or the whole object [-]

    Examples
    --------
    >>> text_config({"model_type": "gemma3", "text_config": {"hidden_size": 2560}})
    {'hidden_size': 2560}

    Source
    ------
    transformers 5.23, configuration_utils.py get_text_config; the other keys are remote-code habits.
    """
    for key in TEXT_KEYS:
        inner = config.get(key)
        if isinstance(inner, Mapping) and inner:
            return text_config(inner) if key == "thinker_config" else inner
    return config
