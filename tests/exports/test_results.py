"""What is exported, before it has a format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from attnbench.comparison.definitions import Verdict
from attnbench.core.record import Status
from attnbench.exports.results import ComparisonResults, Results, RunResults
from tests.exports.samples import cell, comparison_of, run_of
from tests.samples import failed, record


@pytest.mark.parametrize("status", list(Status))
def test_a_run_fails_by_what_is_defective_and_not_by_what_was_never_tried_or_too_large(status: Status) -> None:
    run = run_of([record(), *([] if status is Status.OK else [failed("b", status, "why not")])])
    assert RunResults(run=run).failed is (status in (Status.WRONG_RESULT, Status.CRASHED, Status.ERROR))
    never_tried = (Status.OK, Status.UNAVAILABLE, Status.UNSUPPORTED)
    assert RunResults(run=run, strict=True).failed is (status not in never_tried)


@pytest.mark.parametrize(
    "results", [RunResults(run=run_of([])), RunResults(run=run_of([failed("b", Status.UNAVAILABLE, "no")]))]
)
def test_a_run_that_measured_nothing_fails(results: Results) -> None:
    assert results.failed
    assert results.headline.startswith("FAIL")


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_comparison_fails_by_its_own_verdict_whatever_the_run(verdict: Verdict) -> None:
    run = run_of([failed("b", Status.CRASHED, "as before")])
    results = ComparisonResults(run=run, comparison=comparison_of([cell(verdict)]))
    assert results.failed is verdict.fails


def test_numbers_of_a_comparison_are_those_of_the_candidates_run() -> None:
    run = run_of([record(latency_ms=7.0), failed("b", Status.CRASHED, "no")])
    (one,) = ComparisonResults(run=run, comparison=comparison_of([cell(Verdict.STABLE)])).measured()
    assert one.latency_ms.value == pytest.approx(7.0, rel=0.01)


def test_a_table_kept_alone_is_named_by_its_suite_or_its_directory() -> None:
    run = replace(run_of([record()]), path=Path("kept"))
    run.environment.clear()
    assert RunResults(run=run).headline == "PASS: 1 cell: 1 ok (sample)"
    run.table["suite"] = ""
    run.suite.clear()
    assert RunResults(run=run).suite == "kept"
    assert RunResults(run=run).measured()[0].suite == "kept"
    assert RunResults(run=run).headline == "PASS: 1 cell: 1 ok (kept)"
