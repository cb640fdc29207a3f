"""The workbook as pages to hand out: every notebook in one language, with no Python and no network to read them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nbformat

from vramlib import lab
from vramlib._paths import notebooks_dir
from vramlib.export import chart_library, page_html
from vramlib.notebook import LIVE_TAGS, run, tags
from vramlib.workbook import NOTEBOOKS

LIBRARY = "charts.js"
STORED = "en"  # the language of the outputs that notebooks are stored with
NAMES = tuple(book.name for book in NOTEBOOKS if book.name != "report")


def write(
    out: Path, names: Iterable[str] = (), language: str = STORED, told: Callable[[Path], Any] = bool
) -> list[Path]:
    """Write notebooks as pages that lead to one another; the first is 00_start_here.

    English pages show the stored outputs; for another language each notebook is run, so that its tables, charts
    and replies are in that language too.

    Parameters
    ----------
    out : folder of the pages, made where missing [-]
    names : of notebooks, as ``known`` takes them [-]
    language : of text, tables and charts, en or vi [-]
    told : called with each page as it is written [-]

    Returns
    -------
    The pages, in the order of the workbook [-]

    Raises
    ------
    ValueError : the folder is a file
    KeyError : no such notebook; the nearest is offered
    OSError : a page cannot be written
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder for the pages")
    out.mkdir(parents=True, exist_ok=True)
    (out / LIBRARY).write_text(chart_library(), encoding="utf-8")
    pages = [out / f"{name}.html" for name in known(names)]
    for page in pages:
        text = _page(page.stem, language)
        page.write_text(_linked(text, {p.stem for p in pages}), encoding="utf-8")
        told(page)
    return pages


def known(names: Iterable[str] = ()) -> list[str]:
    """Names of notebooks in the order of the workbook; all of them when none is given.

    Parameters
    ----------
    names : as a reader writes them: with or without a folder and ``.ipynb``, or the number alone [-]

    Returns
    -------
    Each once [-]

    Raises
    ------
    KeyError : no such notebook; the nearest is offered

    Examples
    --------
    >>> known(["notebooks/07_fragmentation.ipynb", "02"])
    ['02_kv_cache', '07_fragmentation']
    """
    wanted = {_known(name) for name in names}
    return [name for name in NAMES if name in wanted or not wanted]


def _known(name: str) -> str:
    plain = Path(name).name.removesuffix(".ipynb")
    found = [n for n in NAMES if plain in (n, n[:2])]
    if not found:
        near = difflib.get_close_matches(plain, NAMES, n=1, cutoff=0.4) or NAMES
        raise KeyError(f"no notebook {name!r}; nearest: {', '.join(near)}")
    return found[0]


def _page(name: str, language: str) -> str:
    folder = notebooks_dir()
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    if language != STORED:  # without the cells that wait for a reader or a GPU
        notebook.cells = [cell for cell in notebook.cells if not LIVE_TAGS & tags(cell)]
        notebook = run(notebook, folder, lab.environment(language))
    return page_html(notebook, show_code=True, lang=language, title=name, library=LIBRARY)


def _linked(page: str, there: set[str]) -> str:
    """Links to notebooks as links to the pages beside this one; where there is no such file, the words alone."""

    def link(found: re.Match[str]) -> str:
        file, place, words = found.groups(default="")
        name = file.removesuffix(".ipynb")
        return f'<a href="{name}.html{place}">{words}</a>' if name in there else words

    return re.sub(r'<a href="(?!\w+:)([^"#]+)(#[^"]*)?"[^>]*>(.*?)</a>', link, page, flags=re.DOTALL)
