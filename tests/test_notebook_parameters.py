"""Every notebook with parameters runs with other models, other cards and in Vietnamese, one kernel for all of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from jupyter_client.manager import KernelManager
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines

from vramlib import notebook
from vramlib._paths import notebooks_dir

SETS = (
    {"model": "DeepSeek-V2-Lite", "gpu": "A100-80GB", "language": "vi"},
    {"model": "NVIDIA-Nemotron-Nano-9B-v2", "gpu": "RTX-4090", "language": "en"},
)


def takes(path: Path) -> set[str]:
    """Names of a notebook's parameters."""
    cells = nbformat.read(path, as_version=4).cells
    return (
        set(papermill.inspect_notebook(path))
        if any("parameters" in notebook.tags(c) for c in cells)
        else set()
    )


NOTEBOOKS = [(path, names) for path in sorted(notebooks_dir().glob("*.ipynb")) if (names := takes(path))]
RUNS = [
    pytest.param(path, picked, id=f"{path.stem}-{wanted['model']}")
    for path, names in NOTEBOOKS
    for wanted in SETS
    if (picked := {k: v for k, v in wanted.items() if k in names}) != {"language": "en"}
]


class OneKernel(Engine):
    """Papermill's own way to run cells, in a kernel that is running already."""

    manager: Any = None

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **_: Any) -> None:
        PapermillNotebookClient(nb_man, km=cls.manager, timeout=300, log_output=False).execute()


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    with notebook.local_sockets() as config:
        manager = KernelManager(config=config)
        manager.start_kernel()
        OneKernel.manager = manager
        papermill_engines.register("one-kernel", OneKernel)
        yield manager
        manager.shutdown_kernel(now=True)


def forget(manager: KernelManager) -> None:
    """Take away every name that the notebook before left, so that none leans on it."""
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    client.execute_interactive("%reset -f", timeout=60)
    client.stop_channels()


@pytest.mark.notebooks
@pytest.mark.parametrize(("path", "parameters"), RUNS)
def test_it_runs_with_other_parameters(
    path: Path, parameters: dict, kernel: KernelManager, tmp_path: Path
) -> None:
    forget(kernel)
    ran = papermill.execute_notebook(
        path, tmp_path / path.name, parameters, cwd=path.parent, progress_bar=False, engine_name="one-kernel"
    )
    outputs = [o for cell in ran.cells for o in cell.get("outputs", [])]
    assert [o for o in outputs if o.output_type == "error"] == []
    assert [o.text for o in outputs if o.get("name") == "stderr"] == []
    assert texts(ran) != texts(nbformat.read(path, as_version=4)), f"{parameters} change nothing"


def texts(nb: nbformat.NotebookNode) -> list[str]:
    outputs = [
        o
        for cell in nb.cells
        if not notebook.LIVE_TAGS & notebook.tags(cell)
        for o in cell.get("outputs", [])
    ]
    return [o.get("text") or o.data.get("text/plain", "") for o in outputs]
