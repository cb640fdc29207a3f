"""The front door: a log in, what it means and how it compares with the estimate out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vramlib import engines
from vramlib.logs import advice, buffers, cards, compare, failures, known, measured
from vramlib.logs.advice import Advice
from vramlib.logs.collect import Facts, collect
from vramlib.logs.compare import Row
from vramlib.logs.failures import Failure
from vramlib.logs.measured import Identity
from vramlib.logs.rules import Line, Value
from vramlib.specs import Estimate
from vramlib.units import show


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What a log says, beside what was estimated for the same settings.

    Parameters
    ----------
    engine, engine_version : whose log it is [-]
    version_basis : printed, or inferred and from what [-]
    ranks : processes that printed sizes [-]
    lines : every line understood [-]
    fields : settings recognised or given, as they were estimated [-]
    measured : the engine's own figures by name, of the rank with the least KV cache [byte or count]
    parts : what the log tells of each of the eight parts, in words [-]
    estimate : for the same settings; ``None`` where something needed is missing [-]
    rows : printed figures beside estimated ones [-]
    unexplained_bytes : what of the pool's residual no other row explains [byte]
    missing : what is missing for the comparison, and the flag that gives it [-]
    identity : the engine's own sum, done again [-]
    failures : what failed [-]
    advice : what leaves more KV cache [-]
    notes : what was assumed or left out [-]
    """

    engine: str
    engine_version: str
    version_basis: str
    ranks: tuple[str, ...]
    lines: tuple[Line, ...]
    fields: Mapping[str, Any]
    measured: Mapping[str, Value]
    parts: Mapping[str, str]
    estimate: Estimate | None
    rows: tuple[Row, ...]
    unexplained_bytes: int | None
    missing: tuple[str, ...]
    identity: Identity | None
    failures: tuple[Failure, ...]
    advice: tuple[Advice, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        from vramlib.logs import show as views

        return views.text(self)

    def _repr_html_(self) -> str:
        from vramlib.logs import show as views

        return views.html(self)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as plain data, sizes in bytes, as ``vram explain --json`` prints it."""
        from vramlib.logs import plain

        return plain.explanation(self)


def explain(log: str | bytes | Iterable[str] | BinaryIO, **given: Any) -> Explanation:
    """What a start-up log, a failure's message or an nvidia-smi table means, beside the estimate for its settings.

    Parameters
    ----------
    log : its text, pieces of it, or an open binary file [-]
    given : scenario fields by name, which win over what the log tells; ``model`` where the log does not [-]

    Returns
    -------
    Shows as text, and in a notebook as HTML [-]

    Raises
    ------
    ValueError: nothing in it is known, or a given value cannot be used.
    KeyError: a given model or card is not in the catalogue.

    Examples
    --------
    >>> log = "gpu_worker.py] Available KV cache memory: 58.11 GiB"
    >>> told = explain(log, model="Llama-3.1-8B", gpu="H100-80GB", max_model_len=8192, gpu_memory_utilization=0.95)
    >>> [(row.name, abs(row.residual) < 2**24) for row in told.rows]
    [('kv_pool_bytes', True)]
    """
    facts = collect(log)
    if not facts.understood:
        raise ValueError(_nothing(facts))
    if given.get("engine"):
        facts.engines[engines.engine(str(given["engine"])).name] += facts.understood + 1
    sizes = measured.of(facts)
    version, basis = known.version(facts)
    found = compare.beside(facts, sizes, version, given)
    e = found.estimate
    return Explanation(
        engine=facts.engine,
        engine_version=e.scenario.engine_version if e else version,
        version_basis="given" if given.get("engine_version") else basis,
        ranks=facts.ranks,
        lines=tuple(facts.lines),
        fields=found.fields,
        measured=sizes,
        parts=measured.by_part(sizes, facts.engine, len(facts.ranks)),
        estimate=e,
        rows=found.rows,
        unexplained_bytes=compare.unexplained_bytes(found.rows),
        missing=found.missing if facts.engine else (),
        identity=measured.identity(sizes, facts.engine, graphs_charged=_charged(facts, version)),
        failures=(*failures.of(facts, sizes), *cards.in_use(facts, e)),
        advice=advice.more_kv_cache(e, found.fields, sizes) if e and found.card_known else (),
        notes=(*found.notes, *_notes(facts, sizes, version), *(e.warnings if e else ())),
    )


def explain_file(path: str | Path, **given: Any) -> Explanation:
    """The same for a file, read piece by piece.

    Raises
    ------
    OSError: the file cannot be read.
    ValueError: nothing in it is known, or a given value cannot be used.
    """
    with Path(path).open("rb") as file:
        return explain(file, **given)


def _nothing(facts: Facts) -> str:
    read = facts.read
    if not read.characters:
        return "the log is empty; give a start-up log of vLLM, SGLang or llama.cpp, or a failure's message"
    kind = " and looks binary" if 1000 * read.nulls > read.characters else ""
    stopped = "; reading stopped there" if read.stopped else ""
    return (
        f"no line is known among {read.lines:,} ({show(read.characters)}){kind}{stopped}; known are start-up logs of"
        " vLLM, SGLang and llama.cpp, out-of-memory messages and nvidia-smi tables"
    )


def _tokens_are_requests(version: str) -> bool:
    return bool(engines.engine("vllm", version).value("tokens_line") == "concurrency")


def _charged(facts: Facts, version: str) -> bool:
    """Whether the expected size of CUDA graphs is taken from the pool: said by the log, else by the version."""
    if "graphs_charged" in facts.kinds or "graphs_free" in facts.kinds:
        return "graphs_charged" in facts.kinds
    return bool(facts.engine == "vllm" and engines.engine("vllm", version).value("charges_cuda_graphs"))


def _notes(facts: Facts, sizes: Mapping[str, Value], version: str) -> tuple[str, ...]:
    read, notes = facts.read, []
    if facts.understood > len(facts.lines):
        notes.append(f"{facts.understood:,} lines were understood, the first {len(facts.lines):,} are shown")
    if read.cut:
        notes.append(f"{read.cut:,} lines are longer than any engine's; their beginnings were read")
    if read.stopped:
        notes.append(
            f"reading stopped after {read.lines:,} lines, {show(read.characters)}: more than any start-up log"
        )
    if len(facts.ranks) > 1 and facts.engine != "llama.cpp":
        fullest = measured.fullest_rank(facts) or "the one without a name"
        notes.append(
            f"{len(facts.ranks)} processes print sizes; shown is the one with the least KV cache, {fullest}"
        )
    if facts.engine == "sglang":
        notes.append("SGLang prints GB and divides by 2^30: every size of it is GiB")
    if facts.engine == "vllm" and "kv_pool_tokens" in sizes and _tokens_are_requests(version):
        notes.append("this version prints requests × max_model_len as tokens: no byte rate for mixed caches")
    if (many := buffers.count(facts.events)) > 1:
        notes.append(f"{many} models are loaded or tried; the figures are of the largest, the last of equals")
    if buffers.kept_off_the_card(sizes):
        kept = show(sizes["cpu_model_buffer_bytes"].value)
        notes.append(
            f"every layer is on the card, yet {kept} of weights are in the computer's memory: tensors were moved there"
            " (--override-tensor, --n-cpu-moe), which the estimate does not know"
        )
    return tuple(notes)
