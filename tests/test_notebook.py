"""Stored notebooks: the same results give the same bytes, and what nbval would not compare is told."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vramlib import notebook

WIDGET = {notebook.WIDGET: {"model_id": "a1"}, "text/plain": "slider"}


def run_cell(source: str, text: str = "1", number: int = 9, **metadata: object) -> nbformat.NotebookNode:
    output = new_output("execute_result", {"text/plain": text}, execution_count=number)
    return new_code_cell(source, outputs=[output], execution_count=number, metadata=metadata)


def store(path: Path, *cells: nbformat.NotebookNode, **metadata: object) -> Path:
    nb = notebook.normalise(new_notebook(cells=list(cells)))
    nb.metadata.update(metadata)
    path.write_text(nbformat.writes(nb) + "\n", encoding="utf-8")
    return path


def test_normalise_numbers_cells_in_reading_order() -> None:
    nb = new_notebook(cells=[run_cell("1"), new_markdown_cell("text"), run_cell("1", number=4)])
    counts = [cell.execution_count for cell in notebook.normalise(nb).cells if cell.cell_type == "code"]
    assert counts == [1, 2]
    assert nb.cells[2].outputs[0].execution_count == 2


@pytest.mark.parametrize("tag", ["live", "gpu"])
def test_normalise_stores_live_cells_unrun(tag: str) -> None:
    nb = notebook.normalise(new_notebook(cells=[run_cell("1", tags=[tag]), run_cell("2")]))
    assert [(cell.execution_count, len(cell.outputs)) for cell in nb.cells] == [(None, 0), (1, 1)]


def test_normalise_drops_widgets_and_times_and_keeps_tags() -> None:
    cell = new_code_cell("w", outputs=[new_output("display_data", WIDGET)], execution_count=3)
    cell.metadata.update(
        {"tags": ["solution"], "jupyter": {"source_hidden": True}, "execution": {"x": "12:00"}}
    )
    nb = new_notebook(cells=[cell], metadata={"widgets": {"state": {}}, "title": "One"})
    nb = notebook.normalise(nb)
    assert nb.cells[0].metadata == {"tags": ["solution"], "jupyter": {"source_hidden": True}}
    assert nb.cells[0].outputs[0].data == {"text/plain": "slider"}
    assert "widgets" not in nb.metadata
    assert nb.metadata.title == "One"
    assert notebook.normalise(nbformat.from_dict(nb)) == nb


def test_a_good_notebook_has_no_problems(tmp_path: Path) -> None:
    cells = (new_markdown_cell("# Title"), run_cell("1"), new_code_cell("now()", metadata={"tags": ["live"]}))
    assert notebook.problems(store(tmp_path / "good.ipynb", *cells)) == []


@pytest.mark.parametrize(
    ("cells", "metadata", "problem"),
    [
        ([run_cell("/", "/home/me/model.gguf")], {}, "cell 0 shows a path of the machine that ran it"),
        ([run_cell("1")], {"widgets": {}}, "widget state is stored"),
        ([run_cell("1", "x" * 500_000)], {}, "more than 400000"),
        ([run_cell("1")], {"papermill": {}}, "not stored by `make refresh`"),
        ([new_code_cell("1/0", outputs=[new_output("error", ename="E", evalue="")])], {}, "stores an error"),
    ],
)
def test_problems_are_told(tmp_path: Path, cells: list, metadata: dict, problem: str) -> None:
    found = notebook.problems(store(tmp_path / "bad.ipynb", *cells, **metadata))
    assert [f for f in found if problem in f and f.startswith(str(tmp_path))], found


def test_a_cell_that_was_never_run_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "unrun.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), path)
    assert notebook.problems(path) == [f"{path}: cell 0 was never run, so no test would compare it"]


def test_check_and_usage_give_an_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    good = str(store(tmp_path / "good.ipynb", run_cell("1")))
    assert notebook.main(["check", good]) == 0
    assert notebook.main(["refresh"]) == 2
    assert "python -m vramlib.notebook" in capsys.readouterr().err


@pytest.mark.notebooks
def test_two_refreshes_give_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "one.ipynb"
    cells = [
        new_code_cell("import os, time\n6 * 7"),
        new_code_cell("time.time()", metadata={"tags": ["live"]}),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    assert notebook.refresh([path]) == [path]
    first = path.read_bytes()
    assert b'"42"' in first
    assert notebook.refresh([path]) == []
    assert path.read_bytes() == first
