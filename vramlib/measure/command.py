"""What ``vram measure`` does: run or look up experiments, show a bar, print results, store the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from vramlib.measure import reading, recordings, runner
from vramlib.measure.driver import NoGpuError
from vramlib.measure.experiments import EXPERIMENTS, named
from vramlib.measure.guard import BusyError
from vramlib.measure.record import Measurement


def recorded(names: Sequence[str]) -> Iterator[str]:
    """Each experiment's best answer that needs no GPU, as text.

    Examples
    --------
    >>> print(next(recorded(["padding"])).splitlines()[0])
    padding (model only)
    """
    for name in names or EXPERIMENTS:
        yield str(reading.read(name, live=False))


def live(
    names: Sequence[str], limits: runner.Limits, index: int, out: Path | None
) -> tuple[tuple[Measurement, ...], Path | None]:
    """Run experiments under a progress bar and store the run.

    Parameters
    ----------
    names : of experiments; all where there is none [-]
    limits : share, time, repeats, waiting [-]
    index : of the card [-]
    out : file to write; one in data/measurements where None [-]

    Returns
    -------
    Measurements, and the file they are in; None where every experiment was refused [-]

    Raises
    ------
    KeyError: no experiment of that name.
    ValueError: no GPU to measure on, or another measurement runs on it.
    """
    chosen = [named(name).name for name in names] or list(EXPERIMENTS)
    with tqdm(total=len(chosen), unit=" experiments", disable=None) as bar:

        def done(found: Measurement) -> None:
            bar.write(str(found))
            bar.update()

        try:
            measured = runner.run(chosen, limits=limits, index=index, say=bar.write, done=done)
        except (NoGpuError, BusyError) as error:
            raise ValueError(str(error)) from error
    if all(m.status == "refused" for m in measured):
        return measured, None
    return measured, recordings.write(measured, out)
