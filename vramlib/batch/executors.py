"""Where jobs run: processes of this machine, or a dask.distributed cluster; each a ``concurrent.futures`` executor."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from types import ModuleType
from typing import Any, ParamSpec, TypeVar, cast

from vramlib.report import NEVER_USED

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_SECONDS = 15
END_SECONDS = 10  # for a process to end its kernel when it is told to stop


@contextlib.contextmanager
def opened(workers: int, scheduler: str = "") -> Iterator[Executor]:
    """An executor for as long as it is needed; what still runs at the end is stopped.

    Parameters
    ----------
    workers : processes on this machine [-]
    scheduler : address of a dask.distributed scheduler to send the jobs to instead, such as tcp://10.0.0.1:8786 [-]

    Returns
    -------
    Within the ``with`` block: the executor [-]

    Raises
    ------
    ValueError : distributed is not installed, or the address cannot be used
    OSError : no scheduler answers there
    """
    with _cluster(scheduler) if scheduler else contextlib.nullcontext(Processes(workers)) as executor:
        try:
            yield executor
        finally:
            executor.shutdown(wait=False)


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("a scheduler needs dask.distributed; install vramlib[cluster]") from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"no scheduler answers at {address!r}; write its address, such as tcp://127.0.0.1:8786 ({error})"
        ) from None
    with client:
        yield client.get_executor()


class Processes(ThreadPoolExecutor):
    """Jobs in processes: each thread keeps one process, so a process that dies takes no other job with it.

    Parameters
    ----------
    workers : processes [-]
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers, "vram-reports")
        self._own = threading.local()
        self._lock = threading.Lock()
        self._pools: dict[int, ProcessPoolExecutor] = {}  # by the number of their process
        self._stopped = False
        self._scratch = tempfile.mkdtemp(prefix="vram-batch-")

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in one of the processes; ``BrokenExecutor`` where its process dies."""
        return super().submit(lambda: self._apart(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End threads and processes: after the jobs that were submitted, or now when not told to wait."""
        if not wait:
            self._stop()
        super().shutdown(wait=True, cancel_futures=cancel_futures or not wait)
        for pool in self._pools.values():
            pool.shutdown()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _apart(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        pool = getattr(self._own, "pool", None) or self._started()
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenExecutor:
            self._own.pool = None
            raise

    def _started(self) -> ProcessPoolExecutor:
        if self._stopped:
            raise BrokenExecutor("stopped")
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=_prepare, initargs=(self._scratch,))
        number = pool.submit(os.getpid).result()
        with self._lock:
            self._pools[number] = self._own.pool = pool
        if self._stopped:  # meanwhile: nobody tells this process to end, so it begins nothing
            raise BrokenExecutor("stopped")
        return pool

    def _stop(self) -> None:
        """Tell the processes to end, with their kernels; kill those that do not."""
        self._stopped = True
        with self._lock:
            pools = dict(self._pools)
        mine = [process for process in multiprocessing.active_children() if process.pid in pools]
        for process in mine:
            process.terminate()
        for pool in pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        for process in mine:
            process.join(END_SECONDS)
            process.kill()


def _prepare(scratch: str) -> None:
    """Begin a process: its files in one place, Ctrl-C left to the parent, an end when the parent ends."""
    os.environ |= {"TMPDIR": scratch, "JUPYTER_RUNTIME_DIR": scratch}
    tempfile.tempdir = scratch
    sys.modules[NEVER_USED] = cast(ModuleType, None)  # not found, rather than made for two seconds
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_follow, args=(scratch,), daemon=True).start()


def _end(*_: Any) -> None:
    """Leave the job as an exception, so that its kernel is shut down."""
    raise SystemExit(128 + signal.SIGTERM)


def _follow(scratch: str) -> None:
    """A parent that was killed cannot tell its processes to end, nor take away what they wrote."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)
