"""Words and values that a user types: what each field takes, and what it says to the rest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_estimate import model, scenario

from vramlib import engines, fields, values
from vramlib.components import kv_cache, kv_cells
from vramlib.specs import GpuSpec, Scenario
from vramlib.units import GiB

INTS = [f.name for f in fields.FIELDS if f.kind == "int"]
LENGTHS = [f.name for f in fields.FIELDS if f.kind == "lengths"]
BOOLS = [f.name for f in fields.FIELDS if f.kind == "bool"]


def test_every_field_is_a_field_of_a_resolved_scenario() -> None:
    names = set(fields.NAMES) - {"gpu_memory_bytes"}
    assert names == {
        n for n in Scenario.__dataclass_fields__ if n not in ("engine_spec", "quant", "drafter", "warnings")
    }


def test_every_field_says_what_it_is_and_takes() -> None:
    for field in fields.FIELDS:
        assert field.help
        assert field.takes
        assert field.kind in values.READERS


def test_engines_are_those_of_the_data() -> None:
    assert set(fields.BY_NAME["engine"].choices) == set(engines.names())


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("max_model_len", "8192", 8192),
        ("max_model_len", " 8192 ", 8192),
        ("max_model_len", "8_192", 8192),
        ("max_model_len", "8192.0", 8192),  # pandas writes a column with a gap as floats
        ("max_model_len", "8k", 8000),  # vLLM: small letters are thousands, capitals are 1024s
        ("max_model_len", "8K", 8192),
        ("max_model_len", "1M", 1 << 20),
        ("max_model_len", "25.6k", 25_600),
        ("max_model_len", "AUTO", "auto"),
        ("max_model_len", 8192, 8192),
        ("max_model_len", 8192.0, 8192),
        ("max_model_len", np.int64(8192), 8192),
        ("new_tokens", "0", 0),
        ("prompt_tokens", "100;200", (100, 200)),
        ("prompt_tokens", "100; 2k", (100, 2000)),
        ("prompt_tokens", [100, 200], (100, 200)),
        ("n_gpu_layers", "-1", -1),
        ("n_gpu_layers", "all", -1),
        ("n_gpu_layers", "0", 0),
        ("enforce_eager", "TRUE", True),
        ("enforce_eager", "False", False),
        ("enforce_eager", False, False),
        ("enforce_eager", np.True_, True),
        ("flash_attn", "on", True),
        ("gpu_memory_utilization", "0.9", 0.9),
        ("gpu_memory_utilization", "1", 1.0),
        ("gpu_memory_utilization", 1, 1.0),
        ("gpu_memory_bytes", "24GiB", 24 * GiB),
        ("gpu_memory_bytes", "80 GB", 80 * 10**9),
        ("gpu_memory_bytes", "25769803776", 25_769_803_776),
        ("gpu_memory_bytes", "25769803776.0", 25_769_803_776),
        ("dtype", "BF16", "bfloat16"),
        ("dtype", "half", "float16"),
        ("dtype", "float", "float32"),
        ("engine", "vLLM", "vllm"),
        ("engine", "llamacpp", "llama.cpp"),
        ("engine", "llama_cpp", "llama.cpp"),
        ("engine", "HF", "transformers"),
        ("attn_implementation", "Flash-Attention-2", "flash_attention_2"),
        ("model", Path("here/config.json"), Path("here/config.json")),
    ],
)
def test_value_is_read(name: str, typed: Any, value: Any) -> None:
    read = fields.read({name: typed})[name]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("empty", ["", "  ", None])
def test_empty_is_not_given(empty: Any) -> None:
    assert fields.read({"gpu": empty, "batch_size": "2"}) == {"batch_size": 2}


def test_auto_flash_attention_is_left_to_the_engine() -> None:
    assert fields.read({"flash_attn": "auto"}) == {}


def test_specs_pass_as_they_are() -> None:
    card = GpuSpec(name="mine", memory_bytes=GiB)
    given = {"model": model(), "gpu": card}
    assert fields.read(given) == given


@pytest.mark.parametrize("name", INTS + LENGTHS)
@pytest.mark.parametrize(
    "bad",
    ["abc", "1.5", "-2", "1e3", "1.5K", "--", "8192 tokens", "٣", True, 1.5, -2, float("nan"), float("inf")],
)
def test_no_whole_number(name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} is .*; write a whole number of .*or more|.* to 1,000,000"):
        fields.read({name: bad})


@pytest.mark.parametrize("name", [n for n in INTS + LENGTHS if fields.BY_NAME[n].minimum == 1])
@pytest.mark.parametrize("zero", ["0", 0, "0.0"])
def test_zero_where_one_is_needed(name: str, zero: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} is .*0.*; write a whole number of "):
        fields.read({name: zero})


@pytest.mark.parametrize("name", INTS + LENGTHS)
@pytest.mark.parametrize("huge", ["1000000000001", 10**30, 1e30, "9" * 5000, "2T"])
def test_huge_number(name: str, huge: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} is ") as error:
        fields.read({name: huge})
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    "bad", ["100;", ";", "100;;200", "100;abc", "100;1.5", "100,200", [], [100, "x"], "100;0"]
)
def test_bad_list(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^prompt_tokens is .*or a list such as 100;200"):
        fields.read({"prompt_tokens": bad})


@pytest.mark.parametrize("name", BOOLS)
@pytest.mark.parametrize("bad", ["maybe", "2", 2, 1.0, "tru"])
def test_bad_boolean(name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} is .*; write true or false"):
        fields.read({name: bad})


@pytest.mark.parametrize(
    "bad", ["0", "1.01", "90", "-0.5", "90%", "nan", "inf", "abc", True, 0, 1.5, float("nan")]
)
def test_bad_fraction(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^gpu_memory_utilization is .*; write a fraction above 0"):
        fields.read({"gpu_memory_utilization": bad})


@pytest.mark.parametrize("bad", ["0", "24", "-1", "24 parsecs", "1.5", "9" * 40, True, 0, -1, 1e30, "abc"])
def test_bad_size(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^gpu_memory_bytes is .*24GiB"):
        fields.read({"gpu_memory_bytes": bad})


@pytest.mark.parametrize(
    ("name", "typed", "near"),
    [
        ("engine", "vlm", "vllm"),
        ("engine", "slang", "sglang"),
        ("dtype", "bfloat", "bfloat16"),
        ("dtype", "float61", "float16"),
        ("attn_implementation", "spda", "sdpa"),
    ],
)
def test_bad_choice_offers_the_nearest(name: str, typed: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is '{typed}'; nearest: {near}; write "):
        fields.read({name: typed})


def test_bad_choice_names_them_all() -> None:
    with pytest.raises(ValueError, match=r"^dtype is 'xyz'; write auto, float32, float16 or bfloat16$"):
        fields.read({"dtype": "xyz"})


@pytest.mark.parametrize(
    ("engine", "typed", "name"),
    [
        ("vllm", "FP8", "fp8"),
        ("vllm", "bf16", "bfloat16"),
        ("sglang", "fp8_e5m2", "fp8_e5m2"),
        ("llama.cpp", "q8_0", "q8_0"),
        ("llama.cpp", "Q8_0", "q8_0"),
        ("llama.cpp", "float16", "f16"),
        ("llama.cpp", "auto", "auto"),
    ],
)
def test_cache_type_has_the_engines_own_name(engine: str, typed: str, name: str) -> None:
    assert fields.read({"engine": engine, "kv_cache_dtype": typed})["kv_cache_dtype"] == name


@pytest.mark.parametrize(("engine", "typed"), [("vllm", "q8_0"), ("sglang", "iq4_nl"), ("llama.cpp", "fp8")])
def test_cache_type_of_another_engine(engine: str, typed: str) -> None:
    with pytest.raises(
        ValueError, match=f"^kv_cache_dtype is '{typed}', which {engine} does not know; write auto, "
    ):
        fields.read({"engine": engine, "kv_cache_dtype": typed})


def test_every_cache_type_has_a_size() -> None:
    known = {*kv_cache.CACHE_BITS, *kv_cache.DS_MLA_ROW, "auto", "nvfp4"}
    assert {t for t in fields.CACHE_TYPES if not t.endswith("_per_token_head")} == known
    assert fields.GGML_CACHE_TYPES == kv_cells.CACHE_TYPES


def test_a_version_read_as_a_number_is_told() -> None:
    with pytest.raises(ValueError, match=r"^engine_version is 0\.1; write text \(in quotes"):
        fields.read({"engine_version": 0.10})


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("max_modl_len", "max_model_len"),
        ("--max-modl-len", "max_model_len"),
        ("Max_Model_Len", "max_model_len"),
        ("ctx-size", "max_model_len"),
        ("mem_fraction_static", "gpu_memory_utilization"),
        ("max_running_requests", "max_num_seqs"),
        ("tp", "tensor_parallel_size"),
        ("enable_cuda_graphs", "enforce_eager"),
        ("nproc", "num_processes"),
        ("batchsize", "batch_size"),
        ("modle", "model"),
    ],
)
def test_unknown_name_offers_the_nearest(typed: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"nearest: {near}$"):
        fields.read({typed: 1})


def test_elsewhere_leads_to_fields() -> None:
    assert set(fields.ELSEWHERE.values()) <= set(fields.NAMES)
    assert not set(fields.ELSEWHERE) & set(fields.NAMES)


def test_unlike_anything_names_the_fields() -> None:
    with pytest.raises(ValueError, match=r"^no field named 'colour'; the fields are: model, gpu, "):
        fields.read({"colour": "red"})


def test_hyphens_and_underscores_are_equal_and_order_is_the_tables() -> None:
    assert list(fields.read({"max-num-seqs": "4", "--gpu": "L4", "model": "m"})) == [
        "model",
        "gpu",
        "max_num_seqs",
    ]


def test_one_field_in_two_spellings() -> None:
    with pytest.raises(ValueError, match=r"^max_model_len is given twice"):
        fields.read({"max-model-len": 1, "max_model_len": 2})


def test_what_was_read_reads_again() -> None:
    once = fields.read({"model": "m", "max_model_len": "8k", "prompt_tokens": "1;2", "enforce_eager": "true"})
    assert fields.read(once) == once


def test_a_resolved_scenario_reads_again() -> None:
    s = scenario(kv_cache_dtype="fp8")
    given = {name: getattr(s, name) for name in fields.NAMES if name != "gpu_memory_bytes"}
    assert fields.read(given) == {name: value for name, value in given.items() if value != ""}


@pytest.mark.parametrize("name", [f.name for f in fields.FIELDS if f.many])
def test_an_array_is_many_scenarios(name: str) -> None:
    array = np.array([0.5, 0.9]) if fields.BY_NAME[name].kind == "fraction" else np.array([1 << 21, 1 << 30])
    assert fields.read({name: array})[name] is array


@pytest.mark.parametrize(
    "bad", [np.array([0, 1]), np.array([1.5]), np.array([]), np.array(["a"]), np.array([True])]
)
def test_an_array_with_a_bad_value(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^batch_size is array"):
        fields.read({"batch_size": bad})


@pytest.mark.parametrize("bad", [np.array([0.0]), np.array([np.nan]), np.array([1.1]), np.array([1])])
def test_an_array_with_a_bad_fraction(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^gpu_memory_utilization is array"):
        fields.read({"gpu_memory_utilization": bad})


def test_an_array_where_one_number_is_needed() -> None:
    with pytest.raises(ValueError, match=r"^tensor_parallel_size is array"):
        fields.read({"tensor_parallel_size": np.array([1, 2])})
