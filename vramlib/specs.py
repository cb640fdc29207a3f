"""Value objects: cards, engines and scenarios here; models in ``inventory``, answers in ``answers``.

All are frozen, keyword-only, and checked when built; a formula then trusts what it is given. This module
gives every one
of them under one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vramlib.answers import BUDGET_FIELDS, PART_COLORS, PART_KEYS, PART_NAMES, Budget, Estimate, Part, Term
from vramlib.inventory import CACHE_KINDS, ROLES, SPLITS, Cache, Layer, ModelSpec, QuantSpec, Tensor

__all__ = [
    "BUDGET_FIELDS", "CACHE_KINDS", "DTYPE_BITS", "PART_COLORS", "PART_KEYS", "PART_NAMES", "ROLES", "SPLITS",
    "Budget", "Cache", "EngineSpec", "Estimate", "GpuSpec", "Layer", "ModelSpec", "Part", "QuantSpec", "Scenario",
    "Tensor", "Term",
]  # fmt: skip

DTYPE_BITS = {"float32": 32, "float16": 16, "bfloat16": 16}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpec:
    """One card. ``memory_bytes`` is what CUDA can allocate from, not the label on the box.

    Parameters
    ----------
    memory_bytes : cudaMemGetInfo's total [byte]
    memory_bytes_nvidia_smi : the driver's own total, a little more [byte]; 0 when not known
    memory_gb_vendor : the vendor's label [GB]; 0 when not known
    compute_capability : 9.0 for Hopper; 0.0 where it is not an NVIDIA card [-]
    cuda_context_bytes : size of an idle context: the card's printed figure, else its family's rule [byte]
    cuda_context_low_bytes, cuda_context_high_bytes : its interval [byte]
    cuda_context_basis : ``measured`` for a printed figure, ``modelled`` for a rule [-]
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
    cuda_context_low_bytes: int = 0
    cuda_context_high_bytes: int = 0
    cuda_context_basis: str = "modelled"
    cuda_context_source: str = ""
    memory_basis: str = "printed"
    aliases: tuple[str, ...] = ()
    source: str = ""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        many = hasattr(self.memory_bytes, "shape")  # one figure for each of many scenarios
        if not many and not (isinstance(self.memory_bytes, int) and self.memory_bytes > 0):
            raise ValueError(
                f"{self.name}: memory_bytes is {self.memory_bytes!r}; a positive number of bytes is needed"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One engine in one version range: its defaults and the constants that change between versions.

    ``constants`` holds the rows of data/engines.json that apply; each has ``value`` and ``source`` (and
    ``low``/``high``
    where it is not exact). ``known`` is false when the version itself is not in the data and a neighbour
    stands in.
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

    Made by ``resolve.scenario``; formulas trust it. ``prompt_tokens`` and ``new_tokens`` are one number
    for all
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
    enable_prefix_caching: bool = True
    num_speculative_tokens: int = 0
    speculative_model: str = ""
    drafter: ModelSpec | None = None
    enable_lora: bool = False
    max_loras: int = 1
    max_lora_rank: int = 16
    decode_context_parallel_size: int = 1
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
