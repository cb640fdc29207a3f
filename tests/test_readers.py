"""The front door: paths, folders, names of fields in config.json, and what a slip gets."""

import contextlib
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vramlib import catalog, readers

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 320,
    "max_position_embeddings": 512, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


def write(tmp_path, config, name="config.json"):
    path = tmp_path / name
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def test_a_config_its_folder_and_a_path_object_are_the_same(tmp_path):
    path = write(tmp_path, LLAMA)
    totals = {readers.model(source).params_total for source in (path, str(path), tmp_path, str(tmp_path))}
    assert len(totals) == 1
    assert readers.model(path).name == tmp_path.name


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen2.5-7B", "google/gemma-2-2b", "mistralai/Mixtral-8x7B-v0.1", "gpt2"]
)
def test_a_catalogue_entry_reads_the_same_as_a_file(tmp_path, name):
    model = catalog.model(name)
    path = write(tmp_path, {k: v for k, v in model.config.items() if not k.startswith("_")})
    assert readers.model(path).params_total == model.params_total


def test_the_text_model_inside_a_multimodal_config(tmp_path):
    outer = {"model_type": "llava", "text_config": LLAMA, "torch_dtype": "float16"}
    assert (
        readers.model(write(tmp_path, outer)).params_text
        == readers.model(write(tmp_path, LLAMA, "a.json")).params_text
    )


def test_a_changed_file_is_read_again(tmp_path):
    path = write(tmp_path, LLAMA)
    before = readers.model(path).num_hidden_layers
    write(tmp_path, LLAMA | {"num_hidden_layers": 12})
    assert (before, readers.model(path).num_hidden_layers) == (2, 12)


def test_a_cache_of_the_hub_names_the_model(tmp_path):
    folder = tmp_path / "models--meta-llama--Llama-3.1-8B" / "snapshots" / "0123abc"
    folder.mkdir(parents=True)
    assert readers.model(write(folder, LLAMA).parent).name == "meta-llama/Llama-3.1-8B"


def test_a_name_goes_to_the_catalogue():
    assert readers.model("llama-3.1-8b").params_total == 8_030_261_248


@pytest.mark.parametrize(
    "text", ["nowhere/config.json", "./nowhere", "/no/where", "~/nowhere.gguf", "a.safetensors"]
)
def test_a_path_that_is_not_there_says_so(text):
    with pytest.raises(ValueError, match="no such file or folder"):
        readers.model(text)


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(
        KeyError, match=r"no model named 'Lama-3\.1-8B' in data/models; nearest: Llama-3\.1-8B"
    ):
        readers.model("Lama-3.1-8B")


def test_an_empty_folder_says_what_it_looked_for(tmp_path):
    with pytest.raises(ValueError, match=r"no model in this folder; looked for config\.json"):
        readers.model(tmp_path)


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(ValueError, match="not a model file"):
        readers.model(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "a JSON object is needed, not a list"),
        ("[" * 100_000, "not JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
        ("{}", "missing"),
        (json.dumps(LLAMA | {"hidden_size": None}), "hidden_size"),
        (json.dumps(LLAMA | {"num_hidden_layers": -1}), "num_hidden_layers"),
        (json.dumps(LLAMA | {"num_hidden_layers": 10**9}), "num_hidden_layers"),
        (json.dumps(LLAMA | {"vocab_size": 1.5}), "vocab_size"),
        (json.dumps(LLAMA | {"vocab_size": "many"}), "vocab_size"),
    ],
)
def test_a_bad_config_names_the_field(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        readers.model(write(tmp_path, text))


def test_an_unknown_quantization_is_an_error_without_a_file(tmp_path):
    config = LLAMA | {"quantization_config": {"quant_method": "exl9", "bits": 3}}
    with pytest.raises(ValueError, match=r"quantization method 'exl9' is not known; known: gptq, awq"):
        readers.model(write(tmp_path, config))


def test_nvidia_keeps_the_quantization_in_its_own_file(tmp_path):
    write(tmp_path, LLAMA)
    write(
        tmp_path,
        {"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}},
        "hf_quant_config.json",
    )
    assert readers.model(tmp_path).quantization.name == "nvfp4"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**12) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
WORDS = [
    *LLAMA,
    "quantization_config",
    "text_config",
    "layer_types",
    "sliding_window",
    "rope_scaling",
    "num_experts",
]
WORDS += ["num_local_experts", "vision_config", "kv_lora_rank", "head_dim", "dtype", "multi_query", "n_layer"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(WORDS), JSON, min_size=1, max_size=3))
def test_no_config_raises_anything_but_a_value_error(tmp_path, changes):
    start = time.perf_counter()
    with contextlib.suppress(ValueError):
        readers.model(write(tmp_path, LLAMA | changes))
    assert time.perf_counter() - start < 5


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text("abcdeqwnlmi0123456789.-_/ ", max_size=40))
def test_no_text_raises_anything_but_a_value_or_key_error(text):
    with contextlib.suppress(ValueError, KeyError):
        readers.model(text)
