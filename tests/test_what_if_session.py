"""What the dashboard asks of the kernel: each control changes a figure, each mistake is one line and loses nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from vramlib import app, widgets
from vramlib.what_if import State, view
from vramlib.what_if.dashboard import FILES, WORDS, Dashboard
from vramlib.what_if.pieces import piece
from vramlib.what_if.session import Session

CONFIG = {
    "model_type": "llama", "vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 4096,
}  # fmt: skip


def page(**fields: Any) -> Session:
    return Session(State().set(model="Llama-3.1-8B", gpu="L4", max_model_len=8192, **fields))


def figures(reply: dict) -> tuple:
    """What a reader sees move: the bar and the budget, not the command."""
    return reply["quick"]["rows"], reply["quick"]["budget"], reply["quick"]["verdict"]


ENGINES = {
    "vllm": {"batch_size": 4},
    "sglang": {"batch_size": 4},
    "transformers": {"batch_size": 4},
    "llama.cpp": {"batch_size": 4, "n_seq_max": 4},
}


@pytest.mark.parametrize("engine", ENGINES)
def test_each_control_moved_changes_its_figure(engine: str) -> None:
    start = Session(State().set(model="Llama-3.1-8B", gpu="L4", engine=engine, **ENGINES[engine]))
    before = start.reply({"do": "show"})
    assert before["quick"]["error"] == ""
    still = []
    for control in before["controls"]:
        field, values = control["field"], control["values"]
        others = [v for place, v in enumerate(values) if place != control["start"]]
        replies = [Session(start.state).reply({"do": "move", "fields": {field: v}}) for v in others]
        drawn = [r for r in replies if "quick" in r and not r["quick"]["error"]]
        if not any(figures(r) != figures(before) for r in drawn):
            still.append(field)
    assert still == []


def test_each_value_of_each_control_is_taken_or_refused_in_one_line() -> None:
    start = page()
    for control in start.reply({"do": "show"})["controls"]:
        for value in control["values"]:
            reply = Session(start.state).reply({"do": "move", "fields": {control["field"]: value}})
            error = reply.get("error") or reply["quick"]["error"]
            assert "\n" not in error
            assert len(error) < 400


def test_a_control_left_to_the_engine_says_what_the_engine_takes() -> None:
    controls = {c["field"]: c for c in page().reply({"do": "show"})["controls"]}
    assert controls["max_num_seqs"]["now"] == "auto: 256"
    assert "now" not in controls["max_model_len"]


MISTAKES = (
    ({"do": "fly"}, "no deed 'fly'"),
    ({}, "no deed 'None'"),
    ({"do": "move"}, "fields are names with values"),
    ({"do": "move", "fields": {"max_modl_len": 1}}, "nearest: max_model_len"),
    ({"do": "move", "fields": {"self": 1}}, "no field named 'self'"),
    ({"do": "move", "fields": {"batch_size": "many"}}, "batch_size is 'many'"),
    ({"do": "move", "fields": {"engine": "triton"}}, "engine"),
    ({"do": "switch", "at": 3}, "current is 3; 0 to 0 are there"),
    ({"do": "switch"}, "at is the place of a configuration"),
    ({"do": "remove", "at": 0}, "0 configurations; 1 to 4"),
    ({"do": "rename", "name": "x" * 500}, "name is text of at most"),
    ({"do": "paste", "text": "hello"}, "hello|JSON|config"),
    ({"do": "paste", "text": ""}, "empty"),
    ({"do": "paste", "text": "[1]"}, "config.json"),
    ({"do": "open", "text": "#nothing"}, "no state is in this link"),
    ({"do": "open", "text": "{"}, "not JSON"),
    ({"do": "open", "text": "#z=AAAA"}, "damaged"),
    ({"do": "upload", "key": "k", "name": "m.gguf", "start": 7, "last": True}, "did not arrive whole"),
)


@pytest.mark.parametrize(("question", "said"), MISTAKES, ids=[str(q)[:40] for q, _ in MISTAKES])
def test_a_mistake_is_one_line_and_changes_nothing(question: dict, said: str) -> None:
    session = page(batch_size=4)
    before = session.state
    reply = session.reply(question)
    assert list(reply) == ["error"]
    assert any(word in reply["error"] for word in said.split("|")), reply["error"]
    assert "\n" not in reply["error"]
    assert session.state is before


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"GGUF", b"gpu;per_hour\n", b"gpu,per_hour\nL5,1\n", b"\xff" * 9]
)
@pytest.mark.parametrize("do", ["state", "prices"])
def test_a_bad_file_is_one_line_and_changes_nothing(do: str, data: bytes) -> None:
    session = page()
    before, prices = session.state, session.prices
    reply = session.reply({"do": do}, [data])
    assert list(reply) == ["error"]
    assert reply["error"].count("\n") == 0
    assert (session.state, session.prices) == (before, prices)


def test_an_upload_arrives_in_pieces_and_keeps_its_model() -> None:
    data, session = json.dumps(CONFIG).encode(), page()
    first = {"do": "upload", "key": "k", "name": "../mine.json", "start": 0, "last": False}
    assert session.reply(first, [data[:20]]) == {}
    assert session.state == page().state
    reply = session.reply({**first, "start": 20, "last": True}, [data[20:]])
    assert reply["model"] == "mine.json"
    assert "mine" in reply["quick"]["verdict"]
    assert session.reply({"do": "search", "text": "MIN"})["names"][0] == "mine.json"


def test_a_piece_out_of_its_place_ends_the_upload() -> None:
    session = page()
    first = {"do": "upload", "key": "k", "name": "m.json", "start": 0, "last": False}
    session.reply(first, [b"{"])
    assert "did not arrive whole" in session.reply({**first, "start": 5, "last": True}, [b"}"])["error"]
    assert "did not arrive whole" in session.reply({**first, "key": "other", "start": 1}, [b"}"])["error"]


def test_configurations_are_added_named_compared_and_removed() -> None:
    session = page(batch_size=4)
    for place in range(1, 4):
        added = session.reply({"do": "add"})
        assert added["configurations"]["current"] == place
    assert "1 to 4 are compared" in session.reply({"do": "add"})["error"]
    session.reply({"do": "move", "fields": {"kv_cache_dtype": "fp8"}})
    session.reply({"do": "rename", "name": "narrow"})
    table = piece("compare", session.state, session.prices)["data"]
    assert table["columns"][3] == "narrow"
    assert table["rows"][0] == ["kv_cache_dtype", "auto", "auto", "auto", "fp8"]
    assert {row["bar"] for row in table["drawn"]} == set(table["columns"])
    left = session.reply({"do": "remove", "at": 0})["configurations"]
    assert left["names"][-1] == "narrow"


def test_a_combination_that_no_engine_takes_keeps_the_figures_and_the_others() -> None:
    session = page()
    session.reply({"do": "add"})
    refused = session.reply({"do": "move", "fields": {"tensor_parallel_size": 7}})
    assert "does not divide" in refused["quick"]["error"]
    assert "rows" not in refused["quick"]
    assert piece("map", session.state, session.prices) == {}
    table = piece("compare", session.state, session.prices)["data"]
    assert {row["place"] for row in table["drawn"]} == {0}


def test_reset_keeps_the_model_and_the_card() -> None:
    session = page(batch_size=64, engine="sglang")
    fields = dict(session.reply({"do": "reset"}) and session.state.fields)
    assert fields == {"model": "Llama-3.1-8B", "gpu": "L4", "max_model_len": 8192}


def test_prices_rank_the_cards_and_say_what_was_left_out() -> None:
    session = page()
    reply = session.reply({"do": "prices"}, [b"gpu,per_hour,currency\nA10,0.5,USD\nL4,0.7,USD\nL5,1,USD\n"])
    assert "L5" in reply["said"]
    cards = piece("cards", session.state, session.prices)
    assert [row["gpu"] for row in cards["data"][:2]] == ["A10", "L4"]
    assert cards["currency"] == "USD"


def test_a_link_brings_everything_back_in_the_pages_own_language() -> None:
    session = page(batch_size=4)
    session.reply({"do": "paste", "text": json.dumps(CONFIG)})
    session.reply({"do": "add"})
    link = session.reply({"do": "move", "fields": {"batch_size": 8}})["quick"]["link"]
    other = Session(State(language="vi"))
    assert other.reply({"do": "open", "text": f"http://127.0.0.1:1/#{link}"})["error"] == ""
    assert other.state.configurations == session.state.configurations
    assert other.state.language == "vi"
    again = Session(State())
    again.reply({"do": "state"}, [session.state.to_json().encode()])
    assert again.state == session.state


@pytest.mark.parametrize("kind", sorted(set(FILES) - {"report"}))
def test_files_hold_what_is_shown(kind: str) -> None:
    _, _, make = FILES[kind]
    data = make(page(batch_size=4).state)
    begins = {"csv": b"configuration,", "png": b"\x89PNG", "svg": b"<svg", "state": b"{"}[kind]
    assert data.startswith(begins)


def test_each_question_gets_one_reply_even_when_something_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    dashboard = widgets.what_if(model="Llama-3.1-8B", gpu="L4")
    sent: list[dict] = []
    monkeypatch.setattr(dashboard, "send", lambda reply, *_: sent.append(reply))
    dashboard._asked(None, {"id": 1, "do": "show"}, [])
    dashboard._asked(None, {"id": 2, "do": "file", "kind": "exe"}, [])
    monkeypatch.setattr(Session, "reply", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        dashboard._asked(None, {"id": 3, "do": "show"}, [])
    assert [reply["id"] for reply in sent] == [1, 2, 3]
    assert sent[1]["error"].startswith("no file 'exe'")
    assert "nothing was changed" in sent[2]["error"]


def test_slower_figures_come_beside_and_only_for_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    dashboard = widgets.what_if(model="Llama-3.1-8B", gpu="L4")
    sent: list[dict] = []
    monkeypatch.setattr(dashboard, "send", lambda reply, *_: sent.append(reply))
    shown = dashboard.session.state
    dashboard._slow(1, "map", shown)
    dashboard._slow(2, "map", shown.set(batch_size=2))
    dashboard._asked(None, {"id": 3, "do": "piece", "name": "why"}, [])
    dashboard._worker.shutdown(wait=True)
    assert [reply["id"] for reply in sent] == [1, 2, 3]
    assert sent[0]["data"] == view.DETAILS["map"](shown, None)
    assert "data" not in sent[1]
    assert sent[2]["data"].startswith("### Model weights")


def test_only_changed_controls_are_sent_again() -> None:
    session = page(batch_size=4)
    first = session.reply({"do": "show"})
    assert [c["field"] for c in first["controls"]] == first["fields"]
    moved = session.reply({"do": "move", "fields": {"batch_size": 8}})
    assert [c["field"] for c in moved["controls"]] == ["batch_size"]
    assert moved["fields"] == first["fields"]
    assert session.reply({"do": "show"})["controls"] == [
        next(c for c in (*moved["controls"], *first["controls"]) if c["field"] == name)
        for name in first["fields"]
    ]


@pytest.mark.parametrize("language", ["en", "vi"])
def test_the_pages_words_are_in_its_language(language: str) -> None:
    dashboard = Dashboard(State(language=language))
    script = Dashboard._esm
    assert {f"words.{word}" for word in WORDS if f"words.{word}" not in script} <= {
        "words.group_start", "words.group_engine", "words.group_workload", "words.making_report",
        *(f"words.file_{kind}" for kind in FILES),
    }  # fmt: skip
    assert set(dashboard.words) >= set(WORDS)
    assert dashboard.words["settings"] == {"en": "Settings", "vi": "Thiết lập"}[language]
    other = Dashboard(State(language={"en": "vi", "vi": "en"}[language])).words
    same = {word for word in WORDS if dashboard.words[word] == other[word]}
    assert same == {"card", "group_start", "paste_hint"}  # two loan words and a piece of a file


def test_the_still_picture_is_the_pages_bar() -> None:
    shown = page(batch_size=4).reply({"do": "show"})["quick"]
    still = widgets.what_if.still(model="Llama-3.1-8B", gpu="L4", batch_size=4).to_dict()
    [rows] = [d["values"] for d in [still["data"]] if d["name"] == "live"]
    assert [(r["kind"], r.get("start"), r["end"]) for r in rows] == [
        (r["kind"], r.get("start"), r["end"]) for r in shown["rows"]
    ]


def test_a_model_that_is_a_file_starts_the_page(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(json.dumps(CONFIG))
    assert view.quick(Session(widgets.what_if(model=str(file), gpu="L4").session.state).state)["error"] == ""


def test_the_application_starts_with_a_models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.chdir(tmp_path)
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(app, "page", lambda parameters: started.append(parameters) or tmp_path / "page.ipynb")
    monkeypatch.setattr("os.execve", lambda *_: None)
    app.start({"model": "./own"})
    monkeypatch.chdir("/")
    assert view.quick(Session(widgets.what_if(**started[0]).session.state).state)["error"] == ""
    assert started == [{"model": str(tmp_path / "own")}]


def test_the_application_is_the_page_alone_with_its_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shown = app.page({"language": "vi", "gpu": "T4"})
    cells = json.loads(shown.read_text("utf-8"))["cells"]
    assert tmp_path in shown.parents
    assert [c["cell_type"] for c in cells] == ["markdown", *["code"] * 4]
    assert "Nếu như" in "".join(cells[0]["source"])
    assert 'gpu = "T4"' in "".join(cells[2]["source"])
    assert app.page({"language": "vi", "gpu": "T4"}) == shown


def test_the_application_listens_on_this_machine_behind_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    words = app.command(Path("what_if.ipynb"), ["--no-browser"])
    assert {"--Voila.ip=127.0.0.1", "--Voila.auto_token=True", "--no-browser"} <= set(words)
    settings = json.loads((Path(app.__file__).parent / "app_share" / "voila.json").read_text())
    policy = settings["Voila"]["tornado_settings"]["headers"]["Content-Security-Policy"]
    assert "http" not in policy
    assert "default-src 'self'" in policy
    assert settings["VoilaConfiguration"]["strip_sources"] is True
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'vramlib\[app\]'"):
        app.start({})


@pytest.mark.parametrize(
    ("parameters", "said"),
    [({"gpu": "L5"}, "nearest: Gaudi-2, L4"), ({"model": "nonsense"}, "no model named")],
)
def test_the_application_does_not_start_with_what_nobody_knows(parameters: dict, said: str) -> None:
    with pytest.raises(KeyError, match=said):
        app.start(parameters)
