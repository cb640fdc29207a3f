"""Run a notebook's code cells with a component made 1 % larger, and print what changed.

python notebook_runner.py NOTEBOOK.ipynb MODULE:FUNCTION ...

A function that returns terms gives each a hundredth more, one that returns a number gives that. Printed is a JSON
object: for each function the first cell whose text is not the stored one, and under "" the same without any change, up
to the last of those cells. Each runs in a copy of this process: nothing is imported twice, and nothing is shared.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from vramlib import vega
from vramlib.notebook import LIVE_TAGS, tags
from vramlib.specs import Term


def larger(value: Any) -> Any:
    """One per cent more, at least one byte, of a number, a term, or a tuple of them; zero stays zero."""
    if isinstance(value, Term):
        return dataclasses.replace(value, bytes=larger(value.bytes))
    if isinstance(value, tuple):
        return tuple(map(larger, value))
    if hasattr(value, "shape"):
        return value + (value + 99) // 100
    return type(value)(value + -(-value // 100))


def perturb(target: str) -> None:
    """Replace a function everywhere it was imported, so that callers see the larger one."""
    module_name, name = target.split(":")
    original: Callable[..., Any] = getattr(importlib.import_module(module_name), name)

    def changed(*args: Any, **kwargs: Any) -> Any:
        return larger(original(*args, **kwargs))

    found = 0
    for module in [m for n, m in sys.modules.items() if n.startswith("vramlib")]:
        for attribute, value in list(vars(module).items()):
            if value is original:
                setattr(module, attribute, changed)
                found += 1
    assert found, f"{target} is nowhere"


def stored_text(cell: Any) -> list[str]:
    """What a cell stored, as text: its streams together, and each result's plain text."""
    streams = "".join(o.text for o in cell.outputs if o.output_type == "stream")
    shown = [o.data.get("text/plain", "") for o in cell.outputs if "data" in o]
    return [streams, *shown]


def fresh_text(shell: InteractiveShell, source: str) -> list[str]:
    """The same of a cell that is run now."""
    shown: list[str] = []

    def collect(value: Any) -> None:
        if value is not None:
            shown.append(shell.display_formatter.format(value)[0].get("text/plain", ""))

    shell.display_trap.hook = collect
    with capture_output() as captured:
        result = shell.run_cell(source, store_history=False)
    error = result.error_in_exec or result.error_before_exec
    if error is not None:
        return [f"{type(error).__name__}: {error}"]
    displayed = [o.data.get("text/plain", "") for o in captured.outputs]
    return [captured.stdout + captured.stderr, *displayed, *shown]


def first_difference(path: Path, until: str) -> tuple[str, str]:
    """Id and texts of the first cell, up to one of that id, whose text is not the stored one."""
    shell = InteractiveShell.instance()
    os.chdir(path.parent)
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code" or LIVE_TAGS & tags(cell):
            continue
        stored, fresh = stored_text(cell), fresh_text(shell, cell.source)
        if stored != fresh:
            return cell.id, f"stored {stored!r}, now {fresh!r}"
        if cell.id == until:
            break
    return "", ""


def apart(path: Path, target: str, until: str) -> tuple[str, str]:
    """``first_difference`` in a copy of this process: the cell's id, and what differs."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        if target:
            perturb(target)
        sender.send(first_difference(path, until))

    process = context.Process(target=child)
    process.start()
    sender.close()
    try:
        found: tuple[str, str] = receiver.recv()
    finally:
        process.join()
    return found


def main(arguments: list[str]) -> None:
    path, targets = Path(arguments[0]).resolve(), arguments[1:]
    vega._svg = lambda spec: ""  # the text names the numbers already, so no picture is drawn
    for module in ("vramlib.estimate", "vramlib.widgets", "vramlib.claims.checks", "vramlib.measure"):
        importlib.import_module(module)
    found = {target: apart(path, target, "") for target in targets}
    order = [cell.id for cell in nbformat.read(path, as_version=4).cells]
    last = max((cell for cell, _ in found.values() if cell), key=order.index, default="")
    print(
        json.dumps(
            {target: f"{cell}: {text}" if cell else "" for target, (cell, text) in found.items()}
            | {"": apart(path, "", last)[1]}
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
