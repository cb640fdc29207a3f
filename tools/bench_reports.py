"""Time of one report of a batch beside papermill running an empty notebook, and of a batch with one and two jobs."""

import csv
import os
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import nbformat
import papermill
from nbformat.v4 import new_code_cell, new_notebook

from vramlib import batch, report
from vramlib.notebook import local_sockets

ROUNDS, REPORTS = 3, 6
SCENARIO = {"model": "Llama-3.1-8B", "gpu": "L4", "max_model_len": "8192"}


def seconds(run: Callable[[], object]) -> float:
    """Best of a few rounds, so that another process on the machine does not count."""
    return min(timeit.repeat(run, number=1, repeat=ROUNDS))


def empty(folder: Path) -> None:
    """The floor: a kernel starts, runs one empty cell, ends; as papermill does it for anyone."""
    notebook = new_notebook(cells=[new_code_cell("")])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "empty.ipynb")
    with local_sockets() as config:
        words = {"progress_bar": False, "config": config}
        papermill.execute_notebook(str(folder / "empty.ipynb"), str(folder / "out.ipynb"), **words)


def pace(folder: Path, jobs: int) -> tuple[float, float]:
    """Seconds until a batch's processes have each made a report, and seconds a report from there on."""
    grid = folder / "grid.csv"
    with grid.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([*SCENARIO, "batch_size"])
        writer.writerows([*SCENARIO.values(), n] for n in range(1, REPORTS + jobs + 1))
    start, ends = time.perf_counter(), []
    batch.run(
        batch.read(grid),
        folder / f"batch-{jobs}",
        workers=jobs,
        told=lambda _: ends.append(time.perf_counter() - start),
    )
    return ends[jobs - 1], (ends[-1] - ends[jobs - 1]) / REPORTS


def main() -> None:
    """Print the floor, one report, and how a batch scales."""
    page = report.read(SCENARIO)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty(folder)
        floor, one = (
            seconds(lambda: empty(folder)),
            seconds(lambda: report.made(report.typed(page), "charts.js")),
        )
        print(f"report {one:.2f} s; papermill with an empty notebook {floor:.2f} s; ratio {one / floor:.1f}")
        (_, alone), (first, both) = pace(folder, 1), pace(folder, 2)
    print(
        f"batch on {os.cpu_count()} cores: a report every {alone:.1f} s with 1 job, every {both:.1f} s with 2,"
        f" {alone / both:.2f} times as fast; 200 with 2 jobs in about {(first + 198 * both) / 60:.0f} minutes,"
        f" the first after {first:.0f} s"
    )


if __name__ == "__main__":
    main()
