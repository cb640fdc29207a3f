"""The folder of a batch: each report in a folder of its own that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from vramlib._paths import named
from vramlib.batch.jobs import Job

PAGE, ESTIMATE, JOB = "report.html", "estimate.json", "job.json"
LIBRARY, MARK = "charts.js", "batch.json"
PART = ".part-"  # begins the name of what is being written
LOCKED_BYTE = 1 << 30  # of the mark, on Windows: beyond its end, so that the mark can still be read
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # of a file system on which batches are not told apart


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Hold the folder of a batch, a new one or the one that an earlier batch left, for as long as it is written.

    Parameters
    ----------
    out : the folder [-]

    Raises
    ------
    ValueError : it is no folder, holds what no batch made, or another batch is writing it
    OSError : it cannot be written
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder to write the batch in")
    out.mkdir(parents=True, exist_ok=True)
    there = {path.name: path.is_symlink() for path in out.iterdir()}
    if there and there.get(MARK, True):
        raise ValueError(f"{out} holds files that no batch made; name a new or an empty folder")
    with (out / MARK).open("r+" if MARK in there else "a", encoding="utf-8") as mark:
        try:
            _hold(mark.fileno())
        except (BlockingIOError, PermissionError):
            told = f"another batch is writing {out}; wait for its end, or name another folder"
            raise ValueError(told) from None
        _begin(out, mark)
        yield


def _begin(out: Path, mark: TextIO) -> None:
    """Say who writes here, take away what an interrupted batch left, and put the chart library there."""
    from vramlib.export import chart_library

    with named(out / MARK):
        mark.truncate(0)
        mark.write(json.dumps({"made_by": f"vramlib {version('vramlib')}"}))
        mark.flush()
    for left in out.glob(f"{PART}*"):
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    write(out / LIBRARY, chart_library())


def _hold(file: int) -> None:
    """Lock an open file until it is closed or this process dies, however it dies; an error where another has it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def finished(out: Path, job: Job) -> dict[str, Any] | None:
    """The estimate of a report that an earlier batch finished and that would be the same if made again.

    Parameters
    ----------
    out : folder of the batch [-]
    job : the report [-]

    Returns
    -------
    What its estimate.json holds, or nothing where the report has to be made [-]
    """
    folder = out / job.folder
    with contextlib.suppress(OSError, ValueError):
        same = json.loads((folder / JOB).read_text("utf-8")).get("fingerprint") == job.fingerprint
        if same and (folder / PAGE).is_file():
            return dict(json.loads((folder / ESTIMATE).read_text("utf-8")))
    return None


def keep(out: Path, job: Job, page: str, estimate: Mapping[str, Any]) -> None:
    """Store a finished report; one that was there is replaced.

    Parameters
    ----------
    out : folder of the batch [-]
    job : the report [-]
    page : its page [-]
    estimate : its numbers [-]

    Raises
    ------
    OSError : it cannot be written
    """
    about = {"number": job.number, "fingerprint": job.fingerprint, "parameters": dict(job.parameters)}
    target = out / job.folder
    with _beside(target) as part:
        part.mkdir()
        write(part / PAGE, page)
        write(part / ESTIMATE, _json(estimate))
        write(part / JOB, _json(about))
        if target.exists():
            target.rename(part.with_name(f"{part.name}-old"))
        part.rename(target)


def write(path: Path, content: str) -> None:
    """A text file that appears whole or not at all.

    Parameters
    ----------
    path : the file [-]
    content : its text [-]

    Raises
    ------
    OSError : it cannot be written; what was there stays
    """
    with named(path), _beside(path) as part:
        part.write_text(content, encoding="utf-8", newline="")
        part.replace(path)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A place on the same disk to write to; nothing of it is left, whatever happens."""
    part = target.with_name(f"{PART}{os.getpid()}-{target.name}")
    try:
        yield part
    finally:
        for left in (part, part.with_name(f"{part.name}-old")):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
