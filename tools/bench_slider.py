"""Time from a key press on a notebook's slider to the painted chart, in JupyterLab and a real Chromium."""

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from conftest import chromium_path  # noqa: E402
from lab_browser import chromium_browser, fresh_page, jupyter_lab, open_and_run, press  # noqa: E402

from vramlib import widgets  # noqa: E402

NAME, MOVES = "02_kv_cache.ipynb", 20


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


def main() -> None:
    """Print the median and the slowest of the moves, or that there is no browser to measure in."""
    chromium = chromium_path()
    if chromium is None:
        print("slider: no Chromium here, not measured")
        return
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "notebooks" / NAME, folder)
        with (
            jupyter_lab(Path(folder)) as (url, token),
            chromium_browser(chromium) as browser,
            fresh_page(browser, url) as (page, _),
        ):
            open_and_run(page, url, token, NAME)
            times = sorted(press(page, "max_model_len", key, want) for key, want in sizes())
    print(
        f"slider: {len(times)} moves in JupyterLab, key press to painted chart:"
        f" median {statistics.median(times):.0f} ms, slowest {times[-1]:.0f} ms"
    )


if __name__ == "__main__":
    main()
