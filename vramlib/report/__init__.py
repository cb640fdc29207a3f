"""A report: the parameters of ``notebooks/report.ipynb``, its page piece by piece, and its run into one HTML file."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vramlib import fields, text
from vramlib._paths import notebooks_dir
from vramlib.estimate import estimate
from vramlib.report import options, questions, sections
from vramlib.specs import Estimate

if TYPE_CHECKING:
    import altair
    from IPython.display import Markdown

    from vramlib.tables import Table

TEMPLATE = "report.ipynb"
LANGUAGES = ("en", "vi")
NAMES = (*fields.NAMES, "language")
MARK = (
    "# Parameters"  # the first words of the template's own cell of parameters, and of the one papermill adds
)


class UnusableError(ValueError):
    """A parameter that cannot be used; a notebook shows its one line instead of a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{self}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a report shows, each method one piece of it.

    Parameters
    ----------
    asked : the scenario's fields that were given, typed [-]
    estimate : their estimate [-]
    language : of the page's words, one of ``LANGUAGES`` [-]
    """

    asked: Mapping[str, Any]
    estimate: Estimate
    language: str = "en"

    def title(self) -> Markdown:
        """Heading, scenario and verdict."""
        return _markdown(sections.title(self.estimate))

    def bar(self) -> altair.LayerChart:
        """The eight parts against the card."""
        from vramlib import charts

        return charts.parts_bar(self.estimate, labels=sections.WORDS.get(self.language))

    def table(self) -> Table:
        """The eight parts with intervals and bases."""
        return sections.parts_table(self.estimate, self.language)

    def bases(self) -> Markdown:
        """What the bases mean."""
        return _markdown(sections.bases(self.estimate))

    def answers(self) -> Table:
        """The workload, the start at the model's limit, the largest context: three answers."""
        from vramlib import tables

        rows = [(a.question, f"**{a.word}**", a.sentence) for a in questions.three(self.asked, self.estimate)]
        return tables.table(("question", "answer", "why"), rows)

    def budget(self) -> Table | None:
        """The engine's own sum."""
        return sections.budget_table(self.estimate)

    def concurrency(self) -> Markdown:
        """What the pool holds."""
        return _markdown(sections.concurrency(self.estimate))

    def fit_map(self) -> altair.LayerChart:
        """Contexts and batches that fit."""
        from vramlib import charts

        return charts.context_batch_map(questions.context_batch_rows(self.asked, self.estimate))

    def formulas(self) -> Markdown:
        """Every formula with its numbers."""
        return _markdown(sections.formulas(self.estimate))

    def options_heading(self) -> Markdown:
        """What the table of options answers."""
        limit = questions.model_limit(self.estimate)
        reached = questions.starts(self.asked, limit)
        return _markdown(options.heading(self.estimate, limit_starts=reached))

    def options(self) -> Table:
        """One changed setting a row, with what it gains."""
        return options.table(self.asked, self.estimate)

    def sources(self) -> Markdown:
        """Where the numbers come from."""
        return _markdown(sections.sources(self.estimate))

    def versions(self) -> Table:
        """What the numbers were made with."""
        return sections.versions(self.estimate)

    def warnings(self) -> Markdown:
        """What to beware of."""
        return _markdown(sections.warnings(self.estimate))

    def results(self) -> None:
        """Put the numbers into the notebook as data, for programs that read it."""
        from IPython.display import display

        data = text.to_dict(self.estimate)
        display({"application/json": data, "text/plain": "results"}, raw=True)


def _markdown(source: str) -> Markdown:
    from IPython.display import Markdown

    return Markdown(source)


def page(namespace: Mapping[str, Any], cells: Iterable[str] = ()) -> Page:
    """The page for a notebook's parameters, when all their names and values can be used.

    Parameters
    ----------
    namespace : the notebook's variables, ``globals()`` [-]
    cells : sources of the cells that ran; those of this IPython session when empty [-]

    Returns
    -------
    What the notebook shows piece by piece [-]

    Raises
    ------
    UnusableError : a name that is no parameter, or a value that cannot be used; one line says what would work
    """
    try:
        for name in _assigned(cells or namespace.get("In", ())):
            if name not in NAMES:
                raise ValueError(_unknown(name))
        return read({name: namespace[name] for name in NAMES if name in namespace})
    except (ValueError, KeyError, OSError) as error:
        raise UnusableError(text.message(error)) from None


def _assigned(cells: Iterable[str]) -> Iterator[str]:
    """Names that cells of parameters give a value: the template's own cell, and the one papermill adds."""
    for source in cells:
        if source.lstrip().startswith(MARK):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id


def _unknown(name: str) -> str:
    near = fields.nearest(name, NAMES)
    return f"no field named {name!r}; nearest: {near}" if near == "language" else fields.unknown(name)


def read(parameters: Mapping[str, Any]) -> Page:
    """The page for parameters, as text or typed; a context that is not given is the largest that starts.

    Parameters
    ----------
    parameters : scenario fields and ``language`` by name [-]

    Returns
    -------
    What the report shows [-]

    Raises
    ------
    ValueError : a name or a value cannot be used
    KeyError : no such model or card; the nearest is offered

    Examples
    --------
    >>> read({"model": "Llama-3.1-8B", "gpu": "L4"}).estimate.scenario.max_model_len > 8192
    True
    """
    plain = {fields.plain_name(name): value for name, value in parameters.items()}
    wrong = next((name for name in plain if name not in NAMES), None)
    if wrong is not None:
        raise ValueError(_unknown(wrong))
    language = str(plain.pop("language", None) or "en").strip().lower()
    if language not in LANGUAGES:
        raise ValueError(f"language is {language!r}; write {' or '.join(LANGUAGES)}")
    asked = {"max_model_len": "auto", **fields.read(plain)}
    return Page(asked=asked, estimate=estimate(**asked), language=language)


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
        _execute(notebook, _typed(checked), shown)
        _sign(notebook)
        _export(notebook, target, checked.language)
    return target


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
    >>> default_path(estimate(model="Llama-3.1-8B", gpu="L4")).as_posix()
    'reports/Llama-3.1-8B--L4.html'
    """
    return Path("reports") / f"{_file_name(e.model.name)}--{_file_name(e.gpu.name)}.html"


def _file_name(name: str) -> str:
    """Letters, digits and a few signs; nothing that a file system reads as a folder."""
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return re.sub(r"[^\w.+-]+", "-", last).strip(".-")[:80] or "model"


def _typed(checked: Page) -> dict[str, Any]:
    """Parameters in the forms that a notebook's cell can hold: numbers, text, lists as 100;200."""
    plain = {
        name: ";".join(map(str, value)) if isinstance(value, tuple) else value
        for name, value in checked.asked.items()
    }
    return {**plain, "language": checked.language}


def _execute(notebook: Path, parameters: Mapping[str, Any], shown: bool) -> None:
    import papermill

    with _transport() as settings:
        papermill.execute_notebook(
            str(notebooks_dir() / TEMPLATE),
            str(notebook),
            parameters=dict(parameters),
            progress_bar={"desc": "report", "leave": False} if shown else False,
            cwd=os.getcwd(),
            **settings,
        )


@contextlib.contextmanager
def _transport() -> Iterator[dict[str, Any]]:
    """Kernels talk over local sockets where the platform has them."""
    from vramlib.notebook import local_sockets

    if os.name == "nt":
        yield {}
        return
    with local_sockets() as config:
        yield {"config": config}


def _sign(notebook: Path) -> None:
    """Add what differs from run to run: the day, and the versions of what made the page."""
    import datetime
    import platform
    from importlib.metadata import version

    import nbformat

    made = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    tools = ", ".join(f"{name} {version(name)}" for name in ("papermill", "altair", "nbconvert"))
    line = f"Made on {made} with Python {platform.python_version()}, {tools}."
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
