"""Stored notebooks: run them top to bottom, keep the same bytes for the same results, tell what tests miss.

python -m vramlib.notebook refresh notebooks/*.ipynb      run and store
python -m vramlib.notebook check notebooks/*.ipynb        say what is wrong with the stored ones
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from traitlets.config import Config

LIVE_TAGS = {"live", "gpu"}  # cells that depend on the moment or the machine: stored empty
LARGEST = 400_000  # bytes of one notebook; a reader's browser and a diff both stay quick
WIDGET = "application/vnd.jupyter.widget-view+json"
_KEPT_METADATA = {"title", "lang"}
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


@contextmanager
def local_sockets() -> Iterator[Config]:
    """Settings for nbclient and papermill: kernels on local sockets where the platform has them, no port to collide.

    Examples
    --------
    >>> with local_sockets() as config:
    ...     config.KernelManager.transport
    'ipc'
    """
    if os.name == "nt":
        yield Config()
        return
    with tempfile.TemporaryDirectory(prefix="vram") as folder:
        sockets = {"transport": "ipc", "ip": f"{folder}/kernel"}
        yield Config({"KernelManager": sockets, "AsyncKernelManager": sockets})


def tags(cell: Any) -> set[str]:
    """Tags of one cell, an empty set where it has none."""
    return set(cell.metadata.get("tags", []))


def normalise(notebook: Any) -> Any:
    """Take out what differs between two runs with the same results; live and gpu cells are left unrun.

    Parameters
    ----------
    notebook : changed in place [-]

    Returns
    -------
    The same notebook, ready to store [-]
    """
    kept = {key: value for key, value in notebook.metadata.items() if key in _KEPT_METADATA}
    language = {"name": "python"}
    notebook.metadata = nbformat.from_dict({**kept, "kernelspec": _KERNEL, "language_info": language})
    number = 0
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(_cell_metadata(cell))
        if cell.cell_type == "code":
            live = bool(LIVE_TAGS & tags(cell))
            number += not live
            _number(cell, None if live else number)
    return notebook


def _cell_metadata(cell: Any) -> dict[str, Any]:
    """What a cell may say about itself: its tags, and whether its source is folded."""
    kept = {key: cell.metadata[key] for key in ("tags", "jupyter") if cell.metadata.get(key)}
    if "jupyter" in kept:
        kept["jupyter"] = {k: v for k, v in kept["jupyter"].items() if k == "source_hidden"}
    return {key: value for key, value in kept.items() if value}


def _number(cell: Any, number: int | None) -> None:
    """Number a cell and its outputs in reading order; without a number it is stored as not run."""
    cell.execution_count = number
    if number is None:
        cell.outputs = []
    for output in cell.outputs:
        if "execution_count" in output:
            output.execution_count = number
        if "data" in output:
            output.metadata = nbformat.from_dict({})
            output.data.pop(WIDGET, None)


def problems(path: str | Path) -> list[str]:
    """What is wrong with a stored notebook; a cell that was never run is one, as nbval would not compare it.

    Parameters
    ----------
    path : an .ipynb file [-]

    Returns
    -------
    One sentence a problem, none where all is well [-]
    """
    text = Path(path).read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    found = [f"cell {i} {fault}" for i, cell in enumerate(notebook.cells) for fault in _faults(cell)]
    if "widgets" in notebook.metadata:
        found.append("widget state is stored")
    if len(text) > LARGEST:
        found.append(f"{len(text)} characters, more than {LARGEST}")
    if not found and nbformat.writes(normalise(notebook)) + "\n" != text:
        found.append("not stored by `make refresh`")
    return [f"{path}: {fault}" for fault in found]


def _faults(cell: Any) -> list[str]:
    """What is wrong with one cell."""
    if cell.cell_type != "code" or LIVE_TAGS & tags(cell):
        return []
    found = []
    if cell.source.strip() and cell.execution_count is None:
        found.append("was never run, so no test would compare it")
    if "raises-exception" not in tags(cell) and any(o.output_type == "error" for o in cell.outputs):
        found.append("stores an error")
    if re.search(r"/(?:home|root|Users|tmp)/\w", str(cell.outputs)):
        found.append("shows a path of the machine that ran it")
    return found


def refresh(paths: Iterable[str | Path]) -> list[Path]:
    """Run each notebook in a fresh kernel, in its own folder, and store it where its results changed.

    Parameters
    ----------
    paths : .ipynb files [-]

    Returns
    -------
    The files that were written [-]
    """
    written = []
    for path in map(Path, paths):
        before = path.read_text(encoding="utf-8")
        notebook = run(nbformat.reads(before, as_version=4), path.parent)
        after = nbformat.writes(normalise(notebook)) + "\n"
        if after != before:
            path.write_text(after, encoding="utf-8")
            written.append(path)
    return written


def run(notebook: Any, folder: str | Path, environment: Mapping[str, str] | None = None) -> Any:
    """Run all cells in a fresh kernel of this Python; the first error ends it.

    Parameters
    ----------
    notebook : its outputs are replaced [-]
    folder : where the kernel starts [-]
    environment : its variables; those of this process when not given [-]

    Returns
    -------
    The same notebook [-]
    """
    from nbclient import NotebookClient

    resources = {"metadata": {"path": str(folder)}}
    with local_sockets() as config:
        NotebookClient(notebook, timeout=600, resources=resources, config=config).execute(
            env=dict(environment or os.environ)
        )
    return notebook


def main(arguments: list[str]) -> int:
    """Refresh or check the notebooks named; the exit status is 0 where nothing is wrong, else 1."""
    match arguments:
        case ["refresh", *paths] if paths:
            print("\n".join(f"stored {path}" for path in refresh(paths)) or "nothing changed")
            return 0
        case ["check", *paths] if paths:
            found = [problem for path in paths for problem in problems(path)]
            print("\n".join(found) or f"{len(paths)} notebooks are as they should be")
            return int(bool(found))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
