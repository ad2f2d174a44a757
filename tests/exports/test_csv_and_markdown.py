"""CSV read by pandas and the standard library, Markdown by a parser of it."""

from __future__ import annotations

import csv
import html
import io

import pandas as pd
import pytest

from attnbench.comparison.definitions import Verdict
from attnbench.core.record import Status
from attnbench.exports import documents
from attnbench.exports.results import ComparisonResults, RunResults
from attnbench.results.table import COLUMNS
from tests.exports.samples import BROKEN_LINE, EVERY_RESULTS, NASTY, cell, compared, comparison_of, idle_cell, run_of
from tests.exports.test_summary import tables as tables_of
from tests.samples import failed, record


@pytest.mark.parametrize("name", EVERY_RESULTS)
def test_csv_has_a_row_per_cell_and_every_name_in_one_line(name: str) -> None:
    results = EVERY_RESULTS[name]
    text = documents.csv_text(results)
    match results:
        case RunResults(run=run):
            expected = list(run.table[["case", "backend"]].itertuples(index=False, name=None))
        case ComparisonResults(comparison=comparison):
            expected = [(one.case, one.backend) for one in comparison.cells]
    expected = [(case.replace("\n", r"\n"), backend) for case, backend in expected]
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["case"], row["backend"]) for row in rows] == expected
    frame = pd.read_csv(io.StringIO(text))
    assert list(frame[["case", "backend"]].itertuples(index=False, name=None)) == expected


def test_csv_of_a_run_is_its_table_and_of_a_comparison_its_verdicts() -> None:
    run = run_of([record(latency_ms=2.0), failed("b", Status.OOM, "too much")])
    frame = pd.read_csv(io.StringIO(documents.csv_text(RunResults(run=run))))
    assert list(frame.columns) == list(COLUMNS)
    assert frame["latency_ms"].notna().tolist() == [True, False]
    both = ComparisonResults(run=run, comparison=comparison_of([cell(Verdict.REGRESSED), cell(Verdict.BROKEN, "b")]))
    verdicts = pd.read_csv(io.StringIO(documents.csv_text(both)))
    assert verdicts["verdict"].tolist() == ["broken", "regressed"]
    assert verdicts["ratio"].notna().tolist() == [False, True]
    assert verdicts["ratio_high"][1] == 1.302


def test_markdown_of_a_comparison_lists_every_cell() -> None:
    cells = [cell(Verdict.REGRESSED), cell(Verdict.STABLE, "stage 2"), idle_cell("stage 3")]
    (table,) = tables_of(documents.markdown_text(compared(comparison_of(cells))))
    assert [row[1] for row in table[1:]] == ["stage 1", "stage 2", "stage 3"]


def test_markdown_of_a_comparison_begins_with_how_it_ended() -> None:
    for verdict, ended in ((Verdict.REGRESSED, "FAIL"), (Verdict.STABLE, "PASS")):
        results = compared(comparison_of([cell(verdict)]))
        first = documents.markdown_text(results).splitlines()[0]
        assert first.startswith(f"**{ended}"), first


def test_names_survive_in_their_own_cell_of_markdown() -> None:
    (table,) = tables_of(documents.markdown_text(compared(comparison_of([cell(Verdict.ADDED, BROKEN_LINE, NASTY)]))))
    shown = [html.unescape(text) for text in table[1]]
    assert shown[1:3] == [html.unescape(BROKEN_LINE).replace("\n", r"\n"), html.unescape(NASTY)]
    of_run = tables_of(documents.markdown_text(RunResults(run=run_of([record(NASTY, BROKEN_LINE)]))))
    assert html.unescape(of_run[0][1][0]) == html.unescape(NASTY)


@pytest.mark.parametrize("name", EVERY_RESULTS)
def test_every_row_of_markdown_has_as_many_cells_as_its_header(name: str) -> None:
    found = tables_of(documents.markdown_text(EVERY_RESULTS[name]))
    assert found
    for table in found:
        assert {len(row) for row in table} == {len(table[0])}
