"""A report: ``notebooks/report.ipynb`` run by papermill with a reader's parameters, into one HTML file."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vramlib._paths import notebooks_dir
from vramlib.messages import t
from vramlib.report.pages import NAMES, Page, UnusableError, page, read
from vramlib.specs import Estimate

__all__ = [
    "NAMES",
    "Page",
    "UnusableError",
    "default_path",
    "defaults",
    "made",
    "page",
    "read",
    "run",
    "typed",
]

TEMPLATE = "report.ipynb"
# Charts import jsonschema, which compiles a grammar of international addresses for two seconds where it finds this.
NEVER_USED = "rfc3987_syntax"
_KERNEL = [f"--IPKernelApp.exec_lines=import sys; sys.modules['{NEVER_USED}'] = None"]


def run(parameters: Mapping[str, Any], out: Path | None = None, progress: bool | None = None) -> Path:
    """Run the report's notebook with these parameters and write its page: one HTML file, no network needed.

    Parameters
    ----------
    parameters : scenario fields and ``language`` by name, as text or typed [-]
    out : the page to write; ``reports/<model>--<card>.html`` when not given [-]
    progress : show a bar; when not given, where standard error is a terminal [-]

    Returns
    -------
    The page's path [-]

    Raises
    ------
    ValueError : a name or a value cannot be used; nothing is run then
    KeyError : no such model or card; the nearest is offered
    OSError : the page cannot be written
    """
    checked = read({**defaults(), **parameters})
    target = Path(out) if out else default_path(checked.estimate)
    if target.is_dir():
        raise ValueError(f"{target} is a folder; name the page to write, such as {target / 'report.html'}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shown = sys.stderr.isatty() if progress is None else progress
    with tempfile.TemporaryDirectory(prefix="vram-report-") as folder:
        notebook = Path(folder) / TEMPLATE
        _execute(notebook, typed(checked), shown)
        _sign(notebook, checked.language)
        _export(notebook, target, checked.language)
    return target


def made(
    parameters: Mapping[str, Any], library: str, template: Path | None = None, seconds: int | None = None
) -> tuple[str, dict[str, Any]]:
    """One of many reports, as text: its page asks for the chart library that is stored beside all of them.

    Parameters
    ----------
    parameters : as ``typed`` gives them [-]
    library : where the page finds ``export.chart_library()``, relative to it [-]
    template : another notebook to run instead of the report's [-]
    seconds : the longest that one cell may run [s]

    Returns
    -------
    The page, and the estimate that its notebook stored as data [-]

    Raises
    ------
    papermill.PapermillExecutionError : a cell failed
    ValueError : the notebook stored no numbers
    """
    import nbformat

    from vramlib.export import page_html

    with tempfile.TemporaryDirectory(prefix="vram-report-") as folder:
        notebook = Path(folder) / TEMPLATE
        _execute(notebook, parameters, False, template, seconds)
        _sign(notebook, parameters["language"])
        content = nbformat.read(notebook, as_version=4)
    numbers = _numbers(content)
    return page_html(content, lang=parameters["language"], title=notebook.stem, library=library), numbers


def _numbers(content: Any) -> dict[str, Any]:
    """What the notebook stored for programs that read it."""
    outputs = [output for cell in content.cells for output in cell.get("outputs", ()) if "data" in output]
    found = [o.data["application/json"] for o in outputs if "application/json" in o.data]
    if not found:
        raise ValueError("the notebook stored no numbers; its last cell must run page.results()")
    return dict(found[-1])


def defaults() -> dict[str, Any]:
    """The template's own parameters, those that are not empty.

    Examples
    --------
    >>> defaults()["max_model_len"]
    'auto'
    """
    import papermill

    known = papermill.inspect_notebook(str(notebooks_dir() / TEMPLATE))
    values = {name: ast.literal_eval(row["default"]) for name, row in known.items()}
    return {name: value for name, value in values.items() if value not in (None, "")}


def default_path(e: Estimate) -> Path:
    """Where the page goes when nobody says: always straight inside ``reports``, whatever the model's name.

    Examples
    --------
    >>> default_path(read({"model": "Llama-3.1-8B", "gpu": "L4"}).estimate).as_posix()
    'reports/Llama-3.1-8B--L4.html'
    """
    return Path("reports") / f"{_file_name(e.model.name)}--{_file_name(e.gpu.name)}.html"


def _file_name(name: str) -> str:
    """Letters, digits and a few signs; nothing that a file system reads as a folder."""
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return re.sub(r"[^\w.+-]+", "-", last).strip(".-")[:80] or "model"


def typed(checked: Page) -> dict[str, Any]:
    """Parameters in the forms that a notebook's cell can hold: numbers, text, lists as 100;200.

    Examples
    --------
    >>> typed(read({"model": "Llama-3.1-8B", "gpu": "L4", "prompt_tokens": (100, 200)}))["prompt_tokens"]
    '100;200'
    """
    plain = {
        name: ";".join(map(str, value)) if isinstance(value, tuple) else value
        for name, value in checked.asked.items()
    }
    return {**plain, "language": checked.language}


def _execute(
    notebook: Path,
    parameters: Mapping[str, Any],
    shown: bool,
    template: Path | None = None,
    seconds: int | None = None,
) -> None:
    import papermill

    from vramlib.notebook import local_sockets

    with local_sockets() as config:
        papermill.execute_notebook(
            str(template or notebooks_dir() / TEMPLATE),
            str(notebook),
            parameters=dict(parameters),
            progress_bar={"desc": "report", "leave": False} if shown else False,
            cwd=os.getcwd(),
            execution_timeout=seconds,
            extra_arguments=list(_KERNEL),
            shutdown_kernel="immediate",
            config=config,
        )


def _sign(notebook: Path, language: str) -> None:
    """Add what differs from run to run: the day, and the versions of what made the page."""
    import datetime
    import platform
    from importlib.metadata import version

    import nbformat

    made = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    tools = ", ".join(f"{name} {version(name)}" for name in ("papermill", "altair", "nbconvert"))
    line = t("report.made", language, day=made, python=platform.python_version(), tools=tools)
    content = nbformat.read(notebook, as_version=4)
    content.cells.append(nbformat.v4.new_markdown_cell(line))
    nbformat.write(content, notebook)


def _export(notebook: Path, target: Path, language: str) -> None:
    """Write the page beside its place and move it there, so that it appears whole or not at all."""
    from vramlib.export import export_html

    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        export_html(notebook, part, lang=language)
        part.replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
