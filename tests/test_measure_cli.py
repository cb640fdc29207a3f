"""``vram measure`` from outside: what it prints, what it writes, and what it refuses in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_gpu import FakeCard, FakeNvml, use_nvml
from test_measure_runner import END, READING, child, tells

from vramlib.cli import main
from vramlib.measure import guard, recordings, runner


def vram(*words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    own = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    own |= {"PYTHONPATH": str(path)} if path else {}
    start = "from vramlib.cli import main; main()"
    return subprocess.run([sys.executable, "-c", start, *words], capture_output=True, text=True, env=own)


@pytest.fixture
def no_nvml(tmp_path: Path) -> Path:
    (tmp_path / "pynvml.py").write_text("raise ImportError('stands in for a missing package')\n")
    return tmp_path


def test_without_a_gpu_one_line_says_why_and_what_there_is_instead(no_nvml: Path) -> None:
    answer = vram("measure", path=no_nvml)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.count("\n") == 1
    assert "nvidia-ml-py is not installed" in answer.stderr
    assert "vram measure --recorded" in answer.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("contxt",), "no experiment named 'contxt'; nearest: context"),
        (("--share", "2"), "a share above 0 and up to 1"),
        (("--repeats", "many"), "--repeats"),
    ],
)
def test_words_that_cannot_be_meant(words: tuple[str, ...], line: str) -> None:
    answer = vram("measure", *words)
    assert answer.returncode == 2
    assert line in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_recorded_answers_touch_no_gpu() -> None:
    answer = vram("measure", "padding", "kv-growth", "--recorded")
    assert answer.returncode == 0
    assert answer.stdout.startswith("padding (")
    assert "\nkv_growth (" in answer.stdout


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeNvml:
    monkeypatch.setattr(guard.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(runner, "SETTLE_SECONDS", 0.2)
    return use_nvml(monkeypatch, FakeNvml(FakeCard()))


def test_a_run_is_printed_and_written(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child(monkeypatch, tells(READING, END | {"status": "out_of_memory", "note": "CUDA out of memory."}))
    out = tmp_path / "run.json"
    with pytest.raises(SystemExit) as ended:
        main(["measure", "weights", "--out", str(out), "--repeats", "2"])
    said = capsys.readouterr()
    assert ended.value.code == 0
    assert "weights: meta-llama/Llama-3.2-1B" in said.out, "the scale is said before it starts"
    assert "bfloat16, requested: 1000 B (1,000 B), predicted" in said.out
    assert said.err.endswith(f"vram: written to {out}\n")
    (found,) = recordings.read(out)
    assert (found.status, found.bytes) == ("out_of_memory", 1000)
    assert json.loads(out.read_text())["setting"]["command"] == "vram measure weights --share 0.5 --repeats 2"


def test_where_all_is_refused_nothing_is_written(
    nvml: FakeNvml, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nvml.cards[0].used = 23 * 2**30
    with pytest.raises(SystemExit) as ended:
        main(["measure", "context", "weights", "--out", str(tmp_path / "run.json")])
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.out.count("not started") == 2
    assert not (tmp_path / "run.json").exists()
