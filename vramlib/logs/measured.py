"""From facts to an engine's own figures: one rank's sizes under the names of ``Budget``, and whether they add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vramlib.logs import buffers
from vramlib.logs.collect import Facts
from vramlib.logs.rules import Value
from vramlib.units import MiB, show

Sizes = Mapping[str, Value]
ACROSS_RANKS = ("kv_pool_tokens", "num_blocks", "max_concurrency", "kv_pool_bytes")
SLACK = 2 * MiB
TERMS = {
    "consumed_bytes": "weights and what stays beside them",
    "weights_bytes": "weights",
    "activation_peak_bytes": "activation peak",
    "non_torch_bytes": "outside PyTorch",
    "torch_peak_bytes": "PyTorch's peak",
    "outside_torch_bytes": "outside PyTorch",
    "cuda_graph_estimated_bytes": "CUDA graphs expected",
}
SUMS = (
    ("consumed_bytes", "activation_peak_bytes"),
    ("weights_bytes", "activation_peak_bytes", "non_torch_bytes"),
    ("torch_peak_bytes", "outside_torch_bytes"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whether what was requested, less what was used, is what was left: the engine's own sum, done again.

    Parameters
    ----------
    terms : name and signed size of each addend [byte]
    printed : what the engine printed as the result [byte]
    rounding : what the rounding of the printed figures can hide [byte]
    """

    terms: tuple[tuple[str, int], ...]
    printed: int
    rounding: int

    @property
    def sum_bytes(self) -> int:
        """The sum of the terms [byte]."""
        return sum(size for _, size in self.terms)

    @property
    def difference_bytes(self) -> int:
        """Printed minus sum [byte]."""
        return self.printed - self.sum_bytes

    @property
    def holds(self) -> bool:
        """Whether the difference is no more than rounding."""
        return abs(self.difference_bytes) <= self.rounding

    def __str__(self) -> str:
        signs = ("", *("−" if size < 0 else "+" for _, size in self.terms[1:]))
        shown = zip(signs, self.terms, strict=True)
        left = " ".join(f"{sign} {show(abs(size))} {words}" for sign, (words, size) in shown)
        end = (
            "within rounding" if self.holds else f"{show(self.difference_bytes)} of it are not in these terms"
        )
        return f"{left.strip()} = {show(self.sum_bytes)}; printed {show(self.printed)}: {end}"


def of(facts: Facts) -> dict[str, Value]:
    """What one rank measured: the rank with the smallest pool, and what only others printed.

    Examples
    --------
    >>> from vramlib.logs.collect import collect
    >>> sizes = of(collect("(Worker_TP0 pid=7) INFO [gpu_worker.py:392] Available KV cache memory: 53.60 GiB"))
    >>> round(sizes["kv_pool_bytes"].value / 2**30, 2)
    53.6
    """
    if facts.engine == "llama.cpp":
        return _of_rank(facts, fullest_rank(facts)) | buffers.totals(facts.events)
    sizes = _of_rank(facts, fullest_rank(facts))
    share = facts.settings.get("gpu_memory_utilization")
    if share and "gpu_memory_utilization" not in sizes:
        sizes["gpu_memory_utilization"] = Value(value=float(share))
    if facts.engine == "vllm":
        _graphs_charged(facts, sizes)
    return _sglang(sizes) if facts.engine == "sglang" else _vllm(sizes)


def fullest_rank(facts: Facts) -> str:
    """The rank with the least KV cache, or with the most weights where no pool was printed."""
    pools = {r: _pick(facts, r, "kv_pool_bytes") for r in facts.ranks}
    known = {r: v.value for r, v in pools.items() if v}
    if known:
        return min(known, key=known.__getitem__)
    weights = {r: v.value for r in facts.ranks if (v := _pick(facts, r, "weights_bytes"))}
    return max(weights, key=weights.__getitem__) if weights else (facts.ranks or ("",))[0]


def _of_rank(facts: Facts, chosen: str) -> dict[str, Value]:
    sizes: dict[str, Value] = {}
    for rank, name in sorted(facts.values, key=lambda key: key[0] != chosen):
        found = _pick(facts, rank, name)
        if found is None:
            continue
        if name not in sizes:
            sizes[name] = found
        elif name in ACROSS_RANKS and not isinstance(found.value, str) and rank != chosen:
            sizes[name] = min(sizes[name], found, key=lambda v: v.value)
    return sizes


def _pick(facts: Facts, rank: str, name: str) -> Value | None:
    """One value of a rank: the last that was printed; for SGLang the first, since a draft model comes second."""
    printed = facts.values.get((rank, name))
    if not printed:
        return None
    if facts.engine == "sglang" and name == "cuda_graph_bytes":
        return Value(value=sum(v.value for v in printed), half_digit=sum(v.half_digit for v in printed))
    return printed[0] if facts.engine == "sglang" else printed[-1]


def _combined(*signed: tuple[int, Value]) -> Value:
    return Value(
        value=sum(sign * v.value for sign, v in signed), half_digit=sum(v.half_digit for _, v in signed)
    )


def _vllm(sizes: dict[str, Value]) -> dict[str, Value]:
    """Figures that a version prints only in sums, taken apart."""
    total, share = sizes.get("gpu_total_bytes"), sizes.get("gpu_memory_utilization")
    if total and share and "requested_bytes" not in sizes:
        sizes["requested_bytes"] = Value(
            value=round(total.value * float(share.value)), half_digit=total.half_digit
        )
    requested = sizes.get("requested_bytes")
    if requested and share and total is None:
        sizes["gpu_total_bytes"] = Value(
            value=round(requested.value / float(share.value)),
            half_digit=requested.half_digit / float(share.value),
        )
    if "torch_peak_bytes" in sizes and "weights_bytes" in sizes and "activation_peak_bytes" not in sizes:
        sizes["activation_peak_bytes"] = _combined(
            (1, sizes["torch_peak_bytes"]), (-1, sizes["weights_bytes"])
        )
    if "consumed_bytes" in sizes and "non_kv_bytes" in sizes and "activation_peak_bytes" not in sizes:
        sizes["activation_peak_bytes"] = _combined((1, sizes["non_kv_bytes"]), (-1, sizes["consumed_bytes"]))
    return sizes


def _graphs_charged(facts: Facts, sizes: dict[str, Value]) -> None:
    """What the plan gives to CUDA graphs: nothing where the log says so, else what the engine expects them to take."""
    if "graphs_free" in facts.kinds:
        sizes["cuda_graph_charged_bytes"] = Value(value=0)
    elif "graphs_charged" in facts.kinds and "cuda_graph_estimated_bytes" in sizes:
        sizes["cuda_graph_charged_bytes"] = sizes["cuda_graph_estimated_bytes"]


def _sglang(sizes: dict[str, Value]) -> dict[str, Value]:
    start, loaded = sizes.get("free_at_start_bytes"), sizes.get("free_after_load_bytes")
    if start and loaded and "weights_bytes" not in sizes:
        sizes["weights_bytes"] = _combined((1, start), (-1, loaded))
    if "swa_pool_bytes" in sizes:
        sizes["kv_pool_bytes"] = sizes["swa_pool_bytes"]
    elif "k_bytes" in sizes and "v_bytes" in sizes and "kv_pool_bytes" not in sizes:
        sizes["kv_pool_bytes"] = _combined((1, sizes["k_bytes"]), (1, sizes["v_bytes"]))
    return sizes


def identity(sizes: Sizes, engine: str, *, graphs_charged: bool) -> Identity | None:
    """The engine's own sum, done again from its printed figures; ``None`` where a term is missing."""
    if engine == "sglang":
        return _sglang_identity(sizes)
    if engine != "vllm" or not {"requested_bytes", "kv_pool_bytes"} <= sizes.keys():
        return None
    for names in SUMS:
        if all(name in sizes for name in names):
            graphs = graphs_charged and "cuda_graph_estimated_bytes" in sizes
            return _sum(sizes, (*names, "cuda_graph_estimated_bytes") if graphs else names)
    return None


def _sum(sizes: Sizes, used: tuple[str, ...]) -> Identity:
    requested, pool = sizes["requested_bytes"], sizes["kv_pool_bytes"]
    digits = sum(sizes[name].half_digit for name in used) + requested.half_digit + pool.half_digit
    terms = (("requested", requested.value), *((TERMS[name], -sizes[name].value) for name in used))
    return Identity(terms=terms, printed=pool.value, rounding=round(digits) + SLACK)


def _sglang_identity(sizes: Sizes) -> Identity | None:
    names = ("free_at_start_bytes", "free_after_load_bytes", "gpu_memory_utilization", "kv_pool_bytes")
    if not all(name in sizes for name in names):
        return None
    start, loaded, share, pool = (sizes[name] for name in names)
    kept = round(start.value * (1 - float(share.value)))
    states = sum(sizes[name].value for name in ("conv_bytes", "ssm_bytes") if name in sizes)
    terms = [("free after loading", loaded.value), ("kept free", -kept)]
    terms += [("recurrent states", -states)] if states else []
    digits = start.half_digit + loaded.half_digit + 2 * pool.half_digit
    return Identity(terms=tuple(terms), printed=pool.value, rounding=round(digits) + SLACK)


def by_part(sizes: Sizes, engine: str, num_ranks: int = 1) -> dict[str, str]:
    """What the log tells of each of the eight parts, in words; parts it is silent about are left out."""
    told: dict[str, str] = {}
    for part, name, words in PARTS:
        if name in sizes and part not in told:
            told[part] = words.format(show(sizes[name].value))
    if "non_torch_bytes" in sizes:
        home = "multi_process" if num_ranks > 1 else "cuda_context"
        told.setdefault(
            home, f"growth outside PyTorch while profiling: {show(sizes['non_torch_bytes'].value)}"
        )
    start, total = sizes.get("free_at_start_bytes"), sizes.get("gpu_total_bytes")
    if start and total and engine == "vllm":
        taken = show(total.value - start.value)
        before = f"{taken} in use before the engine's plan, other processes included"
        told["cuda_context"] = "; ".join(filter(None, (before, told.get("cuda_context"))))
    return told


PARTS = (
    ("model_weights", "model_buffer_bytes", "{} in GPU buffers"),
    ("model_weights", "weights_bytes", "{}, rounding by the allocator included"),
    ("kv_cache", "kv_buffer_bytes", "{} in GPU buffers, for every cell of the context"),
    ("kv_cache", "kv_pool_bytes", "{} reserved as a pool; what a workload holds of it is less"),
    ("activations", "compute_buffer_bytes", "{} of compute buffers"),
    ("activations", "activation_peak_bytes", "{} at the shape of the profile run"),
    ("framework_buffers", "cuda_graph_bytes", "{} of CUDA graphs"),
    ("cuda_context", "outside_torch_bytes", "{} outside PyTorch, other processes included"),
    ("fragmentation", "unallocated_bytes", "{} held by PyTorch and not in use"),
    ("multi_process", "communication_bytes", "{} when the processes were connected"),
)
