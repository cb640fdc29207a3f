"""Public start-ups as scenarios with measured figures: ``data/runs/*.csv``, one row a launch (or one of its ranks).

Columns named as scenario fields are what was asked for, columns ``measured_*`` what the engine printed.
``use`` says whether a row is scored; ``leave_out`` names printed figures that cannot be compared, and ``reason`` why.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vramlib import fields, resolve
from vramlib._paths import data_dir
from vramlib.specs import Scenario
from vramlib.units import GiB, MiB

ENGINES = {"vllm": "vllm", "llamacpp": "llama.cpp", "sglang": "sglang"}
SCALES = {"_gib": GiB, "_mib": MiB}
ESTIMATE = "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS"
"""Whether vLLM takes from the pool what it expects of its graphs."""
LARGEST = "max_cudagraph_capture_size"
TOPS = ("cap", "cap_10x", "per_slot")
USES = ("scored", "printed_in_notes", "unscored")
HELD_OUT = "held_out"
"""Scored, and never a teacher: a row that was entered after the constants were chosen."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One public start-up.

    Parameters
    ----------
    run_id, address, use, reason : the row's own [-]
    given : scenario fields that were stated [-]
    measured : printed figures that can be compared, sizes in bytes, counts as they are [byte], [-]
    printed : all printed figures, also those that cannot be compared alone [byte], [-]
    left_out : figures of the row, and comparisons of two of them, that are not scored [-]
    taught : figures that a rule or constant was read off, and what follows from them: shown apart [-]
    resolution : for each of them, half a unit of the last printed digit [byte], [-]
    environment : variables and flags of the launch that are no fields, by name [-]
    teaches : whether refitted constants may use it [-]
    problem : why the row cannot be read, in one line; empty where it can [-]
    """

    run_id: str
    address: str
    use: str
    reason: str
    given: Mapping[str, str]
    measured: Mapping[str, float]
    printed: Mapping[str, float]
    left_out: frozenset[str]
    taught: frozenset[str]
    resolution: Mapping[str, float]
    environment: Mapping[str, str] = field(default_factory=dict)
    teaches: bool = True
    problem: str = ""

    @functools.cached_property
    def scenario(self) -> Scenario:
        """What was launched, resolved as an estimate would be, under the variables and flags that are no fields.

        Raises
        ------
        ValueError: the row's own words do not make a scenario.
        """
        found = resolve.scenario(**self.given)
        rows, changed = found.engine_spec.constants, {}
        if self.environment.get(ESTIMATE) == "0":
            changed["charges_cuda_graphs"] = False
        if top := int(self.environment.get(LARGEST, 0)):
            changed["cuda_graph_sizes"] = rows["cuda_graph_sizes"]["value"] | dict.fromkeys(TOPS, top)
        named = {key: dict(rows[key]) | {"value": value} for key, value in changed.items()}
        spec = dataclasses.replace(found.engine_spec, constants=dict(rows) | named)
        return dataclasses.replace(found, engine_spec=spec)

    @property
    def family(self) -> str:
        """Model family: rows of one family share what they teach about a constant."""
        return self.scenario.model.model_type or self.scenario.model.architecture

    @property
    def publisher(self) -> str:
        """Who published it: the repository of a GitHub address, else the site."""
        parts = self.address.split("/")
        return "/".join(parts[3:5]) if "github.com" in self.address else parts[2]


def read(name: str) -> tuple[Run, ...]:
    """All runs of one table, scored or not.

    Parameters
    ----------
    name : vllm, llamacpp or sglang [-]

    Returns
    -------
    One ``Run`` a row, in the file's order [-]

    Examples
    --------
    >>> runs = read("vllm")
    >>> {r.use for r in runs} == set(USES)
    True
    """
    with (data_dir() / "runs" / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return tuple(_run(row, ENGINES[name]) for row in csv.DictReader(stream))


def _run(row: Mapping[str, str], engine: str) -> Run:
    left = frozenset(filter(None, row["leave_out"].split(";")))
    given = {k: v for k, v in row.items() if k in fields.BY_NAME and v} | {"engine": engine}
    found: dict[str, float] = {}
    half: dict[str, float] = {}
    held_out = row["use"] == HELD_OUT
    use = "scored" if held_out else row["use"]
    problem = "" if use in USES else f"use is {use!r}; choose one of {', '.join((*USES, HELD_OUT))}"
    for column, text in row.items():
        name, scale = _measure(column)
        try:
            if name and text:
                found[name], half[name] = float(text) * scale, 0.5 * _last_digit(text) * scale
        except ValueError:
            problem = f"{column} is {text!r}; a number is needed"
    return Run(
        run_id=row["run_id"],
        address=row["source"],
        use=use,
        reason=row["reason"],
        given=given,
        measured={k: v for k, v in found.items() if k not in left} if use != "unscored" else {},
        printed=found,
        left_out=left,
        taught=frozenset(filter(None, row["taught"].split(";"))),
        resolution=half,
        environment=dict(word.split("=", 1) for word in row.get("environment", "").split(";") if "=" in word),
        teaches=not held_out,
        problem=problem,
    )


def _measure(column: str) -> tuple[str, int]:
    """Name and scale of a measured column; an empty name for any other."""
    if not column.startswith("measured_"):
        return "", 1
    name = column.removeprefix("measured_")
    for ending, scale in SCALES.items():
        if name.endswith(ending):
            return name.removesuffix(ending), scale
    return name, 1


def _last_digit(text: str) -> float:
    match: Any = re.search(r"\.(\d+)", text)
    return float(10 ** -len(match[1])) if match else 1.0
