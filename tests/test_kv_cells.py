"""llama.cpp's KV buffers against public logs: exact to the printed digit."""

import numpy
import pytest

from vramlib import catalog
from vramlib.components import kv_cells
from vramlib.specs import Cache, Layer, ModelSpec
from vramlib.units import MiB

# layers, key-value heads, head_dim, v_head_dim, n_ctx, type_k, type_v, KV buffer [MiB], log
LOGS = [
    (62, 16, 128, 128, 32768, "f16", "f16", 15872.00, "ikawrakow/ik_llama.cpp/discussions/334"),
    (94, 4, 128, 128, 32768, "q8_0", "q8_0", 3196.00, "ikawrakow/ik_llama.cpp/discussions/357"),
    (94, 4, 128, 128, 32768, "f16", "f16", 6016.00, "ikawrakow/ik_llama.cpp/discussions/357"),
    (94, 4, 128, 128, 16384, "q8_0", "q8_0", 1598.00, "ikawrakow/ik_llama.cpp/discussions/357"),
    (94, 4, 128, 128, 65536, "q8_0", "f16", 9212.00, "ikawrakow/ik_llama.cpp/issues/437"),
    (32, 8, 128, 128, 1024, "iq4_nl", "f16", 82.00, "ikawrakow/ik_llama.cpp/issues/103"),
    (48, 4, 128, 128, 32768, "f16", "f16", 3072.00, "ikawrakow/ik_llama.cpp/issues/398"),
    (48, 4, 128, 128, 16384, "f16", "f16", 1536.00, "ikawrakow/ik_llama.cpp/issues/514"),
    (24, 2, 64, 64, 16384, "q8_0", "f16", 147.00, "ikawrakow/ik_llama.cpp/pull/645"),
    (40, 40, 128, 128, 512, "f16", "f16", 400.00, "ikawrakow/ik_llama.cpp/pull/328"),
    (61, 128, 192, 128, 512, "f16", "f16", 2440.00, "ikawrakow/ik_llama.cpp/discussions/242"),
    (61, 128, 192, 128, 2048, "q8_0", "q8_0", 5185.00, "ikawrakow/ik_llama.cpp/pull/239"),
    (36, 8, 128, 128, 4096, "f16", "f16", 576.00, "Thireus/GGUF-Tool-Suite, Qwen3-4B bf16"),
    (
        93 - 1,
        8,
        128,
        128,
        4096,
        "f16",
        "f16",
        1472.00,
        "Thireus/GGUF-Tool-Suite, GLM-4.7: its MTP layer has no cache",
    ),
]
LATENT = [
    (61, 32768, "f16", 2196.00, "ikawrakow/ik_llama.cpp/discussions/258"),
    (61, 32768, "q8_0", 1166.62, "ikawrakow/ik_llama.cpp/discussions/258"),
    (61, 61440, "q8_0", 2187.42, "ikawrakow/ik_llama.cpp/issues/437"),
    (60, 32768, "q8_0", 1147.50, "ikawrakow/ik_llama.cpp/pull/400"),
    (61, 4096, "f16", 274.50, "ikawrakow/ik_llama.cpp/discussions/657"),
    (61, 2048, "q8_0", 72.91, "ikawrakow/ik_llama.cpp/pull/616"),
]


def model_of(cache, layers):
    layer = Layer(tensors=(), caches=(cache,))
    return ModelSpec(
        name="log", hidden_size=64, num_hidden_layers=layers, vocab_size=9, layers=(layer,) * layers
    )


@pytest.mark.parametrize("row", LOGS, ids=lambda row: f"{row[-1]}-{row[4]}-{row[5]}")
def test_logged_buffers_of_attention(row):
    layers, heads, k, v, n_ctx, type_k, type_v, printed, _ = row
    cache = Cache(kind="full", num_key_value_heads=heads, head_dim=k, v_head_dim=v)
    gpu, cpu = kv_cells.size_bytes(
        model_of(cache, layers), n_ctx=n_ctx, cache_type_k=type_k, cache_type_v=type_v
    )
    assert (round(gpu / MiB, 2), cpu) == (printed, 0)


@pytest.mark.parametrize("row", LATENT, ids=lambda row: f"{row[-1]}-{row[1]}-{row[2]}")
def test_logged_buffers_of_mla_keep_one_latent_row_and_no_values(row):
    layers, n_ctx, type_k, printed, _ = row
    gpu, _ = kv_cells.size_bytes(
        model_of(Cache(kind="full", latent_dim=576), layers), n_ctx=n_ctx, cache_type_k=type_k
    )
    assert gpu / MiB == pytest.approx(printed, abs=0.0051)


# catalogue name, n_ctx, KV buffer of the attention layers [MiB], log
CATALOGUE = [
    ("Qwen3-4B", 4096, 576.00, "Thireus/GGUF-Tool-Suite"),
    ("GLM-4.5-Air", 4096, 736.00, "Thireus/GGUF-Tool-Suite: 46 of 47 layers, the last is MTP"),
    ("Qwen3.5-0.8B", 512, 6.00, "Thireus/GGUF-Tool-Suite: every fourth layer"),
    ("Qwen3.5-9B", 512, 16.00, "Thireus/GGUF-Tool-Suite: every fourth layer"),
    ("Qwen3.5-397B-A17B", 512, 15.00, "Thireus/GGUF-Tool-Suite: every fourth layer"),
    ("gemma-4-31B-it", 4096, 3520.00, "Thireus/GGUF-Tool-Suite: sliding layers at full length"),
    ("gemma-4-31B-it", 2048, 1760.00, "Thireus/GGUF-Tool-Suite: sliding layers at full length"),
    ("DeepSeek-V3", 4096, 274.50, "ikawrakow/ik_llama.cpp/discussions/657"),
]


@pytest.mark.parametrize(("name", "n_ctx", "printed", "log"), CATALOGUE)
def test_logged_buffers_of_catalogue_models(name, n_ctx, printed, log):
    model = catalog.model(name)
    states = sum(kv_cells.bytes_per_state(c) for layer in model.layers for c in layer.caches if c.is_state)
    gpu, _ = kv_cells.size_bytes(model, n_ctx=n_ctx, swa_full=True)
    assert round((gpu - states) / MiB, 2) == printed, log


def test_one_offloaded_layer_of_a_build_that_moves_the_output_last():
    """ollama issue 8447: DeepSeek 671B, n_ctx 2048, one layer on the GPU: CPU 9600 MiB, CUDA0 160 MiB."""
    cache = Cache(kind="full", num_key_value_heads=128, head_dim=192, v_head_dim=128)
    gpu, cpu = kv_cells.size_bytes(model_of(cache, 61), n_ctx=2048, n_gpu_layers=1, output_first=False)
    assert (gpu / MiB, cpu / MiB) == (160.0, 9600.0)


def test_output_first_leaves_one_layer_less_on_the_gpu():
    assert kv_cells.offloaded(32, 1) == (range(32, 32), True)
    assert kv_cells.offloaded(32, 33) == kv_cells.offloaded(32) == (range(32), True)
    assert kv_cells.offloaded(32, 0)[1] is False
    assert kv_cells.offloaded(32, 33, output_first=False) == (range(32), True)


# n_ctx, n_seq_max, n_ubatch, unified, swa_full -> cells of a full layer, of gpt-oss' sliding layers (window 128)
PLANNER = [
    (4096, 1, 512, False, False, 4096, 768),
    (8192, 1, 2048, False, False, 8192, 2304),
    (32768, 4, 512, False, False, 8192, 768),
    (32768, 4, 512, True, False, 32768, 1024),
    (1000, 3, 512, False, False, 512, 512),
    (4096, 1, 512, False, True, 4096, 4096),
]


@pytest.mark.parametrize(("n_ctx", "slots", "ubatch", "unified", "swa_full", "full", "sliding"), PLANNER)
def test_cells_as_llama_cpp_b11063_prints_them(n_ctx, slots, ubatch, unified, swa_full, full, sliding):
    cells = kv_cells.context_cells(n_ctx, n_seq_max=slots, kv_unified=unified)
    found = kv_cells.sliding_cells(
        cells, 128, n_ubatch=ubatch, n_seq_max=slots, kv_unified=unified, swa_full=swa_full
    )
    assert (cells, found) == (full, sliding)


def test_recurrent_states_as_llama_cpp_b11063_prints_them():
    """Six gated-delta layers of the Qwen3.5-27B shape: 18.70 MiB for one sequence, 74.81 MiB for four."""
    cache = Cache(
        kind="linear", conv_dim=2 * 16 * 128 + 48 * 128, conv_kernel=4, state_elements=48 * 128 * 128
    )
    one, four = (kv_cells.size_bytes(model_of(cache, 6), n_ctx=4096, n_seq_max=n)[0] for n in (1, 4))
    assert (round(one / MiB, 2), round(four / MiB, 2)) == (18.70, 74.81)


def test_values_without_flash_attention_are_padded_to_the_widest_layer():
    wide, narrow = (Cache(kind="full", num_key_value_heads=1, head_dim=64, v_head_dim=v) for v in (256, 64))
    layers = tuple(Layer(tensors=(), caches=(c,)) for c in (wide, narrow))
    model = ModelSpec(name="x", hidden_size=64, num_hidden_layers=2, vocab_size=9, layers=layers)
    assert kv_cells.size_bytes(model, n_ctx=256)[0] == 256 * 2 * (64 + 256 + 64 + 64)
    assert kv_cells.size_bytes(model, n_ctx=256, flash_attn=False)[0] == 256 * 2 * (64 + 256 + 64 + 256)


def test_arrays_give_what_numbers_give():
    model, lengths = catalog.model("gpt-oss-20b"), [4096, 10_000, 131_072]
    many, _ = kv_cells.size_bytes(model, n_ctx=numpy.array(lengths))
    assert many.tolist() == [kv_cells.size_bytes(model, n_ctx=n)[0] for n in lengths]


def test_eight_bits_take_34_of_64_of_sixteen():
    model = catalog.model("Llama-3.1-8B")
    half = kv_cells.size_bytes(model, n_ctx=8192, cache_type_k="q8_0", cache_type_v="q8_0")[0]
    assert half * 64 == 34 * kv_cells.size_bytes(model, n_ctx=8192)[0]


def test_errors_say_what_would_work():
    model = catalog.model("Llama-3.1-8B")
    with pytest.raises(ValueError, match=r"'q3_0' is not a ggml type; known: F32, F16"):
        kv_cells.size_bytes(model, n_ctx=512, cache_type_k="q3_0")
    with pytest.raises(ValueError, match="needs flash_attn"):
        kv_cells.size_bytes(model, n_ctx=512, cache_type_v="q8_0", flash_attn=False)
    with pytest.raises(ValueError, match="does not fill blocks of 32"):
        kv_cells.row_bytes("q8_0", 100)
    with pytest.raises(ValueError, match="write it as b6000"):
        kv_cells.build_number("latest")
