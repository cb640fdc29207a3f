"""Jobs through an executor, each result stored as it comes; the index and the summary at the end, also when stopped."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from vramlib import fields, text
from vramlib.batch import changes, executors, fingerprint, index, store, summary, work
from vramlib.batch.jobs import Job
from vramlib.batch.summary import FAILED, KEPT, MADE, WAITING, Result

LOST = (BrokenExecutor, work.LostError)
LOST_TWICE = "its process died twice, killed or out of memory; the other reports are not affected"
Rows = Mapping[changes.Key, dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What came of a batch.

    Parameters
    ----------
    results : of each job, in the order of the grid [-]
    index : the page that lists them [-]
    """

    results: tuple[Result, ...]
    index: Path

    def count(self, status: str) -> int:
        """How many have this status: made, kept, failed or waiting."""
        return sum(result.status == status for result in self.results)


def run(
    jobs: Sequence[Job],
    out: Path,
    *,
    workers: int = 1,
    scheduler: str = "",
    language: str = "en",
    previous: Path | None = None,
    template: Path | None = None,
    told: Callable[[Result], Any] = bool,
) -> Batch:
    """Make the reports that a folder does not have yet, and write its index, summary and changes.

    Its processes start as Python's own do: a script calls it under ``if __name__ == "__main__":``.

    Parameters
    ----------
    jobs : what ``read`` returns [-]
    out : folder of the batch, new, empty or of an earlier batch [-]
    workers : processes on this machine [-]
    scheduler : address of a dask.distributed scheduler that runs the jobs instead [-]
    language : of the index, en or vi [-]
    previous : an earlier batch to compare with: its folder or its summary.csv [-]
    template : another notebook than the report's, as for ``read`` [-]
    told : called with each result as it comes [-]

    Returns
    -------
    What came of each job [-]

    Raises
    ------
    ValueError : the folder, the scheduler or the earlier batch cannot be used, or another batch writes there
    OSError : the folder cannot be written
    KeyboardInterrupt : it was stopped; what is finished is stored, and the same call goes on from there
    """
    before = changes.read(previous) if previous else None
    found: dict[int, Result] = {}
    with store.claimed(out):
        try:
            with contextlib.closing(_results(jobs, out, workers, scheduler, template)) as results:
                for result in results:
                    found[result.job.number] = result
                    told(result)
        finally:
            everything = [found.get(job.number) or Result(job=job, status=WAITING) for job in jobs]
            batch = _written(everything, out, before, language, previous)
    return batch


def _results(
    jobs: Sequence[Job], out: Path, workers: int, scheduler: str, template: Path | None
) -> Generator[Result]:
    """What needs no work at once, then the others as they end."""
    missing = []
    for job in jobs:
        kept = None if job.error else store.finished(out, job)
        if job.error:
            yield Result(job=job, status=FAILED, error=job.error)
        elif kept is not None:
            yield Result(job=job, status=KEPT, answer=summary.answer(kept))
        else:
            missing.append(job)
    if missing:
        with executors.opened(min(workers, len(missing)), scheduler) as executor:
            yield from (_stored(out, job, future) for job, future in ended(missing, executor, template))


def ended(
    jobs: Iterable[Job], executor: Executor, template: Path | None = None
) -> Iterator[tuple[Job, Future[tuple[str, dict[str, Any]]]]]:
    """Jobs with their futures as they end, whatever runs them; a job whose process died is run once more.

    Parameters
    ----------
    jobs : to run [-]
    executor : a ``concurrent.futures`` executor [-]
    template : another notebook than the report's [-]

    Returns
    -------
    Each job once [-]
    """
    done: SimpleQueue[Future[tuple[str, dict[str, Any]]]] = SimpleQueue()
    running: dict[Future[tuple[str, dict[str, Any]]], tuple[Job, bool]] = {}
    made_with, library = fingerprint.source(template), f"../{store.LIBRARY}"

    def start(job: Job, again: bool) -> None:
        future = executor.submit(work.make, job.parameters, library, made_with, template)
        running[future] = (job, again)
        future.add_done_callback(done.put)

    for job in jobs:
        start(job, False)
    while running:
        future = done.get()
        job, again = running.pop(future)
        if not again and not future.cancelled() and isinstance(future.exception(), LOST):
            start(job, True)
        else:
            yield job, future


def _stored(out: Path, job: Job, future: Future[tuple[str, dict[str, Any]]]) -> Result:
    """A finished report in its folder, or why there is none."""
    if future.cancelled():
        return Result(job=job, status=FAILED, error="the scheduler gave it up; is it still there?")
    error = future.exception()
    if error is not None:
        told = LOST_TWICE if isinstance(error, LOST) else text.message(error)
        return Result(job=job, status=FAILED, error=told)
    page, estimate = future.result()
    try:
        store.keep(out, job, page, estimate)
    except OSError as failure:
        return Result(job=job, status=FAILED, error=text.message(failure))
    return Result(job=job, status=MADE, answer=summary.answer(estimate))


def _written(
    results: Sequence[Result], out: Path, before: Rows | None, language: str, previous: Path | None
) -> Batch:
    """Summary, changes and index of what there is so far."""
    found, gone = (list(results), []) if before is None else _compared(results, before)
    store.write(out / summary.NAME, summary.csv_text(summary.names(found), map(summary.row, found)))
    if before is not None:
        known = {name for row in gone for name, cell in row.items() if cell and name in fields.BY_NAME}
        asked = [*summary.given_names(found, known), *summary.noted_names(found)]
        changed = [changes.row(r.change, summary.row(r)) for r in found if r.change]
        lost = [changes.row(changes.Change(kind="gone", before=row), {**row, "report": ""}) for row in gone]
        store.write(out / changes.NAME, summary.csv_text(changes.columns(asked), [*changed, *lost]))
    else:
        (out / changes.NAME).unlink(missing_ok=True)
    page = index.page(found, gone, language, name=out.resolve().name, previous=str(previous or ""))
    store.write(out / index.NAME, page)
    return Batch(results=tuple(found), index=out / index.NAME)


def _compared(results: Sequence[Result], before: Rows) -> tuple[list[Result], list[dict[str, str]]]:
    """Results with what changed, and the rows of the earlier batch that are gone."""
    found, met = [], set()
    for key, result in changes.keyed((r.job.scenario, r) for r in results):
        met.add(key)
        change = None if result.status == WAITING else changes.between(before.get(key), result.answer)
        found.append(dataclasses.replace(result, change=change))
    return found, [row for key, row in before.items() if key not in met]
