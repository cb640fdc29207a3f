"""Prefill and padding buffers: what exists for tokens that are not there, and workspaces kept for prefill.

Home of: batch padding (its cache, mask and transient), unused tails of KV blocks, padding of hybrid pages,
unused
llama.cpp cells; fused-MoE workspace, MLA chunked context, encoder cache, FlashInfer workspace.
"""

from __future__ import annotations

from typing import Any

from vramlib.components import activations, cuda_graphs, encoder, kv_cache, kv_cells, kv_pool
from vramlib.specs import ModelSpec, Part, Scenario, Term
from vramlib.units import MiB, ceil_div, maximum, minimum, round_up, scale

FLASHINFER_WORKSPACE = 394 * MiB
MLA_CONTEXT_LIMIT = 65_536


def block_tail_tokens(tokens: Any, block_size: Any) -> Any:
    """Slots of a sequence's last block that hold nothing.

    Formula: round_up(T, bs) − T

    Examples
    --------
    >>> block_tail_tokens(1025, 16)
    15
    """
    return round_up(tokens, block_size) - tokens


def padded_tokens(lengths: tuple[int, ...]) -> int:
    """Positions of a padded batch that hold no token.

    Formula: B · max(T_i) − Σ T_i

    Examples
    --------
    >>> padded_tokens((100, 900, 1000))
    1000

    Source
    ------
    transformers 5.23: every tensor of a padded batch has B · T_max rows.
    """
    return len(lengths) * max(lengths) - sum(lengths)


def mla_context_tokens(max_model_len: Any, max_num_seqs: Any, block_size: Any) -> Any:
    """Tokens of earlier context that MLA gathers at once during chunked prefill.

    Formula: min(max(8 · ml, 4 · R · bs), 65536)

    Examples
    --------
    >>> mla_context_tokens(163_840, 1024, 64)
    65536

    Source
    ------
    vLLM 0.33, vllm/model_executor/layers/attention/mla_attention.py determine_chunked_prefill_workspace_size.
    """
    return minimum(maximum(8 * max_model_len, 4 * max_num_seqs * block_size), MLA_CONTEXT_LIMIT)


def mla_up_projection_bytes(model: ModelSpec, context_tokens: Any, *, tp: int = 1, b: int = 2) -> Any:
    """Context expanded to full keys and values while MLA prefills a later chunk.

    Formula: tokens · n_q/tp · (d_nope + d_v) · b

    Examples
    --------
    >>> from vramlib import catalog
    >>> mla_up_projection_bytes(catalog.model("DeepSeek-V3"), 65_536) >> 30
    4
    """
    width = model.qk_nope_head_dim + model.v_head_dim
    return context_tokens * (model.num_attention_heads // tp) * width * b


def pool_bytes_held(s: Scenario, stage: int = 0) -> Any:
    """Bytes of the blocks that the workload really holds at its end, tails and padded layers included [byte]."""
    pool = kv_pool.of(s, stage)
    if pool is None:
        return 0
    blocks = sum(
        n * group.count * _steady_blocks(group, p + new) for group in pool.groups for n, p, new in s.sequences
    )
    return blocks * pool.bytes_per_block


def _steady_blocks(group: kv_pool.Group, tokens: Any) -> Any:
    if group.cache.is_state:
        return 1
    window = group.cache.window
    if not window:
        return ceil_div(tokens, group.block_size)
    straddle = minimum(maximum(tokens - window, 0), 1)
    return ceil_div(minimum(tokens, window), group.block_size) + straddle


def terms(s: Scenario, stage: int = 0) -> tuple[Term, ...]:
    """Addends by engine."""
    if s.engine == "llama.cpp":
        return (_unused_cells(s),)
    if s.engine == "transformers":
        return _padding_terms(s)
    return tuple(t for t in (_tail_term(s, stage), *_workspace_terms(s, stage)) if t)


def _tail_term(s: Scenario, stage: int) -> Term:
    held, used = pool_bytes_held(s, stage), kv_cache.size_bytes(s, stage)
    pool = kv_pool.of(s, stage)
    return Term(
        name="block tails and page padding",
        bytes=held - used,
        formula="blocks · bytes per block − KV cache",
        worked=f"{held:,} − {used:,} (block of {pool.block_size if pool else 0} tokens)"
        if isinstance(held, int)
        else "",
        source="vLLM 0.33, vllm/v1/core/kv_cache_planning.py",
    )


def _workspace_terms(s: Scenario, stage: int) -> list[Term]:
    m, tp, b, t = s.model, s.tensor_parallel_size, s.dtype_bytes, s.max_num_batched_tokens
    found = []
    if m.num_experts and s.quantization != "mxfp4":
        found.append(
            Term(
                name="fused-MoE workspace",
                bytes=kept_workspace_bytes(s),
                formula="b · T · k · (max(N/2, K) + max(N, K))",
                worked=f"{b} · {t} · {m.num_experts_per_tok}, "
                f"K = {m.hidden_size}, F = {m.moe_intermediate_size}, tp = {tp}",
                source="vLLM 0.33, vllm/v1/worker/workspace.py, fused_moe/experts/triton_moe.py",
            )
        )
    if m.kv_lora_rank and s.engine == "vllm":
        found += _mla_terms(s, stage)
    if m.towers and s.engine == "vllm":
        found.append(
            Term(
                name="encoder cache",
                bytes=encoder.cache_bytes(s),
                formula="max(T, tokens of the largest image) · d_model · b",
                worked=f"{encoder.budget_tokens(s)} · {m.hidden_size} · {b}",
                source="vLLM 0.33, vllm/v1/core/encoder_cache_manager.py",
                basis="modelled",
                low=0,
                high=2 * encoder.cache_bytes(s),
            )
        )
    if s.engine == "vllm" and cuda_graphs.uses_flashinfer(s):
        found.append(
            Term(
                name="FlashInfer workspace",
                bytes=FLASHINFER_WORKSPACE,
                formula="VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE",
                worked="394 MiB where FlashInfer is the attention back end",
                source="vLLM 0.33, vllm/envs.py",
                basis="modelled",
                low=0,
                high=2 * FLASHINFER_WORKSPACE,
            )
        )
    return found


def kept_workspace_bytes(s: Scenario) -> Any:
    """Workspace that a scenario's engine keeps between steps, one for all users: 0 in versions that free it [byte].

    Formula: max(fused experts, indexer of sparse attention)
    """
    if s.engine_spec.value("moe_workspace") != "kept":
        return 0
    tokens = minimum(s.max_num_batched_tokens, s.engine_spec.value("moe_chunk_tokens"))
    experts = activations.moe_workspace(s, tokens)
    return maximum(experts, indexer_workspace_bytes(s.model, s.max_model_len) if s.engine == "vllm" else 0)


def indexer_workspace_bytes(model: ModelSpec, max_model_len: Any) -> Any:
    """Keys that the indexer of sparse attention gathers while prompts are read.

    Formula: 40 · ml · (d_index + 4)

    Examples
    --------
    >>> from vramlib import catalog
    >>> indexer_workspace_bytes(catalog.model("DeepSeek-V3.2"), 163_840)
    865075200

    Source
    ------
    vLLM 0.20, vllm/v1/attention/backends/mla/indexer.py get_max_prefill_buffer_size.
    """
    width = max((c.indexer_dim for layer, _ in model.layer_counts for c in layer.caches), default=0)
    return 40 * max_model_len * (width + 4) if width else max_model_len * 0


def _mla_terms(s: Scenario, stage: int) -> list[Term]:
    m, tokens = s.model, mla_context_tokens(s.max_model_len, s.max_num_seqs, s.block_size)
    latent = m.kv_lora_rank + m.qk_rope_head_dim
    longest = maximum(*(p for _, p, _ in s.sequences))
    behind = minimum(maximum(longest - s.max_num_batched_tokens, 0), tokens)
    return [
        Term(
            name="MLA chunked context",
            bytes=tokens * latent * s.dtype_bytes,
            formula="min(max(8 · ml, 4 · R · bs), 65536) · (r_kv + d_rope) · b",
            worked=f"{tokens} · {latent} · {s.dtype_bytes}",
            source="vLLM 0.33, vllm/model_executor/layers/attention/mla_attention.py",
        ),
        Term(
            name="MLA context expanded",
            bytes=mla_up_projection_bytes(m, behind, tp=s.tensor_parallel_size, b=s.dtype_bytes),
            formula="context behind the first chunk · n_q/tp · (d_nope + d_v) · b",
            worked=f"{behind} tokens",
            source="vLLM 0.33, vllm/model_executor/layers/attention/mla_attention.py",
        ),
    ]


def _padding_terms(s: Scenario) -> tuple[Term, ...]:
    if not isinstance(s.prompt_tokens, tuple):
        return (
            Term(
                name="no padding",
                bytes=0,
                formula="B · T_max − Σ T_i = 0",
                worked="all prompts have one length",
            ),
        )
    prompts = s.prompt_tokens
    extra, longest, count = padded_tokens(prompts), max(prompts), len(prompts)
    b, m = s.dtype_bytes, s.model
    row = kv_cache.bytes_per_token(m, dtype_bits=8 * b)
    masks = count * longest * longest if extra else 0
    how = s.attn_implementation
    full = activations.transformers_bytes(m, count * longest, longest, count, b=b, attn_implementation=how)
    real = activations.transformers_bytes(m, sum(prompts), longest, count, b=b, attn_implementation=how)
    cache = Term(
        name="cache of padding tokens",
        bytes=extra * row,
        formula="(B · T_max − Σ T_i) · bytes per token",
        worked=f"({count} · {longest} − {sum(prompts)}) · {row}",
        source="transformers 5.23: padding tokens are cached like any other",
    )
    mask = Term(
        name="attention mask",
        bytes=masks,
        formula="B · T_max²",
        worked=f"{count} · {longest}²",
        source=activations.HF,
    )
    transient = Term(
        name="activations of padding tokens",
        bytes=full - real,
        formula="activations(B · T_max) − activations(Σ T_i)",
        worked=f"{full:,} − {real:,}",
        source=activations.HF,
        basis="modelled",
        low=scale(full - real, 0.6),
        high=scale(full - real, 1.8),
    )
    return cache, mask, transient


def _unused_cells(s: Scenario) -> Term:
    total, used = ceil_div(kv_cells.scenario_bytes(s), s.world_size), kv_cache.size_bytes(s)
    return Term(
        name="KV cells not in use",
        bytes=total - used,
        formula="KV buffer − cells in use",
        worked=f"{total:,} − {used:,}" if isinstance(total, int) else "",
        source="llama.cpp, src/llama-kv-cache.cpp: all cells of n_ctx are allocated at start",
    )


def size_bytes(s: Scenario, stage: int = 0) -> Any:
    """Bytes of this part on one rank [byte]."""
    return sum(t.bytes for t in terms(s, stage))


def part(s: Scenario, stage: int = 0) -> Part:
    """The part with its formulas, numbers and sources."""
    return Part.of("prefill_padding", *terms(s, stage))
