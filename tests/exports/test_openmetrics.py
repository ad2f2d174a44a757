"""OpenMetrics text, read by the parser that goes with the format."""

from __future__ import annotations

import math

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from attnbench.comparison.definitions import Verdict
from attnbench.core.record import Status
from attnbench.exports import openmetrics
from attnbench.exports.results import ComparisonResults, Results, RunResults
from tests.exports.samples import BROKEN_LINE, EVERY_RESULTS, NASTY, cell, compared, comparison_of, idle_cell, run_of
from tests.samples import failed, record

NUMBERS = ("attnbench_latency_seconds", "attnbench_peak_memory_bytes", "attnbench_images_per_second")


def read(results: Results) -> dict[str, list[Sample]]:
    text = openmetrics.render(results)
    assert text.endswith("# EOF\n")
    families = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    return {family.name: family.samples for family in families}


@pytest.mark.parametrize("name", EVERY_RESULTS)
def test_the_parser_reads_it_and_finds_neither_timestamps_nor_creation_times(name: str) -> None:
    families = read(EVERY_RESULTS[name])
    assert families
    for family, samples in families.items():
        assert samples
        for sample in samples:
            assert sample.timestamp is None
            assert sample.name == family, "no suffix such as _created or _total"
            assert math.isfinite(sample.value)


def test_units_are_the_base_units_of_the_format() -> None:
    families = read(RunResults(run=run_of([record(latency_ms=2.0)])))
    assert {name: samples[0].value for name, samples in families.items()} == {
        "attnbench_latency_seconds": pytest.approx(2e-3, rel=0.01),
        "attnbench_peak_memory_bytes": 3 * 2**20,
        "attnbench_images_per_second": pytest.approx(1000, rel=0.01),
    }
    text = openmetrics.render(RunResults(run=run_of([record()])))
    assert "# UNIT attnbench_latency_seconds seconds\n" in text
    assert "# TYPE attnbench_latency_seconds gauge\n" in text


def test_labels_say_which_cell_it_is() -> None:
    (sample,) = read(RunResults(run=run_of([record()])))["attnbench_latency_seconds"]
    assert sample.labels == {
        "suite": "sample", "case": "stage 1", "backend": "naive", "device": "cpu", "dtype": "float32",
        "mode": "forward", "pattern": "grouped", "scope": "map",
    }  # fmt: skip


def test_the_interval_has_gauges_of_its_own_where_there_is_one() -> None:
    records = [record(latency_ms=latency, round=process) for process, latency in enumerate((2.0, 2.1))]
    families = read(RunResults(run=run_of(records)))
    low, value, high = (families[f"attnbench_latency{end}_seconds"][0].value for end in ("_low", "", "_high"))
    assert low < value < high


def test_failed_cells_have_no_gauges() -> None:
    families = read(RunResults(run=run_of([record(), failed("b", Status.OOM, "too much")])))
    assert {sample.labels["backend"] for name in NUMBERS for sample in families[name]} == {"naive"}
    assert openmetrics.render(RunResults(run=run_of([failed("b", Status.OOM, "too much")]))) == "# EOF\n"


@pytest.mark.parametrize("name", [NASTY, BROKEN_LINE, "ends in a backslash \\", '"', "\\n"])
def test_unusual_names_survive(name: str) -> None:
    (sample,) = read(RunResults(run=run_of([record(name, name)])))["attnbench_latency_seconds"]
    shown = name.replace("#", r"\x23").replace("\n", r"\n")  # GitLab takes the sign for a comment wherever it stands
    assert (sample.labels["case"], sample.labels["backend"]) == (shown, shown)


def test_a_comparison_adds_ratios_and_a_state_per_verdict() -> None:
    cells = [cell(Verdict.REGRESSED), cell(Verdict.BROKEN, "stage 2"), idle_cell()]
    families = read(ComparisonResults(run=run_of([record()]), comparison=comparison_of(cells)))
    (ratio,) = families["attnbench_ratio"]
    assert (ratio.value, ratio.labels) == (1.25, {"suite": "sample", "case": "stage 1", "backend": "sdpa"})
    assert families["attnbench_ratio_low"][0].value == 1.2
    assert families["attnbench_ratio_high"][0].value == 1.302
    states = families["attnbench_verdict"]
    assert len(states) == 3 * len(Verdict)
    on = {(one.labels["case"], one.labels["backend"], one.labels["verdict"]) for one in states if one.value}
    assert on == {("stage 1", "sdpa", "regressed"), ("stage 2", "sdpa", "broken"), ("stage 1", "flash_attn", "stable")}
    assert families["attnbench_latency_seconds"]


def test_a_case_of_another_problem_than_before_is_both_removed_and_added() -> None:
    families = read(compared(comparison_of([cell(Verdict.REMOVED), cell(Verdict.ADDED)])))
    on = {sample.labels["verdict"] for sample in families["attnbench_verdict"] if sample.value}
    assert on == {"removed", "added"}
    assert "attnbench_ratio" not in families
