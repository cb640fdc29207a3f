"""Headers of GGUF files through the ``gguf`` package, counts checked first: metadata and tensors, no data."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vramlib.readers.safetensors import Stored

MAX_FIELDS, MAX_TENSORS = 1 << 16, 1 << 18
"""Far above any real file, which has some tens of fields and thousands of tensors."""
SPLIT = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufFile:
    """What the headers of one model say, all parts of a split set together.

    Parameters
    ----------
    metadata : key → value; of a list of texts, or a long one, only its length [-]
    tensors : name → type, shape ``[out, in]`` and bytes [-]
    warnings : parts that are not there [-]
    """

    metadata: Mapping[str, Any]
    tensors: Mapping[str, Stored]
    warnings: tuple[str, ...] = ()


def read(path: Path, *, header_only: bool = False) -> GgufFile:
    """Metadata and tensors of a GGUF file, with the further parts of a split set beside it.

    Parameters
    ----------
    path : the file, or any part of a set named ``…-00001-of-00003.gguf`` [-]
    header_only : the tensors' data may be cut off, as in the first megabytes of a file [-]

    Returns
    -------
    Headers of all parts found [-]

    Raises
    ------
    ValueError : wrong magic, unknown version or type, absurd counts, a file cut off, or no first part

    Source
    ------
    ggml, docs/gguf.md: layout of the header; names of the parts of a split model.
    """
    match = SPLIT.fullmatch(path.name)
    if not match:
        return GgufFile(**_one(path, header_only))
    count = int(match["count"])
    parts = [path.with_name(f"{match['stem']}-{i:05d}-of-{count:05d}.gguf") for i in range(1, count + 1)]
    found = [p for p in parts if p.is_file()]
    if not parts or found[:1] != parts[:1]:
        raise ValueError(f"{path}: part 1 of {count} holds the metadata and is not beside it")
    read_parts = [_one(p) for p in found]
    tensors = {name: t for part in read_parts for name, t in part["tensors"].items()}
    return GgufFile(metadata=read_parts[0]["metadata"], tensors=tensors, warnings=_absent(parts, found))


def _absent(parts: list[Path], found: list[Path]) -> tuple[str, ...]:
    there = set(found)
    missing = [p.name for p in parts if p not in there]
    if not missing:
        return ()
    listed = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
    return (
        f"{len(missing)} of {len(parts)} parts are not beside it ({listed}); their tensors are not counted",
    )


def _one(path: Path, header_only: bool = False) -> dict[str, Any]:
    from vramlib.readers.gguf_bounded import BoundedReader, HeaderReader, value

    try:
        _checked_start(path)
        reader = (HeaderReader if header_only else BoundedReader)(path)
        metadata = {key: value(field) for key, field in reader.fields.items()}
        return {"metadata": metadata, "tensors": {t.name: _stored(t) for t in reader.tensors}}
    except OSError as problem:
        raise ValueError(f"{path}: cannot be opened ({problem.strerror or problem})") from problem
    except (ValueError, KeyError, IndexError, OverflowError, TypeError, struct.error) as problem:
        text = problem.args[0] if problem.args else problem
        raise ValueError(f"{path}: not a sound GGUF file ({text}); download it again") from problem


def _checked_start(path: Path) -> None:
    """Magic, version and counts, before anything loops over them."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(24)
    if start[:4] != b"GGUF":
        raise ValueError(f"it starts with {start[:4]!r}; b'GGUF' is needed")
    if len(start) < 24:
        raise ValueError(f"cut off after {size} bytes")
    order = "<" if struct.unpack("<I", start[4:8])[0] & 0xFFFF else ">"
    version, tensors, fields = struct.unpack(f"{order}IQQ", start[4:])
    if version not in (2, 3):
        raise ValueError(f"version {version}; 2 or 3 is needed")
    # the least that one tensor and one field take: an empty name, its length, a type, and so on
    if tensors > min(MAX_TENSORS, size // 24) or fields > min(MAX_FIELDS, size // 13):
        raise ValueError(f"it announces {tensors} tensors and {fields} fields in {size} bytes")


def _stored(tensor: Any) -> Stored:
    """GGUF lists the fastest dimension first; here it is the last, as in ``[out, in]``."""
    shape = tuple(int(n) for n in reversed(tensor.shape.tolist()))
    if math.prod(shape) != tensor.n_elements:
        raise ValueError(f"{tensor.name}: {shape} elements do not fit the file")
    return Stored(dtype=tensor.tensor_type.name, shape=shape, nbytes=int(tensor.n_bytes))
