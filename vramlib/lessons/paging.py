"""Notebook 07, second part: the same requests on slots of full length and on blocks, cell by cell and over time."""

from __future__ import annotations

import functools
from typing import Any

import altair as alt

from vramlib import charts_growth, charts_strips, tables
from vramlib.allocator import (
    Cell,
    ContiguousSlots,
    Engine,
    Moment,
    PagedCache,
    plain_plan,
    poisson_requests,
    serve,
)
from vramlib.lessons.fragmentation import CACHED, HELD, STRANDED
from vramlib.messages import t
from vramlib.units import GiB

TOKEN = 131_072  # bytes of one token of Llama-3.1-8B
LIMITS = (2048, 4096, 8192)
BLOCKS_A_ROW, ROWS, BLOCK = 16, 6, 16
FRAMES, EVERY, SHOWN = 16, 6, 2400


@functools.cache
def served(limit: int = 0) -> tuple[Moment, ...]:
    """120 chats on 4 GiB: in slots of ``limit`` tokens, or in blocks of 16 where it is 0.

    Parameters
    ----------
    limit : max_model_len of the slots [token]

    Returns
    -------
    One moment for each step of the engine [-]

    Examples
    --------
    >>> max(m.running for m in served(2048)), max(m.running for m in served())
    (16, 42)
    """
    memory: Any = PagedCache(plain_plan(bytes_per_token=TOKEN), num_blocks=2049)
    if limit:
        memory = ContiguousSlots(capacity_bytes=4 * GiB, max_model_len=limit, bytes_per_token=TOKEN)
    requests = poisson_requests(num_requests=120, requests_per_step=0.1, max_model_len=2048)
    return tuple(serve(requests, Engine(memory)))


def waste_chart(language: str = "en") -> alt.LayerChart:
    """Held and empty bytes while 120 chats are served: slots of three lengths, and blocks."""
    names = {True: t("frag.slots", language), False: t("frag.blocks", language)}
    rows = [
        {"series": names[slots], "max_model_len": limit, "x": m.step, "y": m.usage.waste_bytes}
        for limit in LIMITS
        for slots in (True, False)
        for m in served(limit if slots else 0)[:SHOWN:40]
    ]
    labels = {word: t(f"frag.waste_{word}", language) for word in ("title", "description", "x", "y")}
    limits = charts_growth.chooser("max_model_len", LIMITS, "--max-model-len")
    return charts_growth.growth(rows, labels=labels, choose=[limits], log=False, height=220)


def waste_table(language: str = "en") -> tables.Table:
    """The same runs in numbers: requests at once, steps until all are done, share of the held bytes that is empty."""
    rows = []
    for limit in (*LIMITS, 0):
        moments = served(limit)
        held = sum(m.usage.held_bytes for m in moments)
        empty = sum(m.usage.waste_bytes for m in moments)
        name = t("frag.slots_of", language, tokens=f"{limit:,}") if limit else t("frag.blocks", language)
        most = max(m.running for m in moments)
        rows.append(
            (
                name,
                str(most),
                f"{len(moments):,}",
                f"{100 * empty / held:.1f} %",
                f"{held / (held - empty):.2f}×",
            )
        )
    columns = [t(f"frag.column_{c}", language) for c in ("memory", "running", "steps", "empty", "times")]
    return tables.table(columns, rows)


def cells_chart(language: str = "en") -> alt.LayerChart:
    """The same small memory as six slots and as 96 blocks while requests come and go, with a slider over time."""
    names = {word: t(f"frag.cell_{word}", language) for word in ("filled", "empty", "free")}
    colors = dict(zip(names.values(), (HELD, STRANDED, CACHED), strict=True))
    slot, block = t("frag.slot_lane", language), t("frag.block_lane", language)
    lanes = [f"{word} {n + 1}" for word in (slot, block) for n in range(ROWS)]
    rows: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    for frame, (slots, blocks, said) in enumerate(_frames()):
        pieces = [_piece(lane, 0, BLOCKS_A_ROW * BLOCK, names["free"]) for lane in lanes]
        pieces += [p for c in slots for p in _cell(c, f"{slot} {c.number + 1}", 0, names)]
        for cell in blocks[1:]:
            row, column = divmod(cell.number - 1, BLOCKS_A_ROW)
            pieces += _cell(cell, f"{block} {row + 1}", column * BLOCK, names)
        rows += [piece | {"time": frame} for piece in pieces]
        captions.append({"text": t("frag.cells_caption", language, **said), "time": frame})
    return charts_strips.strips(
        rows,
        labels={word: t(f"frag.cells_{word}", language) for word in ("title", "description", "axis")},
        colors=colors, lanes=lanes, extent=BLOCKS_A_ROW * BLOCK, captions=captions,
        controls=[charts_strips.time_slider("time", FRAMES - 1, t("frag.time", language), start=FRAMES - 5)],
    )  # fmt: skip


def _cell(cell: Cell, lane: str, start: int, names: dict[str, str]) -> list[dict[str, Any]]:
    """A slot or a block: what is filled, then what is held and empty."""
    if cell.state in ("free", "cached"):
        return []
    owner = ", ".join(cell.owners)
    ends = ((0, cell.filled, "filled"), (cell.filled, cell.size, "empty"))
    return [_piece(lane, start + a, start + b, names[word], owner) for a, b, word in ends if a < b]


def _piece(lane: str, start: int, end: int, kind: str, note: str = "") -> dict[str, Any]:
    return {"lane": lane, "start": start, "end": end, "kind": kind, "note": note}


def _frames() -> list[tuple[tuple[Cell, ...], tuple[Cell, ...], dict[str, str]]]:
    """Both memories after every few steps, and what stands above them."""
    size = BLOCKS_A_ROW * BLOCK
    requests = poisson_requests(
        num_requests=80,
        requests_per_step=0.5,
        mean_prompt_tokens=30,
        mean_new_tokens=50,
        max_model_len=size,
        seed=2,
    )
    engines = [
        Engine(ContiguousSlots(capacity_bytes=ROWS * size, max_model_len=size, bytes_per_token=1)),
        Engine(
            PagedCache(
                plain_plan(bytes_per_token=1), num_blocks=ROWS * BLOCKS_A_ROW + 1, prefix_caching=False
            )
        ),
    ]
    players = [serve(requests, engine) for engine in engines]
    found = []
    for _ in range(FRAMES):
        moments = [next(m for i, m in enumerate(player) if i == EVERY - 1) for player in players]
        said = {"step": str(moments[0].step)}
        for word, m in zip(("slots", "blocks"), moments, strict=True):
            said |= {
                f"{word}_running": str(m.running),
                f"{word}_full": f"{100 * m.usage.live_slots / (ROWS * size):.0f}",
            }
        found.append((engines[0].cells(), engines[1].cells(), said))
    return found
