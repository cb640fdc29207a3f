"""A reader's own prices rank the cards; what is wrong in them is told row by row."""

import math

import pytest

import vramlib
from vramlib import catalog
from vramlib.what_if import State, cards, prices


def test_cards_are_ranked_by_a_readers_prices():
    state = State().set(model="Llama-3.1-70B", tensor_parallel_size=4)
    plain = cards.rows(state)
    assert [row["fits"] for row in plain] == sorted((row["fits"] for row in plain), reverse=True)
    fitting = [row["memory_bytes"] for row in plain if row["fits"]]
    assert fitting == sorted(fitting)
    assert {row["per_hour"] for row in plain} == {None}

    own = prices.read_prices(b"gpu,per_hour\nH200,4\nh100-80gb,3\nL4,0.5\nA100-80GB,3\n")
    ranked = cards.rows(state, own)
    priced = [row for row in ranked if row["fits"] and row["per_hour"] is not None]
    assert ranked[: len(priced)] == priced
    assert [row["per_hour"] for row in priced] == [12, 12, 16]
    assert priced[0]["per_request"] <= priced[1]["per_request"]
    for row in priced:
        e = vramlib.estimate(**state.fields, gpu=row["gpu"], max_model_len="auto")
        assert row["per_request"] == own.per_hour[row["gpu"]] * 4 / e.budget.max_concurrency
    [small] = [row for row in ranked if row["gpu"] == "L4"]
    assert (small["fits"], small["per_hour"], small["per_request"]) == (False, 2, None)


def test_two_copies_serve_twice_the_requests_for_twice_the_price():
    own = prices.read_prices(b"gpu,per_hour\nH100-80GB,3\n")
    one, two = (cards.rows(State().set(data_parallel_size=n), own)[0] for n in (1, 2))
    assert (two["per_hour"], two["concurrency"]) == (2 * one["per_hour"], 2 * one["concurrency"])
    assert two["per_request"] == one["per_request"]


def test_prices_that_cannot_be_used_are_told_row_by_row():
    rows = "L4,0.7,USD\nL5,1,USD\nT4,free,USD\nA10G,-1,USD\nT4,nan,USD\nT4,1e400,USD\nT4,,USD\nA10G,1,EUR\n"
    found = prices.read_prices(("\ufeff gpu , per_hour,currency\n" + rows).encode())
    assert found.per_hour == {"L4": 0.7}
    assert found.currency == "USD"
    assert [note.split(":")[0] for note in found.notes] == [f"line {n} is left out" for n in range(3, 10)]
    assert "nearest" in found.notes[0]
    assert "EUR" in found.notes[-1]
    assert "bỏ qua" in prices.read_prices(b"gpu,per_hour\nL4,1\nL5,1\n", "vi").notes[0]
    many = prices.read_prices(b"gpu,per_hour\nL4,1\n" + b"L5,1\n" * 100)
    assert len(many.notes) == prices.MOST_NOTES + 1
    assert "80 further" in many.notes[-1]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "need the columns gpu and per_hour"),
        (b"gpu,per_hour\n", "need the columns"),
        (b"card,price\nL4,1\n", "need the columns"),
        (b"gpu,per_hour\nL5,1\n", "no price can be used: line 2 is left out: no GPU named 'L5'"),
        (b"gpu,per_hour\nL4," + b"9" * 300_000, "at most 256.00 KiB"),
        (b"gpu,per_hour\n" + b"L4,1\n" * 2_001, "1 to 2,000 rows"),
        (b"\xff\xfe\x00", "no CSV in UTF-8"),
        (b'gpu,per_hour\n"L4,1\n', "no CSV in UTF-8"),
    ],
)
def test_a_file_without_prices_is_one_clear_line(data, told):
    with pytest.raises(ValueError, match=told) as problem:
        prices.read_prices(data)
    assert "\n" not in str(problem.value)


def test_no_price_means_no_cost():
    assert prices.Prices().per_hour == {}
    assert not any("per_hour" in column or "price" in column for column in catalog.table("gpus")[0])
    assert math.isinf(
        cards._rank({"fits": True, "per_hour": None, "per_request": None, "memory_bytes": 1, "gpu": ""})[1]
    )
