"""Charts: the right numbers in the right colours, readable by eyes and screen readers of all kinds."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from example_chart import SIZES, estimate

from vramlib import charts, vega
from vramlib.specs import PART_KEYS, Part, Term
from vramlib.units import GiB, MiB


def values(chart: object) -> list[dict]:
    """Rows of the first layer, which may stand above the layers where all of them share them."""
    spec = chart.to_dict()
    return (spec.get("data") or spec["layer"][0]["data"])["values"]


def grid() -> list[dict]:
    sizes = itertools.product((1024, 4096, 16384), (1, 4))
    return [
        {"context_tokens": np.int64(c), "batch_size": b, "total_bytes": c * b * MiB, "fits": c * b <= 8192}
        for c, b in sizes
    ]


def test_bar_lays_the_parts_end_to_end() -> None:
    rows = values(charts.parts_bar(estimate(22 * GiB)))
    assert [row["key"] for row in rows] == list(PART_KEYS)
    assert all(left["end"] == right["start"] for left, right in itertools.pairwise(rows))
    assert rows[-1]["end"] == sum(SIZES.values()) / 1024


@pytest.mark.parametrize(
    ("memory", "verdict"),
    [
        (22 * GiB, "17.00 GiB of 22.00 GiB: 5.00 GiB free"),
        (15 * GiB, "17.00 GiB of 15.00 GiB: 2.00 GiB too much"),
    ],
)
def test_bar_says_in_words_what_is_free_or_too_much(memory: int, verdict: str) -> None:
    chart = charts.parts_bar(estimate(memory)).to_dict()
    assert chart["title"]["subtitle"] == verdict
    assert chart["description"].endswith(chart["title"]["subtitle"])


def test_names_come_in_another_language_where_given() -> None:
    rows = values(charts.parts_bar(estimate(22 * GiB), labels={"model_weights": "Trọng số mô hình"}))
    assert rows[0]["label"] == "Trọng số mô hình · 14.96 GiB"
    assert rows[1]["label"].startswith("KV cache")


def test_intervals_reach_from_low_to_high() -> None:
    row = values(charts.intervals(estimate(22 * GiB)))[2]
    assert (row["low"], row["gib"], row["high"]) == pytest.approx((468 / 1024, 520 / 1024, 624 / 1024))
    assert row["row"] == "Activation memory|0.51 GiB (0.46–0.61)"


def test_map_tells_fit_from_no_fit_without_colour() -> None:
    cells = values(charts.context_batch_map(grid()))
    assert [cell["sign"] for cell in cells] == ["1", "4", "4", "×", "×", "×"]
    assert {cell["verdict"] for cell in cells} == set(charts.VERDICT_COLORS)


@pytest.mark.parametrize("draw", [charts.parts_bar, charts.intervals])
def test_same_numbers_give_the_same_bytes(draw: object) -> None:
    first, second = (vega.render(draw(estimate(22 * GiB)).to_dict()) for _ in range(2))
    assert first == second
    changed = vega.render(draw(SimpleNamespace(**vars(estimate(23 * GiB)) | {"parts": grown()})).to_dict())
    assert changed["text/plain"] != first["text/plain"]


def grown() -> list[Part]:
    """The same parts with one MiB more of KV cache."""
    parts = list(estimate(22 * GiB).parts)
    parts[1] = Part.of("kv_cache", Term(name="kv", bytes=161 * MiB, basis="exact", formula="f"))
    return parts


@pytest.mark.parametrize(
    "chart",
    [
        charts.parts_bar(estimate(22 * GiB)),
        charts.intervals(estimate(9 * GiB)),
        charts.context_batch_map(grid()),
    ],
)
def test_picture_has_words_and_a_ground_for_every_theme(chart: object) -> None:
    spec = chart.to_dict()
    html = vega.to_html(chart)
    assert len(spec["description"]) > 20
    assert 'alt="' in html
    assert 'src="data:image/svg+xml;base64,' in html
    assert spec["background"] == "transparent"
    assert spec["width"] == "container"
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_picture_cannot_close_its_own_script() -> None:
    spec = charts.parts_bar(estimate(22 * GiB), title="</script><b>").to_dict()
    html = vega.render(spec)["text/html"]
    assert html.count("</script>") == 1
    assert json.dumps("</script><b>")[1:-1] not in html


# Machado, Oliveira & Fernandes (2009), table 1, severity 1.0, for linear RGB.
EYES = {
    "common": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def lab(color: str, eye: object) -> np.ndarray:
    """CIE L*a*b* of an sRGB colour as one kind of eye sees it."""
    rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    ratio = XYZ @ np.clip(np.asarray(eye) @ linear, 0, 1) / WHITE
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", EYES)
def test_any_two_parts_differ_for_every_eye(eye: str) -> None:
    # A difference of 2.3 is just noticeable (Mahy et al. 1994); 10 is seen at a glance.
    for a, b in itertools.combinations(charts.COLORS.values(), 2):
        assert np.linalg.norm(lab(a, EYES[eye]) - lab(b, EYES[eye])) > 10, (a, b)
