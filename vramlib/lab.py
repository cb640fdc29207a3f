"""Start JupyterLab on the workbook, on this machine only."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vramlib._paths import notebooks_dir
from vramlib.messages import ENVIRONMENT

HERE = Path(__file__).parent
EXTENSIONS = HERE / "lab_share" / "labextensions"
FIRST = "00_start_here.ipynb"
LOCALES = {"en": "", "vi": "vi_VN"}
LANGUAGE_PACKS = {"vi_VN": "jupyterlab-language-pack-vi-VN"}


def command(arguments: Sequence[str] = ()) -> list[str]:
    """The words that start Lab: bound to the loopback address, open at the first notebook, in one language.

    The extension in ``lab_share`` hides the cells of another language than ``environment`` names.

    Parameters
    ----------
    arguments : further ones for JupyterLab, such as ``--no-browser`` [-]

    Returns
    -------
    A command line for this Python [-]

    Raises
    ------
    FileNotFoundError : the package has no notebooks
    """
    first = notebooks_dir() / FIRST
    own = ["--ServerApp.ip=127.0.0.1", f"--LabApp.extra_labextensions_path={EXTENSIONS}"]
    return [sys.executable, "-m", "jupyterlab", *own, *arguments, str(first)]


def environment(language: str) -> dict[str, str]:
    """The process's environment, for the workbook and Lab's own menus in that language.

    ``page_config.json`` tells the extension which cells are seen, ``default_setting_overrides.json`` tells Lab's
    menus (where their pack is installed), and a variable tells the kernels (``messages.reader``).

    Parameters
    ----------
    language : one of ``LOCALES`` [-]

    Returns
    -------
    A copy of ``os.environ``, with a folder of Lab settings in front when the language is not English [-]
    """
    kept = dict(os.environ) | {ENVIRONMENT: language}
    if LOCALES[language]:
        settings = str(HERE / f"lab_{language}")
        kept["JUPYTER_CONFIG_PATH"] = os.pathsep.join(
            filter(None, (settings, kept.get("JUPYTER_CONFIG_PATH")))
        )
    return kept


def missing_pack(language: str) -> str:
    """The package to install for Lab's menus in that language; empty where nothing is missing.

    Parameters
    ----------
    language : one of ``LOCALES`` [-]

    Returns
    -------
    A package's name, or ``""`` [-]

    Examples
    --------
    >>> missing_pack("en")
    ''
    """
    installed = {e.name for e in importlib.metadata.entry_points(group="jupyterlab.languagepack")}
    locale = LOCALES[language]
    return "" if not locale or locale in installed else LANGUAGE_PACKS[locale]


def start(language: str, arguments: Sequence[str] = ()) -> NoReturn:
    """Become JupyterLab: this process is replaced, so Ctrl-C reaches Lab alone.

    Parameters
    ----------
    language : of the workbook and of Lab's own menus, one of ``LOCALES`` [-]
    arguments : further ones for JupyterLab [-]
    """
    words = command(arguments)
    pack = missing_pack(language)
    if pack:
        print(f"vram: Lab's menus stay in English until {pack} is installed", file=sys.stderr, flush=True)
    os.execve(words[0], words, environment(language))
