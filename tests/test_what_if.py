"""States come back from a file and a link as they were; whatever else comes in is one clear line."""

import base64
import json
import tracemalloc
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vramlib import fields, messages, names, readers
from vramlib.what_if import Configuration, State, controls, stored, view
from vramlib.what_if.uploads import Upload, clean

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
CONFIG = {"model_type": "llama", "vocab_size": 100, **SIZES}
TOKENS = st.integers(1, 10**7)
LISTS = TOKENS | st.lists(TOKENS, min_size=1, max_size=5)
VALUES = {
    "model": st.sampled_from(names.models()[:40]) | st.text(min_size=1, max_size=30).filter(str.strip),
    "gpu": st.sampled_from(("L4", "H100-80GB", "4090")),
    "prompt_tokens": LISTS,
    "new_tokens": LISTS,
    "gpu_memory_utilization": st.floats(0.01, 1),
    "gpu_memory_bytes": st.integers(1 << 20, 10**18),
    "flash_attn": st.booleans(),
    "enforce_eager": st.booleans(),
    "max_model_len": TOKENS | st.just("auto"),
    "batch_size": TOKENS,
    "engine_version": st.sampled_from(("0.19.0", "0.9.1")),
    "quantization": st.sampled_from(("fp8", "awq", "Q4_K_M")),
    "kv_cache_dtype": st.sampled_from(("auto", "fp8")),
    "n_gpu_layers": st.integers(-1, 100),
}
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def configurations(draw):
    chosen = draw(st.sets(st.sampled_from(sorted(VALUES))))
    given_fields = {name: draw(VALUES[name]) for name in sorted(chosen | {"model"})}
    return Configuration(name=draw(NAMES), fields=given_fields)


@st.composite
def states(draw):
    several = tuple(draw(st.lists(configurations(), min_size=1, max_size=4)))
    numbers = draw(st.lists(st.integers(1, 9), max_size=2, unique=True))
    models = [
        Upload(name=f"m{n}.json", kind="config", text=stored.compact({**CONFIG, "vocab_size": n}))
        for n in numbers
    ]
    return State(
        language=draw(st.sampled_from(messages.LANGUAGES)),
        current=draw(st.integers(0, len(several) - 1)),
        configurations=several,
        models={m.name: m for m in models},
    )


@given(states())
def test_a_state_comes_back_from_a_file(state):
    assert State.from_json(state.to_json()) == state
    assert State.from_json(state.to_json().encode()) == state


@given(states())
def test_a_state_comes_back_from_a_link(state):
    link = state.to_link()
    assert len(link) <= stored.LONGEST_LINK
    assert State.from_link(link) == state
    assert State.from_link(f"http://127.0.0.1:8866/voila?token=1#{link}") == state


def test_one_configuration_is_a_link_to_read_and_to_write():
    state = State().set(gpu="L4", prompt_tokens=[100, 200], enforce_eager=True)
    assert state.to_link() == "model=Llama-3.1-8B&gpu=L4&prompt_tokens=100;200&enforce_eager=true"
    assert State.from_link("model=Qwen3-8B&max-model-len=8k").fields == {
        "model": "Qwen3-8B",
        "max_model_len": 8000,
    }


def test_what_is_too_large_for_a_link_is_told_to_go_into_a_file():
    many = {f"key{n}": f"{n * 7919:x}" for n in range(3000)}
    state = State().use(Upload(name="m.json", kind="config", text=stored.compact({**CONFIG, **many})))
    with pytest.raises(ValueError, match=r"too much for a link .* save a file"):
        state.to_link()
    assert view.link(state) == ""
    assert State.from_json(state.to_json()) == state


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON"),
        ("[]", "an object with configurations"),
        ('{"configurations": []}', "version is None; this vramlib reads version 1"),
        ('{"version": 2, "configurations": []}', "version is 2"),
        ('{"version": true, "configurations": []}', "version is True"),
        ('{"version": 1, "configurations": []}', "0 configurations; 1 to 4"),
        ('{"version": 1, "configurations": [1]}', "configurations is a list of at most 4 objects"),
        ('{"version": 1, "configurations": [{}, {}, {}, {}, {}]}', "configurations is a list of at most 4"),
        ('{"version": 1, "configurations": [{"fields": {}}]}', "model is not given"),
        ('{"version": 1, "configurations": [{"fields": []}]}', "fields are names with values"),
        ('{"version": 1, "configurations": [{"fields": {"model": "a"}, "nmae": ""}]}', "nearest: name"),
        ('{"version": 1, "configurations": [{"fields": {"model": {}}}]}', "neither text nor a number"),
        ('{"version": 1, "configurations": [{"name": 1, "fields": {"model": "a"}}]}', "name is text"),
        ('{"version": 1, "languge": "en", "configurations": []}', "nearest: language"),
        ('{"version": 1, "language": "fr", "configurations": [{"fields": {"model": "a"}}]}', "'fr'; en or vi"),
        ('{"version": 1, "current": 1, "configurations": [{"fields": {"model": "a"}}]}', "current is 1"),
        ('{"version": 1, "current": "0", "configurations": [{"fields": {"model": "a"}}]}', "current is 0"),
        ('{"version": 1, "configurations": [{"fields": {"model": "a", "gpuu": "L4"}}]}', "nearest: gpu"),
        ('{"version": 1, "configurations": [{"fields": {"model": "a", "batch_size": NaN}}]}', "NaN is no number"),
        ('{"version": 1, "configurations": [{"fields": {"model": "a", "batch_size": 1e999}}]}', "batch_size"),
        ('{"version": 1, "configurations": [{"fields": {"model": "%s"}}]}' % ("a" * 300), "longer than 200"),
        ('{"version": 1, "models": [{"name": "a.json"}], "configurations": []}', "has name, kind and data"),
        (
            '{"version": 1, "models": [{"name": "../a.json", "kind": "config", "data": {}}], "configurations": []}',
            "letters, digits",
        ),
        ('{"version": 1, "models": [{"name": "a", "kind": [], "data": 1}], "configurations": []}', "kind is '\\[\\]'"),
        ("[" * 100_000, "not JSON"),
        ('{"configurations": ' * 50_000, "not JSON"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_state_is_one_clear_line(text, told):
    with pytest.raises(ValueError, match=told) as problem:
        State.from_json(text)
    assert "\n" not in str(problem.value)
    assert len(str(problem.value)) < 400


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("", "no state is in this link"),
        ("#", "no state is in this link"),
        ("model", "no state is in this link"),
        ("gpu=L4", "model is not given"),
        ("model=a&model=b", "'model' twice"),
        ("model=a&gpuu=L4", "nearest: gpu"),
        ("model=a&batch_size=-1", "batch_size"),
        ("z=", "cut off"),
        ("z=!!!!", "damaged"),
        ("z=AAAA", "damaged"),
        ("model=" + "a" * 9000, "8,000 at most"),
        ("&".join(f"a{n}=1" for n in range(200)), "no state is in this link"),
    ],
)
def test_a_link_without_a_state_is_one_clear_line(link, told):
    with pytest.raises(ValueError, match=told):
        State.from_link(link)


def state_or_line(read, text):
    """A state, or the one line that says why not; any other exception goes through."""
    try:
        return isinstance(read(text), State)
    except ValueError as problem:
        return 0 < len(str(problem)) < 1000 and "\n" not in str(problem)


@given(st.text(max_size=300) | st.binary(max_size=300))
def test_no_text_is_anything_but_a_state_or_a_line(text):
    for read in (State.from_json, *((State.from_link,) if isinstance(text, str) else ())):
        assert state_or_line(read, text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.fixed_dictionaries(
        {
            "version": st.just(1),
            "configurations": st.lists(st.fixed_dictionaries({"fields": JSON}), max_size=2),
        },
        optional={"models": JSON, "language": JSON, "current": JSON},
    )
)
def test_no_data_is_anything_but_a_state_or_a_line(data):
    assert state_or_line(State.from_json, json.dumps(data))


def packed(data):
    return "z=" + base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_a_link_never_unpacks_to_more_than_it_may():
    bomb = packed(zlib.compress(b" " * 5_000_000, 9))
    assert len(bomb) < stored.LONGEST_LINK
    tracemalloc.start()
    with pytest.raises(ValueError, match="unpacks to more than 1,048,576 bytes"):
        State.from_link(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * stored.MOST_UNPACKED


def test_a_cut_link_is_told():
    whole = zlib.compress(stored.to_json(State()).encode())
    assert State.from_link(packed(whole)) == State()
    for end in range(0, len(whole) - 4, 7):
        with pytest.raises(ValueError, match=r"cut off|damaged"):
            State.from_link(packed(whole[:end]))


def test_a_state_changes_by_copies():
    first = State().set(gpu="L4", max_num_seqs=8)
    two = first.add("b").set(batch_size=4)
    assert [c.fields.get("batch_size") for c in two.configurations] == [None, 4]
    assert two.current == 1
    assert two.remove() == first
    assert two.select(0).rename("a").configurations[0].name == "a"
    assert "max_num_seqs" not in first.set(max_num_seqs=None).fields
    assert first.set(engine="llama.cpp").fields == {
        "model": "Llama-3.1-8B",
        "gpu": "L4",
        "engine": "llama.cpp",
    }
    with pytest.raises(ValueError, match="5 configurations; 1 to 4"):
        two.add().add().add()
    with pytest.raises(ValueError, match="0 configurations"):
        first.remove()


def upload(vocabulary=100):
    text = stored.compact({**CONFIG, "vocab_size": vocabulary})
    return Upload(name="config.json", kind="config", text=text)


def test_uploads_of_one_name_keep_apart_and_are_forgotten_when_unused():
    state = State().use(upload(100)).add().use(upload(200))
    assert [c.fields["model"] for c in state.configurations] == ["config.json", "config-2.json"]
    assert [state.select(n).given()["model"].vocab_size for n in (0, 1)] == [100, 200]
    assert list(state.set(model="Qwen3-8B").use(upload(100)).models) == ["config.json"]
    assert state.use(upload(200)) == state


def test_a_state_never_reads_a_file_of_this_machine(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    assert readers.model(str(path)).vocab_size == 100
    monkeypatch.chdir(tmp_path)
    for name in (str(path), str(tmp_path), "config.json", "./config.json", ".", "/etc/hostname"):
        for changes in ({"model": name}, {"speculative_model": name, "num_speculative_tokens": 1}):
            assert view.quick(State().set(**changes))["error"].startswith("no model named")


@given(st.text(max_size=200))
def test_a_name_of_an_upload_is_plain_and_stays_the_same(text):
    name = clean(text, "gguf")
    assert name == clean(name, "gguf")
    assert name.endswith(".gguf")
    assert not set(name) & set("/\\<>&'\"\0\n")
    assert len(name) <= 80


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(states())
def test_any_state_has_figures_or_a_line(state):
    found = view.quick(state)
    assert "\n" not in found["error"]
    json.dumps(found, allow_nan=False)
    json.dumps(controls(state), allow_nan=False)


def test_every_field_of_a_scenario_can_be_kept():
    examples = {"choice": lambda f: f.choices[0], "bool": lambda f: True, "fraction": lambda f: 0.5}
    examples |= {"size": lambda f: 1 << 30, "text": lambda f: "ngram"}
    state = State()
    for field in fields.FIELDS:
        if field.name not in ("model", "gpu"):
            state = state.set(**{field.name: examples.get(field.kind, lambda f: max(1, f.minimum))(field)})
    state = state.set(cache_type_k="q8_0", engine_version="0.19.0")
    assert set(state.fields) == {f.name for f in fields.FIELDS} - {"gpu"}
    assert State.from_link(state.to_link()) == state == State.from_json(state.to_json())
