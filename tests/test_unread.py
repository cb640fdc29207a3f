"""A setting that an estimate does not read is named in its warnings, and only then."""

from typing import Any

import pytest

import vramlib
from vramlib import fields, many, unread
from vramlib.messages import retold
from vramlib.resolve import scenario
from vramlib.specs import Estimate

ENGINES = fields.BY_NAME["engine"].choices
GIVEN: dict[str, Any] = {
    "cache_type_k": "q8_0",
    "cache_type_v": "q8_0",
    "n_gpu_layers": 3,
    "n_ubatch": 64,
    "n_seq_max": 3,
    "flash_attn": False,
    "attn_implementation": "eager",
    "max_model_len": 4096,
    "max_num_seqs": 7,
    "max_num_batched_tokens": 600,
    "block_size": 32,
    "gpu_memory_utilization": 0.7,
    "enforce_eager": True,
    "enable_prefix_caching": True,
    "enable_lora": True,
    "max_loras": 4,
    "max_lora_rank": 64,
    "decode_context_parallel_size": 2,
    "num_speculative_tokens": 3,
    "speculative_model": "Llama-3.2-1B",
    "enable_expert_parallel": True,
}
LOAD: dict[str, Any] = {"model": "Llama-3.1-8B", "tensor_parallel_size": 2, "batch_size": 4}


def about(name: str, warnings: tuple[str, ...]) -> list[str]:
    return [w for w in warnings if w.startswith(f"{name} changes nothing")]


def size(answer: Estimate, key: str) -> int:
    return next(p.bytes for p in answer.parts if p.key == key)


def test_every_field_of_the_table_is_tried() -> None:
    assert set(GIVEN) == set(unread.READ_FOR) <= set(fields.NAMES)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", GIVEN)
def test_a_setting_is_named_where_it_is_not_read(engine: str, name: str) -> None:
    found = vramlib.estimate(**LOAD, engine=engine, **{name: GIVEN[name]})
    if engine in unread.READ_FOR[name]:
        assert about(name, found.warnings) == []
        return
    (told,) = about(name, found.warnings)
    assert engine in told
    plain = vramlib.estimate(**LOAD, engine=engine)
    assert (found.parts, found.budget, found.fits) == (plain.parts, plain.budget, plain.fits)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_asks_for_nothing_is_not_named(engine: str) -> None:
    told = scenario(model="Llama-3.1-8B", engine=engine, **unread.NOTHING).warnings
    assert not any("changes nothing" in w for w in told)
    assert not any("changes nothing" in w for w in scenario(model="Llama-3.1-8B", engine=engine).warnings)


def test_many_values_are_named_once() -> None:
    sizes = many.of([64, 128])
    assert len(about("n_ubatch", scenario(model="Llama-3.1-8B", n_ubatch=sizes).warnings)) == 1


def test_the_warning_in_vietnamese() -> None:
    (told,) = about("enforce_eager", scenario(**LOAD, engine="transformers", enforce_eager=True).warnings)
    assert retold("warning", told, "vi") == (
        "enforce_eager không thay đổi gì trong ước lượng cho transformers; chỉ vllm, sglang mới dùng"
    )


def test_transformers_on_several_cards_says_what_is_left_out() -> None:
    load: dict[str, Any] = {"model": "Llama-3.1-8B", "engine": "transformers"}
    one, two = vramlib.estimate(**load), vramlib.estimate(**load, tensor_parallel_size=2)
    (told,) = [w for w in two.warnings if "tensor_parallel_size 2" in w]
    assert "as vLLM divides them" in told
    assert 0.49 < size(two, "model_weights") / size(one, "model_weights") < 0.51
    assert 2 * size(two, "kv_cache") == size(one, "kv_cache")
    assert size(two, "activations") == size(one, "activations")
    assert size(two, "multi_process") == 0
    assert retold("warning", told, "vi").startswith("transformers với tensor_parallel_size 2: ")


def test_stages_of_transformers_say_what_is_left_out() -> None:
    load: dict[str, Any] = {"model": "Llama-3.1-8B", "engine": "transformers"}
    one, two = vramlib.estimate(**load), vramlib.estimate(**load, pipeline_parallel_size=2)
    (told,) = [w for w in two.warnings if "pipeline_parallel_size 2" in w]
    assert size(two, "kv_cache") * 2 == size(one, "kv_cache")
    assert size(two, "activations") == size(one, "activations")
    assert retold("warning", told, "vi").startswith("transformers với pipeline_parallel_size 2: ")


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_engines_whose_ranks_are_modelled_leave_nothing_out(engine: str) -> None:
    assert list(unread.divided({"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, engine)) == []
