"""GGUF files written by the gguf package, whole, mixed, split and damaged."""

import contextlib
import struct
import time

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vramlib import readers
from vramlib.readers import gguf as readers_gguf

HIDDEN, WIDTH, HEADS, KV_HEADS, HEAD, LAYERS, VOCAB = 256, 512, 8, 2, 32, 4, 320
SIZES = {t: (block, size) for t, (block, size) in gguf.GGML_QUANT_SIZES.items()}


def tensor_bytes(shape, kind):
    block, size = SIZES[kind]
    return int(np.prod(shape)) // block * size


def add(writer, name, shape, kind, total):
    block, size = SIZES[kind]
    data = np.zeros((*shape[:-1], shape[-1] // block * size), np.uint8)
    if kind in (Type.F32, Type.F16):
        writer.add_tensor(name, np.zeros(shape, np.float32 if kind == Type.F32 else np.float16))
    else:
        writer.add_tensor(name, data, raw_dtype=kind)
    total.append(tensor_bytes(shape, kind))


def llama(path, *, arch="llama", tied=False, layers=LAYERS, keys=(), blocks=None, file_type=15):
    """A Llama as ``llama-quantize … Q4_K_M`` writes it: Q4_K, with Q6_K for some of the matrices."""
    writer, total = gguf.GGUFWriter(path, arch), []
    writer.add_name("Tiny")
    writer.add_file_type(file_type)
    writer.add_block_count(layers)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_context_length(4096)
    writer.add_rope_dimension_count(HEAD)
    writer.add_token_list([f"t{i}" for i in range(VOCAB)])
    for call, *arguments in keys:
        getattr(writer, call)(*arguments)
    add(writer, "token_embd.weight", (VOCAB, HIDDEN), Type.Q4_K, total)
    add(writer, "output_norm.weight", (HIDDEN,), Type.F32, total)
    if not tied:
        add(writer, "output.weight", (VOCAB, HIDDEN), Type.Q6_K, total)
    for i in range(layers):
        for name, shape, kind in (blocks or dense)(i):
            add(writer, f"blk.{i}.{name}", shape, kind, total)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, sum(total)


def dense(i):
    more = Type.Q6_K if i == 0 else Type.Q4_K
    return [
        ("attn_norm.weight", (HIDDEN,), Type.F32),
        ("attn_q.weight", (HEADS * HEAD, HIDDEN), Type.Q4_K),
        ("attn_k.weight", (KV_HEADS * HEAD, HIDDEN), Type.Q4_K),
        ("attn_v.weight", (KV_HEADS * HEAD, HIDDEN), more),
        ("attn_output.weight", (HIDDEN, HEADS * HEAD), Type.Q4_K),
        ("ffn_norm.weight", (HIDDEN,), Type.F32),
        ("ffn_gate.weight", (WIDTH, HIDDEN), Type.Q4_K),
        ("ffn_up.weight", (WIDTH, HIDDEN), Type.Q4_K),
        ("ffn_down.weight", (HIDDEN, WIDTH), more),
    ]


def mixture(i):
    return [b for b in dense(i) if not b[0].startswith("ffn_")] + [
        ("ffn_gate_inp.weight", (4, HIDDEN), Type.F32),
        ("ffn_gate_exps.weight", (4, WIDTH, HIDDEN), Type.Q4_K),
        ("ffn_up_exps.weight", (4, WIDTH, HIDDEN), Type.Q4_K),
        ("ffn_down_exps.weight", (4, HIDDEN, WIDTH), Type.Q6_K),
    ]


def stored(model):
    return sum(n * t.count * t.nbytes for t, n in model.tensors)


def test_a_mixed_file_has_its_exact_bytes(tmp_path):
    path, total = llama(tmp_path / "tiny.gguf")
    model = readers.model(path)
    assert stored(model) == total
    assert (model.name, model.gguf_file_type, model.exact_bytes, model.warnings) == (
        "Tiny",
        "Q4_K_M",
        True,
        (),
    )
    assert [n for _, n in model.layer_counts] == [1, 3]
    assert {t.dtype for t in model.layers[0].tensors} == {"Q4_K", "Q6_K", "F32"}
    per_layer = HIDDEN * (2 * HEADS + 2 * KV_HEADS) * HEAD + 3 * HIDDEN * WIDTH + 2 * HIDDEN
    assert model.params_total == LAYERS * per_layer + 2 * VOCAB * HIDDEN + HIDDEN


def test_sizes_and_caches_follow_from_the_keys(tmp_path):
    model = readers.model(llama(tmp_path / "tiny.gguf")[0])
    assert (model.hidden_size, model.num_hidden_layers, model.vocab_size) == (HIDDEN, LAYERS, VOCAB)
    assert (model.num_attention_heads, model.num_key_value_heads, model.head_dim) == (HEADS, KV_HEADS, HEAD)
    cache = model.layers[0].caches[0]
    assert (cache.kind, cache.num_key_value_heads, cache.head_dim, cache.v_head_dim) == (
        "full",
        KV_HEADS,
        HEAD,
        HEAD,
    )
    assert model.layers[0].mlp_width == WIDTH
    assert not model.tie_word_embeddings
    assert readers.model(llama(tmp_path / "tied.gguf", tied=True)[0]).tie_word_embeddings


@pytest.mark.parametrize(
    ("number", "name"), [(0, "F32"), (1, "F16"), (18, "Q6_K"), (1024, "Q4_K_M"), (999, "Q4_K_M")]
)
def test_the_file_type_is_the_files_own_or_that_of_most_bytes(tmp_path, number, name):
    assert readers.model(llama(tmp_path / "a.gguf", file_type=number)[0]).gguf_file_type == name


def test_experts_count_one_by_one(tmp_path):
    keys = [("add_expert_count", 4), ("add_expert_used_count", 2), ("add_expert_feed_forward_length", WIDTH)]
    path, total = llama(tmp_path / "moe.gguf", arch="qwen3moe", keys=keys, blocks=mixture)
    model = readers.model(path)
    assert stored(model) == total
    expert = [t for t in model.layers[0].tensors if t.role == "expert"]
    assert {(t.count, len(t.shape)) for t in expert} == {(4, 2)}
    assert model.params_total - model.params_active == LAYERS * 3 * WIDTH * HIDDEN * 2


@pytest.mark.parametrize(
    ("arch", "keys", "kinds"),
    [
        ("gemma3", [("add_sliding_window", 1024)], ["sliding"] * 5 + ["full", "sliding"]),
        ("gpt-oss", [("add_sliding_window", 128)], ["sliding", "full"] * 3 + ["sliding"]),
        (
            "smallthinker",
            [("add_sliding_window", 4096)],
            ["full", *["sliding"] * 3, "full", *["sliding"] * 2],
        ),
        ("llama4", [], ["chunked"] * 3 + ["full"] + ["chunked"] * 3),
        ("llama", [("add_sliding_window", 4096)], ["full"] * 7),
        (
            "gemma4",
            [
                ("add_sliding_window", 512),
                ("add_array", "gemma4.attention.sliding_window_pattern", [True, False] * 3 + [True]),
            ],
            ["sliding", "full"] * 3 + ["sliding"],
        ),
    ],
)
def test_windows_follow_the_architecture(tmp_path, arch, keys, kinds):
    """llama.cpp, src/llama-model.cpp: set_swa_pattern of each architecture."""
    model = readers.model(llama(tmp_path / "a.gguf", arch=arch, layers=7, keys=keys)[0])
    assert [layer.caches[0].kind for layer in model.layers] == kinds


def test_a_window_of_an_unknown_pattern_is_said(tmp_path):
    model = readers.model(
        llama(tmp_path / "a.gguf", arch="starcoder2", keys=[("add_sliding_window", 4096)])[0]
    )
    assert "which layers slide is not known" in model.warnings[0]
    assert {layer.caches[0].kind for layer in model.layers} == {"full"}


def test_heads_may_differ_by_layer(tmp_path):
    keys = [("add_array", "deci.attention.head_count_kv", [2, 1, 2, 0])]
    path = tmp_path / "a.gguf"
    writer_keys = [("add_vocab_size", VOCAB), *keys]
    original = gguf.GGUFWriter.add_head_count_kv
    try:
        gguf.GGUFWriter.add_head_count_kv = lambda self, count: None
        llama(path, arch="deci", keys=writer_keys)
    finally:
        gguf.GGUFWriter.add_head_count_kv = original
    model = readers.model(path)
    assert [layer.caches[0].num_key_value_heads for layer in model.layers] == [2, 1, 2, 0]


def mamba(i):
    return [
        ("attn_norm.weight", (HIDDEN,), Type.F32),
        ("ssm_in.weight", (2 * 512 + 2 * 16 + 8, HIDDEN), Type.Q4_K),
        ("ssm_conv1d.weight", (512 + 32, 4), Type.F32),
        ("ssm_out.weight", (HIDDEN, 512), Type.Q4_K),
    ]


def test_recurrent_states_follow_from_the_keys(tmp_path):
    keys = [
        ("add_ssm_conv_kernel", 4), ("add_ssm_inner_size", 512), ("add_ssm_state_size", 16),
        ("add_ssm_time_step_rank", 8), ("add_uint32", "mamba2.ssm.group_count", 1),
    ]  # fmt: skip
    model = readers.model(llama(tmp_path / "a.gguf", arch="mamba2", keys=keys, blocks=mamba)[0])
    (cache,) = model.layers[0].caches
    assert (cache.kind, cache.conv_dim, cache.conv_kernel) == ("mamba2", 512 + 2 * 16, 4)
    assert cache.state_elements == 512 * 16


def latent(i):
    return [
        ("attn_q.weight", (HEADS * 48, HIDDEN), Type.Q4_K),
        ("attn_kv_a_mqa.weight", (64 + 16, HIDDEN), Type.Q4_K),
        ("attn_k_b.weight", (HEADS, 64, 32), Type.Q8_0),
        ("attn_v_b.weight", (HEADS, 32, 64), Type.Q8_0),
        ("ffn_up.weight", (WIDTH, HIDDEN), Type.Q4_K),
    ]


def test_a_latent_cache_is_one_row(tmp_path):
    keys = [("add_kv_lora_rank", 64), ("add_key_length_mla", 48), ("add_value_length_mla", 32)]
    original = gguf.GGUFWriter.add_rope_dimension_count
    try:
        gguf.GGUFWriter.add_rope_dimension_count = lambda self, count: original(self, 16)
        model = readers.model(llama(tmp_path / "a.gguf", arch="deepseek2", keys=keys, blocks=latent)[0])
    finally:
        gguf.GGUFWriter.add_rope_dimension_count = original
    (cache,) = model.layers[0].caches
    assert (cache.latent_dim, cache.latent_rope_dim) == (80, 16)
    assert (model.qk_nope_head_dim, model.qk_rope_head_dim, model.v_head_dim) == (32, 16, 32)


def test_layers_for_speculation_are_left_out(tmp_path):
    keys = [("add_uint32", "glm4moe.nextn_predict_layers", 1)]
    path, total = llama(tmp_path / "a.gguf", arch="glm4moe", keys=keys)
    model = readers.model(path)
    last = sum(tensor_bytes(shape, kind) for _, shape, kind in dense(LAYERS - 1))
    assert model.num_hidden_layers == LAYERS - 1
    assert stored(model) == total - last
    assert "predict further tokens" in model.warnings[0]


def split(tmp_path):
    """One model as two files: the first with the metadata and the first two layers."""
    whole, total = llama(tmp_path / "whole.gguf")
    reader = gguf.GGUFReader(whole)
    first, second = (tmp_path / f"tiny-0000{i}-of-00002.gguf" for i in (1, 2))
    for path, wanted in ((first, "blk.0 blk.1 token output"), (second, "blk.2 blk.3")):
        writer = gguf.GGUFWriter(path, "llama")
        for key in ("block_count", "embedding_length", "feed_forward_length", "context_length"):
            writer.add_uint32(f"llama.{key}", int(reader.fields[f"llama.{key}"].contents()))
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(KV_HEADS)
        for t in reader.tensors:
            if t.name.startswith(tuple(wanted.split())):
                writer.add_tensor(t.name, np.array(t.data), raw_dtype=t.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    whole.unlink()
    return first, second, total


def test_all_parts_of_a_split_file_count(tmp_path):
    first, second, total = split(tmp_path)
    assert (
        stored(readers.model(first))
        == stored(readers.model(second))
        == stored(readers.model(tmp_path))
        == total
    )


def test_a_missing_part_is_named(tmp_path):
    first, second, total = split(tmp_path)
    second.unlink()
    model = readers.model(first)
    assert stored(model) < total
    assert not model.exact_bytes
    assert "1 of 2 parts are not beside it (tiny-00002-of-00002.gguf)" in model.warnings[0]
    assert "2 of 4 layers have no tensors" in model.warnings[1]


def test_without_the_first_part_there_is_no_model(tmp_path):
    first, second, _ = split(tmp_path)
    first.unlink()
    with pytest.raises(ValueError, match="part 1 of 2 holds the metadata"):
        readers.model(second)


def header(version=3, tensors=0, fields=0, body=b""):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, fields) + body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"b'GGUF' is needed"),
        (b"GGML" + bytes(40), r"b'GGUF' is needed"),
        (b"GGUF", "cut off after 4 bytes"),
        (header(version=1), "version 1; 2 or 3"),
        (header(version=99), "version 99; 2 or 3"),
        (header(tensors=1 << 62), "announces 4611686018427387904 tensors"),
        (header(fields=1 << 62), "announces 0 tensors and 4611686018427387904 fields"),
        (header(fields=1, body=struct.pack("<Q", 1 << 40) + bytes(40)), "cut off"),
        (header(fields=1, body=struct.pack("<Q1sII", 1, b"a", 99, 0) + bytes(40)), "not a sound GGUF file"),
        (
            header(fields=1, body=struct.pack("<Q1sIIQ", 1, b"a", 9, 8, 1 << 23) + bytes(40)),
            "cut off in a list",
        ),
        (header(fields=1, body=struct.pack("<Q1sIIQ", 1, b"a", 9, 4, 1 << 60) + bytes(40)), "a list of"),
        (
            header(fields=1, body=struct.pack("<Q1sIIQ", 1, b"a", 9, 9, 4) + bytes(40)),
            "not a sound GGUF file",
        ),
        (header(tensors=1, body=struct.pack("<Q1sI", 1, b"a", 1 << 30) + bytes(40)), "1073741824 dimensions"),
        (header(tensors=1, body=struct.pack("<Q1sIQIQ", 1, b"a", 1, 1 << 60, 0, 0)), "cut off"),
        (
            header(tensors=1, body=struct.pack("<Q1sIQQIQ", 1, b"a", 2, 1 << 32, 1 << 32, 0, 0)),
            "not a sound GGUF",
        ),
        (
            header(tensors=1, body=struct.pack("<Q1sIQIQ", 1, b"a", 1, 4, 200, 0) + bytes(40)),
            "not a sound GGUF file",
        ),
    ],
)
def test_a_damaged_file_is_one_clear_error_at_once(tmp_path, data, message):
    path = tmp_path / "a.gguf"
    path.write_bytes(data)
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message):
        readers.model(path)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_file_cut_off_is_refused(tmp_path, keep):
    path, _ = llama(tmp_path / "a.gguf")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ValueError, match="cut off"):
        readers.model(path)


def test_a_projector_is_not_a_language_model(tmp_path):
    with pytest.raises(ValueError, match=r"holds a clip model; give the \.gguf of the language model"):
        readers.model(llama(tmp_path / "mmproj.gguf", arch="clip")[0])


def test_a_real_vocabulary_is_read_in_milliseconds(tmp_path):
    """150,000 tokens, scores and types: the package's own loop takes some seconds."""
    keys = [("add_token_scores", [0.0] * 150_000), ("add_token_merges", [f"a {i}" for i in range(150_000)])]
    path, _ = llama(tmp_path / "a.gguf", keys=keys)
    start = time.perf_counter()
    file = readers_gguf.read(path)
    assert time.perf_counter() - start < 4
    assert file.metadata["tokenizer.ggml.merges"] == file.metadata["tokenizer.ggml.scores"] == 150_000


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1400), st.binary(min_size=1, max_size=8), st.binary(max_size=100))
def test_no_bytes_raise_anything_but_a_value_error(tmp_path, at, patch, noise):
    source = tmp_path / "source"
    if not source.exists():
        llama(source, layers=1)
    whole = source.read_bytes()
    for data in (whole[:at] + patch + whole[at + len(patch) :], whole[:at], b"GGUF\x03\0\0\0" + noise):
        (tmp_path / "a.gguf").write_bytes(data)
        with contextlib.suppress(ValueError):
            readers.model(tmp_path / "a.gguf")
