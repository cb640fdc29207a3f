"""Pages to hand out: one language, no network, no dead link."""

import re
from pathlib import Path

import pytest
from lab_browser import chromium_browser, fresh_page

from vramlib import cli, handout
from vramlib._paths import notebooks_dir


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return handout.write(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def vietnamese(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (page,) = handout.write(tmp_path_factory.mktemp("trang"), ["09"], "vi")
    return page


def links(page: Path) -> list[str]:
    return [
        href
        for href in re.findall(r'<a [^>]*href="([^"]+)"', page.read_text())
        if not href.startswith("http")
    ]


def test_every_notebook_is_a_page(english: list[Path]) -> None:
    books = sorted(path.stem for path in notebooks_dir().glob("[0-9]*.ipynb"))
    assert [page.stem for page in english] == books


def test_pages_lead_to_one_another_and_nowhere_else(english: list[Path]) -> None:
    found = {page.stem: [link for link in links(page) if not link.startswith("#")] for page in english}
    assert {f"{page.stem}.html" for page in english} <= set(found["00_start_here"]) | {"00_start_here.html"}
    for page in english:
        assert [link for link in found[page.stem] if not (page.parent / link.split("#")[0]).is_file()] == []


def test_nothing_is_run_for_english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(handout, "run")
    (page,) = handout.write(tmp_path, ["02_kv_cache"])
    assert "bytes_per_token" in page.read_text()


@pytest.mark.notebooks
def test_tables_and_charts_follow_the_language(vietnamese: Path) -> None:
    text = vietnamese.read_text()
    assert '<html lang="vi">' in text
    assert not re.search(r"<title>[^<]*\b(the|of|what|how|is)\b", text, re.IGNORECASE)
    charts = re.findall(r"<img alt=\"([^\"]+)\"", text)
    assert charts
    assert [alt for alt in charts if re.search(r"\b(the|of|and|with)\b", alt)] == []


@pytest.mark.notebooks
@pytest.mark.browser
def test_charts_move_with_the_library_beside_the_page(vietnamese: Path, chromium: str) -> None:
    address = vietnamese.as_uri()
    with chromium_browser(chromium) as browser, fresh_page(browser, address) as (page, seen):
        page.goto(address)
        page.wait_for_selector(".vram-chart svg.marks")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
        assert [asked for asked in seen.outside if not asked.startswith("file:")] == []
        assert seen.errors == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["02_kv_cash"], "nearest: 02_kv_cache"),
        (["../../etc/passwd"], "no notebook '../../etc/passwd'"),
        (["02", "--out", "README.md"], "name a folder"),
        (["--language", "fr"], "'fr' is not one of"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["export", *words])
    told = capsys.readouterr().err
    assert (end.value.code, told.count("\n")) == (2, 1)
    assert said in told


def test_the_command_says_where_to_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["export", "07", "notebooks/02_kv_cache.ipynb", "--out", str(tmp_path / "new" / "pages")])
    assert not end.value.code
    first = Path(capsys.readouterr().out.strip())
    assert first.name == "02_kv_cache.html"
    assert sorted(p.name for p in first.parent.iterdir()) == [
        "02_kv_cache.html",
        "07_fragmentation.html",
        "charts.js",
    ]
