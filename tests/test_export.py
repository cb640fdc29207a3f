"""A page stands alone: nothing is asked of a network, formulas and tables read on a phone."""

import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from example_chart import estimate
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vramlib import charts, formulas, vega
from vramlib.export import export_html, page_html
from vramlib.units import GiB

WIDE = "<table><tr>" + "<td>a_word_that_does_not_break</td>" * 12 + "</tr></table>"


def shown(**data: str) -> nbformat.NotebookNode:
    by_type = {f"text/{name}": text for name, text in data.items()}
    return new_code_cell("secret_code()", outputs=[new_output("display_data", by_type)], execution_count=1)


def sample() -> nbformat.NotebookNode:
    chart = vega.render(charts.parts_bar(estimate(22 * GiB)).to_dict())
    return new_notebook(
        cells=[
            new_markdown_cell(
                "# Where *it* goes\n\n$$ M = 2 \\, L / 8 $$ and $n_{kv}$, `echo $HOME $PATH`, \\$5 or \\$6"
            ),
            new_code_cell("c", outputs=[new_output("display_data", chart)], execution_count=1),
            shown(html=WIDE, plain="table"),
            shown(markdown="worked: $2 \\cdot 8 = 16$", plain="m"),
            shown(latex="$\\frac{a}{b}$", plain="l"),
            new_markdown_cell("only alive", metadata={"tags": ["live"]}),
            new_markdown_cell("Trọng số", metadata={"tags": ["lang-vi"]}),
            new_markdown_cell("Weights", metadata={"tags": ["lang-en"]}),
            new_markdown_cell(
                '![remote](https://example.com/a.png) <script src="https://example.com/b.js"></script>'
            ),
        ]
    )


@pytest.fixture(scope="module")
def page() -> str:
    return page_html(sample())


def test_no_address_is_loaded(page: str) -> None:
    head, _, body = page.partition("<body>")
    assert "default-src 'none'" in head
    assert not re.search(r"<(?:script|img|link|iframe)\b[^>]*https?:", body)
    assert not re.search(r"<(?:script|link)\b[^>]*(?:src|href)=", head)


def test_page_has_the_notebooks_heading_and_its_language(page: str) -> None:
    assert "<title>Where *it* goes</title>" in page
    assert '<html lang="en">' in page
    assert '<html lang="vi">' in page_html(sample(), lang="vi")


def test_other_language_and_live_cells_are_left_out(page: str) -> None:
    assert "Weights" in page
    assert "Trọng số" not in page
    assert "only alive" not in page
    vietnamese = page_html(sample(), lang="vi")
    assert "Trọng số" in vietnamese
    assert "Weights" not in vietnamese.partition("<body>")[2].replace("Model weights", "")


def test_code_is_shown_only_on_request(page: str) -> None:
    assert "secret_code" not in page
    assert "secret_code" in page_html(sample(), show_code=True)


def test_formulas_become_mathml_and_money_stays(page: str) -> None:
    assert page.count("<math") == 4
    assert "<mfrac>" in page
    assert "echo $HOME $PATH" in page
    assert "$5 or $6" in page
    assert "zqFormula" not in page


def test_tables_scroll_in_their_own_box(page: str) -> None:
    assert '<div class="scroll" tabindex="0"><table' in page


def test_vega_comes_once_and_only_where_there_is_a_chart(page: str) -> None:
    assert page.count('<script type="module">') == 1
    assert len(page) < 1_500_000
    assert len(page_html(new_notebook(cells=[new_markdown_cell("# Text")]))) < 10_000


def test_a_formula_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"formula .* cannot be read"):
        formulas.mathml("x_1_2")


def test_export_makes_the_folder(tmp_path: Path) -> None:
    nbformat.write(new_notebook(cells=[new_markdown_cell("text")]), tmp_path / "plain.ipynb")
    target = export_html(tmp_path / "plain.ipynb", tmp_path / "reports" / "plain.html")
    assert "<title>plain</title>" in target.read_text(encoding="utf-8")


def visit(chromium: str, file: Path, width: int, scripts: bool) -> SimpleNamespace:
    """What a browser sees of a page: its width, its live charts, what it asked for and what went wrong."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    asked, errors = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": width, "height": 800}, java_script_enabled=scripts)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(file.as_uri())
        page.locator(".vram-chart svg" if scripts else ".vram-chart img").first.wait_for()
        box = page.locator(".vram-chart").first.bounding_box()
        picture = page.locator(".vram-chart :is(svg, img)").first.bounding_box()
        across = page.evaluate("document.documentElement.scrollWidth") if scripts else width
        browser.close()
    outside = [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    return SimpleNamespace(across=across, box=box, picture=picture, outside=outside, errors=errors)


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scripts", [True, False])
def test_page_reads_on_a_phone_and_a_desk(chromium: str, tmp_path: Path, width: int, scripts: bool) -> None:
    file = tmp_path / "page.html"
    file.write_text(page_html(sample()), encoding="utf-8")
    seen = visit(chromium, file, width, scripts)
    assert seen.outside == []
    assert seen.errors == []
    assert seen.across == width
    assert seen.picture["width"] <= seen.box["width"] + 1
    assert seen.picture["width"] > 250
