"""A CSV of scenarios in, a CSV of answers out: every row kept, bad ones told."""

import csv
import io
import os
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import example_estimate
import pytest

import vramlib
from vramlib import contract, fields, sweep
from vramlib.specs import BUDGET_FIELDS, PART_KEYS


def pretended(**given: Any) -> Any:
    """An estimate that checks its fields and knows models called ``known``, and little else."""
    typed = fields.read(given)
    if typed["model"] == "boom":
        raise RuntimeError("a mistake in the package")
    if typed["model"] != "known":
        raise KeyError(f"no model named {typed['model']!r}; nearest: known")
    return example_estimate.estimate(batch_size=typed.get("batch_size", 1))


@pytest.fixture(autouse=True)
def _pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vramlib, "estimate", pretended, raising=False)


@pytest.fixture
def swept(tmp_path: Path) -> Any:
    def run(content: str | bytes) -> tuple[list[dict[str, str]], sweep.Summary]:
        source, target = tmp_path / "in.csv", tmp_path / "out.csv"
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
        summary = sweep.run(source, target)
        return read(target), summary

    return run


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


def test_columns_are_those_of_the_contract(swept: Any) -> None:
    [row], summary = swept("note,model\nhello,known\n")
    expected = [
        "note",
        "model",
        "params_total",
        *(f"{key}_bytes" for key in PART_KEYS),
        "total_bytes",
        "fits",
    ]
    assert list(row) == [*expected, *(f"budget_{name}" for name in BUDGET_FIELDS), "error"]
    assert row["note"] == "hello"
    assert int(row["total_bytes"]) == sum(int(row[f"{key}_bytes"]) for key in PART_KEYS)
    assert row["fits"] == "true"
    assert row["budget_num_blocks"] == "1536"
    assert row["budget_model_buffer_bytes"] == ""
    assert row["error"] == ""
    assert summary == sweep.Summary(rows=1, bad_rows=0)


def test_bad_rows_are_told_and_the_others_computed_in_order(swept: Any) -> None:
    answers, summary = swept(
        "id,model,batch_size,prompt_tokens\n"
        "1,known,2,\n2,knwon,,\n3,known,abc,\n4,known,0,\n5,,1,\n6,known,1,100;200\n7,known,1.5,\n8,known,,100;\n"
    )
    assert [row["id"] for row in answers] == list("12345678")
    assert [bool(row["total_bytes"]) for row in answers] == [
        True,
        False,
        False,
        False,
        False,
        True,
        False,
        False,
    ]
    told = [row["error"] for row in answers]
    assert told[0] == told[5] == ""
    assert told[1] == "no model named 'knwon'; nearest: known"
    assert told[2].startswith("batch_size is 'abc'; write a whole number of sequences")
    assert told[3].startswith("batch_size is '0'; ")
    assert told[4].startswith("no model is given")
    assert told[6].startswith("batch_size is '1.5'; ")
    assert told[7].startswith("prompt_tokens is '100;'; ")
    assert (summary.rows, summary.bad_rows) == (8, 6)


def test_a_mistake_in_the_package_is_not_hidden(swept: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a mistake in the package"):
        swept("model\nknown\nboom\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv"]


@pytest.mark.parametrize(
    "content",
    [
        "model,note\r\nknown,one\r\nknown,two\r\n",
        b"\xef\xbb\xbfmodel,note\nknown,one\nknown,two\n",
        'model,note\n"known","one"\n\nknown,two',
        " model ,note\n known ,one\nknown,two\n",
        "--model,note\nknown,one\nknown,two\n",
    ],
)
def test_ways_to_write_a_csv(swept: Any, content: Any) -> None:
    answers, summary = swept(content)
    assert [row["note"] for row in answers] == ["one", "two"]
    assert (summary.rows, summary.bad_rows) == (2, 0)


def test_text_passes_through_unchanged(swept: Any) -> None:
    words = 'a "b", c\nd; Trọng số'
    out = io.StringIO()
    csv.writer(out).writerows([["model", "note", ""], ["known", words, "no name"]])
    [row], _ = swept(out.getvalue())
    assert row["note"] == words
    assert row[""] == "no name"


def test_hyphens_in_column_names(swept: Any) -> None:
    [row], summary = swept("model,batch-size\nknown,abc\n")
    assert row["error"].startswith("batch_size is 'abc'")
    assert summary.notes == ()


def test_short_and_long_rows(swept: Any) -> None:
    answers, summary = swept("model,gpu,note\nknown\nknown,L4,x,left,over\nknown,L4,fine\n")
    assert [row["error"] for row in answers] == [
        "the row has 1 cells for 3 columns",
        "the row has 5 cells for 3 columns; left over: 'left', 'over'",
        "",
    ]
    assert answers[1]["note"] == "x"
    assert summary.bad_rows == 2


def test_nearly_matching_columns_are_noted(swept: Any) -> None:
    [row], summary = swept("model,max_modl_len,ctx-size,notes,id,owner\nknown,1,2,3,4,5\n")
    assert row["max_modl_len"] == "1"
    assert summary.notes == (
        "column 'max_modl_len' is passed through, not read; nearest: max_model_len",
        "column 'ctx-size' is passed through, not read; nearest: max_model_len",
    )


def test_answers_answer_again(swept: Any, tmp_path: Path) -> None:
    swept("id,model,batch_size\n1,known,2\n2,unknown,\n")
    once = (tmp_path / "out.csv").read_text(encoding="utf-8")
    _, summary = swept(once)
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == once
    assert summary.notes[0].startswith("columns of an earlier answer are written anew: params_total, ")


def test_header_alone(swept: Any, tmp_path: Path) -> None:
    answers, summary = swept("model,gpu\n")
    assert answers == []
    assert summary.rows == 0
    assert (tmp_path / "out.csv").read_text().startswith("model,gpu,params_total,")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "in.csv is empty; its first row must name the columns"),
        ("\n\n", "in.csv is empty"),
        (b"\xef\xbb\xbf", "in.csv is empty"),
        ("gpu,note\nL4,x\n", "in.csv has no column model; its columns are: gpu, note"),
        ("model;gpu\nknown;L4\n", "no column model; its cells must be separated by commas"),
        ("model,note,note\nknown,1,2\n", "names column 'note' twice"),
        ("model,batch-size,batch_size\nknown,1,2\n", "names column 'batch_size' twice"),
        ("model,note\nknown,caf\xe9\n".encode("latin-1"), "is not UTF-8 text; save it as CSV UTF-8"),
        ("model\nknown\n".encode("utf-16"), "is not UTF-8 text"),
        (
            'model,note\nknown,"never closed\nknown,x\n',
            "line 3: unexpected end of data; a quote may not be closed",
        ),
    ],
)
def test_files_that_cannot_be_used(swept: Any, tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        swept(content)
    assert [p.name for p in tmp_path.iterdir()] == ["in.csv"]


def test_a_failed_sweep_leaves_the_old_output(tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    target.write_text("what was here")
    source.write_bytes(b"model\nknown\n\xff\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        sweep.run(source, target)
    assert target.read_text() == "what was here"


def test_input_may_be_the_output(tmp_path: Path) -> None:
    path = tmp_path / "both.csv"
    path.write_text("model\n" + "known\n" * 500)
    assert sweep.run(path, path).rows == 500
    assert len(read(path)) == 500


def test_output_through_a_link_and_to_a_device(tmp_path: Path) -> None:
    source, real, link = tmp_path / "in.csv", tmp_path / "real.csv", tmp_path / "link.csv"
    source.write_text("model\nknown\n")
    real.write_text("old")
    link.symlink_to(real)
    sweep.run(source, link)
    assert link.is_symlink()
    assert len(read(real)) == 1
    assert sweep.run(source, os.devnull).rows == 1
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_pipe_is_written_straight(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("model\nQwen2.5-0.5B\n")
    code = "import sys; from vramlib.cli import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", code, "sweep", str(source), "-o", "/dev/stdout"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines() == ["vram: 1 rows written to /dev/stdout"]
    [row] = csv.DictReader(done.stdout.splitlines())
    assert (row["model"], row["error"]) == ("Qwen2.5-0.5B", "")


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as told, sweep._replacing(tmp_path / "out.csv"):
        raise OSError(28, "No space left on device")
    assert told.value.filename == str(tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())


def test_paths_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("model\nknown\n")
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        sweep.run(tmp_path / "absent.csv", tmp_path / "out.csv")
    with pytest.raises(FileNotFoundError, match="no such folder to write in"):
        sweep.run(tmp_path / "in.csv", tmp_path / "absent" / "out.csv")
    with pytest.raises(IsADirectoryError):
        sweep.run(tmp_path / "in.csv", tmp_path)


def test_rows_stream_one_at_a_time() -> None:
    asked = []

    def scenarios() -> Iterator[dict[str, Any]]:
        for place in range(3):
            asked.append(place)
            yield {"model": "known", "place": place}

    answers = sweep.rows(scenarios())
    assert next(answers)["place"] == 0
    assert asked == [0]
    assert [a["place"] for a in answers] == [1, 2]


def test_rows_take_typed_values_and_keep_the_rest() -> None:
    long_row = {"model": "known", "batch_size": 3, "gpu": None, None: ["left", "over"]}
    [answer] = sweep.rows([long_row])
    assert list(answer) == [*long_row, *contract.COLUMNS]
    assert answer["error"] is None


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        (tmp_path / "in.csv").write_text("model\n" + "unknown\n" * rows)
        tracemalloc.start()
        sweep.run(tmp_path / "in.csv", tmp_path / "out.csv")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    assert peak(3 * sweep.AT_ONCE) < peak(sweep.AT_ONCE) + 200_000


def test_progress_sees_each_row(tmp_path: Path) -> None:
    seen = []
    (tmp_path / "in.csv").write_text("model\nknown\nunknown\n")
    sweep.run(tmp_path / "in.csv", tmp_path / "out.csv", lambda lines: (seen.append(c) or c for c in lines))
    assert seen == [["known"], ["unknown"]]
