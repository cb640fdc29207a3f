"""Helper processes that hold GPU memory for a moment, and waiting until the card is as it was."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from vramlib.measure.bench import Bench, torch_with_cuda
from vramlib.units import MiB

READY = "ready"
TOLERANCE = 8 * MiB


def command(request: dict[str, object]) -> list[str]:
    """The words that start a child process of the measurements."""
    return [sys.executable, "-m", "vramlib.measure._child", json.dumps(request)]


@contextmanager
def holding(bench: Bench, count: int, held_bytes: int) -> Iterator[None]:
    """``count`` processes with a context and a tensor of ``held_bytes`` each, until the block ends.

    Raises
    ------
    RuntimeError: a helper ended before it was ready.
    """
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(_helper(held_bytes))
        bench.read_driver()
        yield


@contextmanager
def _helper(held_bytes: int) -> Iterator[None]:
    process = subprocess.Popen(
        command({"hold_bytes": held_bytes}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None, "a pipe was asked for"
    try:
        if process.stdout.readline().strip() != READY:
            raise RuntimeError(f"a helper process ended with status {process.wait()} before it was ready")
        yield
    finally:
        process.kill()
        process.communicate()


def hold(held_bytes: int) -> None:
    """In a helper: make a context and a tensor, say so, and wait until the parent closes the pipe."""
    torch = torch_with_cuda()
    tensor = torch.empty(held_bytes, dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    print(READY, flush=True)
    sys.stdin.read()
    del tensor


def wait_until_released(bench: Bench, seconds: float = 10.0) -> bool:
    """Wait until the card's use is back to what it was at the start; the driver needs a moment after a process ends."""
    end = time.monotonic() + seconds
    while bench.read_driver().used_bytes > bench.start.used_bytes + TOLERANCE:
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
