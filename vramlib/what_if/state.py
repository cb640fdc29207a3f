"""All that a what-if page has to remember: one to four configurations, the models that were uploaded, a language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vramlib import fields as scenario_fields
from vramlib import names
from vramlib.drafters import NO_MODEL
from vramlib.messages import LANGUAGES
from vramlib.what_if import uploads
from vramlib.what_if.uploads import LONGEST_NAME, Upload

MOST_CONFIGURATIONS, MOST_MODELS = 4, 4
LONGEST_TEXT = 200  # of one field's text
MOST_LENGTHS = 256  # of a list of prompt_tokens or new_tokens
FIRST = "Llama-3.1-8B"
# What stays when another engine is chosen; the others mean something else there, or nothing.
EVERY_ENGINE = (
    "model", "gpu", "gpu_memory_bytes", "engine", "max_model_len", "batch_size", "prompt_tokens", "new_tokens",
    "tensor_parallel_size", "pipeline_parallel_size", "num_processes",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One configuration: a name, and scenario fields as they were given, read but not resolved.

    Parameters
    ----------
    name : what the reader calls it; ``""`` for no name [-]
    fields : scenario fields, as text or typed; what is not given is left to the engine, the longest sequence to
        ``auto`` [-]

    Examples
    --------
    >>> Configuration(fields={"model": "Llama-3.1-8B", "max-model-len": "8k"}).fields
    {'model': 'Llama-3.1-8B', 'max_model_len': 8000}
    """

    name: str = ""
    fields: Mapping[str, Any] = field(default_factory=lambda: {"model": FIRST})

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or len(self.name) > LONGEST_NAME:
            raise ValueError(f"a configuration's name is text of at most {LONGEST_NAME} characters")
        if not isinstance(self.fields, Mapping):
            raise ValueError("a configuration's fields are names with values, such as model and gpu")
        object.__setattr__(self, "fields", _read(self.fields))


def _read(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields read as everywhere else, each of a size that fits a page."""
    if len(given) > len(scenario_fields.NAMES):
        raise ValueError(f"{len(given):,} fields; a configuration has at most {len(scenario_fields.NAMES)}")
    for name, value in given.items():
        if not isinstance(name, str) or len(name) > LONGEST_TEXT:
            raise ValueError(f"a field's name is text of at most {LONGEST_TEXT} characters")
        if isinstance(value, str | list | tuple) and len(value) > MOST_LENGTHS * 13:
            raise ValueError(f"{name[:40]} is too long; a short text or a list of lengths is needed")
        if not isinstance(value, str | int | float | list | tuple | None):
            raise ValueError(f"{name[:40]} is neither text nor a number")
    typed = scenario_fields.read(given)
    if "model" not in typed:
        raise ValueError("model is not given; name one, or upload its config.json")
    for name, value in typed.items():
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise ValueError(f"{name} is longer than {LONGEST_TEXT} characters")
        if isinstance(value, tuple) and len(value) > MOST_LENGTHS:
            raise ValueError(f"{name} has {len(value):,} lengths; {MOST_LENGTHS} at most are drawn")
    return typed


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything a page shows follows from this; each method gives a new one.

    Parameters
    ----------
    language : en or vi [-]
    current : place of the configuration that is moved [-]
    configurations : one to four; the first is what the others are compared with [-]
    models : uploaded models by name [-]

    Examples
    --------
    >>> state = State().set(gpu="L4").add("narrow cache").set(kv_cache_dtype="fp8")
    >>> [dict(c.fields) for c in state.configurations]
    [{'model': 'Llama-3.1-8B', 'gpu': 'L4'}, {'model': 'Llama-3.1-8B', 'gpu': 'L4', 'kv_cache_dtype': 'fp8'}]
    """

    language: str = "en"
    current: int = 0
    configurations: tuple[Configuration, ...] = (Configuration(),)
    models: Mapping[str, Upload] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise ValueError(f"language is {str(self.language)[:40]!r}; {' or '.join(LANGUAGES)} is needed")
        if not 1 <= len(self.configurations) <= MOST_CONFIGURATIONS:
            raise ValueError(
                f"{len(self.configurations)} configurations; 1 to {MOST_CONFIGURATIONS} are compared"
            )
        if type(self.current) is not int or not 0 <= self.current < len(self.configurations):
            raise ValueError(
                f"current is {str(self.current)[:40]}; 0 to {len(self.configurations) - 1} are there"
            )
        if len(self.models) > MOST_MODELS:
            raise ValueError(f"{len(self.models)} uploaded models; {MOST_MODELS} at most are kept")

    @property
    def fields(self) -> Mapping[str, Any]:
        """Fields of the current configuration, as given."""
        return self.configurations[self.current].fields

    @property
    def model(self) -> Upload | str:
        """The current configuration's model: the upload, or its name in the catalogue."""
        return self.models.get(self.fields["model"], self.fields["model"])

    def given(self, place: int | None = None) -> dict[str, Any]:
        """What ``vramlib.estimate`` is asked for a configuration: its fields, its model built, the longest that starts.

        Parameters
        ----------
        place : of the configuration; the current one when not given [-]

        Returns
        -------
        Field to value [-]

        Raises
        ------
        KeyError : no such model
        ValueError : an uploaded model cannot be used

        Examples
        --------
        >>> State().given()["max_model_len"]
        'auto'
        """
        own = self.configurations[self.current if place is None else place].fields
        model = uploads.model(own["model"], self.models)
        drafter = own.get("speculative_model", "")
        named = (
            {} if drafter.lower() in ("", *NO_MODEL) else {"speculative_model": names.find(drafter).model_id}
        )
        return {"max_model_len": "auto", **own, **named, "model": model}

    def set(self, /, **changes: Any) -> State:
        """The current configuration with some fields changed; ``None`` leaves the choice to the engine again.

        Another engine keeps the model, the cards and the workload; its own flags start at its defaults.

        Raises
        ------
        ValueError : no such field, or a value that it does not take
        """
        kept = dict(self.fields)
        if "engine" in changes and changes["engine"] != kept.get("engine", "vllm"):
            kept = {name: value for name, value in kept.items() if name in EVERY_ENGINE}
        return self._with(replace(self.configurations[self.current], fields={**kept, **changes}))

    def rename(self, name: str) -> State:
        """The current configuration under another name."""
        return self._with(replace(self.configurations[self.current], name=name))

    def _with(self, changed: Configuration) -> State:
        before, after = self.configurations[: self.current], self.configurations[self.current + 1 :]
        return replace(self, configurations=(*before, changed, *after))

    def select(self, place: int) -> State:
        """Another configuration is the current one."""
        return replace(self, current=place)

    def add(self, name: str = "") -> State:
        """A copy of the current configuration at the end, which is then the current one.

        Raises
        ------
        ValueError : there are four already
        """
        copied = replace(self.configurations[self.current], name=name)
        return replace(self, configurations=(*self.configurations, copied), current=len(self.configurations))

    def remove(self) -> State:
        """Without the current configuration.

        Raises
        ------
        ValueError : it is the only one
        """
        rest = self.configurations[: self.current] + self.configurations[self.current + 1 :]
        return replace(self, configurations=rest, current=max(0, self.current - 1))

    def use(self, model: Upload) -> State:
        """The current configuration with an uploaded model; models that no configuration names are forgotten.

        Its format is the file's own, so a chosen quantization is dropped.

        Raises
        ------
        ValueError : it describes no model
        """
        model.spec()
        model = self._apart(model)
        changed = self.set(model=model.name, quantization=None, dtype=None)
        named = {c.fields["model"] for c in changed.configurations}
        kept = {name: one for name, one in self.models.items() if name in named and name != model.name}
        return replace(changed, models={**kept, model.name: model})

    def _apart(self, model: Upload) -> Upload:
        """The upload under a name that no other model of this state has."""
        for number in range(2, MOST_MODELS + 3):
            if self.models.get(model.name, model) == model:
                break
            model = replace(model, name=uploads.numbered(model, number))
        return model

    def to_json(self) -> str:
        """The state as a small JSON file."""
        from vramlib.what_if import stored

        return stored.to_json(self)

    @staticmethod
    def from_json(text: str | bytes) -> State:
        """The state in a JSON file.

        Raises
        ------
        ValueError : not such a file, too large, or a field or value that cannot be used
        """
        from vramlib.what_if import stored

        return stored.from_json(text)

    def to_link(self) -> str:
        """The state as the part of a link after ``#``.

        Raises
        ------
        ValueError : it is too large for a link; a file can hold it
        """
        from vramlib.what_if import stored

        return stored.to_link(self)

    @staticmethod
    def from_link(text: str) -> State:
        """The state in a link, the whole link or the part after ``#``.

        Raises
        ------
        ValueError : no state is in it, or one that cannot be used
        """
        from vramlib.what_if import stored

        return stored.from_link(text)
