"""A reader's own file is data only: read within bounds, written only under a fixed name, or refused in one line."""

import json
import random
import struct
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_readers_gguf import llama

from vramlib import catalog, names, readers
from vramlib.units import MiB
from vramlib.what_if import State, sources, view
from vramlib.what_if.uploads import MOST_CHARACTERS, Upload

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
CONFIG = {"model_type": "llama", "vocab_size": 100, **SIZES}
SLOW = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None
)


def read(name, data, **more):
    return sources.read_upload(name, data, **more)


def config(**changes):
    return json.dumps({**CONFIG, **changes}).encode()


LLAVA = dict(names.model("llava-v1.6-34b-hf").config)


def tower(layers):
    """A config.json whose vision tower has so many layers."""
    return json.dumps(
        {**LLAVA, "vision_config": {**LLAVA["vision_config"], "num_hidden_layers": layers}}
    ).encode()


def safetensors(tensors, data=b""):
    """A file of that format; a tensor is a dtype with its shape."""
    rows, end = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape) in tensors.items():
        size = {"BF16": 2, "F32": 4}[dtype]
        for n in shape:
            size *= n
        rows[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(rows).encode()
    return struct.pack("<Q", len(header)) + header + data


def llama_tensors(layers=2):
    found = {"model.embed_tokens.weight": ("BF16", (100, 64)), "lm_head.weight": ("BF16", (100, 64))}
    found["model.norm.weight"] = ("F32", (64,))
    for i in range(layers):
        block = f"model.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            found[f"{block}.self_attn.{name}.weight"] = ("BF16", (64, 64))
        found[f"{block}.mlp.gate_proj.weight"] = found[f"{block}.mlp.up_proj.weight"] = ("BF16", (128, 64))
        found[f"{block}.mlp.down_proj.weight"] = ("BF16", (64, 128))
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"{block}.{name}.weight"] = ("BF16", (64,))
    return found


def usable_or_one_line(name, data, **more):
    """A model with figures or one line, or one line at once; any other exception goes through."""
    try:
        found = read(name, data, **more)
    except ValueError as problem:
        return 0 < len(str(problem)) <= 400 and "\n" not in str(problem)
    quick = view.quick(State().use(found))
    json.dumps(quick, allow_nan=False)
    return "\n" not in quick["error"] and len(quick["error"]) <= 400


@pytest.mark.parametrize(
    "name", ["Llama-3.1-8B", "DeepSeek-V3", "gemma-3-27b-it", "gpt-oss-20b", "Falcon-H1-7B-Base"]
)
def test_a_config_is_the_catalogues_own_model(name):
    own = catalog.model(name)
    found = read("config.json", json.dumps(dict(own.config)).encode())
    state = State().use(found).set(gpu="H200", max_model_len=8192)
    one, two = view.quick(state), view.quick(State().set(model=name, gpu="H200", max_model_len=8192))
    assert found.spec().params_total == own.params_total
    assert [row["bytes"] for row in one["bar"]] == [row["bytes"] for row in two["bar"]]
    assert one["budget"] == two["budget"]


def test_a_gguf_is_the_files_own_model_also_when_its_data_is_cut_off(tmp_path):
    path, total = llama(tmp_path / "tiny.gguf")
    own, whole = readers.model(path), path.read_bytes()
    header = len(whole) - total
    cut = read("tiny.gguf", whole[: header + 1000])
    assert cut.text == read("tiny.gguf", whole).text
    spec = cut.spec()
    assert (spec.name, spec.params_total, spec.gguf_file_type) == (
        "tiny",
        own.params_total,
        own.gguf_file_type,
    )
    assert sum(n * t.count * t.nbytes for t, n in spec.tensors) == total
    assert (spec.layers, spec.max_position_embeddings) == (own.layers, own.max_position_embeddings)
    assert view.quick(State().use(cut).set(engine="llama.cpp", gpu="L4"))["fits"]


def test_a_gguf_cut_in_its_header_is_refused(tmp_path):
    path, _total = llama(tmp_path / "tiny.gguf")
    whole = path.read_bytes()
    tensors = whole.index(b"token_embd.weight")
    for keep in (5, 23, 24, 100, 1000, tensors, whole.rindex(b"ffn_down.weight")):
        with pytest.raises(ValueError, match=r"^my tiny.gguf: not a sound GGUF file") as problem:
            read("my tiny.gguf", whole[:keep])
        assert str(tmp_path) not in str(problem.value)
        assert "vram-upload" not in str(problem.value)


def test_a_safetensors_header_goes_with_the_config_before_it(tmp_path):
    beside = read("config.json", config())
    header = safetensors(llama_tensors())
    data = sum(
        row["data_offsets"][1] - row["data_offsets"][0]
        for row in json.loads(header[8:]).values()
        if "shape" in row
    )
    (tmp_path / "model.safetensors").write_bytes(header + bytes(data))
    (tmp_path / "config.json").write_bytes(config())
    whole = readers.model(tmp_path / "model.safetensors")  # read by the safetensors package itself
    found = read("model.safetensors", header + b"\0" * 10, beside=beside)
    assert (found.spec().layers, found.spec().head) == (whole.layers, whole.head)
    assert found.spec().params_total == whole.params_total
    assert found.spec().exact_bytes
    assert read("other.safetensors", header, beside=found).spec().params_total == whole.params_total
    with pytest.raises(ValueError, match=r"upload its config.json first"):
        read("model.safetensors", header)
    with pytest.raises(ValueError, match="1 of 2 layers have no tensors"):
        read("model-00001-of-00002.safetensors", safetensors(llama_tensors(1)), beside=beside)


def test_a_safetensors_header_may_go_with_a_model_of_the_catalogue():
    with pytest.raises(ValueError, match="layers have no tensors"):
        read("model.safetensors", safetensors(llama_tensors()), beside="Qwen2.5-0.5B")


def test_an_index_gives_its_total():
    beside = read("config.json", config())
    index = {
        "metadata": {"total_size": 300_000},
        "weight_map": dict.fromkeys(llama_tensors(), "a.safetensors"),
    }
    found = read("model.safetensors.index.json", json.dumps(index).encode(), beside=beside)
    assert found.kind == "safetensors"
    assert found.name == "model.safetensors"
    assert sum(n * t.count * max(0, t.nbytes) for t, n in found.spec().tensors) == pytest.approx(
        300_000, abs=20_000
    )
    for wrong in ({"weight_map": []}, {"weight_map": {"a": 1}}, {"weight_map": {}}):
        with pytest.raises(ValueError, match="weight_map names no tensors"):
            read("a.index.json", json.dumps(wrong).encode(), beside=beside)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (b"hello", "is no model file"),
        (b"[1]", r"is no model file.*\(list\)"),
        (b"{}", "num_hidden_layers"),
        (b"\xff\xfe{}", "is no model file"),
        (b"[" * 500_000, "is no model file"),
        (b'{"a":' * 150_000, "is no model file"),
        (b'{"hidden_size": NaN}', "NaN is no number"),
        (b'{"hidden_size": ' + b"9" * 10_000 + b"}", "is no model file"),
        (config(num_hidden_layers=10**12), "num_hidden_layers"),
        (config(num_hidden_layers=9_000), "9,000 layers; 2,000 at most"),
        (config(model_type="mixtral", num_local_experts=10**6, num_experts_per_tok=2), "400,000 at most"),
        (tower(2_000), "tensors around its layers; 20,000 at most"),
        (tower(10**9), "tensors; 400,000 at most"),
        (config(hidden_size="x" * 100_000), "hidden_size"),
        (config(model_type="\n\n".join(["a"] * 3000), hidden_size=None), "hidden_size"),
        (config(padding="x" * MiB), "at most 1.00 MiB"),
        (b"x" * (5 * MiB), "at most 4.00 MiB"),
        (b"GGUF" + b"\0" * (65 * MiB), "at most 64.00 MiB"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60), "announces"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
        (b"\xff" * 7 + b"\0{", "cut off"),
        (struct.pack("<Q", 2) + b"{}", "upload its config.json first"),
        (struct.pack("<Q", 40) + b"{" * 40, "not a sound safetensors header"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_clear_line_within_bounds(data, told):
    tracemalloc.start()
    with pytest.raises(ValueError, match=told) as problem:
        read("../../evil\n name.json", data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(problem.value)
    assert len(str(problem.value)) <= 400
    assert peak < 20 * MiB + 4 * len(data)


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 13]},
        {"dtype": "BF16", "shape": [-2, 3], "data_offsets": [0, 12]},
        {"dtype": "BF16", "shape": [True], "data_offsets": [0, 2]},
        {"dtype": "BF16", "shape": [1 << 50], "data_offsets": [0, 12]},
        {"dtype": "BF16", "shape": [2] * 9, "data_offsets": [0, 1024]},
        {"dtype": "Q9", "shape": [2], "data_offsets": [0, 12]},
        {"dtype": [], "shape": [2], "data_offsets": [0, 12]},
        {"dtype": "BF16", "shape": [2], "data_offsets": ["0", 4]},
        {"dtype": "BF16", "shape": [2]},
        [],
        None,
    ],
)
def test_a_bad_tensor_is_one_clear_line(tensor):
    header = json.dumps({"w": tensor}).encode()
    with pytest.raises(ValueError, match="safetensors"):
        read("m.safetensors", struct.pack("<Q", len(header)) + header, beside=read("config.json", config()))


def test_nothing_is_left_and_the_readers_names_are_never_used(tmp_path, monkeypatch):
    path, _ = llama(tmp_path / "tiny.gguf")
    data, folder, seen = path.read_bytes(), tmp_path / "temporary", []
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    own = sources.gguf.read
    monkeypatch.setattr(sources.gguf, "read", lambda path, **more: seen.append(path) or own(path, **more))
    for name in ("../../outside.gguf", "/etc/passwd", "C:\\windows\\a.gguf", "a\0b.gguf", "x" * 5000):
        assert read(name, data).spec().num_hidden_layers == 4
        with pytest.raises(ValueError, match="not a sound GGUF file"):
            read(name, data[:400])
        read(name, config())
    assert {p.name for p in seen} == {"model.gguf"}
    assert all(p.parent.parent == folder for p in seen)
    assert list(folder.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["temporary", "tiny.gguf"]


@SLOW
@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda b: b"GGUF\x03\0\0\0" + b))
def test_no_bytes_are_anything_but_a_model_or_a_line(data):
    assert usable_or_one_line("a.bin", data)


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory):
    return llama(tmp_path_factory.mktemp("gguf") / "tiny.gguf")[0].read_bytes()


@SLOW
@given(at=st.integers(0, 3000), patch=st.binary(min_size=1, max_size=8), keep=st.integers(100, 12_000))
def test_no_damaged_gguf_is_anything_but_a_model_or_a_line(gguf_file, at, patch, keep):
    data = bytearray(gguf_file)
    data[at : at + len(patch)] = patch
    assert usable_or_one_line("a.gguf", bytes(data[:keep]))


ODD = st.sampled_from(
    (None, True, 0, -1, 1, 10**6, 10**30, 1e300, "", "x", [], [1, 2], {}, {"a": 1}, [[]], "10")
)


@SLOW
@given(st.data())
def test_no_config_is_anything_but_a_model_or_a_line(data):
    model = data.draw(
        st.sampled_from(
            ("Llama-3.1-8B", "DeepSeek-V3", "gemma-3-27b-it", "Qwen3-30B-A3B", "Falcon-H1-7B-Base")
        )
    )
    fields = dict(names.model(model).config)
    for key in data.draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3)):
        fields[key] = data.draw(ODD)
    assert usable_or_one_line("config.json", json.dumps(fields).encode())


@SLOW
@given(st.data())
def test_no_safetensors_header_is_anything_but_a_model_or_a_line(data):
    tensors = llama_tensors()
    for name in data.draw(st.lists(st.sampled_from(sorted(tensors)), max_size=4)):
        tensors[name] = ("BF16", tuple(data.draw(st.lists(st.integers(0, 10**6), max_size=4))))
    whole = bytearray(safetensors(tensors))
    for _ in range(data.draw(st.integers(0, 2))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    keep = data.draw(st.integers(0, len(whole)))
    assert usable_or_one_line("a.safetensors", bytes(whole[: max(keep, 9)]), beside="Qwen2.5-0.5B")
    assert usable_or_one_line("a.safetensors", bytes(whole), beside=read("config.json", config()))


def test_sizes_that_no_layer_has_are_one_clear_line():
    tensors = llama_tensors() | {"model.embed_tokens.weight": ("BF16", ())}
    odd = read("a.safetensors", safetensors(tensors), beside=read("config.json", config()))
    found = view.quick(State().use(odd).set(engine="llama.cpp"))
    assert found["error"].startswith("a.safetensors cannot be computed: its sizes make no sense together")


def test_what_a_saved_state_brings_along_is_checked_like_an_upload():
    for kind, text in (
        ("gguf", "{}"),
        ("gguf", "[]"),
        ("safetensors", '{"tensors": 3}'),
        ("config", "[]"),
        ("config", '"x"'),
    ):
        name = {"gguf": "a.gguf", "safetensors": "a.safetensors", "config": "a.json"}[kind]
        saved = {"version": 1, "configurations": [{"fields": {"model": name}}]}
        saved["models"] = [{"name": name, "kind": kind, "data": json.loads(text)}]
        found = view.quick(State.from_json(json.dumps(saved)))
        assert found["error"]
        assert "\n" not in found["error"]
        assert len(found["error"]) <= 400
    with pytest.raises(ValueError, match="too large to keep"):
        Upload(name="a.json", kind="config", text="x" * (MOST_CHARACTERS + 1))


def test_what_a_file_says_is_cut_to_a_page():
    texts = read("config.json", config(model_type="m" * 50_000, torch_dtype="y" * 50_000))
    quick = view.quick(State().use(texts))
    assert len(json.dumps({k: v for k, v in quick.items() if k != "link"})) < 20_000


def test_search_finds_names_as_people_type_them():
    assert sources.search("llama 3.1 8b") == ["meta-llama/Llama-3.1-8B"]
    assert sources.search("qwen3-8b")[0] == "Qwen/Qwen3-8B"
    assert sources.search("qwen2.5-7B instruct AWQ")[0] == "qwen2.5-7B instruct AWQ"
    assert State().set(model="qwen2.5-7B instruct AWQ").given()["model"].quantization.name == "awq"
    assert sources.search("llama3.1-8b")[0] == "meta-llama/Llama-3.1-8B"
    assert "Qwen/Qwen3-8B" in sources.search("Qwn3-8B")
    assert sources.search("no such thing at all") == []
    for text in ("", "a", "x" * 10**6, "\0", "q" * 99, "[", "8b"):
        found = sources.search(text)
        assert len(found) <= sources.MOST_NAMES
        assert set(found) <= set(names.models())
    some = random.Random(2).sample(names.models(), 30)
    assert [name for name in some if name not in sources.search(name)] == []
