"""The page of a report: parameters read and checked, then each piece of it as a notebook shows it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vramlib import fields, text
from vramlib.estimate import estimate
from vramlib.messages import reader, t
from vramlib.report import options, questions, sections
from vramlib.specs import Estimate

if TYPE_CHECKING:
    import altair
    from IPython.display import Markdown

    from vramlib.tables import Table

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
    language : of the page's words, en or vi [-]
    """

    asked: Mapping[str, Any]
    estimate: Estimate
    language: str = "en"

    def title(self) -> Markdown:
        """Heading, scenario and verdict."""
        return _markdown(sections.title(self.estimate, self.language))

    def bar(self) -> altair.LayerChart:
        """The eight parts against the card."""
        from vramlib import charts

        return charts.parts_bar(self.estimate, language=self.language)

    def table(self) -> Table:
        """The eight parts with intervals and bases."""
        return sections.parts_table(self.estimate, self.language)

    def bases(self) -> Markdown:
        """What the bases mean."""
        return _markdown(sections.bases(self.estimate, self.language))

    def answers(self) -> Table:
        """The workload, the start at the model's limit, the largest context: three answers."""
        from vramlib import tables

        found = questions.three(self.asked, self.estimate, self.language)
        columns = [t(f"ask.{column}", self.language) for column in ("question", "answer", "why")]
        return tables.table(columns, [(a.question, f"**{a.word}**", a.sentence) for a in found])

    def budget(self) -> Table | None:
        """The engine's own sum."""
        return sections.budget_table(self.estimate, self.language)

    def concurrency(self) -> Markdown:
        """What the pool holds."""
        return _markdown(sections.concurrency(self.estimate, self.language))

    def fit_map(self) -> altair.LayerChart:
        """Contexts and batches that fit."""
        from vramlib import charts

        rows = questions.context_batch_rows(self.asked, self.estimate)
        return charts.context_batch_map(rows, language=self.language)

    def formulas(self) -> Markdown:
        """Every formula with its numbers."""
        return _markdown(sections.formulas(self.estimate, self.language))

    def options_heading(self) -> Markdown:
        """What the table of options answers."""
        limit = questions.model_limit(self.estimate)
        reached = questions.starts(self.asked, limit)
        return _markdown(options.heading(self.estimate, limit_starts=reached, language=self.language))

    def options(self) -> Table:
        """One changed setting a row, with what it gains."""
        return options.table(self.asked, self.estimate, self.language)

    def sources(self) -> Markdown:
        """Where the numbers come from."""
        return _markdown(sections.sources(self.estimate))

    def versions(self) -> Table:
        """What the numbers were made with."""
        return sections.versions(self.estimate, self.language)

    def warnings(self) -> Markdown:
        """What to beware of."""
        return _markdown(sections.warnings(self.estimate, self.language))

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
    language = reader(str(plain.pop("language", None) or "auto").strip().lower())
    asked = {"max_model_len": "auto", **fields.read(plain)}
    return Page(asked=asked, estimate=estimate(**asked), language=language)
