"""What every test may use: the checkout's root, a Chromium, and the groups that this machine can run."""

import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TORCH_GROUP = ("torch", "transformers")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def chromium_path() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def absent_groups() -> dict[str, str]:
    """Marked groups that this machine cannot run, each with its reason."""
    absent = {}
    if chromium_path() is None:
        absent["browser"] = "no Chromium; apt install chromium"
    if shutil.which("nvidia-smi") is None or importlib.util.find_spec("torch") is None:
        absent["gpu"] = "no NVIDIA driver with torch; pip install -e '.[gpu]'"
    if not all(map(importlib.util.find_spec, TORCH_GROUP)):
        absent["torch"] = "no PyTorch with transformers; make test-torch"
    return absent


# These import torch at their top, so without it they are not even collected.
collect_ignore = (
    ["live_storage.py", "rehearsal.py", "test_torch_oracle.py"] if "torch" in absent_groups() else []
)


def pytest_report_header() -> list[str]:
    return [f"left out: tests marked {group} ({reason})" for group, reason in absent_groups().items()]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    absent = absent_groups()
    left_out = [item for item in items if any(item.get_closest_marker(group) for group in absent)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def chromium() -> str:
    path = chromium_path()
    assert path is not None, "tests that use this fixture are marked browser"
    return path
