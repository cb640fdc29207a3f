"""What one page has done so far: its state, its prices, a file on its way.

Each question gets a reply, or one clear line. A question that cannot be answered changes nothing, so that
nothing is ever lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vramlib import text
from vramlib.messages import t
from vramlib.what_if import compare, pictures, settings, sources, uploads, view
from vramlib.what_if.asked import BAD
from vramlib.what_if.prices import Prices, read_prices
from vramlib.what_if.state import State

LONGEST = 8192  # tokens of the longest sequence at first, where the model takes as many
Question = Mapping[str, Any]


class Session:
    """One page's state and how it changes.

    Parameters
    ----------
    state : where it starts [-]

    Examples
    --------
    >>> page = Session(State().set(gpu="L4"))
    >>> page.reply({"do": "move", "fields": {"batch_size": "1.5"}})
    {'error': "batch_size is '1.5'; write a whole number of sequences, 1 or more"}
    >>> page.reply({"do": "move", "fields": {"batch_size": 16}})["quick"]["fits"]
    True
    """

    def __init__(self, state: State) -> None:
        self.state = self.start = state
        self.prices = Prices()
        self._sent: dict[str, dict[str, Any]] = {}
        self._arriving: tuple[str, bytearray] = ("", bytearray())

    def reply(self, question: Question, buffers: Sequence[bytes] = ()) -> dict[str, Any]:
        """The answer to one question.

        Parameters
        ----------
        question : ``do`` (what is done) and what that needs [-]
        buffers : bytes that came with it [-]

        Returns
        -------
        What the page shows, or only ``error``: one line [-]
        """
        try:
            done = _DEEDS.get(str(question.get("do")))
            if done is None:
                raise ValueError(f"no deed {str(question.get('do'))[:40]!r}; known are {', '.join(_DEEDS)}")
            return done(self, question, b"".join(map(bytes, buffers)))
        except BAD as problem:
            return {"error": text.message(problem)}

    def shown(self) -> dict[str, Any]:
        """All that moves with a slider: the figures, the controls, the names of the configurations."""
        quick = view.quick(self.state)
        chosen = quick.get("settings", {})
        language, places = self.state.language, range(len(self.state.configurations))
        form = [
            _with_choice(c, chosen, language) for c in settings.controls(self.state) if c["field"] != "gpu"
        ]
        if not quick["error"]:
            quick["rows"] = pictures.rows(quick["bar"], quick["card_bytes"], language, name="")
        own = {"current": self.state.current, "name": self.state.configurations[self.state.current].name}
        return {
            "error": "",
            "quick": quick,
            "fields": [control["field"] for control in form],
            "controls": self._changed(form),
            "configurations": {"names": [compare.name(self.state, p) for p in places], **own},
            "model": self.state.fields["model"],
            "gpu": self.state.fields.get("gpu", chosen.get("gpu", "")),
        }

    def _changed(self, form: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The controls that the page does not have yet as they are."""
        new = [control for control in form if self._sent.get(control["field"]) != control]
        self._sent.update({control["field"]: control for control in new})
        return new

    def _goes_to(self, state: State) -> dict[str, Any]:
        self.state = state
        return self.shown()

    def show(self, question: Question, data: bytes) -> dict[str, Any]:
        """The page as it stands, for one that has nothing yet."""
        self._sent.clear()
        return self.shown()

    def move(self, question: Question, data: bytes) -> dict[str, Any]:
        """Some settings changed."""
        return self._goes_to(self.state.set(**_fields(question)))

    def reset(self, question: Question, data: bytes) -> dict[str, Any]:
        """The engine's own settings again, for the same model and card."""
        return self._goes_to(first(self.state))

    def search(self, question: Question, data: bytes) -> dict[str, Any]:
        """Names of models that a text could mean, uploaded ones first."""
        wanted = str(question.get("text", ""))
        own = [name for name in self.state.models if wanted.lower() in name.lower()]
        return {"names": [*own, *sources.search(wanted)]}

    def paste(self, question: Question, data: bytes) -> dict[str, Any]:
        """A config.json as text."""
        return self._uses("config.json", str(question.get("text", "")).encode())

    def upload(self, question: Question, data: bytes) -> dict[str, Any]:
        """A piece of a file; with the last one the model is read."""
        key, start = str(question.get("key")), question.get("start")
        if start == 0:
            self._arriving = (key, bytearray())
        name, received = self._arriving
        if name != key or start != len(received) or len(received) + len(data) > sources.MOST_BYTES:
            raise ValueError(t("app.broken_upload", self.state.language))
        received += data
        if not question.get("last"):
            return {}
        self._arriving = ("", bytearray())
        return self._uses(str(question.get("name")), bytes(received))

    def _uses(self, file_name: str, data: bytes) -> dict[str, Any]:
        """The current configuration with the model in a file; a header alone goes with the model chosen before."""
        now = self.state.fields["model"]
        beside = self.state.models.get(now, now)
        return self._goes_to(
            self.state.use(sources.read_upload(file_name, data, self.state.language, beside))
        )

    def add(self, question: Question, data: bytes) -> dict[str, Any]:
        """One more configuration, a copy of this one."""
        return self._goes_to(self.state.add())

    def switch(self, question: Question, data: bytes) -> dict[str, Any]:
        """Another configuration is moved."""
        return self._goes_to(self.state.select(_place(question)))

    def rename(self, question: Question, data: bytes) -> dict[str, Any]:
        """The current configuration under another name."""
        return self._goes_to(self.state.rename(str(question.get("name", ""))))

    def remove(self, question: Question, data: bytes) -> dict[str, Any]:
        """Without one configuration."""
        return self._goes_to(self.state.select(_place(question)).remove())

    def take_prices(self, question: Question, data: bytes) -> dict[str, Any]:
        """A reader's own prices."""
        self.prices = read_prices(data, self.state.language)
        return {**self.shown(), "said": "; ".join(self.prices.notes)}

    def open(self, question: Question, data: bytes) -> dict[str, Any]:
        """A link's state, or a pasted file's."""
        given = str(question.get("text", ""))
        opened = State.from_json(given) if given.lstrip().startswith("{") else State.from_link(given)
        return self._opened(opened)

    def open_file(self, question: Question, data: bytes) -> dict[str, Any]:
        """A saved file's state."""
        return self._opened(State.from_json(data))

    def _opened(self, opened: State) -> dict[str, Any]:
        """The page keeps its language: its words are there already."""
        return self._goes_to(replace(opened, language=self.start.language))


def first(state: State) -> State:
    """The current model and card with the engine's own settings, and sequences that leave room for several.

    Examples
    --------
    >>> dict(first(State().set(gpu="L4", batch_size=16)).fields)
    {'model': 'Llama-3.1-8B', 'gpu': 'L4', 'max_model_len': 8192}
    """
    model = uploads.model(state.fields["model"], state.models)
    longest = min(LONGEST, model.max_position_embeddings or LONGEST)
    kept = {"model", "gpu"}
    return state.set(
        **({name: None for name in state.fields if name not in kept} | {"max_model_len": longest})
    )


def _with_choice(control: dict[str, Any], chosen: Mapping[str, Any], language: str) -> dict[str, Any]:
    """A control that leaves its value to the engine says also what the engine takes."""
    field, texts, place = control["field"], control["texts"], control["start"]
    value = chosen.get(field)
    if control["values"][place] not in (None, "auto") or value in (None, "auto"):
        return control
    return {**control, "now": f"{texts[place]}: {settings.text(value, language)}"}


def _fields(question: Question) -> dict[str, Any]:
    given = question.get("fields")
    if not isinstance(given, Mapping):
        raise ValueError("fields are names with values, such as batch_size and 16")
    return {str(name): value for name, value in given.items()}


def _place(question: Question) -> int:
    place = question.get("at")
    if type(place) is not int:
        raise ValueError("at is the place of a configuration, 0 for the first")
    return place


_DEEDS: Mapping[str, Callable[[Session, Question, bytes], dict[str, Any]]] = {
    "show": Session.show,
    "move": Session.move,
    "reset": Session.reset,
    "search": Session.search,
    "paste": Session.paste,
    "upload": Session.upload,
    "add": Session.add,
    "switch": Session.switch,
    "rename": Session.rename,
    "remove": Session.remove,
    "prices": Session.take_prices,
    "open": Session.open,
    "state": Session.open_file,
}
