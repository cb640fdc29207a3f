"""Widgets without a browser: every control moves its figure, in every language, and the panel sends only rows."""

import contextlib

import pytest

from vramlib import commands, vega, widgets
from vramlib.controls import Control, Widget
from vramlib.messages import LANGUAGES
from vramlib.specs import PART_COLORS

EVERY = [pytest.param(w, id=name) for name, w in widgets.ALL.items()]
CONTROLS = [pytest.param(w, c, id=f"{name}-{c.field}") for name, w in widgets.ALL.items() for c in w.controls]
REFUSED = (ValueError, KeyError)


@pytest.mark.parametrize(("widget", "control"), CONTROLS)
def test_each_control_moved_changes_its_figure(widget: Widget, control: Control) -> None:
    before = widget.figure()
    moved = {}
    for value in control.values:
        with contextlib.suppress(*REFUSED):
            after = widget.figure(**{control.field: value})
            moved[value] = (after.rows, after.text) != (before.rows, before.text)
    still = [value for value, changed in moved.items() if not changed and value != control.start]
    assert any(moved.values()), f"{control.field} moves nothing"
    assert control.kind == "choice" or still == [], f"{control.field} at {still} looks as at {control.start}"


@pytest.mark.parametrize(("widget", "control"), CONTROLS)
def test_slider_is_labelled_with_a_flag_of_its_engine(widget: Widget, control: Control) -> None:
    known = {flag for flags in commands.FLAGS.values() for flag in flags.values()}
    assert not control.flag.startswith("--") or control.flag in known


@pytest.mark.parametrize("widget", EVERY)
def test_figure_speaks_every_language(widget: Widget) -> None:
    texts = {widget.figure(language).text for language in LANGUAGES}
    labels = {widget.form(language)[0]["label"] for language in LANGUAGES}
    titles = {str(widget.still(language).to_dict()["title"]) for language in LANGUAGES}
    assert len(texts) == len(labels) == len(titles) == len(LANGUAGES)


@pytest.mark.parametrize("widget", EVERY)
def test_still_figure_is_the_live_one_at_its_start(widget: Widget) -> None:
    panel = widget()
    assert [dict(row) for row in widget.figure().rows] == panel.shown["rows"]
    assert (
        vega.render(widget.still().to_dict())["text/plain"]
        == vega.render(widget.still().to_dict())["text/plain"]
    )
    assert panel.spec["data"]["name"] == "live"


@pytest.mark.parametrize("widget", EVERY)
def test_moved_panel_sends_rows_and_keeps_its_view(widget: Widget) -> None:
    panel = widget("vi")
    spec, before = panel.spec, panel.shown
    control = next(c for c in widget.controls if c.kind == "slider")
    place = (control.values.index(control.start) + 1) % len(control.values)
    panel.chosen = {**panel.chosen, control.field: place}
    assert panel.spec is spec
    assert panel.shown == before | {
        "rows": [dict(r) for r in widget.figure("vi", **{control.field: control.values[place]}).rows],
        "text": widget.figure("vi", **{control.field: control.values[place]}).text,
        "command": widget.figure("vi", **{control.field: control.values[place]}).command,
    }


@pytest.mark.parametrize("widget", EVERY)
def test_parts_have_their_colour(widget: Widget) -> None:
    keys = {row["key"] for row in widget.figure().rows if "key" in row}
    assert keys <= {*PART_COLORS, "card"}


def test_what_an_engine_refuses_is_said() -> None:
    panel = widgets.kv_cache()
    places = {c.field: c.values for c in widgets.kv_cache.controls}
    panel.chosen = {
        **panel.chosen,
        "model": places["model"].index("falcon-7b"),
        "tensor_parallel_size": places["tensor_parallel_size"].index(2),
    }
    assert "does not divide the 71 attention heads" in panel.shown["text"]
    assert panel.shown["command"] == ""


def test_unknown_control_or_value_is_told() -> None:
    with pytest.raises(ValueError, match="the controls are"):
        widgets.kv_cache.figure(colour=1)
    with pytest.raises(ValueError, match="max_model_len=5"):
        widgets.kv_cache.figure(max_model_len=5)
    with pytest.raises(ValueError, match="start 3"):
        Control(field="batch_size", values=(1, 2), start=3)
