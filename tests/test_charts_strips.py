"""Strips: what a slider picks, lanes and axes that stay where they are, words and colours."""

from typing import Any

from vramlib import charts_growth, charts_strips

KINDS = {"held": "#0072B2", "free": "#D8D8D8"}
LABELS = {"title": "Segments", "description": "Two strips", "axis": "MiB"}


def rows() -> list[dict[str, Any]]:
    return [
        {
            "lane": lane,
            "start": 0,
            "end": 2 + step,
            "kind": "held",
            "note": "2 MiB",
            "step": step,
            "mode": mode,
        }
        for lane in ("one", "two")
        for step in range(3)
        for mode in ("a", "b")
    ]


def drawn(**given: Any) -> dict[str, Any]:
    controls = [
        charts_strips.time_slider("step", 2, "step", start=1),
        charts_growth.chooser("mode", ("a", "b")),
    ]
    return charts_strips.strips(
        rows(),
        labels=LABELS,
        colors=KINDS,
        lanes=["one", "two", "three"],
        extent=9,
        controls=controls,
        **given,
    ).to_dict()


def test_controls_pick_rows_without_a_kernel() -> None:
    spec = drawn()
    found = {p["name"]: p["bind"]["input"] for p in spec["params"] if "bind" in p}
    assert found == {"step": "range", "mode": "select"}
    assert next(p["value"] for p in spec["params"] if p["name"] == "step") == 1
    filters = [step["filter"] for step in spec["layer"][0]["transform"]]
    assert filters == ["datum['step'] == step", "datum['mode'] == mode"]


def test_lanes_and_axis_stay_where_they_are() -> None:
    encoding = drawn()["layer"][0]["encoding"]
    assert encoding["y"]["scale"]["domain"] == ["one", "two", "three"]
    assert encoding["x"]["scale"]["domain"] == [0, 9]
    assert encoding["color"]["scale"] == {"domain": list(KINDS), "range": list(KINDS.values())}


def test_caption_moves_with_the_slider() -> None:
    captions = [{"text": f"step {n}", "step": n, "mode": mode} for n in range(3) for mode in ("a", "b")]
    spec = drawn(captions=captions)
    text = spec["layer"][1]
    assert text["encoding"]["text"]["field"] == "text"
    assert [t["filter"] for t in text["transform"]] == [t["filter"] for t in spec["layer"][0]["transform"]]


def test_words_for_a_screen_reader() -> None:
    assert drawn()["description"] == "Segments. Two strips"


def test_without_controls_nothing_is_picked() -> None:
    chart = charts_strips.strips(
        rows(), labels=LABELS, colors=KINDS, lanes=["one", "two"], extent=4
    ).to_dict()
    assert "transform" not in chart["layer"][0]
