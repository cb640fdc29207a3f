"""Importing vramlib is light: heavy libraries load in the modules that need them, when needed."""

import subprocess
import sys

import pytest

HEAVY = {"altair", "anywidget", "gguf", "ipywidgets", "nbconvert", "pandas", "papermill", "torch"}


@pytest.mark.parametrize("module", ["vramlib", "vramlib.cli", "vramlib._paths"])
def test_import_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
