"""The what-if page: questions come in over the widget's own channel, replies go out; nothing is computed here."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from vramlib import catalog, messages, text, vega
from vramlib.messages import t
from vramlib.specs import PART_COLORS
from vramlib.what_if import pictures, prices, saved, sources, stored
from vramlib.what_if.asked import BAD
from vramlib.what_if.pieces import piece
from vramlib.what_if.session import Session
from vramlib.what_if.state import MOST_CONFIGURATIONS, State

_PAGE = Path(__file__).parent / "page"
_SCRIPTS = ("dom.js", "talk.js", "settings.js", "figures.js", "dashboard.js")
FILES: Mapping[str, tuple[str, str, Callable[[State], bytes]]] = {
    "csv": ("what-if.csv", "text/csv", lambda state: saved.csv(state).encode()),
    "png": ("what-if.png", "image/png", saved.png),
    "svg": ("what-if.svg", "image/svg+xml", lambda state: saved.svg(state).encode()),
    "report": ("what-if.html", "text/html", saved.report),
    "state": ("what-if.json", "application/json", lambda state: state.to_json().encode()),
}
QUICK = 0.0005  # a slower figure lets a move pass after so long [s]
LIMITS = {
    "header": sources.MOST_BYTES,
    "prices": prices.MOST_BYTES,
    "state": stored.MOST_BYTES,
    "configurations": MOST_CONFIGURATIONS,
}
# fmt: off
WORDS = (
    "model", "card", "own", "own_hint", "paste_label", "paste_hint", "paste_use", "upload", "sending", "too_large",
    "settings", "group_start", "group_engine", "group_workload", "reset", "needs", "bar", "offline", "silent",
    "parts", "budget", "budget_caption", "figure", "no_budget", "kv", "no_link", "command",
    "map", "map_hint", "map_caption", "map_corner", "map_cell", "fits", "too_big",
    "compare", "compare_hint", "compare_caption", "configurations", "called", "add", "remove",
    "cards", "cards_hint", "cards_caption", "card_memory", "fits_column",
    "card_headroom", "concurrency", "per_hour", "per_request", "prices",
    "sensitivity", "sensitivity_hint", "sensitivity_caption", "setting", "now", "step_down", "step_up",
    "why_title", "why", "keep", "keep_hint", "copied", "copy_command", "copy_link", "link", "open", "open_link",
    "open_state", "file_csv", "file_png", "file_svg", "file_report", "file_state", "making_report",
)
# fmt: on
BAR_WORDS = ("part", "both", "interval_tip", "basis")


class Dashboard(anywidget.AnyWidget):
    """Every question and its figures on one page.

    Parameters
    ----------
    state : where it starts [-]
    """

    _esm = "\n".join((_PAGE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    _css = (_PAGE / "dashboard.css").read_text(encoding="utf-8")
    words = traitlets.Dict().tag(sync=True)
    colors = traitlets.Dict().tag(sync=True)
    limits = traitlets.Dict().tag(sync=True)
    cards: Any = traitlets.List().tag(sync=True)
    language = traitlets.Unicode().tag(sync=True)
    spec = traitlets.Dict().tag(sync=True)

    def __init__(self, state: State) -> None:
        if not vega.loaded():
            vega.enable()
        self.session = Session(state)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="what-if")
        super().__init__(
            words=messages.names("app", WORDS, state.language)
            | messages.names("bar", BAR_WORDS, state.language),
            colors=dict(PART_COLORS),
            limits=LIMITS,
            cards=[card.name for card in catalog.gpus()],
            language=state.language,
            spec=pictures.live(state.language),
        )
        self.on_msg(self._asked)

    def _asked(self, _: Any, question: Any, buffers: Any) -> None:
        """One reply to each question, whatever happens: the page waits for it."""
        if question.get("do") == "piece":
            self._worker.submit(self._slow, question.get("id"), str(question.get("name")), self.session.state)
            return
        reply: dict[str, Any] = {"error": t("app.unexpected", self.language)}
        try:
            if question.get("do") == "file":
                reply = self._begins(str(question.get("kind")))
            else:
                reply = self.session.reply(question, buffers)
        finally:
            self.send({**reply, "id": question.get("id")})

    def _slow(self, number: Any, name: str, state: State) -> None:
        """One of the slower figures, computed beside the moves; nothing where the page has moved on meanwhile."""
        reply: dict[str, Any] = {"error": t("app.unexpected", self.language)}
        interval = sys.getswitchinterval()
        sys.setswitchinterval(QUICK)
        try:
            reply = piece(name, state, self.session.prices) if state is self.session.state else {}
        finally:
            sys.setswitchinterval(interval)
            self.send({**reply, "id": number})

    def _begins(self, kind: str) -> dict[str, Any]:
        """A file is made beside the page: a report takes seconds, and sliders go on meanwhile."""
        if kind not in FILES:
            return {"error": f"no file {kind[:40]!r}; known are {', '.join(FILES)}"}
        threading.Thread(target=self._makes, args=(kind, self.session.state), daemon=True).start()
        return {}

    def _makes(self, kind: str, state: State) -> None:
        name, media_type, make = FILES[kind]
        reply: dict[str, Any] = {"error": t("app.unexpected", self.language)}
        data = b""
        try:
            data = make(state)
            reply = {"file": {"name": name, "type": media_type}}
        except BAD as problem:
            reply = {"error": text.message(problem)}
        finally:
            self.send({**reply, "made": kind}, [data])
