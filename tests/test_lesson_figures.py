"""Figures of notebooks 05 to 07: what they draw adds up, and agrees with what was printed elsewhere."""

import pytest

from vramlib import budget, runs
from vramlib.allocator import CachingAllocator, Settings, last_stats
from vramlib.lessons import fragmentation as frag
from vramlib.lessons import fragmentation_cases, framework_buffers, framework_cases, padding_cases, paging
from vramlib.lessons import prefill_padding as pad
from vramlib.units import GiB, MiB


def test_addends_of_the_second_runner_are_those_of_the_source() -> None:
    """output_bin_counts of 1,024 slots and 128,256 words is 501 MiB; masks 31.3 and ids 17.5 MiB come on top."""
    state = next(
        row
        for row in framework_buffers.WIDGET.figure(gpu="H100-80GB", request_slots=1024).rows
        if row["place"] == 3
    )
    assert state["size"] == "549.98 MiB"


@pytest.mark.parametrize(
    ("field", "low", "high"), [("request_slots", 1, 1024), ("max_model_len", 1024, 131_072)]
)
def test_more_of_a_flag_never_takes_less(field: str, low: int, high: int) -> None:
    ends = [framework_buffers.WIDGET.figure(**{field: n}).rows[-1]["end"] for n in (low, high)]
    assert ends[0] < ends[1]


def test_eager_leaves_the_other_addends_as_they_are() -> None:
    on, off = (framework_buffers.WIDGET.figure(enforce_eager=word).rows for word in ("false", "true"))
    assert [row["place"] for row, other in zip(on, off, strict=True) if row["size"] != other["size"]] == [
        1,
        4,
    ]
    assert off[1]["size"] == "0 B"


def test_flag_that_does_not_exist_leads_to_the_one_that_does() -> None:
    assert framework_cases.instead_of("--enable-cuda-graphs") == "--enforce-eager"
    assert all(row[1] == "no" for row in framework_cases.flags().rows)


@pytest.mark.parametrize("mix", pad.SPREADS)
def test_strips_hold_each_token_once(mix: str) -> None:
    lengths = pad.request_lengths(mix)
    lanes = ["padded", "packed", *(f"chunk {n}" for n in range(20))]
    pieces = pad._pieces(lengths, 1024, lanes, ("token", "empty"), "en")
    by_lane = {lane: sum(p["end"] - p["start"] for p in pieces if p["lane"] == lane) for lane in lanes}
    assert by_lane["packed"] == sum(v for k, v in by_lane.items() if k.startswith("chunk")) == sum(lengths)
    assert by_lane["padded"] == len(lengths) * max(lengths)
    assert max(v for k, v in by_lane.items() if k.startswith("chunk")) <= 1024


def test_alike_prompts_have_no_padding() -> None:
    assert "0 % of the padded batch is empty" in pad.WIDGET.figure(request_mix="alike").text


@pytest.mark.parametrize("share", pad.SHARES)
def test_card_is_laid_out_whole(share: float) -> None:
    e = pad.tiny(share)
    pieces = dict.fromkeys(("free", "pool"), 0)
    taken = pad._pieces_taken(e, {}, "en")
    assert sum(size for _, size in taken) == e.gpu.memory_bytes
    assert min(size for _, size in taken) >= 0
    assert {key for key, _ in taken} >= pieces.keys()


def test_only_the_pool_follows_the_share() -> None:
    low, high = (dict(pad._pieces_taken(pad.tiny(share), {}, "en")) for share in (0.3, 0.9))
    assert {key for key in low if low[key] != high[key]} == {"pool", "free"}


@pytest.mark.parametrize("run_id", padding_cases.PRINTED)
def test_printed_figures_add_up_to_the_share_of_the_card(run_id: str) -> None:
    """Four figures of two digits each: 4 · 0.005 GiB, and the total of the card."""
    run = next(r for r in runs.read("vllm") if r.run_id == run_id)
    printed = sum(run.measured[key] for key in ("weights", "activation_peak", "non_torch", "kv_pool"))
    assert abs(printed - budget.requested_bytes(run.scenario)) <= 0.025 * GiB


@pytest.mark.parametrize("mode", frag.MODES)
def test_kinds_add_up_to_what_is_reserved(mode: str) -> None:
    gpu = CachingAllocator(total_bytes=GiB, settings=Settings(expandable_segments=frag.MODES[mode]))
    stats = last_stats(frag.trace(), gpu)
    found = frag.kinds_of(frag._played(frag.MODES[mode])[-1][1])
    assert sum(found.values()) == stats.reserved_bytes
    assert found["held"] == stats.requested_bytes
    assert found["held"] + found["rounded"] == stats.allocated_bytes
    if mode == "False":
        assert found["stranded"] == stats.fragmented_bytes == 10 * MiB


def test_cached_bytes_go_back_and_stranded_ones_stay() -> None:
    gpu = CachingAllocator(total_bytes=GiB)
    before = frag.kinds_of(frag._played(False)[-1][1])
    reserved = last_stats(frag.trace(), gpu).reserved_bytes
    gpu.empty_cache()
    assert reserved - gpu.stats.reserved_bytes == before["cached"]
    assert gpu.stats.fragmented_bytes == before["stranded"]


def test_slots_and_blocks_serve_the_same_requests() -> None:
    finished = {moments[-1].finished for moments in map(paging.served, (0, *paging.LIMITS))}
    assert finished == {120}


def test_blocks_waste_less_than_a_block_for_each_request() -> None:
    assert all(m.usage.waste_slots < 16 * max(m.running, 1) for m in paging.served())


def test_longer_slots_waste_more() -> None:
    empty = [float(row[3].removesuffix(" %")) for row in paging.waste_table().rows]
    assert empty[0] < empty[1] < empty[2]
    assert empty[3] < 2


def test_growing_cache_reserves_several_times_its_size() -> None:
    """8 sequences of 1,024 + 512 tokens hold 6.33 GiB for 1.5 GiB (+322 %); 16 of 512 + 512 hold +585 %."""
    rows = {row[0]: row for row in fragmentation_cases.growing_table().rows}
    assert rows["8 × (1,024 + 512)"][1:4] == ("1.50 GiB", "6.33 GiB", "+322 %")
    assert rows["16 × (512 + 512)"][3] == "+585 %"
