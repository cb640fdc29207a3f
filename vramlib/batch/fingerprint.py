"""What a finished report was made of, as one digest: where it is the same, the report need not be made again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vramlib import contract
from vramlib._paths import data_dir, notebooks_dir
from vramlib.report import TEMPLATE, Page

CODE = {".css", ".js", ".py"}
DRAWN_BY = ("altair", "nbconvert", "papermill", "vl-convert-python")


def of(page: Page, made_with: str) -> str:
    """Digest of a scenario as asked and as resolved, its model's shape, and what makes its page.

    Parameters
    ----------
    page : the scenario, its estimate and language [-]
    made_with : what ``source`` returns [-]

    Returns
    -------
    64 letters and digits [-]

    Examples
    --------
    >>> from vramlib.report import read
    >>> one, other = (read({"model": "Llama-3.1-8B", "gpu": "L4", "batch_size": n}) for n in (1, 2))
    >>> of(one, "") == of(one, ""), of(one, "") == of(other, "")
    (True, False)
    """
    model = dataclasses.asdict(page.estimate.model)
    return _digest([made_with, page.asked, page.language, contract.to_dict(page.estimate), model])


def scenario(asked: Any) -> str:
    """A short name of what was asked, the same in every batch: by it two batches are compared.

    Examples
    --------
    >>> scenario({"model": "Llama-3.1-8B", "gpu": "L4"}) == scenario({"gpu": "L4", "model": "Llama-3.1-8B"})
    True
    """
    return _digest(asked)[:10]


@functools.cache
def source(template: Path | None = None) -> str:
    """Digest of the notebook, the package, its facts and the libraries that draw: all that makes a page.

    Parameters
    ----------
    template : another notebook than the report's [-]

    Returns
    -------
    64 letters and digits, the same on machines with the same of all these [-]
    """
    package = Path(__file__).resolve().parents[1]
    code = (file for file in package.rglob("*") if file.suffix in CODE)
    found = hashlib.sha256((template or notebooks_dir() / TEMPLATE).read_bytes())
    for folder, files in ((package, code), (data_dir(), data_dir().rglob("*"))):
        _add(found, folder, files)
    found.update(json.dumps([version(name) for name in DRAWN_BY]).encode())
    return found.hexdigest()


def _add(found: Any, folder: Path, files: Iterable[Path]) -> None:
    """Each file's name within its folder, and what it holds, in the order of the names."""
    named = sorted((file.relative_to(folder).as_posix(), file) for file in files if file.is_file())
    for name, file in named:
        found.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())


def _digest(value: Any) -> str:
    text = json.dumps(value, default=_plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Sets have an order of their own in every process."""
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
