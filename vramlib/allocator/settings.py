"""The caching allocator's rules for sizes, and the switches of ``PYTORCH_ALLOC_CONF`` that change them.

Every request is rounded up to a *block* size; a block is cut from a *segment* that came from the driver. Small blocks
(1 MiB and less) share segments of 2 MiB, middle ones share segments of 20 MiB, big ones have a segment of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vramlib.units import MiB, round_up

MIN_BLOCK_BYTES = 512
SMALL_BYTES = MiB
SMALL_SEGMENT_BYTES = 2 * MiB
LARGE_SEGMENT_BYTES = 20 * MiB
MIN_LARGE_BYTES = 10 * MiB
ROUND_LARGE_BYTES = 2 * MiB
DIVISION_INTERVALS = 16
SOURCE = "PyTorch 2.13, c10/core/AllocatorConfig.h and c10/cuda/CUDACachingAllocator.cpp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Switches of the caching allocator; the defaults are PyTorch's own.

    Parameters
    ----------
    expandable_segments : one growing segment per pool and stream, instead of many fixed ones [-]
    max_split_bytes : blocks this big are never split; 0 is no limit (``max_split_size_mb``) [byte]
    max_non_split_rounding_bytes : how much bigger an unsplit block may be than the request it serves; 0 is one large
        segment (``max_non_split_rounding_mb``) [byte]
    large_segment_bytes : segment that requests of 1 to 10 MiB share (``large_segment_size_mb``) [byte]
    roundup_power2_divisions : steps between powers of two, one number for each interval 1 MiB, 2 MiB, ... 32 GiB; empty
        rounds to 512 B [-]
    garbage_collection_threshold : share of the allowed memory above which old cached blocks go back; 0 is never [-]
    per_process_memory_fraction : share of the card this process may reserve; None is no limit [-]

    Examples
    --------
    >>> Settings.parse("expandable_segments:True,max_split_size_mb:128")
    Settings(expandable_segments=True, max_split_bytes=134217728, max_non_split_rounding_bytes=0, \
large_segment_bytes=20971520, roundup_power2_divisions=(), garbage_collection_threshold=0.0, \
per_process_memory_fraction=None)

    Source
    ------
    PyTorch 2.13, c10/core/AllocatorConfig.h and c10/cuda/CUDAAllocatorConfig.h.
    """

    expandable_segments: bool = False
    max_split_bytes: int = 0
    max_non_split_rounding_bytes: int = 0
    large_segment_bytes: int = LARGE_SEGMENT_BYTES
    roundup_power2_divisions: tuple[int, ...] = ()
    garbage_collection_threshold: float = 0.0
    per_process_memory_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.max_split_bytes and self.max_split_bytes < self.large_segment_bytes:
            raise ValueError(
                f"max_split_bytes is {self.max_split_bytes:,}; 0 (no limit) or at least a large segment,"
                f" {self.large_segment_bytes:,}, works"
            )
        if any(d < 0 or d & (d - 1) for d in self.roundup_power2_divisions):
            raise ValueError(f"divisions {self.roundup_power2_divisions} must be powers of two")
        if self.roundup_power2_divisions and len(self.roundup_power2_divisions) != DIVISION_INTERVALS:
            raise ValueError(f"{DIVISION_INTERVALS} divisions are needed, 1 MiB to 32 GiB, or none")
        for name in ("garbage_collection_threshold", "per_process_memory_fraction"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a share between 0 and 1 is needed")

    @property
    def non_split_rounding_bytes(self) -> int:
        """How much bigger an unsplit block may be than the request it serves [byte]."""
        return self.max_non_split_rounding_bytes or self.large_segment_bytes

    def divisions(self, nbytes: int) -> int:
        """Steps between two powers of two for a request of this size; 0 or 1 is none."""
        if not self.roundup_power2_divisions:
            return 0
        return self.roundup_power2_divisions[min(max(0, nbytes.bit_length() - 21), DIVISION_INTERVALS - 1)]

    @classmethod
    def parse(cls, text: str) -> Settings:
        """Settings from the text of ``PYTORCH_ALLOC_CONF``.

        Raises
        ------
        ValueError: a key that the simulator does not know, or a value that is not of its kind.

        Examples
        --------
        >>> Settings.parse("roundup_power2_divisions:[64:8,128:2,>:1]").divisions(32 * MiB)
        8
        """
        found: dict[str, Any] = {}
        for key, value in _entries(text):
            if key not in _KEYS:
                raise ValueError(f"{key!r} is not a setting of the simulator; known: {', '.join(_KEYS)}")
            name, read = _KEYS[key]
            found[name] = read(value)
        return cls(**found)


def _entries(text: str) -> list[tuple[str, str]]:
    """Pairs of ``key:value``; commas inside square brackets do not separate."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    pairs = [part.strip().partition(":") for part in parts if part.strip()]
    return [(key.strip(), value.strip()) for key, _, value in pairs]


def _yes(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(f"{text!r} is neither True nor False")
    return text == "True"


def _mebibytes(text: str) -> int:
    return int(text) * MiB


def parse_divisions(text: str) -> tuple[int, ...]:
    """Divisions of the 16 intervals from ``8`` or from a list such as ``[256:1,512:2,>:4]`` (sizes in MiB).

    The first size also covers every smaller one; ``>`` covers what is above the last.

    Examples
    --------
    >>> parse_divisions("[2:8,4:2,>:1]")[:5]
    (8, 8, 2, 1, 1)
    """
    if not text.startswith("["):
        return (int(text),) * DIVISION_INTERVALS
    found, last = [0] * DIVISION_INTERVALS, -1
    for entry in text.strip("[]").split(","):
        size, _, number = entry.partition(":")
        if size.strip() == ">":
            found[last + 1 :] = [int(number)] * (DIVISION_INTERVALS - last - 1)
            continue
        index = min(max(0, int(size).bit_length() - 1), DIVISION_INTERVALS - 1)
        if last < 0:
            found[:index] = [int(number)] * index
        found[index], last = int(number), index
    return tuple(found)


_KEYS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "expandable_segments": ("expandable_segments", _yes),
    "max_split_size_mb": ("max_split_bytes", _mebibytes),
    "max_non_split_rounding_mb": ("max_non_split_rounding_bytes", _mebibytes),
    "large_segment_size_mb": ("large_segment_bytes", _mebibytes),
    "roundup_power2_divisions": ("roundup_power2_divisions", parse_divisions),
    "garbage_collection_threshold": ("garbage_collection_threshold", float),
    "per_process_memory_fraction": ("per_process_memory_fraction", float),
}
DEFAULT = Settings()


def block_bytes(nbytes: int, settings: Settings = DEFAULT) -> int:
    """A request rounded up to the size of a block.

    Formula: round_up(n, 512);  with d divisions: the next of d equal steps between two powers of two

    Parameters
    ----------
    nbytes : what was asked for [byte]
    settings : switches of the allocator [-]

    Returns
    -------
    Size that the free blocks are searched for [byte]

    Examples
    --------
    >>> block_bytes(100), block_bytes(600)
    (512, 1024)
    >>> block_bytes(1200 * MiB, Settings(roundup_power2_divisions=(4,) * 16)) // MiB
    1280

    Source
    ------
    PyTorch 2.13, c10/cuda/CUDACachingAllocator.cpp: round_size, roundup_power2_next_division.
    """
    divisions = settings.divisions(nbytes)
    if divisions > 1 and nbytes > MIN_BLOCK_BYTES * divisions:
        power = 1 << (nbytes.bit_length() - 1)
        return round_up(nbytes, power // divisions)
    return max(MIN_BLOCK_BYTES, round_up(nbytes, MIN_BLOCK_BYTES))


def segment_bytes(block: int, settings: Settings = DEFAULT) -> int:
    """Segment that the driver is asked for when no free block fits.

    Formula: ≤ 1 MiB → 2 MiB;  < 10 MiB → 20 MiB;  else round_up(n, 2 MiB)

    Parameters
    ----------
    block : a block size, already rounded [byte]
    settings : switches of the allocator [-]

    Returns
    -------
    Size of the new segment [byte]

    Examples
    --------
    >>> [segment_bytes(n * MiB) // MiB for n in (1, 2, 10, 25)]
    [2, 20, 10, 26]

    Source
    ------
    PyTorch 2.13, c10/cuda/CUDACachingAllocator.cpp: get_allocation_size.
    """
    if block <= SMALL_BYTES:
        return SMALL_SEGMENT_BYTES
    return settings.large_segment_bytes if block < MIN_LARGE_BYTES else round_up(block, ROUND_LARGE_BYTES)
