"""Rules that every component notebook keeps: its sections, its two languages, its exercises, and its numbers' home."""

import itertools
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

from vramlib import notebook
from vramlib._paths import notebooks_dir
from vramlib.export import page_html
from vramlib.messages import t

TESTS = Path(__file__).parent
ALL = sorted(notebooks_dir().glob("*.ipynb"))
TAUGHT = [path for path in ALL if re.match(r"(0[1-9]|10)_", path.stem)]
SECTIONS = {
    "en": (
        "The question", "Intuition", "Formula", "A number by hand", "Try it", "Measure it", "The claim", "Exercises",
        "Check yourself", "Takeaways",
    ),
    "vi": (
        "Câu hỏi", "Trực giác", "Công thức", "Một con số tính tay", "Thử ngay", "Đo", "Điều bảng nói", "Bài tập",
        "Tự kiểm tra", "Điều cần nhớ",
    ),
}  # fmt: skip
LONGEST_CODE, MOST_LIVE = 12, 3
# What is made 1 % larger; a notebook that is not named here has its own component's terms.
PERTURBED = {
    "01_model_weights": tuple(
        f"vramlib.components.model_weights:{name}" for name in ("terms", "quantized_bytes", "tensor_bytes")
    ),
    "02_kv_cache": ("vramlib.components.kv_cache:terms", "vramlib.components.kv_cache:row_bytes"),
    "03_activations": tuple(
        f"vramlib.components.activations:{name}"
        for name in ("terms", "mlp_bytes", "eager_bytes", "logits_bytes", "forward_bytes", "sampler_bytes")
    ),
    "04_cuda_context": (
        "vramlib.components.cuda_context:terms",
        "vramlib.components.cuda_context:base_bytes",
    ),
    "05_framework_buffers": tuple(
        f"vramlib.components.framework_buffers:{name}"
        for name in (
            "terms",
            "cuda_graph_bytes",
            "persistent_bytes",
            "block_table_bytes",
            "num_capture_sizes",
        )
    ),
    "08_multi_process": (
        "vramlib.components.multi_process:terms",
        "vramlib.components.multi_process:communication_terms",
        "vramlib.components.model_weights:tensor_bytes",
    ),
    "06_prefill_padding": (
        *(
            f"vramlib.components.prefill_padding:{name}"
            for name in ("terms", "padded_tokens", "block_tail_tokens")
        ),
        "vramlib.budget:requested_bytes",
    ),
    "09_quick_conversion": (
        "vramlib.lessons.conversion:size_bytes",
        "vramlib.components.model_weights:tensor_bytes",
        "vramlib.components.model_weights:quantized_bytes",
        "vramlib.claims.cases:plain_bytes",
    ),
    "07_fragmentation": tuple(
        f"vramlib.components.fragmentation:{name}"
        for name in ("terms", "allocated_bytes", "weight_rounding_bytes", "dynamic_cache_leftover_bytes")
    ),
    "10_optimizations": (
        "vramlib.components.prefill_padding:pool_bytes_held",
        "vramlib.components.prefill_padding:padded_tokens",
        "vramlib.budget:requested_bytes",
        "vramlib.components.framework_buffers:terms",
        "vramlib.components.framework_buffers:cuda_graph_bytes",
        "vramlib.components.kv_cache:row_bytes",
        "vramlib.lessons.optimizations:shared_prefix_bytes",
        "vramlib.components.activations:terms",
        "vramlib.components.multi_process:terms",
        "vramlib.components.model_weights:quantized_bytes",
    ),
}

every = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
taught = pytest.mark.parametrize("path", TAUGHT, ids=lambda path: path.stem)


def cells(path: Path, kind: str = "") -> list:
    found = nbformat.read(path, as_version=4).cells
    return [cell for cell in found if not kind or cell.cell_type == kind]


def prose(path: Path, language: str) -> str:
    """The text that a reader of one language sees."""
    other = {f"lang-{x}" for x in SECTIONS} - {f"lang-{language}"}
    return "\n\n".join(cell.source for cell in cells(path, "markdown") if not other & notebook.tags(cell))


def headings(path: Path, language: str) -> list[tuple[int, str]]:
    text = re.sub(r"```.*?```", "", prose(path, language), flags=re.S)
    return [(len(sign), words.strip()) for sign, words in re.findall(r"^(#+) +(.+)$", text, re.M)]


def targets(path: Path) -> tuple[str, ...]:
    own = f"vramlib.components.{path.stem[3:]}:terms"
    return PERTURBED.get(path.stem, (own,))


@every
def test_each_english_text_is_followed_by_the_same_in_vietnamese(path: Path) -> None:
    found = cells(path)
    for i, cell in enumerate(found):
        if "lang-en" in notebook.tags(cell):
            after = found[i + 1]
            assert "lang-vi" in notebook.tags(after), f"{cell.id} has no lang-vi cell after it"
            assert shape(cell.source) == shape(after.source), f"{after.id} has not the shape of {cell.id}"
            assert cell.source != after.source
    counts = [sum(f"lang-{x}" in notebook.tags(c) for c in found) for x in SECTIONS]
    assert counts[0] == counts[1] > 0


@every
def test_text_without_a_language_is_formulas_alone(path: Path) -> None:
    """What both readers see is no prose: no five words in a row."""
    for cell in cells(path, "markdown"):
        if not notebook.tags(cell) & {"lang-en", "lang-vi", "remove-cell"}:
            words = re.sub(r"`[^`]*`|\$[^$]*\$|https?:\S+", "", cell.source)
            assert not re.search(r"(?:\b[A-Za-z]{2,}\b ){4}[A-Za-z]{2,}\b", words), cell.source


@every
def test_tags_name_one_language_that_is_known(path: Path) -> None:
    for cell in cells(path):
        assert len(notebook.tags(cell) & {f"lang-{x}" for x in SECTIONS}) <= 1
        assert all(tag[5:] in SECTIONS for tag in notebook.tags(cell) if tag.startswith("lang-"))


def shape(source: str) -> tuple[list[str], int, int]:
    """What both languages share: levels of headings, addresses of links, folded answers."""
    levels = re.findall(r"^(#+) ", source, re.M)
    links = sorted(re.findall(r"\]\(([^)]+)\)", source))
    return levels + links, source.count("<details>"), source.count("$")


@taught
@pytest.mark.parametrize("language", SECTIONS)
def test_sections_stand_in_their_order(path: Path, language: str) -> None:
    second = [words for level, words in headings(path, language) if level == 2]
    places = [second.index(title) for title in SECTIONS[language]]
    assert places == sorted(places)


@every
@pytest.mark.parametrize("language", SECTIONS)
def test_headings_are_in_order(path: Path, language: str) -> None:
    levels = [level for level, _ in headings(path, language)]
    if path in TAUGHT:
        assert levels[0] == 1
    assert levels.count(1) <= 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@taught
def test_title_card_says_what_minutes_and_needs(path: Path) -> None:
    title = cells(path, "markdown")[0].source
    assert re.search(r"\d+ minutes", title)
    assert "**After it you can**" in title
    assert "GPU" in title
    assert "**Write down your guess" in prose(path, "en")


@taught
def test_code_cells_are_short_and_few_are_live(path: Path) -> None:
    long = {c.id: len(c.source.splitlines()) for c in cells(path, "code")}
    assert {i: n for i, n in long.items() if n > LONGEST_CODE} == {}
    assert sum(bool(notebook.LIVE_TAGS & notebook.tags(c)) for c in cells(path)) <= MOST_LIVE


@taught
def test_widget_is_live_and_its_still_figure_follows(path: Path) -> None:
    code = cells(path, "code")
    place = next(i for i, c in enumerate(code) if re.match(r"widgets\.\w+\(", c.source))
    name = re.match(r"widgets\.\w+", code[place].source)[0]
    assert "live" in notebook.tags(code[place])
    assert code[place + 1].source.startswith(f"{name}.still(")


@every
def test_no_cell_stores_an_error_or_a_warning(path: Path) -> None:
    outputs = [(c.id, o) for c in cells(path, "code") for o in c.outputs]
    assert [i for i, o in outputs if o.output_type == "error" or o.get("name") == "stderr"] == []
    assert [i for i, o in outputs if re.search(r"Warning:|Traceback", str(o.get("text", "")))] == []


@taught
def test_exercises_greet_and_their_solutions_pass(path: Path) -> None:
    code = cells(path, "code")
    exercises = [i for i, c in enumerate(code) if "exercise" in notebook.tags(c)]
    assert len(exercises) >= 3
    for i in exercises:
        untouched, solution = code[i], code[i + 1]
        assert "..." in untouched.source
        assert shown(untouched).startswith("✎"), f"{untouched.id}: {shown(untouched)}"
        assert "solution" in notebook.tags(solution), f"{untouched.id} is not followed by its solution"
        assert solution.metadata.get("jupyter", {}).get("source_hidden"), f"{solution.id} is not folded"
        assert solution.source.startswith("# solution"), "Lab shows the first line of a folded cell"
        assert shown(solution).startswith("✓"), f"{solution.id}: {shown(solution)}"
        assert last_line(untouched) == last_line(solution), f"{solution.id} asks another check"


def shown(cell: nbformat.NotebookNode) -> str:
    return cell.outputs[-1].data["text/plain"] if cell.outputs and "data" in cell.outputs[-1] else ""


def last_line(cell: nbformat.NotebookNode) -> str:
    return cell.source.strip().splitlines()[-1]


@taught
@pytest.mark.parametrize("language", SECTIONS)
def test_solutions_are_folded_in_the_exported_page_too(path: Path, language: str) -> None:
    page = page_html(nbformat.read(path, as_version=4), show_code=True, lang=language)
    solutions = sum("solution" in notebook.tags(c) for c in cells(path, "code"))
    assert page.count(f"<summary>{t('page.solution', language)}</summary>") == solutions
    assert "# solution" not in re.sub(r"<details>.*?</details>", "", page, flags=re.S)


@taught
def test_check_yourself_has_folded_answers(path: Path) -> None:
    for language in SECTIONS:
        text = prose(path, language).split(f"## {SECTIONS[language][8]}")[1].split("\n## ")[0]
        assert 3 <= text.count("<details><summary>") == text.count("</details>") <= 5


@every
def test_links_resolve(path: Path) -> None:
    text = "\n".join(c.source for c in cells(path, "markdown"))
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert [x for x in links if x.startswith("http:")] == [], "https, please"
    here = [unquote(x.split("#")[0]) for x in links if not x.startswith("https:") and not x.startswith("#")]
    assert [x for x in here if x and not (path.parent / x).exists()] == []


class Images(HTMLParser):
    """Images without words."""

    def __init__(self) -> None:
        super().__init__()
        self.silent: list[str] = []
        self.seen = 0

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if tag == "img":
            self.seen += 1
            if len(dict(attributes).get("alt") or "") < 20:
                self.silent.append(str(attributes)[:80])


@every
def test_every_image_has_alt_text(path: Path) -> None:
    reader = Images()
    for cell in cells(path, "code"):
        for output in cell.outputs:
            reader.feed(output.get("data", {}).get("text/html", ""))
            assert not {"image/png", "image/svg+xml", "image/jpeg"} & set(output.get("data", {}))
    reader.feed("\n".join(c.source for c in cells(path, "markdown")))
    assert reader.silent == []
    assert re.findall(r"!\[\s*\]\(", "\n".join(c.source for c in cells(path, "markdown"))) == []
    if path in TAUGHT:
        assert reader.seen >= 2


@taught
def test_main_chart_moves_without_python(path: Path) -> None:
    pages = [o.data.get("text/html", "") for c in cells(path, "code") for o in c.outputs if "data" in o]
    assert any('"bind":{' in page for page in pages)


@pytest.mark.notebooks
@taught
def test_it_fails_when_its_component_grows_by_a_hundredth(path: Path) -> None:
    command = [sys.executable, str(TESTS / "notebook_runner.py"), str(path), *targets(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TESTS)
    assert done.returncode == 0, done.stderr[-2000:]
    changed = json.loads(done.stdout)
    assert changed.pop("") == "", "a cell differs without any change"
    assert [target for target, seen in changed.items() if not seen] == [], "1 % more is not noticed"
    assert [seen for seen in changed.values() if re.search(r"now \['\w*Error: ", seen)] == []
