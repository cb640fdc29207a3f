"""What a person and a program read of an Estimate."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from example_estimate import BUDGET, SIZES, estimate

from vramlib import charts, contract, fields, text
from vramlib.specs import BUDGET_FIELDS, PART_COLORS, PART_KEYS, PART_NAMES, Budget
from vramlib.units import GiB, MiB


@pytest.fixture(scope="module")
def schema(root: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((root / "data/schema/estimate.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(read)
    return read


def errors(schema: dict[str, Any], answer: dict[str, Any]) -> list[str]:
    return [e.message for e in jsonschema.Draft202012Validator(schema).iter_errors(answer)]


def test_object_is_what_the_schema_says(schema: dict[str, Any]) -> None:
    answer = text.to_dict(estimate(prompt_tokens=(100, 200), new_tokens=(1, 2)))
    assert errors(schema, answer) == []
    assert json.loads(json.dumps(answer)) == answer
    assert answer["scenario"]["prompt_tokens"] == [100, 200]
    assert answer["total_bytes"] == sum(SIZES.values()) == sum(p["bytes"] for p in answer["parts"])
    assert answer["headroom_bytes"] == 24 * GiB - answer["total_bytes"]


def test_object_has_the_names_of_the_contract() -> None:
    answer = text.to_dict(estimate())
    top = ["model", "gpu", "scenario", "parts", "total_bytes", "fits", "headroom_bytes", "budget", "warnings"]
    assert list(answer) == top
    assert list(answer["scenario"]) == list(fields.NAMES)
    assert [p["key"] for p in answer["parts"]] == list(PART_KEYS)
    assert list(answer["budget"]) == [n for n in BUDGET_FIELDS if n not in contract.BUFFERS]


def test_schema_names_every_field(schema: dict[str, Any]) -> None:
    assert schema["properties"]["scenario"]["required"] == list(fields.NAMES)
    budget = schema["properties"]["budget"]["oneOf"][1]
    assert list(budget["properties"]) == list(BUDGET_FIELDS)
    assert set(BUDGET_FIELDS) - set(budget["required"]) == set(contract.BUFFERS)


def test_no_budget_is_null(schema: dict[str, Any]) -> None:
    answer = text.to_dict(estimate(budget=None))
    assert answer["budget"] is None
    assert errors(schema, answer) == []


def test_buffers_of_llama_cpp_are_there(schema: dict[str, Any]) -> None:
    buffers = Budget(model_buffer_bytes=1, kv_buffer_bytes=2, compute_buffer_bytes=3)
    answer = text.to_dict(estimate(engine="llama.cpp", budget=buffers))
    assert {n: v for n, v in answer["budget"].items() if v} == dict(
        zip(contract.BUFFERS, (1, 2, 3), strict=True)
    )
    assert errors(schema, answer) == []


@pytest.mark.parametrize(
    ("where", "bad"),
    [
        (("total_bytes",), 1.5),
        (("parts", 0, "bytes"), -1),
        (("parts", 0, "key"), "kv_cache"),
        (("parts", 0, "basis"), "guessed"),
        (("scenario", "max_model_len"), "auto"),
        (("budget", "kv_pool_bytes"), "3 GiB"),
        (("more",), 1),
    ],
)
def test_schema_refuses(schema: dict[str, Any], where: tuple[Any, ...], bad: Any) -> None:
    answer = text.to_dict(estimate())
    place: Any = answer
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = bad
    assert errors(schema, answer)


def test_numpy_numbers_become_plain(schema: dict[str, Any]) -> None:
    answer = text.to_dict(estimate({"kv_cache": np.int64(5)}, fits=np.bool_(True), batch_size=np.int64(2)))
    assert json.loads(json.dumps(answer))["parts"][1]["bytes"] == 5
    assert errors(schema, answer) == []


def test_table_has_the_eight_rows_in_order() -> None:
    shown = text.table(estimate())
    places = [shown.index(PART_NAMES[key]) for key in PART_KEYS]
    assert places == sorted(places)
    assert re.search(r"W Model weights +15\.00 +exact +92\.\d%", shown)
    assert re.search(r"A Activation memory +0\.50 +0\.45 - 0\.55 +modelled +3\.\d%", shown)
    assert re.search(r"Total \(17\.\d\d GB\) +16\.18 ", shown)
    assert "It fits." in shown
    assert "Warning: Take care." in shown
    assert shown.startswith(
        "org/small-model · Card-24GB (24.00 GiB) · vllm 0.19.0 · bfloat16 · 1 sequence of"
    )


def test_str_and_repr_html_are_the_table() -> None:
    assert str(estimate()) == text.table(estimate())
    assert estimate()._repr_html_() == text.html(estimate())


def test_bar_is_as_wide_as_the_card_and_shows_each_letter() -> None:
    blocks, letters, scale = text.bar(estimate(), 96).split("\n")
    assert len(blocks) == 96
    assert blocks.count("░") == 96 - round(96 * sum(SIZES.values()) / (24 * GiB))
    assert letters.replace(" ", "") == "WKACB"
    assert letters.index("W") == 29
    assert "24.00 GiB card, 7.82 GiB free" in scale


def test_bar_of_what_is_too_big_runs_past_the_card() -> None:
    blocks, _, scale = text.bar(estimate({"kv_cache": 32 * GiB}), 80).split("\n")
    assert len(blocks) == 80
    assert "░" not in blocks
    assert scale.index("┘") + 1 == round(80 * 24 / (48 + (40 + 512 + 500 - 0) / 1024 - 1))
    assert "over" in scale


@pytest.mark.parametrize("width", [20, 33, 72, 100])
@pytest.mark.parametrize("kv", [0, 1, 7 * GiB, 900 * GiB])
def test_bar_keeps_its_width(width: int, kv: int) -> None:
    assert len(text.bar(estimate({"kv_cache": kv}), width).split("\n")[0]) == width


def test_neighbours_have_different_blocks() -> None:
    blocks, letters, _ = text.bar(
        estimate(dict.fromkeys(PART_KEYS[::2], 3 * GiB) | {"kv_cache": 0}), 48
    ).split("\n")
    runs = [run for run in re.findall("█+|▓+", blocks) if run]
    assert len(runs) == len(letters.replace(" ", ""))


def test_colour_adds_nothing_but_colour() -> None:
    plain, colored = text.bar(estimate()), text.bar(estimate(), color=True)
    assert re.sub("\x1b\\[[0-9;]*m", "", colored) == plain
    assert "\x1b[38;2;0;114;178m" in colored


def test_a_part_has_one_letter_and_the_colour_of_the_charts() -> None:
    assert list(text.LETTERS) == list(PART_KEYS)
    assert len(set(text.LETTERS.values())) == 8
    assert PART_COLORS == charts.COLORS


def test_budget_shows_what_applies() -> None:
    shown = text.budget(estimate())
    assert re.search(r"requested of the card +20\.00 GiB", shown)
    assert re.search(r"KV blocks +1,536", shown)
    assert re.search(r"at once +3\.00×", shown)
    assert "CUDA graphs" not in shown
    assert len(shown.split("\n")) == 1 + sum(getattr(BUDGET, n) is not None for n in BUDGET_FIELDS)
    assert text.budget(estimate(budget=None)) == ""
    assert tuple(text.BUDGET_WORDS) == BUDGET_FIELDS


def test_explain_puts_the_numbers_in() -> None:
    shown = text.explain(estimate())
    assert f"all: a · b\n    = {15 * GiB} · 1\n    = 15.00 GiB\n    source: a source" in shown
    assert [line.split(":")[0] for line in shown.split("\n") if line[0:1].strip()] == list(
        PART_NAMES.values()
    )


def test_html_is_safe_and_accessible() -> None:
    page = text.html(estimate(verdict="<b> & c", warnings=("a < b",)))
    assert "<b> & c" not in page
    assert "&lt;b&gt; &amp; c" in page
    assert "a &lt; b" in page
    assert page.count('<th scope="row">') == 9
    assert 'role="img" aria-label="' in page
    assert "http" not in page
    assert "<script" not in page


def test_many_scenarios_are_one_line() -> None:
    many = estimate({"kv_cache": np.array([MiB, 20 * GiB])}, fits=np.array([True, False]))
    assert text.table(many) == "2 scenarios of org/small-model: 16.03 GiB to 36.03 GiB; 1 fit"
    assert "2 scenarios" in text.html(many)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\nlines"), "two lines"),
        (KeyError("no model named 'x'; nearest: y"), "no model named 'x'; nearest: y"),
        (FileNotFoundError(2, "No such file or directory", "a.json"), "a.json: No such file or directory"),
        (OSError("just words"), "just words"),
        (ValueError(), "ValueError"),
    ],
)
def test_an_error_is_one_line(error: BaseException, line: str) -> None:
    assert text.message(error) == line
