"""Weight loading as a trace: the tensors one rank stores, in the order in which vLLM makes its parameters.

Sizes come from ``model_weights.stored_sizes``, asked group by group, so that a trace and the closed formula of
``fragmentation`` speak of the same tensors.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from vramlib.allocator.caching import CachingAllocator
from vramlib.allocator.settings import Settings
from vramlib.allocator.traces import Event, last_stats
from vramlib.components import model_weights
from vramlib.specs import Layer, ModelSpec, Scenario, Tensor
from vramlib.units import GiB

Named = tuple[str, int]


def weight_trace(model: ModelSpec, **rank: Any) -> Iterator[Event]:
    """Requests of loading a model on one rank: embedding, layers, final norm, output matrix, towers.

    Parameters
    ----------
    model : inventory [-]
    rank : the keywords of ``model_weights.stored_sizes``: quant, dtype_bits, tp, ep, fuse, ...; with ``fuse`` (vLLM and
        SGLang, the default) q, k, v are one tensor and rope tables are kept [-]

    Returns
    -------
    One ``malloc`` for each stored tensor, in order of creation [-]

    Raises
    ------
    ValueError: more than one pipeline stage.

    Examples
    --------
    >>> from vramlib import catalog
    >>> for event in list(weight_trace(catalog.model("Llama-3.1-8B")))[:5]:
    ...     print(event.name, event.nbytes >> 20)
    embed_tokens.weight 1002
    layers.0.qkv_proj 48
    layers.0.self_attn.o_proj.weight 32
    rope table 0 32
    layers.0.gate_up_proj 224

    Source
    ------
    vLLM 0.33, vllm/model_executor/models/llama.py: order in which modules are made.
    """
    if rank.get("pp", 1) > 1:
        raise ValueError(f"weight traces are of one whole rank, pp is {rank['pp']}; use pp=1")
    tables = _rope_tables(model, rank.get("dtype_bits", 16)) if rank.get("fuse", True) else []
    seen: dict[Layer, tuple[list[Named], list[Named]]] = {}
    yield from _events("", _end_sizes(model, model.embedding, rank))
    for i, layer in enumerate(model.layers):
        if layer not in seen:
            seen[layer] = _layer_sizes(model, layer, rank)
        attention, others = seen[layer]
        yield from _events(f"layers.{i}.", attention)
        yield from _events("", tables if i == 0 else [])
        yield from _events(f"layers.{i}.", others)
    towers = model_weights.used_towers(model) if rank.get("fuse", True) else model.towers
    yield from _events("", _end_sizes(model, (*model.head, *towers), rank))


def scenario_weight_trace(s: Scenario) -> Iterator[Event]:
    """The trace of one rank of a scenario without pipeline stages.

    Parameters
    ----------
    s : model, engine, precision and tensor-parallel degree [-]

    Returns
    -------
    One ``malloc`` for each stored tensor [-]

    Examples
    --------
    >>> from vramlib import resolve
    >>> from vramlib.allocator import CachingAllocator, last_stats
    >>> from vramlib.units import GiB, show
    >>> s = resolve.scenario(model="Qwen/Qwen2.5-32B-Instruct", gpu="H100-80GB", tensor_parallel_size=2)
    >>> show(last_stats(scenario_weight_trace(s), CachingAllocator(total_bytes=80 * GiB)).allocated_bytes)
    '30.71 GiB'

    Source
    ------
    vLLM issue 15815 logged 30.7098 GiB for that model on two ranks.
    """
    return weight_trace(s.model, **model_weights.rank(s))


@functools.lru_cache(4096)
def rounding_bytes(model: ModelSpec, max_split_bytes: int = 0, **rank: Any) -> int:
    """What rounding adds to the weights of one rank, with tensors of 1 to 10 MiB placed in the segments they share.

    Formula: Σ (allocated − requested) after the whole trace

    Parameters
    ----------
    model : inventory [-]
    max_split_bytes : blocks this big are not split while loading; 0 is no limit [byte]
    rank : the keywords of ``model_weights.stored_sizes`` [-]

    Returns
    -------
    Bytes beyond the tensors themselves [byte]

    Examples
    --------
    >>> from vramlib import catalog
    >>> model = catalog.model("Qwen/Qwen2.5-7B-Instruct")
    >>> rounding_bytes(model) >> 20, rounding_bytes(model, 20 << 20) >> 20
    (57, 99)

    Source
    ------
    PyTorch's allocator as simulated here; 21 vLLM logs agree to 0.005 GiB.
    """
    trace = list(weight_trace(model, **rank))
    room = 2 * sum(event.nbytes for event in trace) + GiB
    gpu = CachingAllocator(total_bytes=room, settings=Settings(max_split_bytes=max_split_bytes))
    return last_stats(trace, gpu).rounding_bytes


def _rope_tables(model: ModelSpec, dtype_bits: int) -> list[Named]:
    return [
        (f"rope table {i}", rows * dim * dtype_bits // 8) for i, (rows, dim) in enumerate(model.rope_tables)
    ]


def _layer_sizes(model: ModelSpec, layer: Layer, rank: dict[str, Any]) -> tuple[list[Named], list[Named]]:
    """Attention, then the rest; rope tables are made between the two, by the first layer that asks for them."""
    bare = dataclasses.replace(
        model, num_hidden_layers=1, layers=(Layer(tensors=()),), embedding=(), head=(), towers=()
    )
    found: tuple[list[Named], list[Named]] = ([], [])
    for name, tensors in _groups(layer.tensors, fuse=rank.get("fuse", True)).items():
        alone = dataclasses.replace(bare, layers=(Layer(tensors=tuple(tensors)),))
        found[tensors[0].role != "attention"].extend(_named(name, alone, rank))
    return found


def _end_sizes(model: ModelSpec, tensors: Iterable[Tensor], rank: dict[str, Any]) -> list[Named]:
    bare = dataclasses.replace(model, num_hidden_layers=1, layers=(Layer(tensors=()),), head=(), towers=())
    seen: Counter[str] = Counter()
    found: list[Named] = []
    for t in tensors:
        seen[t.name] += 1
        name = t.name if seen[t.name] == 1 else f"{t.name} #{seen[t.name]}"
        found.extend(_named(name, dataclasses.replace(bare, embedding=(t,)), rank))
    return found


def _groups(tensors: Iterable[Tensor], *, fuse: bool) -> dict[str, list[Tensor]]:
    """Tensors that are stored as one, under the name of the fused one, in order of the first member."""
    found: dict[str, list[Tensor]] = {}
    for t in tensors:
        bias = ".bias" if t.name.endswith("bias") and not t.fuse.endswith(".bias") else ""
        found.setdefault(f"{t.fuse}{bias}" if fuse and t.fuse else t.name, []).append(t)
    return found


def _named(name: str, model: ModelSpec, rank: dict[str, Any]) -> Iterator[Named]:
    """The stored tensors of a one-tensor model: the matrix, then its scales, zero points and index."""
    sizes = [size for size, n in model_weights.stored_sizes(model, **rank) for _ in range(n) if size]
    for i, size in enumerate(sizes):
        yield (f"{name} part {i}" if i else name, size)


def _events(prefix: str, named: Iterable[Named]) -> Iterator[Event]:
    yield from (Event("malloc", prefix + name, size) for name, size in named)
