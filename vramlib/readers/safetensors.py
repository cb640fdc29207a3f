"""Headers of safetensors files and of their index: dtype, shape and bytes of every tensor, never the data."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INDEX_SUFFIX = ".safetensors.index.json"
MAX_INDEX_BYTES = 100_000_000
"""As the safetensors format bounds its own header."""
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
    "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3",
    "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0", "F4": "float4", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
    "BOOL": "bool",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One tensor as a file stores it.

    Parameters
    ----------
    dtype : in words, ``bfloat16``, ``int32``, ``Q4_K``; ``""`` when only the name is known [-]
    shape : as in the file [element]
    nbytes : its bytes in the file; -1 when only the name is known [byte]
    """

    dtype: str
    shape: tuple[int, ...]
    nbytes: int


UNREAD = Stored(dtype="", shape=(), nbytes=-1)
"""A tensor that an index names while its file is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """What the headers of one checkpoint say together."""

    tensors: Mapping[str, Stored]
    total_size: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Every tensor's bytes were read."""
        return all(t.nbytes >= 0 for t in self.tensors.values())


def read(path: Path) -> Headers:
    """Headers of one file, or of every file that an index names and that stands beside it.

    Parameters
    ----------
    path : a ``.safetensors`` file or its ``.safetensors.index.json`` [-]

    Returns
    -------
    Every tensor's dtype, shape and bytes [-]

    Raises
    ------
    ValueError : the file is cut off, too large in its header, or not of this format

    Source
    ------
    safetensors 0.4 and later check a header before use: at most 100 MB, offsets in order and within the file.
    """
    return _index(path) if path.name.endswith(".json") else Headers(tensors=_header(path))


def _header(path: Path) -> dict[str, Stored]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            slices = ((name, file.get_slice(name)) for name in file.keys())  # noqa: SIM118 (it is no dict)
            return {name: _stored(s.get_dtype(), tuple(s.get_shape())) for name, s in slices}
    except SafetensorError as problem:
        raise ValueError(f"{path}: not a sound safetensors file ({problem}); download it again") from problem
    except OSError as problem:
        raise ValueError(f"{path}: cannot be opened ({problem.strerror or problem})") from problem


def header(data: bytes, name: str) -> dict[str, Stored]:
    """Every tensor's dtype, shape and bytes from the first bytes of a file, whose data may be cut off.

    Parameters
    ----------
    data : at least the header [byte]
    name : what messages call the file [-]

    Returns
    -------
    Tensor name to what the file stores [-]

    Raises
    ------
    ValueError : the header is cut off, or not of this format

    Examples
    --------
    >>> start = b'{"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}'
    >>> header(len(start).to_bytes(8, "little") + start, "model.safetensors")["w"].nbytes
    12

    Source
    ------
    safetensors, README "Format": eight bytes with the header's length, the header as JSON, then the data.
    """
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= len(data) - 8:
        raise ValueError(f"{name}: cut off: a header of {size} bytes is needed and {len(data) - 8} are there")
    try:
        fields = json.loads(data[8 : 8 + size])
        rows = {k: v for k, v in fields.items() if k != "__metadata__"}
        found = {k: _stored(v["dtype"], _shape(v["shape"])) for k, v in rows.items()}
        spans = {k: v["data_offsets"][1] - v["data_offsets"][0] for k, v in rows.items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as problem:
        raise ValueError(f"{name}: not a sound safetensors header ({str(problem)[:100]})") from problem
    wrong = next((k for k, t in found.items() if spans[k] != t.nbytes), None)
    if wrong is not None:
        raise ValueError(
            f"{name}: {wrong[:80]} has {spans[wrong]} bytes where its shape needs {found[wrong].nbytes}"
        )
    return found


def _shape(sizes: Any) -> tuple[int, ...]:
    """A shape of sound numbers."""
    if (
        not isinstance(sizes, list)
        or len(sizes) > 8
        or not all(type(n) is int and 0 <= n < 1 << 40 for n in sizes)
    ):
        raise ValueError("a shape is a list of at most 8 whole numbers")
    return tuple(sizes)


@functools.lru_cache(maxsize=1 << 12)
def _stored(dtype: str, shape: tuple[int, ...]) -> Stored:
    nbytes = math.prod(shape) * BITS[dtype] // 8
    return Stored(dtype=NAMES.get(dtype, dtype.lower()), shape=shape, nbytes=nbytes)


def _index(path: Path) -> Headers:
    files, total = _weight_map(path)
    folder, found, missing = path.parent, dict[str, Stored](), []
    for file in sorted(set(files.values())):
        if not (folder / file).is_file():
            missing.append(file)
            continue
        found |= _header(folder / file)
    tensors = {name: found.get(name, UNREAD) for name in files} | found
    return Headers(
        tensors=tensors, total_size=total, warnings=_missing(path, missing, len(set(files.values())))
    )


def _missing(path: Path, missing: list[str], count: int) -> tuple[str, ...]:
    if not missing:
        return ()
    listed = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
    return (f"{path.name}: {len(missing)} of {count} files are not beside it ({listed})",)


def _weight_map(path: Path) -> tuple[dict[str, str], int]:
    index = load_json(path)
    files = index.get("weight_map")
    if not isinstance(files, dict) or not files:
        raise ValueError(
            f"{path}: no weight_map in it; a safetensors index names the file of every tensor there"
        )
    for file in files.values():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise ValueError(
                f"{path}: weight_map names {str(file)[:80]!r}; a .safetensors file beside it is needed"
            )
    metadata = index.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return files, int(total) if isinstance(total, (int, float)) and 0 < total < 1 << 60 else 0


def load_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of sound size.

    Parameters
    ----------
    path : the file [-]

    Returns
    -------
    Its fields [-]

    Raises
    ------
    ValueError : it is missing, too large, not JSON, or not an object
    """
    try:
        size, text = path.stat().st_size, b""
        if size <= MAX_INDEX_BYTES:
            text = path.read_bytes()
    except OSError as problem:
        raise ValueError(f"{path}: cannot be opened ({problem.strerror})") from problem
    if size > MAX_INDEX_BYTES:
        raise ValueError(f"{path}: {size} bytes; a JSON file of at most 100 MB is needed")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{path}: not JSON ({problem})") from problem
    if not isinstance(value, dict):
        raise ValueError(f"{path}: a JSON object is needed, not a {type(value).__name__}")
    return value
