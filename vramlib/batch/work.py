"""What a worker does for one job, on this machine or on a cluster: values in, a page as text out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS = 600  # the longest that one cell may run


class LostError(RuntimeError):
    """A job's kernel died, as its worker may: killed, or out of memory."""


def make(
    parameters: Mapping[str, Any], library: str, made_with: str, template: Path | None = None
) -> tuple[str, dict[str, Any]]:
    """One report, in a kernel of its own.

    Parameters
    ----------
    parameters : of the notebook, plain values by name [-]
    library : where the page finds the chart library, relative to it [-]
    made_with : ``fingerprint.source`` of where the batch was started [-]
    template : another notebook than the report's [-]

    Returns
    -------
    The page, and the estimate that its notebook stored as data [-]

    Raises
    ------
    ValueError : a cell failed, in one line, or this machine has another vramlib
    LostError : the kernel died
    """
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill import PapermillExecutionError

    from vramlib import report
    from vramlib.batch import fingerprint

    if fingerprint.source(template) != made_with:
        raise ValueError(
            "this worker's vramlib, notebook or libraries differ from those that started the batch; "
            "install the same on every machine, and start again what changed since"
        )
    try:
        return report.made(parameters, library, template, SECONDS)
    except PapermillExecutionError as error:
        raise ValueError(_line(error)) from None
    except CellTimeoutError:
        raise ValueError(f"a cell of the notebook ran longer than {SECONDS} seconds") from None
    except DeadKernelError:
        raise LostError("the kernel died") from None


def _line(error: Any) -> str:
    """What a failed cell says: our own errors are a whole sentence, others need their name."""
    told = " ".join(str(error.evalue).split())
    return told if error.ename == "UnusableError" else f"{error.ename}: {told}"[:500]
