"""A batch's jobs, folder, summary and changes: what each row becomes, what is kept, what is told; no kernel runs."""

import ast
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from batch_grids import GOOD, grid, in_this_process, run, table
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_notebook
from papermill.parameterize import parameterize_notebook

import vramlib
from vramlib import batch, cli, cli_reports, contract, report
from vramlib.batch import changes, fingerprint, jobs, store, summary

ROWS = [{**GOOD, "batch_size": n} for n in (1, 2, 3)]
CONFIG = Path(__file__).parent / "data" / "configs"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the jobs that were made, each without a kernel."""
    names: list[str] = []
    in_this_process(monkeypatch, names)
    return names


def command(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli.main, ["reports", *map(str, words)], prog_name="vram")
    return done.exit_code, done.output


# --- jobs --------------------------------------------------------------------------------------------------------


def test_a_grid_and_a_csv_of_the_same_scenarios_are_the_same_jobs(tmp_path):
    (tmp_path / "g.yaml").write_text(
        "model: Qwen2.5-0.5B\ngpu: [T4, L4]\nbatch_size: [1, 2]\nmax_model_len: 2048\n"
    )
    rows = [{**GOOD, "gpu": gpu, "batch_size": n} for gpu in ("T4", "L4") for n in (1, 2)]
    one, other = batch.read(tmp_path / "g.yaml"), batch.read(grid(tmp_path / "g.csv", rows))
    assert [(j.scenario, j.folder, j.fingerprint) for j in one] == [
        (j.scenario, j.folder, j.fingerprint) for j in other
    ]
    assert (
        batch.count(tmp_path / "g.yaml")
        == batch.count(tmp_path / "g.csv")
        == len({j.folder for j in one})
        == 4
    )


def test_a_bad_row_has_its_error_and_takes_no_other_with_it(tmp_path):
    (tmp_path / "g.csv").write_text(
        "model,gpu,batch_size,note\nQwen2.5-0.5B,T4,1,first\nno-such,T4,1,\nQwen2.5-0.5B,T4,0,\n"
        "Qwen2.5-0.5B,T4,1,a,b\n,T4,1,\nQwen2.5-0.5B,,2,last\n"
    )
    found = batch.read(tmp_path / "g.csv")
    assert [job.error.split(";")[0].split(" in ")[0] for job in found] == [
        "", "no model named 'no-such'", "batch_size is '0'", "the row has 5 cells for 4 columns",
        "model is not given", "",
    ]  # fmt: skip
    assert [bool(job.folder) for job in found] == [not job.error for job in found]
    assert [job.noted.get("note") for job in found] == ["first", None, None, "a", None, "last"]


def test_a_report_keeps_its_folder_when_the_grid_grows(tmp_path):
    before = {j.given["batch_size"]: j for j in batch.read(grid(tmp_path / "g.csv", ROWS))}
    more = [{**GOOD, "gpu": "L4"}, *reversed(ROWS), *[{**row, "note": "x"} for row in ROWS]]
    after = batch.read(grid(tmp_path / "g.csv", more))
    assert {j.given["batch_size"]: j.folder for j in after[1:4]} == {n: j.folder for n, j in before.items()}
    assert {j.fingerprint for j in after[1:4]} == {j.fingerprint for j in before.values()}
    assert [j.folder for j in after[4:]] == [f"{before[n].folder}-2" for n in "123"]


AWKWARD = (
    "../../evil",
    "/etc/passwd",
    "C:\\con",
    "a\\..\\b",
    "..",
    "org/..",
    "x" * 400,
    "a\nb:c*?",
    "~",
    "é/ễ",
    "--",
    "",
)


@pytest.mark.parametrize("name", AWKWARD)
def test_a_folder_is_one_plain_name(name):
    assert re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9_+.-]*", jobs._plain(name))
    assert "/" not in jobs._plain(name)


def test_folders_differ_where_case_is_ignored_and_are_short(tmp_path):
    rows = [
        {**GOOD, "model": m, "gpu": g} for m in ("Qwen2.5-0.5B", "QWEN2.5-0.5b") for g in ("T4", "t4", "T4")
    ]
    folders = [job.folder for job in batch.read(grid(tmp_path / "g.csv", rows))]
    assert len({folder.casefold() for folder in folders}) == len(rows)
    assert max(map(len, folders)) < 120


def hostile_model(folder: Path) -> Path:
    """A model's own file in a folder whose name would be code if anything read it as such."""
    source = next(file for file in sorted(CONFIG.rglob("*.json")) if "hidden_size" in file.read_text())
    inside = folder / "x\"; open('pwned', 'w'); '{y}' \\ $(touch pwned) \n\t#"
    inside.mkdir()
    (inside / "config.json").write_text(source.read_text())
    return inside / "config.json"


def test_parameters_reach_the_notebook_as_values(tmp_path):
    path = hostile_model(tmp_path)
    [job] = batch.read(grid(tmp_path / "g.csv", [{"model": path, "gpu": "T4", "prompt_tokens": "100;200"}]))
    assert job.error == ""
    empty = new_notebook(cells=[new_code_cell("# Parameters", metadata={"tags": ["parameters"]})])
    empty.metadata |= {"kernelspec": {"name": "python3", "language": "python"}, "papermill": {}}
    injected = parameterize_notebook(empty, dict(job.parameters)).cells[1].source
    found = {}
    for line in ast.parse(injected).body:
        assert isinstance(line, ast.Assign)
        found[line.targets[0].id] = ast.literal_eval(line.value)
    assert found == job.parameters
    assert found["model"] == str(path)
    assert set(found) <= set(report.NAMES)
    assert "pwned" not in os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("column", "value"),
    [("model", "__import__('os').system('touch pwned')"), ("gpu", "{model}"), ("language", "../.."),
     ("engine_version", "0.19.0'; import os"), ("quantization", "../../etc/passwd")],
)  # fmt: skip
def test_what_is_no_value_of_a_field_never_becomes_a_job(column, value, tmp_path):
    [job] = batch.read(grid(tmp_path / "g.csv", [{**GOOD, column: value}]))
    if job.error:
        assert not job.parameters
        assert not job.folder
    else:  # another column, or a version taken as text
        assert job.parameters.get(column) in ("en", value)
        assert "/" not in job.folder


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("g.txt", "model\n", "is no grid; name a file that ends in .csv, .yaml, .yml"),
        ("g.csv", "model,gpu\n", "has 0 scenarios; a batch makes 1 to 100,000 reports"),
        ("g.yaml", "model: Qwen3-8B\nbatch_size: 1..100001\n", "has 100,001 scenarios"),
        ("g.yaml", "gpu: L4\n", "the grid names no model"),
        ("g.csv", "gpu\nL4\n", "has no column model"),
        ("none.csv", None, "No such file"),
    ],
)
def test_a_grid_that_cannot_be_used_is_one_line_and_status_2(name, text, told, tmp_path):
    if text is not None:
        (tmp_path / name).write_text(text)
    status, output = command(tmp_path / name, "--out", tmp_path / "out")
    assert status == 2
    assert told in output
    assert len(output.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_long_batch_asks_and_without_a_terminal_wants_yes(tmp_path, made):
    (tmp_path / "g.yaml").write_text(
        "model: Qwen2.5-0.5B\ngpu: T4\nmax_model_len: 2048\nbatch_size: 1..501\n"
    )
    status, output = command(tmp_path / "g.yaml", "--out", tmp_path / "out", "--jobs", 2)
    assert (status, made) == (2, [])
    assert "the grid has 501 scenarios, about 29 minutes with --jobs 2; write --yes" in output


@pytest.mark.parametrize("answer", [True, False])
def test_a_long_batch_asks_at_a_terminal(answer, tmp_path, made, monkeypatch):
    asked = []
    monkeypatch.setattr(batch, "ASKS_BEYOND", 2)
    monkeypatch.setattr(cli_reports, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))

    def confirm(words: str, **_: object) -> None:
        asked.append(words)
        if not answer:
            raise click.Abort

    monkeypatch.setattr(click, "confirm", confirm)
    status, _ = command(grid(tmp_path / "g.csv", ROWS), "--out", tmp_path / "out", "--jobs", 1)
    assert asked == ["vram: the grid has 3 scenarios, about 0 minutes with --jobs 1; start"]
    assert (status, len(made)) == ((0, 3) if answer else (130, 0))


def test_the_grid_that_the_readme_names(root):
    found = batch.read(root / "docs" / "eight_users.yaml")
    assert [job.error for job in found] == [""] * 12


# --- fingerprints --------------------------------------------------------------------------------------------------


def test_a_fingerprint_changes_with_all_that_makes_a_page(tmp_path, monkeypatch):
    page = report.read(GOOD)
    first = fingerprint.of(page, fingerprint.source())
    assert fingerprint.of(report.read({**GOOD, "language": "vi"}), fingerprint.source()) != first
    assert fingerprint.of(report.read({**GOOD, "batch_size": 2}), fingerprint.source()) != first
    notebook, data = tmp_path / "report.ipynb", tmp_path / "data"
    notebook.write_text("one")
    data.mkdir()
    (data / "gpus.csv").write_text("one")
    monkeypatch.setattr(fingerprint, "data_dir", lambda: data)
    seen = []
    for change in (
        lambda: None,
        lambda: notebook.write_text("two"),
        lambda: (data / "gpus.csv").write_text("two"),
        lambda: (data / "gpus.csv").rename(data / "cards.csv"),
        lambda: monkeypatch.setattr(fingerprint, "version", lambda _: "99"),
    ):
        change()
        fingerprint.source.cache_clear()
        seen.append(fingerprint.source(notebook))
    fingerprint.source.cache_clear()
    assert len(set(seen)) == len(seen)


def test_a_change_of_the_package_changes_the_fingerprint(tmp_path, monkeypatch):
    copy = tmp_path / "vramlib" / "batch" / "fingerprint.py"
    copy.parent.mkdir(parents=True)
    monkeypatch.setattr(fingerprint, "__file__", str(copy))
    seen = set()
    for text in ("one", "two"):
        (tmp_path / "vramlib" / "estimate.py").write_text(text)
        fingerprint.source.cache_clear()
        seen.add(fingerprint.source())
    fingerprint.source.cache_clear()
    assert len(seen) == 2


def test_a_models_own_file_is_part_of_the_fingerprint(tmp_path):
    path = hostile_model(tmp_path)
    before = fingerprint.of(report.read({"model": str(path), "gpu": "T4"}), "")
    assert fingerprint.of(report.read({"model": str(path), "gpu": "T4"}), "") == before
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "vocab_size": config["vocab_size"] + 64}))
    assert fingerprint.of(report.read({"model": str(path), "gpu": "T4"}), "") != before


# --- what is made, kept and made again -----------------------------------------------------------------------------


def test_each_report_has_the_numbers_of_estimate_beside_it(tmp_path, made):
    done = run(grid(tmp_path / "g.csv", ROWS), tmp_path / "out")
    for row, result in zip(ROWS, done.results, strict=True):
        stored = json.loads((tmp_path / "out" / result.job.folder / "estimate.json").read_text())
        assert stored == contract.to_dict(vramlib.estimate(**row))
    for row, line in zip(ROWS, table(tmp_path / "out" / "summary.csv"), strict=True):
        expected = contract.row(vramlib.estimate(**row))
        assert {n: line[n] for n in expected} == {n: csv_cell(v) for n, v in expected.items()}
        assert (tmp_path / "out" / line["report"]).is_file()


def csv_cell(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_finished_reports_are_kept_and_changed_ones_made_again(tmp_path, made):
    path, out = grid(tmp_path / "g.csv", ROWS), tmp_path / "out"
    run(path, out)
    first, second, third = sorted(out.glob("*/job.json"))
    first.write_text(first.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    (second.parent / "report.html").unlink()
    third.with_name("estimate.json").write_text("cut off {")
    made.clear()
    done = run(path, out)
    assert len(made) == done.count("made") == 3
    made.clear()
    assert run(path, out).count("kept") == 3
    assert run(path, out, language="vi").count("made") == 3
    assert made == ["Qwen2.5-0.5B 1", "Qwen2.5-0.5B 2", "Qwen2.5-0.5B 3"]


def test_a_folder_that_no_batch_made_is_left_alone(tmp_path, made):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("mine")
    status, output = command(grid(tmp_path / "g.csv", ROWS), "--out", tmp_path / "out")
    assert (status, made) == (2, [])
    assert "holds files that no batch made; name a new or an empty folder" in output
    assert (tmp_path / "out" / "index.html").read_text() == "mine"


HOLDER = """
import sys
from pathlib import Path
from vramlib.batch import store

with store.claimed(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_batches_do_not_write_one_folder_and_a_killed_one_does_not_hold_it(tmp_path, made):
    path, out = grid(tmp_path / "g.csv", ROWS), tmp_path / "out"
    words = [sys.executable, "-c", HOLDER, str(out)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        before = {file.name: file.read_bytes() for file in out.iterdir()}
        status, output = command(path, "--out", out)
        assert (status, made) == (2, [])
        told = f"another batch is writing {out}; wait for its end, or name another folder"
        assert output == f"vram: {told}\n"
        assert {file.name: file.read_bytes() for file in out.iterdir()} == before
        first.kill()
    assert command(path, "--out", out)[0] == 0
    assert len(made) == 3


def test_a_mark_that_leads_elsewhere_is_not_written_through(tmp_path, made):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / store.MARK).symlink_to(tmp_path / "mine")
    assert command(grid(tmp_path / "g.csv", ROWS), "--out", tmp_path / "out")[0] == 2
    assert (tmp_path / "mine").read_text() == "mine"


def test_what_an_interrupted_write_left_is_removed(tmp_path, made):
    path, out = grid(tmp_path / "g.csv", ROWS), tmp_path / "out"
    run(path, out)
    (out / f"{store.PART}1-x").mkdir()
    (out / f"{store.PART}1-x" / "report.html").write_text("half")
    (out / f"{store.PART}2-index.html").write_text("half")
    run(path, out)
    assert not [p for p in out.iterdir() if p.name.startswith(".")]


def test_a_report_that_cannot_be_stored_fails_alone_and_leaves_nothing(tmp_path, made, monkeypatch):
    write = store.write

    def full(path: Path, content: str) -> None:
        if path.name == "job.json" and '"batch_size": 2' in content:
            raise OSError(28, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(store, "write", full)
    done = run(grid(tmp_path / "g.csv", ROWS), tmp_path / "out")
    assert [r.status for r in done.results] == ["made", "failed", "made"]
    assert "No space left on device" in done.results[1].error
    assert len(list((tmp_path / "out").glob("*/"))) == 2
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]


def test_a_disk_that_is_full_from_the_start_is_named(tmp_path, made, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    path = grid(tmp_path / "g.csv", ROWS)
    monkeypatch.setattr(Path, "write_text", full)
    status, output = command(path, "--out", tmp_path / "out")
    assert (status, made) == (2, [])
    assert output == f"vram: {tmp_path / 'out' / 'charts.js'}: No space left on device\n"


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_exit_status_tells_a_failed_job_from_a_model_that_does_not_fit(tmp_path, made):
    large = {"model": "Llama-3.1-70B", "gpu": "T4", "max_model_len": "2048"}
    status, output = command(grid(tmp_path / "g.csv", [large, GOOD]), "--out", tmp_path / "one")
    assert (status, output.splitlines()[-1]) == (0, str(tmp_path / "one" / "index.html"))
    assert table(tmp_path / "one" / "summary.csv")[0]["fits"] == "false"
    status, output = command(
        grid(tmp_path / "g.csv", [{**GOOD, "gpu": "T5"}, GOOD]), "--out", tmp_path / "two"
    )
    assert status == 1
    assert "vram: 1: no GPU named 'T5'" in output
    assert [r["status"] for r in table(tmp_path / "two" / "summary.csv")] == ["failed", "made"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--jobs", "2", "--scheduler", "tcp://127.0.0.1:1"], "write one of them"),
        (["--jobs", "0"], "0 is not in the range"),
        (
            ["--compare", "nowhere"],
            "nowhere does not exist; name the folder that an earlier vram reports wrote",
        ),
    ],
)
def test_words_that_cannot_be_used(words, told, tmp_path, made):
    status, output = command(grid(tmp_path / "g.csv", ROWS), "--out", tmp_path / "out", *words)
    assert (status, made) == (2, [])
    assert told in output


def test_a_column_that_nearly_is_a_field_is_told_and_an_earlier_summary_is_a_grid(tmp_path, made):
    rows = [{**GOOD, "bach_size": 7, "note": "x"}]
    status, output = command(grid(tmp_path / "g.csv", rows), "--out", tmp_path / "out")
    assert status == 0
    assert "vram: column 'bach_size' is passed through, not read; nearest: batch_size\n" in output
    assert "'note'" not in output
    status, output = command(tmp_path / "out" / "summary.csv", "--out", tmp_path / "again")
    assert (status, len(made)) == (0, 2)
    assert output.count("nearest") == 1


def test_a_stopped_batch_says_how_it_goes_on(tmp_path, monkeypatch):
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "run", stopped)
    status, output = command(grid(tmp_path / "g.csv", ROWS), "--out", tmp_path / "out")
    assert status == 130
    assert output == "vram: stopped; the same command makes what is missing and keeps the rest\n"


# --- two batches compared --------------------------------------------------------------------------------------------


def edited(path: Path, change) -> None:
    rows = table(path)
    names = list(rows[0])
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        writer.writerows(filter(None, map(change, rows)))


def test_a_comparison_tells_flipped_moved_new_gone_and_failed(tmp_path, made):
    rows = [*ROWS, {**GOOD, "batch_size": 4}, {**GOOD, "gpu": "T5"}]
    first, second = tmp_path / "first", tmp_path / "second"
    run(grid(tmp_path / "a.csv", rows), first)

    def before(row: dict[str, str]) -> dict[str, str]:
        if row["batch_size"] == "1":
            row["fits"] = "false"
        if row["batch_size"] == "2":
            row["kv_cache_bytes"] = str(int(row["kv_cache_bytes"]) - 4096)
            row["total_bytes"] = str(int(row["total_bytes"]) - 4096)
        if row["batch_size"] == "3":
            row["status"], row["fits"] = "failed", ""
        return row

    edited(first / "summary.csv", before)
    after = [*ROWS, {**GOOD, "batch_size": 5}, {**GOOD, "gpu": "T5"}]
    done = run(grid(tmp_path / "b.csv", after), second, previous=first)
    assert [r.change and r.change.kind for r in done.results] == ["fits", "moved", "works", "new", None]
    found = {row["change"]: row for row in table(second / "changes.csv")}
    assert list(found) == ["fits", "moved", "works", "new", "gone"]
    assert (found["fits"]["fits_before"], found["fits"]["fits_now"]) == ("false", "true")
    assert found["moved"]["kv_cache_bytes_moved"] == found["moved"]["total_bytes_moved"] == "4096"
    assert found["moved"]["model_weights_bytes_moved"] == ""
    assert (found["gone"]["batch_size"], found["gone"]["report"]) == ("4", "")
    page = (second / "index.html").read_text()
    for told in ("fits now", "+4.00 KiB", "works now", "gone: 1", "changes.csv"):
        assert told in page, told


def test_the_same_batch_has_no_changes_and_can_be_compared_with_itself(tmp_path, made):
    path, out = grid(tmp_path / "g.csv", ROWS), tmp_path / "out"
    run(path, out)
    run(path, out, previous=out)
    assert table(out / "changes.csv") == []
    assert "nothing changed" in (out / "index.html").read_text()
    run(path, out)
    assert not (out / "changes.csv").exists()


def test_a_scenario_that_fails_now(tmp_path, made):
    path = grid(tmp_path / "g.csv", [{**GOOD, "gpu": "T5"}])
    run(path, tmp_path / "out")
    edited(tmp_path / "out" / "summary.csv", lambda row: {**row, "status": "made", "fits": "true"})
    run(path, tmp_path / "out", previous=tmp_path / "out" / "summary.csv")
    [row] = table(tmp_path / "out" / "changes.csv")
    assert (row["change"], row["fits_before"]) == ("fails", "true")
    assert row["error_now"].startswith("no GPU named 'T5'")


DAMAGED = ",".join(changes.NEEDED) + "\n" + ",".join(["many"] * len(changes.NEEDED))
NO_NUMBERS = DAMAGED.replace("many", "-")


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "scenario,status\nx,made\n", "\x00\xff", DAMAGED, f"{DAMAGED},x", NO_NUMBERS]
)
def test_what_is_no_summary_is_told(text, tmp_path):
    (tmp_path / "summary.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="is no summary of a batch"):
        changes.read(tmp_path)


def test_a_summary_can_be_a_grid_again(tmp_path, made):
    path, out = grid(tmp_path / "g.csv", [{**row, "note": "=1+1"} for row in ROWS]), tmp_path / "out"
    run(path, out)
    again = run(out / "summary.csv", out)
    assert again.count("kept") == 3
    assert list(table(out / "summary.csv")[0]) == summary.names(again.results)


# --- the index -----------------------------------------------------------------------------------------------------


def test_the_index_shows_what_a_grid_says_and_runs_none_of_it(tmp_path, made):
    rows = [{**row, "note": "<script>alert(1)</script>", "model": row["model"]} for row in ROWS]
    rows.append({**GOOD, "model": '"><img src=x onerror=alert(1)>', "note": "javascript:alert(1)"})
    run(grid(tmp_path / "g.csv", rows), tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert re.search(r"script-src 'sha256-[\w+/=]+'\"", page)
    assert set(re.findall(r'(?:href|src)="([^"]+)"', page)) == {"summary.csv"} | {
        f"{job.folder}/{name}"
        for job in batch.read(tmp_path / "g.csv")
        if job.folder
        for name in ("report.html", "estimate.json")
    }


def test_the_index_in_vietnamese(tmp_path, made):
    run(grid(tmp_path / "g.csv", [*ROWS, {**GOOD, "gpu": "T5"}]), tmp_path / "out", language="vi")
    page = (tmp_path / "out" / "index.html").read_text()
    assert '<html lang="vi">' in page
    assert "4 kịch bản: 3 vừa, 1 bị lỗi" in page
    assert not re.search(r">[^<]*\b(fits|verdict|needs|scenarios)\b", page.partition("<main>")[2])
