"""Time from a key press on a slider to the painted chart, in a real Chromium.

Two notebooks in JupyterLab, and the what-if dashboard as ``vram app`` shows it.
"""

import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from conftest import chromium_path  # noqa: E402
from lab_browser import (  # noqa: E402
    chromium_browser,
    fresh_page,
    jupyter_lab,
    open_and_run,
    press,
    what_if_app,
)

from vramlib import widgets  # noqa: E402
from vramlib.units import show  # noqa: E402
from vramlib.what_if import State, view  # noqa: E402

NAME, DASHBOARD, MOVES = "02_kv_cache.ipynb", "11_what_if.ipynb", 20
START = {
    "model": "Llama-3.1-8B",
    "gpu": "L4",
    "max_model_len": 8192,
    "prompt_tokens": 3840,
    "new_tokens": 256,
}
BUSY = 200  # after a move the slower figures begin [ms]
READY = "() => (document.querySelector('.vram-app')?.dataset.ready ?? '').includes('sensitivity')"


def sizes() -> list[tuple[str, str]]:
    """Keys to press one after the other, and what the chart says after each."""
    control = next(c for c in widgets.kv_cache.controls if c.field == "max_model_len")
    up = [*control.values[control.values.index(control.start) + 1 :]]
    down = [*reversed(control.values[: len(control.values) - 1])]
    walk = [("ArrowRight", v) for v in up] + [("ArrowLeft", v) for v in down]
    walk += [("ArrowRight", v) for v in control.values[1:]]
    return [(key, _cache(value)) for key, value in walk[:MOVES]]


def _cache(tokens: int) -> str:
    rows = widgets.kv_cache.figure(max_model_len=tokens).rows
    return next(row["bar"] for row in rows if row["key"] == "kv_cache").split("|")[1]


def batches() -> list[tuple[str, str]]:
    """The same for the dashboard's slider of sequences: down to one, and up to where nothing is free any more."""
    walk = [("ArrowLeft", n) for n in (8, 4, 2, 1)] + [("ArrowRight", n) for n in (2, 4, 8, 16, 32)]
    walk += [("ArrowLeft", n) for n in (16, 8, 4, 2, 1)] + [("ArrowRight", n) for n in (2, 4, 8, 16, 32, 64)]
    return [(key, _left(n)) for key, n in walk[:MOVES]]


def _left(sequences: int) -> str:
    found = view.quick(State().set(**START, batch_size=sequences))
    left = found["headroom_bytes"]
    return f"{show(left)} free" if left >= 0 else f"over by {show(-left)}"


def in_lab(browser: Any, name: str, field: str, moves: list[tuple[str, str]], ready: str = "true") -> None:
    """A notebook's slider, moved in JupyterLab."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "notebooks" / name, folder)
        with jupyter_lab(Path(folder)) as (url, token), fresh_page(browser, url) as (page, _):
            open_and_run(page, url, token, name)
            page.wait_for_function(ready)
            told(f"{name} in JupyterLab", moved(page, field, moves))


def in_app(browser: Any, field: str, moves: list[tuple[str, str]]) -> None:
    """The dashboard's slider, moved in Voila."""
    start = State().set(**START, batch_size=16).to_link()
    with (
        tempfile.TemporaryDirectory() as folder,
        what_if_app(Path(folder)) as (url, token),
        fresh_page(browser, url) as (page, _),
    ):
        page.goto(f"{url}/?token={token}#{start}")
        page.wait_for_function(READY)
        told("vram app", moved(page, field, moves))


def moved(page: Any, field: str, moves: list[tuple[str, str]]) -> list[float]:
    """Time of each move; every second one comes while the kernel is busy with the slower figures."""
    times = []
    for place, (key, want) in enumerate(moves):
        page.wait_for_timeout(BUSY * (place % 2))
        times.append(press(page, field, key, want))
    return times


def told(where: str, times: list[float]) -> None:
    """One line: how many moves, the median and the slowest of them."""
    print(
        f"slider: {len(times)} moves, {where}, key press to painted chart:"
        f" median {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms",
        flush=True,
    )


def main() -> None:
    """Print the median and the slowest of the moves, or that there is no browser to measure in."""
    chromium = chromium_path()
    if chromium is None:
        print("slider: no Chromium here, not measured")
        return
    with chromium_browser(chromium) as browser:
        in_lab(browser, NAME, "max_model_len", sizes())
        in_lab(browser, DASHBOARD, "batch_size", batches(), READY)
        in_app(browser, "batch_size", batches())


if __name__ == "__main__":
    main()
