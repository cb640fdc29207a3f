"""One measuring process: started with its request, listened to, stopped when its time is over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

CHILD = (sys.executable, "-m", "vramlib.measure._child")


@dataclass(kw_only=True)
class Told:
    """What the processes of one experiment have told so far.

    Parameters
    ----------
    readings : names and bytes, as they came [-]
    software : versions [-]
    status, note : how the last process ended; one of ``record.STATUSES`` [-]
    """

    readings: list[tuple[str, int]] = field(default_factory=list)
    software: dict[str, str] = field(default_factory=dict)
    status: str = "measured"
    note: str = ""


def run(
    request: Mapping[str, Any],
    environment: Mapping[str, str],
    seconds: float,
    told: Told,
    command: Sequence[str] = CHILD,
) -> None:
    """Run one process and add what it tells; it is gone when this returns, with all that it held.

    Parameters
    ----------
    request : sent as one line of JSON [-]
    environment : variables of the process [-]
    seconds : its time limit [s]
    told : filled in [-]
    command : words that start it [-]
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=dict(environment),
            start_new_session=True,
        )
        _listen(process, request, seconds, told)
        errors.seek(0)
        _explain(process.returncode, errors.read(), told)


def _listen(process: subprocess.Popen[str], request: Mapping[str, Any], seconds: float, told: Told) -> None:
    """Send the request, take the events until the pipe ends, and stop the process when its time is over."""
    told.status, told.note = "killed", ""
    timer = threading.Timer(seconds, _stop, (process, told, seconds))
    timer.start()
    try:
        assert process.stdin is not None, "pipes were asked for"
        assert process.stdout is not None, "pipes were asked for"
        _send(process.stdin, request)
        for text in process.stdout:
            if text.endswith("\n"):  # a process that is killed may leave half a line
                _take(json.loads(text), told)
        process.wait()
    finally:
        timer.cancel()
        kill(process)
        for pipe in (process.stdin, process.stdout):
            _close(pipe)


def _send(pipe: IO[str], request: Mapping[str, Any]) -> None:
    try:
        pipe.write(json.dumps(request) + "\n")
        pipe.flush()
    except BrokenPipeError:
        return


def _close(pipe: IO[str] | None) -> None:
    try:
        if pipe:
            pipe.close()
    except BrokenPipeError:
        return


def _take(event: Mapping[str, Any], told: Told) -> None:
    if event["event"] == "software":
        told.software = {k: str(v) for k, v in event.items() if k != "event"}
    elif event["event"] == "reading":
        told.readings.append((event["name"], int(event["bytes"])))
    elif told.status == "killed":
        told.status, told.note = event["status"], event["note"]


def _stop(process: subprocess.Popen[str], told: Told, seconds: float) -> None:
    told.status, told.note = "timed_out", f"not done after {seconds:g} s, its time limit"
    kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """End a measuring process and the helpers it started, if it still runs."""
    if process.poll() is None:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


def _explain(status: int, errors: str, told: Told) -> None:
    """Why a process ended that did not tell its end: a signal, or a fault of its own."""
    if told.status != "killed":
        return
    last = next((t.strip() for t in reversed(errors.splitlines()) if t.strip()), "")
    if status < 0:
        told.note = f"its process was ended by signal {-status} ({signal.strsignal(-status)})"
    else:
        told.status, told.note = "failed", f"its process ended with status {status}: {last or 'no message'}"
