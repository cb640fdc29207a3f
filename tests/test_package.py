"""A wheel built from the project works outside a checkout, its facts and notebooks included."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    return next(folder.glob("vramlib-*.whl"))


def install(wheel: Path, environment: Path, lock: Path) -> None:
    """Install a wheel with all it depends on in a new environment, by uv where it is, else by pip."""
    python = environment / "bin" / "python"
    if shutil.which("uv") and subprocess.run(["uv", "--version"], capture_output=True).returncode == 0:
        commands = [
            ["uv", "venv", "--python", sys.executable, environment],
            ["uv", "pip", "install", "--python", python, "-c", lock, wheel],
        ]
    else:
        commands = [
            [sys.executable, "-m", "venv", "--without-pip", environment],
            [sys.executable, "-m", "pip", "--python", python, "install", "-c", lock, wheel],
        ]
    for command in commands:
        subprocess.run(command, check=True, capture_output=True)


def test_wheel_holds_facts_and_notebooks(wheel: Path, root: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("data", "notebooks"):
        files = [f.relative_to(root / folder) for f in (root / folder).rglob("*.*") if f.is_file()]
        shipped = [f for f in files if ".ipynb_checkpoints" not in f.parts]
        assert shipped, f"{folder} is empty"
        assert [f for f in shipped if f"vramlib/_{folder}/{f.as_posix()}" not in names] == []
    assert not [n for n in names if n.startswith(("tests/", "data/", "tools/"))]


@pytest.mark.timeout(900)
def test_installed_wheel_estimates_outside_a_checkout(wheel: Path, root: Path, tmp_path: Path) -> None:
    install(wheel, tmp_path / "environment", root / "requirements.lock")
    vram = tmp_path / "environment" / "bin" / "vram"
    command = [vram, "estimate", "meta-llama/Llama-3.1-8B", "--gpu", "L4", "--json"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    estimate = json.loads(answer.stdout)
    assert estimate["model"]["params_total"] == 8_030_261_248
    assert len(estimate["parts"]) == 8
    assert sum(part["bytes"] for part in estimate["parts"]) == estimate["total_bytes"]
