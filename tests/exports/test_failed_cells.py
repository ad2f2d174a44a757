"""Of every format: a cell that failed never becomes a number, and one alone in a run never passes."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from attnbench.comparison.definitions import CellVerdict, Verdict
from attnbench.core.record import Record, Status
from attnbench.exports import documents, junit, openmetrics, summary, trackers
from attnbench.exports.results import Results, RunResults
from tests.exports.samples import cell, compared, comparison_of, idle_cell, run_of
from tests.exports.test_summary import tables as tables_of
from tests.samples import failed, record

Numbers = dict[str, list[float]]
"""By case, the numbers that a format gives of it."""
TABLE_NUMBERS = ("latency_ms", "latency_low_ms", "images_per_s", "peak_bytes", "max_error", "processes", "samples")


@st.composite
def runs(draw: st.DrawFn) -> list[Record]:
    """Cells of cases "0", "1", ... that are ok or failed in any way."""
    statuses = draw(st.lists(st.sampled_from(list(Status)), min_size=1, max_size=6))
    latencies_ms = draw(st.lists(st.floats(1e-3, 1e4), min_size=len(statuses), max_size=len(statuses)))
    return [
        record("naive", f"{place}", latency_ms, position=place)
        if status is Status.OK
        else failed("naive", status, f"{status} of 0 ms", case=f"{place}", position=place)
        for place, (status, latency_ms) in enumerate(zip(statuses, latencies_ms, strict=True))
    ]


def of_junit(results: Results) -> Numbers:
    root = ET.fromstring(junit.render(results))
    found = {str(case.get("classname")).split(".")[1]: _latencies_ms(case) for case in root.iter("testcase")}
    return {name: latencies for name, latencies in found.items() if latencies}


def _latencies_ms(case: ET.Element) -> list[float]:
    """What the test case prints; its time has three digits."""
    printed = re.findall(r"^(?:latency|candidate)_ms: (.+)$", case.findtext("system-out") or "", re.MULTILINE)
    return [float(number) for number in printed]


def of_action_benchmark(render: Callable[[Results], str]) -> Callable[[Results], Numbers]:
    return lambda results: {one["name"].split("/")[1]: [one["value"]] for one in json.loads(render(results))}


def of_bencher(results: Results) -> Numbers:
    found = json.loads(trackers.bencher(results))
    return {name.split("/")[1]: [one["value"] for one in found[name].values()] for name in found}


def of_openmetrics(results: Results) -> Numbers:
    found: Numbers = {}
    for family in text_string_to_metric_families(openmetrics.render(results)):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            found.setdefault(sample.labels["case"], []).append(sample.value)
    return found


def of_document(results: Results) -> Numbers:
    cells = json.loads(documents.json_text(results))["cells"]
    numbers = {cell["case"]: [cell[name] for name in TABLE_NUMBERS if cell[name] is not None] for cell in cells}
    return {case: found for case, found in numbers.items() if found}


def of_csv(results: Results) -> Numbers:
    rows = csv.DictReader(io.StringIO(documents.csv_text(results)))
    numbers = {row["case"]: [float(row[name]) for name in TABLE_NUMBERS if row[name]] for row in rows}
    return {case: found for case, found in numbers.items() if found}


def of_markdown(render: Callable[[Results], str]) -> Callable[[Results], Numbers]:
    def numbers(results: Results) -> Numbers:
        grids = [table for table in tables_of(render(results)) if table[0][0] == "backend"]
        rows = {str(case): grid[1] for case, grid in enumerate(grids)}
        found = {case: [text for text in row[1:] if text[:1].isdigit()] for case, row in rows.items()}
        return {case: [float(texts[0])] for case, texts in found.items() if texts}

    return numbers


READERS: dict[str, Callable[[Results], Numbers]] = {
    "junit": of_junit,
    "latencies": of_action_benchmark(trackers.action_benchmark_latencies),
    "rates": of_action_benchmark(trackers.action_benchmark_rates),
    "bencher": of_bencher,
    "openmetrics": of_openmetrics,
    "json": of_document,
    "csv": of_csv,
    "markdown": of_markdown(documents.markdown_text),
    "github": of_markdown(summary.render),
}


@settings(max_examples=25, deadline=None)
@given(records=runs())
def test_numbers_are_given_of_the_cells_that_are_ok_and_of_no_other(records: list[Record]) -> None:
    results = RunResults(run=run_of(records))
    for name, reader in READERS.items():
        found = reader(results)
        assert set(found) == {one.case for one in records if one.status is Status.OK}, name
        assert all(number > 0 for numbers in found.values() for number in numbers), name


@given(cells=st.lists(st.sampled_from([*map(cell, Verdict), idle_cell()]), min_size=1, max_size=8))
@settings(deadline=None)
def test_what_could_not_be_compared_neither_passes_nor_has_a_ratio(cells: list[CellVerdict]) -> None:
    results = compared(comparison_of(cells))
    root = ET.fromstring(junit.render(results))
    for one, case in zip(results.comparison.cells, root.iter("testcase"), strict=True):
        passed = not {child.tag for child in case} & {"failure", "error", "skipped"}
        comparable = one.candidate_ms is not None and one.verdict is not Verdict.ADDED
        assert passed == (comparable and not one.verdict.fails)
        assert bool(_latencies_ms(case)) == (one.candidate_ms is not None)
    ratios = [row["ratio"] for row in csv.DictReader(io.StringIO(documents.csv_text(results)))]
    assert [bool(ratio) for ratio in ratios] == [one.ratio is not None for one in results.comparison.cells]
