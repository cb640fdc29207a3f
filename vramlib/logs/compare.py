"""The estimate for the settings of a log, and each printed figure beside it; like is compared with like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vramlib import fields, text
from vramlib.components import cuda_context
from vramlib.estimate import estimate
from vramlib.logs import known
from vramlib.logs.collect import Facts
from vramlib.logs.measured import Sizes
from vramlib.specs import Budget, Estimate

SUMS = {
    "consumed_bytes": ("weights_bytes", "persistent_bytes", "non_torch_bytes"),
}
WORDS = text.BUDGET_WORDS | {
    "consumed_bytes": "weights and what stays beside them",
    "outside_torch_bytes": "outside PyTorch, context included",
    "cuda_graph_charged_bytes": "CUDA graphs taken from the plan",
}
ORDER = (
    "requested_bytes", "weights_bytes", "consumed_bytes", "activation_peak_bytes", "non_torch_bytes",
    "outside_torch_bytes", "cuda_graph_charged_bytes", "cuda_graph_bytes", "kv_pool_bytes", "num_blocks",
    "kv_pool_tokens", "max_concurrency", "kv_bytes_at_max_model_len", "max_model_len_that_fits",
    "model_buffer_bytes", "kv_buffer_bytes", "compute_buffer_bytes",
)  # fmt: skip
ANY_CARD = (
    "weights_bytes", "kv_bytes_at_max_model_len", "model_buffer_bytes", "kv_buffer_bytes", "compute_buffer_bytes",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure, printed and estimated.

    Parameters
    ----------
    name : of ``Budget``, or a sum of its names that a version prints [-]
    words : the same for a reader [-]
    measured : as the log prints it [byte or count]
    half_digit : what its rounding hides [byte]
    estimated : for the same settings [byte or count]
    """

    name: str
    words: str
    measured: Any
    half_digit: float
    estimated: Any

    @property
    def residual(self) -> Any:
        """Measured minus estimated."""
        return self.measured - self.estimated

    @property
    def residual_share(self) -> float | None:
        """The residual as a share of the measured figure; ``None`` where that is 0."""
        return self.residual / self.measured if self.measured else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The estimate beside a log, or why there is none.

    Parameters
    ----------
    fields : what was estimated, by field [-]
    estimate : the answer; ``None`` where something needed is missing [-]
    rows : figures that both have [-]
    missing : what is missing, and the flag that gives it [-]
    notes : what was assumed [-]
    card_known : whether the card's memory is the log's or the user's [-]
    """

    fields: Mapping[str, Any]
    estimate: Estimate | None
    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    card_known: bool = False


def beside(facts: Facts, sizes: Sizes, version: str, given: Mapping[str, Any]) -> Beside:
    """The estimate for what the log tells and the user gives; what the user gives wins.

    Raises
    ------
    ValueError: a value that the user gave cannot be used.
    KeyError: a model or card that the user gave is not in the catalogue.
    """
    asked = fields.read(given)
    own, notes = known.fields_of(facts, sizes, asked)
    words = {"engine": facts.engine, "engine_version": version} | own | asked
    words = {name: value for name, value in words.items() if value != ""}
    missing = _missing(facts, words)
    if "model" not in words or not words.get("engine"):
        return Beside(fields=words, estimate=None, rows=(), missing=missing, notes=tuple(notes))
    try:
        answer = estimate(**words)
    except (ValueError, KeyError) as error:
        if asked.keys() & {"model", "gpu"} or not own:
            raise
        refused = f"no estimate for the settings in the log: {text.message(error)}"
        return Beside(fields=words, estimate=None, rows=(), missing=(*missing, refused), notes=tuple(notes))
    known_card = bool({"gpu", "gpu_memory_bytes"} & words.keys()) or facts.engine == "llama.cpp"
    rows = _rows(sizes, answer, ORDER if known_card else ANY_CARD)
    if not known_card:
        notes.append(
            f"figures that depend on the card are left out: the parts are those on {answer.gpu.name}"
        )
    return Beside(
        fields=words, estimate=answer, rows=rows, missing=missing, notes=tuple(notes), card_known=known_card
    )


def _missing(facts: Facts, words: Mapping[str, Any]) -> tuple[str, ...]:
    found = []
    if "model" not in words:
        named = facts.settings.get("model")
        says = f"the log's model {named!r} is not in the catalogue" if named else "the log names no model"
        found.append(f"{says}; give --model NAME, or --model with the path to its config.json")
    if not {"gpu", "gpu_memory_bytes"} & words.keys() and facts.engine != "llama.cpp":
        found.append("the log does not tell the card's memory; give --gpu NAME")
    return tuple(found)


def _rows(sizes: Sizes, answer: Estimate, names: tuple[str, ...]) -> tuple[Row, ...]:
    rows = []
    for name in names:
        estimated = _estimated(name, answer)
        item = sizes.get(name)
        if item and estimated is not None and not isinstance(item.value, str) and (item.value or estimated):
            rows.append(
                Row(
                    name=name,
                    words=WORDS[name],
                    measured=item.value,
                    half_digit=item.half_digit,
                    estimated=estimated,
                )
            )
    return tuple(rows)


def _estimated(name: str, answer: Estimate) -> Any:
    b = answer.budget or Budget()
    if name in SUMS:
        terms = [getattr(b, n) for n in SUMS[name]]
        return None if None in terms else sum(terms)
    if name == "cuda_graph_charged_bytes":
        return b.cuda_graph_bytes if charges_graphs(answer) else 0
    if name == "outside_torch_bytes":
        context = cuda_context.base_bytes(answer.gpu)[0]
        return None if b.non_torch_bytes is None else context + b.non_torch_bytes
    return getattr(b, name)


def charges_graphs(answer: Estimate) -> bool:
    """Whether the estimate takes CUDA graphs from the plan, as vLLM does from some version on."""
    s = answer.scenario
    return s.engine == "vllm" and bool(s.engine_spec.value("charges_cuda_graphs"))


def unexplained_bytes(rows: tuple[Row, ...]) -> int | None:
    """What of the KV pool's residual no other printed term explains [byte]; ``None`` without a pool.

    Formula: residual(pool) − (residual(requested) − Σ residual(terms))
    """
    found = {r.name: r.residual for r in rows}
    if "kv_pool_bytes" not in found or "requested_bytes" not in found:
        return None
    spent = ("consumed_bytes",) if "consumed_bytes" in found else ("weights_bytes", "non_torch_bytes")
    terms = sum(found.get(name, 0) for name in (*spent, "activation_peak_bytes", "cuda_graph_charged_bytes"))
    return int(found["kv_pool_bytes"] - found["requested_bytes"] + terms)
