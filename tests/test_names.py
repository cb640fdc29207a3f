"""Model names as they stand in logs, model cards and pasted commands."""

import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vramlib import catalog, name_words, names
from vramlib._paths import data_dir

READ_AS = [
    # what is written, how the entry's name starts (a catalogue may hold the variant itself), the format
    ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B", ""),
    ("llama-3.1-8b", "meta-llama/Llama-3.1-8B", ""),
    ("LLAMA 3.1 8B", "meta-llama/Llama-3.1-8B", ""),
    ("meta-llama/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B", ""),
    ("Meta_Llama_3.1_8b_it", "meta-llama/Llama-3.1-8B", ""),
    ("meta-llama/Llama-2-7b-chat-hf", "meta-llama/Llama-2-7b-hf", ""),
    ("Qwen/Qwen1.5-7B-Chat", "Qwen/Qwen1.5-7B", ""),
    ("google/gemma-2-2b-it", "google/gemma-2-2b", ""),
    ("gemma3:27b", "google/gemma-3-27b-it", ""),
    ("gpt-oss:20b", "openai/gpt-oss-20b", ""),
    ("Qwen2.5-32B-Instruct (local path)", "Qwen/Qwen2.5-32B", ""),
    ("Deepseek-V3-0324", "deepseek-ai/DeepSeek-V3", ""),
    ("Qwen2.5-7B-Instruct-AWQ", "Qwen/Qwen2.5-7B", "awq"),
    ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2.5-7B", "gptq"),
    ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", "Qwen/Qwen2.5-7B", "gptq-int8"),
    ("Qwen/Qwen3-8B-FP8", "Qwen/Qwen3-8B", "fp8-block"),
    ("RedHatAI/Qwen3-8B-FP8", "Qwen/Qwen3-8B", "fp8"),
    ("RedHatAI/Qwen2.5-7B-Instruct-fp8-dynamic", "Qwen/Qwen2.5-7B", "fp8-channel"),
    ("neuralmagic/Meta-Llama-3.1-70B-Instruct-quantized.w8a8", "meta-llama/Llama-3.1-70B", "w8a8"),
    ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "meta-llama/Llama-3.1-8B", "w4a16"),
    ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", "meta-llama/Llama-3.1-70B", "awq"),
    ("TheBloke/Mixtral-8x7B-Instruct-v0.1-AWQ", "mistralai/Mixtral-8x7B-v0.1", "awq"),
    ("unsloth/Llama-3.2-1B-Instruct-bnb-4bit", "meta-llama/Llama-3.2-1B", "nf4-double-quant"),
    ("unsloth/Llama-3.2-1B-Instruct-unsloth-bnb-4bit", "meta-llama/Llama-3.2-1B", "nf4-double-quant"),
    ("RedHatAI/Gemma-4-31B-IT-NVFP4", "google/gemma-4-31B-it", "nvfp4"),
    ("Gemma-4-31B (AutoRound INT4)", "google/gemma-4-31B-it", "gptq"),
    ("cyankiwi/Kimi-Linear-48B-A3B-Instruct-AWQ-4bit", "moonshotai/Kimi-Linear-48B-A3B-Instruct", "awq"),
    ("cognitivecomputations/DeepSeek-V3-0324-AWQ", "deepseek-ai/DeepSeek-V3", "awq"),
    ("Qwen3-32B-Q6_K", "Qwen/Qwen3-32B", "Q6_K"),
    ("Llama-3.1-8B-Instruct-Q4_K_M", "meta-llama/Llama-3.1-8B", "Q4_K_M"),
    ("DeepSeek-V3-bf16", "deepseek-ai/DeepSeek-V3", "none"),
    # ollama tags, file names and shards
    ("llama3.1:8b-instruct-q4_K_M", "meta-llama/Llama-3.1-8B", "Q4_K_M"),
    ("mistral-small3.2:24b-instruct-2506-q8_0", "mistralai/Mistral-Small-3.1-24B-Instruct-2503", "Q8_0"),
    ("Qwen3-32B-Q6_K.gguf", "Qwen/Qwen3-32B", "Q6_K"),
    ("Qwen3-235B-A22B-Instruct-2507-Q4_K_M-00001-of-00003.gguf", "Qwen/Qwen3-235B-A22B", "Q4_K_M"),
    ("llama-2-7b-chat.Q4_K_M.gguf", "meta-llama/Llama-2-7b-hf", "Q4_K_M"),
    ("Qwen_Qwen3-8B-Q4_K_M.gguf", "Qwen/Qwen3-8B", "Q4_K_M"),
    ("gemma-3-27b-it-qat-q4_0", "google/gemma-3-27b-it", "Q4_0"),
    # what publishers append
    ("Intel/Qwen3-30B-A3B-Instruct-2507-int4-mixed-AutoRound", "Qwen/Qwen3-30B-A3B", "gptq"),
    ("ISTA-DASLab/gemma-3-27b-it-GPTQ-4b-128g", "google/gemma-3-27b-it", "gptq"),
    ("amd/Llama-3.1-405B-Instruct-FP8-KV", "meta-llama/Llama-3.1-405B", "fp8"),
    ("casperhansen/mixtral-instruct-awq", "mistralai/Mixtral-8x7B-v0.1", "awq"),
]
OTHER_NAMES = [
    # what is written, the entry, what the note says of it
    ("/models/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct", ""),
    ("deepseek-r1:32b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", ""),
    ("Qwen3-30B-A3B-Thinking-2507", "Qwen/Qwen3-30B-A3B-Instruct-2507", ""),
    ("bartowski/Qwen_Qwen3-8B-GGUF", "Qwen/Qwen3-8B", "no file type in the name"),
    ("unsloth_DeepSeek R1 BF16", "deepseek-ai/DeepSeek-R1", "with plain weights"),
    ("mistral3 (mistral-small3.2 24b)", "mistralai/Mistral-Small-3.1-24B-Instruct-2503", "is read as"),
    ("qwen3.5-9b-ud-q4kxl", "Qwen/Qwen3.5-9B", "Q4_K_XL is its publisher's own mix"),
    ("turboderp/Llama-3.1-8B-Instruct-exl3", "meta-llama/Llama-3.1-8B", "the bits of exl3 are not known"),
    ("HuggingFaceH4/zephyr-7b-beta", "mistralai/Mistral-7B-v0.1", "a fine-tune of the same shape"),
    ("TheBloke/vicuna-13B-v1.5-AWQ", "meta-llama/Llama-2-13b-hf", "a fine-tune of the same shape"),
    ("huihui-ai/Qwen3-8B-abliterated", "Qwen/Qwen3-8B", "is read as"),
    ("Llama-3.1-8B-Nobody-V2-Q5_K_M", "meta-llama/Llama-3.1-8B", "'nobody-v2' is taken for a fine-tune"),
    ("Qwen3.6-35B-A3B-Cerebellum-v3", "Qwen/Qwen3.6-35B-A3B", "'cerebellum-v3' is taken for a fine-tune"),
]


@pytest.mark.parametrize(("written", "model_id", "quantization"), READ_AS)
def test_a_name_is_read_as_people_mean_it(written, model_id, quantization):
    found = names.find(written)
    assert found.model_id.startswith(model_id)
    assert found.quantization == quantization


@pytest.mark.parametrize(("written", "model_id", "said"), OTHER_NAMES)
def test_a_fine_tune_or_a_mix_is_never_read_silently(written, model_id, said):
    found = names.find(written)
    assert found.model_id.startswith(model_id)
    assert said in found.note


@pytest.mark.parametrize(
    "written",
    [
        "Qwen3-8B-EAGLE3",
        "z-lab/Qwen3-8B-DFlash-b16",
        "Llama-3.1-8B-Instruct-Eagle3-speculator",
        "GLM-4.7-Air",
    ],
)
def test_a_drafter_or_another_size_is_not_its_namesake(written):
    with pytest.raises(KeyError, match="no model named"):
        names.find(written)


def test_a_repack_is_its_publishers_alone():
    """The same name from another publisher is the base model with the format's usual exceptions."""
    assert names.find("nvidia/GLM-5.1-NVFP4") == names.Match(model_id="nvidia/GLM-5.1-NVFP4")
    assert "its publisher's repack" in names.find("glm-5.1-nvfp4").note
    other = names.find("somebody/GLM-5.1-NVFP4")
    assert (other.model_id, other.quantization) == ("zai-org/GLM-5.1", "nvfp4")
    assert names.find("GLM-5.1").model_id == "zai-org/GLM-5.1"


def test_no_name_means_two_entries():
    """Neither an alias nor a fine-tune is listed twice or hides an entry's own name."""
    meant = {}
    for model_id in names.models():
        meant.setdefault(name_words.key(name_words.words(model_id)), set()).add(model_id)
    for field in ("_aliases", "_fine_tunes"):
        for name, model_id in names._listed(field):
            meant.setdefault(name_words.key(name_words.words(name)), set()).add(model_id)
    assert not {key: found for key, found in meant.items() if len(found) > 1}


@pytest.mark.parametrize(("written", "model_id", "quantization"), READ_AS[12:])
def test_a_compressed_variant_says_so(written, model_id, quantization):
    model = catalog.model(written)
    assert (model.quantization.name if model.quantization else "none") == quantization
    assert f"is read as {model_id}" in model.warnings[0]
    assert model.params_total == catalog.model(model_id).params_total


def test_every_entry_is_found_by_its_name_and_aliases():
    for path in (data_dir() / "models").glob("*.json"):
        entry = json.loads(path.read_text(encoding="utf-8"))
        model_id = path.stem.replace("--", "/", 1)
        for name in (model_id, model_id.split("/")[-1].lower(), model_id.upper()):
            found = names.find(name)
            assert found.model_id == model_id, name
            assert not found.note or (model_id in names._repacks() and "/" not in name)
        for alias in entry.get("_aliases") or ():
            assert names.find(alias) == names.Match(model_id=model_id), alias


def test_the_entrys_own_name_needs_no_warning():
    assert catalog.model("llama-3.1-8b").warnings == ()
    assert catalog.model("Llama-3.1-8B-base").warnings == (
        "'Llama-3.1-8B-base' is read as meta-llama/Llama-3.1-8B",
    )


def test_a_gguf_repack_without_a_type_says_what_is_missing():
    model = catalog.model("bartowski/Llama-3.2-1B-Instruct-GGUF")
    assert model.quantization is None
    assert "no file type in the name" in model.warnings[0]


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("Llama-3.1-9B", "Llama-3.1-8B"),
        ("Lama-3.1-8B", "Llama-3.1-8B"),
        ("gpt-os-20b", "gpt-oss-20b"),
        ("mixtral", "Mixtral-8x7B-v0.1"),
    ],
)
def test_an_unknown_name_offers_the_nearest(written, near):
    with pytest.raises(KeyError, match=rf"no model named '{written}' in data/models; nearest: .*{near}"):
        catalog.model(written)


@pytest.mark.parametrize("written", ["", "/", "-AWQ", "Instruct", "deepseek-v4", "zzzz", "GGUF", "8B"])
def test_what_names_no_model_is_a_key_error(written):
    with pytest.raises(KeyError, match="no model named"):
        names.find(written)


def test_one_look_up_is_quick():
    """An exact name needs one small file; the names of the others are only listed."""
    for cached in (names._files, names._own_names, names._spec):
        cached.cache_clear()
    names.find.cache_clear()
    names.model.cache_clear()
    start = time.perf_counter()
    catalog.model("Llama-3.1-8B")
    assert time.perf_counter() - start < 2
    assert catalog.model("Llama-3.1-8B") is catalog.model("Llama-3.1-8B")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(names.models()),
    st.lists(
        st.sampled_from(["-Instruct", "-AWQ", "-FP8", "-0324", " (x)", "-GGUF", "-v0.1", "/", "-it"]),
        max_size=3,
    ),
)
def test_any_suffixes_find_a_model_or_offer_some(name, suffixes):
    with contextlib.suppress(KeyError):
        assert names.find(name + "".join(suffixes)).model_id in names.models()
