"""A scenario as a command: what was moved is in it, what the engine does by itself is not."""

import shlex

import pytest

from vramlib import fields, resolve
from vramlib.commands import FLAGS, command_line, flag

MOVED = {
    "tensor_parallel_size": 2, "pipeline_parallel_size": 2, "data_parallel_size": 2, "enable_expert_parallel": True,
    "dtype": "float16", "quantization": "fp8", "kv_cache_dtype": "fp8", "max_model_len": 4096, "max_num_seqs": 7,
    "max_num_batched_tokens": 1024, "block_size": 32, "gpu_memory_utilization": 0.7, "enforce_eager": True,
    "n_seq_max": 4, "n_ubatch": 256, "cache_type_k": "q8_0", "cache_type_v": "q4_0", "n_gpu_layers": 10,
    "flash_attn": False,
}  # fmt: skip
CASES = [(engine, field) for engine, flags in FLAGS.items() for field in flags]


def command(**given: object) -> str:
    return command_line(resolve.scenario(**{"model": "Llama-3.1-8B", "gpu": "H100-80GB", **given}))


@pytest.mark.parametrize(("engine", "field"), CASES)
def test_each_moved_field_appears_with_its_flag(engine: str, field: str) -> None:
    words = shlex.split(command(engine=engine, **{field: MOVED[field]}))
    assert flag(engine, field) in words
    assert set(FLAGS[engine].values()) & set(words) == {flag(engine, field)}


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llama.cpp"])
def test_defaults_need_no_flag(engine: str) -> None:
    assert "--" not in command(engine=engine).replace("--model-path", "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_model_len": 8192}, "vllm serve meta-llama/Llama-3.1-8B --max-model-len 8192"),
        ({"enforce_eager": True}, "vllm serve meta-llama/Llama-3.1-8B --enforce-eager"),
        (
            {"engine": "sglang", "max_model_len": 8192, "kv_cache_dtype": "fp8"},
            "python -m sglang.launch_server --model-path meta-llama/Llama-3.1-8B"
            " --kv-cache-dtype fp8_e4m3 --context-length 8192",
        ),
        (
            {"engine": "llama.cpp", "quantization": "Q4_K_M", "max_model_len": 8192, "flash_attn": False},
            "llama-server -m Llama-3.1-8B-Q4_K_M.gguf --ctx-size 8192 --flash-attn off",
        ),
        (
            {"quantization": "awq"},
            "# needs a checkpoint of meta-llama/Llama-3.1-8B stored as awq\nvllm serve meta-llama/Llama-3.1-8B",
        ),
    ],
)
def test_whole_command(given: dict, expected: str) -> None:
    assert command(**given) == expected


@pytest.mark.parametrize("ranks", [1, 2])
def test_transformers_is_python_that_compiles(ranks: int) -> None:
    source = command(engine="transformers", tensor_parallel_size=ranks, attn_implementation="eager")
    compile(source, "snippet", "exec")
    assert 'attn_implementation="eager"' in source
    assert ("torchrun" in source) == (ranks > 1)


def test_every_flag_belongs_to_a_field() -> None:
    assert {field for flags in FLAGS.values() for field in flags} <= set(fields.NAMES)
