"""What a log tells of a scenario: its settings as fields, the card, the engine's version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vramlib import catalog, engines
from vramlib.logs import buffers, settings
from vramlib.logs.collect import Facts
from vramlib.logs.measured import Sizes
from vramlib.specs import GpuSpec
from vramlib.units import GiB, MiB, show

SAME_CARD = 8 * MiB


def fields_of(facts: Facts, sizes: Sizes, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The log's own settings as fields that ``estimate`` takes."""
    own = {n: v for n, v in facts.settings.items() if n not in ("engine_version", "gpu")}
    notes: list[str] = []
    named = str(own.pop("model", ""))
    found = settings.model(named) if named and "model" not in asked else None
    if found:
        own["model"] = found
    if facts.engine == "llama.cpp":
        own |= _llamacpp(facts)
    if not {"gpu", "gpu_memory_bytes"} & asked.keys():
        own |= _card(facts, sizes, notes)
    return own, notes


def _last(facts: Facts, name: str) -> Any:
    found = [values[-1].value for (_, n), values in facts.values.items() if n == name]
    return found[-1] if found else None


def _llamacpp(facts: Facts) -> dict[str, Any]:
    """File type, cache types and layers on the card, which llama.cpp prints in lines of their own."""
    own: dict[str, Any] = {}
    layers, every = _last(facts, "gpu_layers"), _last(facts, "all_layers")
    if layers is not None:
        own["n_gpu_layers"] = -1 if layers == every else layers
    if file_type := _last(facts, "file_type"):
        own["quantization"] = FILE_TYPES.get(str(file_type), str(file_type).replace(" - ", "_").split(" ")[0])
    if (many := buffers.cards(facts.events)) > 1:
        own["pipeline_parallel_size"] = many
    flash = str(facts.settings.get("flash_attn", "")).lower()
    if flash:
        own["flash_attn"] = "true" if flash in ("1", "enabled", "true", "on") else "false"
    return own


FILE_TYPES = {
    f"{kind} - {size}": f"{kind}_{letter}"
    for kind in ("Q2_K", "Q3_K", "Q4_K", "Q5_K")
    for size, letter in (("Small", "S"), ("Medium", "M"), ("Large", "L"))
}


def _card(facts: Facts, sizes: Sizes, notes: list[str]) -> dict[str, Any]:
    """The card by its printed name, else by its printed memory."""
    name = _last(facts, "gpu") or next((c.values["gpu"].value for c in facts.cards if "gpu" in c.values), "")
    if name:
        try:
            return {"gpu": catalog.gpu(str(name))}
        except KeyError:
            notes.append(f"the log's card {name!r} is not in the catalogue")
    total = sizes.get("gpu_total_bytes")
    if total is None:
        return {}
    alike = [
        c for c in _whole_cards() if abs(c.memory_bytes - total.value) <= max(total.half_digit, SAME_CARD)
    ]
    printed = [c for c in alike if c.memory_basis == "printed"]
    if len(printed) == 1:
        notes.append(
            f"no card is named; {show(total.value)} is the memory of {printed[0].name}; --gpu names another"
        )
        return {"gpu": printed[0]}
    some = ", ".join(c.name for c in alike[:4])
    also = f": it could be {some}" if alike else ""
    notes.append(f"no card is named, only its {total.value / GiB:.2f} GiB{also}; --gpu says which")
    return {"gpu_memory_bytes": total.value}


def _whole_cards() -> list[GpuSpec]:
    return [c for c in catalog.gpus() if "g." not in c.name and "MIG" not in c.name]


def version(facts: Facts) -> tuple[str, str]:
    """The engine's version, printed or inferred from the forms of its lines, and how it is known.

    Examples
    --------
    >>> from vramlib.logs.collect import collect
    >>> version(collect("Memory profiling results: total_gpu_memory=23.64GiB initial_memory_usage=15.02GiB"
    ...     " peak_torch_memory=16.05GiB memory_usage_post_profile=15.13Gib non_torch_memory=0.12GiB"
    ...     " kv_cache_size=5.11GiB gpu_memory_utilization=0.90"))
    ('0.6.4', 'inferred: its lines are those of versions 0.6.0 to 0.6.4')
    """
    printed = facts.settings.get("engine_version")
    if printed:
        return str(printed), "printed"
    build = _last(facts, "build")
    if build is not None and facts.engine == "llama.cpp":
        return f"b{build}", "printed"
    if facts.engine != "vllm":
        return "", "not printed: the estimate uses the version it knows best" if facts.engine else ""
    first = max((engines.numbers(r.since) for r in facts.printed_by if r.since), default=(0, 2))
    last = min((engines.numbers(r.until) for r in facts.printed_by if r.until), default=(99,))
    default = engines.engine("vllm").version
    at = engines.numbers(default)
    chosen = (
        default
        if first <= at and at[: len(last)] <= last
        else _dotted(last if at[: len(last)] > last else first)
    )
    until = "on" if last == (99,) else f"to {_dotted(last)}"
    return chosen, f"inferred: its lines are those of versions {_dotted(first)} {until}"


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
