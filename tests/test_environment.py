"""pyproject.toml is the one place of dependencies; what repeats it must agree."""

import importlib.util
import re
import runpy
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name


@pytest.fixture
def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def ranges(lines: list[str]) -> dict[str, SpecifierSet]:
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, lines)}


def test_environment_lists_what_pyproject_lists(root: Path, project: dict) -> None:
    environment = yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))
    packages = [d for d in environment["dependencies"] if isinstance(d, str)]
    conda_only = [d for d in packages if re.match(r"(python|pip)\b(?!-)", d)]
    assert ranges([d for d in packages if d not in conda_only]) == ranges(project["dependencies"])
    assert {"pip": ["-e ."]} in environment["dependencies"]


def test_environment_python_is_one_the_project_accepts(root: Path, project: dict) -> None:
    environment = yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))
    python = next(d.partition("=")[2] for d in environment["dependencies"] if str(d).startswith("python="))
    assert f"{python}.0" in SpecifierSet(project["requires-python"])


def test_every_dependency_has_an_upper_bound(project: dict) -> None:
    allowed = ranges(project["dependencies"])
    unbounded = [name for name in allowed if not any(clause.operator == "<" for clause in allowed[name])]
    assert unbounded == []


@pytest.mark.parametrize("group", ["core", "test", "lint", "hub", "cluster"])
def test_lock_holds_a_version_inside_every_range(root: Path, project: dict, group: str) -> None:
    lines = project["dependencies"] if group == "core" else project["optional-dependencies"][group]
    locked: dict[str, list[str]] = {}
    for line in (root / "requirements.lock").read_text(encoding="utf-8").splitlines():
        name, version = line.partition(";")[0].strip().split("==")
        locked.setdefault(canonicalize_name(name), []).append(version)
    for name, allowed in ranges(lines).items():
        assert name in locked, f"{name} is not in requirements.lock; run make lock"
        assert all(version in allowed for version in locked[name]), f"{name}; run make lock"


@pytest.fixture
def create_venv(root: Path) -> dict:
    return runpy.run_path(str(root / "tools" / "create_venv.py"))


def test_a_machine_without_venv_and_pip_is_told_what_to_install(
    create_venv: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert re.search(r"sudo apt install python3\.\d+-venv$", create_venv["main"](tmp_path / "venv"))


def test_an_old_python_is_told_which_is_needed(
    create_venv: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.version_info", (3, 10, 2))
    assert create_venv["main"](tmp_path / "venv").startswith("Python 3.10.2 is too old, 3.11 or newer")


def test_a_virtual_environment_is_made(create_venv: dict, tmp_path: Path) -> None:
    assert create_venv["main"](tmp_path / "venv") is None
    assert (tmp_path / "venv" / "bin" / "pip").exists()
