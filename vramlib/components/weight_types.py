"""GGUF weights: the bytes of every tensor of a file type, and which device holds them.

llama.cpp keeps the embedding on the CPU, moves the output matrix and the last ``n_gpu_layers − 1`` layers to the GPU,
and stores norms, routers, biases and convolutions in 32 bit. A tied embedding is copied to the GPU as output matrix.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

from vramlib.components.ggml import OUTPUT_FIRST_BUILD, block, offloaded
from vramlib.components.gguf_categories import PLAIN, categories, is_value
from vramlib.components.gguf_file_types import file_type
from vramlib.components.gguf_recipes import NEEDS_IMATRIX, Recipe, fitting_type, tensor_type
from vramlib.specs import ModelSpec, Tensor
from vramlib.units import round_up

__all__ = [
    "bytes_of", "categories", "file_type", "model_buffer_bytes", "recipe", "streamed_bytes", "tensor_bytes",
]  # fmt: skip

ALIGNMENT = 128  # of a tensor in a CUDA buffer
ROW_PADDING = 512  # CUDA pads a quantized matrix whose rows are not a multiple of this many values


def recipe(model: ModelSpec, name: str) -> Recipe:
    """The recipe of a file type for a model.

    Formula: n_q / n_kv, layers, experts and exceptions as the quantizer reads them

    Parameters
    ----------
    model : the model's inventory [-]
    name : GGUF file type [-]

    Returns
    -------
    The recipe [-]

    Raises
    ------
    ValueError: not a file type whose recipe is known.

    Source
    ------
    llama.cpp, src/llama-quant.cpp, ``quantize_state_impl`` and ``LLM_TYPE_70B``.
    """
    kind, kv = file_type(name), 1 if model.kv_lora_rank else model.num_key_value_heads
    grouped = model.num_attention_heads > model.num_key_value_heads > 0
    return Recipe(
        file_type=kind,
        num_layers=model.num_hidden_layers,
        num_values=sum(any(is_value(c) for _, c in categories(layer)) for layer in model.layers),
        heads_per_kv=model.num_attention_heads // kv if kv else 0,
        num_experts=model.num_experts,
        falcon=model.model_type == "falcon",
        seventy=model.num_hidden_layers == 80 and grouped and model.model_type in ("llama", "qwen2"),
        tied=model.tie_word_embeddings,
        imatrix=kind in NEEDS_IMATRIX,
    )


def bytes_of(ggml_type: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor stored in a ggml type.

    Formula: rows · ceil(row / values_per_block) · bytes_per_block

    Parameters
    ----------
    ggml_type : ``F16``, ``Q4_K`` … [-]
    shape : last dimension is the row [element]

    Returns
    -------
    Size [byte]

    Raises
    ------
    ValueError: not a ggml type in the table.

    Examples
    --------
    >>> bytes_of("Q4_K", (14336, 4096))
    33030144

    Source
    ------
    gguf 0.19 ``constants.py``, GGML_QUANT_SIZES.
    """
    values, size = block(ggml_type)
    if not shape:
        return size
    return math.prod(shape[:-1]) * -(-shape[-1] // values) * size


def _gpu_bytes(ggml_type: str, shape: tuple[int, ...]) -> int:
    """As ``bytes_of``, with the padding of a CUDA buffer [byte]."""
    extra = 0
    if block(ggml_type)[0] > 1 and shape[-1] % ROW_PADDING:
        extra = bytes_of(ggml_type, (ROW_PADDING - shape[-1] % ROW_PADDING,))
    return round_up(bytes_of(ggml_type, shape) + extra, ALIGNMENT)


def _stored_shapes(t: Tensor, model: ModelSpec) -> tuple[tuple[int, ...], ...]:
    """Shapes that the converter writes for one inventory tensor: experts stacked, MLA's kv_b taken apart."""
    shape = (t.count, *t.shape) if t.count > 1 else t.shape
    if model.kv_lora_rank and "kv_b_proj" in t.name:
        heads, rank = model.num_attention_heads, t.shape[-1]
        nope = model.qk_nope_head_dim
        return ((heads, rank, nope), (heads, t.shape[0] // heads - nope, rank))
    return (shape,)


def tensor_bytes(
    t: Tensor, category: str, r: Recipe, model: ModelSpec, *, layer_index: int = 0, value_index: int = -1
) -> int:
    """Bytes that one inventory tensor takes in a GPU buffer.

    Formula: Σ over its stored shapes of rows · row_bytes(type)

    Parameters
    ----------
    t : inventory tensor; exact bytes of a file's header win [-]
    category : the quantizer's word for it [-]
    r : the recipe [-]
    model : the model's widths [-]
    layer_index : layer number [-]
    value_index : value matrices before it [-]

    Returns
    -------
    Size [byte]

    Examples
    --------
    >>> from vramlib import catalog
    >>> q = Tensor(name="self_attn.q_proj.weight", shape=(4096, 4096), role="attention", split="out", linear=True)
    >>> r = Recipe(file_type="Q8_0", num_layers=32, num_values=32)
    >>> tensor_bytes(q, "attn_q", r, catalog.model("Llama-3.1-8B"))
    17825792

    Source
    ------
    Recipes: llama.cpp, src/llama-quant.cpp; padding: ggml_backend_cuda_buffer_type_get_alloc_size in ggml-cuda.cu.
    """
    if t.nbytes >= 0:
        return round_up(t.nbytes * t.count, ALIGNMENT)
    if category == "plain":
        return sum(_gpu_bytes("F32", shape) for shape in _stored_shapes(t, model))
    wanted = tensor_type(category, r, layer_index=layer_index, value_index=value_index)
    return sum(_gpu_bytes(fitting_type(wanted, s[-1]), s) for s in _stored_shapes(t, model))


def _layer_sizes(model: ModelSpec, r: Recipe) -> Iterator[tuple[int, int]]:
    """Bytes of each layer, and of its largest matrix, in order of the layers."""
    values = 0
    for i, layer in enumerate(model.layers):
        pairs = categories(layer)
        sizes = [
            tensor_bytes(t, c, r, model, layer_index=i, value_index=values if is_value(c) else -1)
            for t, c in pairs
        ]
        values += any(is_value(c) for _, c in pairs)
        yield sum(sizes), max(sizes, default=0)


def _embedding_bytes(model: ModelSpec, r: Recipe) -> tuple[int, int]:
    """Bytes of all embeddings, and of the one that a tied output copies."""
    sizes = [
        tensor_bytes(t, "plain" if PLAIN.search(t.name) else "token_embd", r, model) for t in model.embedding
    ]
    return sum(sizes), max(sizes, default=0)


def _head_bytes(model: ModelSpec, r: Recipe) -> int:
    return sum(tensor_bytes(t, "plain" if len(t.shape) < 2 else "output", r, model) for t in model.head)


@functools.lru_cache(1024)
def model_buffer_bytes(
    model: ModelSpec, name: str, n_gpu_layers: int = -1, *, build: int = OUTPUT_FIRST_BUILD
) -> tuple[int, int]:
    """Model buffers of a GGUF file type, on the GPU and on the CPU.

    Formula: Σ offloaded layers + output (or a copy of the tied embedding); embedding and the rest on the CPU

    Parameters
    ----------
    model : the model's inventory; vision and audio towers are a file of their own [-]
    name : GGUF file type [-]
    n_gpu_layers : layers in GPU memory, counting the output as one; negative is all [-]
    build : llama.cpp's build number, which decides whether the output moves first [-]

    Returns
    -------
    GPU bytes [byte], CPU bytes [byte]

    Raises
    ------
    ValueError: not a file type whose recipe is known.

    Source
    ------
    ``llama_model::load_tensors``, https://github.com/ggml-org/llama.cpp/blob/master/src/llama-model.cpp.
    """
    r = recipe(model, name)
    on_gpu, output = offloaded(
        model.num_hidden_layers, n_gpu_layers, output_first=build >= OUTPUT_FIRST_BUILD
    )
    sizes = [size for size, _ in _layer_sizes(model, r)]
    embedding, copied = _embedding_bytes(model, r)
    head = _head_bytes(model, r)
    gpu = sum(sizes[i] for i in on_gpu) + (
        head + (copied if model.tie_word_embeddings else 0) if output else 0
    )
    cpu = embedding + sum(sizes[: on_gpu.start]) + (0 if output else head)
    return gpu, cpu


@functools.lru_cache(1024)
def streamed_bytes(
    model: ModelSpec, name: str, n_gpu_layers: int = -1, *, build: int = OUTPUT_FIRST_BUILD
) -> tuple[int, int]:
    """Largest matrices that stay on the CPU and are copied to the GPU for a large batch: of a layer, and the output.

    Formula: max over CPU layers of the largest matrix; the output matrix when it is on the CPU

    Parameters
    ----------
    model : the model's inventory [-]
    name : GGUF file type [-]
    n_gpu_layers : layers in GPU memory; negative is all [-]
    build : llama.cpp's build number [-]

    Returns
    -------
    Largest layer matrix [byte], output matrix [byte]

    Raises
    ------
    ValueError: not a file type whose recipe is known.

    Source
    ------
    ``ggml_backend_cuda_device_offload_op`` (batches of 32 tokens and more) in ggml-cuda.cu.
    """
    on_gpu, output = offloaded(
        model.num_hidden_layers, n_gpu_layers, output_first=build >= OUTPUT_FIRST_BUILD
    )
    if output and not on_gpu.start:
        return 0, 0
    r = recipe(model, name)
    largest = [big for _, big in _layer_sizes(model, r)]
    head = _embedding_bytes(model, r)[1] if model.tie_word_embeddings else _head_bytes(model, r)
    return max(largest[: on_gpu.start], default=0), 0 if output else head
