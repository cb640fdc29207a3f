"""What an estimate is made of: terms add up to parts, eight parts and a budget to an answer."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from vramlib.units import choose, show

if TYPE_CHECKING:
    from vramlib.inventory import ModelSpec
    from vramlib.specs import GpuSpec, Scenario

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
class Budget:
    """What a preallocating engine reserves at start, and the KV pool left; ``None`` where a name does not apply.

    Identity (vLLM): requested − weights − persistent − activation peak − non-torch (− graphs where the version
    charges them) = KV pool. llama.cpp fills the three buffer fields instead.
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
Record = TypeVar("Record", Part, Budget)


def chosen(condition: Any, yes: Record, no: Record) -> Record:
    """One of two parts or budgets; where the condition is an array, their numbers element by element.

    Examples
    --------
    >>> chosen(False, Budget(num_blocks=1), Budget(num_blocks=2)).num_blocks
    2
    """
    if not hasattr(condition, "shape"):
        return yes if condition else no
    pairs = {f.name: (getattr(yes, f.name), getattr(no, f.name)) for f in fields(no)}
    numbers = {name: pair for name, pair in pairs.items() if not isinstance(pair[0], str | tuple | None)}
    return replace(no, **{name: choose(condition, *pair) for name, pair in numbers.items()})


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
            raise ValueError(
                f"parts are {[p.key for p in self.parts]}; the eight of the table in order are needed"
            )

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
