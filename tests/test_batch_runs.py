"""Batches with real kernels: jobs that fail or die, a stopped batch taken up again, a cluster, the real report."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_grids import (
    FAILS,
    GOOD,
    KILLS_KERNEL,
    KILLS_WORKER,
    KILLS_WORKER_ONCE,
    LOG,
    WAITS,
    alive,
    cheap_notebook,
    grid,
    run,
    table,
    tries,
)
from test_batch import hostile_model

import vramlib
from vramlib import batch, contract

pytestmark = pytest.mark.notebooks
FIRST_SECONDS = 120  # for what must happen before a batch is stopped
RUNNER = """
import signal
import sys
from pathlib import Path
from vramlib import batch

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start the tests with Ctrl-C ignored
    grid, out, template = map(Path, sys.argv[1:])
    batch.run(batch.read(grid, "en", template), out, workers=2, template=template)
"""
SCHEDULER = """
import asyncio
from distributed import Scheduler, Worker

async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        async with Worker(scheduler.address, host="127.0.0.1", nthreads=2, dashboard=False):
            print(scheduler.address, flush=True)
            await scheduler.finished()

asyncio.run(main())
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "log"
    folder.mkdir()
    monkeypatch.setenv(LOG, str(folder))
    return folder


@pytest.fixture
def cheap(tmp_path: Path) -> Path:
    return cheap_notebook(tmp_path)


def scenarios(*sizes: int) -> list[dict]:
    return [{**GOOD, "batch_size": size} for size in sizes]


def whole(folder: Path) -> bool:
    """Whether a report's folder has all of it, with the numbers of estimate."""
    about = json.loads((folder / "job.json").read_text())
    given = {name: value for name, value in about["parameters"].items() if name != "language"}
    stored = json.loads((folder / "estimate.json").read_text())
    page = (folder / "report.html").read_text()
    return stored == contract.to_dict(vramlib.estimate(**given)) and page.rstrip().endswith("</html>")


def gone(processes: set[int], seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while any(map(alive, processes)) and time.monotonic() < until:
        time.sleep(0.2)
    return not any(map(alive, processes))


def test_twenty_reports_with_two_bad_rows(tmp_path, log, cheap):
    rows = scenarios(*range(1, 19))
    rows.insert(4, {**GOOD, "model": "no-such-model"})
    rows.insert(11, {**GOOD, "batch_size": "many"})
    told: list[batch.Result] = []
    done = run(grid(tmp_path / "g.csv", rows), tmp_path / "out", workers=2, template=cheap, told=told.append)
    assert [(r.job.number, r.error.split(";")[0]) for r in done.results if r.status == "failed"] == [
        (5, "no model named 'no-such-model' in data/models"), (12, "batch_size is 'many'"),
    ]  # fmt: skip
    folders = list((tmp_path / "out").glob("*/"))
    assert len(folders) == 18
    assert all(map(whole, folders))
    assert sorted(r.job.number for r in told) == list(range(1, 21))
    assert {len(t) for t in tries(log).values()} == {1}
    kernels = {kernel for [(_, kernel)] in tries(log).values()}
    workers = {worker for [(worker, _)] in tries(log).values()}
    assert (len(kernels), len(workers)) == (18, 2)
    assert gone(kernels | workers)


def test_a_job_that_dies_takes_no_other_with_it_and_is_tried_twice(tmp_path, log, cheap):
    rows = scenarios(KILLS_WORKER, 1, KILLS_WORKER_ONCE, 2, KILLS_KERNEL, FAILS, 3)
    done = run(grid(tmp_path / "g.csv", rows), tmp_path / "out", workers=2, template=cheap)
    status = {int(r.job.given["batch_size"]): r.status for r in done.results}
    assert status == {
        1: "made", 2: "made", 3: "made", KILLS_WORKER_ONCE: "made",
        KILLS_WORKER: "failed", KILLS_KERNEL: "failed", FAILS: "failed",
    }  # fmt: skip
    told = {int(r.job.given["batch_size"]): r.error for r in done.results if r.error}
    assert "its process died twice" in told[KILLS_WORKER]
    assert "its process died twice" in told[KILLS_KERNEL]
    assert told[FAILS] == "RuntimeError: this cell was told to fail"
    assert {size: len(t) for size, t in tries(log).items()} == {
        1: 1, 2: 1, 3: 1, FAILS: 1, KILLS_WORKER_ONCE: 2, KILLS_WORKER: 2, KILLS_KERNEL: 2,
    }  # fmt: skip
    assert all(whole(folder) for folder in (tmp_path / "out").glob("*/"))
    assert gone({process for t in tries(log).values() for pair in t for process in pair})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_batch_goes_on_where_it_was(number, tmp_path, log, cheap):
    path, out = grid(tmp_path / "g.csv", scenarios(1, WAITS, WAITS + 1, 2)), tmp_path / "out"
    script = tmp_path / "runner.py"
    script.write_text(RUNNER)
    command = [sys.executable, str(script), str(path), str(out), str(cheap)]
    process = subprocess.Popen(command, start_new_session=True)
    until = time.monotonic() + FIRST_SECONDS
    while not {WAITS, WAITS + 1} <= set(tries(log)) and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.1)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal's Ctrl-C reaches the workers too
    else:
        process.send_signal(number)
    assert process.wait(60) != 0
    assert gone({process for t in tries(log).values() for pair in t for process in pair})
    [finished] = out.glob("[!.]*/")
    assert whole(finished)
    about = (finished / "job.json").stat().st_mtime_ns
    if number == signal.SIGINT:
        assert [r["status"] for r in table(out / "summary.csv")] == ["made"] + ["waiting"] * 3
        assert "3 not made yet" in (out / "index.html").read_text()
    done = run(path, out, workers=2, template=cheap)
    assert (done.count("kept"), done.count("made")) == (1, 3)
    assert (finished / "job.json").stat().st_mtime_ns == about
    assert {size: len(t) for size, t in tries(log).items()} == {1: 1, WAITS: 2, WAITS + 1: 2, 2: 1}
    assert not [left for left in out.iterdir() if left.name.startswith(".")]


@pytest.fixture
def cluster(tmp_path: Path, log: Path) -> Iterator[str]:
    """A scheduler with a worker on this machine's loopback, in a process of their own."""
    script = tmp_path / "scheduler.py"
    script.write_text(SCHEDULER)
    with (tmp_path / "scheduler.log").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=errors, text=True, cwd=tmp_path
        )
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()
        process.communicate(timeout=30)


def test_a_cluster_gives_the_same_reports(cluster, tmp_path, log, cheap):
    assert cluster.startswith("tcp://127.0.0.1:"), (tmp_path / "scheduler.log").read_text()
    path = grid(tmp_path / "g.csv", [*scenarios(1, 2, FAILS, KILLS_KERNEL), {**GOOD, "gpu": "T5"}])
    done = run(path, tmp_path / "out", scheduler=cluster, template=cheap)
    assert [r.status for r in done.results] == ["made", "made", "failed", "failed", "failed"]
    assert done.results[2].error == "RuntimeError: this cell was told to fail"
    assert "its process died twice" in done.results[3].error
    assert all(whole(folder) for folder in (tmp_path / "out").glob("*/"))
    assert {len(t) for size, t in tries(log).items() if size < FAILS} == {1}
    workers = {worker for t in tries(log).values() for worker, _ in t}
    assert len(workers) == 1
    assert os.getpid() not in workers
    again = run(path, tmp_path / "out", scheduler=cluster, template=cheap)
    assert again.count("kept") == 2


def test_a_worker_with_another_package_refuses(tmp_path):
    from vramlib.batch import work

    with pytest.raises(ValueError, match="differ from those that started the batch; install the same"):
        work.make({"model": "Qwen2.5-0.5B", "language": "en"}, "../charts.js", "another digest")


def test_no_scheduler_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("vramlib.batch.executors.CONNECT_SECONDS", 1)
    with pytest.raises(ValueError, match=r"no scheduler answers at 'tcp://127.0.0.1:9'; write its address"):
        run(grid(tmp_path / "g.csv", scenarios(1)), tmp_path / "out", scheduler="tcp://127.0.0.1:9")


def test_a_models_path_that_looks_like_code_is_a_value(tmp_path, log, cheap):
    path = hostile_model(tmp_path)
    rows = [{"model": path, "gpu": "T4", "max_model_len": 512}]
    done = run(grid(tmp_path / "g.csv", rows), tmp_path / "out", template=cheap)
    assert [r.status for r in done.results] == ["made"], done.results[0].error
    assert all(whole(folder) for folder in (tmp_path / "out").glob("*/"))
    assert not list(tmp_path.rglob("pwned"))
    assert not Path("pwned").exists()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two reports of the real notebook and a bad row, by the command."""
    folder = tmp_path_factory.mktemp("real")
    rows = [GOOD, {**GOOD, "model": "Llama-3.1-70B"}, {**GOOD, "gpu": "T5"}]
    vram = Path(sys.executable).with_name("vram")
    words = [
        str(vram),
        "reports",
        str(grid(folder / "g.csv", rows)),
        "--jobs",
        "2",
        "--out",
        str(folder / "out"),
    ]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=280)
    assert (done.returncode, done.stdout.strip()) == (1, str(folder / "out" / "index.html")), done.stderr
    assert "vram: 2 reports made, 0 kept, 1 failed" in done.stderr
    return folder / "out"


def test_the_real_report_with_the_chart_library_once(real):
    pages = sorted(real.glob("*/report.html"))
    assert len(pages) == 2
    assert all(whole(page.parent) for page in pages)
    assert all(page.stat().st_size < 200_000 for page in pages)
    assert all('<script defer src="../charts.js"></script>' in page.read_text() for page in pages)
    assert (real / "charts.js").stat().st_size > 500_000
    assert [row["fits"] for row in table(real / "summary.csv")] == ["true", "false", ""]
    assert sorted(p.name for p in real.iterdir() if p.is_file()) == [
        "batch.json", "charts.js", "index.html", "summary.csv",
    ]  # fmt: skip


@pytest.mark.browser
def test_the_index_is_sorted_by_keyboard_and_leads_to_live_charts(real, chromium):
    from playwright.sync_api import sync_playwright

    asked, errors = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((real / "index.html").as_uri())

        def order() -> list[str]:
            return page.locator("tbody tr td:first-child").all_inner_texts()

        needs = page.get_by_role("button", name="needs GiB")
        needs.focus()
        assert order() == ["1", "2", "3"]
        page.keyboard.press("Enter")
        assert order() == ["1", "2", "3"]
        page.keyboard.press("Space")
        assert order() == ["2", "1", "3"]  # what has no number stays last
        assert page.locator("th[aria-sort=descending]").inner_text() == "needs GiB"
        assert page.evaluate("document.documentElement.scrollWidth") == 1280
        page.get_by_role("link", name="Llama-3.1-70B").click()
        page.locator(".vram-chart svg").first.wait_for()
        assert page.locator(".vram-chart svg").count() == page.locator(".vram-chart").count() == 2
        browser.close()
    assert errors == []
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
