"""Reading config.json: names of fields, fall-backs that say so, and errors for what cannot be used."""

import pytest
from example_model import build, llama, read

from vramlib import architectures

FALLBACKS = {
    "num_key_value_heads": "num_key_value_heads is missing or null in config.json; 8 is used",
    "intermediate_size": "intermediate_size is missing or null in config.json; 2048 is used (4 × hidden_size)",
    "max_position_embeddings": "max_position_embeddings is missing or null in config.json; 2048 is used",
    "torch_dtype": "torch_dtype is missing or null in config.json; bfloat16 is used",
}


@pytest.mark.parametrize("value", ["absent", None])
@pytest.mark.parametrize("field", FALLBACKS)
def test_missing_field_warns_with_its_name_and_what_is_used(field, value):
    (warning,) = llama(**{field: value}).warnings
    assert warning.startswith(FALLBACKS[field])


@pytest.mark.parametrize("value", ["absent", None, 0, -1, 4.5, "512", 10**12, float("inf"), True])
@pytest.mark.parametrize("field", ["hidden_size", "num_hidden_layers", "vocab_size", "num_attention_heads"])
def test_essential_field_that_cannot_be_used_is_an_error_with_its_name(field, value):
    with pytest.raises(ValueError, match=field):
        llama(**{field: value})


@pytest.mark.parametrize(
    "field", ["num_key_value_heads", "head_dim", "intermediate_size", "max_position_embeddings"]
)
@pytest.mark.parametrize("value", [0, -1, 4.5, "512", 10**12])
def test_damaged_size_is_an_error_even_where_missing_is_not(field, value):
    with pytest.raises(ValueError, match=rf"{field} is .*; a whole number from 1 to \d+ is needed"):
        llama(**{field: value})


def test_grouped_heads_are_never_guessed():
    """A file that says multi-query or grouped has far fewer key-value heads than query heads."""
    config = read("tiiuae/falcon-180B")
    del config["num_kv_heads"]
    with pytest.raises(ValueError, match=r"num_key_value_heads .* is missing"):
        architectures.build(config)
    assert build("tiiuae/falcon-7b").num_key_value_heads == 1
    assert build("tiiuae/falcon-7b", multi_query=False).num_key_value_heads == 71
    assert "multi_query is missing" in build("tiiuae/falcon-7b", multi_query=None).warnings[0]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("mistralai/Mixtral-8x7B-v0.1", "num_local_experts"),
        ("Qwen/Qwen3-30B-A3B", "num_experts"),
        ("deepseek-ai/DeepSeek-V3", "n_routed_experts"),
        ("openai/gpt-oss-20b", "num_local_experts"),
        ("ai21labs/Jamba-v0.1", "num_experts"),
    ],
)
def test_a_sparse_model_is_never_taken_for_a_dense_one(name, field):
    """Without its experts Mixtral-8x7B would count 7 instead of 47 billion parameters."""
    with pytest.raises(ValueError, match=r"num_experts .*is missing"):
        build(name, **{field: None})
    assert build(name).params_total > 10**10


def test_lists_need_one_entry_a_layer():
    with pytest.raises(ValueError, match="layer_types has 3 entries for 2 layers"):
        llama(layer_types=["full_attention"] * 3)
    with pytest.raises(ValueError, match="layer type 'mirror' is not known for llama"):
        llama(layer_types=["full_attention", "mirror_attention"])
    with pytest.raises(ValueError, match="layer_types is 'full'; a list is needed"):
        llama(layer_types="full")
    with pytest.raises(ValueError, match="attention_bias is 1; true or false is needed"):
        llama(attention_bias=1)


def test_sliding_window_only_where_it_is_used():
    def kinds(**fields):
        return [c.kind for layer in llama(sliding_window=256, **fields).layers for c in layer.caches]

    assert kinds(model_type="mistral") == ["sliding", "sliding"]
    assert kinds(model_type="qwen2") == ["full", "full"]  # Qwen2 needs use_sliding_window
    assert kinds(model_type="qwen2", use_sliding_window=True, max_window_layers=1) == ["full", "sliding"]
    assert kinds(model_type="mistral", max_position_embeddings=256) == [
        "full",
        "full",
    ]  # the window holds it all
    assert kinds(model_type="llama", layer_types=["full_attention", "sliding_attention"]) == [
        "full",
        "sliding",
    ]


def test_nested_text_config_and_what_transformers_leaves_out_of_it():
    """gemma-3-4b-it's own file has six fields in text_config; the rest are transformers' class defaults."""
    text = {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}  # fmt: skip
    model = architectures.build({"model_type": "gemma3", "torch_dtype": "bfloat16", "text_config": text})
    assert model.params_text == build("google/gemma-3-4b-it").params_text
    assert {w.split(" is ")[0] for w in model.warnings if "leaves out" in w} == {
        "num_attention_heads", "head_dim", "num_key_value_heads", "vocab_size", "max_position_embeddings",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("outer", "inner", "tied"),
    [(True, False, True), (False, True, False), (None, True, True), (None, None, False)],
)
def test_outer_tie_word_embeddings_wins(outer, inner, tied):
    text = {k: v for k, v in llama().config.items() if k != "tie_word_embeddings"}
    config = {
        "model_type": "llava",
        "text_config": text if inner is None else text | {"tie_word_embeddings": inner},
    }
    config |= {} if outer is None else {"tie_word_embeddings": outer}
    assert architectures.build(config).tie_word_embeddings is tied


def outcome(config):
    try:
        return architectures.build(config).name
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize(
    "name",
    ["configs/qwen2-moe-dense-layers.json", "XiaomiMiMo/MiMo-V2-Flash", "configs/falcon-new-grouped.json"],
)
def test_any_damaged_field_gives_one_clear_line_or_a_model(name):
    good = read(name)
    for field in good:
        for junk in ("x", -1, 1.5, 10**12, [], [1, "a"], {}, None):
            assert "\n" not in outcome({**good, field: junk})
