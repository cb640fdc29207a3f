"""What decides the claims about flags, optimizations and names of models: whether they are so, what they change."""

from __future__ import annotations

from vramlib import catalog, fields, names
from vramlib.claims import Verdict, spread
from vramlib.claims.cases import (
    MIXED,
    SMALL_CARD,
    Row,
    cache_bytes,
    decided,
    middle,
    over,
    parts,
    plain_bytes,
)
from vramlib.components import cuda_context, framework_buffers
from vramlib.specs import Estimate, ModelSpec
from vramlib.units import GB, GiB


def enable_cuda_graphs_flag(row: Row) -> Verdict:
    """Whether any field of an engine has that name; what takes its place."""
    asked = row["setting"].removeprefix("--").replace("-", "_")
    exists = {asked: float(asked in fields.NAMES)}
    instead = fields.ELSEWHERE.get(asked, "")
    says = f"No engine has it: graphs are on by default and `--{instead.replace('_', '-')}` turns them off."
    return decided(row, says, spread(f"a flag called {row['setting']}", exists, 1, 1))


def tokenizer_preload(row: Row) -> Verdict:
    """Whether any addend of any estimate belongs to a tokenizer."""
    found = {e.model.name: _named(e, "tokenizer") / GB for e in over()}
    costs = {name: float(size > 0) for name, size in found.items()}
    says = f"Zero bytes in all {len(found)} estimates: tokenizers run on the CPU and send numbers."
    return decided(row, says, spread("models whose estimate has bytes for a tokenizer", costs, 1, 1))


def _named(e: Estimate, word: str) -> int:
    return sum(t.bytes for p in e.parts for t in p.terms if word in t.name.lower())


def gpu_memory_utilization_limits(row: Row) -> Verdict:
    """What the engine plans with, and what the device holds once the pool is there, over utilization × total."""
    found = [e for e in over() if e.budget and e.budget.requested_bytes]
    limit = {e.model.name: e.scenario.gpu_memory_utilization * e.gpu.memory_bytes for e in found}
    planned = {e.model.name: e.budget.requested_bytes / limit[e.model.name] for e in found if e.budget}
    device = {e.model.name: _device_peak(e) / limit[e.model.name] for e in found}
    spreads = (
        spread("planned / (utilization × total)", planned, 0, 1 + 1e-9),
        spread("whole device / (utilization × total)", device, 0, 1 + 1e-9),
    )
    says = (
        "For what the engine plans with. The whole device holds more,"
        f" {spreads[1].median:.3f}× the limit: the context and the graphs lie outside."
    )
    return decided(row, says, *spreads)


def _device_peak(e: Estimate) -> int:
    """Budget, the context taken before it, and graphs where the version does not charge them [byte]."""
    charged = e.scenario.engine_spec.value("charges_cuda_graphs")
    graphs = 0 if charged or not e.budget else e.budget.cuda_graph_bytes
    return int(e.budget.requested_bytes if e.budget else 0) + cuda_context.base_bytes(e.gpu)[0] + graphs


def paged_attention(row: Row) -> Verdict:
    """Unused cache of one sequence of 1025 tokens: in blocks against a reservation of 8192 tokens."""
    served = over(prompt_tokens=1024, new_tokens=1, max_model_len=8192)
    tail = {e.model.name: _tail(e) / _reserved(e.model) for e in served if _reserved(e.model)}
    says = f"Blocks leave unused {100 * middle(tail):.2f} % of what one reservation of 8,192 tokens would."
    return decided(row, says, spread("unused in blocks / unused when reserved whole", tail, 0, 0.999))


def _tail(e: Estimate) -> int:
    return sum(t.bytes for t in e.part("prefill_padding").terms if t.name.startswith("block tails"))


def _reserved(m: ModelSpec, tokens: int = 1025, limit: int = 8192) -> int:
    return cache_bytes(m, limit) - cache_bytes(m, tokens)


def dynamic_memory_pool(row: Row) -> Verdict:
    """Whether the pool of the engine is smaller with one sequence than with eight."""
    few, many = over(max_model_len=8192), over(max_model_len=8192, batch_size=8)
    less = {
        a.model.name: float(a.budget.kv_pool_bytes < b.budget.kv_pool_bytes)
        for a, b in zip(few, many, strict=True)
        if a.budget and b.budget
    }
    says = "The pool is taken whole at start, as large with one request as with eight; only its blocks change hands."
    return decided(row, says, spread("models whose pool shrinks with fewer requests", less, 1, 1))


def smart_batching(row: Row) -> Verdict:
    """Whether packing leaves less for tokens that are not there than padding does, in the same batch."""
    packed = parts("prefill_padding", _dense(over(prompt_tokens=MIXED)))
    padded = parts("prefill_padding", _dense(over(engine="transformers", prompt_tokens=MIXED)))
    ratio = {name: packed[name] / padded[name] for name in packed if padded[name]}
    slots, real = len(MIXED) * max(MIXED), sum(MIXED)
    says = f"{real:,} token slots instead of {slots:,}: block tails remain, {100 * middle(ratio):.1f} % of the padding."
    return decided(row, says, spread("packed / padded, dense models", ratio, 0, 0.999))


def _dense(found: tuple[Estimate, ...]) -> tuple[Estimate, ...]:
    """Without experts and latents, whose workspaces are kept whatever the batch."""
    return tuple(e for e in found if not e.model.num_experts and not e.model.kv_lora_rank)


def cuda_graphs_speed(row: Row) -> Verdict:
    """What graphs cost: whether they are free of charge, and whether models that start without them start with them."""
    with_graphs, without = (
        over(SMALL_CARD, max_model_len=4096),
        over(SMALL_CARD, max_model_len=4096, enforce_eager=True),
    )
    free = {e.model.name: float(framework_buffers.cuda_graph_bytes(e.scenario) == 0) for e in with_graphs}
    still = {a.model.name: float(a.fits) for a, b in zip(with_graphs, without, strict=True) if b.fits}
    cost = sorted(framework_buffers.cuda_graph_bytes(e.scenario) / GB for e in with_graphs)
    says = (
        f"When there is room: the speed is paid for with {cost[0]:.2f} to {cost[-1]:.2f} GB,"
        f" {cost[len(cost) // 2]:.2f} GB in the middle."
    )
    return decided(
        row,
        says,
        spread("models for which graphs take no memory", free, 1, 1),
        spread(f"models that fit an {SMALL_CARD} without graphs and fit with them", still, 1, 1),
    )


def quick_conversion(row: Row) -> Verdict:
    """The printed 16-bit sizes against exact counts, in GB and in GiB, to the digits that were printed."""
    rows = catalog.table("conversion")
    every = [(name, float(r["fp16_gb"])) for r in rows for name in r["models"].split(";")]
    nearest = [(r["nearest"], float(r["fp16_gb"])) for r in rows]
    spreads = [
        spread(
            words,
            {n: round(plain_bytes(names.model(n)) / unit) - printed for n, printed in chosen},
            0,
            0,
            label,
        )
        for words, chosen, unit, label in (
            ("all models of that name, GB, minus the printed size", every, GB, "GB"),
            ("all models of that name, GiB, minus the printed size", every, GiB, "GiB"),
            ("the Llama of that name, GiB, minus the printed size", nearest, GiB, "GiB"),
        )
    ]
    shares = [f"{s.share:.0%}".replace("%", " %") for s in spreads]
    says = (
        f"When read as GiB and for Llama, {shares[2]} are right; in GB {shares[0]} of the models called so."
        " A name is not a count."
    )
    return decided(row, says, *spreads)
