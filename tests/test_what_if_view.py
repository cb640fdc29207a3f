"""Every figure of the page is an estimate's, one by one; every control moves one."""

import csv
import io
import json
import random

import pytest

import vramlib
from vramlib import catalog, commands, contract, fields
from vramlib.report.questions import context_batch_rows
from vramlib.specs import PART_KEYS
from vramlib.what_if import State, cards, compare, controls, fit_map, saved, sensitivity, view
from vramlib.what_if.settings import READ, known

MODELS = ("Llama-3.1-8B", "gemma-3-27b-it", "Qwen3-30B-A3B", "DeepSeek-V2-Lite", "Qwen2.5-0.5B")
CARDS = ("L4", "A10G", "H100-80GB", "RTX-4090", "A100-40GB")
ENGINES = tuple(READ)
STARTS = {"gpu": "A100-80GB", "batch_size": 8}


def random_state(seed, engine):
    """Some controls moved somewhere; what the engine refuses is tried again."""
    chance = random.Random(f"{engine} {seed}")
    while True:
        state = State().set(model=chance.choice(MODELS), gpu=chance.choice(CARDS), engine=engine)
        for name in chance.sample(READ[engine], 4):
            if name not in ("gpu", "engine"):
                state = state.set(**{name: chance.choice(known(name, engine, 32_768))})
        if not view.quick(state)["error"]:
            return state


def asked(state, **changes):
    """The estimate of the current fields by the package's front door alone."""
    return vramlib.estimate(**{"max_model_len": "auto", **state.fields, **changes})


@pytest.fixture(
    params=[(engine, seed) for engine in ENGINES for seed in range(3)], ids=lambda p: f"{p[0]}-{p[1]}"
)
def state(request):
    engine, seed = request.param
    return random_state(seed, engine)


def test_quick_is_the_estimate(state):
    found, e = view.quick(state), asked(state)
    assert [row["bytes"] for row in found["bar"]] == [p.bytes for p in e.parts]
    assert [row["key"] for row in found["bar"]] == list(PART_KEYS)
    figures = ("total_bytes", "card_bytes", "headroom_bytes", "fits", "verdict")
    wanted = (e.total_bytes, e.gpu.memory_bytes, e.headroom_bytes, e.fits, e.verdict)
    assert tuple(found[name] for name in figures) == wanted
    assert found["command"] == commands.command_line(e.scenario) == saved.command(state)
    assert found["settings"] == contract.scenario(e.scenario)
    assert len(found["budget"]) == (
        0 if e.budget is None else sum(v is not None for v in contract.to_dict(e)["budget"].values())
    )
    assert State.from_link(found["link"]) == state


def test_everything_is_json(state):
    found = [view.quick(state), view.details(state), controls(state)]
    assert json.loads(json.dumps(found, allow_nan=False)) is not None
    assert list(found[1]) == ["error", *view.DETAILS]


def test_the_map_is_the_estimates_and_a_click_goes_there(state):
    rows = fit_map.rows(state)
    assert len(rows) >= 7
    for row in random.Random(1).sample(rows, 7):
        e = asked(state, **row["set"])
        assert (row["total_bytes"], row["fits"]) == (e.total_bytes, e.fits)
        there = view.quick(state.set(**row["set"]))
        assert (there["total_bytes"], there["fits"]) == (e.total_bytes, e.fits)


def test_the_map_is_that_of_the_report(state):
    """One scenario at a time, as the report makes it; sequences fill their context."""
    given = {"max_model_len": "auto", **state.fields}
    wanted = [
        (r["context_tokens"], r["batch_size"], r["total_bytes"], r["fits"])
        for r in context_batch_rows(given, asked(state))
    ]
    rows = fit_map.rows(state)
    assert [(r["context_tokens"], r["batch_size"], r["total_bytes"], r["fits"]) for r in rows] == wanted
    for row in rows:
        assert row["set"]["prompt_tokens"] + row["set"]["new_tokens"] == row["context_tokens"]


def test_the_cards_are_the_estimates(state):
    rows = {row["gpu"]: row for row in cards.rows(state)}
    for card in catalog.gpus():
        try:
            e = asked(state, gpu=card.name)
        except (ValueError, KeyError):
            assert card.name not in rows
            continue
        row = rows[card.name]
        assert (row["total_bytes"], row["fits"], row["headroom_bytes"]) == (
            e.total_bytes,
            e.fits,
            e.headroom_bytes,
        )
        assert row["max_model_len"] == e.scenario.max_model_len
        if e.fits and e.budget is not None:
            assert row["concurrency"] == e.budget.max_concurrency
    assert [row["gpu"] for row in rows.values() if row["current"]] == [state.fields["gpu"]]


def test_the_sensitivity_is_the_estimates(state):
    now = asked(state)
    held = {} if now.scenario.engine == "transformers" else {"max_model_len": now.scenario.max_model_len}
    rows = sensitivity.rows(state)
    assert len(rows) >= 4
    for row in rows:
        totals = [now.total_bytes]
        for side in ("down", "up"):
            value, total = row[f"value_{side}"], row[f"total_bytes_{side}"]
            if total is not None:
                e = asked(state, **{**held, row["setting"]: value})
                assert (total, row[f"fits_{side}"]) == (e.total_bytes, e.fits)
                totals.append(total)
        assert row["total_bytes"] == now.total_bytes
        assert (row["total_bytes_low"], row["total_bytes_high"]) == (min(totals), max(totals))
        assert row["delta"] == max(abs(total - now.total_bytes) for total in totals)
    assert [row["delta"] for row in rows] == sorted((row["delta"] for row in rows), reverse=True)


def test_a_step_is_one_value_of_the_control(state):
    limit = asked(state).model.max_position_embeddings
    for row in sensitivity.rows(state):
        values = [v for v in known(row["setting"], state.fields["engine"], limit) if v is not None]
        down, up = row["value_down"], row["value_up"]
        assert down is None or down in values
        assert up is None or up in values
        if down is not None and up is not None:
            assert values.index(up) - values.index(down) in (1, 2)


def figures(state):
    found = view.quick(state)
    return None if found["error"] else (found["bar"], found["budget"], found["card_bytes"], found["fits"])


@pytest.mark.parametrize("engine", ENGINES)
def test_every_control_moves_a_figure(engine):
    start = State().set(model="Llama-3.1-8B", engine=engine, **STARTS)
    found = controls(start)
    assert [c["field"] for c in found] == list(READ[engine])
    for control in found:
        assert len(control["texts"]) == len(control["values"]) == len(set(control["texts"]))
        assert control["label"]
        assert control["flag"]
        moved = [figures(start.set(**{control["field"]: value})) for value in control["values"]]
        assert any(there not in (None, figures(start)) for there in moved), control["field"]


def test_a_control_stands_where_its_field_is():
    state = State().set(
        max_num_seqs=1000, prompt_tokens=[5, 6], gpu_memory_utilization=0.91, quantization="w4a16"
    )
    places = {c["field"]: c for c in controls(state)}
    for name in ("max_num_seqs", "gpu_memory_utilization", "quantization"):
        assert places[name]["values"][places[name]["start"]] == state.fields[name]
    seqs = places["max_num_seqs"]
    assert seqs["values"][seqs["start"] - 1 : seqs["start"] + 2] == [512, 1000, 1024]
    lengths = places["prompt_tokens"]
    assert state.set(prompt_tokens=lengths["values"][lengths["start"]]) == state


def test_only_what_an_engine_reads_can_be_moved():
    assert set(READ["vllm"]) - set(READ["llama.cpp"]) >= {
        "max_num_seqs",
        "gpu_memory_utilization",
        "enforce_eager",
    }
    assert {"n_ubatch", "n_gpu_layers", "flash_attn", "n_seq_max"}.isdisjoint(READ["vllm"])
    assert {name for names in READ.values() for name in names} <= set(fields.NAMES)


def test_an_error_leaves_the_figure_to_the_page():
    state = State().set(tensor_parallel_size=7)
    found = view.quick(state)
    assert set(found) == {"error", "link"}
    assert found["error"].startswith("tensor_parallel_size 7 does not divide")
    assert view.details(state) == {"error": found["error"]}
    assert State.from_link(found["link"]) == state


def test_both_languages_have_the_same_numbers():
    for model in ("Llama-3.1-8B", "Llama-3.1-70B"):
        english = State().set(model=model, gpu="L4")
        other = State(language="vi").set(model=model, gpu="L4")
        one, two = view.quick(english), view.quick(other)
        assert [text for _, text in one["budget"]] == [text for _, text in two["budget"]]
        assert one["verdict"] != two["verdict"]
        assert one["bar"][0]["part"] != two["bar"][0]["part"]
        assert [row["bytes"] for row in one["bar"]] == [row["bytes"] for row in two["bar"]]
        assert one["fits"] == two["fits"] == (model == "Llama-3.1-8B")


def test_configurations_side_by_side_with_their_differences():
    state = (
        State().set(gpu="L4", max_model_len=8192).add("wider").set(batch_size=4).add().set(gpu="H100-80GB")
    )
    found = compare.table(state)
    three = [vramlib.estimate(**c.fields) for c in state.configurations]
    assert found["columns"] == ["1: Llama-3.1-8B", "wider", "3: Llama-3.1-8B"]
    assert found["figures"]["total"] == [e.total_bytes for e in three]
    for key in PART_KEYS:
        assert found["figures"][key] == [e.part(key).bytes for e in three]
    assert found["figures"]["kv_pool_tokens"] == [e.budget.kv_pool_tokens for e in three]
    rows = {label: texts for label, *texts in found["rows"]}
    more = (three[1].part("kv_cache").bytes - three[0].part("kv_cache").bytes) / 2**30
    assert rows["KV cache"][1].endswith(f"(+{more:.2f} GiB)")
    assert rows["Model weights"][1].endswith("(=)")
    assert rows["the card"] == ["L4", "L4", "H100-80GB"]
    assert [sum(r["bytes"] for r in found["bars"] if r["place"] == n) for n in range(3)] == [
        e.total_bytes for e in three
    ]
    assert found["memory_bytes"] == [e.gpu.memory_bytes for e in three]
    assert all(len(row) == 4 for row in found["rows"])


def test_a_configuration_that_cannot_be_used_takes_no_other_with_it():
    state = State().set(gpu="L4", max_model_len=8192).add().set(tensor_parallel_size=7).select(0)
    found = compare.table(state)
    assert found["errors"][0] == ""
    assert found["errors"][1].startswith("tensor_parallel_size 7")
    assert found["figures"]["total"][0] == vramlib.estimate(**state.fields).total_bytes
    assert found["figures"]["total"][1] is None
    assert found["rows"][-1][1]
    assert {row["place"] for row in found["bars"]} == {0}
    lines = list(csv.DictReader(io.StringIO(saved.csv(state))))
    assert [bool(line["error"]) for line in lines] == [False, True]


def test_the_csv_is_read_by_a_sweep_and_answers_the_same(tmp_path):
    from vramlib import sweep

    state = (
        State()
        .set(gpu="L4", enforce_eager=True)
        .add("=two")
        .set(prompt_tokens=[100, 200])
        .add()
        .set(engine="llama.cpp")
    )
    text = saved.csv(state)
    (tmp_path / "in.csv").write_text(text, encoding="utf-8")
    assert sweep.run(tmp_path / "in.csv", tmp_path / "out.csv").bad_rows == 0
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == text
    assert [row["configuration"] for row in csv.DictReader(io.StringIO(text))] == [
        "1: Llama-3.1-8B",
        "'=two",
        "3: Llama-3.1-8B",
    ]


def test_pictures_have_the_parts_in_both_languages():
    for language, word in (("en", "Model weights"), ("vi", "Trọng số mô hình")):
        state = State(language=language).set(gpu="L4")
        assert word in saved.svg(state)
    assert saved.png(state).startswith(b"\x89PNG\r\n")
    for make in (saved.svg, saved.png, saved.command, saved.report):
        with pytest.raises(ValueError, match="tensor_parallel_size 7"):
            make(State().set(tensor_parallel_size=7))


@pytest.mark.notebooks
def test_the_report_is_that_of_the_current_configuration():
    page = saved.report(State().add().set(gpu="L4", max_model_len=8192, batch_size=3)).decode()
    assert "Llama-3.1-8B on L4" in page
    assert "3 sequences of 1024 + 256 tokens" in page


def test_the_why_has_every_formula_with_its_numbers():
    state = State().set(gpu="L4", batch_size=4)
    e = vramlib.estimate(**state.fields, max_model_len="auto")
    found = view.details(state)["why"]
    for part in e.parts:
        assert f"### {part.name}" in found
        for term in part.terms:
            assert not term.bytes or term.worked in found
