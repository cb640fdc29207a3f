"""What an experiment says before it measures: how big it will be on this card, and the bytes it expects to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vramlib import catalog
from vramlib.measure.driver import Card, DeviceMemory
from vramlib.specs import GpuSpec, ModelSpec
from vramlib.units import GiB, MiB, show

if TYPE_CHECKING:
    from vramlib.measure.bench import Bench

MINIMUM_FREE_BYTES = 3 * GiB
DEFAULT_SHARE = 0.5
EXTRAS = 4096  # rotary frequencies and counters that transformers keeps [byte]
METERS = ("allocator", "process", "card")


class NotEnoughMemoryError(RuntimeError):
    """The experiment would not fit into the share of the free memory that it may take; nothing was started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The room that an experiment has: a card, what is free on it, and the share of that which it may take.

    Parameters
    ----------
    gpu : traits of the card, for predictions [-]
    free_bytes : free memory before the experiment starts [byte]
    share : largest part of it that may be taken, 0 to 1 [-]

    Examples
    --------
    >>> room = Room(gpu=catalog.gpu("RTX-4090"), free_bytes=20 * GiB)
    >>> show(room.budget_bytes), room.tensor_bytes < room.budget_bytes
    ('10.00 GiB', True)
    """

    gpu: GpuSpec
    free_bytes: int
    share: float = DEFAULT_SHARE

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(
                f"share is {self.share}; a part of the free memory above 0 and up to 1 is needed"
            )

    @property
    def budget_bytes(self) -> int:
        """All that may be taken, contexts included [byte]."""
        return int(self.free_bytes * self.share)

    @property
    def tensor_bytes(self) -> int:
        """What is left for tensors once a context and the libraries are there [byte]."""
        return max(0, self.budget_bytes - self.gpu.cuda_context_high_bytes - 128 * MiB)

    def check(self) -> Room:
        """The same room, if it is large enough for the smallest scale.

        Raises
        ------
        NotEnoughMemoryError: less than about 3 GiB is free.
        """
        if self.free_bytes < MINIMUM_FREE_BYTES:
            raise NotEnoughMemoryError(
                f"{show(self.free_bytes)} of {self.gpu.name} is free and the smallest scale wants"
                f" {show(MINIMUM_FREE_BYTES)}; end other programs on the card or use another one"
            )
        return self


def room_on(card: Card, memory: DeviceMemory, *, share: float = DEFAULT_SHARE) -> Room:
    """The room on a real card, with the catalogue's traits where it knows the card."""
    return Room(gpu=gpu_spec(card), free_bytes=memory.free_bytes, share=share).check()


def gpu_spec(card: Card) -> GpuSpec:
    """A real card's traits: the catalogue's by its name, else those of the nearest card; size is the driver's.

    Examples
    --------
    >>> spec = gpu_spec(Card(index=0, name="NVIDIA GeForce RTX 4090", uuid="GPU-1", total_bytes=24 * GiB))
    >>> spec.name, spec.num_sms
    ('RTX-4090', 128)
    """
    try:
        return catalog.gpu(card.name)
    except KeyError:
        known = [g for g in catalog.gpus() if g.vendor == "NVIDIA" and "g." not in g.name]
        near = min(known, key=lambda g: abs((g.memory_bytes_nvidia_smi or g.memory_bytes) - card.total_bytes))
        return replace(
            near,
            name=card.name,
            memory_bytes=card.total_bytes,
            compute_capability=card.compute_capability or near.compute_capability,
            warnings=(f"{card.name} is not in the catalogue; other traits are those of {near.name}",),
        )


def assumed_room(gpu: str = "H100-80GB", *, share: float = DEFAULT_SHARE) -> Room:
    """A room on a card that is not here, nearly empty: for predictions without a GPU."""
    spec = catalog.gpu(gpu)
    return Room(gpu=spec, free_bytes=spec.memory_bytes * 98 // 100, share=share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What vramlib expects one reading to be, written down before it is taken.

    Parameters
    ----------
    name : the reading [-]
    bytes, low_bytes, high_bytes : expected value and interval; None where no formula or figure is known [byte]
    meter : ``allocator`` (this process's tensors), ``process`` (the driver, this process) or ``card`` (everyone) [-]
    formula : in words or symbols [-]
    source : where the formula or figure is from [-]
    """

    name: str
    bytes: int | None
    meter: str
    formula: str
    source: str = ""
    low_bytes: int | None = None
    high_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.meter not in METERS:
            raise ValueError(f"{self.name}: meter {self.meter!r}; known: {', '.join(METERS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Scale and predictions of one experiment on one card.

    Parameters
    ----------
    experiment : its name [-]
    scale : what it will run, in words; printed before it starts [-]
    headline : the reading that stands for the experiment [-]
    predictions : one for each reading [-]
    needs_bytes : most memory that it expects to hold, a context included [byte]
    settings : numbers that the run is made of [-]
    """

    experiment: str
    scale: str
    headline: str
    predictions: tuple[Prediction, ...]
    needs_bytes: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def prediction(self, name: str) -> Prediction:
        """One prediction by its reading's name.

        Raises
        ------
        KeyError: the plan foresees no such reading.
        """
        for p in self.predictions:
            if p.name == name:
                return p
        raise KeyError(f"{self.experiment} foresees no reading {name!r}")


Readings = Iterator[tuple[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One question to a GPU: a plan that needs none, and a procedure that does.

    Parameters
    ----------
    name : as in ``vram measure NAME`` [-]
    part : the row of the table that it belongs to, or ``total`` [-]
    question : in one sentence [-]
    plan : scale and predictions for a room [-]
    perform : takes the readings, each as soon as it is known [-]
    variants : further environment variables, each set in a process of its own [-]
    is_fresh : every repeat in a new process, for what happens once in a process [-]
    """

    name: str
    part: str
    question: str
    plan: Callable[[Room], Plan]
    perform: Callable[[Plan, Bench], Readings]
    variants: tuple[Mapping[str, str], ...] = ({},)
    is_fresh: bool = False


def largest(room: Room, candidates: Sequence[tuple[ModelSpec, int]], *, what: str) -> tuple[ModelSpec, int]:
    """The largest scale whose bytes fit the room: candidates are ``(model, tensors' bytes)``, largest first.

    Raises
    ------
    NotEnoughMemoryError: not even the smallest fits.
    """
    for model, size in candidates:
        if size <= room.tensor_bytes:
            return model, size
    smallest = min(size for _, size in candidates)
    raise NotEnoughMemoryError(
        f"{what} takes {show(smallest)} of tensors at its smallest and may take {show(room.tensor_bytes)}:"
        f" {room.share:g} of the {show(room.free_bytes)} free on {room.gpu.name}, less a context"
    )


def with_layers(model: ModelSpec, num_layers: int) -> ModelSpec:
    """The same model at its true width with fewer layers.

    Examples
    --------
    >>> with_layers(catalog.model("Llama-3.1-8B"), 2).num_hidden_layers
    2
    """
    kept = min(num_layers, model.num_hidden_layers)
    return replace(model, num_hidden_layers=kept, layers=model.layers[:kept])
