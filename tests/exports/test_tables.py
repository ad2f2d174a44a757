"""CSV read by pandas and the standard library, Markdown by a parser of it."""

from __future__ import annotations

import csv
import html
import io

import pandas as pd
import pytest

from attnbench.comparison.verdict import Verdict
from attnbench.core.record import Status
from attnbench.exports import tables
from attnbench.exports.results import Subject
from attnbench.results.table import COLUMNS
from tests.exports.subjects import BROKEN_LINE, EVERY_SUBJECT, NASTY, cell, comparison_of, idle_cell, run_of
from tests.exports.test_summary import tables as tables_of
from tests.samples import failed, record


@pytest.mark.parametrize("name", EVERY_SUBJECT)
def test_csv_has_a_row_per_cell_and_every_name_as_it_is(name: str) -> None:
    subject = EVERY_SUBJECT[name]
    text = tables.csv(subject)
    expected = (
        [(one.case, one.backend) for one in subject.comparison.cells]
        if subject.comparison
        else list(subject.run.table[["case", "backend"]].itertuples(index=False, name=None))  # type: ignore[union-attr]
    )
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["case"], row["backend"]) for row in rows] == expected
    frame = pd.read_csv(io.StringIO(text))
    assert list(frame[["case", "backend"]].itertuples(index=False, name=None)) == expected


def test_csv_of_a_run_is_its_table_and_of_a_comparison_its_verdicts() -> None:
    run = run_of([record(latency_ms=2.0), failed("b", Status.OOM, "too much")])
    frame = pd.read_csv(io.StringIO(tables.csv(Subject(run=run))))
    assert list(frame.columns) == list(COLUMNS)
    assert frame["latency_ms"].notna().tolist() == [True, False]
    both = Subject(run=run, comparison=comparison_of([cell(Verdict.REGRESSED), cell(Verdict.BROKEN, "b")]))
    verdicts = pd.read_csv(io.StringIO(tables.csv(both)))
    assert verdicts["verdict"].tolist() == ["broken", "regressed"]
    assert verdicts["ratio"].notna().tolist() == [False, True]
    assert verdicts["ratio_high"][1] == 1.302


def test_markdown_of_a_comparison_lists_every_cell() -> None:
    cells = [cell(Verdict.REGRESSED), cell(Verdict.STABLE, "stage 2"), idle_cell("stage 3")]
    (table,) = tables_of(tables.markdown(Subject(comparison=comparison_of(cells))))
    assert [row[1] for row in table[1:]] == ["stage 1", "stage 2", "stage 3"]


def test_names_survive_in_their_own_cell_of_markdown() -> None:
    (table,) = tables_of(tables.markdown(Subject(comparison=comparison_of([cell(Verdict.ADDED, BROKEN_LINE, NASTY)]))))
    shown = [html.unescape(text) for text in table[1]]
    assert shown[1:3] == [html.unescape(BROKEN_LINE).replace("\n", r"\n"), html.unescape(NASTY)]
    of_run = tables_of(tables.markdown(Subject(run=run_of([record(NASTY, BROKEN_LINE)]))))
    assert html.unescape(of_run[0][1][0]) == html.unescape(NASTY)


@pytest.mark.parametrize("name", EVERY_SUBJECT)
def test_every_row_of_markdown_has_as_many_cells_as_its_header(name: str) -> None:
    found = tables_of(tables.markdown(EVERY_SUBJECT[name]))
    assert found
    for table in found:
        assert {len(row) for row in table} == {len(table[0])}
