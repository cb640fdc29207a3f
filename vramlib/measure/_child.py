"""A measuring process: one experiment, then it ends and the card is as it was.

``python -m vramlib.measure._child`` reads one line of JSON from standard input, the request, and writes lines of JSON
to standard output: ``software`` first, then a ``reading`` as soon as it is known, then ``end``. It ends by itself when
its parent closes the pipe. With a request as argument it is a helper that only holds memory.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from typing import IO, Any

from vramlib.measure import bench as benches
from vramlib.measure import driver, helpers, subject
from vramlib.measure.driver import Card, NoGpuError
from vramlib.measure.experiments import named
from vramlib.measure.plan import NotEnoughMemoryError, Plan, Room, gpu_spec

CUDA_FAULT = "CUDA error"


def main(arguments: list[str]) -> int:
    """Serve one request; the exit status is 0 as long as the end was told."""
    if arguments:
        helpers.hold(int(json.loads(arguments[0])["hold_bytes"]))
        return 0
    events = _own_stream()
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tell(events, **serve(request, events))
    return 0


def _own_stream() -> IO[str]:
    """Standard output for events alone; whatever libraries print goes to standard error."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def tell(events: IO[str], **event: Any) -> None:
    """Write one event."""
    events.write(json.dumps(event) + "\n")
    events.flush()


def serve(request: Mapping[str, Any], events: IO[str]) -> dict[str, Any]:
    """Run the experiment and tell its readings; what is returned is its end.

    A refusal, an out-of-memory and a lost GPU are ends with their own status; a fault of the program is not caught.
    """
    card = Card(**request["card"])
    room = Room(gpu=gpu_spec(card), free_bytes=request["free_bytes"], share=request["share"])
    try:
        plan = named(request["experiment"]).plan(room)
        torch = benches.torch_with_cuda()
    except (NotEnoughMemoryError, NoGpuError) as error:
        return end("refused", str(error))
    tell(
        events,
        event="software",
        torch=torch.__version__,
        cuda=torch.version.cuda,
        model_code=subject.code_name(),
    )
    bench = benches.Bench(
        torch=torch,
        cuda=torch.cuda,
        device="cuda",
        read_driver=lambda: driver.memory(card),
        variant=request["variant"],
        limit_bytes=room.tensor_bytes,
    )
    return perform(plan, bench, request["repeats"], events)


def perform(plan: Plan, bench: benches.Bench, repeats: int, events: IO[str]) -> dict[str, Any]:
    """Take the readings ``repeats`` times."""
    try:
        for _ in range(repeats):
            for name, size in named(plan.experiment).perform(plan, bench):
                tell(events, event="reading", name=name, bytes=int(size))
            if bench.cuda.is_initialized():
                bench.clear()
    except NoGpuError as error:
        return end("gpu_lost", error.reason)
    except RuntimeError as error:
        return _fault(error, bench)
    return end("measured", _beware(plan, bench))


def _beware(plan: Plan, bench: benches.Bench) -> str:
    """What to know of readings that the driver did not give by process."""
    if bench.told_per_process or all(p.meter != "process" for p in plan.predictions):
        return ""
    return "the driver does not tell this process's bytes here: they are the growth of the whole card's use"


def _fault(error: RuntimeError, bench: benches.Bench) -> dict[str, Any]:
    """An out-of-memory, with its numbers, or a card that has gone; anything else is the program's own fault."""
    if isinstance(error, bench.torch.OutOfMemoryError):
        return end(
            "out_of_memory", f"{' '.join(str(error).split())}; the share allows {bench.limit_bytes:,} B"
        )
    if CUDA_FAULT in str(error):
        return end("gpu_lost", " ".join(str(error).split())[:300])
    raise error


def end(status: str, note: str) -> dict[str, Any]:
    """The last event."""
    return {"event": "end", "status": status, "note": note}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
