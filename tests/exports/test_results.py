"""What is exported, before it has a format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from attnbench.comparison.verdict import Verdict
from attnbench.core.record import Status
from attnbench.core.stats import Estimate
from attnbench.exports.results import Subject
from tests.exports.subjects import cell, comparison_of, run_of
from tests.samples import failed, record


def test_nothing_is_no_subject() -> None:
    with pytest.raises(ValueError, match="neither a run nor a comparison"):
        Subject()


@pytest.mark.parametrize("status", list(Status))
def test_a_run_fails_by_what_went_wrong_and_not_by_what_was_never_tried(status: Status) -> None:
    records = [record(), *([] if status is Status.OK else [failed("b", status, "why not")])]
    fine = status in (Status.OK, Status.UNAVAILABLE, Status.UNSUPPORTED)
    assert Subject(run=run_of(records)).failed is not fine


@pytest.mark.parametrize(
    "subject", [Subject(run=run_of([])), Subject(run=run_of([failed("b", Status.UNAVAILABLE, "no")]))]
)
def test_a_run_that_measured_nothing_fails(subject: Subject) -> None:
    assert subject.failed
    assert subject.headline.startswith("FAIL")


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_comparison_fails_by_its_own_verdict_whatever_the_run(verdict: Verdict) -> None:
    run = run_of([failed("b", Status.CRASHED, "as before")])
    subject = Subject(run=run, comparison=comparison_of([cell(verdict)]))
    assert subject.failed is verdict.fails


def test_numbers_are_those_of_the_run_where_there_is_one() -> None:
    run = run_of([record(latency_ms=7.0), failed("b", Status.CRASHED, "no")])
    (one,) = Subject(run=run, comparison=comparison_of([cell(Verdict.STABLE)])).measured()
    assert one.latency_ms.value == pytest.approx(7.0, rel=0.01)
    (other,) = Subject(comparison=comparison_of([cell(Verdict.STABLE), cell(Verdict.REMOVED, "gone")])).measured()
    assert (other.latency_ms, other.peak_bytes) == (Estimate(value=2.0, low=None, high=None), 2**20)


def test_a_table_kept_alone_is_named_by_its_suite_or_its_directory() -> None:
    run = replace(run_of([record()]), path=Path("kept"))
    run.environment.clear()
    assert (Subject(run=run).suite, Subject(run=run).device) == ("sample", "")
    run.table["suite"] = ""
    run.suite.clear()
    assert Subject(run=run).suite == "kept"
    assert Subject(run=run).measured()[0].suite == "kept"
    assert Subject(run=run).headline == "PASS: 1 cell: 1 ok (kept)"
