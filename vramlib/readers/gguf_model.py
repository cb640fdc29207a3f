"""A GGUF file into a ``ModelSpec``: sizes from its keys, widths and caches from its blocks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from vramlib import catalog
from vramlib.readers.gguf import GgufFile
from vramlib.readers.gguf_layers import caches, has_unknown_window, mlp_width
from vramlib.readers.gguf_tensors import end, tensor
from vramlib.readers.safetensors import Stored
from vramlib.specs import Layer, ModelSpec, Tensor
from vramlib.units import show

BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
MOST_LAYERS = 10_000
NO_LANGUAGE_MODEL = ("clip", "wavtokenizer-dec", "t5encoder", "bert", "nomic-bert", "jina-bert-v2")


class Keys:
    """Metadata of one file under its architecture's prefix, with every number checked."""

    def __init__(self, file: GgufFile, source: str) -> None:
        self.source, self.all = source, file.metadata
        arch = file.metadata.get("general.architecture")
        if not isinstance(arch, str) or not arch:
            raise ValueError(
                f"{source}: general.architecture is missing; the metadata of a language model is needed"
            )
        if arch in NO_LANGUAGE_MODEL:
            raise ValueError(f"{source}: holds a {arch} model; give the .gguf of the language model itself")
        self.arch = arch

    def get(self, key: str) -> Any:
        """Value of ``{arch}.key``, or None."""
        return self.all.get(f"{self.arch}.{key}")

    def number(self, key: str, default: int | None = None) -> int:
        """A whole number; of a list by layer its largest.

        Raises
        ------
        ValueError : missing without a default, or not a sound size
        """
        value = self.get(key)
        if isinstance(value, list):
            value = max((v for v in value if isinstance(v, int)), default=None)
        if value is None:
            if default is None:
                raise ValueError(
                    f"{self.source}: {self.arch}.{key} is missing; convert the model to GGUF again"
                )
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 40:
            raise ValueError(f"{self.source}: {self.arch}.{key} is {value!r}; a whole number is needed")
        return value

    def at(self, key: str, layer: int, default: int) -> int:
        """The number of one layer, where the file has a list by layer."""
        value = self.get(key)
        if isinstance(value, list) and layer < len(value) and isinstance(value[layer], int):
            return max(0, int(value[layer]))
        return self.number(key, default)


def model(file: GgufFile, *, source: str = "") -> ModelSpec:
    """The model in a GGUF file.

    Parameters
    ----------
    file : what its headers say [-]
    source : where it was read, for messages [-]

    Returns
    -------
    Inventory with each tensor's own type and bytes, and the caches that llama.cpp keeps [-]

    Raises
    ------
    ValueError : a key that nothing sound can replace is missing, or the file holds no language model

    Source
    ------
    ggml, docs/gguf.md: the standard keys; gguf, constants.py: names of keys, tensors and file types.
    """
    keys = Keys(file, source)
    blocks, ends = _by_block(file.tensors)
    count = keys.number("block_count")
    if not 0 < count <= MOST_LAYERS:
        raise ValueError(f"{source}: block_count is {count}; 1 to {MOST_LAYERS} make sense")
    extra = keys.number("nextn_predict_layers", 0)
    num_layers = max(1, count - extra)
    layers = tuple(_layer(keys, i, blocks.get(i, {})) for i in range(num_layers))
    embedding, head, towers = _ends(ends)
    beyond = sum(t.nbytes for i, b in blocks.items() if i >= num_layers for t in b.values())
    notes = [*file.warnings, *_notes(keys, layers, beyond)]
    return ModelSpec(
        name=str(keys.all.get("general.name") or keys.arch),
        model_type=keys.arch,
        architecture=keys.arch,
        dtype="bfloat16" if _types(file)["BF16"] > _types(file)["F16"] else "float16",
        num_hidden_layers=num_layers,
        vocab_size=_vocabulary(keys, file.tensors),
        tie_word_embeddings="output.weight" not in file.tensors,
        embedding=embedding,
        layers=layers,
        head=head,
        towers=towers,
        gguf_file_type=_file_type(keys, file),
        exact_bytes=not file.warnings,
        warnings=tuple(notes),
        source=source,
        config={k: v for k, v in keys.all.items() if not k.startswith("tokenizer.")},
        **_sizes(keys, blocks.get(0, {})),
    )


def _by_block(tensors: Mapping[str, Stored]) -> tuple[dict[int, dict[str, Stored]], dict[str, Stored]]:
    blocks: dict[int, dict[str, Stored]] = {}
    ends: dict[str, Stored] = {}
    for name, stored in tensors.items():
        match = BLOCK.fullmatch(name)
        if match and len(match[1]) < 6:
            blocks.setdefault(int(match[1]), {})[match[2]] = stored
        else:
            ends[name] = stored
    return blocks, ends


def _layer(keys: Keys, index: int, block: Mapping[str, Stored]) -> Layer:
    kv_heads = keys.at("attention.head_count_kv", index, keys.number("attention.head_count", 0))
    return Layer(
        tensors=tuple(tensor(name, stored, kv_heads) for name, stored in sorted(block.items())),
        caches=caches(keys, index, block),
        mlp_width=mlp_width(keys, index, block),
        num_experts=keys.number("expert_count", 0) if any("_exps" in n for n in block) else 0,
    )


def _ends(ends: Mapping[str, Stored]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
    made = [end(name, stored) for name, stored in sorted(ends.items())]
    embedding = tuple(t for t in made if t.role == "embedding")
    towers = tuple(t for t in made if t.role in ("vision", "audio", "projector"))
    return embedding, tuple(t for t in made if t not in embedding and t not in towers), towers


def _sizes(keys: Keys, block: Mapping[str, Stored]) -> dict[str, Any]:
    """The widths that activation formulas read."""
    hidden, heads = keys.number("embedding_length"), keys.number("attention.head_count", 0)
    head_dim = keys.number("attention.key_length", hidden // heads if heads else 0)
    latent = keys.number("attention.kv_lora_rank", 0)
    rope = keys.number("rope.dimension_count", head_dim)
    experts = keys.number("expert_count", 0)
    width = keys.number("expert_feed_forward_length", keys.number("feed_forward_length", 0)) if experts else 0
    positions = keys.number("context_length", 0)
    return {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": keys.number("attention.head_count_kv", heads),
        "head_dim": keys.number("attention.key_length_mla", head_dim) if latent else head_dim,
        "v_head_dim": keys.number(
            "attention.value_length_mla", keys.number("attention.value_length", head_dim)
        ),
        "intermediate_size": keys.number("feed_forward_length", 0),
        "max_position_embeddings": positions,
        "num_experts": experts,
        "num_experts_per_tok": keys.number("expert_used_count", 0),
        "moe_intermediate_size": width,
        "shared_expert_intermediate_size": _shared_width(keys, width),
        "kv_lora_rank": latent,
        "q_lora_rank": keys.number("attention.q_lora_rank", 0),
        "qk_rope_head_dim": rope if latent else 0,
        "qk_nope_head_dim": max(0, keys.number("attention.key_length_mla", head_dim) - rope) if latent else 0,
        "sliding_window": keys.number("attention.sliding_window", 0),
        "final_logit_softcapping": bool(keys.get("final_logit_softcapping")),
        "gated_mlp": not block
        or any(n.startswith(("ffn_gate.", "ffn_gate_exps", "ffn_gate_up")) for n in block),
        "rope_tables": ((positions, rope),) if heads and rope and positions else (),
    }


def _shared_width(keys: Keys, width: int) -> int:
    shared = keys.number("expert_shared_feed_forward_length", 0)
    return shared or keys.number("expert_shared_count", 0) * width


def _vocabulary(keys: Keys, tensors: Mapping[str, Stored]) -> int:
    """Rows of the embedding; the key or the list of tokens where a part with it is not there."""
    if (stored := tensors.get("token_embd.weight")) and len(stored.shape) == 2:
        return stored.shape[0]
    listed = keys.all.get("tokenizer.ggml.tokens")
    found = keys.number("vocab_size", listed if isinstance(listed, int) else 0)
    if not found:
        raise ValueError(f"{keys.source}: neither token_embd.weight nor {keys.arch}.vocab_size is in it")
    return found


def _types(file: GgufFile) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for stored in file.tensors.values():
        sizes[stored.dtype] += stored.nbytes
    return sizes


def _file_type(keys: Keys, file: GgufFile) -> str:
    """``Q4_K_M`` as the file names it; else the mix named after the type that most bytes are in."""
    from gguf import LlamaFileType

    number = keys.all.get("general.file_type")
    known = {int(t): t.name for t in LlamaFileType}
    if isinstance(number, int) and number in known and number != LlamaFileType.GUESSED:
        return known[number].removeprefix("MOSTLY_").removeprefix("ALL_")
    most = _types(file).most_common(1)
    mixes = {r["main_type"]: r["name"] for r in catalog.table("gguf_file_types")}
    return mixes.get(most[0][0], most[0][0]) if most else "F16"


def _notes(keys: Keys, layers: tuple[Layer, ...], beyond: int) -> list[str]:
    notes = []
    if beyond:
        notes.append(f"{show(beyond)} of layers that predict further tokens (MTP) are not counted")
    empty = sum(1 for layer in layers if not layer.tensors)
    if empty:
        notes.append(f"{empty} of {len(layers)} layers have no tensors in the files found")
    if keys.get("context_length") is None:
        notes.append(f"{keys.arch}.context_length is missing; the model's longest sequence is not known")
    if has_unknown_window(keys):
        notes.append(
            f"{keys.arch}.attention.sliding_window is {keys.number('attention.sliding_window')}, but which layers "
            "slide is not known; all count as seeing every token"
        )
    if keys.arch.startswith(("rwkv", "arwkv")):
        notes.append(f"the state that {keys.arch} keeps per sequence is not modelled")
    return notes
