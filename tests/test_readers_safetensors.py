"""Safetensors headers, their index, and how their tensors replace the inventory's."""

import contextlib
import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from vramlib import catalog, readers
from vramlib.readers import config as readers_config
from vramlib.readers import safetensors as readers_safetensors
from vramlib.readers import templates as readers_templates
from vramlib.specs import Tensor

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 320,
    "max_position_embeddings": 512, "tie_word_embeddings": False, "torch_dtype": "float16",
}  # fmt: skip
MOE = CONFIG | {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 4}
MOE |= {"num_experts_per_tok": 2}


def tensors(config=CONFIG, dtype=np.float16, skip=()):
    """Every tensor of the config's inventory under its checkpoint name."""
    folder_names = {}
    model = readers_config.spec(config, name="made")
    for i, layer in enumerate(model.layers):
        for t in layer.tensors:
            for e in range(t.count):
                name = t.name.replace("*", str(e), 1)
                folder_names[f"model.layers.{i}.{name}"] = np.zeros(t.shape, dtype)
    for t in (*model.embedding, *model.head):
        prefix = "" if t.name.startswith("lm_head") else "model."
        folder_names[prefix + t.name] = np.zeros(t.shape, dtype)
    return {k: v for k, v in folder_names.items() if not any(s in k for s in skip)}


def folder(tmp_path, found, config=CONFIG, name="model.safetensors"):
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(found, tmp_path / name)
    return tmp_path


def stored_bytes(model):
    width = {"float32": 4}.get(model.dtype, 2)
    return sum(n * t.count * (t.nbytes if t.nbytes >= 0 else t.numel * width) for t, n in model.tensors)


def raw(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize("config", [CONFIG, MOE])
def test_a_folder_gives_the_bytes_of_its_file(tmp_path, config):
    found = tensors(config)
    model = readers.model(folder(tmp_path, found, config))
    implied = readers_config.spec(config)
    assert model.warnings == ()
    assert model.exact_bytes
    assert model.params_total == implied.params_total == sum(v.size for v in found.values())
    assert stored_bytes(model) == sum(v.nbytes for v in found.values())
    assert [len(model.layer_counts), model.layer_counts[0][1]] == [1, 3]
    assert {t.role for t in model.layers[0].tensors} == {t.role for t in implied.layers[0].tensors}
    assert model.layers[0].caches == implied.layers[0].caches


def test_file_config_and_folder_are_the_same_model(tmp_path):
    folder(tmp_path, tensors())
    totals = {
        readers.model(p).params_total
        for p in (tmp_path, tmp_path / "config.json", tmp_path / "model.safetensors")
    }
    assert len(totals) == 1


def test_type_of_the_file_wins_over_the_config(tmp_path):
    model = readers.model(folder(tmp_path, tensors(dtype=np.float32)))
    assert model.dtype == "float32"
    assert stored_bytes(model) == 4 * model.params_total


def test_one_float32_tensor_in_a_half_precision_file_keeps_its_type(tmp_path):
    found = tensors() | {"model.norm.weight": np.zeros(64, np.float32)}
    model = readers.model(folder(tmp_path, found))
    assert {t.name: t.dtype for t in model.head}["norm.weight"] == "float32"
    assert stored_bytes(model) == sum(v.nbytes for v in found.values())


def gptq(found):
    """The attention and MLP matrices of a float16 checkpoint as 4-bit GPTQ with groups of 32."""
    out = {}
    for name, value in found.items():
        if not name.endswith("_proj.weight"):
            out[name] = value
            continue
        module, (rows, columns) = name.removesuffix(".weight"), value.shape
        out[f"{module}.qweight"] = np.zeros((columns // 8, rows), np.int32)
        out[f"{module}.qzeros"] = np.zeros((columns // 32, rows // 8), np.int32)
        out[f"{module}.scales"] = np.zeros((columns // 32, rows), np.float16)
        out[f"{module}.g_idx"] = np.zeros(columns, np.int32)
    return out


def test_a_gptq_file_has_exact_bytes_and_logical_parameters(tmp_path):
    found = gptq(tensors())
    config = CONFIG | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}
    model = readers.model(folder(tmp_path, found, config))
    assert model.warnings == ()
    assert model.quantization.group_size == 32
    assert stored_bytes(model) == sum(v.nbytes for v in found.values())
    assert model.params_total == readers_config.spec(CONFIG).params_total
    splits = {t.name: t.split for t in model.layers[0].tensors}
    assert splits["self_attn.o_proj.weight"] == "in"
    assert splits["self_attn.o_proj.g_idx"] == "in"
    assert splits["self_attn.q_proj.g_idx"] == "none"
    assert splits["self_attn.k_proj.scales"] == "kv"


def test_the_formula_gives_the_bytes_of_a_gptq_file(tmp_path):
    """What config.json alone implies is what the file stores."""
    from vramlib.components.model_weights import tensor_bytes

    found = gptq(tensors())
    config = CONFIG | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}
    implied = readers_config.spec(config)
    assert tensor_bytes(implied, quant=implied.quantization) == sum(v.nbytes for v in found.values())
    model = readers.model(folder(tmp_path, found, config))
    assert tensor_bytes(model, quant=model.quantization) == sum(v.nbytes for v in found.values())


def test_stacked_experts_count_one_by_one(tmp_path):
    found = tensors(MOE)
    for i in range(3):
        for part in ("w1", "w2", "w3"):
            each = [
                found.pop(f"model.layers.{i}.block_sparse_moe.experts.{e}.{part}.weight") for e in range(4)
            ]
            found[f"model.layers.{i}.block_sparse_moe.experts.*.{part}.weight"] = np.stack(each)
    model = readers.model(folder(tmp_path, found, MOE))
    assert model.params_total == readers_config.spec(MOE).params_total
    assert {t.count for t in model.layers[0].tensors if t.role == "expert"} == {4}


def test_layers_for_speculation_are_left_out(tmp_path):
    found = tensors() | {"model.layers.3.mlp.up_proj.weight": np.zeros((128, 64), np.float16)}
    found["mtp.fc.weight"] = np.zeros((64, 64), np.float16)
    model = readers.model(folder(tmp_path, found))
    assert model.params_total == readers_config.spec(CONFIG).params_total
    assert "2 tensors (24.00 KiB) of layers that predict further tokens (MTP)" in model.warnings[0]


def test_a_tied_head_stored_twice_counts_once(tmp_path):
    found = tensors()
    model = readers.model(folder(tmp_path, found, CONFIG | {"tie_word_embeddings": True}))
    assert model.params_total == sum(v.size for v in found.values()) - 320 * 64
    assert "counted once" in model.warnings[0]


def test_an_untied_model_without_head_is_taken_as_tied(tmp_path):
    model = readers.model(folder(tmp_path, tensors(skip=["lm_head"])))
    assert model.tie_word_embeddings
    assert "taken as tied" in " ".join(model.warnings)


def test_unknown_tensors_count_whole_and_are_named(tmp_path):
    found = tensors() | {f"model.layers.{i}.adapter.weight": np.zeros((8, 8), np.float16) for i in range(3)}
    model = readers.model(folder(tmp_path, found))
    assert model.params_total == sum(v.size for v in found.values())
    assert "adapter.weight" in model.warnings[0]
    assert [t.split for t in model.layers[0].tensors if "adapter" in t.name] == ["none"]


def test_towers_are_told_from_the_text_model(tmp_path):
    found = tensors() | {
        f"vision_tower.blocks.{i}.mlp.fc1.weight": np.zeros((8, 8), np.float16) for i in range(5)
    }
    found["multi_modal_projector.linear_1.weight"] = np.zeros((8, 8), np.float16)
    model = readers.model(folder(tmp_path, found))
    assert {(t.role, t.count) for t in model.towers} == {("vision", 5), ("projector", 1)}
    assert model.params_total - model.params_text == 6 * 64


def test_files_of_another_model_are_refused(tmp_path):
    folder(tmp_path, {"bert.weight": np.zeros(4, np.float16)})
    with pytest.raises(ValueError, match="hold no layer of this model"):
        readers.model(tmp_path)


def shards(tmp_path, found, missing=(), total=None, config=CONFIG):
    (tmp_path / "config.json").write_text(json.dumps(config))
    files = {name: f"model-{1 + i % 2:05d}-of-00002.safetensors" for i, name in enumerate(sorted(found))}
    for file in set(files.values()) - set(missing):
        save_file({n: found[n] for n, f in files.items() if f == file}, tmp_path / file)
    size = sum(v.nbytes for v in found.values()) if total is None else total
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": files}))
    return path


def test_an_index_reads_every_file(tmp_path):
    model = readers.model(shards(tmp_path, tensors()))
    assert model.warnings == ()
    assert model.params_total == readers_config.spec(CONFIG).params_total


@pytest.mark.parametrize("config", [CONFIG, MOE])
@pytest.mark.parametrize("missing", [(1,), (1, 2)])
def test_missing_files_fall_back_to_the_total(tmp_path, missing, config):
    names = [f"model-{i:05d}-of-00002.safetensors" for i in missing]
    found = tensors(config)
    model = readers.model(shards(tmp_path, found, names, config=config))
    assert not model.exact_bytes
    assert f"{len(missing)} of 2 files are not beside it" in model.warnings[0]
    assert stored_bytes(model) == sum(v.nbytes for v in found.values())
    assert model.params_total == readers_config.spec(config).params_total


@pytest.mark.parametrize(
    ("name", "total_size"),
    [  # metadata.total_size of public model.safetensors.index.json files of these shapes, read 2026-11-22
        ("gemma-2b", 5_012_344_832),  # github.com/ananddhanabal/gemma
        ("Phi-3-mini-4k-instruct", 7_642_159_104),  # github.com/YouriLalain/3PRYMMAL-PHI3-3B-SLERP
        ("gemma-3-27b-it", 54_864_813_280),  # github.com/Ibtasam-98/medgemma-27b-it, vision tower included
    ],
)
def test_bytes_that_public_indexes_print(name, total_size):
    assert stored_bytes(catalog.model(name)) == total_size


def test_experts_are_found_stacked_or_apart():
    """transformers 5 stacks experts in one tensor, checkpoints mostly do not: either way the parts are the same."""
    stacked = readers_templates.Templates(
        Tensor(name=f"mlp.experts.{n}", shape=(8, 4), count=3)
        for n in ("gate_up_proj", "gate_up_proj", "down_proj")
    )
    assert stacked.find("mlp.experts.*.gate_proj.weight") == (0,)
    assert stacked.find("mlp.experts.*.up_proj.weight") == (1,)
    assert stacked.find("mlp.experts.*.down_proj.weight") == (2,)
    apart = readers_templates.Templates(
        Tensor(name=f"mlp.experts.*.{n}.weight", shape=(8, 4), count=3)
        for n in ("gate_proj", "up_proj", "down_proj")
    )
    assert apart.find("mlp.experts.gate_up_proj") == (0, 1)
    assert apart.find("mlp.experts.down_proj") == (2,)
    assert apart.find("mlp.experts.*.sideways_proj.weight") == ()


def test_the_total_of_a_quantized_index_is_spread(tmp_path):
    found = gptq(tensors())
    names = [f"model-{i:05d}-of-00002.safetensors" for i in (1, 2)]
    config = CONFIG | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}
    model = readers.model(shards(tmp_path, found, names, config=config))
    assert stored_bytes(model) == pytest.approx(sum(v.nbytes for v in found.values()), abs=100)
    assert "is spread over the matrices" in " ".join(model.warnings)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({}, "no weight_map"),
        ({"weight_map": {"a": "../../etc/passwd"}}, "a .safetensors file beside it is needed"),
        ({"weight_map": {"a": 3}}, "a .safetensors file beside it is needed"),
        ([], "a JSON object is needed"),
    ],
)
def test_a_bad_index_is_refused(tmp_path, index, message):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match=message):
        readers.model(path)


def test_a_file_without_config_says_where_to_put_it(tmp_path):
    save_file({"a": np.zeros(4)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"put the model's config\.json in the same folder"):
        readers.model(tmp_path / "a.safetensors")


X = {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"x": X}, b"\0" * 7),
        ({"x": X}, b"\0" * 9),
        ({"x": X, "y": X | {"data_offsets": [4, 12]}}, b"\0" * 12),
        ({"x": X | {"dtype": "F17"}}, b"\0" * 8),
        ({"x": X | {"shape": [-1, 4]}}, b"\0" * 8),
        ({"x": X | {"shape": [2**40, 2**40]}}, b"\0" * 8),
        ({"x": X | {"data_offsets": [8, 0]}}, b"\0" * 8),
        ([1], b""),
        (b"{", b""),
        (b"\xff\xfe", b""),
        (b"[" * 100_000, b""),
    ],
)
def test_a_damaged_header_is_one_clear_error(tmp_path, header, data):
    with pytest.raises(ValueError, match="not a sound safetensors file"):
        readers_safetensors.read(raw(tmp_path / "a.safetensors", header, data))


@pytest.mark.parametrize(
    "start", [b"", b"abc", struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 100_000_001)]
)
def test_a_cut_or_oversized_header_is_one_clear_error(tmp_path, start):
    path = tmp_path / "a.safetensors"
    path.write_bytes(start)
    with pytest.raises(ValueError, match=r"a\.safetensors: not a sound safetensors file"):
        readers_safetensors.read(path)


def test_a_large_file_is_read_by_its_header_alone(tmp_path):
    """70 GB that the disk does not hold: a sparse file reads as fast as a small one."""
    size = 70_000_000_000
    path = raw(tmp_path / "a.safetensors", {"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}})
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)
    assert readers_safetensors.read(path).tensors["x"].nbytes == size


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.integers(0, 300), st.binary(max_size=4))
def test_no_bytes_raise_anything_but_a_value_error(tmp_path, noise, at, patch):
    folder(tmp_path, tensors(skip=["layers.1", "layers.2"]), name="b.safetensors")
    whole = (tmp_path / "b.safetensors").read_bytes()
    (tmp_path / "b.safetensors").unlink()
    for data in (noise, whole[:at] + patch + whole[at + len(patch) :], whole[:at]):
        (tmp_path / "a.safetensors").write_bytes(data)
        with contextlib.suppress(ValueError):
            readers.model(tmp_path / "a.safetensors")


def test_a_catalogue_model_is_what_its_own_headers_say(tmp_path):
    """The names of a real checkpoint, from the catalogue's own config: shapes in a sparse file of 16 GB."""
    model = catalog.model("Llama-3.1-8B")
    header, offset = {}, 0
    stored = [
        (f"model.layers.{i}.{t.name}", t) for i, layer in enumerate(model.layers) for t in layer.tensors
    ]
    stored += [
        (t.name if "lm_head" in t.name else f"model.{t.name}", t) for t in (*model.embedding, *model.head)
    ]
    for name, t in stored:
        header[name] = {
            "dtype": "BF16",
            "shape": list(t.shape),
            "data_offsets": [offset, offset + 2 * t.numel],
        }
        offset += 2 * t.numel
    path = raw(tmp_path / "model.safetensors", header)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + offset)
    config = {k: v for k, v in model.config.items() if not k.startswith("_")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    read = readers.model(tmp_path)
    assert read.params_total == 8_030_261_248
    assert read.warnings == ()
    assert stored_bytes(read) == offset == 16_060_522_496


def checkpoint(tmp_path, name, stored, **changes):
    """A catalogue model's own config beside a sparse file with these tensors."""
    config = {k: v for k, v in catalog.model(name).config.items() if not k.startswith("_")} | changes
    width = {"BF16": 2, "U8": 1, "F8_E4M3": 1, "F32": 4, "F16": 2}
    header, offset = {}, 0
    for key, (dtype, shape) in stored.items():
        size = int(np.prod(shape)) * width[dtype]
        header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    path = raw(tmp_path / "model.safetensors", header)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + offset)
    (tmp_path / "config.json").write_text(json.dumps(config))
    return readers.model(tmp_path), offset


def test_gpt_oss_in_its_own_file(tmp_path):
    """Names and shapes of openai/gpt-oss-20b; its index prints total_size 13,761,264,768."""
    stored = {
        "model.embed_tokens.weight": ("BF16", (201088, 2880)),
        "lm_head.weight": ("BF16", (201088, 2880)),
    }
    stored["model.norm.weight"] = ("BF16", (2880,))
    for i in range(24):
        at = f"model.layers.{i}."
        for name, rows in (("q", 4096), ("k", 512), ("v", 512)):
            stored[f"{at}self_attn.{name}_proj.weight"] = ("BF16", (rows, 2880))
            stored[f"{at}self_attn.{name}_proj.bias"] = ("BF16", (rows,))
        stored |= {
            f"{at}self_attn.o_proj.weight": ("BF16", (2880, 4096)),
            f"{at}self_attn.o_proj.bias": ("BF16", (2880,)),
            f"{at}self_attn.sinks": ("BF16", (64,)),
            f"{at}mlp.router.weight": ("BF16", (32, 2880)),
            f"{at}mlp.router.bias": ("BF16", (32,)),
            f"{at}mlp.experts.gate_up_proj_blocks": ("U8", (32, 5760, 90, 16)),
            f"{at}mlp.experts.gate_up_proj_scales": ("U8", (32, 5760, 90)),
            f"{at}mlp.experts.gate_up_proj_bias": ("BF16", (32, 5760)),
            f"{at}mlp.experts.down_proj_blocks": ("U8", (32, 2880, 90, 16)),
            f"{at}mlp.experts.down_proj_scales": ("U8", (32, 2880, 90)),
            f"{at}mlp.experts.down_proj_bias": ("BF16", (32, 2880)),
            f"{at}input_layernorm.weight": ("BF16", (2880,)),
            f"{at}post_attention_layernorm.weight": ("BF16", (2880,)),
        }
    model, size = checkpoint(tmp_path, "gpt-oss-20b", stored)
    assert size == stored_bytes(model) == 13_761_264_768
    assert model.params_total == 20_914_757_184
    assert [w for w in model.warnings if "torch_dtype" not in w] == []
    assert len(model.layer_counts) == 2  # sliding and full layers
    assert model.params_active == catalog.model("gpt-oss-20b").params_active


def test_fused_matrices_keep_their_parts(tmp_path):
    """Phi-3 stores q, k, v as one matrix; tensor parallelism still cuts k and v by head."""
    implied = catalog.model("Phi-3-mini-4k-instruct")
    stored = {"model.embed_tokens.weight": ("BF16", (32064, 3072)), "lm_head.weight": ("BF16", (32064, 3072))}
    stored["model.norm.weight"] = ("BF16", (3072,))
    for i in range(32):
        stored |= {
            f"model.layers.{i}.self_attn.qkv_proj.weight": ("BF16", (9216, 3072)),
            f"model.layers.{i}.self_attn.o_proj.weight": ("BF16", (3072, 3072)),
            f"model.layers.{i}.mlp.gate_up_proj.weight": ("BF16", (16384, 3072)),
            f"model.layers.{i}.mlp.down_proj.weight": ("BF16", (3072, 8192)),
            f"model.layers.{i}.input_layernorm.weight": ("BF16", (3072,)),
            f"model.layers.{i}.post_attention_layernorm.weight": ("BF16", (3072,)),
        }
    model, size = checkpoint(tmp_path, "Phi-3-mini-4k-instruct", stored)
    assert stored_bytes(model) == size == 2 * 3_821_079_552
    assert [(t.name, t.split) for t in model.layers[0].tensors] == [
        (t.name, t.split) for t in implied.layers[0].tensors
    ]


def test_a_block_scaled_checkpoint_with_its_extra_layer(tmp_path):
    """DeepSeek-V3's names, five layers of it: fp8 weights, one fp32 scale per 128 × 128, one layer more."""
    config = {k: v for k, v in catalog.model("DeepSeek-V3").config.items() if not k.startswith("_")}
    implied = readers_config.spec(config | {"num_hidden_layers": 5})
    stored = {f"model.{t.name}" if "lm_head" not in t.name else t.name: ("BF16", t.shape)
              for t in (*implied.embedding, *implied.head)}  # fmt: skip
    for i, layer in [*enumerate(implied.layers), (5, implied.layers[4])]:
        for t in layer.tensors:
            for e in range(t.count):
                name = f"model.layers.{i}.{t.name.replace('*', str(e))}"
                compressed = t.linear and t.role != "router"
                stored[name] = ("F8_E4M3" if compressed else "F32" if t.dtype else "BF16", t.shape)
                if compressed:
                    tiles = tuple(-(-n // 128) for n in t.shape)
                    stored[name.replace(".weight", ".weight_scale_inv")] = ("F32", tiles)
    model, size = checkpoint(tmp_path, "DeepSeek-V3", stored, num_hidden_layers=5)
    assert model.params_total == implied.params_total
    assert "of layers that predict further tokens (MTP) are not counted" in model.warnings[0]
    assert len(model.warnings) == 1
    assert len(model.layer_counts) == 2
    assert stored_bytes(model) < size
