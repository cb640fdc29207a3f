"""A reader's machine: JupyterLab, Voila and exported pages in Chromium, with no network and no mouse."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_browser import (
    Seen,
    chromium_browser,
    fresh_page,
    jupyter_lab,
    open_and_run,
    press,
    slider,
    voila,
)

from vramlib import widgets
from vramlib._paths import notebooks_dir
from vramlib.export import export_html
from vramlib.lessons.kv_cache import KINDS, one_sequence
from vramlib.page import document
from vramlib.units import MiB, show

pytestmark = [pytest.mark.browser, pytest.mark.notebooks]

NAME = "02_kv_cache.ipynb"
PAGES = [(p, lang) for p in sorted(notebooks_dir().glob("*.ipynb")) for lang in ("en", "vi")]
# Lab probes optional services of its own; none of these comes from a notebook.
OF_LAB = re.compile(r"favicon|/lab/api/(translations|news)|/lsp/|Failed to load resource.*40[34]")
# Voila's own page asks for an icon font, which no notebook here uses, and loads Lab's extensions as far as they fit.
OF_VOILA = re.compile(
    r"@fortawesome/|ERR_(NAME_NOT_RESOLVED|INTERNET_DISCONNECTED|CONNECTION)|/voila/labextensions/"
)
WIDE = """selector => [...document.querySelectorAll(selector)]
  .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => `${e.className}: ${e.scrollWidth} > ${e.clientWidth}`)"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = tmp_path_factory.mktemp("workbook")
    shutil.copy(notebooks_dir() / NAME, copied / NAME)
    return copied


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with chromium_browser(chromium) as started:
        yield started


@pytest.fixture(scope="module")
def lab(folder: Path, browser: Any) -> Iterator[tuple[Any, Seen, list[dict]]]:
    """The notebook in Lab after Run All: the page, what it did, its cells. Tests leave it as they found it."""
    with jupyter_lab(folder) as (url, token), fresh_page(browser, url) as (page, seen):
        yield page, seen, open_and_run(page, url, token, NAME)


def cache_at(tokens: int) -> str:
    """The number that the widget shows, from the pure function."""
    row = next(r for r in widgets.kv_cache.figure(max_model_len=tokens).rows if r["key"] == "kv_cache")
    return row["bar"].split("|")[1]


def test_lab_runs_all_without_a_warning_or_a_request(lab: tuple[Any, Seen, list[dict]]) -> None:
    page, seen, cells = lab
    assert all(cell["ran"] for cell in cells)
    assert [bad for cell in cells for bad in cell["bad"]] == []
    assert (
        page.evaluate(WIDE, ".jp-NotebookPanel-notebook, .jp-RenderedHTMLCommon, .jp-OutputArea-output") == []
    )
    assert seen.outside == []
    assert [e for e in seen.errors if not OF_LAB.search(e)] == []


def test_lab_slider_moves_number_chart_and_command_and_reset_puts_them_back(lab: tuple) -> None:
    page, seen, _ = lab
    said, drawing = page.locator(".vram-said"), page.locator(".vram-drawing")
    before = drawing.inner_html()
    assert cache_at(8192) in said.inner_text()
    press(page, "max_model_len", "ArrowRight", cache_at(16_384))
    assert "16,384 tokens" in said.inner_text()
    assert drawing.inner_html() != before
    assert slider(page, "max_model_len").get_attribute("aria-valuetext") == "16,384"
    assert "--max-model-len 16384" in page.locator(".vram-widget pre").inner_text()
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function("() => document.querySelector('.vram-said').textContent.includes('8,192')")
    assert seen.outside == []


def test_lab_controls_are_named_and_reached_without_a_mouse(lab: tuple[Any, Seen, list[dict]]) -> None:
    page, _, _ = lab
    for control in widgets.kv_cache.controls:
        label = page.locator(f".vram-widget label[for$='-{control.field}']")
        assert (control.flag or control.field) in label.inner_text()
    page.locator(".vram-widget select[id$='-kv_cache_dtype']").focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function(
        "half => document.querySelector('.vram-said').textContent.includes(half)", arg=show(2**29)
    )
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id").endswith("-tensor_parallel_size")
    assert page.locator(".vram-said").get_attribute("aria-live") == "polite"


def test_voila_shows_the_same_page(folder: Path, browser: Any) -> None:
    with voila(folder / NAME) as url, fresh_page(browser, url) as (page, seen):
        page.goto(url)
        page.wait_for_selector(".vram-drawing svg", state="attached")
        press(page, "max_model_len", "ArrowRight", cache_at(16_384))
        assert "16,384 tokens" in page.locator(".vram-said").inner_text()
        page.wait_for_selector(".vram-chart svg", state="attached")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
        assert [url for url in seen.outside if not OF_VOILA.search(url)] == []
        assert [e for e in seen.errors if not OF_LAB.search(e) and not OF_VOILA.search(e)] == []


@pytest.mark.parametrize(("path", "language"), PAGES, ids=[f"{p.stem}-{lang}" for p, lang in PAGES])
def test_exported_page_stands_alone(path: Path, language: str, tmp_path: Path, browser: Any) -> None:
    page_file = export_html(path, tmp_path / "page.html", show_code=True, lang=language)
    with fresh_page(browser, page_file.as_uri()) as (page, seen):
        page.goto(page_file.as_uri())
        page.wait_for_function(
            "() => [...document.querySelectorAll('.vram-chart')].every(e => e.querySelector('svg'))"
        )
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
        assert page.evaluate("() => [...document.images].filter(i => !i.alt).length") == 0
        assert seen.outside == []
        assert seen.errors == []


def test_what_is_folded_is_printed(tmp_path: Path, browser: Any) -> None:
    page_file = tmp_path / "page.html"
    body = "<details><summary>letters</summary><p id=inside>L is the number of layers</p></details>"
    page_file.write_text(document(body, language="en", title="t", policy="style-src 'unsafe-inline'"))
    seen = "() => document.getElementById('inside').checkVisibility({contentVisibilityAuto: true})"
    with fresh_page(browser, page_file.as_uri()) as (page, _):
        page.goto(page_file.as_uri())
        assert not page.evaluate(seen)
        page.emulate_media(media="print")
        assert page.evaluate(seen)


def test_main_chart_of_the_exported_page_moves_without_python(tmp_path: Path, browser: Any) -> None:
    page_file = export_html(notebooks_dir() / NAME, tmp_path / "page.html")
    with fresh_page(browser, page_file.as_uri()) as (page, seen):
        page.goto(page_file.as_uri())
        chart = page.locator(".vram-chart", has=page.locator("input[type=range]"))
        handle = chart.locator("input[type=range]")
        handle.wait_for()
        for choice in ("auto", "fp8"):
            chart.locator("select").first.select_option(choice)
            for exponent in (14, 15):
                handle.focus()
                page.keyboard.press("ArrowRight")
                size = one_sequence(KINDS["MLA"], 1 << exponent, kv_cache_dtype=choice)
                chart.get_by_text(f"{size / MiB:.4g} MiB", exact=True).wait_for(state="attached")
            handle.press("ArrowLeft")
            handle.press("ArrowLeft")
        assert seen.errors == []
