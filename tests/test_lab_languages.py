"""JupyterLab in one language, in Chromium: cells of the other one take no room, and the kernel answers in it."""

import shutil
from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from lab_browser import READY, RUN_ALL, SETTINGS, Seen, chromium_browser, fresh_page, jupyter_lab
from test_browser import OF_LAB

from vramlib import lab
from vramlib._paths import notebooks_dir
from vramlib.messages import t
from vramlib.notebook import tags

pytestmark = [pytest.mark.browser, pytest.mark.notebooks]

NAME = "02_kv_cache.ipynb"
OTHER = {"en": "vi", "vi": "en"}
# As Lab is shipped: cells beyond the window are not in the page.
AS_SHIPPED = {name: value for name, value in SETTINGS.items() if not name.endswith(":tracker")}
HIDDEN = "() => window.jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.isHidden)"
# Goes to each cell that is seen, waits for it, and tells every cell's greatest height on the way.
HEIGHTS = """async () => {
  const content = window.jupyterapp.shell.currentWidget.content;
  const cells = content.widgets, seen = cells.map(() => null);
  const look = () => cells.forEach((cell, i) => {
    if (cell.node.isConnected) seen[i] = Math.max(seen[i] ?? 0, cell.node.getBoundingClientRect().height);
  });
  for (const [i, cell] of cells.entries()) {
    if (cell.isHidden) continue;
    for (let tries = 0; tries < 100 && !seen[i]; tries++) {
      await content.scrollToItem(i);
      await new Promise(next => setTimeout(next, 50));
      look();
    }
  }
  return seen;
}"""
CLOSE_AND_OPEN = """async () => {
  const found = [], cells = window.jupyterapp.shell.currentWidget.content.widgets;
  for (const word of ['collapse', 'expand']) {
    await window.jupyterapp.commands.execute(`notebook:${word}-all-headings`);
    await new Promise(next => setTimeout(next, 300));
    found.push(cells.filter(cell => cell.isHidden).length);
  }
  return found;
}"""
CONTENTS = """async () => {
  await window.jupyterapp.commands.execute('toc:show-panel');
  for (let i = 0; i < 100 && !document.querySelector('.jp-tocItem-content'); i++) {
    await new Promise(next => setTimeout(next, 100));
  }
  const items = [...document.querySelectorAll('.jp-tocItem-content')];
  return items.filter(item => item.offsetHeight > 0).map(item => item.innerText);
}"""
OUTPUTS = """() => {
  const cells = window.jupyterapp.shell.currentWidget.content.widgets.filter(cell => cell.model.type === 'code');
  return cells.map(cell => JSON.stringify(cell.model.outputs.toJSON())).join(' ');
}"""


@pytest.fixture(scope="module", params=["en", "vi"])
def opened(
    request: Any, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Any, Seen]]:
    """The notebook as ``vram lab --language`` opens it: the language, the page, what it did."""
    folder = tmp_path_factory.mktemp("workbook")
    shutil.copy(notebooks_dir() / NAME, folder / NAME)
    [extension] = [word for word in lab.command() if "labextensions" in word]
    with (
        jupyter_lab(folder, [extension], lab.environment(request.param), AS_SHIPPED) as (url, token),
        chromium_browser(chromium) as browser,
        fresh_page(browser, url) as (page, seen),
    ):
        page.goto(f"{url}/lab/tree/{NAME}?token={token}&reset")
        page.wait_for_function("() => window.jupyterapp")
        page.evaluate(READY)
        page.wait_for_function(f"() => ({HIDDEN})().some(hidden => hidden)")
        yield request.param, page, seen


def foreign(language: str) -> list[bool]:
    """Which cells of the stored notebook are for readers of the other language."""
    cells = nbformat.read(notebooks_dir() / NAME, as_version=4).cells
    return [f"lang-{OTHER[language]}" in tags(cell) for cell in cells]


def test_only_one_language_is_seen(opened: tuple[str, Any, Seen]) -> None:
    language, page, seen = opened
    assert page.evaluate(HIDDEN) == foreign(language)
    assert not page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCell.isHidden")
    heights = list(zip(page.evaluate(HEIGHTS), foreign(language), strict=True))
    assert {height for height, hidden in heights if hidden} <= {0, None}
    assert all(height for height, hidden in heights if not hidden)
    assert [e for e in seen.errors if not OF_LAB.search(e)] == []
    assert seen.outside == []


def test_headings_close_and_open_and_are_listed_in_one_language(opened: tuple[str, Any, Seen]) -> None:
    language, page, seen = opened
    assert page.evaluate(CLOSE_AND_OPEN) == [len(foreign(language)) - 1, sum(foreign(language))]
    assert page.evaluate(HIDDEN) == foreign(language)
    listed = page.evaluate(CONTENTS)
    assert t("section.claim", language) in listed
    assert t("section.claim", OTHER[language]) not in listed
    assert [e for e in seen.errors if not OF_LAB.search(e)] == []


def test_the_kernel_answers_in_that_language(opened: tuple[str, Any, Seen]) -> None:
    language, page, _ = opened
    assert [bad for cell in page.evaluate(RUN_ALL) for bad in cell["bad"]] == []
    outputs = page.evaluate(OUTPUTS)
    assert t("kv.growth_title", language) in outputs
    assert t("kv.growth_title", OTHER[language]) not in outputs
