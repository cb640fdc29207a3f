"""The workbook's notebooks as they are stored, and a run of those that take parameters."""

import re
from pathlib import Path
from urllib.parse import unquote

import nbformat
import papermill
import pytest

from vramlib import notebook
from vramlib._paths import notebooks_dir

NOTEBOOKS = sorted(notebooks_dir().glob("*.ipynb"))


def takes_parameters(path: Path) -> bool:
    return any("parameters" in notebook.tags(cell) for cell in nbformat.read(path, as_version=4).cells)


def test_the_workbook_has_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_so_that_nbval_compares_every_cell(path: Path) -> None:
    assert notebook.problems(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_to_files(path: Path) -> None:
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    links = re.findall(r"\]\((?!https?:|#|attachment:)([^)#\s]+)", "\n".join(cells))
    targets = map(unquote, links)
    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.notebooks
@pytest.mark.parametrize("path", list(filter(takes_parameters, NOTEBOOKS)), ids=lambda path: path.stem)
def test_papermill_runs_it_with_its_defaults(path: Path, tmp_path: Path) -> None:
    with notebook.local_sockets() as config:
        papermill.execute_notebook(
            path, tmp_path / path.name, cwd=path.parent, progress_bar=False, config=config
        )
    parameters = papermill.inspect_notebook(path)
    assert parameters, f"{path.name}: the cell tagged parameters names none"
    assert [name for name, p in parameters.items() if p["help"] == ""] == []
