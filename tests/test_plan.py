"""Answers asked forward again: at the answer it fits, one step beyond it does not, for every engine."""

import random
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vramlib
from vramlib import catalog, cli, plan, resolve
from vramlib.plan import hardware, search

ENGINES = ("vllm", "sglang", "transformers", "llama.cpp")
MODELS = (
    "Llama-3.1-8B", "Qwen2.5-7B", "Qwen2.5-0.5B", "gemma-3-27b-it", "Mistral-7B-v0.1", "Qwen3-30B-A3B",
    "DeepSeek-V2-Lite", "gpt-oss-20b", "Falcon-H1-7B-Base", "mamba-2.8b-hf", "gpt2", "Qwen2.5-VL-7B-Instruct",
)  # fmt: skip
GPUS = ("T4", "L4", "A100-40GB", "H100-80GB", "H200")


@st.composite
def scenarios(draw: st.DrawFn, engine: str) -> dict[str, Any]:
    maybe = {
        "prompt_tokens": (1, 500, 8000),
        "new_tokens": (0, 1, 900),
        "batch_size": (1, 3, 40),
        "max_model_len": (600, 4096, 10_001),
        "max_num_seqs": (1, 16, 500),
        "max_num_batched_tokens": (512, 9000),
        "gpu_memory_utilization": (0.5, 0.97),
        "enforce_eager": (True,),
        "attn_implementation": ("eager",),
        "num_processes": (2,),
        "quantization": ("Q4_K_M",) if engine == "llama.cpp" else ("awq",),
    }
    own = {name: draw(st.sampled_from(values)) for name, values in maybe.items() if draw(st.booleans())}
    named = {"model": draw(st.sampled_from(MODELS)), "gpu": draw(st.sampled_from(GPUS)), "engine": engine}
    return named | own


many = settings(
    max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def forward(asked: dict[str, Any], changes: Any) -> bool:
    return bool(vramlib.estimate(**{**asked, **changes}).fits)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "question", [plan.max_model_len, plan.batch, plan.max_num_batched_tokens, plan.gpu_memory_utilization]
)
def test_a_setting_is_the_last_that_fits(question: Any, engine: str) -> None:
    @many
    @given(scenarios(engine))
    def check(asked: dict[str, Any]) -> None:
        answer = question(**asked)
        if answer.value is None:
            assert not answer.changes
            return
        assert answer.estimate.fits
        assert forward(asked, answer.changes)
        assert answer.command
        if answer.beyond:
            assert not forward(asked, answer.beyond), answer.text
        else:
            assert (
                "limit" in answer.text
                or "where the search ends" in answer.text
                or "full length" in answer.text
            )

    check()


@pytest.mark.parametrize("engine", ENGINES)
def test_no_larger_number_fits_either(engine: str) -> None:
    @many
    @given(scenarios(engine), st.randoms(use_true_random=False))
    def check(asked: dict[str, Any], rng: random.Random) -> None:
        answer = plan.max_model_len(**asked)
        limit = resolve.scenario(**{k: v for k, v in asked.items() if k != "max_model_len"}).max_model_len
        if engine != "transformers":
            longer = [rng.randint((answer.value or 0) + 1, limit) for _ in range(20)] if answer.beyond else []
            assert not any(forward(asked, {"max_model_len": n}) for n in longer)

    check()


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_means_that_nothing_fits(engine: str) -> None:
    asked = {"model": "Llama-3.1-70B", "gpu": "L4", "engine": engine, "max_model_len": 4096}
    for question in (plan.max_model_len, plan.batch, plan.gpu_memory_utilization, plan.servers):
        answer = question(**asked)
        assert answer.value is None
        assert answer.command == ""
    assert "No max_model_len fits" in plan.max_model_len(**asked).text
    assert not any(
        forward(asked, {"batch_size": n, "prompt_tokens": 1, "new_tokens": 0}) for n in (1, 2, 1000)
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_the_smallest_card(engine: str) -> None:
    @many
    @given(scenarios(engine))
    def check(asked: dict[str, Any]) -> None:
        answer = plan.smallest_card(**asked)
        sizes = [row["memory_bytes"] for row in answer.rows]
        assert sizes == sorted(sizes)
        for row in answer.rows:
            assert row["fits"] == forward(asked, {"gpu": row["gpu"]})
        first = next((row["gpu"] for row in answer.rows if row["fits"]), None)
        assert answer.value == first

    check()


def test_the_smallest_of_given_cards() -> None:
    asked = {"model": "Llama-3.1-8B", "max_model_len": 8192}
    answer = plan.smallest_card(["H100-80GB", catalog.gpu("T4"), "L4"], **asked)
    assert (answer.value, answer.beyond) == ("L4", {"gpu": "T4"})
    assert "T4 (14.56 GiB) does not" in answer.text
    with pytest.raises(KeyError, match="no GPU named 'L5'"):
        plan.smallest_card(["L5"], **asked)


@pytest.mark.parametrize(
    ("model", "gpu", "degrees"),
    [
        ("Llama-3.1-70B", "H100-80GB", (2, 1)),
        ("Qwen2.5-7B", "T4", (2, 1)),
        ("DeepSeek-V3", "H100-80GB", (4, 3)),
        ("Qwen2.5-0.5B", "L4", (1, 1)),
    ],
)
def test_the_fewest_cards(model: str, gpu: str, degrees: tuple[int, int]) -> None:
    asked = {"model": model, "gpu": gpu, "max_model_len": 4096}
    answer = plan.fewest_cards(**asked)
    assert (answer.changes["tensor_parallel_size"], answer.changes["pipeline_parallel_size"]) == degrees
    assert answer.value == degrees[0] * degrees[1]
    assert forward(asked, answer.changes)
    s = resolve.scenario(**asked)
    for fewer in range(1, answer.value):
        for way in hardware._ways(s, fewer):
            assert not forward(asked, way)


@pytest.mark.parametrize(
    ("model", "fields", "tp", "said"),
    [
        ("Qwen2.5-7B", {}, 8, "28 attention heads do not divide by 8"),
        ("Qwen2.5-7B", {}, 14, "key-value heads and 14 cards"),
        ("Qwen2.5-7B", {}, 4, ""),
        ("Llama-3.1-8B", {}, 3, "32 attention heads"),
        ("DeepSeek-V3", {"enable_expert_parallel": True, "data_parallel_size": 3}, 4, "256 experts"),
        ("DeepSeek-V3", {}, 16, ""),
        ("Qwen2.5-0.5B", {"quantization": "awq"}, 2, ""),
        ("Llama-2-7b-hf", {"quantization": "awq"}, 4, "cuts groups of 128"),
        ("Llama-3.1-8B", {"engine": "llama.cpp"}, 3, ""),
    ],
)  # fmt: skip
def test_what_a_model_divides_into(model: str, fields: dict[str, Any], tp: int, said: str) -> None:
    refusal = hardware.refusal(resolve.scenario(model=model, gpu="H100-80GB", **fields), tp)
    assert said in refusal
    assert bool(said) == bool(refusal)


def test_more_stages_than_layers() -> None:
    assert "12 layers are fewer than 13 stages" in hardware.refusal(resolve.scenario(model="gpt2"), 1, 13)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("gpu", ["RTX-4070", "L4", "H100-80GB"])
def test_the_highest_precision(engine: str, gpu: str) -> None:
    asked = {"model": "Qwen2.5-7B", "gpu": gpu, "engine": engine, "max_model_len": 4096}
    answer = plan.precision(**asked)
    sizes = [row["model_weights_bytes"] for row in answer.rows]
    assert sizes == sorted(sizes, reverse=True)
    for row in answer.rows:
        assert row["fits"] == forward(asked, {"quantization": row["quantization"]})
    assert answer.value == next(row["quantization"] for row in answer.rows if row["fits"])


def test_a_compressed_model_begins_with_its_own_format() -> None:
    rows = plan.precision(model="gpt-oss-20b", gpu="H100-80GB", max_model_len=4096).rows
    assert [row["quantization"] for row in rows] == ["mxfp4"]
    rows = plan.precision(model="DeepSeek-V3", gpu="B200", max_model_len=4096, tensor_parallel_size=8).rows
    assert [row["quantization"] for row in rows] == ["fp8-block", "nvfp4", "awq"]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_to_change_first(engine: str) -> None:
    asked = {"model": "Llama-3.1-8B", "gpu": "T4", "engine": engine, "max_model_len": 8192}
    answer = plan.change_first(**asked)
    assert "does not fit" in answer.text
    assert forward(asked, answer.changes)
    fits = [row["fits"] for row in answer.rows]
    assert fits == sorted(fits, reverse=True)
    for row in answer.rows:
        assert row["cost"]
        assert row["fits"] == forward(asked, row["changes"])
        saved = (
            vramlib.estimate(**{**asked, **row["changes"]}).headroom_bytes
            - vramlib.estimate(**asked).headroom_bytes
        )
        assert row["saved_bytes"] == saved


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", ["Qwen2.5-0.5B", "Qwen2.5-7B", "Llama-3.1-8B", "Falcon-H1-7B-Base"])
def test_servers_start_in_order(engine: str, model: str) -> None:
    asked = {"model": model, "gpu": "A100-80GB", "engine": engine, "max_model_len": 4096}
    answer = plan.servers(**asked)
    shares = [row["gpu_memory_utilization"] for row in answer.rows]
    assert len(shares) == answer.value > 1
    s = resolve.scenario(**asked)
    started = plan.in_order([vramlib.estimate(**asked | share(engine, u)).scenario for u in shares])
    assert all(start.fits for start in started)
    left = [start.free_bytes for start in started]
    assert left == sorted(left, reverse=True)
    assert sum(start.holds_bytes for start in started) <= s.gpu.memory_bytes
    assert plan.servers(answer.value, **asked).value == answer.value
    assert plan.servers(answer.value + 1, **asked).value is None
    if engine != "sglang":  # whose share is of what the servers before it left
        assert forward(asked, answer.changes)
        assert not forward(asked, answer.changes | answer.beyond)


def share(engine: str, u: float) -> dict[str, float]:
    return {"gpu_memory_utilization": u} if engine in ("vllm", "sglang") else {}


def test_different_servers_share_a_card() -> None:
    load = {"gpu": "H100-80GB", "max_model_len": 8192}
    small, large = {"model": "Qwen2.5-0.5B", **load}, {"model": "Qwen2.5-14B", "engine": "sglang", **load}
    for order in ((small, large), (large, small)):
        found = plan.together(*order)
        assert all(start.fits for start in found)
        assert found[1].free_bytes < found[0].free_bytes
    too_many = plan.together(large, large, large)
    assert [start.fits for start in too_many] == [True, True, False]
    with pytest.raises(ValueError, match="different cards"):
        plan.together(small, {**large, "gpu": "L4"})


def test_a_share_of_the_total_for_vllm_of_the_rest_for_sglang() -> None:
    for engine, same in (("vllm", True), ("sglang", False)):
        asked = {"model": "Qwen2.5-7B", "gpu": "H100-80GB", "max_model_len": 4096, "engine": engine}
        first, second = plan.servers(2, **asked).rows
        assert (first["gpu_memory_utilization"] == second["gpu_memory_utilization"]) is same
        assert abs(first["requested_bytes"] - second["requested_bytes"]) < 2**30


def test_lists_of_lengths_have_no_batch_to_ask_for() -> None:
    with pytest.raises(ValueError, match="list of lengths"):
        plan.batch(model="Llama-3.1-8B", prompt_tokens="100;200")
    with pytest.raises(ValueError, match="list of 2 lengths"):
        plan.max_model_len(model="Llama-3.1-8B", prompt_tokens="100;200", engine="transformers")


def test_search_finds_the_last_of_a_sawtooth() -> None:
    assert search.largest(lambda n: (n % 1000 < 900) & (n < 77_777), 1, 200_000) == 77_776
    assert search.largest(lambda n: n == 5, 1, 10) == 5
    assert search.largest(lambda n: n == 5, 1, 4) is None
    assert search.largest(lambda n: n <= 5, 7, 3) is None
    assert search.largest(lambda n: n <= 2_000_000, 1, 10**9) == 2_000_000


def test_the_command() -> None:
    shown = CliRunner().invoke(cli.main, ["plan", "Llama-3.1-8B", "--gpu", "L4", "--ask", "max_model_len"])
    assert shown.exit_code == 0
    assert "The largest max_model_len for meta-llama/Llama-3.1-8B on L4" in shown.stdout
    assert "  vllm serve meta-llama/Llama-3.1-8B --max-model-len" in shown.stdout
    for words, said in (
        (["--ask", "batc"], "no question 'batc'; nearest: batch"),
        (["--ask", "zzz"], "the questions are: max-model-len, batch"),
        (["--gpu", "L5"], "no GPU named 'L5'"),
    ):
        refused = CliRunner().invoke(cli.main, ["plan", "Llama-3.1-8B", *words])
        assert (refused.exit_code, said in refused.stderr, refused.stderr.count("\n")) == (2, True, 1)
