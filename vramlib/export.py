"""A notebook as one HTML file that opens with no network, on a phone as on a desk."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import TagRemovePreprocessor
from nbformat.v4 import new_markdown_cell
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from vramlib.formulas import Formulas
from vramlib.messages import t
from vramlib.notebook import tags
from vramlib.page import document

HIDDEN_TAGS = {"live", "remove-cell"}

# The browser itself refuses every address outside the file; Vega compiles its expressions, hence unsafe-eval.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'"
)
_BESIDE = " 'self' file:"  # added where the chart library is a file beside the page, on a server or on a disk


def export_html(
    nb_path: str | Path, html_path: str | Path, *, show_code: bool = False, lang: str = "en"
) -> Path:
    """Write a notebook's stored outputs as one HTML file: live charts, formulas, no request to a network.

    Cells tagged ``live`` (their sliders need a kernel), ``remove-cell`` and those of another language
    (``lang-vi`` in an English page) are left out.

    Parameters
    ----------
    nb_path : a notebook that was run [-]
    html_path : the page to write, its folder is made where missing [-]
    show_code : whether the code stands beside its results [-]
    lang : the page's language, as in ``<html lang>`` [-]

    Returns
    -------
    The page's path [-]

    Raises
    ------
    ValueError : a formula cannot be read
    """
    notebook = nbformat.read(nb_path, as_version=4)
    page = page_html(notebook, show_code=show_code, lang=lang, title=Path(nb_path).stem)
    target = Path(html_path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8")
    return target


def page_html(
    notebook: Any, *, show_code: bool = False, lang: str = "en", title: str = "", library: str = ""
) -> str:
    """The page of a notebook as text.

    Parameters
    ----------
    notebook : what nbformat reads; changed in place [-]
    show_code : whether the code stands beside its results [-]
    lang : the page's language [-]
    title : used where the notebook has no heading [-]
    library : where the page finds what ``chart_library`` returns, relative to it; inside the page when empty [-]

    Returns
    -------
    A whole HTML document [-]
    """
    heading = _heading(notebook, lang) or title
    if show_code:
        _fold_solutions(notebook, lang)
    body = _body(notebook, show_code=show_code, lang=lang)
    return document(
        body,
        language=lang,
        title=heading,
        policy=_POLICY + (_BESIDE if library else ""),
        style=_colours() if show_code else "",
        head=_script(library) if "data-chart=" in body else "",
    )


def chart_library() -> str:
    """JavaScript that makes the charts of pages live, for many pages to share: a script, as files hold no modules.

    Returns
    -------
    Source of one script that leaves one name behind [-]
    """
    return f'(() => {{ "use strict";\n{_vega()}\n}})();\n'


def _vega() -> str:
    """Loaded with the charts alone: a page that shares its library needs none of it."""
    from vramlib.vega import PAGE_JS, bundle

    return bundle(PAGE_JS)


def _script(library: str) -> str:
    if library:
        return f'<script defer src="{html.escape(library)}"></script>'
    inside = _vega().replace("</script", "<\\/script")
    return f'<script type="module">{inside}</script>'


def _fold_solutions(notebook: Any, lang: str) -> None:
    """Code cells tagged ``solution`` as text that opens on a click; their results say no more than that they pass."""
    summary = t("page.solution", lang)
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and "solution" in tags(cell):
            text = f"<details><summary>{summary}</summary>\n\n```python\n{cell.source}\n```\n\n</details>"
            notebook.cells[place] = new_markdown_cell(text, metadata=cell.metadata)


def _body(notebook: Any, *, show_code: bool, lang: str) -> str:
    """The cells as HTML: tables in boxes that scroll, nothing that a network would have to send."""
    notebook.metadata.pop("widgets", None)
    other = _other_languages({tag for cell in notebook.cells for tag in tags(cell)}, lang)
    hidden = TagRemovePreprocessor(remove_cell_tags=HIDDEN_TAGS | other, enabled=True)
    formulas = Formulas(enabled=True)
    settings = Config({"HTMLExporter": {"exclude_input": not show_code, "language_code": lang}})
    exporter = HTMLExporter(template_name="basic", config=settings)
    for step in (hidden, formulas):
        exporter.register_preprocessor(step, enabled=True)
    body, _ = exporter.from_notebook_node(notebook)
    body = re.sub(r"<(script|link|iframe|img)\b[^>]*\b(?:src|href)=[\"']https?:[^>]*>(</\1>)?", "", body)
    body = re.sub(
        r"(<table\b.*?</table>)", r'<div class="scroll" tabindex="0">\1</div>', body, flags=re.DOTALL
    )
    return formulas.fill(body)


def _other_languages(used: set[str], lang: str) -> set[str]:
    return {tag for tag in used if tag.startswith("lang-") and tag != f"lang-{lang}"}


def _heading(notebook: Any, lang: str) -> str:
    """The first heading of the notebook in its language, in a cell or in what a cell shows."""
    cells = [cell for cell in notebook.cells if not _other_languages(tags(cell), lang)]
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    texts += [output.data["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})]
    found = re.search(r"^# +(.+)$", "\n".join(texts), re.MULTILINE)
    return found[1].strip() if found else ""


def _colours() -> str:
    """The colours of code, by day and by night."""
    light, dark = (HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("friendly", "monokai"))
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"
