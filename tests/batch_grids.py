"""What the tests of batches share: grids, a cheap notebook whose jobs can be told to fail, and a cheaper executor."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

import vramlib
from vramlib import batch, contract
from vramlib.batch import executors, work

GOOD = {"model": "Qwen2.5-0.5B", "gpu": "T4", "max_model_len": "2048"}
FAILS, KILLS_WORKER, KILLS_WORKER_ONCE, KILLS_KERNEL, WAITS = 1005, 1006, 1007, 1008, 1009
LOG = "VRAM_TEST_LOG"  # names the folder where each job notes its processes

_CODE = f"""
import os, pathlib, signal, time
from IPython.display import display
import vramlib
from vramlib import contract, fields

log = pathlib.Path(os.environ["{LOG}"]) / str(batch_size)
tries = len(log.read_text().splitlines()) if log.exists() else 0
with log.open("a") as file:
    print(os.getppid(), os.getpid(), file=file)
if batch_size == {FAILS}:
    raise RuntimeError("this cell was told to fail")
if batch_size == {KILLS_WORKER} or batch_size == {KILLS_WORKER_ONCE} and not tries:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
if batch_size == {KILLS_KERNEL}:
    os.kill(os.getpid(), signal.SIGKILL)
if batch_size >= {WAITS} and not tries:
    time.sleep(120)
given = {{name: globals()[name] for name in fields.NAMES if name in globals()}}
display({{"application/json": contract.to_dict(vramlib.estimate(**given)), "text/plain": ""}}, raw=True)
"""


def cheap_notebook(folder: Path) -> Path:
    """A notebook that stores its estimate as the report's does, and little else."""
    parameters = new_code_cell("# Parameters\nbatch_size = 1", metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[parameters, new_code_cell(_CODE)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / "cheap.ipynb"
    nbformat.write(notebook, path)
    return path


def grid(path: Path, rows: list[Mapping[str, Any]]) -> Path:
    """A CSV with one scenario a row."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


def tries(folder: Path) -> dict[int, list[tuple[int, int]]]:
    """Worker and kernel of each try, by the job's batch_size."""
    return {
        int(file.name): [tuple(map(int, line.split())) for line in file.read_text().splitlines()]
        for file in folder.iterdir()
    }


def alive(process: int) -> bool:
    """Whether a process runs; one that ended and was not asked about yet does not."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # no /proc here, or it ended meanwhile
        return not Path("/proc/self").exists()


def in_this_process(monkeypatch: Any, made: list[str]) -> None:
    """Jobs without a kernel: their estimates are made here, and their names noted."""

    def make(parameters: Mapping[str, Any], *_: Any) -> tuple[str, dict[str, Any]]:
        given = {name: value for name, value in parameters.items() if name != "language"}
        made.append(f"{given['model']} {given.get('batch_size', 1)}")
        return "<p>a page</p>", contract.to_dict(vramlib.estimate(**given))

    @contextmanager
    def opened(workers: int, scheduler: str = "") -> Iterator[Executor]:
        with ThreadPoolExecutor(workers) as executor:
            yield executor

    monkeypatch.setattr(work, "make", make)
    monkeypatch.setattr(executors, "opened", opened)


def run(path: Path, out: Path, **words: Any) -> batch.Batch:
    """A grid's reports, as the command makes them."""
    template = words.get("template")
    return batch.run(batch.read(path, words.get("language", "en"), template), out, **words)
