"""JupyterLab and Voila on the loopback address, in folders of their own, driven by a real Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"]
FLAGS += ["--disable-background-networking"]
SETTINGS = {
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # every cell is in the page
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
}
READY = """async () => {
  const app = window.jupyterapp; await app.restored;
  for (let i = 0; i < 600; i++) {
    const panel = app.shell.currentWidget;
    if (panel && panel.sessionContext) {
      await panel.context.ready; await panel.sessionContext.ready;
      await panel.sessionContext.session.kernel.info;
      return panel.context.path;
    }
    await new Promise(next => setTimeout(next, 100));
  }
  throw new Error('no notebook opened');
}"""
RUN_ALL = """async () => {
  await window.jupyterapp.commands.execute('notebook:run-all-cells');
  const cells = window.jupyterapp.shell.currentWidget.content.widgets;
  return cells.filter(cell => cell.model.type === 'code').map(cell => {
    const outputs = Array.from({length: cell.model.outputs.length}, (_, i) => cell.model.outputs.get(i).toJSON());
    return {ran: cell.model.executionCount !== null,
            bad: outputs.filter(o => o.output_type === 'error' || o.name === 'stderr').map(o => JSON.stringify(o))};
  });
}"""
# From the key press to two animation frames after the drawing shows the wanted text.
WATCH = """want => {
  const seen = window.__seen = {pressed: null, painted: null};
  document.addEventListener('keydown', () => { seen.pressed ??= performance.now(); }, {capture: true, once: true});
  const there = () => [...document.querySelectorAll('.vram-drawing svg text')].some(e => e.textContent.includes(want));
  const look = () => (seen.pressed !== null && there())
    ? requestAnimationFrame(() => requestAnimationFrame(() => { seen.painted = performance.now(); }))
    : setTimeout(look, 2);
  look();
}"""


@dataclass
class Seen:
    """What a page asked of other machines, and the errors that it wrote."""

    home: str
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        own = (self.home, self.home.replace("http", "ws"), "data:", "blob:")
        page.on("request", lambda r: None if r.url.startswith(own) else self.outside.append(r.url))
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)


@contextlib.contextmanager
def chromium_browser(executable: str) -> Iterator[Any]:
    """One Chromium; only one can run in a thread at a time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, headless=True, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def fresh_page(browser: Any, home: str, *, width: int = 1280) -> Iterator[tuple[Any, Seen]]:
    """A page without a past, and what it did."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(90_000)
    seen = Seen(home)
    seen.watch(page)
    yield page, seen
    page.close()


@contextlib.contextmanager
def jupyter_lab(
    root: Path,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
    settings: Mapping[str, Any] = SETTINGS,
) -> Iterator[tuple[str, str]]:
    """A private JupyterLab on a folder; its address and token."""
    token = secrets.token_hex(16)
    words = [
        "jupyterlab",
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port_retries=0",
        "--allow-root",
    ]
    words += [
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={root}",
        "--LabApp.expose_app_in_browser=True",
    ]
    words += ["--KernelManager.transport=ipc", *arguments]
    probe = f"/api/status?token={token}"
    with _server(root, words, "--ServerApp.port", probe, environment, settings) as url:
        yield url, token


@contextlib.contextmanager
def voila(notebook: Path) -> Iterator[str]:
    """A private Voila that shows one notebook; its address."""
    words = ["voila", str(notebook), "--no-browser", "--Voila.ip=127.0.0.1", "--show_tracebacks=True"]
    with _server(notebook.parent, words, "--port", "/static/favicon.ico") as url:
        yield url


@contextlib.contextmanager
def what_if_app(root: Path, *words: str) -> Iterator[tuple[str, str]]:
    """The dashboard as ``vram app`` starts it, with the token that it makes up; its address and token."""
    port = _free_port()
    started = ["app", *words, "--", "--no-browser", f"--port={port}", "--show_tracebacks=True"]
    with _vram(root, started, "Kernel pool of .* is filled") as token:
        yield f"http://127.0.0.1:{port}", token


@contextlib.contextmanager
def vram_lab(root: Path) -> Iterator[tuple[str, str]]:
    """JupyterLab as ``vram lab`` starts it, with the token that it makes up; its address and token."""
    port = _free_port()
    started = ["lab", "--", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    with _vram(root, started, "is running at") as token:
        yield f"http://127.0.0.1:{port}", token


@contextlib.contextmanager
def _vram(root: Path, words: list[str], ready: str) -> Iterator[str]:
    """A server that the command starts; the token that it prints."""
    command = [sys.executable, "-c", "from vramlib.cli import main; main()", *words]
    own = {"JUPYTER_CONFIG_DIR": str(root / "config"), "JUPYTER_RUNTIME_DIR": str(root / "runtime")}
    log = root / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, env=os.environ | own, cwd=root, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            token = _printed(process, log, r"token=(\w+)")
            _printed(process, log, ready)
            yield token
        finally:
            _stop(process)


def _printed(process: subprocess.Popen, log: Path, pattern: str) -> str:
    """What a server says when it is ready."""
    deadline = time.monotonic() + 90
    while not (found := re.search(pattern, log.read_text())):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server does not say {pattern}: {log.read_text()[-3000:]}")
        time.sleep(0.1)
    return found[found.re.groups]


@contextlib.contextmanager
def _server(
    root: Path,
    words: list[str],
    port_flag: str,
    probe: str,
    environment: Mapping[str, str] = os.environ,
    settings: Mapping[str, Any] = SETTINGS,
) -> Iterator[str]:
    home = Path(tempfile.mkdtemp(prefix="vram-lab-"))
    for plugin, value in settings.items():
        extension, name = plugin.split(":")
        file = home / "settings" / extension / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))
    folders = {
        "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTER_RUNTIME_DIR": "runtime", "JUPYTER_CONFIG_DIR": "config",
    }  # fmt: skip
    own = {k: str(home / v) for k, v in folders.items()} | {"JUPYTER_PREFER_ENV_PATH": "1"}
    environment = {**environment, **own}
    port = _free_port()
    with (home / "server.log").open("w") as log:
        command = [sys.executable, "-m", *words, f"{port_flag}={port}"]
        process = subprocess.Popen(command, env=environment, cwd=root, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(f"http://127.0.0.1:{port}{probe}", process, home / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            _stop(process)
    shutil.rmtree(home, ignore_errors=True)


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    process.kill()
    process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"no server at {url}: {log.read_text()[-3000:]}")
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError:
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return


def open_and_run(page: Any, url: str, token: str, name: str) -> list[dict]:
    """Open a notebook in Lab and run all of it; whether each code cell ran, and its errors and warnings."""
    page.goto(f"{url}/lab/tree/{name}?token={token}&reset")
    page.wait_for_function("() => window.jupyterapp")
    page.evaluate(READY)
    cells = page.evaluate(RUN_ALL)
    page.wait_for_selector(".vram-drawing svg", state="attached")
    return cells


def slider(page: Any, field_name: str) -> Any:
    """A widget's slider by the field it sets."""
    return page.locator(f".vram-widget input[type=range][id$='-{field_name}']").first


def press(page: Any, field_name: str, key: str, want: str) -> float:
    """Press a key on a slider; milliseconds until the chart that says ``want`` is painted."""
    slider(page, field_name).focus()
    page.evaluate(WATCH, want)
    page.keyboard.press(key)
    page.wait_for_function("() => window.__seen.painted !== null")
    seen = page.evaluate("() => window.__seen")
    return float(seen["painted"] - seen["pressed"])
