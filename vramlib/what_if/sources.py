"""Where models come from: the catalogue with a search, or a reader's own file, read as data only.

A file is at most 1 MiB of config.json, 4 MiB of a safetensors index, or the first 64 MiB of a .gguf or .safetensors,
whose header stands at its start. Only a .gguf is written down, as its reader maps a file: under a fixed name in a
temporary folder that is gone when this returns.
"""

from __future__ import annotations

import difflib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vramlib import names
from vramlib.messages import t
from vramlib.readers import gguf, safetensors
from vramlib.units import MiB, show
from vramlib.what_if.stored import compact
from vramlib.what_if.uploads import Upload, clean, short, stem

MOST_JSON, MOST_INDEX, MOST_BYTES = MiB, 4 * MiB, 64 * MiB
MOST_NAMES = 20
LONGEST_SEARCH = 100
KEPT_TEXT = 500  # characters of one text in a file's header
FIXED_NAME = "model.gguf"


def search(text: str) -> list[str]:
    """Names of the catalogue that a reader may mean, the most likely first.

    Parameters
    ----------
    text : what was typed so far; its words may be parts of words, in any order [-]

    Returns
    -------
    At most 20 names; the first ones of the catalogue when nothing was typed [-]

    Examples
    --------
    >>> search("llama 3.1 8b")
    ['meta-llama/Llama-3.1-8B']
    >>> "Qwen/Qwen3-8B" in search("Qwn3-8B"), search("Qwen2.5-7B-Instruct-AWQ")[0]
    (True, 'Qwen2.5-7B-Instruct-AWQ')
    """
    spelled = str(text)[:LONGEST_SEARCH].strip()
    known, typed = names.models(), spelled.lower()
    words = typed.split()
    found = [name for name in known if all(word in name.lower() for word in words)]
    found.sort(
        key=lambda name: (not name.lower().rpartition("/")[2].startswith(typed), len(name)) if typed else 0
    )
    return found[:MOST_NAMES] or _alike(spelled, known)


def _alike(spelled: str, known: tuple[str, ...]) -> list[str]:
    """What a name in another spelling means (one with a format stays as it is), then names that look like it."""
    last = {name.rpartition("/")[2].lower(): name for name in known}
    near = difflib.get_close_matches(spelled.lower().rpartition("/")[2], last, n=8, cutoff=0.5)
    try:
        match = names.find(spelled)
        meant = [spelled if match.quantization else match.model_id]
    except KeyError:
        meant = []
    return list(dict.fromkeys((*meant, *(last[name] for name in near))))


def read_upload(
    file_name: str, data: bytes, language: str = "en", beside: Upload | str | None = None
) -> Upload:
    """The model in a file that a reader uploaded, or in the text of a config.json that was pasted.

    Parameters
    ----------
    file_name : as the reader's machine calls it; only a name to show is taken from it [-]
    data : the file, of a large .gguf or .safetensors its first megabytes [byte]
    language : of messages, en or vi [-]
    beside : the model that is chosen now, uploaded or of the catalogue: a safetensors header or index has no sizes of
        its own and goes with this model's config.json [-]

    Returns
    -------
    What a state keeps; its model was built once, so it can be used [-]

    Raises
    ------
    ValueError : too large, damaged, cut off in its header, or no model; one line says which

    Examples
    --------
    >>> sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    >>> config = {"model_type": "llama", "intermediate_size": 128, "vocab_size": 100, **sizes}
    >>> found = read_upload("mine.json", json.dumps(config).encode())
    >>> found.name, found.spec().num_hidden_layers
    ('mine.json', 2)
    """
    shown = short(Path(str(file_name)[-200:].replace("\\", "/")).name)[:80] or "model"
    if not data:
        raise ValueError(t("what.empty", language, file=shown))
    try:
        if data[:4] == b"GGUF":
            found = _gguf(file_name, _bounded(data, MOST_BYTES, shown, language))
        elif _is_safetensors(data):
            found = _safetensors(file_name, _bounded(data, MOST_BYTES, shown, language), language, beside)
        else:
            found = _text(file_name, _bounded(data, MOST_INDEX, shown, language), language, beside)
        _whole(found)
    except (ValueError, OSError) as problem:
        raise ValueError(short(str(problem))) from None
    return found


def _whole(found: Upload) -> None:
    """Build it once; one file of several would count as a model with fewer weights.

    Raises
    ------
    ValueError : it is no model, or only some of one's layers
    """
    layers = found.spec().layers
    missing = sum(not layer.tensors for layer in layers)
    if missing:
        raise ValueError(
            f"{found.name}: {missing} of {len(layers)} layers have no tensors in it; it may be one file of several:"
            " upload the model.safetensors.index.json, or give vram the folder"
        )


def _bounded(data: bytes, most: int, shown: str, language: str) -> bytes:
    if len(data) > most:
        raise ValueError(t("what.too_large", language, file=shown, size=show(len(data)), most=show(most)))
    return data


def _is_safetensors(data: bytes) -> bool:
    """The length of a header, then its first brace: no JSON text has a zero byte."""
    return len(data) > 8 and data[8:9] == b"{" and data[7:8] == b"\0"


def _gguf(file_name: str, data: bytes) -> Upload:
    name = clean(file_name, "gguf")
    with tempfile.TemporaryDirectory(prefix="vram-upload-") as folder:
        path = Path(folder) / FIXED_NAME
        path.write_bytes(data)
        try:
            file = gguf.read(path, header_only=True)
        except ValueError as problem:
            raise ValueError(str(problem).replace(str(path), name)) from None
    kept = {k: _cut(v) for k, v in file.metadata.items() if not _of_the_tokenizer(k, v)}
    parts = file.metadata.get("split.count", 1)
    notes = (
        [f"{name} is one of {parts} parts; the tensors of the others are not counted"] if parts != 1 else []
    )
    return Upload(name=name, kind="gguf", text=_kept(file.tensors, metadata=kept, warnings=notes))


def _of_the_tokenizer(key: str, value: Any) -> bool:
    """All but the number of tokens, which stands for a vocabulary's size."""
    return key.startswith("tokenizer.") and not (key == "tokenizer.ggml.tokens" and isinstance(value, int))


def _cut(value: Any) -> Any:
    return value[:KEPT_TEXT] if isinstance(value, str) else value


def _safetensors(file_name: str, data: bytes, language: str, beside: Upload | str | None) -> Upload:
    name = clean(file_name, "safetensors")
    headers = safetensors.header(data, name)
    config = _config_of(beside, name, language)
    return Upload(name=name, kind="safetensors", text=_kept(headers, config=config, total_size=0))


def _kept(tensors: Mapping[str, safetensors.Stored], **more: Any) -> str:
    return compact({**more, "tensors": [[n, s.dtype, list(s.shape), s.nbytes] for n, s in tensors.items()]})


def _text(file_name: str, data: bytes, language: str, beside: Upload | str | None) -> Upload:
    """A config.json, or an index that names a ``weight_map``."""
    name = clean(file_name, "config")
    try:
        read = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        why = short(str(problem))[:100]
        raise ValueError(t("what.no_model_file", language, file=name, why=why)) from None
    if not isinstance(read, dict):
        raise ValueError(t("what.no_model_file", language, file=name, why=type(read).__name__))
    if "weight_map" in read:
        return _index(file_name, read, language, beside)
    if len(data) > MOST_JSON:
        raise ValueError(t("what.too_large", language, file=name, size=show(len(data)), most=show(MOST_JSON)))
    return Upload(name=clean(_called(file_name, read), "config"), kind="config", text=compact(read))


def _called(file_name: str, config: Mapping[str, Any]) -> str:
    """A plain config.json is called as its model is, where it says so."""
    if stem(clean(file_name, "config")) not in ("config", "model"):
        return file_name
    own = (config.get(key) for key in ("_name_or_path", "model_type"))
    return next((name for name in own if isinstance(name, str) and name.strip("./ ")), file_name)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _index(file_name: str, read: Mapping[str, Any], language: str, beside: Upload | str | None) -> Upload:
    name = clean(file_name.removesuffix(safetensors.INDEX_SUFFIX), "safetensors")
    files = read["weight_map"]
    if not isinstance(files, dict) or not files or not all(isinstance(file, str) for file in files.values()):
        raise ValueError(f"{name}: weight_map names no tensors; a safetensors index names the file of each")
    metadata = read.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else 0
    size = int(total) if isinstance(total, int | float) and 0 < total < 1 << 60 else 0
    tensors = dict.fromkeys(files, safetensors.UNREAD)
    config = _config_of(beside, name, language)
    return Upload(name=name, kind="safetensors", text=_kept(tensors, config=config, total_size=size))


def _config_of(beside: Upload | str | None, name: str, language: str) -> Any:
    """The config.json that a safetensors header goes with: that of the model which is chosen now."""
    if isinstance(beside, Upload) and beside.kind != "gguf":
        data = json.loads(beside.text)
        return data if beside.kind == "config" else data["config"]
    if isinstance(beside, str):
        return dict(names.model(beside).config)
    raise ValueError(t("what.needs_config", language, file=name))
