"""The what-if dashboard as a reader has it: vram app and JupyterLab in Chromium, with no network."""

import csv
import json
import re
import shutil
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_browser import (
    READY,
    RUN_ALL,
    Seen,
    chromium_browser,
    fresh_page,
    jupyter_lab,
    press,
    slider,
    what_if_app,
)
from test_browser import OF_LAB
from test_what_if_uploads import config, llama_tensors, safetensors

from vramlib._paths import notebooks_dir
from vramlib.units import MiB, show
from vramlib.what_if import State, view

pytestmark = [pytest.mark.browser, pytest.mark.notebooks]

NAME = "11_what_if.ipynb"
START = {"batch_size": 16, "prompt_tokens": 3840, "new_tokens": 256}  # of the notebook
PIECES = (
    "names => names.every(name => (document.querySelector('.vram-app').dataset.ready || '').includes(name))"
)


def state(**changes: Any) -> State:
    given = {"model": "Llama-3.1-8B", "gpu": "L4", "max_model_len": 8192, **START, **changes}
    return State().set(**given)


def free(**changes: Any) -> str:
    """What stands under the bar where there is room."""
    found = view.quick(state(**changes))
    assert found["fits"]
    return f"{show(found['headroom_bytes'])} free"


def verdict(**changes: Any) -> str:
    return view.quick(state(**changes))["verdict"]


def says(page: Any, text: str) -> None:
    """Wait until the verdict is this one and the rest of the page has followed."""
    page.wait_for_function(
        "text => document.querySelector('.vram-app[data-settled=true] .vram-said')?.textContent === text",
        arg=text,
    )


def settled(page: Any, *names: str) -> None:
    page.wait_for_function(PIECES, arg=list(names or ("map", "compare", "cards", "sensitivity")))


def problem(page: Any) -> str:
    shown = page.locator(".vram-problem")
    return shown.inner_text() if shown.is_visible() else ""


def opened(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector(".vram-app .vram-drawing svg", state="attached")
    settled(page)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with chromium_browser(chromium) as started:
        yield started


@pytest.fixture(scope="module")
def app_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app") / "server.log"


@pytest.fixture(scope="module")
def served(app_log: Path) -> Iterator[tuple[str, str]]:
    with what_if_app(app_log.parent) as (url, token):
        yield url, token


@pytest.fixture(scope="module")
def only_page(served: tuple[str, str], browser: Any) -> Iterator[tuple[Any, Seen]]:
    url, token = served
    with fresh_page(browser, url) as (page, seen):
        opened(page, f"{url}/?token={token}")
        page.set_default_timeout(20_000)
        yield page, seen


@pytest.fixture
def page(only_page: tuple[Any, Seen]) -> Iterator[Any]:
    """The page as the notebook starts it, by a link; afterwards nothing was written to the console or asked outside."""
    page, seen = only_page
    page.get_by_label("Paste a link here to open it").fill("#" + state().to_link())
    page.evaluate("() => { document.querySelector('.vram-app').dataset.settled = 'false'; }")
    page.get_by_role("button", name="Open the link").click()
    says(page, verdict())
    yield page
    assert seen.outside == []
    assert seen.errors == []


def test_it_listens_on_this_machine_behind_a_token(served: tuple[str, str]) -> None:
    url, token = served
    port = int(url.rpartition(":")[2])
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", port), timeout=2)
    with urllib.request.urlopen(url) as reply:
        assert "login" in reply.url
        assert "vram-" not in reply.read().decode()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{url}/api/kernels/{'0' * 8}-0000-0000-0000-{'0' * 12}")
    assert len(token) >= 32


def test_its_first_page_needs_no_other_machine_and_shows_no_code(page: Any) -> None:
    assert page.locator("h1").inner_text().strip("¶") == "What if: which settings make my model fit my card?"
    assert page.locator(".jp-InputArea-editor, .highlight").count() == 0
    for width in (1280, 480):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        wide = "() => [...document.querySelectorAll('.vram-app > *')].filter(e => e.scrollWidth > e.clientWidth + 1)"
        assert page.evaluate(f"({wide})().map(e => e.className)") == []
    page.set_viewport_size({"width": 1280, "height": 900})


def test_a_model_and_a_card_are_chosen_without_a_mouse(page: Any) -> None:
    box = page.get_by_role("combobox", name="Model")
    box.focus()
    page.keyboard.type("qwen3-8")
    page.get_by_role("option", name="Qwen/Qwen3-8B", exact=True).wait_for()
    page.keyboard.press("Enter")
    says(page, verdict(model="Qwen/Qwen3-8B"))
    page.get_by_role("combobox", name="Card").focus()
    page.keyboard.type("t4")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    says(page, verdict(model="Qwen/Qwen3-8B", gpu="T4"))
    box.focus()
    page.keyboard.type("zzz")
    page.keyboard.press("Escape")
    assert box.input_value() == "Qwen/Qwen3-8B"


def test_a_slider_moves_bar_numbers_budget_command_and_link(page: Any) -> None:
    before = page.locator(".vram-drawing").first.inner_html()
    press(page, "batch_size", "ArrowLeft", free(batch_size=8))
    says(page, verdict(batch_size=8))
    assert page.locator(".vram-drawing").first.inner_html() != before
    assert slider(page, "batch_size").get_attribute("aria-valuetext") == "8"
    page.locator("[data-field=kv_cache_dtype] select").select_option(label="fp8")
    says(page, verdict(batch_size=8, kv_cache_dtype="fp8"))
    assert "--kv-cache-dtype fp8" in page.get_by_label("Command line for what is shown").inner_text()
    assert "kv_cache_dtype=fp8" in page.url
    found = view.quick(state(batch_size=8, kv_cache_dtype="fp8"))
    assert f"{found['kv']['tokens']} tokens" in page.locator(".vram-budget").inner_text()
    exact = page.locator("[data-field=batch_size] .vram-exact")
    exact.fill("11")
    exact.press("Enter")
    says(page, verdict(batch_size=11, kv_cache_dtype="fp8"))
    page.get_by_role("button", name="Reset the settings").click()
    says(page, view.quick(State().set(model="Llama-3.1-8B", gpu="L4", max_model_len=8192))["verdict"])


def test_each_control_of_the_page_moves_what_it_shows(page: Any) -> None:
    for name, value in (("batch_size", "4"), ("prompt_tokens", "4096")):
        page.locator(f"[data-field={name}] .vram-exact").fill(value)
        page.keyboard.press("Enter")
    start = verdict(batch_size=4, prompt_tokens=4096)
    says(page, start)
    fields = page.evaluate("() => [...document.querySelectorAll('.vram-field')].map(e => e.dataset.field)")
    assert len(fields) > 12
    assert [name for name in fields if not moves(page, name)] == []
    says(page, start)


def moves(page: Any, name: str) -> bool:
    """Whether one of a control's places changes a figure; afterwards it stands where it stood."""
    shown = "() => [...document.querySelectorAll('.vram-figures')].map(e => e.textContent).join()"
    before, (start, places) = page.evaluate(shown), page.evaluate(PLACE, name)
    changed = False
    for place in [p for p in range(places) if p != start]:
        to(page, name, place)
        changed = page.evaluate(shown) != before
        if changed:
            break
    to(page, name, start)
    return changed


def to(page: Any, name: str, place: int) -> None:
    """A control at another place, and the page with the answer."""
    link = page.url
    page.evaluate(MOVE, [name, place])
    page.wait_for_function("link => location.href !== link", arg=link)


PLACE = """name => {
  const input = document.querySelector(`[data-field=${name}] :is(select, input[type=range])`);
  return [Number(input.value), input.options ? input.options.length : Number(input.max) + 1];
}"""
MOVE = """([name, place]) => {
  const input = document.querySelector(`[data-field=${name}] :is(select, input[type=range])`);
  input.value = place;
  input.dispatchEvent(new Event('input', {bubbles: true}));
}"""


def test_a_cell_of_the_map_is_reached_by_mouse_and_keyboard(page: Any) -> None:
    page.get_by_role("button", name=re.compile("^4,096 tokens, 8 at once")).click()
    cell = {"max_model_len": 4096, "prompt_tokens": 3840, "new_tokens": 256}
    says(page, verdict(batch_size=8, **cell))
    settled(page)
    current = page.locator(".vram-map [aria-current]")
    assert current.get_attribute("aria-label").startswith("4,096 tokens, 8 at once")
    current.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    says(page, verdict(batch_size=4, **cell))
    settled(page)
    assert page.evaluate("() => document.activeElement.getAttribute('aria-label')").startswith(
        "4,096 tokens, 4"
    )
    assert page.locator(".vram-map button[tabindex='0']").count() == 1


def test_configurations_are_compared_switched_and_removed(page: Any) -> None:
    page.get_by_role("button", name="+ Add a copy to compare").click()
    page.locator("[data-field=quantization] select").select_option(label="fp8")
    says(page, verdict(quantization="fp8"))
    page.get_by_label("Name of this configuration").fill("<b>narrow</b>")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="<b>narrow</b>", exact=True).wait_for()
    settled(page)
    table = page.get_by_role("table", name=re.compile("side by side"))
    weights = table.get_by_role("row", name=re.compile("^Model weights")).inner_text()
    assert "(−6.5" in weights
    assert page.locator(".vram-differs").count() > 3
    chart = page.locator(".vram-drawing").nth(1)
    chart.get_by_text("<b>narrow</b>").wait_for(state="attached")
    page.get_by_role("button", name="1: Llama-3.1-8B", exact=True).click()
    says(page, verdict())
    page.get_by_role("button", name="Remove <b>narrow</b>").click()
    page.get_by_role("button", name="<b>narrow</b>", exact=True).wait_for(state="detached")
    assert problem(page) == ""


def test_cards_are_ranked_by_the_readers_prices_and_chosen(page: Any, tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text("gpu,per_hour,currency\nA100-80GB,2.5,USD\nA10,0.6,USD\nL40S,1.1,USD\n")
    page.locator("input[name=prices-file]").set_input_files(prices)
    cards = page.get_by_role("table", name="Cards, those that fit first")
    cards.get_by_text("1.1 USD").first.wait_for()
    first = cards.get_by_role("row").nth(1).inner_text()
    assert first.startswith("L40S")
    cards.get_by_role("button", name="L40S", exact=True).click()
    says(page, verdict(gpu="L40S"))


def test_the_setting_that_matters_most_stands_first_and_its_step_is_taken(page: Any) -> None:
    settled(page)
    rows = view.DETAILS["sensitivity"](state(), None)
    table = page.get_by_role("table", name=re.compile("Settings by what they move"))
    assert table.locator("tbody code").all_inner_texts() == [row["flag"] for row in rows]
    table.get_by_role("row", name=re.compile("--kv-cache-dtype")).get_by_role("button", name="fp8").click()
    says(page, verdict(kv_cache_dtype="fp8"))


def test_why_shows_the_formulas_with_the_numbers_in(page: Any) -> None:
    page.get_by_text("The formula of each part with these numbers in it").click()
    settled(page, "why")
    assert "32 · 65,536 · 8 · (128 + 128) · 16 / 8" in page.locator(".vram-why").inner_text()
    page.get_by_text("The formula of each part with these numbers in it").click()


BAD_FILES = {
    "empty.json": b"",
    "list.json": b"[1, 2]",
    "half.json": b'{"model_type": "llama", "hidden',
    "no_model.json": b'{"a": 1}',
    "noise.gguf": bytes(range(256)) * 64,
    "cut.gguf": b"GGUF" + struct.pack("<IQQ", 3, 10**9, 10**9),
    "huge_header.safetensors": struct.pack("<Q", 2**62) + b"{" + b" " * 100,
    "page.html": b"<script>alert(1)</script>",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_model_file_is_one_clear_line_and_loses_nothing(page: Any, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(BAD_FILES[name])
    page.locator("[data-field=batch_size] .vram-exact").fill("9")
    page.keyboard.press("Enter")
    says(page, verdict(batch_size=9))
    link, bar = page.url, page.locator(".vram-drawing").first.inner_html()
    page.locator("input[name=model-file]").set_input_files(file)
    page.locator(".vram-problem").wait_for()
    assert re.fullmatch(r"[^\n]{10,300}", problem(page))
    assert (page.url, page.locator(".vram-drawing").first.inner_html()) == (link, bar)
    press(page, "batch_size", "ArrowLeft", "")
    says(page, verdict(batch_size=8))
    assert problem(page) == ""


@pytest.mark.parametrize("kind", ["prices", "state"])
def test_other_bad_files_are_one_clear_line_too(page: Any, tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"bad.{kind}"
    for data in (b"\0\1\2", b"{}", b" " * 9 * MiB):
        file.write_bytes(data)
        page.locator(f"input[name={kind}-file]").set_input_files(file)
        page.locator(".vram-problem").wait_for()
        assert re.fullmatch(r"[^\n]{10,300}", problem(page))
        says(page, verdict())
        page.get_by_role("button", name="Open the link").click()
        page.wait_for_function("() => document.querySelector('.vram-problem').hidden")


def test_a_model_is_pasted_and_uploaded_also_in_several_pieces(page: Any, tmp_path: Path) -> None:
    page.get_by_text("Your own model: paste or choose a file").click()
    page.get_by_label("config.json as text").fill(config().decode())
    page.get_by_role("button", name="Use the pasted text").click()
    page.wait_for_function("() => document.querySelector('.vram-said')?.textContent.includes('llama on ')")
    header = json.loads(safetensors(llama_tensors())[8:])
    text = json.dumps({**header, "__metadata__": {"note": "x" * 9 * MiB}}).encode()
    file = tmp_path / "mine.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 3 * MiB)
    page.locator("input[name=model-file]").set_input_files(file)
    page.wait_for_function("() => document.querySelector('.vram-said')?.textContent.includes('mine on ')")
    assert problem(page) == ""


def saved(page: Any, kind: str, folder: Path) -> Path:
    with page.expect_download(timeout=90_000) as waiting:  # a report runs its notebook
        page.locator(f"[data-file={kind}]").click()
    download = waiting.value
    download.save_as(folder / download.suggested_filename)
    return folder / download.suggested_filename


def test_everything_can_be_taken_away(page: Any, tmp_path: Path) -> None:
    [row] = csv.DictReader(saved(page, "csv", tmp_path).read_text("utf-8").splitlines())
    assert (row["gpu"], row["batch_size"], row["fits"]) == ("L4", "16", "false")
    assert saved(page, "png", tmp_path).read_bytes().startswith(b"\x89PNG")
    assert "24.22 GiB" in saved(page, "svg", tmp_path).read_text("utf-8")
    report = saved(page, "report", tmp_path).read_text("utf-8")
    assert "Llama-3.1-8B" in report
    assert str(tmp_path) not in report
    page.get_by_role("button", name="Copy the command").click()
    assert page.evaluate("() => window.getSelection().toString()").startswith("vllm serve")


def test_a_saved_state_and_a_link_bring_it_back(
    page: Any, served: tuple[str, str], browser: Any, tmp_path: Path
) -> None:
    page.get_by_role("button", name="+ Add a copy to compare").click()
    page.locator("[data-field=kv_cache_dtype] select").select_option(label="fp8")
    says(page, verdict(kv_cache_dtype="fp8"))
    file = saved(page, "state", tmp_path)
    assert len(State.from_json(file.read_text("utf-8")).configurations) == 2
    link = page.get_by_label("Link to what is shown").input_value()
    assert "token" not in link
    assert page.url.endswith(link.partition("#")[2])
    page.get_by_role("button", name="Reset the settings").click()
    page.locator("input[name=state-file]").set_input_files(file)
    says(page, verdict(kv_cache_dtype="fp8"))
    _, token = served
    with fresh_page(browser, served[0]) as (other, seen):
        opened(other, link.replace("#", f"?token={token}#"))
        says(other, verdict(kv_cache_dtype="fp8"))
        assert other.locator(".vram-tab").count() == 2
        press(other, "batch_size", "ArrowLeft", "")
        says(other, verdict(kv_cache_dtype="fp8", batch_size=8))
        other.reload()
        says(other, verdict(kv_cache_dtype="fp8", batch_size=8))
        assert seen.errors == []


def test_a_page_that_is_left_ends_its_kernel(served: tuple[str, str], browser: Any, app_log: Path) -> None:
    url, token = served
    before = app_log.read_text().count("Kernel shutdown")
    with fresh_page(browser, url) as (page, seen):
        opened(page, f"{url}/?token={token}")
        page.goto("about:blank")
        deadline = time.monotonic() + 20
        while app_log.read_text().count("Kernel shutdown") == before and time.monotonic() < deadline:
            page.wait_for_timeout(100)
        assert app_log.read_text().count("Kernel shutdown") == before + 1
        assert seen.errors == []


def test_in_vietnamese_it_speaks_vietnamese(browser: Any, tmp_path: Path) -> None:
    with (
        what_if_app(tmp_path, "--language", "vi", "--gpu", "A10") as (url, token),
        fresh_page(browser, url) as (page, seen),
    ):
        opened(page, f"{url}/?token={token}")
        assert page.locator(".vram-said").inner_text().startswith("Không vừa")
        titles = page.locator(".vram-app h3").all_inner_texts()
        assert titles[:2] == ["Thiết lập", "Cần bao nhiêu"]
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
        assert (seen.outside, seen.errors) == ([], [])


def test_lab_shows_the_same_page_and_opens_a_link(browser: Any, tmp_path: Path) -> None:
    shutil.copy(notebooks_dir() / NAME, tmp_path / NAME)
    wanted = state(kv_cache_dtype="fp8")
    with jupyter_lab(tmp_path) as (url, token), fresh_page(browser, url) as (page, seen):
        page.goto(f"{url}/lab/tree/{NAME}?token={token}&reset#{wanted.to_link()}")
        page.wait_for_function("() => window.jupyterapp")
        page.evaluate(READY)
        cells = page.evaluate(RUN_ALL)
        assert [bad for cell in cells for bad in cell["bad"]] == []
        says(page, verdict(kv_cache_dtype="fp8"))
        settled(page)
        press(page, "batch_size", "ArrowLeft", free(kv_cache_dtype="fp8", batch_size=8))
        says(page, verdict(kv_cache_dtype="fp8", batch_size=8))
        assert seen.outside == []
        assert [e for e in seen.errors if not OF_LAB.search(e)] == []
