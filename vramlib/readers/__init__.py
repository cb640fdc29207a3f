"""A reader's own file into a ``ModelSpec``: config.json, safetensors headers, GGUF, or a catalogue name."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path

from vramlib import names
from vramlib.readers import config as configs
from vramlib.readers import gguf, gguf_model, inventory, safetensors
from vramlib.readers.format_names import quantization_named
from vramlib.readers.formats import quantization
from vramlib.readers.ignore import applies
from vramlib.specs import ModelSpec

__all__ = ["applies", "model", "quantization", "quantization_named"]

ENDINGS = (".json", ".safetensors", ".gguf")
LOOKED_FOR = "config.json, *.gguf"


def model(source: str | os.PathLike[str]) -> ModelSpec:
    """The model that a path or a name stands for.

    Beside a config.json, the headers of safetensors files (or of their index) give the exact bytes.

    Parameters
    ----------
    source : a config.json or its folder, a .safetensors file or its .index.json, a .gguf (any part of a
        split one), or a name of the catalogue [-]

    Returns
    -------
    Inventory of the model's tensors and caches; ``warnings`` say what had to be assumed [-]

    Raises
    ------
    ValueError : the file or folder is not there, is damaged, or describes no model
    KeyError : no model of that name; the nearest are offered

    Examples
    --------
    >>> model("Llama-3.1-8B").num_hidden_layers
    32
    """
    text = os.fspath(source)
    path = Path(os.path.expanduser(text))
    if text and _exists(path):
        return _read(str(path.resolve()), _stamp(path))
    if not isinstance(source, str) or _looks_like_a_path(text):
        raise ValueError(
            f"{_short(text)}: no such file or folder; give a path that exists or a name from vram models"
        )
    return names.model(text)


def _short(text: str) -> str:
    return text if len(text) <= 300 else text[:300] + "…"


def _exists(path: Path) -> bool:
    """Whether it is there; a text that cannot be a path at all (a zero byte, too long) is not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _looks_like_a_path(text: str) -> bool:
    if text.lower().endswith(ENDINGS) or text.startswith((".", "/", "~", "\\")) or "\\" in text:
        return True
    return text.count("/") > 1 or text.endswith("/")


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when the file, or one in the folder, changes: a file is read again only then."""
    folder = path if path.is_dir() else path.parent
    found = [path] if path.is_file() else []
    found += [p for p in sorted(folder.iterdir()) if p.name.endswith(ENDINGS)][:2000]
    stats = [(p.name, p.stat()) for p in found if p.exists()]
    return tuple((name, s.st_size, s.st_mtime_ns) for name, s in stats)


@functools.lru_cache(maxsize=64)
def _read(text: str, stamp: object) -> ModelSpec:
    path = Path(text)
    if path.is_dir():
        return _folder(path)
    if path.name.lower().endswith(".gguf"):
        return gguf_model.model(gguf.read(path), source=str(path))
    if path.name.endswith((".safetensors", safetensors.INDEX_SUFFIX)):
        return _weights(path, _config_beside(path))
    if path.name.lower().endswith(".json"):
        return _config(path)
    return _unnamed(path)


def _unnamed(path: Path) -> ModelSpec:
    """A file without a telling name is known by its first bytes (as the blobs of ollama are)."""
    if not path.is_file():
        raise ValueError(f"{path}: neither a file nor a folder")
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"GGUF":
        return gguf_model.model(gguf.read(path), source=str(path))
    raise ValueError(
        f"{path}: not a model file; a config.json, .safetensors, .safetensors.index.json or .gguf is needed"
    )


def _folder(path: Path) -> ModelSpec:
    if (path / "config.json").is_file():
        return _config(path / "config.json")
    ggufs = sorted(path.glob("*.gguf"))
    sets = {m["stem"] if (m := gguf.SPLIT.fullmatch(p.name)) else p.name: p for p in reversed(ggufs)}
    if len(sets) == 1:
        return _read(str(ggufs[0]), _stamp(ggufs[0]))
    if sets:
        raise ValueError(
            f"{path}: {len(sets)} models in it ({', '.join(sorted(sets)[:3])}, …); give one .gguf file"
        )
    raise ValueError(f"{path}: no model in this folder; looked for {LOOKED_FOR}")


def _config(path: Path) -> ModelSpec:
    """A config.json, with the safetensors files beside it where there are any."""
    index = path.with_name("model" + safetensors.INDEX_SUFFIX)
    indexes = [index] if index.is_file() else sorted(path.parent.glob("*" + safetensors.INDEX_SUFFIX))
    if indexes:
        return _weights(indexes[0], path)
    single = path.with_name("model.safetensors")
    found = sorted(p for p in path.parent.glob("*.safetensors") if not p.name.startswith("adapter_"))
    files = [single] if single.is_file() else found
    if len(files) == 1:
        return _weights(files[0], path)
    spec = replace(configs.spec(configs.load(path), name=_name(path)), source=str(path))
    if not files:
        return spec
    note = f"{len(files)} .safetensors files without an index beside it; weights follow from {path.name}"
    return replace(spec, warnings=(*spec.warnings, note))


def _weights(path: Path, config: Path) -> ModelSpec:
    headers = safetensors.read(path)
    spec = configs.spec(configs.load(config), name=_name(config), lenient=headers.complete)
    return replace(inventory.merge(spec, headers), source=str(path))


def _config_beside(path: Path) -> Path:
    config = path.with_name("config.json")
    if not config.is_file():
        raise ValueError(
            f"{path}: config.json is not beside it; put the model's config.json in the same folder"
        )
    return config


def _name(path: Path) -> str:
    """The folder's name; a Hugging Face cache keeps the model's own two folders above."""
    folder = path.resolve().parent
    cached = folder.parent.parent.name if folder.parent.name == "snapshots" else ""
    name = cached.removeprefix("models--").replace("--", "/") or folder.name
    return name if path.name == "config.json" else path.stem
