"""A state as text and back: a JSON file, or the part of a link after ``#``; whatever else comes in is told in one line.

One configuration without an uploaded model reads as ``model=…&gpu=…``; more than that is packed behind ``z=``.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from vramlib import fields as scenario_fields
from vramlib.what_if.state import MOST_CONFIGURATIONS, MOST_MODELS, Configuration, State
from vramlib.what_if.uploads import Upload

VERSION = 1
MOST_BYTES = 20 << 20  # of a JSON file: four models and what stands around them
LONGEST_LINK = 8_000  # characters; longer ones are cut by some mail programs and chats
PACKED = "z"
MOST_PACKED = 1 << 16  # characters of uploaded models: more would not fit, so packing it is not tried
MOST_UNPACKED = 1 << 20  # bytes that a link may become
KEYS = ("version", "language", "current", "configurations", "models")


def to_json(state: State) -> str:
    """The state as JSON with a version.

    Examples
    --------
    >>> from_json(to_json(State())) == State()
    True
    """
    return json.dumps(_plain(state), ensure_ascii=False, indent=1)


def _plain(state: State) -> dict[str, Any]:
    return {
        "version": VERSION,
        "language": state.language,
        "current": state.current,
        "configurations": [{"name": c.name, "fields": _values(c)} for c in state.configurations],
        "models": [
            {"name": m.name, "kind": m.kind, "data": json.loads(m.text)} for m in state.models.values()
        ],
    }


def _values(c: Configuration) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in c.fields.items()}


def from_json(text: str | bytes) -> State:
    """The state that a JSON file holds.

    Parameters
    ----------
    text : of the file, at most 20 MiB [-]

    Returns
    -------
    The state, every field checked [-]

    Raises
    ------
    ValueError : not JSON, not a state, too large, of a later version, or a field or value that cannot be used

    Examples
    --------
    >>> from_json('{"version": 1, "configurations": [{"fields": {"model": "x", "gpuu": "L4"}}]}')
    Traceback (most recent call last):
    ValueError: no field named 'gpuu'; nearest: gpu
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"the file has {len(text):,} bytes; a saved state has at most {MOST_BYTES:,}")
    return _state(_json(text, "the file"))


def _json(text: str | bytes, what: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        why = str(problem).partition("\n")[0][:100]
        raise ValueError(f"{what} holds no saved state: it is not JSON ({why})") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _state(data: Any) -> State:
    """The state, from data of any shape."""
    if not isinstance(data, dict) or "configurations" not in data:
        raise ValueError("no saved state: an object with configurations is needed")
    version = data.get("version")
    if version != VERSION or isinstance(version, bool):
        raise ValueError(f"the state's version is {str(version)[:40]}; this vramlib reads version {VERSION}")
    for name in data:
        if name not in KEYS:
            raise ValueError(_unknown(name, KEYS))
    models = [_upload(one) for one in _list(data, "models", MOST_MODELS)]
    return State(
        language=data.get("language", "en"),
        current=data.get("current", 0),
        configurations=tuple(_configuration(c) for c in _list(data, "configurations", MOST_CONFIGURATIONS)),
        models={m.name: m for m in models},
    )


def _list(data: Mapping[str, Any], name: str, most: int) -> list[Any]:
    found = data.get(name, [])
    if not isinstance(found, list) or len(found) > most or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{name} is a list of at most {most} objects")
    return found


def _configuration(data: dict[str, Any]) -> Configuration:
    for name in data:
        if name not in ("name", "fields"):
            raise ValueError(_unknown(name, ("name", "fields")))
    return Configuration(name=data.get("name", ""), fields=data.get("fields", {}))


def _upload(data: dict[str, Any]) -> Upload:
    if set(data) != {"name", "kind", "data"}:
        raise ValueError("a saved model has name, kind and data")
    return Upload(name=data["name"], kind=data["kind"], text=compact(data["data"]))


def compact(data: Any) -> str:
    """Data as JSON without blanks.

    Raises
    ------
    ValueError : it is nested too deep, or holds a number that JSON cannot

    Examples
    --------
    >>> compact({"a": [1, 2]})
    '{"a":[1,2]}'
    """
    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except RecursionError:
        raise ValueError("the model's data is nested too deep") from None


def _unknown(name: str, known: tuple[str, ...]) -> str:
    near = scenario_fields.nearest(name[:100], known)
    return f"a saved state has no {name[:40]!r}" + (
        f"; nearest: {near}" if near else f"; it has {', '.join(known)}"
    )


def to_link(state: State) -> str:
    """The state as a link's part after ``#``, readable where it is one configuration.

    Parameters
    ----------
    state : any [-]

    Returns
    -------
    At most 8,000 characters [-]

    Raises
    ------
    ValueError : it does not fit a link

    Examples
    --------
    >>> to_link(State().set(gpu="L4", max_model_len=8192))
    'model=Llama-3.1-8B&gpu=L4&max_model_len=8192'
    """
    link = _readable(state) if _is_plain(state) else _packed(state)
    if len(link) > LONGEST_LINK:
        raise ValueError(
            f"this is too much for a link ({len(link):,} characters; {LONGEST_LINK:,} work); save a file instead"
        )
    return link


def _is_plain(state: State) -> bool:
    """One configuration of the catalogue; a list of one length has no text that is not a number's."""
    values = state.configurations[0].fields.values()
    one_length = any(isinstance(v, tuple) and len(v) == 1 for v in values)
    return len(state.configurations) == 1 and not state.models and not one_length


def _readable(state: State) -> str:
    [one] = state.configurations
    pairs = {name: _text(value) for name, value in one.fields.items()}
    own = {"language": state.language} if state.language != "en" else {}
    return urlencode({**own, **({"name": one.name} if one.name else {}), **pairs}, safe="/;:")


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ";".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _packed(state: State) -> str:
    if sum(len(m.text) for m in state.models.values()) > MOST_PACKED:
        raise ValueError("an uploaded model is too large for a link; save a file instead")
    text = compact(_plain(state)).encode()
    return f"{PACKED}=" + base64.urlsafe_b64encode(zlib.compress(text, 9)).decode().rstrip("=")


def from_link(text: str) -> State:
    """The state that a link holds.

    Parameters
    ----------
    text : a link, or its part after ``#`` [-]

    Returns
    -------
    The state [-]

    Raises
    ------
    ValueError : no state is in it, it is too large, or a field or value cannot be used

    Examples
    --------
    >>> from_link("http://127.0.0.1:8866/#model=Llama-3.1-8B&gpu=L4").fields["gpu"]
    'L4'
    """
    part = text.rpartition("#")[2].strip()
    if len(part) > LONGEST_LINK:
        raise ValueError(f"the link has {len(part):,} characters; {LONGEST_LINK:,} at most are read")
    try:
        if not part:
            raise ValueError
        pairs = parse_qsl(part, keep_blank_values=True, strict_parsing=True, max_num_fields=100)
    except ValueError:
        raise ValueError("no state is in this link; it ends in #model=… or #z=…") from None
    names = [name for name, _ in pairs]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise ValueError(f"the link names {twice[:40]!r} twice; write it once")
    given = dict(pairs)
    if PACKED in given:
        return _state(_json(_unpacked(given[PACKED]), "the link"))
    language, name = given.pop("language", "en"), given.pop("name", "")
    return State(language=language, configurations=(Configuration(name=name, fields=given),))


def _unpacked(text: str) -> bytes:
    """What was packed, never more than a set size."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        packer = zlib.decompressobj()
        found = packer.decompress(data, MOST_UNPACKED)
    except (binascii.Error, zlib.error, ValueError):
        raise ValueError("the link is damaged; copy it again, or open a saved file") from None
    if packer.unconsumed_tail:
        raise ValueError(f"the link unpacks to more than {MOST_UNPACKED:,} bytes; open a saved file instead")
    if not packer.eof:
        raise ValueError("the link is cut off; copy it again, or open a saved file")
    return found
