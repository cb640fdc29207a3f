"""Start-up logs read back: the figures of public runs, in the engines' own lines, and the estimate beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vramlib import logs
from vramlib.logs.collect import collect
from vramlib.logs.known import version
from vramlib.specs import PART_KEYS
from vramlib.units import GiB, MiB

LOGS = Path(__file__).parent / "data" / "logs"


def told(name: str, **given: Any) -> logs.Explanation:
    return logs.explain_file(LOGS / name, **given)


# name of the file, engine, version, figures as printed: GiB (MiB for llama.cpp) or counts
READ_BACK = [
    # Qwen2.5-32B on 4 x A5000: the "GB" of this version is GiB
    (
        "vllm-0.6.3-tp4.log", "vllm", "0.6.3.post1",
        {"weights_bytes": 15.3916, "num_blocks": 2987, "max_concurrency": 1.46},
    ),
    # Qwen2.5-14B-Instruct on two cards of 39.50 GiB
    (
        "vllm-0.7.2-tp2.log", "vllm", "0.7.2",
        {"gpu_total_bytes": 39.50, "requested_bytes": 35.55, "weights_bytes": 13.93, "non_torch_bytes": 1.54,
         "activation_peak_bytes": 2.84, "kv_pool_bytes": 17.24, "num_blocks": 11770, "max_concurrency": 5.75,
         "cuda_graph_bytes": 0.28},
    ),
    # Llama-3.1-8B on H100, DEBUG lines, coloured
    (
        "vllm-0.19.0-colours.log", "vllm", "0.19.0",
        {"gpu_total_bytes": 79.19, "free_at_start_bytes": 78.68, "requested_bytes": 75.23, "weights_bytes": 14.99,
         "activation_peak_bytes": 1.89, "non_torch_bytes": 0.25, "kv_pool_bytes": 58.11, "kv_pool_tokens": 476016,
         "max_concurrency": 58.11, "cuda_graph_bytes": 0.91, "cuda_graph_estimated_bytes": 0.83},
    ),
    # gpt-oss-20b on 2 x H100
    (
        "vllm-0.19.0-tp2-sampler.log", "vllm", "0.19.0",
        {"weights_bytes": 7.01, "activation_peak_bytes": 2.87, "non_torch_bytes": 2.07, "kv_pool_bytes": 63.28,
         "kv_pool_tokens": 2764768, "max_concurrency": 337.17, "cuda_graph_bytes": 1.55},
    ),
    # Qwen3.6-27B NVFP4 on RTX 5090: weights and what stays beside them in one figure
    (
        "vllm-0.27.2-consumed.log", "vllm", "0.27.2rc1.dev150+g311b3513a",
        {"gpu_total_bytes": 31.33, "requested_bytes": 29.14, "consumed_bytes": 21.55, "activation_peak_bytes": 2.31,
         "kv_pool_bytes": 5.28, "kv_pool_tokens": 158304, "cuda_graph_charged_bytes": 0},
    ),
    # Qwen3-14B: keys and values apart, "GB" that is GiB
    (
        "sglang-0.4.6.log", "sglang", "0.5.23",
        {"weights_bytes": 27.57, "kv_pool_bytes": 14.00, "kv_pool_tokens": 91749, "cuda_graph_bytes": 1.54},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "engine", "release", "figures"), READ_BACK)
def test_figures_are_read_back(name: str, engine: str, release: str, figures: dict[str, float]) -> None:
    found = told(name)
    assert (found.engine, found.engine_version) == (engine, release)
    scaled = {
        n: v.value / (GiB if n.endswith("_bytes") else 1) for n, v in found.measured.items() if n in figures
    }
    assert scaled == pytest.approx(figures, abs=1e-8)


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        (
            "llamacpp-qwen3-4b.log",
            {"model_buffer_bytes": 7672.62, "kv_buffer_bytes": 576, "compute_buffer_bytes": 2454},
        ),
        (
            "llamacpp-old-two-cards.log",  # sums over both cards
            {"model_buffer_bytes": 784.42, "kv_buffer_bytes": 1536, "compute_buffer_bytes": 2160},
        ),
    ],
)
def test_buffers_are_added_up_over_the_cards(name: str, figures: dict[str, float]) -> None:
    found = {n: v.value / MiB for n, v in told(name).measured.items() if n in figures}
    assert found == pytest.approx(figures, abs=1e-5)


def test_host_buffers_are_no_gpu_memory() -> None:
    found = told("llamacpp-qwen3-4b.log").measured
    assert found["cpu_model_buffer_bytes"].value == round(741.88 * MiB)


@pytest.mark.parametrize("name", [row[0] for row in READ_BACK if "0.6.3" not in row[0]])
def test_an_engines_own_sum_holds(name: str) -> None:
    identity = told(name).identity
    assert identity is not None
    assert identity.holds
    assert "within rounding" in str(identity)


def test_a_sum_that_does_not_hold_says_by_how_much() -> None:
    log = (
        "the current vLLM instance can use total_gpu_memory (39.50GiB) x gpu_memory_utilization"
        " (0.90) = 35.55GiB\n"
        "model weights take 13.93GiB; non_torch_memory takes 1.54GiB; PyTorch activation peak"
        " memory takes 2.84GiB;"
        " the rest of the memory reserved for KV Cache is 16.24GiB."
    )
    identity = logs.explain(log).identity
    assert identity is not None
    assert not identity.holds
    assert identity.difference_bytes / GiB == pytest.approx(-1.0, abs=0.02)
    assert "-1.00 GiB of it are not in these terms" in str(identity)


def test_estimate_stands_beside_like_with_like() -> None:
    found = told("vllm-0.19.0-colours.log")
    assert found.estimate is not None
    assert found.estimate.gpu.name == "H100-80GB"
    assert found.estimate.scenario.max_model_len == 8192
    rows = {row.name: row for row in found.rows}
    assert abs(rows["kv_pool_bytes"].residual) < 0.01 * rows["kv_pool_bytes"].measured
    assert abs(rows["weights_bytes"].residual) < 0.003 * rows["weights_bytes"].measured
    for row in found.rows:
        assert row.residual == row.measured - row.estimated
    assert tuple(p.key for p in found.estimate.parts) == PART_KEYS


def test_the_pools_residual_is_the_residual_of_its_terms() -> None:
    """Requested less the terms is the pool on both sides, so their residuals add up but for rounding."""
    for name in ("vllm-0.7.2-tp2.log", "vllm-0.19.0-tp2-sampler.log", "vllm-0.27.2-consumed.log"):
        found = told(name)
        assert found.unexplained_bytes is not None
        assert abs(found.unexplained_bytes) < 0.03 * GiB, name


def test_what_the_user_gives_wins() -> None:
    found = told("vllm-0.19.0-colours.log", model="Qwen3-8B", gpu="A100-80GB", max_model_len=4096)
    assert found.estimate is not None
    assert found.estimate.model.name == "Qwen/Qwen3-8B"
    assert found.estimate.gpu.name == "A100-80GB"
    assert found.estimate.scenario.max_model_len == 4096
    assert found.estimate.scenario.gpu_memory_utilization == 0.95


def test_without_model_or_card_the_flags_are_named() -> None:
    found = logs.explain("gpu_worker.py] Available KV cache memory: 58.11 GiB")
    assert found.estimate is None
    assert any("--model NAME" in m for m in found.missing)
    assert any("--gpu NAME" in m for m in found.missing)
    assert "--model NAME" in str(found)


def test_without_a_card_only_what_no_card_changes_is_compared() -> None:
    found = told("sglang-0.4.6.log")
    assert [row.name for row in found.rows] == ["weights_bytes"]
    assert not found.advice
    assert any("depend on the card are left out" in n for n in found.notes)


def test_a_path_in_a_log_is_never_opened(tmp_path: Path) -> None:
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 128,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = logs.explain(
        f"Initializing a V1 LLM engine (v0.19.0) with config: model='{tmp_path}', dtype=torch.bfloat16"
    )
    assert found.estimate is None
    assert "is not in the catalogue" in found.missing[0]


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen3-8B", "/models/Qwen3-8B", "/home/me/.cache/hub/models--Qwen--Qwen3-8B/snapshots/2069b3fae1/",
        r"C:\models\Qwen3-8B-Q4_K_M.gguf", "Qwen3 8B",
    ],
)  # fmt: skip
def test_models_are_known_by_every_kind_of_path(name: str) -> None:
    found = logs.explain(
        f"Initializing a V1 LLM engine (v0.19.0) with config: model='{name}', dtype=torch.bfloat16"
    )
    assert found.estimate is not None
    assert found.estimate.model.name == "Qwen/Qwen3-8B"


def test_settings_of_a_pasted_command() -> None:
    log = "$ CUDA_VISIBLE_DEVICES=0 vllm serve Qwen/Qwen3-8B \\\n  --max-model-len 8192 --enforce-eager \\\n  -tp 2\n"
    found = logs.explain(log + "Available KV cache memory: 8.00 GiB", gpu="L4")
    assert found.estimate is not None
    s = found.estimate.scenario
    assert (s.max_model_len, s.enforce_eager, s.tensor_parallel_size) == (8192, True, 2)


def test_settings_of_sglang_arguments() -> None:
    s = told("sglang-0.4.6.log", gpu="L40S").estimate
    assert s is not None
    assert s.scenario.engine == "sglang"
    assert s.scenario.gpu_memory_utilization == 0.88
    assert s.scenario.max_model_len == 40960
    assert s.scenario.max_num_batched_tokens == 8192


def test_cards_that_share_the_layers_are_estimated_as_stages() -> None:
    found = told("llamacpp-old-two-cards.log")
    assert found.estimate is not None
    assert found.estimate.scenario.pipeline_parallel_size == 2
    assert found.estimate.scenario.flash_attn is False
    rows = {row.name: row for row in found.rows}
    assert rows["kv_buffer_bytes"].residual == 0
    assert any("17.04 GiB of weights are in the computer's memory" in n for n in found.notes)


def test_llamacpp_settings_and_estimate() -> None:
    found = told("llamacpp-qwen3-4b.log")
    assert found.estimate is not None
    s = found.estimate.scenario
    assert (s.engine, s.engine_version, s.quantization) == ("llama.cpp", "b6000", "BF16")
    assert (s.max_model_len, s.n_ubatch, s.n_seq_max, s.flash_attn, s.n_gpu_layers) == (
        4096,
        4096,
        1,
        True,
        -1,
    )
    kv = next(row for row in found.rows if row.name == "kv_buffer_bytes")
    assert kv.residual == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Model loading took 14.99 GiB memory and 8.1 seconds", "0.19.0"),
        ("Total non KV cache memory: 9.00GiB; torch peak memory increase: 2.00GiB; total consumed (from mem_get_info):"
         " 7.50GiB; weights memory: 7.00GiB.", "0.27"),
        ("model weights take 1.00GiB; non_torch_memory takes 0.10GiB; PyTorch activation peak memory takes 0.20GiB;"
         " the rest of the memory reserved for KV Cache is 3.00GiB.", "0.8"),
        ("GPU KV cache size: 1,024 tokens, Maximum concurrency for 512 tokens per request: 2.00x", "0.29"),
    ],
)  # fmt: skip
def test_version_is_inferred_from_the_form_of_the_lines(line: str, expected: str) -> None:
    found, basis = version(collect(line))
    assert found == expected
    assert basis.startswith("inferred")


def test_peak_and_transient_are_taken_apart_where_only_sums_are_printed() -> None:
    old = (
        "Loading model weights took 14.25 GB\nMemory profiling results: total_gpu_memory=23.64GiB"
        " initial_memory_usage=14.60GiB peak_torch_memory=15.65GiB"
        " memory_usage_post_profile=14.71Gib non_torch_memory=0.45GiB kv_cache_size=5.18GiB"
        " gpu_memory_utilization=0.90"
    )
    sizes = logs.explain(old).measured
    assert sizes["activation_peak_bytes"].value / GiB == pytest.approx(1.40)
    assert "non_torch_bytes" not in sizes  # this version's figure holds the context and other processes too
    new = "Total non KV cache memory: 9.00GiB; torch peak memory increase: 2.00GiB; total consumed (from mem_get_info):"
    sizes = logs.explain(new + " 7.50GiB; weights memory: 7.00GiB.").measured
    assert sizes["activation_peak_bytes"].value / GiB == pytest.approx(1.50)


def test_a_statement_that_was_wrapped_in_copying() -> None:
    log = (
        "22:12:16  INFO [worker.py:295] model weights take 6.59GiB; non_torch_memory takes 8.29GiB;\n"
        "                               PyTorch activation peak memory takes 4.93GiB;\n"
        "                               the rest of the memory reserved for KV Cache is -7.83GiB.\n"
    )
    sizes = logs.explain(log).measured
    assert sizes["activation_peak_bytes"].value / GiB == pytest.approx(4.93)
    assert sizes["kv_pool_bytes"].value / GiB == pytest.approx(-7.83)


def test_a_trial_of_cuda_graphs_is_not_the_pool() -> None:
    log = "Overriding num_gpu_blocks=0 with num_gpu_blocks_override=512\n"
    assert "num_blocks" not in logs.explain(log).measured
    log += "vllm cache_config_info with initialization after num_gpu_blocks is: 315205"
    assert logs.explain(log).measured["num_blocks"].value == 315205
    given = logs.explain("Overriding num_gpu_blocks=29751 with num_gpu_blocks_override=1024").measured
    assert given["num_blocks"].value == 1024


def test_recurrent_states_share_sglangs_pool() -> None:
    log = (
        "server_args=ServerArgs(model_path='granite-4.0-h-micro', mem_fraction_static=0.774, tp_size=1)\n"
        "[2026-02-01 00:05:02 TP0] Load weight begin. avail mem=15.24 GB\n"
        "[2026-02-01 00:05:03 TP0] Load weight end. elapsed=1.25 s, type=GraniteMoeHybridForCausalLM,"
        " dtype=torch.bfloat16, avail mem=9.26 GB, mem usage=5.98 GB.\n"
        "[2026-02-01 00:05:03 TP0] Mamba Cache is allocated. max_mamba_cache_size: 38, conv_state size: 0.03GB,"
        " ssm_state size: 2.74GB \n"
        "[2026-02-01 00:05:03 TP0] KV Cache is allocated. #tokens: 399740, K size: 1.52 GB, V size: 1.52 GB\n"
    )
    identity = logs.explain(log).identity
    assert identity is not None
    assert identity.holds
    assert dict(identity.terms)["recurrent states"] == -round(0.03 * GiB) - round(2.74 * GiB)


def test_gb_that_is_gib_is_said() -> None:
    line = logs.explain("Loading model weights took 15.3916 GB").lines[0]
    assert line.values["weights_bytes"].value == round(15.3916 * GiB)
    assert "it is GiB" in line.words
    assert any("every size of it is GiB" in n for n in told("sglang-0.4.6.log").notes)


def test_an_older_sglang_prints_no_weights_only_what_is_free() -> None:
    log = (
        "[2025-02-04 05:21:40 TP0] Load weight begin. avail mem=22.76 GB\n"
        "[2025-02-04 05:29:17 TP0] Load weight end. type=Qwen2ForCausalLM, dtype=torch.bfloat16, avail mem=8.37 GB\n"
        "[2025-02-04 05:29:17 TP0] KV Cache is allocated. K size: 2.82 GB, V size: 2.82 GB.\n"
    )
    sizes = logs.explain(log).measured
    assert sizes["weights_bytes"].value / GiB == pytest.approx(14.39)
    assert sizes["kv_pool_bytes"].value / GiB == pytest.approx(5.64)


def test_other_engines_failures_are_explained_beside_their_estimate() -> None:
    log = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 22.00 GiB of which"
    log += " 1.00 GiB is free."
    found = logs.explain(log, engine="transformers", model="Llama-3.1-8B", gpu="L4")
    assert found.estimate is not None
    assert found.failures[0].missing_bytes == GiB
    assert not found.advice


def test_the_rank_with_the_least_kv_cache_is_shown() -> None:
    rows = ((0, 8.9), (1, 7.5), (2, 8.1))
    log = "\n".join(f"(Worker_TP{n} pid={n}) INFO Available KV cache memory: {size} GiB" for n, size in rows)
    found = logs.explain(log)
    assert found.ranks == ("Worker_TP0", "Worker_TP1", "Worker_TP2")
    assert found.measured["kv_pool_bytes"].value == 7.5 * GiB
    assert any("Worker_TP1" in n for n in found.notes)


def test_a_second_start_replaces_the_first_and_a_draft_model_does_not() -> None:
    twice = "Model loading took 14.99 GiB memory\nModel loading took 15.20 GiB memory"
    assert logs.explain(twice).measured["weights_bytes"].value == round(15.20 * GiB)
    draft = (
        "[2025-04-03 10:00:00] Load weight end. type=LlamaForCausalLM, avail mem=50.00 GB, mem"
        " usage=12.60 GB.\n"
        "[2025-04-03 10:00:01] Load weight end. type=LlamaForCausalLMEagle, avail mem=49.00 GB, mem"
        " usage=0.93 GB."
    )
    assert logs.explain(draft).measured["weights_bytes"].value == round(12.60 * GiB)


def test_each_line_tells_its_part() -> None:
    lines = told("vllm-0.19.0-colours.log").to_dict()["lines"]
    homes = {tuple(line["parts"]) for line in lines}
    assert ("model_weights",) in homes
    assert ("kv_cache",) in homes
    assert ("activations", "cuda_context", "model_weights") in homes  # the profile run's account


def test_several_loads_keep_the_largest() -> None:
    one = "load_tensors: offloaded 33/33 layers to GPU\nload_tensors:  CUDA0 model buffer size = {} MiB\n"
    found = logs.explain(one.format("4403.49") + one.format("600.00"))
    assert found.measured["model_buffer_bytes"].value == round(4403.49 * MiB)
    assert any("2 models are loaded" in n for n in found.notes)


def test_ollamas_engine_lines() -> None:
    log = (
        'time=2025-07-18T14:50:57.066Z level=INFO source=ggml.go:365 msg="model weights" buffer=CUDA0 size="11.5 GiB"\n'
        'time=2025-07-18T14:50:57.066Z level=INFO source=ggml.go:365 msg="model weights" buffer=CPU size="680.0 MiB"\n'
        'level=INFO source=ggml.go:672 msg="compute graph" backend=CUDA0 buffer_type=CUDA0 size="0 B"\n'
        'level=INFO source=ggml.go:672 msg="compute graph" backend=CUDA0 buffer_type=CUDA0 size="300 MiB"\n'
    )
    sizes = logs.explain(log).measured
    assert sizes["model_buffer_bytes"].value == round(11.5 * GiB)
    assert sizes["compute_buffer_bytes"].value == 300 * MiB


def test_sliding_window_caches_of_one_card_add_up() -> None:
    log = (
        "llama_context: n_ctx         = 8192\nllama_kv_cache:      CUDA0 KV buffer size =   512.00 MiB\n"
        "llama_kv_cache:      CUDA0 KV buffer size =   192.00 MiB\n"
        "llama_memory_recurrent:      CUDA0 RS buffer size =    16.00 MiB"
    )
    assert logs.explain(log).measured["kv_buffer_bytes"].value == 720 * MiB


def test_advice_gains_are_those_of_the_estimate() -> None:
    found = told("vllm-0.19.0-colours.log")
    assert found.estimate is not None
    by_knob = {a.knob: a for a in found.advice}
    share = by_knob["--gpu-memory-utilization"]
    assert share.direction == "up"
    assert share.gain_bytes == pytest.approx(0.02 * found.estimate.gpu.memory_bytes, abs=2)
    assert by_knob["--kv-cache-dtype"].gain_tokens == pytest.approx(476_016, rel=0.001)
    assert [a.gain_tokens for a in found.advice] == sorted(
        (a.gain_tokens or 0 for a in found.advice), reverse=True
    )


def test_sglang_is_advised_in_its_own_flags() -> None:
    knobs = {a.knob for a in told("sglang-0.4.6.log", gpu="L40S").advice}
    assert "--mem-fraction-static" in knobs
    assert not any("gpu-memory-utilization" in k for k in knobs)


def test_views_show_everything_and_escape_the_log() -> None:
    found = logs.explain("ValueError <script>alert(1)</script> No available memory for the cache blocks. <b>")
    page = found._repr_html_()
    assert "<script>" not in page
    assert "No room" not in page
    shown = str(told("vllm-0.19.0-colours.log"))
    for title in (
        "What the log says",
        "Printed and estimated",
        "done again",
        "The eight parts",
        "What leaves more KV",
    ):
        assert title in shown
    assert json.loads(json.dumps(told("vllm-0.19.0-colours.log").to_dict()))["comparison"]
