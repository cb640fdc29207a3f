"""Many scenarios at once give the numbers that one at a time gives, exactly, for every engine and kind of model."""

import csv
import random
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy
import pytest
from click.testing import CliRunner

import vramlib
from vramlib import blocks, cli, contract, csv_rows, fields, grid, many, plan, sweep
from vramlib.specs import PART_KEYS

ENGINES = ("vllm", "sglang", "transformers", "llama.cpp")
MODELS = (
    "Llama-3.1-8B", "Llama-3.1-70B", "Llama-2-7b-hf", "Llama-4-Scout-17B-16E", "Qwen2.5-0.5B", "Qwen2.5-7B",
    "Qwen3-8B", "Qwen3-30B-A3B", "Qwen3-Next-80B-A3B-Instruct", "Qwen2.5-VL-7B-Instruct", "Mistral-7B-v0.1",
    "Mixtral-8x7B-v0.1", "gemma-2-9b", "gemma-3-27b-it", "gemma-3-1b-it", "phi-4", "Phi-3-mini-4k-instruct",
    "DeepSeek-V3", "DeepSeek-V2-Lite", "gpt-oss-20b", "gpt-oss-120b", "Falcon-H1-7B-Base", "Jamba-v0.1",
    "granite-4.0-h-small", "mamba-2.8b-hf", "Kimi-K2-Instruct", "GLM-4.5-Air", "gpt2", "falcon-7b",
    "GLM-4.5", "Nemotron-H-8B-Base-8K", "LFM2-1.2B",
)  # fmt: skip
VERSIONS = {"vllm": ("", "0.6.4", "0.8.5", "0.11.0", "0.19.0", "0.27.0"), "llama.cpp": ("", "b6000", "b9600")}
GPUS = ("L4", "A100-80GB", "H100-80GB", "RTX-4090", "B200", "T4", "MI300X")


def shared(engine: str, model: str, rng: random.Random) -> dict[str, Any]:
    given: dict[str, Any] = {"model": model, "engine": engine, "gpu": rng.choice(GPUS)}
    maybe = {
        "tensor_parallel_size": (2, 4, 8),
        "pipeline_parallel_size": (2, 3),
        "gpu_memory_bytes": ("16GiB", "64GiB", "141GB"),
        "kv_cache_dtype": ("q8_0",) if engine == "llama.cpp" else ("fp8", "int8"),
        "quantization": ("Q4_K_M", "Q8_0") if engine == "llama.cpp" else ("fp8", "awq"),
        "block_size": (1, 16, 64, 100),
        "enforce_eager": (True,),
        "num_processes": (2, 3),
        "data_parallel_size": (2,),
        "enable_expert_parallel": (True,),
        "attn_implementation": ("eager",),
        "flash_attn": (False,),
        "n_gpu_layers": (3, 20),
        "engine_version": VERSIONS.get(engine, ("",)),
        "max_model_len": ("auto", 4096),
        "prompt_tokens": ((100, 2000, 30), 700),
    }
    return given | {name: rng.choice(values) for name, values in maybe.items() if rng.random() < 0.2}


def numbers(given: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    largest = {
        "max_model_len": 200_000, "max_num_seqs": 2048, "max_num_batched_tokens": 40_000, "batch_size": 600,
        "prompt_tokens": 60_000, "new_tokens": 5_000, "n_ubatch": 4096, "n_seq_max": 64,
    }  # fmt: skip
    lists = isinstance(given.get("prompt_tokens"), tuple)
    names = [n for n in largest if n not in given and not (lists and n in ("batch_size", "new_tokens"))]
    found = {n: int(largest[n] ** rng.random()) for n in sorted(names) if rng.random() < 0.5}
    if "gpu_memory_bytes" not in given and rng.random() < 0.3:
        found["gpu_memory_bytes"] = int(2 ** rng.uniform(33, 39))
    return found | ({"gpu_memory_utilization": round(rng.uniform(0.05, 1), 3)} if rng.random() < 0.5 else {})


def scenarios(engine: str, model: str, count: int) -> list[dict[str, Any]]:
    """Groups of scenarios that differ in numbers alone: the same fields, each with a number of its own."""
    rng = random.Random(f"{engine} {model}")
    found = []
    while len(found) < count:
        given = shared(engine, model, rng)
        names = numbers(given, rng)
        for _ in range(rng.choice((4, 9, 12))):
            found.append(given | _again(names, given, rng))
    return found


def _again(names: dict[str, Any], given: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    other: dict[str, Any] = {}
    while not set(names) <= set(other):
        other |= numbers(given, rng)
    return {n: other[n] for n in names}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("engine", ENGINES)
def test_at_once_is_one_at_a_time(engine: str, model: str) -> None:
    given = scenarios(engine, model, 40)
    for scenario, answer in zip(given, blocks.answers(given), strict=True):
        alone = blocks.one(scenario)
        assert answer == alone, scenario
        assert {n: type(v) for n, v in answer.items()} == {n: type(v) for n, v in alone.items()}, scenario


def test_the_scenarios_above_are_mostly_good() -> None:
    found = [a for e in ENGINES for m in MODELS for a in blocks.answers(scenarios(e, m, 20))]
    good = [a for a in found if not a["error"]]
    assert len(good) > 0.75 * len(found), {a["error"] for a in found}
    assert 0.2 < sum(a["fits"] for a in good) / len(good) < 0.9
    assert set(found[0]) == set(contract.COLUMNS)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


def test_a_csv_has_what_one_row_at_a_time_has(tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    lines = [
        f"Llama-3.1-8B,{gpu},{n},{n % 7 or ''}" for n in range(1, 60) for gpu in ("L4", "H100-80GB", "L5")
    ]
    source.write_text("\n".join(["model,gpu,batch_size,max_num_seqs", *lines]))
    summary = sweep.run(source, target)
    assert (summary.rows, summary.bad_rows) == (177, 59)
    for row in table(target):
        alone = blocks.one(fields.read({n: row[n] for n in ("model", "gpu", "batch_size", "max_num_seqs")}))
        assert {n: row[n] for n in contract.COLUMNS} == {
            n: str(csv_rows.cell(alone[n])) for n in contract.COLUMNS
        }


def test_a_grid_has_every_combination_in_order(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "max-model-len: [4096, 8k]\nbatch_size: 1..9..2\nmodel: [Llama-3.1-8B, no such model]\ngpu: L4\n"
        "prompt_tokens: [100;200, 300]\nquantization: [null, fp8]\n"
    )
    found = grid.read(path)
    expected = [
        (model, quantization, batch, prompt, length)
        for model in ("Llama-3.1-8B", "no such model")
        for quantization in (None, "fp8")
        for batch in (1, 3, 5, 7, 9)
        for prompt in ((100, 200), 300)
        for length in (4096, 8000)
    ]
    assert len(found) == len(expected) == 80
    names = ("model", "quantization", "batch_size", "prompt_tokens", "max_model_len")
    assert [tuple(s.get(n) for n in names) for s in found.scenarios()] == expected
    summary = sweep.run_grid(found, tmp_path / "out.csv")
    answers = table(tmp_path / "out.csv")
    assert (summary.rows, summary.bad_rows) == (len(answers), 40 + 2 * 4 * 2)
    assert answers[0]["prompt_tokens"] == "100;200"
    for scenario, answer in zip(found.scenarios(), answers, strict=True):
        alone = blocks.one(scenario)
        assert {n: answer[n] for n in contract.COLUMNS} == {
            n: str(csv_rows.cell(alone[n])) for n in contract.COLUMNS
        }


def test_a_grid_starts_with_the_largest_context_unless_told() -> None:
    [answers] = grid.of(model="Llama-3.1-8B", gpu="L4")
    assert answers.fields["max_model_len"] == "auto"
    assert answers.columns["fits"] is True
    [answers] = grid.of(model="Llama-3.1-8B", gpu="L4", max_model_len=None)
    assert answers.columns["fits"] is False


# Twelve lists, each nine times the one before: 2 KB of text, 250 billion words.
NINEFOLD = ", ".join(f"&a{n + 1} [" + f"*a{n}, " * 9 + "]" for n in range(12))
BOMB = f"model: [[&a0 [x], {NINEFOLD}]]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu: L4", "names no model"),
        ("- model", "is no grid"),
        ("model: [a\n", "grid.yaml cannot be read as a grid: line 2: while parsing a flow sequence expected"),
        ("model: a\nbatch_size: [1, x]", "batch_size is 'x'"),
        ("model: a\nbatch_size: 9..1", "batch_size is 9..1; write a range"),
        ("model: a\nbatch_size: 1..2000000", "write a range of whole numbers"),
        ("model: a\nbatch_size: []", "batch_size has 0 values"),
        ("model: a\nbatch_size: [1, 1]", "batch_size has a value twice"),
        ("model: a\nbatch_size: {from: 1}", "batch_size has keys of its own"),
        ("model: a\nbatch_size: [[1]]", "batch_size is"),
        ("model: a\nbatch_sze: 1", "nearest: batch_size"),
        ("model: !!python/object/apply:os.getcwd []", "line 1: could not determine a constructor"),
        ("model: a\ngpu: L4\ngpu: A10G", "line 3: 'gpu' is there twice"),
        ("model: a\nbatch_size: 1\nbatch-size: 2", "batch_size is given twice, once as batch-size"),
        ("? [a]\n: b\n", "unhashable key"),
        ("model: &a [*a]", "line 1: a list is repeated by an alias"),
        ("model: " + "[" * 5000 + "]" * 5000, "lists in lists in lists"),
        (BOMB, "line 1: a list is repeated by an alias"),
        ("model: " + "x" * (1 << 20), "larger than 1,048,576 bytes"),
    ],
)
def test_grids_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)):
        grid.read(path)


def test_a_large_grid_asks_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "grid.yml", tmp_path / "out.csv"
    source.write_text("model: Qwen2.5-0.5B\nmax_model_len: 4096\nbatch_size: 1..30\n")
    assert grid.ASKS_BEYOND == 10_000_000
    monkeypatch.setattr(grid, "ASKS_BEYOND", 29)
    refused = CliRunner().invoke(cli.main, ["sweep", str(source), "-o", str(target)])
    assert (refused.exit_code, target.exists()) == (2, False)
    assert refused.stderr.startswith("vram: the grid has 30 scenarios")
    assert "write --yes" in refused.stderr
    written = CliRunner().invoke(cli.main, ["sweep", str(source), "-o", str(target), "--yes"])
    assert (written.exit_code, len(table(target))) == (0, 30)


def test_memory_does_not_grow_with_the_grid() -> None:
    def peak(batches: int) -> int:
        found = grid.of(
            model="Qwen2.5-0.5B", max_model_len=range(1000, 1100), batch_size=range(1, batches + 1)
        )
        tracemalloc.start()
        assert sum(answers.size for answers in found) == 100 * batches
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(10)
    assert peak(2000) < 1.2 * peak(500)


def test_what_64_bit_cannot_hold_is_exact_all_the_same() -> None:
    huge = [10**n for n in range(13)]
    for engine in ENGINES:
        given = [
            {
                "model": "Llama-3.1-8B",
                "engine": engine,
                "attn_implementation": "eager",
                "batch_size": b,
                "prompt_tokens": p,
            }
            for b in huge
            for p in (1000, 10**9)
        ]
        for scenario, answer in zip(given, blocks.answers(given), strict=True):
            assert answer == blocks.one(scenario)
            parts = sum(v for n, v in answer.items() if n.removesuffix("_bytes") in PART_KEYS)
            assert answer["total_bytes"] == parts > 0


@pytest.mark.parametrize("model", ["Jamba-v0.1", "Qwen3-Next-80B-A3B-Instruct", "mamba-2.8b-hf"])
def test_states_count_for_each_sequence_not_for_each_token(model: str) -> None:
    """On a huge card many sequences are still exact in 64 bit, and need not be computed one at a time."""
    shared = {"model": model, "engine": "transformers", "gpu": "H100-80GB", "gpu_memory_bytes": 10 << 40}
    batches = (1, 1_000, 30_000, 60_000, 100_000, 300_000, 600_000)
    assert blocks.exact(shared, {"batch_size": many.of(batches)})
    given = [{**shared, "batch_size": n} for n in batches]
    assert blocks.answers(given) == [blocks.one(one) for one in given]


def test_a_bad_value_among_many_is_told_alone() -> None:
    given: list[dict[str, Any]] = [
        {"model": "Llama-3.1-8B", "gpu": "L4", "batch_size": n} for n in range(1, 40)
    ]
    given[17]["batch_size"] = "many"
    answers = blocks.answers(given)
    assert [bool(a["error"]) for a in answers] == [n == 17 for n in range(39)]
    assert answers[17]["error"].startswith("batch_size is 'many'")


def test_from_python() -> None:
    found = vramlib.sweep.grid(
        model=("Llama-3.1-8B",), gpu="L4", max_model_len=8192, batch_size=numpy.arange(1, 41)
    )
    [answers] = found
    fits = answers.columns["fits"].tolist()
    most = plan.batch(model="Llama-3.1-8B", gpu="L4", max_model_len=8192).value
    assert fits == [n <= most for n in range(1, 41)]
    assert answers.fields["batch_size"].tolist() == list(range(1, 41))
