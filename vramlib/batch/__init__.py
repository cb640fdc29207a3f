"""Reports by the hundred: a grid's scenarios as pages with their numbers, an index, a summary and what changed.

Reading a grid gives jobs; running them fills a folder, in which a report that is finished is not made again.
"""

from __future__ import annotations

from vramlib.batch.jobs import ASKS_BEYOND, MOST, Job, count, read
from vramlib.batch.run import Batch, run
from vramlib.batch.summary import Result

__all__ = ["ASKS_BEYOND", "MOST", "Batch", "Job", "Result", "count", "read", "run"]
