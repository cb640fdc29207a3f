"""A reader's answer: right, untouched, or described by the ratio that names the slip."""

import math

import pytest

from vramlib import check
from vramlib.units import GB, GiB


def test_untouched_answer_gets_a_friendly_line() -> None:
    reply = check.number(..., 5)
    assert (reply.ok, reply.todo) == (False, True)
    assert repr(reply).startswith("✎ Your turn")
    assert check.choice(..., "a", choices=("a", "b")).todo
    assert check.function(lambda tokens: ..., {(1,): 2}).todo


@pytest.mark.parametrize(
    ("answer", "slip"),
    [
        (65_536, "keys without values"),
        (262_144, "counted twice"),
        (1_048_576, "bits instead of bytes"),
        (16_384, "bytes instead of bits"),
        (131_072 * GiB / GB, "divided by 10⁹ where 2³⁰"),
        (131_072 * GB / GiB, "divided by 2³⁰ where 10⁹"),
        (131_072 * 1.074, "divided by 10⁹"),
        (131_072 * 1024, "the next smaller unit"),
        (128, "the next larger unit"),
        (131_072 * 2**30, "This is in bytes"),
        (0.125, "Bytes are asked for"),
        (-5, "another sign"),
        (131_073, "Close, but not exact: off by +1"),
        (131_072 * 3, "3 times the expected one."),
        ("many", "'many' is not a number"),
        (True, "True is not a number"),
    ],
)
def test_a_wrong_number_is_described(answer: object, slip: str) -> None:
    reply = check.number(answer, 131_072)
    assert not reply.ok
    assert slip in reply.text


def test_own_slips_come_first() -> None:
    assert check.number(8, 4, slips={2: "Are those query heads?"}).text.endswith("Are those query heads?")


def test_right_within_tolerance() -> None:
    assert check.number(3.14, math.pi, tolerance=0.01).ok
    assert not check.number(3.14, math.pi).ok
    assert check.number(0, 0).ok
    assert not check.number(1, 0).ok


def test_numpy_numbers_count_as_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert check.number(numpy.int64(4), 4).ok


def test_choice_says_why() -> None:
    why = {"a": "because", "b": "no, since"}
    assert check.choice(" A ", "a", choices=("a", "b"), why=why).text == "Right. because"
    assert check.choice("b", "a", choices=("a", "b"), why=why).text == "Not yet: b. no, since"
    assert "choose one of a, b" in check.choice("c", "a", choices=("a", "b")).text


def test_function_names_the_arguments_of_the_first_wrong_result() -> None:
    assert check.function(lambda a, b: a * b, {(2, 3): 6, (4, 5): 20}).ok
    assert check.function(lambda a, b: a + b, {(2, 2): 4, (4, 5): 20}).text.endswith("[4, 5]")


def test_every_reply_speaks_vietnamese() -> None:
    for answer in (..., 4, 8, 5, 4.001, -1, "x"):
        english, vietnamese = (check.number(answer, 4, language=language).text for language in ("en", "vi"))
        assert english != vietnamese


def test_reply_shows_as_one_escaped_line() -> None:
    html = check.choice("<b>", "a", choices=("a",))._repr_html_()
    assert "&lt;b&gt;" in html
    assert html.count("<p") == 1
