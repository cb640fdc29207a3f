"""Verdicts come from numbers and agree with the sources; every setting of the seed moves its row or says why not."""

import csv
import re

import pytest

from vramlib import catalog, claims, messages, names, seed, workbook
from vramlib._paths import data_dir, notebooks_dir
from vramlib.claims import Spread, cases, judge, settings, spread
from vramlib.specs import PART_KEYS
from vramlib.units import GB, GiB

ROWS = catalog.table("table")
ALIKE = {"L4 → H100-80GB", "16 bit → AWQ, 4 bit", "0.8 → 0.9"}  # no words to tell


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_the_computed_verdict_is_the_one_that_sources_give(row):
    found = claims.verdict(row["id"])
    assert found.verdict.replace(" ", "_") == row["reference_verdict"]
    assert found.sentence.endswith(".")


def test_all_seventeen_claims_are_decided():
    assert [v.claim["id"] for v in claims.verdicts()] == [row["id"] for row in ROWS]
    assert len(claims.verdicts()) == 17


def test_ratio_claims_ask_every_text_model():
    text = [m.name for m in map(names.model, names.models()) if not m.towers]
    for claim_id in ("kv_ratio", "activations_ratio", "framework_buffers_size", "fragmentation_fraction"):
        asked = claims.verdict(claim_id).spreads[0]
        assert [name for name, _ in asked.values] == text, claim_id


@pytest.mark.parametrize(
    ("model", "tokens", "ratio"),  # by hand: 2 · L · n_kv · d_head · 2 B · tokens over 2 B · parameters
    [
        ("meta-llama/Llama-3.1-8B", 4096, 0.033),
        ("meta-llama/Llama-3.1-8B", 32_768, 0.27),
        ("meta-llama/Llama-3.1-8B", 131_072, 1.07),
        ("meta-llama/Llama-2-7b-hf", 4096, 0.16),
    ],
)
def test_cache_over_weights_as_printed(model, tokens, ratio):
    m = names.model(model)
    digits = len(str(ratio).split(".")[1])
    assert round(cases.cache_bytes(m, tokens) / cases.plain_bytes(m), digits) == ratio


@pytest.mark.parametrize(
    ("shares", "every", "verdict"),
    [
        ([0.9, 1.0], False, "holds"),
        ([0.89, 1.0], False, "holds when"),
        ([0.0, 0.5], False, "holds when"),
        ([0.49], False, "misconception"),
        ([1.0, 0.6], True, "holds when"),
        ([1.0, 0.4], True, "misconception"),
    ],
)
def test_shares_decide(shares, every, verdict):
    assert judge(shares, every=every) == verdict


def test_a_spread_counts_both_bounds_in():
    s = spread("each", {"a": 0.2, "b": 0.6, "c": 0.61}, 0.2, 0.6)
    assert s.share == pytest.approx(2 / 3)
    assert s.median == 0.6


def test_a_spread_of_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing to look at"):
        Spread(condition="none", values=(), low=0, high=1)


def test_an_unknown_claim_lists_the_known_ones():
    with pytest.raises(KeyError, match="the claims are: weights_ratio"):
        claims.verdict("weights")


def test_each_setting_of_the_seed_moves_its_row_or_says_why_not():
    for setting in settings.SETTINGS:
        before, after = setting.bytes()
        assert before != after or setting.why, setting


def test_every_setting_that_the_seed_names_is_tried():
    named = {
        (row["part"], name) for row in ROWS for name in row["setting"].split(";") if row["part"] in PART_KEYS
    }
    tried = {(s.part, s.name) for s in settings.SETTINGS}
    assert named <= tried


def test_what_the_seed_names_but_does_not_move():
    stays = {s.name for s in settings.SETTINGS if len(set(s.bytes())) == 1}
    assert stays == {"--max-model-len", "model depth", "tokenizer preload", "--gpu-memory-utilization"}


def test_the_seed_is_there_word_for_word():
    text = (data_dir() / "seed_table.vi.md").read_text(encoding="utf-8")
    assert seed.words("vi") == text
    for cells in seed.side_by_side().rows:
        assert all(cell in text for cell in cells[:3])


def test_conversion_sizes_are_the_counted_ones():
    by_name = {row[0]: row for row in seed.conversion().rows}
    assert by_name["7B"][4:6] == (f"{13_476_831_232 / GB:.2f}", f"{13_476_831_232 / GiB:.2f}")
    assert by_name["13B"][5] == "24.24"


def test_optimizations_are_those_of_the_data():
    with (data_dir() / "optimizations.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shown = {row[0]: row[-1] for row in seed.optimizations().rows}
    assert list(shown) == [row["name"] for row in rows]
    signs = {"less": "−", "more": "+", "none": "none"}
    assert all(shown[row["name"]].startswith(signs[row["direction"]]) for row in rows)


def test_the_map_links_only_what_exists():
    links = re.findall(r"\]\(([^)]+)\)", workbook.map_of_notebooks())
    assert links
    assert all((notebooks_dir() / link).is_file() for link in links)
    named = {n.name for n in workbook.NOTEBOOKS}
    assert {p.stem for p in notebooks_dir().glob("*.ipynb")} <= named


def test_every_claim_and_setting_is_told_in_vietnamese():
    """Each sentence, condition, move and reason reads otherwise in Vietnamese and keeps its numbers."""
    told = [
        ("claim", words)
        for v in claims.verdicts()
        for words in (v.sentence, *(s.condition for s in v.spreads))
    ]
    told += [("setting", words) for s in settings.SETTINGS for words in (s.move, s.why) if " " in words]
    for group, english in told:
        vietnamese = messages.retold(group, english, "vi")
        assert vietnamese != english or english in ALIKE
        assert sorted(re.findall(r"[\d.,]*\d", vietnamese)) == sorted(re.findall(r"[\d.,]*\d", english)), (
            english
        )
    names = claims.verdict_table(language="vi").rows
    assert {row[1].split("\N{NO-BREAK SPACE}", 1)[1] for row in names} <= {
        "đúng",
        "đúng\N{NO-BREAK SPACE}khi",
        "ngộ\N{NO-BREAK SPACE}nhận",
    }
