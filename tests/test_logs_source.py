"""Logs as they come: prefixes, colours, cut lines, other encodings, and input that is no log at all."""

from __future__ import annotations

import io
import json
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from vramlib import cli, logs
from vramlib.logs import collect, settings, smi, source
from vramlib.units import GiB, MiB

LINE = "INFO 04-22 09:01:10 [gpu_worker.py:436] Available KV cache memory: 58.11 GiB"


@pytest.mark.parametrize(
    "written",
    [
        LINE,
        LINE + "\r\n",
        "vllm-1  | " + LINE,
        "2026-04-22T09:01:10.123456789Z stdout F " + LINE,
        "Apr 22 09:01:10 box vllm[901]: " + LINE,
        '{"log":"' + LINE + '\\n","stream":"stderr","time":"2026-04-22T09:01:10Z"}',
        "\x1b[32mINFO\x1b[0m " + LINE,
        "[32mINFO[0m " + LINE,
        "> " + LINE,
        "Capturing:  50%|#####     | 17/35\rCapturing: 100%|##########| 35/35\r" + LINE,
        "\0" + "\0".join(LINE),
        "(EngineCore_DP0 pid=7) (Worker_TP3 pid=9) " + LINE,
    ],
)
def test_prefixes_colours_and_line_ends(written: str) -> None:
    assert logs.explain(written).measured["kv_pool_bytes"].value == round(58.11 * GiB)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(f"première ligne\n{LINE}\n".encode(encoding))
    assert logs.explain_file(path).lines[0].number == 2


@given(st.lists(st.integers(1, 40), max_size=8))
def test_pieces_make_no_difference(cuts: list[int]) -> None:
    text = f"first\r\n{LINE}\r\nbar 1%\rbar 2%\n{LINE}"
    pieces, at = [], 0
    for n in cuts:
        pieces.append(text[at : at + n])
        at += n
    whole = list(source.lines(text, source.Reading()))
    assert list(source.lines([*pieces, text[at:]], source.Reading())) == whole


KEYS = st.sampled_from([r.key for r in collect.RULES])


def refusal(log: str) -> str:
    """The message of what cannot be explained, "" for what can."""
    try:
        str(logs.explain(log))
    except ValueError as error:
        return str(error)
    return ""


@given(st.text(max_size=400))
def test_any_text_is_explained_or_refused(text: str) -> None:
    said = refusal(text)
    assert not said or said.startswith(("the log is empty", "no line is known"))


@given(st.lists(KEYS, min_size=1, max_size=4), st.text("0123456789.,()GiB =", max_size=80))
def test_keys_with_anything_behind_them(keys: list[str], rest: str) -> None:
    said = refusal("\n".join(key + rest for key in keys))
    assert not said or "no line is known" in said


def test_empty_and_unknown_input() -> None:
    with pytest.raises(ValueError, match="the log is empty"):
        logs.explain("")
    with pytest.raises(ValueError, match="no line is known among 3"):
        logs.explain("one\ntwo\nthree")
    with pytest.raises(ValueError, match="looks binary"):
        logs.explain(bytes(range(256)) * 40 + b"\0" * 4000)


def endless(piece: str, many: int, taken: list[int]) -> Iterator[str]:
    for n in range(many):
        taken.append(n)
        yield piece


def test_an_endless_line_is_read_to_a_limit_and_its_beginning_alone_is_looked_at() -> None:
    taken: list[int] = []
    tracemalloc.start()
    with pytest.raises(ValueError, match="reading stopped there"):
        logs.explain(endless("x" * MiB, 10**9, taken))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(taken) == source.MAX_BYTES // MiB
    assert peak < 24 * MiB


def test_work_is_bounded_by_what_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a line, patterns see its first 32 KiB; the rest is dropped as it is read."""
    seen: list[int] = []
    whole = collect.understood

    def counting(number: int, text: str, rules: dict[str, list[collect.Rule]]) -> Iterator[collect.Line]:
        seen.append(len(text))
        return whole(number, text, rules)

    monkeypatch.setattr(collect, "understood", counting)
    logs.explain("Available KV cache memory: " + "1" * MiB + "\n" + LINE)
    assert sum(seen) <= source.MAX_LINE + len(LINE)


def test_no_pattern_can_run_away() -> None:
    """Every repeat has an upper bound, and no repeat of many stands inside another."""
    patterns = [r.pattern.pattern for r in collect.RULES] + [p.pattern for p in source.RANKS]
    patterns += [source.ESCAPE.pattern, settings.PAIR.pattern, settings.FLAG.pattern]
    patterns += [p.pattern for p in (smi.NAME_CELL, smi.MEMORY_CELL, smi.SLICE_CELL, smi.PROCESS_CELL)]
    for pattern in patterns:
        plain = re.sub(r"\[\^?\]?[^\]]*\]", "", re.sub(r"\\.", "", pattern))
        assert not re.search(r"[*+]|\{\d*,\}", plain), pattern


def test_as_many_lines_as_no_log_has_are_read_to_a_limit() -> None:
    taken: list[int] = []
    found = logs.explain(endless((LINE + "\n") * 1000, 10**9, taken))
    assert len(taken) < 70
    assert len(found.lines) == collect.MAX_KEPT
    assert any("reading stopped after" in n for n in found.notes)


def test_command() -> None:
    run = CliRunner()
    shown = run.invoke(
        cli.main, ["explain", "-", "--model", "Llama-3.1-8B", "--gpu", "H100-80GB"], input=LINE
    )
    assert shown.exit_code == 0
    assert "KV pool" in shown.stdout
    shown = run.invoke(cli.main, ["explain", "-", "--json"], input=LINE)
    assert shown.exit_code == 0
    assert '"kv_pool_bytes": 62' in shown.stdout


@pytest.mark.parametrize(
    ("words", "given_input", "said"),
    [
        (["explain", "-"], "", "the log is empty"),
        (["explain", "-"], "nothing here", "no line is known among 1"),
        (["explain", "no-such-file.log"], "", "no-such-file.log: No such file"),
        (["explain", "-", "--model", "no-such-model"], LINE, "no model named 'no-such-model'"),
        (
            ["explain", "-", "--gpu", "no-such-card", "--model", "Qwen3-8B"],
            LINE,
            "no GPU named 'no-such-card'",
        ),
        (["explain", "-", "--modle", "x"], LINE, "nearest: --model"),
    ],
)
def test_command_refuses_in_one_line(words: list[str], given_input: str, said: str) -> None:
    shown = CliRunner().invoke(cli.main, words, input=given_input)
    assert shown.exit_code == 2
    assert said in shown.stderr
    assert shown.stderr.count("\n") == 1
    assert not shown.stdout


def test_stream_and_file_and_text_agree(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(LINE, encoding="utf-8")
    told = (
        logs.explain(LINE),
        logs.explain(io.BytesIO(LINE.encode())),
        logs.explain_file(tmp_path / "a.log"),
    )
    assert len({str(t) for t in told}) == 1


def test_settings_of_a_line_that_docker_wrote_as_json() -> None:
    line = "LLM engine (v0.19.0) with config: model='openai/gpt-oss-20b', dtype=half, kv_cache_dtype=auto"
    plain = logs.explain(f"INFO {line}\n{LINE}\n")
    written = [json.dumps({"log": f"INFO {text}\n", "stream": "stderr"}) for text in (line, LINE)]
    wrapped = logs.explain("\n".join(written))
    assert wrapped.fields == plain.fields
