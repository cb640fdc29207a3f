"""PyTorch and transformers as the outside truth, on fake tensors: parameters, caches and peaks to the byte.

Run by ``make test-torch`` with torch 2.13 and transformers 5.23, on a CPU. The last group rehearses the experiments.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers
from live_storage import LiveStorage
from rehearsal import SMALL, rehearse
from torch._subclasses.fake_tensor import FakeTensorMode

from vramlib import catalog, measure
from vramlib.components import activations, kv_cache, state
from vramlib.measure import plan, record, subject
from vramlib.measure.experiments import kv_growth, whole_budget

pytestmark = pytest.mark.torch
LLAMA = "Llama-3.1-8B"


@pytest.fixture
def live() -> Iterator[LiveStorage]:
    """Fake tensors, counted; no gradients, as in inference."""
    tracker = LiveStorage()
    with FakeTensorMode(), tracker, torch.no_grad():
        yield tracker


class Bench:
    """The two fields of a bench that building a model needs."""

    torch, device = torch, "cpu"


def model_of(name: str, layers: int, attention: str = "sdpa") -> subject.TransformersSubject:
    return subject.TransformersSubject(plan.with_layers(catalog.model(name), layers), Bench(), attention)


def forward(
    runner: subject.Subject, live: LiveStorage, tokens: int, *, batch_size: int = 1, keep: int = 1
) -> tuple[int, int, Any]:
    """Peak of one pass over its start, the bytes it leaves behind, and the cache."""
    ids, cache = runner.ids(batch_size, tokens), runner.new_cache()
    gc.collect()
    live.restart_peak()
    before = live.live_bytes
    _ = runner.forward(ids, cache, logits_to_keep=keep).shape
    gc.collect()
    return live.peak_bytes - before, live.live_bytes - before, cache


# --- the stand-in for the meter itself ----------------------------------------------------------------------------


def test_planted_storage_is_counted_to_the_byte(live: LiveStorage) -> None:
    """Views share their storage; what nobody holds no longer counts; the peak stays."""
    first = torch.empty(1000, dtype=torch.bfloat16)
    view = first[10:].view(torch.int16)
    second = torch.empty(3000, dtype=torch.uint8)
    assert live.live_bytes == 5000
    del first, second
    assert (live.live_bytes, live.peak_bytes) == (2000, 5000)
    del view
    assert live.live_bytes == 0


# --- parameters ---------------------------------------------------------------------------------------------------

COUNTED = (
    "meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-7B", "Qwen/Qwen3-0.6B", "Qwen/Qwen3-30B-A3B", "microsoft/phi-4",
    "google/gemma-2-2b", "mistralai/Mixtral-8x7B-v0.1", "deepseek-ai/DeepSeek-V2-Lite", "tiiuae/falcon-7b",
    "openai/gpt-oss-20b", "HuggingFaceTB/SmolLM2-135M",
)  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_are_those_of_the_real_class(name: str) -> None:
    """The class of transformers on the meta device, every parameter counted once."""
    model = catalog.model(name)
    with torch.device("meta"):
        net = transformers.AutoModelForCausalLM.from_config(subject._config(model))
    assert sum(p.numel() for p in net.parameters()) == model.params_total


# --- cache --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layers", "tokens", "expected"),
    [
        (LLAMA, 32, 2048, 268_435_456),
        ("deepseek-ai/DeepSeek-V2-Lite", 3, 1024, 3_538_944),
        ("tiiuae/falcon-7b", 32, 2048, 16_777_216),
    ],
)
def test_a_cache_holds_what_the_formula_says(
    live: LiveStorage, name: str, layers: int, tokens: int, expected: int
) -> None:
    """Grouped heads, one latent row a token, one head for all; transformers' DynamicCache after a prompt."""
    _, held, cache = forward(model_of(name, layers), live, tokens)
    cached = sum(t.untyped_storage().nbytes() for part in cache.layers for t in (part.keys, part.values))
    assert held == cached == expected
    assert tokens * kv_cache.bytes_per_token(plan.with_layers(catalog.model(name), layers)) == expected


def test_a_static_cache_is_there_from_the_start(live: LiveStorage) -> None:
    runner = model_of(LLAMA, 32)
    gc.collect()
    before, cache = live.live_bytes, runner.new_cache(max_tokens=4096)
    runner.forward(runner.ids(1, 1), cache)
    held = sum(t.untyped_storage().nbytes() for part in cache.layers for t in (part.keys, part.values))
    assert held == 536_870_912 == 4096 * kv_cache.bytes_per_token(catalog.model(LLAMA))
    assert live.live_bytes - before >= held


def test_a_sliding_layer_keeps_the_whole_prompt_until_the_next_step(live: LiveStorage) -> None:
    """After the prompt the window is a view of all of it; the first step copies the window alone."""
    config = {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 4,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32_000, "sliding_window": 1024,
    }  # fmt: skip
    given = transformers.AutoConfig.for_model(**config)
    net = transformers.AutoModelForCausalLM.from_config(given, dtype=torch.bfloat16).eval()
    cache = transformers.DynamicCache(config=given)
    sizes = []
    for tokens in (4096, 1):
        net(torch.randint(0, 32_000, (1, tokens)), past_key_values=cache, use_cache=True, logits_to_keep=1)
        gc.collect()
        both = [t for part in cache.layers for t in (part.keys, part.values)]
        sizes.append((sum(t.nbytes for t in both), sum(t.untyped_storage().nbytes() for t in both)))
    assert sizes[0] == (16_760_832, 67_108_864)
    assert sizes[1][1] == 16_777_216


def test_a_recurrent_state_is_kept_in_float32() -> None:
    """Qwen3-Next, one linear layer: 65,536 bytes of convolution and 2,097,152 of the gated delta rule."""
    cache = next(
        c for layer in catalog.model("Qwen3-Next-80B-A3B-Instruct").layers for c in layer.caches if c.is_state
    )
    assert state.transformers_state_bytes(cache) == 65_536 + 2_097_152


# --- activations --------------------------------------------------------------------------------------------------

PEAKS = [  # attention, logits kept (0: all), tokens, peak of the whole model, its cache
    ("sdpa", 1, 512, 128_192_512, 67_108_864),
    ("sdpa", 1, 2048, 512_770_048, 268_435_456),
    ("sdpa", 1, 8192, 2_051_080_192, 1_073_741_824),
    ("sdpa", 0, 512, 202_637_312, 67_108_864),
    ("sdpa", 0, 2048, 810_549_248, 268_435_456),
    ("sdpa", 0, 8192, 3_242_196_992, 1_073_741_824),
    ("eager", 1, 512, 176_951_296, 67_108_864),
    ("eager", 1, 2048, 1_720_729_600, 268_435_456),
    ("eager", 1, 8192, 23_089_709_056, 1_073_741_824),
    ("eager", 0, 512, 202_637_312, 67_108_864),
    ("eager", 0, 2048, 1_720_729_600, 268_435_456),
    ("eager", 0, 8192, 23_089_709_056, 1_073_741_824),
]


@pytest.mark.parametrize(("attention", "keep", "tokens", "peak", "cache"), PEAKS)
def test_peaks_of_the_whole_model(
    live: LiveStorage, attention: str, keep: int, tokens: int, peak: int, cache: int
) -> None:
    """Llama-3.1-8B, 32 layers, bfloat16, one sequence: peak and cache as counted, the rest by the formula."""
    seen, held, _ = forward(model_of(LLAMA, 32, attention), live, tokens, keep=keep)
    assert (seen, held) == (peak, cache)
    model = catalog.model(LLAMA)
    rows = tokens if keep == 0 else 1
    formula = activations.transformers_bytes(model, tokens, tokens, rows, attn_implementation=attention)
    assert formula == peak - cache


@pytest.mark.parametrize("layers", [2, 8, 32])
def test_depth_does_not_matter(live: LiveStorage, layers: int) -> None:
    """Without gradients every layer reuses the buffers of the one before."""
    seen, held, _ = forward(model_of(LLAMA, layers), live, 2048)
    assert seen - held == 244_334_592


def test_a_single_layer_is_smaller(live: LiveStorage) -> None:
    """The input of the only layer is the embedding itself, which is counted once."""
    seen, held, _ = forward(model_of(LLAMA, 1), live, 2048)
    assert seen - held == 227_557_376 == 244_334_592 - 2048 * 4096 * 2


@pytest.mark.parametrize(
    "name", ["Llama-3.2-1B", "Llama-2-7b-hf", "Qwen2.5-7B", "Qwen3-0.6B", "Qwen3-8B", "Mistral-7B-v0.1"]
)
def test_the_formula_holds_for_other_shapes(live: LiveStorage, name: str) -> None:
    seen, held, _ = forward(model_of(name, 2), live, 2048)
    assert seen - held == activations.mlp_bytes(catalog.model(name), 2048)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("keep", "batch_size"), [(1, 1), (0, 1), (1, 4)])
def test_the_plain_decoder_takes_what_transformers_takes(
    live: LiveStorage, attention: str, keep: int, batch_size: int
) -> None:
    """Where transformers is not installed the experiments run a decoder of their own; its peaks are the same."""
    model = plan.with_layers(catalog.model(LLAMA), 2)
    peaks = [
        forward(kind(model, Bench(), attention), live, 1024, keep=keep, batch_size=batch_size)[:2]
        for kind in (subject.PlainSubject, subject.TransformersSubject)
    ]
    assert peaks[0] == peaks[1]


# --- rehearsals of the experiments --------------------------------------------------------------------------------

WITHOUT_A_GPU = tuple(name for name in measure.EXPERIMENTS if name != "multi_process")


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake tensors are slow, one step is like another."""
    monkeypatch.setattr(whole_budget, "STEPS", 3)
    monkeypatch.setattr(kv_growth, "STEPS", 3)


def rehearsed(name: str) -> tuple[measure.Measurement, plan.Room, int]:
    room = plan.Room(gpu=catalog.gpu("RTX-4090"), free_bytes=SMALL)
    experiment = measure.EXPERIMENTS[name]
    foreseen, readings, most = experiment.plan(room), [], 0
    for variant in experiment.variants:
        found, cuda = rehearse(foreseen, room, variant)
        readings += found
        most = max(most, cuda.allocator.stats.peak_reserved_bytes)
        assert cuda.live.live_bytes == 0, "everything is given back"
    return record.from_plan(foreseen, readings, status="measured"), room, most


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("name", WITHOUT_A_GPU)
def test_an_experiment_runs_as_planned(name: str) -> None:
    """Every foreseen reading is taken, once in a process, and the tensors stay inside the share."""
    found, room, most = rehearsed(name)
    assert all(len(p.values) == 1 for p in found.points), [p.name for p in found.points if len(p.values) != 1]
    assert most <= room.tensor_bytes
    for p in found.points:
        if p.prediction.meter == "allocator" and "workspace" not in p.name and "buffers" not in p.name:
            assert p.is_within, record.line(p)
