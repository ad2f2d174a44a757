"""JUnit XML: read back by the library that CI scripts use, and held against what servers agree on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema
from junitparser import JUnitXml, TestCase

from attnbench.comparison.definitions import CellVerdict, Verdict
from attnbench.core.record import Status
from attnbench.exports import junit
from attnbench.exports.results import ComparisonResults, Results, RunResults
from tests.exports.samples import (
    BROKEN_LINE,
    COLORED,
    DIED,
    EVERY_RESULTS,
    NASTY,
    UNFIT,
    cell,
    compared,
    comparison_of,
    idle_cell,
    run_of,
)
from tests.samples import failed, record

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))


def read(results: Results) -> list[TestCase]:
    (suite,) = JUnitXml.fromstring(junit.render(results).encode())
    return list(suite)


def result(case: TestCase) -> str:
    return {(False, False, False): "passed", (True, False, False): "failure"}.get(
        (case.is_failure, case.is_error, case.is_skipped), "error" if case.is_error else "skipped"
    )


def judged(one: CellVerdict) -> str:
    return result(read(compared(comparison_of([one])))[0])


@pytest.mark.parametrize("name", EVERY_RESULTS)
def test_the_document_is_what_servers_agree_on(name: str) -> None:
    document = junit.render(EVERY_RESULTS[name])
    SCHEMA.validate(document)
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        SCHEMA.validate(document.replace(' time="', ' duration="', 1))


@pytest.mark.parametrize("name", EVERY_RESULTS)
def test_there_is_a_case_per_cell_and_the_totals_are_theirs(name: str) -> None:
    results = EVERY_RESULTS[name]
    cells = len(results.comparison.cells if isinstance(results, ComparisonResults) else results.run.table)
    cases = read(results)
    assert len(cases) == cells
    found = [result(case) for case in cases]
    root = ET.fromstring(junit.render(results))
    for element in (root, root[0]):
        assert element.attrib["tests"] == str(cells)
        for total, kind in (("failures", "failure"), ("errors", "error")):
            assert element.attrib[total] == str(found.count(kind))
        assert float(element.attrib["time"]) == pytest.approx(sum(case.time or 0 for case in cases), abs=1e-3 * cells)
    assert root[0].attrib["skipped"] == str(found.count("skipped"))
    assert "skipped" not in root.attrib, "Jenkins' schema does not have it there"


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict.REGRESSED, "failure"),
        (Verdict.REMOVED, "skipped"),
        (Verdict.ADDED, "skipped"),
        *((verdict, "passed") for verdict in (Verdict.SUSPECT, Verdict.KERNEL_CHANGED, Verdict.INCONCLUSIVE)),
        *((verdict, "passed") for verdict in (Verdict.FIXED, Verdict.IMPROVED, Verdict.STABLE)),
    ],
)
def test_a_verdict_has_one_result(verdict: Verdict, expected: str) -> None:
    assert judged(cell(verdict)) == expected


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_a_broken_cell_is_an_error_where_it_died_and_a_failure_otherwise(status: Status) -> None:
    assert judged(cell(Verdict.BROKEN, candidate_status=status)) == ("error" if status in DIED else "failure")


def test_a_cell_that_fails_in_both_is_skipped_with_its_reason() -> None:
    (case,) = read(compared(comparison_of([idle_cell()])))
    assert result(case) == "skipped"
    assert "unavailable: no kernel for cpu" in str(case.result[0].message)


@pytest.mark.parametrize("status", list(Status))
def test_a_cell_of_a_run_has_the_result_of_its_status(status: Status) -> None:
    one = record() if status is Status.OK else failed("naive", status, "why not")
    (case,) = read(RunResults(run=run_of([one])))
    expected = {Status.OK: "passed", Status.WRONG_RESULT: "failure", **dict.fromkeys(UNFIT, "skipped")}
    assert result(case) == expected.get(status, "error")
    if status is not Status.OK:
        assert case.result[0].message == "why not"
        assert case.result[0].type == status


def test_a_run_that_was_cut_short_does_not_look_complete() -> None:
    cases = read(RunResults(run=run_of([record()], cells=3)))
    assert [result(case) for case in cases] == ["passed", "error"]
    assert cases[1].result[0].message == "2 cells not reached: the run was interrupted"


def test_times_are_latencies_in_seconds_without_an_exponent_however_short() -> None:
    text = junit.render(compared(comparison_of([cell(Verdict.STABLE, candidate_ms=0.0123)])))
    assert text.count('time="0.000"') == 3
    assert "candidate_ms: 0.0123\n" in text
    text = junit.render(compared(comparison_of([cell(Verdict.STABLE, candidate_ms=1234.5678)])))
    assert text.count('time="1.235"') == 3


def test_output_holds_verdict_ratio_and_interval_of_cells_that_pass_too() -> None:
    (case,) = read(compared(comparison_of([cell(Verdict.SUSPECT)])))
    lines = str(case.system_out).splitlines()
    for line in ("verdict: suspect", "ratio: 1.25", "ratio_low: 1.2", "ratio_high: 1.302", "fails_above: 1.05"):
        assert line in lines


def test_a_failure_says_how_much_how_sure_and_why() -> None:
    grown = cell(Verdict.REGRESSED, reason="peak memory 1.0 -> 5.0 MiB")
    (case,) = read(compared(comparison_of([grown])))
    assert case.result[0].message == (
        "ratio 1.25 (95 % interval 1.20 to 1.30, p 3.0e-05), 2.00 -> 2.50 ms; peak memory 1.0 -> 5.0 MiB; "
        "fails on slowdowns of at least 5 %"
    )
    unsure = cell(Verdict.REGRESSED, ratio=replace(grown.ratio, low=None, high=None), p_value=None)  # type: ignore[type-var]
    (case,) = read(compared(comparison_of([unsure])))
    assert "ratio 1.25 (interval not known)" in str(case.result[0].message)


def test_unusual_names_survive_and_what_xml_cannot_hold_is_spelled() -> None:
    run = run_of([failed(NASTY, Status.ERROR, COLORED, case=BROKEN_LINE)])
    (case,) = read(RunResults(run=run))
    assert (case.classname, case.name) == (f"sample.{BROKEN_LINE}", NASTY)
    assert case.result[0].message == r"no kernel for cpu\x07\x00\ufffe"


def test_the_machine_and_the_method_stand_beside_the_cases() -> None:
    (suite,) = JUnitXml.fromstring(junit.render(EVERY_RESULTS["comparison"]).encode())
    properties = {one.name: one.value for one in suite.properties()}  # type: ignore[no-untyped-call]
    assert properties["environment_changes"] == "torch 2.12.0 -> 2.13.0"
    assert (properties["method"], properties["fails_above"]) == ("beside 6 runs", "1.05")
    assert properties["min_detectable_ratio"] == "1.034"
    assert (suite.hostname, suite.timestamp) == ("test-machine", "2026-01-02T03:04:05")


def test_what_is_not_known_is_no_property() -> None:
    results = compared(comparison_of([cell(Verdict.ADDED)], min_detectable_ratio=None, differences=()))
    assert "None" not in junit.render(results)
    assert "environment_changes" not in junit.render(results)
