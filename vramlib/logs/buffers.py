"""llama.cpp's buffers, added up over the cards: a log can hold several loads, contexts and passes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vramlib.logs.rules import Line, Value

KINDS = (
    "model_buffer_bytes",
    "kv_buffer_bytes",
    "state_buffer_bytes",
    "compute_buffer_bytes",
    "output_buffer_bytes",
)
ADDED = ("model_buffer_bytes", "kv_buffer_bytes", "state_buffer_bytes")
OF_CONTEXT = KINDS[1:]
MOVED = 0.3


@dataclass(slots=True)
class Load:
    """One model as it was loaded: for each kind of buffer, each device's size."""

    sizes: dict[str, dict[str, Value]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    def add(self, kind: str, device: str, size: Value, *, afresh: bool) -> None:
        """A buffer: further ones of the same device add up, unless each line gives the whole."""
        before = self.sizes[kind].get(device)
        if before and not afresh and kind in ADDED:
            size = Value(value=before.value + size.value, half_digit=before.half_digit + size.half_digit)
        self.sizes[kind][device] = size

    def total(self, kind: str, *, host: bool = False) -> Value | None:
        """Sum over the cards, or over the host's devices [byte]."""
        found = [v for d, v in self.sizes[kind].items() if on_host(d) is host]
        if not found:
            return None
        return Value(value=sum(v.value for v in found), half_digit=sum(v.half_digit for v in found))


def on_host(device: str) -> bool:
    """Whether a device's buffers lie in the computer's own memory.

    Examples
    --------
    >>> [on_host(d) for d in ("CUDA0", "CPU_Mapped", "CUDA_Host", "ROCm1", "Host")]
    [False, True, True, False, True]
    """
    return device.startswith(("CPU", "AMX", "BLAS", "Host")) or device.endswith("_Host")


def loads(events: Iterable[Line]) -> list[Load]:
    """The loads of a log, in order."""
    found = [Load()]
    for line in events:
        kind = line.rule.name
        if kind == "load" and found[-1].sizes["model_buffer_bytes"]:
            found.append(Load())
        if kind == "context":
            for name in OF_CONTEXT:
                found[-1].sizes[name].clear()
        if "device" in line.values:
            _add(found[-1], line)
    return found


def _add(load: Load, line: Line) -> None:
    device = str(line.values["device"].value)
    whole = line.rule.key.startswith("msg=") or line.rule.name == "breakdown"
    for name, item in line.values.items():
        if name in KINDS:
            load.add(name, device, item, afresh=whole)


def largest(events: Iterable[Line]) -> Load:
    """The load with the most weights on cards, the last of equals."""
    return max(
        reversed(loads(events)), key=lambda load: getattr(load.total("model_buffer_bytes"), "value", -1)
    )


def totals(events: Iterable[Line]) -> dict[str, Value]:
    r"""Sums over the cards of the load with the most weights, the last of equals; recurrent states count as KV.

    Examples
    --------
    >>> from vramlib.logs.collect import collect
    >>> log = "load_tensors:  CUDA0 model buffer size = 10.00 MiB\nload_tensors:  CUDA1 model buffer size = 6 MiB"
    >>> totals(collect(log).events)["model_buffer_bytes"].value // 2**20
    16
    """
    chosen = largest(events)
    sums = {kind: chosen.total(kind) for kind in KINDS}
    state = sums.pop("state_buffer_bytes")
    if state:
        kv = sums["kv_buffer_bytes"] or Value(value=0)
        sums["kv_buffer_bytes"] = Value(
            value=kv.value + state.value, half_digit=kv.half_digit + state.half_digit
        )
    sums["cpu_model_buffer_bytes"] = chosen.total("model_buffer_bytes", host=True)
    return {kind: size for kind, size in sums.items() if size}


def count(events: Iterable[Line]) -> int:
    """How many loads with weights a log holds [-]."""
    return sum(bool(load.sizes["model_buffer_bytes"]) for load in loads(events))


def kept_off_the_card(sizes: Mapping[str, Value]) -> bool:
    """Whether much of the weights is in the computer's memory though every layer is said to be on the card."""
    names = ("gpu_layers", "all_layers", "model_buffer_bytes", "cpu_model_buffer_bytes")
    if not all(name in sizes for name in names):
        return False
    on_card, every, model, kept = (sizes[name].value for name in names)
    return on_card == every and kept > MOVED * (model + kept)


def cards(events: Iterable[Line]) -> int:
    """How many cards hold weights of the largest load [-]."""
    return sum(not on_host(device) for device in largest(events).sizes["model_buffer_bytes"])
