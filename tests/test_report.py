"""The report: the numbers of estimate, one line for what it cannot use, a page that asks no network for anything."""

import dataclasses
import html.parser
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from vramlib import fields, report, text
from vramlib._paths import notebooks_dir
from vramlib.estimate import estimate
from vramlib.report import options, questions, sections
from vramlib.tables import inline, table
from vramlib.units import GiB

TEMPLATE = notebooks_dir() / "report.ipynb"
L4 = {"model": "meta-llama/Llama-3.1-8B", "gpu": "L4"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("reports") / "page.html"
    assert report.run(L4, target) == target
    assert [p.name for p in target.parent.iterdir()] == ["page.html"]
    return target.read_text(encoding="utf-8")


def results(notebook: Path) -> dict:
    outputs = [o for cell in nbformat.read(notebook, 4).cells for o in cell.get("outputs", []) if "data" in o]
    return next(o.data["application/json"] for o in outputs if "application/json" in o.data)


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=cwd, capture_output=True, text=True, timeout=240
    )


class Addresses(html.parser.HTMLParser):
    """Collects what a browser would ask for by itself: not links, which a reader has to click."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        if tag != "a":
            self.found += [named[a] for a in ("src", "href", "data", "poster", "srcset") if named.get(a)]


# --- numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.notebooks
def test_papermill_with_a_file_of_parameters_gives_the_numbers_of_estimate(tmp_path):
    given = {"model": "Qwen/Qwen2.5-7B", "gpu": "A10G", "engine": "llama.cpp", "quantization": "Q4_K_M"}
    (tmp_path / "params.yaml").write_text(json.dumps({**given, "max_model_len": 8192}))
    words = ("papermill", str(TEMPLATE), "out.ipynb", "-f", "params.yaml", "--no-progress-bar")
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / "out.ipynb") == text.to_dict(estimate(**given, max_model_len=8192))


@pytest.mark.notebooks
def test_papermill_from_python_takes_values_as_it_mangles_them(tmp_path):
    mangled = {"model": "Qwen3-8B", "gpu_memory_bytes": 24e9, "engine": "transformers", "enforce_eager": "true",
               "batch_size": 4, "prompt_tokens": "100;200;300;400"}  # fmt: skip
    papermill.execute_notebook(str(TEMPLATE), str(tmp_path / "out.ipynb"), mangled, progress_bar=False)
    expected = estimate(**{**mangled, "gpu_memory_bytes": 24 * 10**9, "max_model_len": "auto"})
    assert results(tmp_path / "out.ipynb") == text.to_dict(expected)


def test_the_stored_template_has_the_numbers_of_its_defaults():
    expected = estimate(model="meta-llama/Llama-3.1-8B", max_model_len="auto")
    assert results(TEMPLATE) == text.to_dict(expected)


# --- the page ----------------------------------------------------------------------------------------------------


@pytest.mark.notebooks
def test_the_page_asks_no_network_for_anything(page):
    found = Addresses()
    found.feed(page)
    assert all(address.startswith(("data:", "#")) for address in found.found), found.found
    assert "default-src 'none'" in page


@pytest.mark.notebooks
def test_the_page_has_the_numbers_and_hides_the_code(page):
    e = estimate(**L4, max_model_len="auto")
    for part in e.parts:
        assert f"{part.bytes / GiB:.2f}" in page
        assert part.name.replace("&", "&amp;") in page
    assert f"{e.scenario.max_model_len:,}" in page
    assert "page.table()" not in page
    assert "vram report -p" not in page
    assert "Tám thành phần" not in page
    assert 'lang="en"' in page


@pytest.mark.notebooks
def test_the_page_says_that_it_does_not_start_at_the_models_limit(page):
    plain = re.sub(r"<[^>]+>", " ", page)
    assert re.search(r"start at the model's own limit, 131,072 tokens\?\s+no", plain)
    assert re.search(r"Does the workload fit\?\s+yes", plain)


@pytest.mark.notebooks
def test_the_command_writes_a_page_in_vietnamese_straight_into_reports(tmp_path):
    vram = Path(sys.executable).with_name("vram")
    words = [str(vram), "report", "-p", "model", "Qwen2.5-0.5B", "-p", "gpu", "T4", "-p", "language", "vi"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "reports/Qwen2.5-0.5B--T4.html"
    page = (tmp_path / run.stdout.strip()).read_text(encoding="utf-8")
    assert 'lang="vi"' in page
    assert "Trọng số mô hình" in page
    assert "The eight parts against the card" not in page


# --- what cannot be used -----------------------------------------------------------------------------------------

UNUSABLE = [
    ({"max_modl_len": 8}, "no field named 'max_modl_len'; nearest: max_model_len"),
    ({"langauge": "vi"}, "no field named 'langauge'; nearest: language"),
    ({"report": 5}, "no field named 'report'"),
    ({"batch_size": 0}, "batch_size is 0; write a whole number of sequences, 1 or more"),
    ({"engine_version": 0.19}, "engine_version is 0.19; write text"),
    ({"model": 7}, "model is 7; write a name or a path as text"),
    ({"model": "../../x"}, "../../x: no such file or folder"),
    ({"gpu": "L40000"}, "no GPU named 'L40000'"),
    ({"language": "fr"}, "language is 'fr'; write en or vi"),
    ({"gpu_memory_utilization": 90}, "gpu_memory_utilization is 90; write a fraction"),
]


@pytest.mark.parametrize(
    ("given", "line"), UNUSABLE, ids=[next(iter(g)) + f"-{i}" for i, (g, _) in enumerate(UNUSABLE)]
)
def test_the_same_line_from_python_and_from_the_first_cell(given, line, tmp_path):
    with pytest.raises((ValueError, KeyError)) as from_python:
        report.run({**L4, **given}, tmp_path / "page.html")
    injected = "\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in given.items())])
    with pytest.raises(report.UnusableError) as from_cell:
        report.page({**L4, **given}, [injected])
    assert str(from_cell.value) == text.message(from_python.value)
    assert line.lower() in str(from_cell.value).lower()
    assert from_cell.value._render_traceback_() == [str(from_cell.value)]
    assert not list(tmp_path.iterdir())


@pytest.mark.notebooks
@pytest.mark.parametrize("words", [("-p", "bad", "1"), ("-p", "batch_size", "many")], ids=["name", "value"])
def test_plain_papermill_fails_in_the_first_cell_with_the_line_of_the_command(words, tmp_path):
    done = command("papermill", str(TEMPLATE), "out.ipynb", *words, "--no-progress-bar", cwd=tmp_path)
    vram = Path(sys.executable).with_name("vram")
    ours = subprocess.run(
        [str(vram), "report", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode != 0, ours.returncode) == (True, 2)
    [line] = ours.stderr.splitlines()
    assert line.removeprefix("vram: ").split("; ")[0].replace("'", '"') in done.stderr.replace("'", '"')
    stored = nbformat.read(tmp_path / "out.ipynb", 4)
    failed = [c for c in stored.cells if any(o.output_type == "error" for o in c.get("outputs", []))]
    assert [c.source.splitlines()[-1] for c in failed] == ["page.title()"]
    assert failed[0].outputs[0].traceback == [failed[0].outputs[0].evalue]
    assert not any(c.get("execution_count") for c in stored.cells[stored.cells.index(failed[0]) + 1 :])
    assert not (tmp_path / "reports").exists()


def test_a_folder_is_no_page(tmp_path):
    with pytest.raises(ValueError, match="is a folder; name the page"):
        report.run(L4, tmp_path)


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "a\\..\\b", "..", "org/..", "x" * 400, "a\nb:c*?"]
)
def test_a_name_never_leaves_the_folder(name):
    e = estimate(**L4)
    model = dataclasses.replace(e.model, name=name)
    path = report.default_path(dataclasses.replace(e, scenario=dataclasses.replace(e.scenario, model=model)))
    assert path.parent == Path("reports")
    assert re.fullmatch(r"[\w.+-]{1,80}--L4\.html", path.name)
    assert not path.name.startswith(".")


def test_a_failure_leaves_the_page_that_was_there(tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("before")

    def fails(*_: object, **__: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(
        report, "_execute", lambda notebook, *_: nbformat.write(nbformat.v4.new_notebook(), notebook)
    )
    monkeypatch.setattr("vramlib.export.export_html", fails)
    with pytest.raises(OSError, match="no room"):
        report.run(L4, target)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert target.read_text() == "before"


# --- parameters --------------------------------------------------------------------------------------------------


def test_the_template_documents_and_types_every_field():
    known = papermill.inspect_notebook(str(TEMPLATE))
    assert set(known) == set(report.NAMES)
    for name, row in known.items():
        assert row["inferred_type_name"] in ("str", "int", "float", "bool"), name
        assert row["help"], name
    assert known["max_model_len"]["default"] == '"auto"'
    assert set(report.defaults()) <= set(fields.NAMES) | {"language"}


def test_defaults_of_the_template_are_those_of_estimate():
    ours = report.read(report.defaults()).estimate
    assert text.to_dict(ours) == text.to_dict(estimate(model="meta-llama/Llama-3.1-8B", max_model_len="auto"))


def test_bytes_alone_still_choose_the_nearest_card():
    found = report.read({**report.defaults(), "gpu_memory_bytes": "24GiB"}).estimate
    assert found.gpu.memory_bytes == 24 * GiB
    assert any("nearest card" in w for w in found.warnings)


# --- what the page says ------------------------------------------------------------------------------------------


def test_three_questions_are_told_apart():
    asked = {**L4, "max_model_len": "auto"}
    workload, start, longest = questions.three(asked, estimate(**asked))
    assert (workload.word, start.word) == ("yes", "no")
    tokens = int(longest.word.replace(",", ""))
    assert questions.starts(asked, tokens)
    assert not questions.starts(asked, tokens + 16)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "transformers", "llama.cpp"])
def test_the_largest_context_is_the_largest_for_every_engine(engine):
    asked = {"model": "Qwen2.5-7B", "gpu": "A10G", "engine": engine}
    longest = questions.longest_context(asked, 1_000_000)
    assert questions.starts(asked, longest)
    assert not questions.starts(asked, longest + 16)


@pytest.mark.parametrize("version", ["0.19.0", "0.33.0"])
def test_the_budget_is_shown_as_a_sum_that_adds_up(version):
    e = estimate(**L4, engine_version=version, max_model_len=8192)
    rows = list(sections._pool_sum(e, e.budget))
    signed = [(-1 if sign == "−" else 1) * size for sign, _, size in rows[:-1]]
    assert sum(signed) == rows[-1][2] == e.budget.kv_pool_bytes
    assert not any("sets aside" in name for _, name, _ in rows)


def test_options_are_the_estimate_with_one_change():
    asked = {**L4, "max_model_len": "auto"}
    e = estimate(**asked)
    found = options.ranked(asked, e)
    for o in found:
        again = estimate(**{**asked, **o.changes})
        assert o.saved_bytes == again.headroom_bytes - e.headroom_bytes
    reach = [(o.estimate.fits, o.limit_starts) for o in found]
    assert reach == sorted(reach, reverse=True)
    assert {"quantization", "kv_cache_dtype", "tensor_parallel_size", "gpu"} <= {
        k for o in found for k in o.changes
    }


def test_options_that_make_it_fit_come_first():
    asked = {"model": "Llama-3.1-70B", "gpu": "L4"}
    found = options.ranked(asked, estimate(**asked))
    fits = [bool(o.estimate.fits) for o in found]
    assert fits == sorted(fits, reverse=True)


def test_the_map_never_fits_more_with_more():
    rows = list(questions.context_batch_rows(L4, estimate(**L4)))
    by = {(r["context_tokens"], r["batch_size"]): r["fits"] for r in rows}
    for (length, batch), fits in by.items():
        assert not fits or by.get((length // 2, batch), True)
        assert not fits or by.get((length, batch // 2), True)


def test_tables_escape_what_they_are_given():
    assert "<script>" not in table(("a",), [("<script>alert(1)</script>",)])._repr_html_()
    assert inline("a < b & **c**") == "a &lt; b &amp; <strong>c</strong>"
    with pytest.raises(ValueError, match="not as many cells"):
        table(("a", "b"), [("x",)])
