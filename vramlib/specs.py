"""Value objects: what a model, a card, a number and an answer are. Frozen, keyword-only, checked when built.

A ``ModelSpec`` is an inventory: every tensor a checkpoint stores, with the way engines cut, fuse and quantize it, and
every cache a layer keeps. Formulas read the inventory; none of them needs to know a model's family.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from vramlib.units import show

PART_KEYS = (
    "model_weights",
    "kv_cache",
    "activations",
    "cuda_context",
    "framework_buffers",
    "prefill_padding",
    "fragmentation",
    "multi_process",
)
PART_NAMES = {
    "model_weights": "Model weights",
    "kv_cache": "KV cache",
    "activations": "Activation memory",
    "cuda_context": "CUDA runtime context",
    "framework_buffers": "Framework buffers",
    "prefill_padding": "Prefill & padding buffers",
    "fragmentation": "Memory fragmentation",
    "multi_process": "Multi-process overhead",
}
# Okabe & Ito's set (2008), which stays apart for colour-blind eyes, with a grey for its black.
PART_COLORS = {
    "model_weights": "#0072B2",
    "kv_cache": "#E69F00",
    "activations": "#009E73",
    "cuda_context": "#606060",
    "framework_buffers": "#56B4E9",
    "prefill_padding": "#CC79A7",
    "fragmentation": "#F0E442",
    "multi_process": "#D55E00",
}
DTYPE_BITS = {"float32": 32, "float16": 16, "bfloat16": 16}
SPLITS = ("none", "out", "in", "kv", "vocab")
ROLES = (
    "embedding", "head", "norm", "router", "attention", "mlp", "expert", "shared_expert", "state",
    "vision", "audio", "projector", "other",
)  # fmt: skip
CACHE_KINDS = ("full", "sliding", "chunked", "cross", "mamba1", "mamba2", "linear", "conv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One stored tensor of a checkpoint (or ``count`` equal ones), and how engines treat it.

    Parameters
    ----------
    name : as in the checkpoint, without the layer's prefix: ``self_attn.q_proj.weight`` [-]
    shape : ``[out, in]`` for matrices, whatever order the file uses [element]
    role : what it is for, one of ``ROLES``; formats keep some roles in 16 bit [-]
    split : what tensor parallelism cuts: ``none`` (every rank has it whole), ``out`` (dimension 0), ``in`` (last
        dimension), ``kv`` (dimension 0 by key-value head, repeated when ranks outnumber heads), ``vocab`` (dimension 0,
        padded first) [-]
    heads : key-value heads in dimension 0, for ``split="kv"`` [-]
    count : equal tensors under this name, for experts and for repeated tower layers [-]
    fuse : engines that fuse keep all tensors of a layer with the same word as one [-]
    linear : a matrix that weight quantization may compress [-]
    dtype : storage type when it does not follow the model's (``float32``, ``int32``, ``Q4_K``); ``""`` follows [-]
    nbytes : exact bytes of one such tensor as read from a file's header; -1 when computed from shape and type [byte]
    auxiliary : a scale, zero point or index of a compressed matrix: bytes, but no parameters [-]
    """

    name: str
    shape: tuple[int, ...]
    role: str = "other"
    split: str = "none"
    heads: int = 0
    count: int = 1
    fuse: str = ""
    linear: bool = False
    dtype: str = ""
    nbytes: int = -1
    auxiliary: bool = False

    def __post_init__(self) -> None:
        if self.role not in ROLES or self.split not in SPLITS:
            raise ValueError(f"{self.name}: role {self.role!r} or split {self.split!r} is not known")
        if self.count < 0 or any(n < 0 for n in self.shape):
            raise ValueError(f"{self.name}: negative size {self.shape} × {self.count}")

    @property
    def numel(self) -> int:
        """Elements of one such tensor [element]."""
        return math.prod(self.shape)

    @property
    def num_params(self) -> int:
        """Parameters that all ``count`` tensors stand for: their elements, none for the scales of a compressed one."""
        return 0 if self.auxiliary else self.count * self.numel


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """What one layer keeps for each sequence: rows per token, or a state of fixed size.

    Attention kinds (``full``, ``sliding``, ``chunked``, ``cross``) keep ``num_key_value_heads × (head_dim + v_head_dim)``
    numbers per token; with ``latent_dim`` they keep one latent row of that width instead, which tensor parallelism does
    not split (MLA). ``window`` bounds a sliding or chunked layer. State kinds keep ``conv_kernel - 1`` columns of
    ``conv_dim`` numbers and ``state_elements`` numbers per sequence.

    Parameters
    ----------
    kind : one of ``CACHE_KINDS`` [-]
    num_key_value_heads, head_dim, v_head_dim : shape of a token's row [-]
    window : tokens a sliding or chunked layer can see [token]
    latent_dim : kv_lora_rank + qk_rope_head_dim for MLA, else 0 [element]
    latent_rope_dim : the rope part of it (qk_rope_head_dim) [element]
    indexer_dim : extra key of a sparse-attention indexer per token [element]
    conv_dim : channels of the short convolution, its group part included [element]
    conv_group_dim : the part of conv_dim that belongs to groups (2·G·N of Mamba-2), repeated when groups < ranks [element]
    num_groups : those groups, G [-]
    conv_kernel : taps of the convolution [token]
    state_elements : numbers of the recurrent state [element]
    state_dtype : type forced by the config for that state (``float32``), ``""`` when it follows the model [-]
    """

    kind: str
    num_key_value_heads: int = 0
    head_dim: int = 0
    v_head_dim: int = 0
    window: int = 0
    latent_dim: int = 0
    latent_rope_dim: int = 0
    indexer_dim: int = 0
    conv_dim: int = 0
    conv_group_dim: int = 0
    num_groups: int = 0
    conv_kernel: int = 0
    state_elements: int = 0
    state_dtype: str = ""

    def __post_init__(self) -> None:
        if self.kind not in CACHE_KINDS:
            raise ValueError(f"cache kind {self.kind!r}; known: {', '.join(CACHE_KINDS)}")

    @property
    def is_state(self) -> bool:
        """Fixed size per sequence, whatever its length."""
        return self.kind in ("mamba1", "mamba2", "linear", "conv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One transformer layer: its tensors and its caches (none where it shares another layer's, or has no mixer).

    Equal layers are equal objects, so ``ModelSpec.layer_counts`` can count them.
    """

    tensors: tuple[Tensor, ...]
    caches: tuple[Cache, ...] = ()
    mlp_width: int = 0
    num_experts: int = 0

    @property
    def num_params(self) -> int:
        """Stored parameters of this layer [element]."""
        return sum(t.num_params for t in self.tensors)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantSpec:
    """How compressed weights are stored: bits, scales, zero points, and what stays in 16 bit.

    Parameters
    ----------
    name : row of data/quantization.csv [-]
    weight_bits : width of one stored weight [bit]
    group_size : weights that share a scale along the input; 0 = one per output channel; -1 = one per tensor [element]
    scale_bits, zero_point_bits : width of one scale, of one zero point [bit]
    block_rows : outputs that share a scale (128 for block fp8), else 1 [element]
    index_bits : per input column, as GPTQ's g_idx (32), else 0 [bit]
    second_bits, second_size : second-level scale: width, and weights that share one (0 = one per tensor) [bit], [element]
    keep : roles that stay in the model's dtype [-]
    ignore : module-name patterns of the file's own ignore list (exact, ``re:`` regular expression, or substring) [-]
    """

    name: str
    weight_bits: int
    group_size: int = -1
    scale_bits: int = 0
    zero_point_bits: int = 0
    block_rows: int = 1
    index_bits: int = 0
    second_bits: int = 0
    second_size: int = 0
    keep: frozenset[str] = frozenset({"embedding", "head", "norm", "router", "vision", "audio", "projector", "other"})
    ignore: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelSpec:
    """A model as an inventory of tensors and caches, with the few widths that the activation formulas read.

    ``embedding`` sits on the first pipeline stage, ``head`` (final norm, output matrix unless tied) on the last,
    ``towers`` (vision, audio, projector) on the first. ``params_total`` counts every stored tensor once.
    """

    name: str
    model_type: str = ""
    architecture: str = ""
    dtype: str = "bfloat16"
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int = 0
    num_key_value_heads: int = 0
    head_dim: int = 0
    v_head_dim: int = 0
    intermediate_size: int = 0
    vocab_size: int
    max_position_embeddings: int = 0
    tie_word_embeddings: bool = False
    num_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    shared_expert_intermediate_size: int = 0
    kv_lora_rank: int = 0
    q_lora_rank: int = 0
    qk_nope_head_dim: int = 0
    qk_rope_head_dim: int = 0
    sliding_window: int = 0
    final_logit_softcapping: bool = False
    gated_mlp: bool = True
    fused_gate_up: bool = False
    num_rope_pairs: int = 1
    rope_tables: tuple[tuple[int, int], ...] = ()
    embedding: tuple[Tensor, ...] = ()
    layers: tuple[Layer, ...] = ()
    head: tuple[Tensor, ...] = ()
    towers: tuple[Tensor, ...] = ()
    quantization: QuantSpec | None = None
    gguf_file_type: str = ""
    exact_bytes: bool = False
    warnings: tuple[str, ...] = ()
    source: str = ""
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in ("hidden_size", "num_hidden_layers", "vocab_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{self.name}: {name} is {getattr(self, name)}; a positive whole number is needed")
        if len(self.layers) != self.num_hidden_layers:
            raise ValueError(f"{self.name}: {len(self.layers)} layers for num_hidden_layers {self.num_hidden_layers}")

    @functools.cached_property
    def layer_counts(self) -> tuple[tuple[Layer, int], ...]:
        """Distinct layers and how many there are of each, in order of first use."""
        return tuple(Counter(self.layers).items())

    @functools.cached_property
    def tensors(self) -> tuple[tuple[Tensor, int], ...]:
        """Every tensor of the model with the number of times it is stored (its own ``count`` not included)."""
        ends = [(t, 1) for t in (*self.embedding, *self.head, *self.towers)]
        return (*ends, *((t, n) for layer, n in self.layer_counts for t in layer.tensors))

    @functools.cached_property
    def params_total(self) -> int:
        """Stored parameters of the whole model, each tensor once [element]."""
        return sum(n * t.num_params for t, n in self.tensors)

    @functools.cached_property
    def params_text(self) -> int:
        """Stored parameters without vision, audio and projector towers [element]."""
        return self.params_total - sum(t.num_params for t in self.towers)

    @functools.cached_property
    def params_active(self) -> int:
        """Text parameters that one token passes through: of the routed experts only ``num_experts_per_tok`` [element]."""
        idle = 0
        for layer, n in self.layer_counts:
            if layer.num_experts:
                routed = sum(t.num_params for t in layer.tensors if t.role == "expert")
                idle += n * (routed - routed * self.num_experts_per_tok // layer.num_experts)
        return self.params_text - idle


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpec:
    """One card. ``memory_bytes`` is what CUDA can allocate from, not the label on the box.

    Parameters
    ----------
    memory_bytes : cudaMemGetInfo's total [byte]
    memory_bytes_nvidia_smi : the driver's own total, a little more [byte]; 0 when not known
    memory_gb_vendor : the vendor's label [GB]; 0 when not known
    compute_capability : 9.0 for Hopper; 0.0 where it is not an NVIDIA card [-]
    cuda_context_bytes : printed size of an idle context on this card [byte]; 0 when no figure is known
    """

    name: str
    memory_bytes: int
    memory_bytes_nvidia_smi: int = 0
    memory_gb_vendor: float = 0.0
    vendor: str = "NVIDIA"
    arch: str = ""
    compute_capability: float = 0.0
    num_sms: int = 0
    bandwidth_gb_s: float = 0.0
    bf16_dense_tflops: float = 0.0
    unified_memory: bool = False
    cuda_context_bytes: int = 0
    memory_basis: str = "printed"
    aliases: tuple[str, ...] = ()
    source: str = ""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.memory_bytes, int) or self.memory_bytes <= 0:
            raise ValueError(f"{self.name}: memory_bytes is {self.memory_bytes!r}; a positive number of bytes is needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One named addend of a part: its bytes, the formula as text, and the same with this scenario's numbers put in.

    ``low``/``high`` bound the value; ``None`` means that it is exact on that side.
    """

    name: str
    bytes: Any
    formula: str
    worked: str = ""
    source: str = ""
    basis: str = "exact"
    low: Any = None
    high: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of the eight parts: bytes, interval, basis, formula, worked formula, sources."""

    key: str
    name: str
    bytes: Any
    low_bytes: Any
    high_bytes: Any
    basis: str
    formula: str
    worked: str
    sources: tuple[str, ...]
    terms: tuple[Term, ...] = ()

    @classmethod
    def of(cls, key: str, *terms: Term) -> Part:
        """Add terms up to a part; its basis is that of its least certain term that is not zero."""
        rank = {"exact": 0, "measured": 1, "modelled": 2}
        shown = [t for t in terms if hasattr(t.bytes, "shape") or t.bytes] or list(terms[:1])
        return cls(
            key=key,
            name=PART_NAMES[key],
            bytes=sum(t.bytes for t in terms),
            low_bytes=sum(t.bytes if t.low is None else t.low for t in terms),
            high_bytes=sum(t.bytes if t.high is None else t.high for t in terms),
            basis=max((t.basis for t in shown), key=rank.__getitem__, default="exact"),
            formula=" + ".join(t.formula for t in shown),
            worked=" + ".join(t.worked or str(t.bytes) for t in shown),
            sources=tuple(dict.fromkeys(t.source for t in shown if t.source)),
            terms=tuple(terms),
        )

    def explain(self) -> str:
        """Markdown that shows where this part comes from: each term's formula, the numbers put in, and the source."""
        lines = [f"**{self.name}**: {show(self.bytes)} ({self.basis})", ""]
        for t in self.terms:
            if t.bytes:
                lines += [f"- {t.name}: `{t.formula}` = `{t.worked}` = **{show(t.bytes)}**"]
                lines += [f"  — {t.source}"] if t.source else []
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One engine in one version range: its defaults and the constants that change between versions.

    ``constants`` holds the rows of data/engines.json that apply; each has ``value`` and ``source`` (and ``low``/``high``
    where it is not exact). ``known`` is false when the version itself is not in the data and a neighbour stands in.
    """

    name: str
    version: str
    constants: Mapping[str, Mapping[str, Any]] = field(hash=False, compare=False)
    known: bool = True

    def value(self, key: str) -> Any:
        """Value of one constant.

        Raises
        ------
        KeyError: the engine has no such constant in data/engines.json.
        """
        return self.constants[key]["value"]

    def source(self, key: str) -> str:
        """Where that constant comes from."""
        return str(self.constants[key]["source"])


@dataclass(frozen=True, kw_only=True, eq=False)
class Scenario:
    """Everything one estimate depends on, with every field resolved. Field names are the engines' own flags.

    Made by ``resolve.scenario``; formulas trust it. ``prompt_tokens`` and ``new_tokens`` are one number for all
    sequences, or a tuple with one number each.
    """

    model: ModelSpec
    gpu: GpuSpec
    engine: str
    engine_version: str
    engine_spec: EngineSpec
    dtype: str = "bfloat16"
    quantization: str = "none"
    quant: QuantSpec | None = None
    kv_cache_dtype: str = "auto"
    cache_type_k: str = ""
    cache_type_v: str = ""
    max_model_len: Any = 0
    max_num_seqs: Any = 0
    max_num_batched_tokens: Any = 0
    block_size: Any = 16
    batch_size: Any = 1
    prompt_tokens: Any = 1024
    new_tokens: Any = 256
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    enable_expert_parallel: bool = False
    gpu_memory_utilization: Any = 0.9
    enforce_eager: bool = False
    attn_implementation: str = "sdpa"
    num_processes: int = 1
    n_gpu_layers: int = -1
    n_ubatch: Any = 512
    n_seq_max: Any = 1
    flash_attn: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def dtype_bytes(self) -> int:
        """Bytes of one activation or unquantized weight [byte]."""
        return DTYPE_BITS[self.dtype] // 8

    @property
    def sequences(self) -> tuple[tuple[Any, Any, Any], ...]:
        """The workload as ``(how many, prompt tokens, new tokens)`` groups of equal sequences."""
        if isinstance(self.prompt_tokens, tuple):
            return tuple((1, p, n) for p, n in zip(self.prompt_tokens, self.new_tokens, strict=True))
        return ((self.batch_size, self.prompt_tokens, self.new_tokens),)

    @property
    def num_sequences(self) -> Any:
        """Sequences of the workload at once, B [-]."""
        return sum(n for n, _, _ in self.sequences)

    @property
    def world_size(self) -> int:
        """Cards of this kind that work together: tp × pp × dp [-]."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a preallocating engine reserves at start, and the KV pool that is left. Names that do not apply are ``None``.

    Identity (vLLM): requested − weights − persistent − activation peak − non-torch (− graphs where the version charges
    them) = KV pool. llama.cpp fills the three buffer fields instead.
    """

    requested_bytes: Any = None
    weights_bytes: Any = None
    persistent_bytes: Any = None
    activation_peak_bytes: Any = None
    non_torch_bytes: Any = None
    cuda_graph_bytes: Any = None
    kv_pool_bytes: Any = None
    bytes_per_block: Any = None
    num_blocks: Any = None
    kv_pool_tokens: Any = None
    kv_bytes_per_token: Any = None
    kv_bytes_at_max_model_len: Any = None
    max_concurrency: Any = None
    max_model_len_that_fits: Any = None
    model_buffer_bytes: Any = None
    kv_buffer_bytes: Any = None
    compute_buffer_bytes: Any = None


BUDGET_FIELDS = tuple(f.name for f in fields(Budget))


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """The answer: eight parts in table order, the engine's budget, the verdict, and what to beware of."""

    scenario: Scenario
    parts: tuple[Part, ...]
    budget: Budget | None
    fits: Any
    verdict: str
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if tuple(p.key for p in self.parts) != PART_KEYS:
            raise ValueError(f"parts are {[p.key for p in self.parts]}; the eight of the table in order are needed")

    @property
    def gpu(self) -> GpuSpec:
        """The card."""
        return self.scenario.gpu

    @property
    def model(self) -> ModelSpec:
        """The model."""
        return self.scenario.model

    @property
    def total_bytes(self) -> Any:
        """Exact sum of the eight parts, per card, of the fullest rank [byte]."""
        return sum(p.bytes for p in self.parts)

    @property
    def headroom_bytes(self) -> Any:
        """Memory of the card minus the total; negative when it does not fit [byte]."""
        return self.gpu.memory_bytes - self.total_bytes

    def part(self, key: str) -> Part:
        """One part by its key.

        Raises
        ------
        KeyError: not one of the eight keys.
        """
        for p in self.parts:
            if p.key == key:
                return p
        raise KeyError(f"no part named {key!r}; the eight are: {', '.join(PART_KEYS)}")

    def __str__(self) -> str:
        from vramlib import text

        return text.table(self)

    def _repr_html_(self) -> str:
        from vramlib import text

        return text.html(self)
