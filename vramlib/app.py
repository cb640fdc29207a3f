"""The what-if dashboard as an application: Voila on this machine only, behind a token, without code."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from vramlib._paths import notebooks_dir
from vramlib.messages import t

NOTEBOOK = "11_what_if.ipynb"
_SHARE = Path(__file__).parent / "app_share"


def page(parameters: Mapping[str, Any]) -> Path:
    """The notebook's page alone, with its parameters set, in the user's cache folder.

    Parameters
    ----------
    parameters : of the notebook: model, gpu, language [-]

    Returns
    -------
    The file that Voila shows [-]
    """
    import nbformat
    from nbformat.v4 import new_markdown_cell
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    from vramlib.notebook import tags

    notebook = parameterize_notebook(load_notebook_node(str(notebooks_dir() / NOTEBOOK)), dict(parameters))
    title = t("app.title", parameters.get("language", "en"))
    kept = [cell for cell in notebook.cells if {"app", "injected-parameters"} & tags(cell)]
    notebook.cells = [new_markdown_cell(f"# {title}"), *kept]
    notebook.metadata.title = title
    for number, cell in enumerate(notebook.cells):
        cell.id = f"page-{number}"
    text = nbformat.writes(notebook)
    folder = _cache_folder() / "app" / hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{os.getpid()}.part"
    part.write_text(text, encoding="utf-8")
    return part.replace(folder / "what_if.ipynb")


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vramlib"


def command(notebook: Path, arguments: Sequence[str] = ()) -> list[str]:
    """The words that start Voila: bound to the loopback address, behind a new token.

    The rest stands in ``app_share/voila.json``: no code, one kernel started ahead, and a policy by which the browser
    itself refuses every other machine (Vega compiles its expressions, a widget's script is a blob).

    Parameters
    ----------
    notebook : what is shown [-]
    arguments : further ones for Voila, such as ``--no-browser`` or ``--theme=dark`` [-]

    Returns
    -------
    A command line for this Python [-]
    """
    address = ("--Voila.ip=127.0.0.1", "--Voila.auto_token=True")
    return [sys.executable, "-m", "voila", str(notebook), *address, *arguments]


def environment() -> dict[str, str]:
    """The process's environment, with the page's template and settings where Voila looks for them."""
    found = dict(os.environ)
    for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH"):
        found[name] = os.pathsep.join(filter(None, (str(_SHARE), found.get(name))))
    return found


def start(parameters: Mapping[str, Any], arguments: Sequence[str] = ()) -> NoReturn:
    """Become Voila: this process is replaced, so Ctrl-C reaches it alone.

    Parameters
    ----------
    parameters : of the notebook: model, gpu, language [-]
    arguments : further ones for Voila [-]

    Raises
    ------
    ValueError : Voila is not installed, or the model's file is none
    KeyError : no such model or card
    """
    from vramlib.what_if.asked import answer
    from vramlib.what_if.widget import begin

    if importlib.util.find_spec("voila") is None:
        raise ValueError("vram app needs Voila, which is not installed: pip install 'vramlib[app]'")
    answer(begin(**parameters))
    model = Path(str(parameters.get("model", ""))).expanduser()
    own = model.is_file() or (model / "config.json").is_file()  # Voila's kernel starts in another folder
    absolute = {"model": str(model.resolve())} if own else {}
    words = command(page({**parameters, **absolute}), arguments)
    os.execve(words[0], words, environment())
