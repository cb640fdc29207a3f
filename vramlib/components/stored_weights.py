"""Every tensor that one rank stores: its slice, the width it is stored in, and what is stored as one.

Scales, zero points and indices of a quantized format are tensors beside the weights they belong to.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vramlib.components import weight_types
from vramlib.specs import DTYPE_BITS, Layer, ModelSpec, QuantSpec, Scenario, Tensor
from vramlib.units import ceil_div, round_up

STORED_BITS = {
    "float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "float8_e4m3": 8, "float8_e5m2": 8, "float8_e8m0": 8,
    "int64": 64, "int32": 32, "int16": 16, "int8": 8, "uint8": 8, "uint32": 32, "uint16": 16, "uint64": 64, "bool": 8,
}  # fmt: skip
VOCAB_PADDING = 64


def rank_shape(t: Tensor, *, tp: int = 1, pad_vocab: bool = False) -> tuple[int, ...]:
    """Shape of the slice of a tensor that one tensor-parallel rank stores.

    Formula: out → rows / tp; in → columns / tp; kv → max(1, n_kv / tp) heads; vocab → round_up(V, 64) /
    tp; none → whole

    Parameters
    ----------
    t : the whole tensor [-]
    tp : tensor_parallel_size [-]
    pad_vocab : pad dimension 0 of vocabulary tensors to a multiple of 64, as vLLM and SGLang do [-]

    Returns
    -------
    Shape on one rank [element]

    Examples
    --------
    >>> rank_shape(Tensor(name="k_proj.weight", shape=(512, 3584), split="kv", heads=4), tp=8)
    (128, 3584)

    Source
    ------
    vLLM 0.33, vllm/model_executor/layers/linear.py and vocab_parallel_embedding.py.
    """
    if not t.shape:
        return t.shape
    first, *rest = t.shape
    if t.split == "vocab":
        return (ceil_div(round_up(first, VOCAB_PADDING) if pad_vocab else first, tp), *rest)
    if t.split == "kv":
        heads = t.heads or 1
        return (first // heads * max(1, heads // tp), *rest)
    if t.split == "out":
        return (ceil_div(first, tp), *rest)
    if t.split == "in":
        return (*t.shape[:-1], ceil_div(t.shape[-1], tp))
    return t.shape


def quantized_bytes(rows: int, columns: int, quant: QuantSpec) -> tuple[int, ...]:
    """The stored tensors of one compressed matrix: weights, scales, zero points, index, second-level scales.

    Formula: out·in·b_w/8;  ceil(out/block)·ceil(in/g)·b_s/8;  the same · b_z/8;  in·b_idx/8

    Parameters
    ----------
    rows, columns : out and in of the matrix [element]
    quant : how it is stored [-]

    Returns
    -------
    Bytes of each stored tensor, zero-sized ones left out [byte]

    Examples
    --------
    >>> gptq = QuantSpec(name="gptq", weight_bits=4, group_size=128, scale_bits=16, zero_point_bits=4, index_bits=32)
    >>> quantized_bytes(4096, 4096, gptq)
    (8388608, 262144, 65536, 16384)

    Source
    ------
    vLLM 0.33, vllm/model_executor/layers/quantization/auto_gptq.py; data/quantization.csv for each format.
    """
    group = columns if quant.group_size == 0 else quant.group_size
    scales = 1 if group < 0 else ceil_div(rows, quant.block_rows) * ceil_div(columns, group)
    second = 0
    if quant.second_bits:
        second = ceil_div(rows * columns, quant.second_size) if quant.second_size else 1
    sizes = (
        ceil_div(rows * columns * quant.weight_bits, 8),
        ceil_div(scales * quant.scale_bits, 8),
        ceil_div(scales * quant.zero_point_bits, 8),
        ceil_div(columns * quant.index_bits, 8),
        ceil_div(second * quant.second_bits, 8),
    )
    return tuple(size for size in sizes if size)


def _pieces(t: Tensor, s: _Rule) -> tuple[int, ...]:
    """Bytes of each stored tensor behind one inventory tensor on this rank, for one of its ``count``."""
    expert = t.role == "expert"
    shape = rank_shape(t, tp=(1 if s.ep > 1 else s.expert_tp) if expert else s.tp, pad_vocab=s.fuse)
    if t.nbytes >= 0:
        return (ceil_div(t.nbytes * math.prod(shape), max(1, t.numel)),)
    if t.dtype and t.dtype not in STORED_BITS:
        return (weight_types.bytes_of(t.dtype, shape),)
    if len(shape) >= 2 and s.quant and s.quant.compresses(t):
        rows, columns = math.prod(shape[:-1]), shape[-1]
        if s.quant.name == "mxfp4" and t.role == "expert" and s.fuse:
            rows, columns = _mxfp4_padded(t, rows, columns, s.mxfp4_padding)
        return quantized_bytes(rows, columns, s.quant)
    bits = STORED_BITS[t.dtype] if t.dtype else s.dtype_bits
    return (ceil_div(math.prod(shape) * bits, 8),)


def _mxfp4_padded(t: Tensor, rows: int, columns: int, steps: tuple[int, int, int]) -> tuple[int, int]:
    """Kernels of MXFP4 experts want hidden size and expert width in steps: of the hidden size, of w13 and of w2."""
    hidden, width_in, width_out = steps
    if t.fuse == "experts.w2":
        return round_up(rows, hidden), round_up(columns, width_out)
    return round_up(rows, width_in), round_up(columns, hidden)


@dataclass(frozen=True, slots=True)
class _Rule:
    """How one engine stores the inventory on one rank: the arguments that ``stored_sizes`` is cached by."""

    quant: QuantSpec | None
    dtype_bits: int
    tp: int
    ep: int
    expert_tp: int
    fuse: bool
    mxfp4_padding: tuple[int, int, int]


def _group_sizes(tensors: Iterable[Tensor], rule: _Rule) -> Counter[int]:
    """Sizes of the tensors as stored: members of one fuse group, and rows of one name, are stored as one."""
    fused: dict[tuple[str, int], int] = {}
    sizes: Counter[int] = Counter()
    tensors = tuple(tensors)
    rows_of = Counter(t.name for t in tensors)
    for t in tensors:
        count = ceil_div(t.count, rule.ep) if t.role == "expert" and t.count > 1 else t.count
        for i, size in enumerate(_pieces(t, rule)):
            word = t.fuse if rule.fuse and t.fuse else t.name if rows_of[t.name] > 1 else ""
            if word:
                fused[word, i] = fused.get((word, i), 0) + size * count
            else:
                sizes[size] += count
    sizes.update(fused.values())
    return sizes


@functools.lru_cache(1024)
def stage_layers(model: ModelSpec, pp: int, stage: int) -> tuple[tuple[Layer, int], ...]:
    """Distinct layers of one pipeline stage with their counts; what is left over goes to the stages before the last.

    Examples
    --------
    >>> from vramlib import catalog
    >>> [n for _, n in stage_layers(catalog.model("Llama-3.1-8B"), 3, 1)]
    [11]

    Source
    ------
    vLLM 0.33, vllm/distributed/utils.py get_pp_indices.
    """
    if pp == 1:
        return model.layer_counts
    counts = [model.num_hidden_layers // pp] * pp
    for i in range(model.num_hidden_layers % pp):
        counts[-2 - i if pp > i + 1 else 0] += 1
    start = sum(counts[:stage])
    return tuple(Counter(model.layers[start : start + counts[stage]]).items())


@functools.lru_cache(1024)
def stored_sizes(
    model: ModelSpec,
    *,
    quant: QuantSpec | None = None,
    dtype_bits: int = 16,
    tp: int = 1,
    ep: int = 1,
    dp: int = 1,
    pp: int = 1,
    stage: int = 0,
    fuse: bool = True,
    mxfp4_padding: tuple[int, int, int] = (1, 1, 1),
) -> tuple[tuple[int, int], ...]:
    """Every tensor that one rank stores, as ``(bytes, how many)``.

    Parameters
    ----------
    model : inventory [-]
    quant : compression of its linear layers, or None [-]
    dtype_bits : width of everything that is not compressed [bit]
    tp, ep, pp : tensor, expert and pipeline parallel degrees [-]
    dp : data-parallel degree: without expert parallelism each expert is cut over tp · dp ranks [-]
    stage : pipeline stage, 0 first [-]
    fuse : store q, k, v as one tensor and stack experts, as serving engines do [-]
    mxfp4_padding : steps that MXFP4 experts are padded to: hidden size, width in w13, width in w2 [element]

    Returns
    -------
    Sizes on this rank with multiplicity [byte]

    Source
    ------
    vLLM 0.33 weight loading; sharding as in vllm/model_executor/layers/linear.py.
    """
    rule = _Rule(quant, dtype_bits, tp, ep, tp * dp, fuse, mxfp4_padding)
    sizes: Counter[int] = Counter()
    for layer, n in stage_layers(model, pp, stage):
        for size, count in _group_sizes(layer.tensors, rule).items():
            sizes[size] += n * count
    ends: tuple[Tensor, ...] = ()
    if stage == 0:
        ends += (*model.embedding, *(used_towers(model) if fuse else model.towers))
    if stage == pp - 1:
        ends += model.head
        if pp > 1 and model.tie_word_embeddings:
            ends += tuple(t for t in model.embedding if t.split == "vocab")
    for t in ends:
        sizes.update(_group_sizes((t,), rule))
    return tuple(sizes.items())


def used_towers(model: ModelSpec) -> tuple[Tensor, ...]:
    """Towers as serving engines build them: layers above the one whose output is read are left out.

    Source
    ------
    vLLM 0.19, vllm/model_executor/models/llava.py _get_num_hidden_layers: vision_feature_layer.
    """
    read, vision = model.config.get("vision_feature_layer"), model.config.get("vision_config")
    layers = vision.get("num_hidden_layers") if isinstance(vision, Mapping) else None
    if not isinstance(read, int) or read >= -1 or not isinstance(layers, int):
        return model.towers
    unused = -1 - read
    return tuple(
        dataclasses.replace(t, count=t.count - unused) if t.role == "vision" and t.count == layers else t
        for t in model.towers
    )


def tensor_bytes(model: ModelSpec, **rank: object) -> int:
    """Bytes of all tensors of one rank; the keywords of ``stored_sizes``.

    Formula: Σ out · in · b_w / 8 over the stored tensors

    Examples
    --------
    >>> from vramlib import catalog
    >>> tensor_bytes(catalog.model("Llama-3.1-8B"))
    16060522496
    """
    return sum(size * n for size, n in stored_sizes(model, **rank))


def rank(s: Scenario, stage: int = 0) -> dict[str, object]:
    """The keywords of ``stored_sizes`` for one rank of a scenario."""
    ep = s.tensor_parallel_size * s.data_parallel_size if s.enable_expert_parallel else 1
    return {
        "quant": s.quant,
        "dtype_bits": DTYPE_BITS[s.dtype],
        "tp": s.tensor_parallel_size,
        "ep": ep,
        "dp": s.data_parallel_size if s.engine in ("vllm", "sglang") else 1,
        "pp": s.pipeline_parallel_size,
        "stage": stage,
        "fuse": s.engine in ("vllm", "sglang"),
        "mxfp4_padding": _padding(s),
    }


def _padding(s: Scenario) -> tuple[int, int, int]:
    if s.quantization != "mxfp4" or "mxfp4_padding" not in s.engine_spec.constants:
        return (1, 1, 1)
    hidden, width_in, width_out = s.engine_spec.value("mxfp4_padding")
    return hidden, width_in, width_out
