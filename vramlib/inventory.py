"""A model as an inventory: every tensor a checkpoint stores and every cache a layer keeps.

Engines cut, fuse and quantize the tensors; formulas read the inventory, and none of them needs to know a
family.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    name : as in the checkpoint, without the layer's prefix: ``self_attn.q_proj.weight``; tensors of one layer with the
        same name are rows of one stored tensor [-]
    shape : ``[out, in]`` for matrices, whatever order the file uses [element]
    role : what it is for, one of ``ROLES``; formats keep some roles in 16 bit [-]
    split : what tensor parallelism cuts: ``none`` (every rank has it whole), ``out`` (dimension 0), ``in``
        (last
        dimension), ``kv`` (dimension 0 by key-value head, repeated when ranks outnumber heads), ``vocab``
        (dimension 0,
        padded first) [-]
    heads : key-value heads in dimension 0, for ``split="kv"`` [-]
    count : equal tensors under this name, for experts and for repeated tower layers [-]
    fuse : engines that fuse keep all tensors of a layer with the same word as one [-]
    linear : a matrix that weight quantization may compress [-]
    dtype : storage type when it does not follow the model's (``float32``, ``int32``, ``Q4_K``); ``""``
        follows [-]
    nbytes : exact bytes of one such tensor as read from a file's header; -1 when computed from shape and
        type [byte]
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

    Attention kinds (``full``, ``sliding``, ``chunked``, ``cross``) keep ``num_key_value_heads × (head_dim
    + v_head_dim)``
    numbers per token; with ``latent_dim`` they keep one latent row of that width instead, which tensor
    parallelism does
    not split (MLA). ``window`` bounds a sliding or chunked layer. State kinds keep ``conv_kernel - 1``
    columns of
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
    conv_group_dim : the part of conv_dim that belongs to groups (2·G·N of Mamba-2), repeated when groups <
        ranks [element]
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
    group_size : weights that share a scale along the input; 0 = one per output channel; -1 = one per
        tensor [element]
    scale_bits, zero_point_bits : width of one scale, of one zero point [bit]
    block_rows : outputs that share a scale (128 for block fp8), else 1 [element]
    index_bits : per input column, as GPTQ's g_idx (32), else 0 [bit]
    second_bits, second_size : second-level scale: width, and weights that share one (0 = one per tensor)
    [bit], [element]
    keep : roles that stay in the model's dtype [-]
    ignore : module-name patterns of the file's own ignore list (exact, ``re:`` regular expression, or
        substring) [-]
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
    keep: frozenset[str] = frozenset(
        {"embedding", "head", "norm", "router", "vision", "audio", "projector", "other"}
    )
    ignore: tuple[str, ...] = ()
    source: str = ""

    def compresses(self, tensor: Tensor) -> bool:
        """Whether this format stores a tensor compressed, going by its role; names on a list are marked beforehand.

        Matrices do; embedding and head do where the format does not keep them (GGUF types).
        """
        if tensor.role in self.keep or tensor.dtype:
            return False
        return tensor.linear or (tensor.role in ("embedding", "head") and len(tensor.shape) == 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelSpec:
    """A model as an inventory of tensors and caches, with the few widths that the activation formulas read.

    ``embedding`` sits on the first pipeline stage, ``head`` (final norm, output matrix unless tied) on the
    last,
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
                raise ValueError(
                    f"{self.name}: {name} is {getattr(self, name)}; a positive whole number is needed"
                )
        if len(self.layers) != self.num_hidden_layers:
            raise ValueError(
                f"{self.name}: {len(self.layers)} layers for num_hidden_layers {self.num_hidden_layers}"
            )

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
        """Text parameters that one token passes through: of the experts only ``num_experts_per_tok`` [element]."""
        idle = 0
        for layer, n in self.layer_counts:
            if layer.num_experts:
                routed = sum(t.num_params for t in layer.tensors if t.role == "expert")
                idle += n * (routed - routed * self.num_experts_per_tok // layer.num_experts)
        return self.params_text - idle
