"""From a config.json to an inventory: which tensors a model stores, and what each of its layers caches.

All families share one decoder; ``TRAITS`` says, for each model_type, what it stores that Llama does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib.architectures import decoder, towers
from vramlib.architectures.config import Shape, shape
from vramlib.architectures.decoder import Parts
from vramlib.architectures.families_dense import DENSE, LLAMA
from vramlib.architectures.families_gated import GATED
from vramlib.architectures.families_gemma import GEMMAS
from vramlib.architectures.families_moe import MOE
from vramlib.architectures.families_sparse import SPARSE
from vramlib.architectures.families_vary import VARY
from vramlib.architectures.hybrid import HYBRIDS
from vramlib.specs import ModelSpec

TRAITS = {**DENSE, **MOE, **GEMMAS, **SPARSE, **VARY, **HYBRIDS, **GATED}
COPIED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "v_head_dim",
          "intermediate_size", "vocab_size", "max_position_embeddings", "dtype", "moe_intermediate_size",
          "shared_expert_intermediate_size", "kv_lora_rank", "q_lora_rank", "qk_nope_head_dim",
          "qk_rope_head_dim")  # fmt: skip


def build(config: Mapping[str, Any], *, name: str = "") -> ModelSpec:
    """A model's inventory from its config.json, exact to the last parameter for every known family.

    Parameters
    ----------
    config : the parsed file [-]
    name : what to call the model; the file's own words when empty [-]

    Returns
    -------
    Tensors, caches and widths, with ``warnings`` for all that had to be assumed [-]

    Raises
    ------
    ValueError: a field that nothing sound can replace is missing, or a size is not a positive whole number.

    Examples
    --------
    >>> sizes = {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "n_positions": 1024}
    >>> build({"model_type": "gpt2", "torch_dtype": "float32", **sizes}).params_total
    124439808

    Source
    ------
    transformers 5.23, models/<model_type>/modeling_<model_type>.py, counted on the meta device.
    """
    s = shape(config, name=name)
    parts = text_parts(s)
    tower_tensors, notes = towers.tensors(config)
    architectures = config.get("architectures")
    return ModelSpec(
        name=s.fields.name,
        model_type=str(config.get("model_type") or s.model_type),
        architecture=str(architectures[0]) if isinstance(architectures, list) and architectures else "",
        tie_word_embeddings=parts.tied,
        num_experts=s.num_experts if any(s.moe) else 0,
        num_experts_per_tok=s.num_experts_per_tok if any(s.moe) else 0,
        sliding_window=s.sliding_window if "sliding" in s.kinds else 0,
        final_logit_softcapping=bool(s.get("final_logit_softcapping")),
        gated_mlp=parts.gated_mlp,
        fused_gate_up=parts.fused_gate_up,
        num_rope_pairs=parts.num_rope_pairs,
        rope_tables=parts.rope_tables,
        embedding=parts.embedding,
        layers=parts.layers,
        head=parts.head,
        towers=tower_tensors,
        warnings=(*s.warnings, *notes),
        config=config,
        **{field: getattr(s, field) for field in COPIED},
    )


def text_parts(s: Shape) -> Parts:
    """The text model's tensors, by its family, or as a Llama-like when the family is not known.

    Parameters
    ----------
    s : the model's sizes [-]

    Returns
    -------
    Embedding, layers, head [-]
    """
    names = (s.model_type, str(s.fields.outer.get("model_type")))
    known = next((t for t in names if t in TRAITS), "")
    if known:
        return decoder.decoder(s, TRAITS[known])
    s.fields.warnings.append(
        f"model_type {s.model_type!r} is not known; counted as llama-like: grouped-query attention, "
        "gated MLP, two norms a layer, no biases unless the file says so"
    )
    return decoder.decoder(s, LLAMA)
