"""The facts of data/: printed GPU totals, names as people write them, storage formats, the seed's claims."""

import csv
import re
from pathlib import Path

import pytest
from gguf import GGML_QUANT_SIZES

from vramlib import catalog
from vramlib.specs import PART_KEYS
from vramlib.units import GiB, MiB

ROOT = Path(__file__).resolve().parents[1]
TABLES = sorted(
    p.relative_to(ROOT / "data").with_suffix("").as_posix()
    for p in (ROOT / "data").rglob("*.csv")
    if p.stem != "messages"  # words of the workbook itself, no facts
)

# Totals as tools printed them, with the digits they printed; the address stands in the card's row.
PRINTED_GIB = {
    "H100-80GB": "79.19",
    "RTX-6000-Ada": "47.37",
    "RTX-6000-Ada-ECC": "44.43",
    "A100-40GB": "39.38",
    "A100-80GB": "79.15",
    "RTX-3090": "23.58",
    "RTX-5090": "31.37",
    "L40S": "44.42",
    "H20": "95.22",
    "B200": "178.36",
    "GB10": "121.63",
    "V100-16GB": "15.78",
    "T4": "14.56",
    "A40": "44.35",
    "Gaudi-2": "94.62",
    "H100-80GB-1g.10gb": "9.75",
    "H100-80GB-2g.20gb": "19.62",
    "H100-80GB-3g.40gb": "39.50",
}
EXACT_BYTES = {"RTX-6000-Ada": 50_865_307_648, "RTX-4090": 25_262_096_384, "L4": 23_583_784_960}

# Every card that the public runs name (several at once are written "2x RTX 3090; RTX A4000" there).
RUN_NAMES = """
A10; A100; A100 40GB; A100 80GB; A40; A800 80GB; AMD 8060S (ROCm); AMD MI308; B200; GB10 (DGX Spark); GB200;
GB300; H100; H100 80GB; H20; H200; Intel Arc Pro B70; Jetson Orin NX 16GB; L4; L40S; MI308X; MI355X; RTX
3060 12GB; RTX 3080; RTX 3090; RTX 3090 Ti; RTX 4060 Ti 16GB; RTX 4080; RTX 4080 16GB; RTX 4090; RTX 5070 Ti
16GB; RTX 5090; RTX 5090 D 32GB; RTX 5090 Laptop 24GB; RTX 6000 Ada; RTX A4000; RTX A5000; RTX A6000; RTX
PRO 5000 72GB; RTX PRO 6000 Blackwell 96GB; RTX PRO 6000 Blackwell Max-Q; RTX PRO 6000 Blackwell Workstation
Edition; RTX PRO 6000 Workstation 96GB; Strix Halo (gfx1151); T4; Tesla T4; Tesla V100-SXM2-16GB
"""


@pytest.mark.parametrize(("name", "printed"), PRINTED_GIB.items())
def test_cuda_total_is_the_printed_one(name, printed):
    # nvidia-smi cuts 19.625 to 19.62 where Python rounds to even; half a unit of the last digit covers both.
    assert catalog.gpu(name).memory_bytes / GiB == pytest.approx(float(printed), abs=0.00501)


@pytest.mark.parametrize(("name", "size"), EXACT_BYTES.items())
def test_cuda_total_printed_in_bytes_is_kept_whole(name, size):
    assert catalog.gpu(name).memory_bytes == size


def test_reserve_is_outside_the_cuda_total():
    # nvidia-smi -q prints 81559 MiB total, 479 MiB reserved; another driver leaves CUDA up to 10 MiB more,
    # and 79.19 GiB is printed to 5 MiB.
    h100 = catalog.gpu("H100-80GB")
    assert h100.memory_bytes_nvidia_smi == 81_559 * MiB
    assert h100.memory_bytes == pytest.approx((81_559 - 479) * MiB, abs=15 * MiB)


def test_no_card_gives_cuda_more_than_the_driver_has():
    cards = [g for g in catalog.gpus() if g.memory_bytes_nvidia_smi]
    assert len(cards) > 30
    assert [g.name for g in cards if g.memory_bytes > g.memory_bytes_nvidia_smi] == []


def test_no_slice_is_larger_than_its_card():
    slices = [r for r in catalog.table("gpus") if r["mig_of"]]
    assert len(slices) == 6
    for row in slices:
        assert int(row["memory_bytes"]) <= catalog.gpu(row["mig_of"]).memory_bytes


def test_a_label_is_near_the_memory():
    # A vendor's GB lies between decimal and binary: less than 5 % below it in GB, at most itself in GiB.
    for card in catalog.gpus():
        if card.memory_gb_vendor and card.name not in {"H100-94GB", "B300"}:
            assert 0.95 * card.memory_gb_vendor * 10**9 < card.memory_bytes <= card.memory_gb_vendor * GiB, (
                card
            )


def test_derived_memory_says_so():
    for card in catalog.gpus():
        assert card.memory_basis in {"printed", "derived"}
        assert bool(card.warnings) == (card.memory_basis == "derived"), card.name
    assert "derived" in catalog.gpu("A10").warnings[0]


def test_each_printed_total_is_among_the_readings():
    readings = {
        (r["card"], int(r["memory_bytes"])) for r in catalog.table("gpu_readings") if r["kind"] == "cuda"
    }
    for row in catalog.table("gpus"):
        if row["memory_basis"] == "printed" and not row["mig_of"]:
            assert (row["name"], int(row["memory_bytes"])) in readings, row["name"]


@pytest.mark.parametrize("name", [n.strip() for n in RUN_NAMES.split(";")])
def test_names_of_the_public_runs_resolve(name):
    assert catalog.gpu(name).memory_bytes > GiB


def test_run_tables_name_no_other_card():
    unknown = {"2 CUDA devices", "4x 22.0 GiB available", "AMD Instinct (ROCm, AITER)"}
    written = {
        r.get("gpu_model", "") for name in TABLES if name.startswith("runs/") for r in catalog.table(name)
    }
    cards = {c for text in written - unknown for c in re.split(r"; | \+ ", re.sub(r"\d+x ", "", text)) if c}
    assert [c for c in sorted(cards) if not catalog.gpu(c)] == []


@pytest.mark.parametrize(
    "spelling", ["h100-80gb", "H100 80GB", "NVIDIA H100 80GB HBM3", "nvidia_h100_80gb_hbm3", "H100-SXM5-80GB"]
)
def test_spellings_of_one_card(spelling):
    assert catalog.gpu(spelling) == catalog.gpu("H100-80GB")


@pytest.mark.parametrize(
    ("short", "card"), [("NVIDIA GeForce RTX 4090", "RTX-4090"), ("4090", "RTX-4090"), ("Tesla T4", "T4")]
)
def test_makers_words_are_optional(short, card):
    assert catalog.gpu(short).name == card


@pytest.mark.parametrize(
    ("short", "card"), [("A100", "A100-80GB"), ("h100", "H100-80GB"), ("V100", "V100-16GB")]
)
def test_a_name_that_fits_several_cards_warns(short, card):
    found = catalog.gpu(short)
    assert found.name == card
    assert "fits several cards" in found.warnings[0]


def test_no_spelling_means_two_cards():
    owners: dict[str, set[str]] = {}
    for card in catalog.gpus():
        for word in (card.name, *card.aliases):
            owners.setdefault(catalog._plain(word), set()).add(card.name)
    assert {word: cards for word, cards in owners.items() if len(cards) > 1 or not word} == {}


@pytest.mark.parametrize(
    ("typo", "card"), [("RTX 4900", "RTX-4090"), ("H10O", "H100-80GB"), ("A10 0", "A100-80GB")]
)
def test_nearest_card_is_offered(typo, card):
    if typo == "A10 0":  # a space is no mistake
        assert catalog.gpu(typo).name == card
        return
    with pytest.raises(KeyError, match=rf"no GPU named '{typo}'.*{card}"):
        catalog.gpu(typo)


@pytest.mark.parametrize("name", ["", "NVIDIA", "toaster"])
def test_a_name_like_no_card_says_where_to_look(name):
    with pytest.raises(KeyError, match="vram gpus"):
        catalog.gpu(name)


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_source_and_date(name):
    for row in catalog.table(name):
        assert row["source"]
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", row["read_on"])


@pytest.mark.parametrize("field", ["source", "read_on"])
def test_a_row_without_source_or_date_is_refused(tmp_path, monkeypatch, field):
    cells = {"name": "x", "source": "https://example.org", "read_on": "2026-01-01"} | {field: ""}
    with (tmp_path / "bare.csv").open("w", newline="") as file:
        csv.writer(file).writerows([cells.keys(), cells.values()])
    monkeypatch.setattr(catalog, "data_dir", lambda: tmp_path)
    catalog._rows.cache_clear()
    with pytest.raises(ValueError, match=r"bare\.csv: row 1 lacks source or read_on"):
        catalog.table("bare")


def test_unknown_table_offers_the_nearest():
    with pytest.raises(KeyError, match=r"no table named 'gpu'.*gpus"):
        catalog.table("gpu")


def test_rows_are_copies():
    catalog.table("gpus")[0]["name"] = "mine"
    assert catalog.table("gpus")[0]["name"] != "mine"


def bits_per_weight(row: dict[str, str]) -> float:
    """Codes, scales and zero points of one weight; what each row of a matrix adds vanishes in a large one."""
    if row["kind"] == "gguf":
        return 8 * int(row["block_bytes"]) / int(row["block_elements"])
    weights = int(row["group_size"]) * int(row["block_rows"])
    bits = float(row["weight_bits"])
    if weights > 0:
        bits += (int(row["scale_bits"]) + int(row["zero_point_bits"])) / weights
    if int(row["second_size"]):
        bits += int(row["second_bits"]) / int(row["second_size"])
    return bits


def test_bits_per_weight_follow_from_the_layout():
    for row in catalog.table("quantization"):
        assert bits_per_weight(row) == pytest.approx(float(row["bits_per_weight"].split(" + ")[0])), row[
            "name"
        ]


@pytest.mark.parametrize(
    ("name", "bits"),
    [("gptq", 4.156), ("awq", 4.156), ("w4a16", 4.125), ("nf4", 4.5), ("nf4-double-quant", 4.127),
     ("fp8-block", 8.002), ("mxfp4", 4.25), ("nvfp4", 4.5), ("mxfp8", 8.25),
     ("Q4_K", 4.5), ("Q6_K", 6.5625), ("IQ2_XS", 2.3125), ("TQ1_0", 1.6875), ("Q8_0", 8.5)],
)  # fmt: skip
def test_bits_per_weight_as_published(name, bits):
    row = next(r for r in catalog.table("quantization") if r["name"] == name)
    assert round(bits_per_weight(row), 3) == pytest.approx(bits, abs=0.0006)


def test_gguf_blocks_are_those_of_the_gguf_package():
    ours = {r["name"]: r for r in catalog.table("quantization") if r["kind"] == "gguf"}
    for kind, (elements, size) in GGML_QUANT_SIZES.items():
        if kind.name in ours:
            row = ours[kind.name]
            assert (int(row["block_elements"]), int(row["block_bytes"])) == (elements, size)


def test_no_word_means_two_formats():
    words = [
        w.lower()
        for r in catalog.table("quantization")
        if r["kind"] != "gguf"
        for w in (r["name"], *r["aliases"].split(";"), *r["ambiguous_aliases"].split(";"))
        if w
    ]
    assert sorted(w for w in set(words) if words.count(w) > 1) == []
    assert {"fp16", "int4", "awq_marlin", "gptq_marlin", "bitsandbytes", "compressed-tensors"} <= set(words)


def test_the_seed_has_seventeen_claims_in_its_own_words():
    seed = (ROOT / "data" / "seed_table.vi.md").read_text(encoding="utf-8")
    claims = catalog.table("table")
    assert len(claims) == len({c["id"] for c in claims}) == 17
    for row in (*claims, *catalog.table("conversion"), *catalog.table("optimizations")):
        for words in row["seed_words"].split(" // "):
            assert words in seed, row
    assert {c["part"] for c in claims} == {*PART_KEYS, "conversion", "optimization"}
    assert {c["verdict_from"] for c in claims} == {"catalogue", "log", "source"}


def test_bounds_of_a_claim_are_numbers_in_order():
    for row in catalog.table("table"):
        low, high = ([float(x) for x in row[k].split(";") if x] for k in ("low", "high"))
        assert len(low) == len(high) == (len(row["variant"].split(";")) if low else 0), row["id"]
        assert all(a <= b for a, b in zip(low, high, strict=True))


def test_both_seed_tables_have_the_same_shape():
    texts = [(ROOT / "data" / f"seed_table.{lang}.md").read_text(encoding="utf-8") for lang in ("vi", "en")]
    pipes, codes = (
        [[line.count("|") for line in t.splitlines()] for t in texts],
        [t.count("`") for t in texts],
    )
    assert pipes[0] == pipes[1]
    assert codes[0] == codes[1]


def test_conversion_keeps_the_printed_numbers():
    printed = [(r["params"], r["fp16_gb"], r["int4_gb"]) for r in catalog.table("conversion")]
    assert printed == [("1B", "2", "0.5"), ("3B", "6", "1.5"), ("7B", "13", "3.3"), ("13B", "24", "6.0")]


def test_context_rule_meets_the_printed_figures():
    # Three idle contexts on GDDR cards, printed by different people: 3 MiB a multiprocessor within 6 %.
    rule = next(r for r in catalog.table("cuda_context") if r["card"] == "GDDR")
    for name in ("RTX-4060-Ti-8GB", "RTX-6000-Ada", "RTX-PRO-6000"):
        card = catalog.gpu(name)
        assert card.cuda_context_bytes / MiB == pytest.approx(
            float(rule["mib_per_sm"]) * card.num_sms, rel=0.06
        )
