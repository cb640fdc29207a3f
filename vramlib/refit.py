"""Constants refitted without some of the runs, so that a score never counts a row that taught the constant.

Each function gives the value of a constant that one run implies; a constant is the median over the runs of its
version range. Nothing here is used by an estimate.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from vramlib.components import activations, framework_buffers, graph_kernels, multi_process, prefill_padding
from vramlib.runs import Run
from vramlib.specs import Scenario

Key = tuple[str, str]


def implied_sampler(run: Run) -> float | None:
    """Bytes per logit that a printed activation peak stands for, where the sampler decides it.

    Formula: (A − (T + R) · b · d_model − kept) / (R · V) − (b − 2)
    """
    s, peak = run.scenario, run.measured.get("activation_peak")
    if peak is None or s.model.towers or not _sampler_decides(s):
        return None
    rows, b = min(s.max_num_seqs, s.max_num_batched_tokens), s.dtype_bytes
    hidden = (s.max_num_batched_tokens + rows) * b * s.model.hidden_size
    return (peak - hidden - prefill_padding.kept_workspace_bytes(s)) / (rows * s.model.vocab_size) - b + 2


def implied_forward(run: Run) -> float | None:
    """Residual-width copies that a printed activation peak stands for, where the layers decide it.

    Formula: (A / (T · b) − 3 · d_ff / tp) / d_model
    """
    s, peak = run.scenario, run.measured.get("activation_peak")
    if peak is None or s.model.towers or s.model.num_experts or s.model.kv_lora_rank or _sampler_decides(s):
        return None
    if s.quant is not None:
        return None
    per_token = peak / (s.max_num_batched_tokens * s.dtype_bytes)
    width = 3 * activations.mlp_width(s.model) / s.tensor_parallel_size
    return (per_token - width) / s.model.hidden_size


def implied_graph_kernel(run: Run) -> float:
    """Driver's bytes for each recorded kernel that a printed size of the graphs stands for.

    Formula: ((G − pool) / graphs − 1 MiB) / kernels
    """
    s = run.scenario
    driver = run.measured["cuda_graph"] - framework_buffers.graph_pool_bytes(s)
    each = driver / framework_buffers.num_graphs(s) - s.engine_spec.value("cuda_graph_fixed_bytes")
    return each / graph_kernels.stage_kernels(s.model, s.pipeline_parallel_size, 0, s.quantization)


def _sampler_decides(s: Scenario) -> bool:
    tokens = s.max_num_batched_tokens
    peak = activations.peak_bytes(s, tokens, s.max_num_seqs)
    return bool(peak > activations.step_forward_bytes(s, tokens))


def constants(runs: Iterable[Run]) -> dict[Key, dict[str, Any]]:
    """Rows of data/engines.json with the value that these runs give; rows without evidence are not in it.

    Parameters
    ----------
    runs : what may teach [-]

    Returns
    -------
    (constant, first version of its range) → the row with its new value [-]
    """
    found: dict[Key, list[Any]] = defaultdict(list)
    rows: dict[Key, Mapping[str, Any]] = {}
    for run in runs:
        if run.use == "unscored" or not run.teaches:
            continue
        spec = run.scenario.engine_spec
        for name, value in _implied(run).items():
            key = (name, spec.constants[name]["from"])
            rows[key] = spec.constants[name]
            found[key].append(value)
    return {
        key: dict(rows[key]) | {"value": _value(key[0], rows[key], values)} for key, values in found.items()
    }


def _implied(run: Run) -> dict[str, Any]:
    s = run.scenario
    got: dict[str, Any] = {}
    if (c := implied_sampler(run)) is not None:
        got["sampler_bytes_per_logit"] = c
    elif (x := implied_forward(run)) is not None and s.engine_spec.value("forward_hidden_factor") is not None:
        got["forward_hidden_factor"] = x
    if "non_torch" in run.measured:
        got["non_torch_growth_bytes"] = (multi_process.side(s), run.measured["non_torch"])
    if "cuda_graph" in run.measured and not s.enforce_eager:
        got["cuda_graph_bytes_per_kernel"] = implied_graph_kernel(run)
    return got


def _value(name: str, row: Mapping[str, Any], values: list[Any]) -> Any:
    if name != "non_torch_growth_bytes":
        return statistics.median(values)
    sides: dict[str, list[float]] = defaultdict(list)
    for side, value in values:
        sides[side].append(value)
    return dict(row["value"]) | {side: int(statistics.median(v)) for side, v in sides.items()}


def with_constants(s: Scenario, new: Mapping[Key, Mapping[str, Any]]) -> Scenario:
    """The scenario under refitted constants."""
    spec = s.engine_spec
    replaced = {name: new.get((name, str(row["from"])), row) for name, row in spec.constants.items()}
    return dataclasses.replace(s, engine_spec=dataclasses.replace(spec, constants=replaced))
