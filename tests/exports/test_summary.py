"""The summary of a job: what a person reads of a red build, never larger than GitHub takes."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any

import pytest
from markdown_it import MarkdownIt

from attnbench.comparison.definitions import Comparison, Verdict
from attnbench.core.record import Status
from attnbench.core.stats import Estimate
from attnbench.exports import summary
from attnbench.exports.results import RunResults
from tests.exports.samples import BROKEN_LINE, EVERY_RESULTS, NASTY, cell, compared, comparison_of, idle_cell, run_of
from tests.samples import failed, record

CAP_BYTES = 1024 * 1024
LONG = "ä very long name, " * 20


def tables(text: str) -> list[list[list[str]]]:
    """The tables of Markdown as GitHub's readers see them: rows of cells, the header first."""
    found: list[list[list[str]]] = []
    inside = False
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        inside = token.type == "table_open" or (inside and token.type != "table_close")
        if token.type == "inline" and inside:
            shown = "".join(child.content for child in token.children or [])
            found[-1][-1].append(shown)
    return found


def wide(count: int, verdict: Verdict = Verdict.REGRESSED) -> Comparison:
    """A comparison of so many cells of long names, each slower than the one after it."""
    return comparison_of(
        [
            cell(verdict, f"{LONG}{number}", ratio=Estimate(value=3 - number / count, low=1.1, high=4.0))
            for number in range(count)
        ]
    )


def test_a_red_build_is_understood_from_it_alone() -> None:
    cells = [cell(Verdict.REGRESSED), cell(Verdict.BROKEN, "stage 2"), cell(Verdict.STABLE, "stage 3"), idle_cell()]
    text = summary.render(compared(comparison_of(cells, notes=("The base is old.",))))
    assert text.splitlines()[0] == "**FAIL: 1 broken, 1 regressed of 4 cells (sample, Test Machine)**"
    (table,) = tables(text)
    broken, regressed = (dict(zip(table[0], row, strict=True)) for row in table[1:])
    assert broken["verdict"] == "broken"
    assert broken["why"] == "crashed: signal"
    known = {"verdict": "regressed", "case": "stage 1", "backend": "sdpa", "ratio": "1.25"}
    known |= {"95 % CI": "1.20 to 1.30", "base ms": "2.00", "candidate ms": "2.50"}
    assert known.items() <= regressed.items()
    assert "What changed in the environment: torch 2.12.0 -> 2.13.0." in html.unescape(text)
    assert "Judged beside 6 runs." in text
    assert "smallest detectable slowdown (median cell): 3.4 %" in text
    assert "fails on slowdowns of at least 5 %" in text
    assert text.count("The base is old.") == 1


def test_it_says_so_where_nothing_is_known_to_have_changed() -> None:
    text = summary.render(compared(comparison_of([cell(Verdict.REGRESSED)], differences=())))
    assert "What changed in the environment: nothing known." in text


@pytest.mark.parametrize(
    ("cells", "headline"),
    [
        ([cell(Verdict.STABLE)], "PASS: of 1 cell none broke or regressed"),
        (
            [cell(Verdict.SUSPECT), cell(Verdict.INCONCLUSIVE, "b")],
            "PASS: of 2 cells none broke or regressed, 2 are not certain",
        ),
        ([idle_cell()], "NOTHING COMPARED: of 1 cell none was measured in both"),
        ([cell(Verdict.BROKEN)], "FAIL: 1 broken of 1 cell"),
        (
            [cell(Verdict.STABLE), cell(Verdict.STILL_FAILING, "b")],
            "PASS: of 2 cells none broke or regressed, 1 fails in both",
        ),
    ],
)
def test_the_first_sentence_is_the_judgment(cells: list[Any], headline: str) -> None:
    text = summary.render(compared(comparison_of(cells)))
    assert text.startswith(f"**{headline} (sample, Test Machine)**\n")


def test_of_a_run_the_failures_come_first_and_the_worst_of_them() -> None:
    records = [record(), failed("b", Status.UNSUPPORTED, "cannot"), failed("c", Status.WRONG_RESULT, "off by 1")]
    text = summary.render(RunResults(run=run_of(records)))
    assert text.startswith("**FAIL: 3 cells: 1 ok, 1 unsupported, 1 wrong_result (sample, Test Machine)**\n")
    failures, measured = tables(text)
    assert failures[1:] == [["wrong_result", "stage 1", "c", "off by 1"], ["unsupported", "stage 1", "b", "cannot"]]
    assert measured[1][0] == "naive"
    assert text.count("off by 1") == 1


def test_unusual_names_survive_in_their_own_cell() -> None:
    text = summary.render(compared(comparison_of([cell(Verdict.BROKEN, BROKEN_LINE, NASTY)])))
    (table,) = tables(text)
    assert [html.unescape(shown) for shown in table[1][1:3]] == [
        html.unescape(BROKEN_LINE.replace("\n", r"\n")),
        html.unescape(NASTY),
    ]


@pytest.mark.parametrize("name", EVERY_RESULTS)
def test_every_row_has_as_many_cells_as_its_header(name: str) -> None:
    for table in tables(summary.render(EVERY_RESULTS[name])):
        assert {len(row) for row in table} == {len(table[0])}


def test_however_many_cells_it_fits_the_worst_are_kept_and_the_others_counted() -> None:
    count = 4_000
    comparison = wide(count)
    text = summary.render(compared(comparison))
    assert 0.99 * CAP_BYTES < len(text.encode()) <= CAP_BYTES
    assert len(text) < 0.97 * len(text.encode()), "characters are not bytes"
    kept = [int(number) for number in re.findall(r"very long name, (\d+) \|", text)]
    assert kept == list(range(len(kept)))
    assert f"{count - len(kept)} of {count} rows are left out for lack of room: the worst are shown." in text
    assert text.startswith(f"**FAIL: {count} regressed of {count} cells")
    assert "What changed in the environment" in text


def test_however_many_cells_of_a_run_fail_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "_MOST_CELLS", 20)
    count = 4_000
    run = run_of([failed("naive", Status.ERROR, "too much"), record("sdpa")])
    many = run.table.iloc[[0] * count + [1] * count].reset_index(drop=True)
    many["case"] = [f"{LONG}{number}" for number in range(2 * count)]
    many.loc[: count - 1, "reason"] = [f"too much, {number}" for number in range(count)]
    text = summary.render(RunResults(run=replace(run, table=many, cells=2 * count)))
    assert 0.99 * CAP_BYTES < len(text.encode()) <= CAP_BYTES
    assert text.startswith(f"**FAIL: {2 * count} cells: {count} ok, {count} error")
    assert re.findall(r"too much, (\d+) \|", text)[:3] == ["0", "1", "2"]


def test_one_endless_text_does_not_take_the_room_of_the_others() -> None:
    cells = [cell(Verdict.BROKEN, "first", reason="x" * 2 * CAP_BYTES), cell(Verdict.REGRESSED, "second")]
    text = summary.render(compared(comparison_of(cells, differences=("y" * CAP_BYTES,) * 3)))
    assert len(text.encode()) < 20_000
    assert "| second |" in text


@pytest.mark.parametrize("room_bytes", [0, 100, 700, 1_000, 2_000, 5_000, 20_000])
def test_it_never_takes_more_room_than_there_is(room_bytes: int) -> None:
    text = summary.render(compared(wide(100)), room_bytes=room_bytes)
    assert len(text.encode()) <= room_bytes
    assert not text or text.startswith("**FAIL")
