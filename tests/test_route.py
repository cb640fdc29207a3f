"""The two-hour class: its minutes add up, and what it names is in the notebooks."""

import re

import nbformat
import pytest

from vramlib import route, workbook
from vramlib._paths import notebooks_dir
from vramlib.messages import t

STOPS = [stop for stop in route.ROUTE if stop.notebook]
LANGUAGES = ("en", "vi")


def test_the_minutes_add_up_to_two_hours() -> None:
    assert sum(stop.minutes for stop in route.ROUTE) == route.CLASS_MINUTES == 120


def test_no_stop_takes_longer_than_its_notebook_or_comes_twice_or_out_of_order() -> None:
    names = [stop.notebook for stop in STOPS]
    minutes = {n.name: n.minutes for n in workbook.NOTEBOOKS}
    assert names == sorted(set(names))
    assert all(stop.minutes < minutes[stop.notebook] for stop in STOPS)


def test_every_row_of_the_table_is_a_stop() -> None:
    assert {f"{n:02}" for n in range(1, 9)} <= {stop.notebook[:2] for stop in STOPS}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.notebook)
def test_sections_that_a_stop_names_are_headings_of_its_notebook(stop: route.Stop, language: str) -> None:
    content = nbformat.read(notebooks_dir() / f"{stop.notebook}.ipynb", as_version=4)
    other = {"lang-en", "lang-vi"} - {f"lang-{language}"}
    seen = [c.source for c in content.cells if not other & set(c.metadata.get("tags", []))]
    headings = re.findall(r"^## (.+)$", "\n".join(seen), re.M)
    named = [t(f"section.{name}", language) for name in stop.reads]
    assert [h for h in headings if h in named] == named


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_table_prints_a_clock_that_ends_at_the_last_stop(language: str) -> None:
    rows = [line for line in route.class_route(language).splitlines() if re.match(r"\| \d:\d\d ", line)]
    assert len(rows) == len(route.ROUTE)
    hours, minutes, last = re.match(r"\| (\d):(\d\d) \| (\d+) ", rows[-1]).groups()
    assert 60 * int(hours) + int(minutes) + int(last) == route.CLASS_MINUTES


def test_stops_with_a_measurement_are_read_in_pairs() -> None:
    assert all(stop.together == "pairs" for stop in STOPS if "measure" in stop.reads)
