"""Care for a shared card: one measurement at a time on it, wherever it was started."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vramlib.measure.driver import Card

FAR = 1 << 20  # a byte that nobody reads, for systems that lock bytes


class BusyError(RuntimeError):
    """Another measurement runs on this card; who, and since when."""


def lock_path(card: Card, folder: str | None = None) -> Path:
    """The lock file of a card: the same for every user of the machine."""
    name = hashlib.sha256(card.uuid.encode()).hexdigest()[:16]
    return Path(folder or tempfile.gettempdir()) / f"vramlib-measure-{name}.lock"


@contextmanager
def exclusive(
    card: Card, what: str, *, wait_seconds: float = 0.0, folder: str | None = None
) -> Iterator[None]:
    """Hold the card's lock while the block runs; it is freed when this process ends, however it ends.

    Parameters
    ----------
    card : whose lock [-]
    what : is going to run; shown to whoever finds the card busy [-]
    wait_seconds : how long to wait for another measurement [s]
    folder : of the lock file; the system's temporary folder where None [-]

    Raises
    ------
    BusyError: another measurement still ran when the time was over.
    """
    path = lock_path(card, folder)
    handle = _open(path)
    try:
        end = time.monotonic() + wait_seconds
        while not _take(handle):
            if time.monotonic() >= end:
                holder = path.read_text(encoding="utf-8").strip() or "an unnamed process"
                raise BusyError(
                    f"{card.name} is being measured by {holder}; wait for it to end, or give it longer"
                )
            time.sleep(0.1)
        _sign(handle, f"pid {os.getpid()} since {time.strftime('%H:%M:%S')} ({what})")
        yield
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    """The file, made where it is missing; another user's can be locked without writing to it."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY)


def _take(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sign(handle: int, text: str) -> None:
    """Who holds the lock, for the message of whoever waits; another user's file stays unsigned."""
    try:
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, text.encode())
    except OSError:
        return
