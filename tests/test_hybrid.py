"""Recurrent and hybrid families: every tensor, every state, and how engines cut and size them."""

import json
from collections import Counter

import pytest

from vramlib import architectures
from vramlib._paths import data_dir
from vramlib.components import state
from vramlib.components.model_weights import rank_shape
from vramlib.specs import Cache
from vramlib.units import ceil_div

# Published checkpoints' totals and active parameters in billions as printed (data/models, and the sources named there).
COUNTS = {
    "state-spaces--mamba-2.8b-hf": (2768345600, 2.768),
    "mistralai--Mamba-Codestral-7B-v0.1": (7285403648, 7.285),
    "tiiuae--falcon-mamba-7b": (7272665088, 7.273),
    "tiiuae--Falcon-H1-7B-Base": (7585648736, 7.586),
    "nvidia--Nemotron-H-8B-Base-8K": (8100852736, 8.101),
    "nvidia--Nemotron-H-47B-Reasoning-128K": (46791554816, 46.792),
    "nvidia--Nemotron-H-56B-Base-8K": (56324350464, 56.324),
    "nvidia--NVIDIA-Nemotron-Nano-9B-v2": (8888227328, 8.888),
    "nvidia--NVIDIA-Nemotron-Nano-12B-v2": (12310001152, 12.31),
    "nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-BF16": (120668707840, 12.77),
    "MiniMaxAI--MiniMax-M1-80k": (456089655296, 48.403),
    "moonshotai--Kimi-Linear-48B-A3B-Instruct": (49122681728, 3.484),
    "ibm-granite--granite-4.0-h-small": (32207337984, 8.803),
    "ibm-granite--granite-4.0-h-tiny": (6939037248, 1.465),
    "ibm-granite--granite-4.0-h-micro": (3191396096, 3.191),
    "LiquidAI--LFM2-1.2B": (1170340608, 1.17),
    "Qwen--Qwen3.5-9B": (9409813744, 8.954),
    "Qwen--Qwen3.5-27B": (27356728560, 26.896),
    "Qwen--Qwen3.5-122B-A10B": (122562817776, 9.771),
    "Qwen--Qwen3.5-397B-A17B": (396802360816, 17.349),
}
# Tiny and full-size configs of each family; parameters counted on transformers' own models built without memory
# (transformers 5.23, meta device), router-bias buffers added. Shapes agree too, tensor by tensor.
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
TINY = {"hidden_size": 64, "vocab_size": 100}
JAMBA = {"model_type": "jamba", "vocab_size": 65536, "hidden_size": 4096, "intermediate_size": 14336}
JAMBA |= {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "num_experts": 16}
JAMBA |= {
    "num_experts_per_tok": 2,
    "expert_layer_period": 2,
    "expert_layer_offset": 1,
    "attn_layer_period": 8,
}
JAMBA |= {
    "attn_layer_offset": 4,
    "mamba_d_state": 16,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_dt_rank": 256,
}
JAMBA |= {"tie_word_embeddings": False, "torch_dtype": "bfloat16", "max_position_embeddings": 262144}
NEXT = {"model_type": "qwen3_next", "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5120}
NEXT |= {"num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256}
NEXT |= {"full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128}
NEXT |= {"linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32}
NEXT |= {"moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "num_experts": 512}
NEXT |= {"num_experts_per_tok": 10, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
NEXT |= {"max_position_embeddings": 262144}
BAMBA = {"model_type": "bamba", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336}
BAMBA |= {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "mamba_d_head": "auto",
}
BAMBA |= {"attn_layer_indices": [9, 18, 27], "mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_state": 128}
FALCON_H1 = TINY | HEADS | {"model_type": "falcon_h1", "num_hidden_layers": 2, "intermediate_size": 64}
FALCON_H1 |= {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_ssm": 128, "mamba_d_state": 16}
FALCON_H1 |= {"mamba_rms_norm": False}
NEMOTRON = TINY | HEADS | {"model_type": "nemotron_h", "num_hidden_layers": 4, "intermediate_size": 96}
NEMOTRON |= {"hybrid_override_pattern": "M*-E", "mamba_num_heads": 8, "mamba_head_dim": 16, "n_groups": 2}
NEMOTRON |= {
    "ssm_state_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
NEMOTRON |= {"n_shared_experts": 1, "moe_shared_expert_intermediate_size": 48, "tie_word_embeddings": False}
LFM2 = {"hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": True}
LFM2_DENSE = LFM2 | {
    "model_type": "lfm2",
    "vocab_size": 100,
    "num_hidden_layers": 3,
    "intermediate_size": 12288,
}
LFM2_DENSE |= {"layer_types": ["conv", "conv", "full_attention"], "block_ffn_dim_multiplier": 1.0}
LFM2_MOE = LFM2 | {"model_type": "lfm2_moe", "vocab_size": 1000, "num_hidden_layers": 4, "num_experts": 32}
LFM2_MOE |= {"layer_types": ["conv", "conv", "full_attention", "conv"], "intermediate_size": 7168}
LFM2_MOE |= {"moe_intermediate_size": 1792, "num_experts_per_tok": 4, "num_dense_layers": 2}
GRIFFIN = {"model_type": "recurrent_gemma", "vocab_size": 256000, "hidden_size": 2560, "lru_width": 2560}
GRIFFIN |= {"intermediate_size": 15360, "num_hidden_layers": 26, "num_attention_heads": 10}
GRIFFIN |= {"num_key_value_heads": 1, "attention_window_size": 2048}
MINIMAX = TINY | HEADS | {"model_type": "minimax", "num_hidden_layers": 2, "intermediate_size": 96}
MINIMAX |= {"num_local_experts": 2, "num_experts_per_tok": 1, "attn_type_list": [0, 1]}
MINIMAX |= {"tie_word_embeddings": False}
MAMBA2 = {"model_type": "mamba2", "num_hidden_layers": 2, "state_size": 16, "num_heads": 8, "head_dim": 16}
FAMILIES = [
    (JAMBA, 51570323328),  # Jamba-v0.1
    (NEXT, 79674391296),  # Qwen3-Next-80B-A3B
    (BAMBA, 9780235392),
    (FALCON_H1, 118192),
    (NEMOTRON, 90776 + 4),
    (LFM2_DENSE, 195266688),
    (LFM2_MOE, 855756928 + 2 * 32),
    (GRIFFIN, 2682862080),
    (MINIMAX, 119936),
    (TINY | {"model_type": "mamba", "num_hidden_layers": 2, "use_bias": True}, 72512),
    (TINY | MAMBA2 | {"n_groups": 2, "use_bias": True}, 74368),
]
MiB = 1 << 20


def catalogue(name):
    return architectures.build(
        json.loads((data_dir() / "models" / f"{name}.json").read_text(encoding="utf-8"))
    )


def caches(model):
    """How many layers keep each distinct cache."""
    found = Counter()
    for layer, n in model.layer_counts:
        found.update(dict.fromkeys(layer.caches, n))
    return found


def state_of(model):
    (cache,) = {c for c in caches(model) if c.is_state}
    return cache


@pytest.mark.parametrize("name", COUNTS)
def test_published_totals_are_exact(name):
    model, (total, active) = catalogue(name), COUNTS[name]
    digits = len(str(active).partition(".")[2])
    assert model.params_total == total
    assert round(model.params_active / 1e9, digits) == active


@pytest.mark.parametrize(("config", "params"), FAMILIES, ids=lambda v: str(v)[:40])
def test_families_have_every_parameter_of_the_meta_device(config, params):
    assert architectures.build(config).params_total == params


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("state-spaces--mamba-2.8b-hf", {"mamba1": 64}),
        ("mistralai--Mamba-Codestral-7B-v0.1", {"mamba2": 64}),
        ("tiiuae--Falcon-H1-7B-Base", {"full": 44, "mamba2": 44}),  # both in every layer
        ("nvidia--Nemotron-H-8B-Base-8K", {"mamba2": 24, "full": 4}),  # 24 further layers are MLPs
        ("nvidia--NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16", {"mamba2": 48, "full": 12}),
        ("moonshotai--Kimi-Linear-48B-A3B-Instruct", {"linear": 20, "full": 7}),
        ("MiniMaxAI--MiniMax-M1-80k", {"linear": 70, "full": 10}),
        ("ibm-granite--granite-4.0-h-tiny", {"mamba2": 36, "full": 4}),
        ("LiquidAI--LFM2-1.2B", {"conv": 10, "full": 6}),
        ("Qwen--Qwen3.5-27B", {"linear": 48, "full": 16}),
    ],
)
def test_each_layer_keeps_what_its_mixer_needs(name, kinds):
    found = Counter()
    for cache, n in caches(catalogue(name)).items():
        found[cache.kind] += n
    assert found == kinds


def test_other_spellings_give_the_same_layers():
    listed = ["attention" if i % 8 == 4 else "mamba" for i in range(32)]
    assert (
        architectures.build(JAMBA | {"layers_block_type": listed}).layers == architectures.build(JAMBA).layers
    )
    types = ["full_attention" if (i + 1) % 4 == 0 else "linear_attention" for i in range(48)]
    assert architectures.build(NEXT | {"layer_types": types}).layers == architectures.build(NEXT).layers
    words = {"layers_block_type": ["mamba", "attention", "mlp", "moe"], "hybrid_override_pattern": None}
    bare = {k: v for k, v in (NEMOTRON | words).items() if k != "num_hidden_layers"}
    assert architectures.build(bare).layers == architectures.build(NEMOTRON).layers


def test_first_lfm2_files_name_the_width_block_ff_dim():
    """LFM2-1.2B's own file: 12,288 before, 8,192 after two thirds are taken and rounded up to 256."""
    own = {k: v for k, v in LFM2_DENSE.items() if k != "intermediate_size"} | {"block_ff_dim": 12288}
    model = architectures.build(own)
    assert model.params_total == 195266688
    assert model.layers[0].mlp_width == 8192


def test_qwen3_next_state_as_vllm_and_as_transformers_store_it():
    """49,152 + 1,048,576 B in bfloat16 in vLLM; K columns and a float32 state in transformers."""
    cache = state_of(architectures.build(NEXT))
    assert state.state_bytes(cache) == 49_152 + 1_048_576
    assert state.state_bytes(cache, tp=2) == (49_152 + 1_048_576) // 2
    assert state.state_bytes(cache, state_bits=32) == 49_152 + 2_097_152
    assert state.state_bytes(cache, num_speculative_tokens=2) == 5 * 8192 * 2 + 1_048_576
    assert state.transformers_state_bytes(cache) == 65_536 + 2_097_152


@pytest.mark.parametrize(("state_bits", "block_size"), [(16, 544), (32, 1056)])
def test_qwen3_next_block_size_follows_from_its_state(state_bits, block_size):
    """Public start-up logs print 544 tokens and 1.49 % padding for the bfloat16 state."""
    model = architectures.build(NEXT)
    (row,) = (c for c in caches(model) if c.kind == "full")
    token = row.num_key_value_heads * (row.head_dim + row.v_head_dim) * 2
    size = state.state_bytes(state_of(model), state_bits=state_bits)
    assert token == 2048
    assert 16 * ceil_div(size, 16 * token) == block_size


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("state-spaces--mamba-2.8b-hf", 3 * 5120 * 2 + 5120 * 16 * 2),
        ("mistralai--Mamba-Codestral-7B-v0.1", 3 * (8192 + 2 * 8 * 128) * 2 + 128 * 64 * 128 * 2),
        ("MiniMaxAI--MiniMax-M1-80k", 64 * 128 * 128 * 2),
        ("LiquidAI--LFM2-1.2B", 2 * 2048 * 2),
        ("ibm-granite--granite-4.0-h-small", 3 * (8192 + 2 * 128) * 2 + 128 * 64 * 128 * 2),
    ],
)
def test_states_follow_the_formulas_of_vllm(name, expected):
    assert state.state_bytes(state_of(catalogue(name))) == expected


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-BF16", "float32"),  # mamba_ssm_cache_dtype
        ("Qwen--Qwen3.5-27B", "float32"),  # mamba_ssm_dtype
        ("moonshotai--Kimi-Linear-48B-A3B-Instruct", "float32"),  # delta attention always
        ("nvidia--Nemotron-H-8B-Base-8K", ""),
    ],
)
def test_a_forced_type_of_the_state_is_kept(name, dtype):
    assert state_of(catalogue(name)).state_dtype == dtype


# Read from the caches of small models after a forward in bfloat16 (transformers 5.23): shapes of the convolution and
# of the recurrent state, bytes of one number of the latter.
TRANSFORMERS = [
    (Cache(kind="mamba1", conv_dim=128, conv_kernel=4, state_elements=128 * 16), (128, 4), (128, 16), 4),
    (
        Cache(
            kind="mamba2",
            conv_dim=192,
            conv_group_dim=64,
            num_groups=2,
            conv_kernel=4,
            state_elements=8 * 16 * 16,
        ),
        *((192, 4), (8, 16, 16), 4),
    ),
    (Cache(kind="linear", conv_dim=192, conv_kernel=4, state_elements=4 * 16 * 16), (192, 4), (4, 16, 16), 4),
    (
        Cache(kind="linear", state_elements=4 * 16 * 16),
        (0, 0),
        (4, 16, 16),
        2,
    ),  # MiniMax: in the model's type
    (Cache(kind="conv", conv_dim=64, conv_kernel=3), (64, 3), (0, 0, 0), 4),
]


@pytest.mark.parametrize(("cache", "conv", "recurrent", "width"), TRANSFORMERS, ids=lambda v: str(v)[:30])
def test_transformers_keeps_all_columns_and_a_wide_state(cache, conv, recurrent, width):
    numbers = 1
    for n in recurrent:
        numbers *= n
    assert state.transformers_state_bytes(cache) == conv[0] * conv[1] * 2 + numbers * width


def test_groups_repeat_when_ranks_outnumber_them():
    """Granite has one group of B and C: each rank needs it whole, in weights and in the convolution's state."""
    model = catalogue("ibm-granite--granite-4.0-h-small")
    cache = state_of(model)
    assert state.conv_channels(cache, tp=4) == 8192 // 4 + 2 * 128
    (layer,) = {la for la, _ in model.layer_counts if any(c.is_state for c in la.caches)}
    rows = [rank_shape(t, tp=4) for t in layer.tensors if t.name == "mamba.in_proj.weight"]
    assert [r[0] for r in rows] == [2 * 8192 // 4, 2 * 128, 128 // 4]


def test_states_cost_the_same_at_any_length():
    """128 sequences of Codestral: 64 layers, whatever their lengths."""
    cache = state_of(catalogue("mistralai--Mamba-Codestral-7B-v0.1"))
    assert 64 * 128 * state.state_bytes(cache) == 16_864 * MiB


def test_attention_rows_are_no_state():
    with pytest.raises(ValueError, match="a full cache grows with the tokens"):
        state.state_bytes(Cache(kind="full", num_key_value_heads=8, head_dim=128, v_head_dim=128))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NEMOTRON | {"hybrid_override_pattern": "M*-X"}, "hybrid_override_pattern has 'X'; known"),
        (NEMOTRON | {"hybrid_override_pattern": "M*"}, "has 2 entries for 4 layers"),
        (NEMOTRON | {"hybrid_override_pattern": None}, "hybrid_override_pattern is missing"),
        (NEXT | {"layer_types": ["linear_attention"] * 47 + ["odd"]}, "layer_types has 'odd'; known"),
        (BAMBA | {"attn_layer_indices": 9}, "attn_layer_indices is 9; a list"),
        (BAMBA | {"mamba_n_heads": None}, "mamba_num_heads or mamba_n_heads or num_heads is missing"),
        (MINIMAX | {"attn_type_list": [1]}, "attn_type_list has 1 entries for 2 layers"),
    ],
)
def test_damaged_configs_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        architectures.build(config)
