"""A log as clean lines, in bounded time and memory, whatever it is: text, bytes, a huge file, one endless line."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from vramlib.units import KiB, MiB

MAX_BYTES = 128 * MiB
MAX_LINE = 32 * KiB
CHUNK = MiB
ESCAPE = re.compile(r"(?:\x1b|\\u001b|\\x1b)\[[0-9;?]{0,24}[A-Za-z]|\x1b[@-_]|\[\d{1,3}(?:;\d{1,3}){0,3}m")
BOMS = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF8, "utf-8"))
RANKS = (
    re.compile(r"\((?P<rank>(?:VllmWorker|RayWorker|RayDistributed|EngineCore|Worker|ServeReplica)[^()]{0,80})\)"),
    re.compile(r"^.{0,80}?\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?P<rank>(?: [A-Z]{2}\d{1,4}){1,4})\]"),
    re.compile(r"\[rank(?P<rank>\d{1,5})\]:"),
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Reading:
    """What was read: how many lines and characters, how many were cut or are no text, and whether reading stopped.

    Parameters
    ----------
    lines : newlines met [line]
    characters : characters met [character]
    cut : lines longer than ``MAX_LINE``, of which only the beginning was looked at [line]
    nulls : NUL characters, which text has none of [character]
    stopped : whether the limit of ``MAX_BYTES`` was reached [-]
    """

    lines: int = 0
    characters: int = 0
    cut: int = 0
    nulls: int = 0
    stopped: bool = False


def lines(log: str | bytes | Iterable[str] | BinaryIO, read: Reading) -> Iterator[tuple[int, str]]:
    r"""Clean lines with their numbers: no colours, no NULs, carriage returns as line ends, long ones cut.

    Parameters
    ----------
    log : text, bytes, pieces of text, or an open binary file [-]
    read : filled while lines are taken [-]

    Returns
    -------
    Number of the line, from 1, and its text [-]

    Examples
    --------
    >>> list(lines("a\r\n\x1b[32mb\x1b[0m", Reading()))
    [(1, 'a'), (2, 'b')]
    """
    number, pending, dropping = 1, "", False
    for piece in _bounded(_pieces(log), read):
        *whole, last = (pending + piece).split("\n")
        for line in whole:
            if not dropping:
                yield from _segments(number, line, read)
            dropping, number = False, number + 1
        read.lines = number - 1
        pending = "" if dropping else last
        if len(pending) > MAX_LINE:
            yield from _segments(number, pending, read)
            pending, dropping = "", True
    yield from _segments(number, pending, read)
    read.lines = number - 1 + bool(pending or dropping)


def _pieces(log: str | bytes | Iterable[str] | BinaryIO) -> Iterator[str]:
    """The log as text of at most ``CHUNK`` characters each."""
    if isinstance(log, str):
        yield from (log[i : i + CHUNK] for i in range(0, len(log), CHUNK))
    elif isinstance(log, bytes):
        yield from _decoded(log[i : i + CHUNK] for i in range(0, len(log), CHUNK))
    elif hasattr(log, "read"):
        yield from _decoded(iter(lambda: log.read(CHUNK), b""))
    else:
        yield from log


def _decoded(chunks: Iterable[bytes]) -> Iterator[str]:
    """Bytes as text: UTF-8, or UTF-16 where the first bytes say so; what cannot be decoded becomes a mark."""
    decoder: codecs.IncrementalDecoder | None = None
    for chunk in chunks:
        if decoder is None:
            mark, name = next(((b, n) for b, n in BOMS if chunk.startswith(b)), (b"", "utf-8"))
            decoder, chunk = codecs.getincrementaldecoder(name)(errors="replace"), chunk[len(mark) :]
        yield decoder.decode(chunk)


def _bounded(pieces: Iterable[str], read: Reading) -> Iterator[str]:
    for piece in pieces:
        read.characters += len(piece)
        if "\0" in piece:
            read.nulls += piece.count("\0")
            piece = piece.replace("\0", "")
        yield piece
        if read.characters >= MAX_BYTES:
            read.stopped = True
            return


def _segments(number: int, line: str, read: Reading) -> Iterator[tuple[int, str]]:
    """What a progress bar rewrote in one line, as lines of the same number."""
    for segment in line.split("\r"):
        if len(segment) > MAX_LINE:
            read.cut += 1
            segment = segment[:MAX_LINE]
        if segment:
            yield number, clean(segment)


def clean(line: str) -> str:
    """A line without colour codes, also where the escape character itself was lost in copying.

    Examples
    --------
    >>> clean("[32mINFO[0m ready"), clean("[2025-03-29 18:18:34 TP0] [x]m")
    ('INFO ready', '[2025-03-29 18:18:34 TP0] [x]m')
    """
    coloured = "\x1b" in line or "[0m" in line or "[m" in line or "1b[" in line
    return ESCAPE.sub("", line) if coloured else line


def rank(line: str) -> str:
    """Which process wrote the line, as the engine calls it, or ``""`` where it does not say.

    Examples
    --------
    >>> rank("(EngineCore_0 pid=7) (Worker_TP1 pid=93) INFO ready"), rank("[2025-03-29 18:18:34 DP0 TP3] ready")
    ('Worker_TP1', 'DP0 TP3')
    >>> rank("INFO 05-08 ready")
    ''
    """
    head = line[:400]
    for pattern in RANKS:
        found = [m["rank"].strip() for m in pattern.finditer(head)]
        if found:
            return _without_pid(found[-1])
    return ""


def _without_pid(label: str) -> str:
    """The process's name; its number only where nothing else tells it from others."""
    words = label.replace(",", " ").split()
    kept = [w for w in words if not w.startswith(("pid=", "ip="))]
    plain = kept and not any(c.isdigit() for c in "".join(kept))
    return " ".join(words if plain and len(words) > len(kept) else kept)
