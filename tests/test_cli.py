"""The ``vram`` command from outside: what it prints, its exit statuses, its one-line messages."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from vramlib import cli, cli_frame, fields, lab
from vramlib.specs import PART_KEYS, PART_NAMES
from vramlib.units import GiB

LLAMA = "meta-llama/Llama-3.1-8B"
VRAM = [sys.executable, "-c", "from vramlib.cli import main; main()"]

Vram = Callable[..., Result]


@pytest.fixture
def vram() -> Vram:
    return lambda *words: CliRunner().invoke(cli.main, [str(w) for w in words])


def answered(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def told(result: Result) -> str:
    """The one line on standard error of a command that could not use its input."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("vram: ")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("\n")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.stderr.removeprefix("vram: ").rstrip("\n")


def test_json_is_what_the_schema_says(vram: Vram, root: Path) -> None:
    schema = json.loads((root / "data/schema/estimate.schema.json").read_text(encoding="utf-8"))
    for words in ([], ["--engine", "transformers"], ["--prompt-tokens", "100;200", "--enforce-eager"]):
        answer = answered(vram("estimate", LLAMA, "--max-model-len", "8192", *words, "--json"))
        jsonschema.Draft202012Validator(schema).validate(answer)
        assert [p["key"] for p in answer["parts"]] == list(PART_KEYS)
        assert answer["total_bytes"] == sum(p["bytes"] for p in answer["parts"])
        assert answer["headroom_bytes"] == answer["gpu"]["memory_bytes"] - answer["total_bytes"]
        assert answer["model"] == {
            "name": LLAMA,
            "params_total": 8_030_261_248,
            "params_active": 8_030_261_248,
        }


def test_every_flag_reaches_the_scenario(vram: Vram) -> None:
    given = {
        "gpu": "L4",
        "gpu_memory_bytes": "20GiB",
        "engine": "VLLM",
        "engine_version": "0.19.0",
        "dtype": "half",
        "kv_cache_dtype": "fp8",
        "max_model_len": "8K",
        "max_num_seqs": "32",
        "max_num_batched_tokens": "4096",
        "block_size": "32",
        "prompt_tokens": "100;200",
        "new_tokens": "10;20",
        "tensor_parallel_size": "2",
        "gpu_memory_utilization": "0.85",
        "enforce_eager": "TRUE",
        "num_processes": "1",
    }
    words = [w for name, value in given.items() for w in (fields.BY_NAME[name].flag, value)]
    scenario = answered(vram("estimate", LLAMA, *words, "--json"))["scenario"]
    assert list(scenario) == list(fields.NAMES)
    assert scenario["gpu_memory_bytes"] == 20 * GiB
    assert scenario["engine"] == "vllm"
    assert scenario["dtype"] == "float16"
    assert scenario["kv_cache_dtype"] == "fp8"
    assert scenario["max_model_len"] == 8192
    assert scenario["prompt_tokens"] == [100, 200]
    assert scenario["new_tokens"] == [10, 20]
    assert scenario["enforce_eager"] is True
    assert scenario["gpu_memory_utilization"] == 0.85


@pytest.mark.parametrize(
    ("words", "eager"),
    [
        (["--enforce-eager", LLAMA], True),
        ([LLAMA, "--enforce-eager"], True),
        ([LLAMA, "--enforce_eager"], True),
        ([LLAMA, "--enforce-eager", "--max-model-len", "2048"], True),
        ([LLAMA, "--enforce-eager", "False"], False),
        ([LLAMA, "--enforce-eager=TRUE"], True),
        ([LLAMA, "--no-enforce-eager"], False),
        ([LLAMA], False),
    ],
)
def test_booleans_bare_and_written_out(vram: Vram, words: list[str], eager: bool) -> None:
    assert answered(vram("estimate", *words, "--gpu", "L4", "--json"))["scenario"]["enforce_eager"] is eager


def test_underscores_equals_and_model_as_a_flag(vram: Vram) -> None:
    answer = answered(vram("estimate", "--model", LLAMA, "--max_model_len=2048", "--gpu=", "--json"))
    assert answer["scenario"]["max_model_len"] == 2048
    assert answer["gpu"]["name"] == "H100-80GB"


def test_table_bar_budget_and_warnings(vram: Vram) -> None:
    shown = vram("estimate", LLAMA, "--gpu", "L4", "--max-model-len", "200000").stdout
    assert all(name in shown for name in PART_NAMES.values())
    assert "\x1b[" not in shown
    assert "░" in shown
    assert "requested of the card" in shown
    assert "Does not fit" in shown
    assert "Warning: max_model_len 200,000 is beyond the 131,072 positions" in shown


def test_explain_adds_formulas(vram: Vram) -> None:
    plain = vram("estimate", LLAMA, "--max-model-len", "4096").stdout
    explained = vram("estimate", LLAMA, "--max-model-len", "4096", "--explain").stdout
    assert explained.startswith(plain.rstrip("\n"))
    assert explained.count("source: ") > 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no model is given; write vram estimate MODEL"),
        (["Llama-3.1-9B"], "Llama-3.1-8B"),
        (["no/such/config.json"], "no/such/config.json"),
        ([LLAMA, "another"], "another"),
        ([LLAMA, "--model", "another"], "the model is given twice"),
        ([LLAMA, "--gpu", "H10"], "nearest: "),
        (
            [LLAMA, "--engine", "vlm"],
            "engine is 'vlm'; nearest: vllm; write vllm, sglang, transformers or llama.cpp",
        ),
        ([LLAMA, "--dtype", "bfloat61"], "nearest: bfloat16"),
        ([LLAMA, "--max-modl-len", "1"], "no flag --max-modl-len; nearest: --max-model-len"),
        ([LLAMA, "--ctx-size", "1"], "no flag --ctx-size; nearest: --max-model-len"),
        ([LLAMA, "--jsn"], "no flag --jsn; nearest: --json"),
        ([LLAMA, "--zzz", "1"], "no flag --zzz; see vram estimate --help"),
        ([LLAMA, "--max-model-len", "0"], "max_model_len is '0'; write a whole number of tokens, 1 or more"),
        ([LLAMA, "--max-model-len", "-1"], "max_model_len is '-1'"),
        ([LLAMA, "--max-model-len", "1.5"], "max_model_len is '1.5'"),
        ([LLAMA, "--max-model-len", "9" * 30], "max_model_len is '999"),
        ([LLAMA, "--batch-size", "many"], "batch_size is 'many'"),
        ([LLAMA, "--prompt-tokens", "1,2"], "a list such as 100;200"),
        ([LLAMA, "--prompt-tokens", "1;2", "--new-tokens", "1;2;3"], "prompt_tokens has 2 lengths"),
        ([LLAMA, "--gpu-memory-utilization", "90"], "a fraction above 0 and up to 1, such as 0.9"),
        ([LLAMA, "--gpu-memory-bytes", "24"], "24GiB"),
        ([LLAMA, "--enforce-eager=maybe"], "enforce_eager is 'maybe'; write true or false"),
        ([LLAMA, "--enforce-eager", "maybe"], "maybe"),
        ([LLAMA, "--tensor-parallel-size", "3"], "tensor_parallel_size 3"),
        ([LLAMA, "--quantization", "nf5"], "nf5"),
        ([LLAMA, "--kv-cache-dtype", "fp9"], "fp9"),
        ([LLAMA, "--engine", "llama.cpp", "--cache-type-k", "q9_0"], "q9_0"),
        ([LLAMA, "--engine-version", "newest"], "newest"),
    ],
)
def test_input_that_cannot_be_used(vram: Vram, words: list[str], said: str) -> None:
    line = told(vram("estimate", *words, "--json"))
    assert said in line
    assert len(line) < 400


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["estimat"], "no command 'estimat'; nearest: estimate"),
        (["frobnicate"], "no command 'frobnicate'; the commands are: estimate, plan, sweep, "),
        (["--frobnicate"], "no flag --frobnicate"),
        (["estimate", LLAMA, "--gpu"], "--gpu"),
        (["sweep"], "IN.csv"),
        (["sweep", "in.csv"], "--out"),
        (["sweep", "absent.csv", "-o", "out.csv"], "absent.csv: No such file or directory"),
        (["gpus", "zzz"], "no GPU named 'zzz'"),
        (["gpus", "RTX 4900"], "nearest: RTX-4090"),
        (["models", "zzz"], "no model named 'zzz'"),
        (["report", "-p", "model"], "-p"),
        (["report", "-p", "modle", "x"], "no field named 'modle'; nearest: model"),
        (
            ["report", "-p", "model", LLAMA, "-p", "max_model_len", "0"],
            "max_model_len is '0'; write a whole number",
        ),
        (["report", "-p", "gpu", "L4", "-p", "gpu", "L4"], "parameter gpu is given twice"),
        (["lab", "--language", "xx"], "'xx' is not one of 'en', 'vi'"),
    ],
)
def test_other_words_that_cannot_be_used(vram: Vram, words: list[str], said: str) -> None:
    assert said in told(vram(*words))


def test_help_names_every_command_and_flag(vram: Vram) -> None:
    for words in ([], ["--help"], ["-h"]):
        shown = vram(*words)
        assert shown.exit_code == 0
        commands = [line.split()[0] for line in shown.stdout.split("Commands:")[1].strip().splitlines()]
        assert commands == [
            "estimate",
            "plan",
            "sweep",
            "models",
            "gpus",
            "report",
            "reports",
            "lab",
            "app",
            "export",
            "explain",
            "measure",
        ]
    flags = vram("estimate", "--help").stdout
    assert all(f.flag in flags for f in fields.FIELDS)


def test_models(vram: Vram) -> None:
    rows = answered(vram("models", "llama 3.1", "--json"))
    assert {"name": LLAMA, "params_total": 8_030_261_248}.items() <= next(
        r for r in rows if r["name"] == LLAMA
    ).items()
    shown = vram("models", "Llama-3.1-8B").stdout
    assert "8,030,261,248" in shown
    assert [r["name"] for r in answered(vram("models", "Llama-3.1-8B-Instruct-AWQ", "--json"))] == [LLAMA]
    assert all(r["source"] for r in rows)


def test_gpus(vram: Vram) -> None:
    [card] = [c for c in answered(vram("gpus", "h100", "--json")) if c["name"] == "H100-80GB"]
    assert round(card["memory_bytes"] / GiB, 2) == 79.19
    assert card["memory_gb_vendor"] == 80
    assert "79.19 GiB" in vram("gpus", "H100-80GB").stdout


def test_sweep_tells_the_count_of_bad_rows(vram: Vram, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f"model,max_modl_len,max_model_len\n{LLAMA},1,4096\n{LLAMA},1,0\n")
    result = vram("sweep", source, "-o", target)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert f"vram: 2 rows written to {target}, 1 of them bad: see column error" in result.stderr
    assert "column 'max_modl_len' is passed through, not read; nearest: max_model_len" in result.stderr
    assert len(target.read_text().splitlines()) == 3


def test_sweep_and_estimate_agree(vram: Vram, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f"model,gpu,max_model_len,prompt_tokens\n{LLAMA},L4,8192,100;200\n")
    assert vram("sweep", source, "-o", target).exit_code == 0
    header, row = (line.split(",") for line in target.read_text().splitlines())
    swept = dict(zip(header, row, strict=True))
    words = ["--gpu", "L4", "--max-model-len", "8192", "--prompt-tokens", "100;200"]
    answer = answered(vram("estimate", LLAMA, *words, "--json"))
    assert swept["total_bytes"] == str(answer["total_bytes"])
    assert swept["fits"] == str(answer["fits"]).lower()
    for part in answer["parts"]:
        assert swept[f"{part['key']}_bytes"] == str(part["bytes"])
    for name, value in answer["budget"].items():
        assert swept[f"budget_{name}"] == ("" if value is None else str(value))


def test_lab_listens_on_this_machine_only(
    monkeypatch: pytest.MonkeyPatch, vram: Vram, tmp_path: Path
) -> None:
    started: list[Any] = []
    (tmp_path / lab.FIRST).touch()
    monkeypatch.setattr(lab, "notebooks_dir", lambda: tmp_path)
    monkeypatch.setattr(os, "execve", lambda *words: started.append(words))
    assert vram("lab", "--language", "vi", "--", "--no-browser").exit_code == 0
    [(program, words, environment)] = started
    assert program == sys.executable
    assert words[1:] == [
        "-m",
        "jupyterlab",
        "--ServerApp.ip=127.0.0.1",
        f"--LabApp.extra_labextensions_path={lab.EXTENSIONS}",
        "--no-browser",
        str(tmp_path / lab.FIRST),
    ]
    settings = Path(environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0])
    overrides = json.loads((settings / "labconfig/default_setting_overrides.json").read_text())
    assert overrides == {"@jupyterlab/translation-extension:plugin": {"locale": "vi_VN"}}
    assert environment["VRAM_LANGUAGE"] == "vi"
    assert lab.environment("en").get("JUPYTER_CONFIG_PATH") == os.environ.get("JUPYTER_CONFIG_PATH")


def test_a_real_process_answers_and_refuses() -> None:
    good = subprocess.run([*VRAM, "estimate", LLAMA, "--gpu", "L4", "--json"], capture_output=True, text=True)
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["gpu"]["name"] == "L4"
    bad = subprocess.run(
        [*VRAM, "estimate", LLAMA, "--gpu-memory-bytes", "0"], capture_output=True, text=True
    )
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("vram: gpu_memory_bytes is '0'; write bytes")
    assert bad.stderr.count("\n") == 1


def test_a_reader_that_leaves_early_is_fine() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([*VRAM, "gpus", "--json"], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (cli.STATUS_PIPE, "")


def test_sigterm_ends_a_sweep_as_ctrl_c_does(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text(
        "model: Qwen2.5-0.5B\nmax_model_len: 2048\nbatch_size: 1..3000\nprompt_tokens: 1..3000\n"
    )
    words = [*VRAM, "sweep", "g.yaml", "-o", "out.csv"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        while not list(tmp_path.glob(".out.csv-*")):
            assert running.poll() is None
            time.sleep(0.05)
        running.terminate()
        assert "vram: stopped" in running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert [path.name for path in tmp_path.iterdir()] == ["g.yaml"]


def test_sigterm_is_left_as_it_was() -> None:
    with pytest.raises(KeyboardInterrupt), cli_frame.terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
