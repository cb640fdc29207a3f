"""The folder of a batch: each report in a folder of its own that appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vramlib.batch.jobs import Job

PAGE, ESTIMATE, JOB = "report.html", "estimate.json", "job.json"
LIBRARY, MARK = "charts.js", "batch.json"
PART = ".part-"  # begins the name of what is being written


def claim(out: Path) -> None:
    """Make the folder of a batch, or take up the one that an earlier batch left.

    Parameters
    ----------
    out : the folder [-]

    Raises
    ------
    ValueError : it is no folder, or holds what no batch made
    OSError : it cannot be written
    """
    from vramlib.export import chart_library

    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder to write the batch in")
    out.mkdir(parents=True, exist_ok=True)
    if not (out / MARK).is_file() and any(out.iterdir()):
        raise ValueError(f"{out} holds files that no batch made; name a new or an empty folder")
    write(out / MARK, json.dumps({"made_by": f"vramlib {version('vramlib')}"}))
    for left in out.glob(f"{PART}*"):
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    write(out / LIBRARY, chart_library())


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
    with _beside(path) as part:
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
