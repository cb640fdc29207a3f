"""A reader's own model as a state keeps it: a name, and what its file said, as text that is data only."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vramlib import catalog
from vramlib.readers import config as configs
from vramlib.readers import gguf_model, inventory
from vramlib.readers.gguf import GgufFile
from vramlib.readers.safetensors import Headers, Stored
from vramlib.specs import ModelSpec

ENDINGS = {"config": ".json", "gguf": ".gguf", "safetensors": ".safetensors"}
LONGEST_NAME = 80
MOST_CHARACTERS = 4 << 20  # of the text that a state keeps of one model
LONGEST_MESSAGE = 300
MOST_LAYERS, MOST_TENSORS, MOST_AROUND = 2_000, 400_000, 20_000  # several times those of the largest models
NOT_A_NAME = re.compile(r"[^\w.+ -]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One uploaded or pasted model.

    Parameters
    ----------
    name : what it is called, with the ending of its kind, so that it is never a catalogue name [-]
    kind : ``config``, ``gguf`` or ``safetensors`` [-]
    text : JSON of its fields, for the last two with every tensor's type, shape and bytes [-]
    """

    name: str
    kind: str
    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in ENDINGS:
            raise ValueError(f"a model's kind is {str(self.kind)[:40]!r}; {', '.join(ENDINGS)} are known")
        if self.name != clean(self.name, self.kind):
            raise ValueError(
                f"a model is called {str(self.name)[:40]!r}; write letters, digits and .+-_ only"
            )
        if not isinstance(self.text, str) or len(self.text) > MOST_CHARACTERS:
            raise ValueError(f"{self.name} is too large to keep; {MOST_CHARACTERS:,} characters at most")

    def spec(self) -> ModelSpec:
        """The model.

        Raises
        ------
        ValueError : what was uploaded describes no model
        """
        return _spec(self.name, self.kind, self.text)


def clean(name: Any, kind: str) -> str:
    """A name of letters, digits and a few signs that ends as its kind of file does.

    Examples
    --------
    >>> clean("../my model<b>.JSON", "config")
    'my model-b.json'
    """
    end = ENDINGS[kind]
    last = re.split(r"[/\\]", str(name)[-400:])[-1]
    last = last[: -len(end)] if last.lower().endswith(end) else last
    return (NOT_A_NAME.sub("-", last).strip(" .-")[: LONGEST_NAME - len(end)].strip(" .-") or "model") + end


def stem(name: str) -> str:
    """An upload's name without its ending.

    Examples
    --------
    >>> stem("my-model.safetensors")
    'my-model'
    """
    return name.rpartition(".")[0]


def numbered(upload: Upload, number: int) -> str:
    """Its name with a number before the ending.

    Examples
    --------
    >>> numbered(Upload(name="mine.json", kind="config", text="{}"), 2)
    'mine-2.json'
    """
    bare = re.sub(r"-\d$", "", stem(upload.name))[: LONGEST_NAME - 20]
    return clean(f"{bare}-{number}{ENDINGS[upload.kind]}", upload.kind)


def model(name: str, uploads: Mapping[str, Upload]) -> ModelSpec:
    """The model of that name: one of the uploads, else of the catalogue; never a file of this machine.

    Parameters
    ----------
    name : as a state has it [-]
    uploads : by name [-]

    Returns
    -------
    The model [-]

    Raises
    ------
    KeyError : neither; the nearest names are offered

    Examples
    --------
    >>> model("llama-3.1-8b", {}).name
    'meta-llama/Llama-3.1-8B'
    """
    return uploads[name].spec() if name in uploads else catalog.model(name)


@functools.lru_cache(maxsize=32)
def _spec(name: str, kind: str, text: str) -> ModelSpec:
    try:
        built = _READERS[kind](json.loads(text), stem(name))
    except ValueError as problem:
        raise ValueError(short(str(problem))) from None
    except (KeyError, TypeError, IndexError, AttributeError, RecursionError, ArithmeticError) as problem:
        raise ValueError(short(f"{name}: it does not describe a model ({problem})")) from None
    _bounded(name, built)
    return replace(built, name=stem(name), source="")


def _bounded(name: str, built: ModelSpec) -> None:
    """A model of a size that formulas go through at once.

    Raises
    ------
    ValueError : more layers or tensors than any model has
    """
    around = sum(t.count for t in (*built.towers, *built.embedding, *built.head))
    counts = {
        "layers": (built.num_hidden_layers, MOST_LAYERS),
        "tensors": (sum(n * t.count for t, n in built.tensors), MOST_TENSORS),
        "tensors around its layers": (around, MOST_AROUND),
    }
    for what, (count, most) in counts.items():
        if count > most:
            raise ValueError(f"{name}: {count:,} {what}; {most:,} at most are read here")


def short(sentence: str) -> str:
    """One line of bounded length, as a page has room for.

    Examples
    --------
    >>> short("two   blanks")
    'two blanks'
    """
    line = " ".join(sentence[: 4 * LONGEST_MESSAGE].split())
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"


def _from_config(data: Any, name: str) -> ModelSpec:
    return configs.spec(data, name=name)


def _from_gguf(data: Any, name: str) -> ModelSpec:
    warnings = tuple(map(str, data["warnings"]))
    file = GgufFile(metadata=data["metadata"], tensors=_tensors(data), warnings=warnings)
    return gguf_model.model(file, source=name)


def _from_safetensors(data: Any, name: str) -> ModelSpec:
    headers = Headers(tensors=_tensors(data), total_size=int(data["total_size"]))
    return inventory.merge(configs.spec(data["config"], name=name, lenient=headers.complete), headers)


def _tensors(data: Any) -> dict[str, Stored]:
    return {
        str(name): Stored(dtype=str(dtype), shape=tuple(map(int, shape)), nbytes=int(nbytes))
        for name, dtype, shape, nbytes in data["tensors"]
    }


_READERS = {"config": _from_config, "gguf": _from_gguf, "safetensors": _from_safetensors}
