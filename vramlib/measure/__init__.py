"""Measure GPU memory: snapshots, small experiments beside their predictions, and recordings where there is no GPU.

Two meters see different memory. The driver's sees the whole card: contexts, libraries, every process. PyTorch's
allocator sees the tensors of this process only. Each reading names its meter.

>>> from vramlib import measure
>>> reading = measure.read("kv_growth", live=False)         # live=True would ask a GPU first
>>> reading.predicted_bytes, round(reading.ratio, 3)        # a token of Qwen3-8B, as a log of vLLM has it
(147456, 1.0)
"""

from __future__ import annotations

from vramlib.measure.driver import Card, NoGpuError, cards, memory
from vramlib.measure.experiments import EXPERIMENTS
from vramlib.measure.guard import BusyError
from vramlib.measure.meters import Snapshot, Step, snapshot, track
from vramlib.measure.plan import NotEnoughMemoryError
from vramlib.measure.reading import Reading, read
from vramlib.measure.record import Measurement, Point
from vramlib.measure.recordings import BadRecordingError, write
from vramlib.measure.runner import Limits, run

__all__ = [
    "EXPERIMENTS", "BadRecordingError", "BusyError", "Card", "Limits", "Measurement", "NoGpuError",
    "NotEnoughMemoryError", "Point", "Reading", "Snapshot", "Step", "cards", "memory", "read", "run", "snapshot",
    "track", "write",
]  # fmt: skip
