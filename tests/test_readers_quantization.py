"""Each method's own words in config.json, the names a user types, and the lists of what stays plain."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vramlib import catalog, readers
from vramlib.readers.format_methods import METHODS
from vramlib.readers.format_names import file_types, row, rows
from vramlib.readers.formats import mixed, quantization
from vramlib.readers.ignore import applies, attach, ignored
from vramlib.specs import Tensor


def of(**declared):
    return quantization({"quantization_config": declared})


def compressed(form="pack-quantized", ignore=("lm_head",), **weights):
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    return of(quant_method="compressed-tensors", format=form, config_groups=groups, ignore=list(ignore))


def bits(spec):
    """Bits a weight in a large matrix, scales included."""
    group = {-1: 10**9, 0: 10**9}.get(spec.group_size, spec.group_size) * spec.block_rows
    second = spec.second_bits / spec.second_size if spec.second_size else 0
    return spec.weight_bits + (spec.scale_bits + spec.zero_point_bits) / group + second


@pytest.mark.parametrize(
    ("declared", "name", "expected"),
    [
        # Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4, -GPTQ-Int8
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}, "gptq", 4.15625),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, "gptq-int8", 8.1875),
        # Qwen/Qwen2.5-7B-Instruct-AWQ
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}, "awq", 4.15625),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, "awq", 4.3125),
        # deepseek-ai/DeepSeek-V3, neuralmagic/…-FP8, meta-llama/Llama-3.1-405B-Instruct-FP8
        ({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}, "fp8-block", 8 + 32 / 16384),
        ({"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}, "fp8", 8),
        ({"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"]}, "fp8-channel", 8),
        # bitsandbytes
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "nf4", 4.5),
        (
            {"quant_method": "bitsandbytes", "_load_in_4bit": True, "bnb_4bit_use_double_quant": True},
            "nf4-double-quant",
            4 + 8 / 64 + 32 / (64 * 256),
        ),
        ({"load_in_8bit": True, "llm_int8_skip_modules": None}, "int8", 8),
        # openai/gpt-oss-20b
        ({"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}, "mxfp4", 4.25),
        # nvidia's ModelOpt, in config.json and in its own file
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}, "nvfp4", 4.5),
        ({"producer": {}, "quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}, "fp8", 8),
        # Intel's AutoRound
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128, "packing_format": "auto_round:auto_gptq"},
         "gptq", 4.15625),
        ({"quant_method": "intel/auto-round", "bits": 4, "packing_format": "auto_round:auto_awq"}, "awq", 4.15625),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}}},
         "fp8", 8),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8WeightOnlyConfig"}}}, "fp8-channel", 8),
        ({"quant_method": "torchao", "quant_type": "int4_weight_only"}, "w4a16-asym", 4.15625),
        ({"quant_method": "mxfp8"}, "mxfp8", 8.25),
    ],
)  # fmt: skip
def test_each_method_in_its_own_words(declared, name, expected):
    found = quantization({"quantization_config": declared})
    assert found.name == name
    assert bits(found) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("weights", "form", "name", "expected"),
    [
        ({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}, "pack-quantized",
         "w4a16", 4.125),
        ({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": False}, "pack-quantized",
         "w4a16-asym", 4.15625),
        ({"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}, "int-quantized", "w8a8", 8),
        ({"num_bits": 8, "type": "float", "strategy": "channel"}, "float-quantized", "fp8-channel", 8),
        ({"num_bits": 8, "type": "float", "strategy": "tensor"}, "float-quantized", "fp8", 8),
        ({"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]}, "float-quantized",
         "fp8-block", 8 + 32 / 16384),
        ({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}, "nvfp4-pack-quantized",
         "nvfp4", 4.5),
        ({"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}, "mxfp4-pack-quantized",
         "mxfp4", 4.25),
    ],
)  # fmt: skip
def test_compressed_tensors(weights, form, name, expected):
    found = compressed(form, **weights)
    assert (found.name, found.ignore) == (name, ("lm_head",))
    assert bits(found) == pytest.approx(expected, abs=1e-6)
    assert "attention" not in found.keep


def test_it_may_stand_in_several_places():
    inside = {"quant_method": "gptq", "bits": 4}
    for config in (
        {"quantization_config": inside},
        {"text_config": {"quantization_config": inside}},
        {"compression_config": inside},
    ):
        assert quantization(config).name == "gptq"
    assert quantization({"quantization_config": None, "text_config": None}) is None


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"quant_method": "exl9"}, "'exl9' is not known"),
        ({"bits": 4, "group_size": 64}, "names no quant_method"),
        ({"quant_method": "gptq", "bits": "four"}, "bits is 'four'"),
        ({"quant_method": "gptq", "bits": 0}, "0 bits"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, r"weight_block_size is \[128\]"),
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, "fp8"),
        ({"quant_method": "compressed-tensors"}, "config_groups is missing"),
        ({"quant_method": "modelopt", "quant_algo": "FP1"}, "'FP1' is not known"),
    ],
)
def test_what_makes_no_sense_is_refused(declared, message):
    with pytest.raises(ValueError, match=message):
        quantization({"quantization_config": declared})


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, True),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, False),
        ({"config_groups": {"a": {"weights": {"num_bits": 4}}, "b": {"weights": {"num_bits": 8}}}}, True),
        ({"config_groups": {"a": {"weights": {"num_bits": 4}}, "b": {"weights": {"num_bits": 4}}}}, False),
    ],
)
def test_several_formats_in_one_file_are_noticed(declared, expected):
    assert mixed({"quantization_config": declared}) is expected


def test_gpt_oss_compresses_only_its_experts():
    model = catalog.model("gpt-oss-20b")
    linear = [t for t in model.layers[0].tensors if t.linear]
    compressed_roles = {t.role for t in linear if applies(model.quantization, f"model.layers.0.{t.name}", t)}
    assert compressed_roles == {"expert"}


NAMES = [
    ("lm_head", "lm_head.weight", True),
    ("re:.*lm_head", "lm_head.weight", True),
    ("re:.*mlp.gate$", "model.layers.3.mlp.gate.weight", True),
    ("re:.*mlp.gate$", "model.layers.3.mlp.gate_proj.weight", False),
    ("mlp.gate", "model.layers.3.mlp.gate.weight", True),
    ("mlp.gate", "model.layers.3.mlp.gate_proj.weight", False),
    ("model.layers.0.", "model.layers.0.mlp.up_proj.weight", True),
    ("model.layers.1", "model.layers.11.mlp.up_proj.weight", False),
    ("model.layers.*.self_attn*", "layers.7.self_attn.q_proj.weight", True),
    ("model.language_model.layers.0.linear_attn.in_proj_a", "layers.0.linear_attn.in_proj_a.weight", True),
    ("re:model[.]layers[.]0[.].*", "layers.0.self_attn.q_proj.weight", True),
    ("model.layers.3.mlp.experts.0.down_proj", "layers.3.mlp.experts.*.down_proj.weight", True),
    (r"re:.*experts\.\d+\.down_proj", "layers.3.mlp.experts.*.down_proj.weight", True),
    ("visual", "model.visual.blocks.0.attn.qkv.weight", True),
    ("*.mlp.shared_expert_gate", "layers.2.mlp.shared_expert_gate.weight", True),
]


@pytest.mark.parametrize(("pattern", "name", "expected"), NAMES)
def test_patterns_as_the_formats_define_them(pattern, name, expected):
    assert ignored((pattern,), name) is expected


def test_targets_that_are_not_all_layers_leave_the_others():
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
    groups = {"group_0": {"targets": ["re:.*mlp.experts.*"], "weights": weights}}
    found = of(quant_method="compressed-tensors", format="pack-quantized", config_groups=groups)
    assert ignored(found.ignore, "model.layers.0.self_attn.q_proj.weight")
    assert not ignored(found.ignore, "model.layers.0.mlp.experts.*.up_proj.weight")


def test_attached_exceptions_need_no_names_afterwards():
    model = catalog.model("Llama-3.1-8B")
    quant = of(quant_method="awq", bits=4, modules_to_not_convert=["model.layers.0.", "self_attn.o_proj"])
    layers = attach(model, quant).layers
    assert not any(t.linear for t in layers[0].tensors)
    assert [t.name for t in model.layers[1].tensors if t.linear and t not in layers[1].tensors] == [
        "self_attn.o_proj.weight"
    ]
    assert len(attach(model, quant).layer_counts) == 2


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("awq", "awq"), ("AWQ_Marlin", "awq"), ("gptq_marlin", "gptq"), ("fp8", "fp8"), ("int4", "awq"),
        ("bitsandbytes", "nf4"), ("compressed-tensors", "w4a16"), ("compressed_tensors", "w4a16"),
        ("modelopt_fp4", "nvfp4"), ("Q6_K", "Q6_K"), ("q4_k_m", "Q4_K_M"), ("Q4_0", "Q4_0"), ("w8a8", "w8a8"),
        ("fp8-block", "fp8-block"), ("nf4", "nf4"), ("gguf", None),
    ],
)  # fmt: skip
def test_names_that_a_user_types(text, name):
    if name is None:
        with pytest.raises(ValueError, match="no quantization named 'gguf'"):
            readers.quantization_named(text)
    else:
        assert readers.quantization_named(text).name == name


@pytest.mark.parametrize("text", ["none", "fp16", "FP16", "bf16", "bfloat16", "float32"])
def test_words_for_plain_weights(text):
    assert readers.quantization_named(text, catalog.model("DeepSeek-V3")) is None


def test_a_familys_word_means_the_models_own_format():
    deepseek = catalog.model("DeepSeek-V3")
    assert readers.quantization_named("fp8", deepseek) is deepseek.quantization
    assert readers.quantization_named("compressed-tensors", deepseek) is deepseek.quantization
    assert readers.quantization_named("awq", deepseek).name == "awq"


@pytest.mark.parametrize(("text", "near"), [("awk", "awq"), ("fp88", "fp8"), ("Q4_K_N", "Q4_K")])
def test_an_unknown_word_offers_the_nearest(text, near):
    with pytest.raises(ValueError, match=rf"no quantization named '{text}'; nearest: .*{near}"):
        readers.quantization_named(text)


def test_gguf_blocks_are_exact():
    for name, spec in rows().items():
        if name.isupper() and spec.group_size > 1:
            total = spec.weight_bits * spec.group_size + spec.scale_bits
            assert total % 8 == 0
    assert bits(row("Q4_K")) == 4.5
    assert bits(row("Q6_K")) == 6.5625
    assert bits(file_types()["Q4_K_M"]) == pytest.approx(4.8944, abs=1 / 512)


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.text(max_size=6)
    | st.lists(st.integers(-2, 300), max_size=3)
)
VALUES |= st.dictionaries(
    st.sampled_from(["weights", "a", "default", "_type", "num_bits"]), VALUES, max_size=2
)
KEYS = [
    "bits",
    "group_size",
    "weight_block_size",
    "config_groups",
    "quant_algo",
    "ignore",
    "load_in_4bit",
    "quant_type",
]
KEYS += [
    "modules_to_not_convert",
    "global_quant_config",
    "quantization",
    "dynamic",
    "extra_config",
    "lm_head",
    "format",
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([*METHODS, "x"]), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_no_declaration_raises_anything_but_a_value_error(method, declared):
    with contextlib.suppress(ValueError):
        found = quantization({"quantization_config": {"quant_method": method, **declared}})
        if found:
            applies(found, "model.layers.0.mlp.up_proj.weight", Tensor(name="a", shape=(2, 2), linear=True))
