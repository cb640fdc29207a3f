"""A report is in one language: no English sentence stays in a Vietnamese page, and none is told from an old wording."""

import ast
import html
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from vramlib import catalog, messages, report
from vramlib._paths import data_dir, notebooks_dir
from vramlib.estimate import estimate
from vramlib.messages import retold
from vramlib.notebook import tags

ROOT = Path(__file__).resolve().parents[1]
RETOLD = (
    "workload",
    "verdict",
    "change",
    "term",
    "formula",
    "worked",
    "warning",
    "claim",
    "setting",
    "experiment",
    "reading",
    "scored",
)
SCENARIOS = [
    {"model": "Llama-3.1-8B", "gpu": "L4"},
    {"model": "Llama-3.1-70B", "gpu": "L4"},
    {"model": "Llama-3.1-8B", "gpu": "A10G", "num_processes": 2, "max_model_len": 8192},
    {"model": "Llama-3.1-8B", "gpu": "L4", "batch_size": 512, "max_model_len": 8192},
    {"model": "DeepSeek-V3", "gpu": "H200", "tensor_parallel_size": 8},
    {"model": "gemma-3-27b-it", "gpu": "A100", "engine": "sglang"},
    {"model": "Qwen2.5-7B-Instruct-AWQ", "gpu": "T4", "engine_version": "0.6.0"},
    {"model": "Qwen3-8B", "gpu_memory_bytes": 24 * 10**9, "engine": "transformers", "prompt_tokens": "100;4000"},
    {"model": "Qwen2.5-7B", "gpu": "A10G", "engine": "llama.cpp", "quantization": "Q4_K_M"},
    {"model": "Qwen2.5-7B", "gpu": "T4", "engine": "llama.cpp", "batch_size": 64},
]  # fmt: skip


def runs(text: str, length: int = 4) -> set[str]:
    """Every run of that many English-looking words in a text; formulas, numbers and flags interrupt a run."""
    found = set()
    for run in re.findall(r"(?<![^\s(])[A-Za-z][a-z'-]*(?: [A-Za-z][a-z'-]*)+", text):
        words = run.split(" ")
        found |= {" ".join(words[i : i + length]) for i in range(len(words) - length + 1)}
    return found


def words_of(chart: Any) -> Iterator[str]:
    """All texts of a chart's specification."""
    match chart:
        case dict():
            for value in chart.values():
                yield from words_of(value)
        case list():
            for value in chart:
                yield from words_of(value)
        case str():
            yield chart


def pieces(page: report.Page) -> dict[str, str]:
    """What a report shows as text, but for its sources: those keep the language they were written in."""
    shown = {
        name: getattr(page, name)()
        for name in ("title", "table", "bases", "answers", "budget", "concurrency", "formulas", "options_heading",
                     "options", "versions", "warnings")
    }  # fmt: skip
    charts = {name: "\n".join(words_of(getattr(page, name)().to_dict())) for name in ("bar", "fit_map")}
    return {name: getattr(one, "data", None) or repr(one) for name, one in shown.items()} | charts


def template(language: str) -> str:
    cells = nbformat.read(notebooks_dir() / "report.ipynb", as_version=4).cells
    return "\n".join(cell.source for cell in cells if f"lang-{language}" in tags(cell))


@pytest.mark.parametrize(
    "given", SCENARIOS, ids=[f"{s['model']}-{s.get('engine', 'vllm')}" for s in SCENARIOS]
)
def test_no_english_words_stay(given: dict[str, Any]) -> None:
    english, vietnamese = (pieces(report.read({**given, "language": language})) for language in ("en", "vi"))
    left = {name: runs(english[name]) & runs(vietnamese[name]) for name in english}
    assert {name: words for name, words in left.items() if words} == {}
    told = [name for name in english if name != "budget" and english[name] == vietnamese[name]]
    assert told == []


def test_the_verdict_keeps_its_numbers() -> None:
    for given in SCENARIOS:
        verdict = estimate(**given).verdict
        told = retold("verdict", verdict, "vi")
        assert told.startswith(("Vừa: ", "Không vừa: "))
        assert sorted(re.findall(r"\d[\d,.]*\d", told)) == sorted(re.findall(r"\d[\d,.]*\d", verdict))


def test_the_template_has_each_text_in_both_languages() -> None:
    cells = nbformat.read(notebooks_dir() / "report.ipynb", as_version=4).cells
    shared = [
        c for c in cells if c.cell_type == "markdown" and not tags(c) & {"lang-en", "lang-vi", "remove-cell"}
    ]
    assert shared == []
    assert runs(template("en")) & runs(template("vi")) == set()


@pytest.mark.notebooks
def test_a_page_in_vietnamese_has_no_english_sentence(tmp_path: Path) -> None:
    given = {"model": "Qwen2.5-0.5B", "gpu": "T4", "engine_version": "0.6.0"}
    page = report.run({**given, "language": "vi"}, tmp_path / "page.html").read_text(encoding="utf-8")
    body = html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(script|style)\b.*?</\1>", "", page)))
    english = runs("\n".join((*pieces(report.read(given)).values(), template("en"))))
    assert len(english) > 150
    assert runs(body) & english == set()


# --- the English that is told again is the English of the code ---------------------------------------------------


def written() -> str:
    """All strings of the package, and the data, whose words warnings repeat."""
    strings = []
    for path in sorted((ROOT / "vramlib").rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        strings += [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return "\n".join((*strings, (data_dir() / "gpus.csv").read_text("utf-8")))


def test_each_told_sentence_is_one_that_the_code_still_writes() -> None:
    code = written()
    lost = [
        (key, text)
        for key, row in messages.table().items()
        if key.split(".")[0] in RETOLD
        for text, *_ in string.Formatter().parse(row["en"])
        for text in re.split(r"; (?=[a-z])", text)
        if (words := text.strip(" .,():")) and words not in code
    ]
    assert lost == []


@pytest.mark.parametrize("engine", ["vllm", "sglang", "transformers", "llama.cpp"])
def test_every_kind_of_model_is_told(engine: str) -> None:
    left: set[str] = set()
    for name in catalog.models()[::5]:
        e = estimate(model=name, engine=engine, gpu="A100-80GB", engine_version="")
        told = [("warning", w) for w in e.warnings] + [("verdict", e.verdict)]
        for part in e.parts:
            for term in part.terms:
                told += [("term", term.name), ("formula", term.formula), ("worked", term.worked)]
        for group, text in told:
            left |= runs(text, 3) & runs(retold(group, text, "vi"), 3)
    assert left == set()


def test_a_very_long_or_strange_sentence_stays_as_it_is() -> None:
    for text in ("x; " * 5000, "Fits: " + " on a with b needs c of" * 150, "{0} {name} %s"):
        assert retold("verdict", text, "vi") == text
