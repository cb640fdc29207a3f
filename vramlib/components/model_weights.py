"""Model weights: every tensor that this rank stores, at the width it is stored in.

Home of: parameters, quantization scales and zero points, rope tables, absorbed MLA copies. The allocator's
rounding of
these tensors belongs to ``fragmentation``; the rule lives there and the sizes come from here.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vramlib.components import ggml, weight_types
from vramlib.specs import DTYPE_BITS, Layer, ModelSpec, Part, QuantSpec, Scenario, Tensor, Term
from vramlib.units import ceil_div, round_up, show_count

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


def terms(s: Scenario, stage: int = 0) -> tuple[Term, ...]:
    """Addends of the weights of one rank: tensors, rope tables, absorbed copies."""
    if s.engine == "llama.cpp":
        return (_llamacpp_term(s),)
    m, bits, tp = s.model, DTYPE_BITS[s.dtype], s.tensor_parallel_size
    total = tensor_bytes(m, **rank(s, stage))
    width = f"{s.quantization} + {s.dtype}" if s.quant else s.dtype
    share = f" / {tp * s.pipeline_parallel_size} ranks" if tp * s.pipeline_parallel_size > 1 else ""
    exact = "tensor headers" if m.exact_bytes else m.source
    found = [
        Term(
            name="tensors",
            bytes=total,
            formula="Σ out · in · b_w / 8",
            worked=f"{show_count(m.params_total)} parameters in {width}{share} = {total:,} B",
            source=f"shapes: {exact}",
            basis="modelled" if (most := _most(s, stage, total)) > total else "exact",
            high=most if most > total else None,
        )
    ]
    if s.engine in ("vllm", "sglang"):
        pairs = " + ".join(f"{rows:,} · {dim} · {bits // 8}" for rows, dim in m.rope_tables)
        found.append(
            Term(
                name="rope tables",
                bytes=rope_bytes(m, dtype_bits=bits),
                formula="positions · rotary_dim · b",
                worked=pairs,
                source="vLLM 0.33, vllm/model_executor/layers/rotary_embedding/base.py",
            )
        )
        if m.kv_lora_rank:
            layers = sum(n for _, n in stage_layers(m, s.pipeline_parallel_size, stage))
            found.append(
                Term(
                    name="absorbed MLA copies",
                    bytes=absorbed_mla_bytes(m, tp=tp, num_layers=layers, dtype_bits=bits),
                    formula="L · n_q/tp · (d_nope + d_v) · r_kv · b",
                    worked=f"{layers} · {m.num_attention_heads}/{tp} · ({m.qk_nope_head_dim} + {m.v_head_dim})"
                    f" · {m.kv_lora_rank} · {bits // 8}",
                    source="vLLM 0.33, vllm/model_executor/layers/attention/mla_attention.py",
                )
            )
    return (*found, *_slot_terms(s, stage)) if s.engine in ("vllm", "sglang") else tuple(found)


def _most(s: Scenario, stage: int, total: int) -> int:
    """Upper end where a repack's recipe is not known: it may keep more than the format's own roles.

    Publishers of 4-bit models differ in what they leave in 16 bit: attention, recurrent layers, shared experts.
    """
    recurrent = any(t.role == "state" for t, _ in s.model.tensors)
    open_recipe = s.quant is not None and not s.quant.ignore and not s.model.exact_bytes
    if not open_recipe or s.quant is None or not (s.quantization == "nvfp4" or recurrent):
        return total
    kept = dataclasses.replace(s.quant, keep=s.quant.keep | {"attention", "state", "shared_expert"})
    return max(total, tensor_bytes(s.model, **(rank(s, stage) | {"quant": kept})))


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


def _slot_terms(s: Scenario, stage: int) -> list[Term]:
    """Adapters' slots and a drafter, where the launch asks for them."""
    found, bits, tp = [], DTYPE_BITS[s.dtype], s.tensor_parallel_size
    if s.drafter is not None and stage == s.pipeline_parallel_size - 1:
        found.append(
            Term(
                name="drafter",
                bytes=drafter_bytes(s),
                formula="Σ out · in · b_w / 8",
                worked=f"{s.drafter.name}: {show_count(s.drafter.params_total)} parameters",
                source="vLLM 0.25, vllm/model_executor/models/qwen3_5_mtp.py, deepseek_mtp.py; what is shared: logs",
                basis="modelled",
            )
        )
    if s.enable_lora:
        slots = lora_bytes(
            s.model,
            max_loras=s.max_loras,
            max_lora_rank=s.max_lora_rank,
            tp=tp,
            pp=s.pipeline_parallel_size,
            stage=stage,
            bits=bits,
        )
        found.append(
            Term(
                name="LoRA slots",
                bytes=slots,
                formula="max_loras · r · Σ (in + out) · b",
                worked=f"{s.max_loras} · {s.max_lora_rank} · … · {bits // 8} = {slots:,} B",
                source="vLLM 0.19, vllm/lora/layers/base_linear.py and column_parallel_linear.py create_lora_weights",
            )
        )
    return found


def _llamacpp_term(s: Scenario) -> Term:
    build = ggml.build_number(s.engine_version)
    on_gpu, on_cpu = weight_types.model_buffer_bytes(s.model, s.quantization, s.n_gpu_layers, build=build)
    return Term(
        name="model buffer",
        bytes=ceil_div(on_gpu, s.world_size),
        formula="Σ rows · row_bytes(type) over offloaded layers and the output",
        worked=f"{on_gpu:,} B on the GPU, {on_cpu:,} B stay on the CPU",
        source="llama.cpp, src/llama-quant.cpp and src/llama-model.cpp; sizes of types: the gguf package",
    )


def size_bytes(s: Scenario, stage: int = 0) -> int:
    """Bytes of this part on one rank [byte]."""
    return sum(t.bytes for t in terms(s, stage))


def part(s: Scenario, stage: int = 0) -> Part:
    """The part with its formula, numbers and sources."""
    return Part.of("model_weights", *terms(s, stage))
