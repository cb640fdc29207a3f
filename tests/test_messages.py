"""The message table: every language has every message, every message is used, every use has a message."""

import ast
import json
import re
import string
from pathlib import Path

import pytest

from vramlib import messages
from vramlib.specs import PART_KEYS, PART_NAMES

ROOT = Path(__file__).resolve().parents[1]
CODE = sorted((ROOT / "vramlib").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def sources() -> list[str]:
    """All code that may ask for a message: the package and the notebooks' code cells."""
    cells = [
        "".join(cell["source"])
        for path in NOTEBOOKS
        for cell in json.loads(path.read_text("utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    return [path.read_text("utf-8") for path in CODE] + cells


def strings(tree: ast.AST) -> set[str]:
    """Whole strings, and f-strings with ``{}`` where something is computed."""
    formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    inside = {id(piece) for node in formatted for piece in node.values}
    whole = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return {node.value for node in whole if id(node) not in inside} | {
        "".join(piece.value if isinstance(piece, ast.Constant) else "{}" for piece in node.values)
        for node in formatted
    }


def asked() -> set[str]:
    """First arguments of every ``t(...)``, groups of every ``names(...)`` and ``retold(...)`` (as ``group.{}``)."""
    found = set()
    for source in sources():
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in ("t", "names", "retold"):
                words = strings(node.args[0])
                found |= (
                    {f"{w}.{{}}" for w in words}
                    if name != "t"
                    else {w for w in words if re.match(r"[a-z]+\.[a-z_{]", w)}
                )
    return found


def meant(word: str, key: str) -> bool:
    """Whether a string of the code is this key, or an f-string that can become it."""
    return re.fullmatch(re.escape(word).replace(r"\{\}", ".+"), key) is not None


def test_every_message_is_used() -> None:
    words = {w for source in sources() for w in strings(ast.parse(source))} | asked()
    words = {w for w in words if re.match(r"[a-z]+\.", w)}
    assert [key for key in messages.table() if not any(meant(w, key) for w in words)] == []


def test_every_use_has_a_message() -> None:
    words = {word for word in asked() if not word.startswith("{}")}
    assert sorted(w for w in words if not any(meant(w, key) for key in messages.table())) == []


@pytest.mark.parametrize("key", messages.table())
def test_languages_have_the_same_numbers(key: str) -> None:
    fields = [
        {f for _, f, _, _ in string.Formatter().parse(messages.table()[key][lang]) if f}
        for lang in messages.LANGUAGES
    ]
    assert fields[0] == fields[1]


def test_numbers_are_written_as_the_code_writes_them() -> None:
    """Beside a computed 131,072 no label says 131.072: a reader could not tell which sign parts the thousands."""
    numbers = {
        key: [set(re.findall(r"\d[\d.,]*\d", row[language])) for language in messages.LANGUAGES]
        for key, row in messages.table().items()
    }
    assert [key for key, (english, vietnamese) in numbers.items() if not vietnamese <= english] == []


def test_part_names_are_those_of_the_package() -> None:
    assert messages.parts("en") == PART_NAMES
    assert tuple(messages.parts("vi")) == PART_KEYS


def test_slips_are_told() -> None:
    with pytest.raises(KeyError, match=r"no message 'part\.kv' .*nearest: part\.kv_cache"):
        messages.t("part.kv")
    with pytest.raises(ValueError, match="language is 'fr'; en or vi is needed"):
        messages.t("part.kv_cache", "fr")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("a.b,one,", "a.b needs en and vi"),
        ("a.b,one,một,hai", "a.b needs en and vi, with commas in quotes"),
        ("a.b,one,một\na.b,two,hai", "a.b stands there twice"),
    ],
)
def test_a_damaged_row_is_told(rows: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "messages.csv").write_text(f"key,en,vi\n{rows}\n", encoding="utf-8")
    monkeypatch.setattr(messages, "data_dir", lambda: tmp_path)
    messages.table.cache_clear()
    try:
        with pytest.raises(ValueError, match=re.escape(told)):
            messages.table()
    finally:
        messages.table.cache_clear()
