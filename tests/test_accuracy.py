"""The ledger: rows that mean what they say, folds that do not leak, and no line worse than the stored one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from vramlib import accuracy, accuracy_report, bounds, budget, engines, kinds, refit, resolve, runs
from vramlib._paths import data_dir
from vramlib.components import framework_buffers

TABLES = ("vllm", "sglang", "llamacpp")
SNAPSHOT = json.loads(Path(__file__).with_name("data").joinpath("accuracy_snapshot.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def now() -> dict[str, accuracy_report.Line]:
    return accuracy_report.snapshot()


@pytest.mark.parametrize("label", SNAPSHOT)
def test_no_line_is_worse_than_the_stored_one(label: str, now: dict[str, accuracy_report.Line]) -> None:
    before, line = SNAPSHOT[label], now[label]
    assert line["n"] >= before["n"]
    for name in ("mean", "median", "worst"):
        assert line[name] <= before[name] + 1e-5, f"{label}: {name} was {before[name]}, is {line[name]}"


def test_every_line_is_stored(now: dict[str, accuracy_report.Line]) -> None:
    assert set(now) == set(SNAPSHOT)


@pytest.mark.parametrize(
    ("label", "mean"),
    [
        ("vllm · weights · one card, text", 0.003),
        ("vllm · activation peak · one card, text", 0.05),
        ("vllm · KV pool · one card, text", 0.01),
        ("vllm · concurrency · one card, text", 0.015),
        ("llamacpp · model buffer", 0.01),
        ("llamacpp · KV buffer", 0.0005),
        ("llamacpp · compute buffer", 0.1),
        ("vllm, held out · weights · one card, text", 0.005),
        ("vllm, held out · KV pool · one card, text", 0.03),
        ("vllm, held out · concurrency · one card, text", 0.03),
        ("llamacpp, held out · KV buffer", 0.0005),
    ],
)
def test_targets(label: str, mean: float, now: dict[str, accuracy_report.Line]) -> None:
    assert now[label]["mean"] <= mean


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_tidy(table: str) -> None:
    found = runs.read(table)
    assert len({r.run_id for r in found}) == len(found)
    for run in found:
        assert run.use in runs.USES
        assert run.address.startswith("https://")
        assert run.use == "scored" or run.reason, run.run_id


@pytest.mark.parametrize("table", TABLES)
def test_scored_rows_resolve(table: str) -> None:
    for run in runs.read(table):
        if run.use != "unscored":
            assert run.measured or run.printed
            assert accuracy.predict(run.scenario), run.run_id


def test_what_is_left_out_is_a_figure_of_the_row() -> None:
    for table in TABLES:
        with (data_dir() / "runs" / f"{table}.csv").open(encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                for name in set(row["leave_out"].split(";")) - {"", "pool_arithmetic"}:
                    columns = [f"measured_{name}{end}" for end in ("", "_gib", "_mib")]
                    assert any(row.get(c) for c in columns), (row["run_id"], name)


def test_the_identity_of_the_logs_holds_for_the_rows_that_have_all_terms() -> None:
    checked = 0
    for run in runs.read("vllm"):
        m = run.measured
        if run.use == "unscored" or not {"weights", "activation_peak", "non_torch", "kv_pool"} <= set(m):
            continue
        if "gpu_memory_utilization" not in run.given or "gpu_memory_bytes" not in run.given:
            continue
        asked = float(run.given["gpu_memory_utilization"]) * float(run.given["gpu_memory_bytes"])
        assert asked - m["weights"] - m["activation_peak"] - m["non_torch"] == pytest.approx(
            m["kv_pool"], abs=0.06 * 2**30
        ), run.run_id
        checked += 1
    assert checked > 30


def test_a_fold_does_not_see_its_own_family() -> None:
    gemma = [r for r in runs.read("vllm") if r.measured and r.family == "gemma2"]
    key = ("sampler_bytes_per_logit", "0.17")
    assert key in refit.constants(gemma)
    assert refit.constants(r for r in gemma if r.family != "gemma2") == {}
    odd = [c for c in accuracy.ledger("vllm") if c.run.run_id.startswith("llmd_google-gemma-2-9b")]
    assert {c.measure for c in odd} >= {"weights", "activation_peak", "kv_pool"}


def test_a_held_out_row_is_scored_and_teaches_nothing() -> None:
    found = runs.read("vllm")
    held = [r for r in found if not r.teaches]
    assert len(held) > 20
    assert {r.use for r in held} <= {"scored", "unscored"}
    assert refit.constants(held) == {}
    assert refit.constants(found) == refit.constants(r for r in found if r.teaches)
    assert {r.run_id for r in held if r.measured} <= {c.run.run_id for c in accuracy.ledger("vllm")}


def test_refitted_constants_agree_with_the_shipped_ones() -> None:
    new = refit.constants(r for r in runs.read("vllm") if r.measured)
    for name, version, share in (
        ("sampler_bytes_per_logit", "0.19.0", 0.02),
        ("sampler_bytes_per_logit", "0.11.0", 0.02),
        ("forward_hidden_factor", "0.19.0", 0.06),
        ("cuda_graph_bytes_per_kernel", "0.19.0", 0.001),
    ):
        row = engines.engine("vllm", version).constants[name]
        assert new[name, row["from"]]["value"] == pytest.approx(row["value"], rel=share)


def test_counts_that_estimates_warn_by_are_the_ledgers() -> None:
    stored = json.loads((data_dir() / "accuracy.json").read_text(encoding="utf-8"))
    assert stored["runs"] == accuracy_report.run_counts()


def test_kinds_with_few_runs_are_said_to_be_not_validated() -> None:
    usual = resolve.scenario(model="Llama-3.1-8B")
    new = resolve.scenario(model="Llama-3.1-8B", engine_version="0.33.0", tensor_parallel_size=2)
    assert kinds.warning(usual) == ""
    assert kinds.warning(new).startswith("not validated: ")


def test_the_worst_misses_have_a_cause() -> None:
    why = accuracy_report.causes()
    for c in accuracy_report.worst():
        assert why.get(c.run.run_id), c.run.run_id


def test_intervals_hold_most_figures() -> None:
    inside, all_of_them = (sum(column) for column in zip(*accuracy_report.coverage().values(), strict=True))
    assert inside / all_of_them > 0.85


def test_the_table_names_what_others_published_and_every_n() -> None:
    text = accuracy_report.table()
    assert "llm-d-planner: weights 0.89 %" in text
    assert "not validated" in text
    assert "Ten worst misses" in text


def test_more_of_a_charged_figure_is_less_pool() -> None:
    s = resolve.scenario(model="Llama-3.1-8B", gpu="H100-80GB")
    found = budget.of(s)
    assert found is not None
    low, high = bounds.of(s, found)["kv_pool"]
    assert low < found.kv_pool_bytes < high


BAD_ROWS = {
    "a model that nobody knows": {"model": "no-such-model-at-all"},
    "a figure that is no number": {"measured_kv_pool_gib": "about 3"},
    "a card of no memory": {"gpu": "H100-80GB", "gpu_memory_bytes": "-1"},
    "a word that is no use": {"use": "perhaps"},
    "a version that cannot be read": {"engine_version": "latest"},
}


@pytest.mark.parametrize("words", BAD_ROWS)
def test_one_bad_row_is_named_and_takes_no_other_with_it(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (data_dir() / "runs" / "sglang.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    bad = next(r for r in rows if r["use"] == "scored") | {"run_id": "bad"} | BAD_ROWS[words]
    columns = list(rows[0]) + [k for k in bad if k not in rows[0]]
    (tmp_path / "runs").mkdir()
    with (tmp_path / "runs" / "sglang.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows([bad, *rows])
    before = [(c.run.run_id, c.measure, c.predicted) for c in accuracy.ledger("sglang")]
    monkeypatch.setattr(runs, "data_dir", lambda: tmp_path)
    accuracy.problems.cache_clear()
    accuracy.ledger.cache_clear()
    try:
        assert list(accuracy.problems("sglang")) == ["bad"]
        assert [(c.run.run_id, c.measure, c.predicted) for c in accuracy.ledger("sglang")] == before
    finally:
        accuracy.problems.cache_clear()
        accuracy.ledger.cache_clear()


def test_a_variable_of_the_launch_is_part_of_its_scenario() -> None:
    """These logs say that the estimate was not taken from the pool, and print 35 and 11 sizes, 33 twice with drafts."""
    found = {r.run_id: r for r in runs.read("vllm")}
    run = found["rtx6k_glm51_dcp2_mtp0"]
    assert run.environment[runs.ESTIMATE] == "0"
    assert not run.scenario.engine_spec.value("charges_cuda_graphs")
    assert engines.engine("vllm", run.scenario.engine_version).value("charges_cuda_graphs")
    assert framework_buffers.num_graphs(run.scenario) == 35 + 11
    assert framework_buffers.num_graphs(found["rtx6k_glm51_dcp8_mtp1"].scenario) == 33 + 33
