"""What a serving engine adds to a file's tensors: rope tables, absorbed MLA copies, a drafter, adapters' slots."""

from __future__ import annotations

import functools

from vramlib.components.stored_weights import rank, rank_shape, stage_layers, tensor_bytes
from vramlib.specs import DTYPE_BITS, ModelSpec, Scenario, Term
from vramlib.units import show_count


def terms(s: Scenario, stage: int = 0) -> tuple[Term, ...]:
    """Addends beside a file's tensors, of those that the model and the launch ask for.

    Parameters
    ----------
    s : a scenario of a serving engine [-]
    stage : pipeline stage [-]

    Returns
    -------
    At least the rope tables [-]
    """
    found = [_rope_term(s)]
    if s.model.kv_lora_rank:
        found.append(_absorbed_term(s, stage))
    if s.drafter is not None and stage == s.pipeline_parallel_size - 1:
        found.append(_drafter_term(s, s.drafter))
    if s.enable_lora:
        found.append(_lora_term(s, stage))
    return tuple(found)


def rope_bytes(model: ModelSpec, *, dtype_bits: int = 16) -> int:
    """Cosine and sine tables that vLLM and SGLang keep for every position a model allows.

    Formula: Σ positions · rotary_dim · b / 8 over distinct rope settings

    Examples
    --------
    >>> from vramlib import catalog
    >>> rope_bytes(catalog.model("Llama-3.1-8B")) >> 20
    32

    Source
    ------
    vLLM 0.33, vllm/model_executor/layers/rotary_embedding/base.py _compute_cos_sin_cache.
    """
    return sum(rows * dim * dtype_bits // 8 for rows, dim in model.rope_tables)


def absorbed_mla_bytes(
    model: ModelSpec, *, tp: int = 1, num_layers: int | None = None, dtype_bits: int = 16
) -> int:
    """Copies of the up-projection that MLA keeps beside ``kv_b_proj`` so that decoding works on the latent.

    Formula: L · n_q / tp · (d_nope + d_v) · r_kv · b / 8

    Source
    ------
    vLLM 0.33, vllm/model_executor/layers/attention/mla_attention.py process_weights_after_loading.
    """
    layers = model.num_hidden_layers if num_layers is None else num_layers
    width = model.qk_nope_head_dim + model.v_head_dim
    return layers * (model.num_attention_heads // tp) * width * model.kv_lora_rank * dtype_bits // 8


def _rope_term(s: Scenario) -> Term:
    bits = DTYPE_BITS[s.dtype]
    return Term(
        name="rope tables",
        bytes=rope_bytes(s.model, dtype_bits=bits),
        formula="positions · rotary_dim · b",
        worked=" + ".join(f"{rows:,} · {dim} · {bits // 8}" for rows, dim in s.model.rope_tables),
        source="vLLM 0.33, vllm/model_executor/layers/rotary_embedding/base.py",
    )


def _absorbed_term(s: Scenario, stage: int) -> Term:
    m, tp, bits = s.model, s.tensor_parallel_size, DTYPE_BITS[s.dtype]
    layers = sum(n for _, n in stage_layers(m, s.pipeline_parallel_size, stage))
    return Term(
        name="absorbed MLA copies",
        bytes=absorbed_mla_bytes(m, tp=tp, num_layers=layers, dtype_bits=bits),
        formula="L · n_q/tp · (d_nope + d_v) · r_kv · b",
        worked=f"{layers} · {m.num_attention_heads}/{tp} · ({m.qk_nope_head_dim} + {m.v_head_dim})"
        f" · {m.kv_lora_rank} · {bits // 8}",
        source="vLLM 0.33, vllm/model_executor/layers/attention/mla_attention.py",
    )


def drafter_bytes(s: Scenario) -> int:
    """Weights of the drafter on one rank; a model's own prediction layers are compressed as their format says [byte].

    Formula: Σ out · in · b_w / 8 over the drafter's tensors
    """
    if s.drafter is None:
        return 0
    quant = s.quant if s.drafter.name.startswith(s.model.name) else s.drafter.quantization
    if quant is not None and "mtp" in drafter_words(s):
        quant = None
    plain = {k: v for k, v in rank(s).items() if k not in ("quant", "pp", "stage")}
    own = tensor_bytes(s.drafter, quant=quant, **plain)
    return own + absorbed_mla_bytes(
        s.drafter, tp=s.tensor_parallel_size, dtype_bits=DTYPE_BITS[s.dtype]
    ) * bool(s.drafter.kv_lora_rank)


def drafter_words(s: Scenario) -> tuple[str, ...]:
    """What the config calls its prediction layers; layers called mtp stay in 16 bit in compressed files."""
    text = s.model.config.get("text_config")
    text = text if isinstance(text, dict) else {}
    return tuple(name.split("_")[0] for name in (*s.model.config, *text) if name.startswith("mtp_"))


def _drafter_term(s: Scenario, drafter: ModelSpec) -> Term:
    return Term(
        name="drafter",
        bytes=drafter_bytes(s),
        formula="Σ out · in · b_w / 8",
        worked=f"{drafter.name}: {show_count(drafter.params_total)} parameters",
        source="vLLM 0.25, vllm/model_executor/models/qwen3_5_mtp.py, deepseek_mtp.py; what is shared: logs",
        basis="modelled",
    )


@functools.lru_cache(1024)
def lora_bytes(
    model: ModelSpec,
    *,
    max_loras: int,
    max_lora_rank: int,
    tp: int = 1,
    pp: int = 1,
    stage: int = 0,
    bits: int = 16,
) -> int:
    """Slots that an engine keeps for adapters: two thin matrices beside every linear layer, for each adapter.

    Formula: max_loras · r · Σ (in + out / tp) · b / 8;  row-parallel layers: (in / tp + out)

    Parameters
    ----------
    model : the layers that adapters may change: all but experts and routers [-]
    max_loras, max_lora_rank : adapters in one batch, and their largest rank r [-]
    tp, pp, stage : parallel degrees and this stage [-]
    bits : width of an adapter's number [bit]

    Returns
    -------
    Bytes of all slots on one rank [byte]

    Examples
    --------
    >>> from vramlib import catalog
    >>> lora_bytes(catalog.model("Llama-3.1-8B"), max_loras=4, max_lora_rank=16) >> 20
    320

    Source
    ------
    vLLM 0.19, create_lora_weights of vllm/lora/layers/base_linear.py and column_parallel_linear.py.
    """
    total = 0
    for layer, n in stage_layers(model, pp, stage):
        for t in layer.tensors:
            if t.linear and len(t.shape) == 2 and t.role in ("attention", "mlp", "shared_expert"):
                total += n * t.count * sum(rank_shape(t, tp=tp))
    return max_loras * max_lora_rank * total * bits // 8


def _lora_term(s: Scenario, stage: int) -> Term:
    bits = DTYPE_BITS[s.dtype]
    slots = lora_bytes(
        s.model,
        max_loras=s.max_loras,
        max_lora_rank=s.max_lora_rank,
        tp=s.tensor_parallel_size,
        pp=s.pipeline_parallel_size,
        stage=stage,
        bits=bits,
    )
    return Term(
        name="LoRA slots",
        bytes=slots,
        formula="max_loras · r · Σ (in + out) · b",
        worked=f"{s.max_loras} · {s.max_lora_rank} · … · {bits // 8} = {slots:,} B",
        source="vLLM 0.19, vllm/lora/layers/base_linear.py and column_parallel_linear.py create_lora_weights",
    )
