"""Inventories from config.json: exact counts, caches, cuts, rope tables."""

import csv
from collections import Counter

import pytest
from example_model import HERE, build, llama

COUNTS = list(csv.DictReader((HERE / "param_counts.csv").open(encoding="utf-8")))


def tensors(layer):
    return {t.name: t for t in layer.tensors}


def numbers_per_token(model):
    """Cached numbers per token of all layers that grow with the text."""
    caches = Counter(c for layer in model.layers for c in layer.caches if c.kind == "full")
    each = {c: c.latent_dim or c.num_key_value_heads * (c.head_dim + c.v_head_dim) for c in caches}
    return sum(n * each[c] for c, n in caches.items())


@pytest.mark.parametrize("row", COUNTS, ids=[r["model_id"] for r in COUNTS])
def test_parameters_are_exact(row):
    """Counted by transformers on the meta device, most of them checked against checkpoint sums (see the rows)."""
    model = build(row["model_id"])
    assert model.params_text == int(row["params_text"])
    assert model.params_total == int(row["params_total"])


# Parameters that a token passes through, text only, in billions as printed in the models' cards and papers,
# or counted from the same inventories that transformers builds (three digits).
ACTIVE = {
    "mistralai/Mixtral-8x7B-v0.1": "12.880", "meta-llama/Llama-4-Maverick-17B-128E-Instruct": "17.185",
    "Qwen/Qwen1.5-MoE-A2.7B": "2.689", "Qwen/Qwen2-57B-A14B": "14.249", "Qwen/Qwen3-30B-A3B": "3.353",
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": "35.475", "google/gemma-4-26B-A4B-it": "3.823",
    "microsoft/Phi-3.5-MoE-instruct": "6.641", "deepseek-ai/deepseek-moe-16b-base": "2.829",
    "deepseek-ai/DeepSeek-V2": "21.376", "deepseek-ai/DeepSeek-V3": "37.552", "moonshotai/Kimi-K2.5": "32.862",
    "deepseek-ai/DeepSeek-V3.2": "38.404", "zai-org/GLM-4.5": "33.632", "zai-org/GLM-5": "41.785",
    "openai/gpt-oss-20b": "4.187", "allenai/OLMoE-1B-7B-0924": "1.282", "MiniMaxAI/MiniMax-M2.5": "11.031",
    "baidu/ERNIE-4.5-21B-A3B-Thinking": "3.352", "tencent/Hunyuan-A13B-Instruct": "12.747", "xai-org/grok-1": "83.757",
    "XiaomiMiMo/MiMo-V2-Flash": "15.446", "zai-org/GLM-4.7-Flash": "3.897", "upstage/Solar-Open-100B": "12.055",
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVE)
def test_active_parameters(name):
    assert f"{build(name).params_active / 1e9:.3f}" == ACTIVE[name]


# Cached bytes per token in 16 bit, all layers. Llama-3.1-8B and Falcon-7B: DynamicCache of transformers 5.23;
# DeepSeek-V3: 61 latent rows of 576; gpt-oss-20b: its 12 full layers; the others from their papers' shapes.
PER_TOKEN = {
    "meta-llama/Llama-3.1-8B": 131072, "meta-llama/Llama-2-13b-hf": 819200, "meta-llama/Llama-3.1-70B": 327680,
    "Qwen/Qwen3-30B-A3B": 98304, "deepseek-ai/DeepSeek-V3": 70272, "openai/gpt-oss-20b": 24576,
    "tiiuae/falcon-7b": 2 * 32 * 64 * 2, "deepseek-ai/DeepSeek-V2-Lite": 27 * 576 * 2,
}  # fmt: skip


@pytest.mark.parametrize("name", PER_TOKEN)
def test_cached_bytes_per_token(name):
    assert 2 * numbers_per_token(build(name)) == PER_TOKEN[name]


# Layers of each kind that cache: from the families' papers and transformers' own layer_types.
KINDS = {
    "google/gemma-3-27b-it": {"sliding": 52, "full": 10}, "google/gemma-2-9b": {"sliding": 21, "full": 21},
    "openai/gpt-oss-20b": {"sliding": 12, "full": 12}, "mistralai/Mistral-7B-v0.1": {"sliding": 32},
    "Qwen/Qwen2.5-7B": {"full": 28}, "meta-llama/Llama-4-Maverick-17B-128E-Instruct": {"chunked": 36, "full": 12},
    "meta-llama/Llama-3.2-11B-Vision-Instruct": {"full": 32, "cross": 8},
    "google/gemma-4-E4B-it": {"sliding": 20, "full": 4},  # 18 of 42 layers share another's keys and values
    "XiaomiMiMo/MiMo-V2-Flash": {"sliding": 39, "full": 9}, "microsoft/Phi-4-mini-instruct": {"full": 32},
    "nvidia/Llama-3_1-Nemotron-Ultra-253B-v1": {"full": 64},  # 98 of 162 layers have no attention
    "allenai/Olmo-3-7B-Instruct": {"sliding": 24, "full": 8},
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_layer_kinds(name):
    assert Counter(c.kind for layer in build(name).layers for c in layer.caches) == KINDS[name]


def test_layers_with_heads_of_their_own():
    local, full = (
        build("google/gemma-4-26B-A4B-it").layers[0].caches[0],
        build("google/gemma-4-26B-A4B-it").layers[5],
    )
    assert (local.num_key_value_heads, local.head_dim, local.window) == (8, 256, 1024)
    assert (full.caches[0].num_key_value_heads, full.caches[0].head_dim, full.caches[0].window) == (2, 512, 0)
    assert "self_attn.v_proj.weight" not in tensors(full)  # keys serve as values
    mimo = build("XiaomiMiMo/MiMo-V2-Flash").layers
    assert [(one.caches[0].num_key_value_heads, one.caches[0].v_head_dim) for one in mimo[:2]] == [
        (4, 128),
        (8, 128),
    ]


def test_sparse_attention_keeps_an_index_only_where_it_is_stored():
    assert {one.caches[0].indexer_dim for one in build("deepseek-ai/DeepSeek-V3.2").layers} == {128}
    shared = build("zai-org/GLM-5.2").layers
    assert [one.caches[0].indexer_dim for one in shared[:7]] == [128, 128, 128, 0, 0, 0, 128]


def test_cuts_of_a_llama_layer():
    layer = tensors(llama(attention_bias=True, mlp_bias=True).layers[0])
    cut = {name: (t.shape, t.split, t.heads, t.fuse) for name, t in layer.items()}
    assert cut["self_attn.q_proj.weight"] == ((512, 512), "out", 0, "qkv_proj")
    assert cut["self_attn.k_proj.weight"] == ((128, 512), "kv", 2, "qkv_proj")
    assert cut["self_attn.k_proj.bias"] == ((128,), "kv", 2, "qkv_proj.bias")
    assert cut["self_attn.o_proj.weight"] == ((512, 512), "in", 0, "")
    assert cut["self_attn.o_proj.bias"] == ((512,), "none", 0, "")
    assert cut["mlp.gate_proj.weight"] == ((1024, 512), "out", 0, "gate_up_proj")
    assert cut["mlp.down_proj.weight"] == ((512, 1024), "in", 0, "")
    assert cut["input_layernorm.weight"] == ((512,), "none", 0, "")
    assert not layer["input_layernorm.weight"].linear


def test_cuts_of_latent_attention_and_experts():
    layer = tensors(build("deepseek-ai/DeepSeek-V3").layers[60])
    assert [layer[f"self_attn.{n}.weight"].split for n in ("q_a_proj", "kv_a_proj_with_mqa")] == [
        "none",
        "none",
    ]
    assert {layer[f"self_attn.{n}.weight"].fuse for n in ("q_a_proj", "kv_a_proj_with_mqa")} == {
        "fused_qkv_a_proj"
    }
    assert [layer[f"self_attn.{n}.weight"].split for n in ("q_b_proj", "kv_b_proj", "o_proj")] == [
        "out",
        "out",
        "in",
    ]
    up, down = layer["mlp.experts.*.up_proj.weight"], layer["mlp.experts.*.down_proj.weight"]
    assert (up.count, up.shape, up.split, up.fuse, up.role) == (
        256,
        (2048, 7168),
        "out",
        "experts.w13",
        "expert",
    )
    assert (down.count, down.shape, down.split, down.fuse) == (256, (7168, 2048), "in", "experts.w2")
    bias = layer["mlp.gate.e_score_correction_bias"]
    assert (bias.shape, bias.dtype, bias.role) == ((256,), "float32", "router")


def test_rows_of_one_stored_tensor_share_its_name():
    model = build("microsoft/Phi-3-mini-4k-instruct")
    rows = Counter()
    for t in model.layers[0].tensors:
        rows[t.name] += t.shape[0]
    assert rows["self_attn.qkv_proj.weight"] == 9216  # transformers: [9216, 3072]
    assert rows["mlp.gate_up_proj.weight"] == 16384
    assert model.fused_gate_up
    assert not build("meta-llama/Llama-3.1-8B").fused_gate_up


def test_tied_embedding_is_stored_once():
    assert [t.name for t in build("meta-llama/Llama-3.2-1B").head] == ["norm.weight"]
    assert sum(t.num_params for t in build("meta-llama/Llama-3.1-8B").head) == 128256 * 4096 + 4096


# Rows × width. vLLM's rotary_embedding: llama3 keeps the config's limit, yarn original × factor, linear limit × factor,
# longrope the short and the long table, multimodal rope four times the limit, ALiBi and learned positions none.
TABLES = {
    "meta-llama/Llama-3.1-8B": ((131072, 128),), "deepseek-ai/DeepSeek-V3": ((163840, 64),),
    "google/gemma-3-27b-it": ((1048576, 128), (131072, 128)), "microsoft/Phi-3.5-mini-instruct": ((135168, 96),),
    "EleutherAI/gpt-j-6b": ((2048, 64),), "openai/gpt-oss-20b": ((131072, 64),), "bigscience/bloom-7b1": (),
    "openai-community/gpt2": (), "google/gemma-4-31B-it": ((262144, 512), (262144, 256)),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_rope_tables(name):
    assert build(name).rope_tables == TABLES[name]


def test_multimodal_rope_has_four_times_the_rows():
    scaling = {"mrope_section": [16, 24, 24], "type": "mrope"}
    assert llama(model_type="qwen2_vl", rope_scaling=scaling).rope_tables == ((8192, 64),)


@pytest.mark.parametrize(
    "name", ["meta-llama/Llama-3.1-405B", "deepseek-ai/DeepSeek-V3", "google/gemma-3-27b-it"]
)
def test_equal_layers_are_one_object(name):
    model = build(name)
    assert len({id(one) for one in model.layers}) == len(model.layer_counts) <= 2


def test_layers_add_up():
    two, four = llama(), llama(num_hidden_layers=4)
    assert four.params_total - two.params_total == 2 * two.layers[0].num_params
    assert llama(num_key_value_heads=8).layers[0].num_params - two.layers[0].num_params == 2 * 6 * 64 * 512


def test_unknown_model_type_is_counted_as_llama_like():
    model = llama(model_type="llama9")
    assert model.params_total == llama().params_total
    assert "model_type 'llama9' is not known; counted as llama-like" in model.warnings[0]
    assert llama().warnings == ()
