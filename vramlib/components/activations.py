"""Activation memory: the largest set of tensors alive at once in one forward pass, logits and sampler included.

Depth does not matter: without gradients every layer reuses the buffers of the one before. Width, tokens,
vocabulary and
the attention implementation do. What padding adds is in ``prefill_padding``; workspaces kept for prefill
are there too.
"""

from __future__ import annotations

import functools
from typing import Any

from vramlib.components import compute_buffer
from vramlib.specs import ModelSpec, Part, Scenario, Term
from vramlib.units import ceil_div, maximum, minimum, scale

HF = "measured on transformers 5.23 with a live-storage count on fake tensors"
# Formats whose kernels quantize the input of each linear layer to 8 bit: one start-up shows the copy, 2.18 GiB of run
# llmd_w8a8-mistral-small-24b on one card against 2.03 of the plain model.
ACTIVATION_FORMATS = ("fp8", "fp8-channel", "fp8-block", "w8a8")
VLLM = "vLLM 0.33, vllm/v1/worker/gpu_model_runner.py profile_run and _dummy_sampler_run"


def mlp_bytes(model: ModelSpec, tokens: Any, *, b: int = 2) -> Any:
    """Live set at the widest point of one MLP in transformers: product, gate and up, residual streams, rotary pair.

    Formula: N · (b · (c · d_ff + 4 · d_model + 2 · d_head · n_rope) + 8),  c = 3, 4 where gate and up are
    stored fused

    Parameters
    ----------
    model : widths [-]
    tokens : N, all tokens of the batch in this pass [token]
    b : bytes of one activation [byte]

    Returns
    -------
    Peak of the MLP [byte]

    Examples
    --------
    >>> from vramlib import catalog
    >>> mlp_bytes(catalog.model("Llama-3.1-8B"), 2048)
    244334592

    Source
    ------
    transformers 5.23, modeling_llama.py LlamaMLP.forward; counted on fake tensors, zero difference at
    512-8192 tokens.
    """
    c = 4 if model.fused_gate_up else 3 if model.gated_mlp else 5.5
    rope = 2 * model.head_dim * model.num_rope_pairs if model.rope_tables else 0
    return scale(tokens, b * (c * mlp_width(model) + 4 * model.hidden_size + rope) + 8)


def eager_bytes(model: ModelSpec, tokens: Any, kv_tokens: Any, *, b: int = 2) -> Any:
    """Live set of eager attention in transformers: the score matrix thrice, expanded keys and values, mask row.

    Formula: N · (s · n_q · T_kv + b · (3 · d_model + 3 · n_q · d_head + T_kv + 2 · d_head) + 8),  s = 2b + 6

    Examples
    --------
    >>> from vramlib import catalog
    >>> eager_bytes(catalog.model("Llama-3.1-8B"), 2048, 2048)
    1452294144

    Source
    ------
    transformers 5.23, eager_attention_forward; counted on fake tensors: scores b, fp32 copy 4, fp32
    softmax 4.
    """
    heads = model.num_attention_heads
    scores = (b + 8) * heads * kv_tokens
    rows = b * (3 * model.hidden_size + 3 * heads * model.head_dim + kv_tokens + 2 * model.head_dim)
    return tokens * (scores + rows + 8)


def sdpa_bytes(model: ModelSpec, tokens: Any, *, b: int = 2) -> Any:
    """Live set of fused attention: queries, keys, values, output and the log-sum-exp of every head.

    Formula: N · (b · (3 · d_model + 2 · n_q · d_head + 2 · n_kv · d_head) + 4 · n_q)
    """
    heads = 2 * (model.num_attention_heads + model.num_key_value_heads) * model.head_dim
    return tokens * (b * (3 * model.hidden_size + heads) + 4 * model.num_attention_heads)


def logits_bytes(model: ModelSpec, rows: Any, tokens: Any, *, b: int = 2) -> Any:
    """Logits of the rows that are asked for, beside the last hidden states.

    Formula: rows · b · V + N · b · d_model

    Examples
    --------
    >>> from vramlib import catalog
    >>> logits_bytes(catalog.model("Llama-3.1-8B"), 2048, 2048)
    542113792
    """
    return rows * b * model.vocab_size + tokens * b * model.hidden_size


def transformers_bytes(
    model: ModelSpec, tokens: Any, kv_tokens: Any, rows: Any, *, b: int = 2, attn_implementation: str = "sdpa"
) -> Any:
    """Peak of one forward of transformers: the largest of MLP, attention and logits.

    Formula: max(MLP, attention, logits)

    Parameters
    ----------
    model : widths [-]
    tokens, kv_tokens : tokens in this pass, and tokens each of them attends to [token]
    rows : positions whose logits are computed: one a sequence in generate() [token]
    b : bytes of one activation [byte]
    attn_implementation : sdpa, flash_attention_2 or eager [-]

    Returns
    -------
    Peak minus weights and cache [byte]

    Examples
    --------
    >>> from vramlib import catalog
    >>> transformers_bytes(catalog.model("Llama-3.1-8B"), 8192, 8192, 1)
    977338368
    """
    attention = sdpa_bytes(model, tokens, b=b)
    if attn_implementation == "eager":
        attention = eager_bytes(model, tokens, kv_tokens, b=b)
    return maximum(mlp_bytes(model, tokens, b=b), attention, logits_bytes(model, rows, tokens, b=b))


@functools.lru_cache(1024)
def mlp_width(model: ModelSpec) -> int:
    """Width of the widest MLP that all tokens pass through: dense layers, else the shared experts, else 0 [element].

    Examples
    --------
    >>> from vramlib import catalog
    >>> mlp_width(catalog.model("Llama-3.1-8B"))
    14336
    """
    if not model.num_experts or any(
        layer.num_experts == 0 and layer.mlp_width for layer, _ in model.layer_counts
    ):
        return max([layer.mlp_width for layer, _ in model.layer_counts if not layer.num_experts], default=0)
    return model.shared_expert_intermediate_size


def forward_bytes(model: ModelSpec, tokens: Any, *, tp: int = 1, b: int = 2, x: float = 4.25) -> Any:
    """Live set of one fused layer of a serving engine.

    Formula: T · b · (3 · d_ff / tp + x · d_model)

    Parameters
    ----------
    model : widths [-]
    tokens : T, tokens in one forward [token]
    tp : tensor_parallel_size; only the MLP's width is cut [-]
    b : bytes of one activation [byte]
    x : forward_hidden_factor of data/engines.json [-]

    Returns
    -------
    Peak inside the layers [byte]

    Examples
    --------
    >>> from vramlib import catalog
    >>> forward_bytes(catalog.model("Llama-3.1-8B"), 8192)
    989855744
    """
    return scale(tokens, b * (3 * mlp_width(model) / tp + x * model.hidden_size))


def sampler_bytes(model: ModelSpec, tokens: Any, rows: Any, *, b: int = 2, c: float = 14.8) -> Any:
    """Live set while tokens are sampled: hidden states of the whole step, and the logits in all their copies.

    Formula: T · b · d_model + R · b · d_model + min(R, T) · V · c

    Parameters
    ----------
    tokens, rows : tokens of the step, and sequences that sample [token]
    b, c : bytes of one activation; bytes per logit, sampler_bytes_per_logit of data/engines.json [byte]

    Returns
    -------
    Peak in the sampler; the vocabulary is whole on every rank [byte]

    Examples
    --------
    >>> from vramlib import catalog
    >>> sampler_bytes(catalog.model("Llama-3.1-8B"), 8192, 1024)
    2019242803
    """
    hidden = (tokens + minimum(rows, tokens)) * b * model.hidden_size
    return hidden + scale(minimum(rows, tokens) * model.vocab_size, c)


def constant(s: Scenario, key: str, end: str = "value") -> float:
    """A constant of the scenario's engine, or the low or high end of its interval; some differ with several ranks."""
    row = s.engine_spec.constants[key]
    value = row.get(end, row["value"])
    if isinstance(value, dict):
        value = value["1" if s.tensor_parallel_size == 1 else "2"]
    return float(value)


def step_forward_bytes(s: Scenario, tokens: Any, *, end: str = "value") -> Any:
    """Live set inside the layers for one step of a serving engine in this scenario [byte].

    Formula: T · (b · (3 · d_ff / tp + x · d_model) + d_ff / tp where activations are quantized);
    experts whose workspace is not kept: T · b · x · d_model + workspace
    """
    x, tp, b = constant(s, "forward_hidden_factor", end), s.tensor_parallel_size, s.dtype_bytes
    dense = forward_bytes(s.model, tokens, tp=tp, b=b, x=x)
    if quantizes_activations(s):
        dense = dense + tokens * ceil_div(mlp_width(s.model), tp)
    if not s.model.num_experts or s.engine_spec.value("moe_workspace") == "kept":
        return dense
    chunk = minimum(tokens, s.engine_spec.value("moe_chunk_tokens"))
    experts = scale(tokens, b * x * s.model.hidden_size) + moe_workspace(s, chunk)
    return maximum(dense, experts)


def quantizes_activations(s: Scenario) -> bool:
    """Whether the linear layers multiply 8-bit activations, so that a quantized copy of the input is alive."""
    return s.quantization in ACTIVATION_FORMATS and s.quant is not None


def moe_workspace_bytes(model: ModelSpec, tokens: Any, *, tp: int = 1, ep: int = 1, b: int = 2) -> Any:
    """Workspace of fused experts for one step.

    Formula: b · T · k · (max(N/2, K) + max(N, K)),  K = d_model, N = 2 · d_expert / tp (whole experts: 2 ·
    d_expert)

    Parameters
    ----------
    model : experts and widths [-]
    tokens : T, tokens in one forward [token]
    tp, ep : ranks that cut each expert, and ranks that share whole experts [-]
    b : bytes of one activation [byte]

    Returns
    -------
    Workspace on one rank [byte]

    Examples
    --------
    >>> from vramlib import catalog
    >>> round(moe_workspace_bytes(catalog.model("Qwen3-30B-A3B"), 8192) / 2**30, 2)
    0.5

    Source
    ------
    vLLM 0.33, vllm/model_executor/layers/fused_moe/experts/triton_moe.py workspace_shapes.
    """
    if not model.num_experts:
        return tokens * 0
    k, n = model.hidden_size, 2 * model.moe_intermediate_size // (1 if ep > 1 else tp)
    return b * tokens * model.num_experts_per_tok * (max(n // 2, k) + max(n, k))


def moe_workspace(s: Scenario, tokens: Any) -> Any:
    """Fused-expert workspace of a scenario; kernels of MXFP4 experts take none [byte].

    Data-parallel ranks that share experts gather each other's tokens.
    """
    if s.quantization == "mxfp4" or not s.model.num_experts:
        return tokens * 0
    ranks = s.tensor_parallel_size * s.data_parallel_size
    gathered = tokens * s.data_parallel_size
    ep = ranks if s.enable_expert_parallel else 1
    return moe_workspace_bytes(s.model, gathered, tp=ranks, ep=ep, b=s.dtype_bytes)


def peak_bytes(s: Scenario, tokens: Any, rows: Any, *, last_stage: bool = True, end: str = "value") -> Any:
    """Peak of one step of vLLM or SGLang with these tokens and sampling rows [byte].

    Formula: max(forward, sampler); only the last pipeline stage samples. Bytes per logit are those of 16 bit,
    and float32 logits are two bytes wider
    """
    forward = step_forward_bytes(s, tokens, end=end)
    c = constant(s, "sampler_bytes_per_logit", end) + s.dtype_bytes - 2
    sampler = sampler_bytes(s.model, tokens, rows, b=s.dtype_bytes, c=c)
    return maximum(forward, sampler) if last_stage else forward


def stage_tensor_bytes(s: Scenario, tokens: Any) -> Any:
    """Hidden states and residual that one pipeline stage hands to the next; 0 without a pipeline [byte].

    Formula: 2 · T · d_model · b

    Source
    ------
    vLLM 0.19, vllm/v1/worker/gpu_model_runner.py intermediate_tensors; vllm/model_executor/models/llama.py forward.
    """
    return 2 * tokens * s.model.hidden_size * s.dtype_bytes * (s.pipeline_parallel_size > 1)


def step_tokens(s: Scenario) -> Any:
    """Tokens of the workload's largest step: all prompts at once, at most ``max_num_batched_tokens`` [token]."""
    return minimum(sum(n * p for n, p, _ in s.sequences), s.max_num_batched_tokens)


def terms(s: Scenario, stage: int = 0) -> tuple[Term, ...]:
    """The one addend of this part, with the interval its constants allow."""
    if s.engine == "llama.cpp":
        return compute_buffer.scenario_terms(s)
    if s.engine == "transformers":
        return (_transformers_term(s),)
    return (_serving_term(s, last_stage=stage == s.pipeline_parallel_size - 1),)


def _serving_term(s: Scenario, *, last_stage: bool) -> Term:
    tokens, rows, b, k = step_tokens(s), s.num_sequences, s.dtype_bytes, s.engine_spec
    size = peak_bytes(s, tokens, rows, last_stage=last_stage)
    low, high = (peak_bytes(s, tokens, rows, last_stage=last_stage, end=end) for end in ("low", "high"))
    x, c = k.value("forward_hidden_factor"), k.value("sampler_bytes_per_logit")
    m, tp = s.model, s.tensor_parallel_size
    sampler = (
        f", {tokens} · {b} · {m.hidden_size} + {rows} · {b} · {m.hidden_size} + {rows} · {m.vocab_size} · {c}"
    )
    return Term(
        name="one step",
        bytes=size,
        formula="max(T · b · (3 · d_ff/tp + x · d_model), T · b · d_model + R · b · d_model + R · V · c)",
        worked=f"max({tokens} · {b} · (3 · {mlp_width(m)}/{tp} + {x} · {m.hidden_size})"
        f"{sampler if last_stage else ''})",
        source=f"{VLLM}; constants: {k.source('sampler_bytes_per_logit')}",
        basis="modelled",
        low=minimum(size, low),
        high=maximum(size, high),
    )


def decode_copy_bytes(s: Scenario, tokens: Any) -> Any:
    """One layer's keys at the next length, while DynamicCache concatenates them [byte].

    Formula: B · (T + 1) · n_kv · d_head · b
    """
    m = s.model
    return s.num_sequences * (tokens + 1) * m.num_key_value_heads * m.head_dim * s.dtype_bytes


def _transformers_term(s: Scenario) -> Term:
    m, b, rows = s.model, s.dtype_bytes, s.num_sequences
    tokens = sum(n * p for n, p, _ in s.sequences)
    longest = maximum(*(p for _, p, _ in s.sequences))
    prefill = transformers_bytes(m, tokens, longest, rows, b=b, attn_implementation=s.attn_implementation)
    last = maximum(*(p + new for _, p, new in s.sequences))
    size = maximum(prefill, decode_copy_bytes(s, last) if m.num_key_value_heads else 0)
    exact = not m.num_experts and m.gated_mlp
    low, high = (0.97, 1.03) if exact else (0.6, 1.8)
    return Term(
        name="one forward",
        bytes=size,
        formula="max(N · (b · (c · d_ff + 4 · d_model + 2 · d_head) + 8), attention, rows · b · V + N · b · d_model)",
        worked=f"max over MLP, {s.attn_implementation} attention and logits at N = {tokens}, rows = {rows}, b = {b}",
        source=HF,
        basis="modelled",
        low=scale(size, low),
        high=scale(size, high),
    )


def size_bytes(s: Scenario, stage: int = 0) -> Any:
    """Bytes of this part on one rank [byte]."""
    return sum(t.bytes for t in terms(s, stage))


def part(s: Scenario, stage: int = 0) -> Part:
    """The part with its formula, numbers and sources."""
    return Part.of("activations", *terms(s, stage))
