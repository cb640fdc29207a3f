"""GGUF weights against published bits per weight and logged model buffers."""

import csv

import pytest

from vramlib import catalog
from vramlib._paths import data_dir
from vramlib.components import gguf_recipes, weight_types
from vramlib.units import MiB

with (data_dir() / "gguf_file_types.csv").open() as file:
    PUBLISHED = [
        (r["name"], float(r["bits_per_weight"]))
        for r in csv.DictReader(file)
        if r["measured_on"] == "Llama-3.1-8B"
    ]


@pytest.mark.parametrize(("name", "bits"), PUBLISHED)
def test_published_bits_per_weight_of_llama_8b(name, bits):
    """https://github.com/ggml-org/llama.cpp/blob/master/tools/quantize/README.md, to the printed digit."""
    model = catalog.model("Llama-3.1-8B")
    size = sum(weight_types.model_buffer_bytes(model, name))
    assert round(8 * size / model.params_total, 4) == bits


def test_the_published_table_is_there():
    assert len(PUBLISHED) >= 20


# model, file type, n_gpu_layers, GPU [MiB], CPU [MiB], log
LOGS = [
    ("Qwen3-4B", "BF16", -1, 7672.62, 741.88, "Thireus/GGUF-Tool-Suite, tied: the embedding counts twice"),
    ("GLM-4.5-Air", "BF16", -1, 202667.49, 1184.00, "Thireus/GGUF-Tool-Suite"),
    ("GLM-4.7-Flash", "BF16", -1, 56519.48, 605.00, "Thireus/GGUF-Tool-Suite, MLA"),
    ("Qwen3.5-0.8B", "BF16", -1, 1436.03, 485.00, "Thireus/GGUF-Tool-Suite, linear attention"),
    ("Qwen3.5-9B", "BF16", -1, 15140.05, 1940.00, "Thireus/GGUF-Tool-Suite, linear attention"),
    ("gemma-4-31B-it", "BF16", -1, 58553.10, 2688.00, "Thireus/GGUF-Tool-Suite"),
    ("Qwen3-VL-235B-A22B-Instruct", "Q8_0", -1, 237725.15, 630.59, "Thireus/GGUF-Tool-Suite"),
    ("Llama-2-13b-hf", "Q8_0", 0, 0.00, 13189.86, "ikawrakow/ik_llama.cpp/pull/328"),
]


@pytest.mark.parametrize(("name", "kind", "layers", "gpu", "cpu", "log"), LOGS)
def test_logged_model_buffers(name, kind, layers, gpu, cpu, log):
    found = weight_types.model_buffer_bytes(catalog.model(name), kind, layers)
    assert [size / MiB for size in found] == pytest.approx([gpu, cpu], abs=0.03), log


def test_embedding_of_a_stock_mix_as_logged():
    """ikawrakow/ik_llama.cpp/issues/103: Llama-3.1-8B Q5_K_S keeps 344.44 MiB on the CPU."""
    _, cpu = weight_types.model_buffer_bytes(catalog.model("Llama-3.1-8B"), "Q5_K - Small")
    assert round(cpu / MiB, 2) == 344.44


def test_layers_move_from_the_end_and_nothing_is_lost():
    model = catalog.model("Llama-3.1-8B")
    whole = sum(weight_types.model_buffer_bytes(model, "Q4_K_M"))
    parts = [weight_types.model_buffer_bytes(model, "Q4_K_M", n) for n in range(34)]
    assert {sum(p) for p in parts} == {whole}
    assert [gpu for gpu, _ in parts] == sorted(gpu for gpu, _ in parts)
    assert parts[0][0] == 0
    assert parts[1][0] == weight_types.bytes_of("Q6_K", (128256, 4096)) + 4096 * 4


def test_before_december_2025_the_output_moved_last():
    model = catalog.model("Llama-3.1-8B")
    old, new = (weight_types.model_buffer_bytes(model, "Q8_0", 32, build=b)[0] for b in (6000, 8000))
    output = weight_types.bytes_of("Q8_0", (128256, 4096)) + 4096 * 4
    layer = weight_types.model_buffer_bytes(model, "Q8_0", 1, build=6000)[0]
    assert new - output + layer == old


@pytest.mark.parametrize(
    ("kind", "row", "used"),
    [
        ("Q4_K", 2880, "Q5_0"),
        ("Q5_K", 896, "Q5_1"),
        ("Q6_K", 896, "Q8_0"),
        ("Q3_K", 896, "Q4_0"),
        ("IQ3_S", 896, "IQ4_NL"),
        ("Q4_0", 100, "F16"),
        ("Q4_K", 100, "F16"),
        ("Q6_K", 4096, "Q6_K"),
    ],
)
def test_rows_that_do_not_fill_blocks(kind, row, used):
    assert gguf_recipes.fitting_type(kind, row) == used


def test_mixtral_stores_keys_and_values_in_eight_bits():
    r = weight_types.recipe(catalog.model("Mixtral-8x7B-v0.1"), "Q4_K_M")
    wanted = ["attn_k", "attn_v", "attn_q", "attn_output", "experts_ffn_up"]
    assert [gguf_recipes.tensor_type(c, r) for c in wanted] == ["Q8_0", "Q8_0", "Q4_K", "Q5_K", "Q4_K"]


def test_seventy_billion_lifts_its_shared_values():
    r = weight_types.recipe(catalog.model("Llama-3.1-70B"), "Q4_K_M")
    assert {gguf_recipes.tensor_type("attn_v", r, layer_index=i) for i in range(80)} == {"Q5_K", "Q6_K"}


def test_mxfp4_moe_keeps_everything_else_in_eight_bits():
    """gpt-oss-20b: 19.1 billion expert weights in 4.25 bits, 1.8 billion others in 8.5, small tensors in 32."""
    total = sum(weight_types.model_buffer_bytes(catalog.model("gpt-oss-20b"), "mxfp4"))
    experts = 24 * 32 * 3 * 2880 * 2880
    others = 24 * 2880 * (2 * 4096 + 2 * 512) + 2 * 201088 * 2880
    assert total == pytest.approx(experts * 4.25 / 8 + others * 8.5 / 8, rel=0.005)


def test_fused_names_of_older_families():
    falcon = weight_types.categories(catalog.model("falcon-7b").layers[0])
    assert [c for _, c in falcon if c != "plain"] == ["attn_qkv"] * 3 + ["attn_output", "ffn_up", "ffn_down"]
    gpt2 = weight_types.categories(catalog.model("gpt2").layers[0])
    assert [c for _, c in gpt2 if c != "plain"] == ["attn_qkv"] * 3 + ["attn_output", "ffn_up", "ffn_down"]


def test_streamed_matrices_are_those_left_on_the_cpu():
    model = catalog.model("Llama-3.1-8B")
    assert weight_types.streamed_bytes(model, "F16") == (0, 0)
    assert weight_types.streamed_bytes(model, "F16", 9)[0] == 14336 * 4096 * 2
    assert weight_types.streamed_bytes(model, "F16", 0)[1] == 128256 * 4096 * 2 + 4096 * 4


def test_names_people_write():
    words = {
        "q4_k_m": "Q4_K_M",
        "Q4_K - Medium": "Q4_K_M",
        "q4_k": "Q4_K_M",
        "fp16": "F16",
        "MXFP4": "MXFP4_MOE",
    }
    assert {w: weight_types.file_type(w) for w in words} == words
    with pytest.raises(
        ValueError, match=r"'Q4_K_XXL' is not a GGUF file type with a known recipe; these are: F32"
    ):
        weight_types.file_type("Q4_K_XXL")
