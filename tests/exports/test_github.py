"""Annotations and outputs, read as a runner of GitHub reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnbench.comparison.definitions import Verdict
from attnbench.core.record import Status
from attnbench.exports import github
from attnbench.exports.results import Results, RunResults
from tests.exports.samples import BROKEN_LINE, EVERY_RESULTS, NASTY, cell, compared, comparison_of, idle_cell, run_of
from tests.samples import failed, record


@dataclass(frozen=True, kw_only=True)
class Command:
    kind: str
    properties: dict[str, str]
    message: str


def unescaped(text: str, characters: str) -> str:
    for character in characters:  # "%" last, as a runner does
        text = text.replace(f"%{ord(character):02X}", character)
    return text


def read(line: str) -> Command:
    """What a runner makes of a line of the log."""
    assert len(line.splitlines()) == 1
    found = re.fullmatch(r"::(\w+)(?: (.*?))?::(.*)", line)
    assert found
    kind, properties, message = found.groups()
    pairs = [pair.split("=", 1) for pair in (properties or "").split(",") if pair]
    return Command(
        kind=kind,
        properties={key: unescaped(value, "\r\n:,%") for key, value in pairs},
        message=unescaped(message, "\r\n%"),
    )


def commands(results: Results) -> list[Command]:
    return [read(line) for line in github.workflow_commands(results)]


def outputs(results: Results) -> dict[str, str]:
    lines = github.outputs(results).split("\n")
    assert lines.pop() == ""
    return dict(line.split("=", 1) for line in lines)


def test_cells_that_fail_are_errors_suspects_are_warnings_and_nothing_else_is_said() -> None:
    for verdict in Verdict:
        expected = {Verdict.BROKEN: "error", Verdict.REGRESSED: "error", Verdict.SUSPECT: "warning"}
        kinds = [one.kind for one in commands(compared(comparison_of([cell(verdict)])))]
        assert kinds == ([expected[verdict]] if verdict in expected else [])


def test_an_annotation_says_which_cell_how_much_and_how_sure() -> None:
    (one,) = commands(compared(comparison_of([cell(Verdict.REGRESSED, "stage 1, wide")])))
    assert one.properties == {"title": "attnbench: regressed: stage 1, wide, sdpa"}
    assert one.message == (
        "stage 1, wide, sdpa: ratio 1.25 (95 % interval 1.20 to 1.30, p 3.0e-05), 2.00 -> 2.50 ms; "
        "fails on slowdowns of at least 5 %"
    )


def test_a_flaky_cell_that_fails_is_a_warning_and_one_that_fails_in_both_an_error_where_it_is_strict() -> None:
    (flaky,) = commands(compared(comparison_of([cell(Verdict.REGRESSED, flaky=True)])))
    assert (flaky.kind, flaky.properties["title"]) == ("warning", "attnbench: regressed, flaky: stage 1, sdpa")
    still = [cell(Verdict.STILL_FAILING)]
    assert not commands(compared(comparison_of(still)))
    assert [one.kind for one in commands(compared(comparison_of(still, strict=True)))] == ["error"]


@pytest.mark.parametrize("name", [NASTY, BROKEN_LINE, "::error::%25", "a%0Ab", "a\r\nb", ",title=x"])
def test_unusual_names_survive(name: str) -> None:
    (one,) = commands(compared(comparison_of([cell(Verdict.BROKEN, name, name)])))
    assert one.properties["title"] == f"attnbench: broken: {name}, {name}"
    assert one.message.startswith(f"{name}, {name}: crashed: signal")


@given(
    name=st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]) | st.sampled_from("\r\n%:,"), max_size=50)
)
def test_escapes_are_undone_by_the_runner_whatever_the_text(name: str) -> None:
    (one,) = commands(compared(comparison_of([cell(Verdict.SUSPECT, name)])))
    assert one.properties["title"].startswith(f"attnbench: suspect: {name}")
    assert one.message.startswith(f"{name}, sdpa: ratio")


@pytest.mark.parametrize(("failing", "shown"), [(1, 1), (10, 10), (11, 10), (500, 10)])
def test_there_are_ten_of_a_kind_and_the_last_says_how_many_more(failing: int, shown: int) -> None:
    cells = [cell(Verdict.REGRESSED, f"case {number}") for number in range(failing)]
    cells += [cell(Verdict.SUSPECT, f"case {number}") for number in range(failing)]
    found = commands(compared(comparison_of(cells)))
    for kind in ("error", "warning"):
        of_kind = [one for one in found if one.kind == kind]
        assert len(of_kind) == shown
        if failing > shown:
            more = failing - shown + 1
            assert of_kind[-1].properties["title"] == f"attnbench: and {more} more"
            assert of_kind[-1].message.startswith(f"{more} more, all of them in the job's summary")
        assert sum("ratio" in one.message for one in of_kind) == min(failing, 10 if failing == 10 else 9)


def test_the_worst_are_shown_where_not_all_can_be() -> None:
    cells = [cell(Verdict.REGRESSED, f"case {number}") for number in range(20)]
    cells.append(cell(Verdict.BROKEN, "the worst"))
    assert "the worst" in commands(compared(comparison_of(cells)))[0].message


def test_annotations_are_shorter_than_a_runner_cuts_them() -> None:
    (one,) = commands(compared(comparison_of([cell(Verdict.BROKEN, "x" * 9000, reason="y" * 9000)])))
    assert len(one.message) < 4096
    assert len(one.properties["title"]) < 255


def test_of_a_run_alone_what_went_wrong_is_an_error() -> None:
    records = [failed(status, status, "why not") for status in Status if status is not Status.OK]
    found = commands(RunResults(run=run_of([record(), *records])))
    assert {one.kind for one in found} == {"error"}
    assert [one.properties["title"].split(": ")[1] for one in found] == [
        "wrong_result", "crashed", "error"
    ]  # fmt: skip
    strictly = commands(RunResults(run=run_of([record(), *records]), strict=True))
    assert [one.properties["title"].split(": ")[1] for one in strictly] == [
        "wrong_result", "oom", "timeout", "crashed", "error"
    ]  # fmt: skip


def test_a_run_that_failed_without_a_cell_gone_wrong_is_an_error_too() -> None:
    (short,) = commands(RunResults(run=run_of([record()], cells=3)))
    assert short.message == "1 cell: 1 ok; 2 more were not reached: the run was interrupted"
    (nothing,) = commands(RunResults(run=run_of([failed("naive", Status.UNAVAILABLE, "no")])))
    assert nothing.message == "1 cell: 1 unavailable"


def test_outputs_count_every_verdict() -> None:
    cells = [cell(Verdict.REGRESSED), cell(Verdict.REGRESSED, "b"), cell(Verdict.IMPROVED), idle_cell()]
    found = outputs(compared(comparison_of(cells)))
    assert found.pop("summary").startswith("FAIL: 2 regressed of 4 cells (sample, Test Machine): 3 cells: ")
    assert found == {
        "failed": "true", "broken": "0", "regressed": "2", "suspect": "0", "kernel_changed": "0", "inconclusive": "0",
        "still_failing": "0", "removed": "0", "added": "0", "fixed": "0", "improved": "1", "stable": "0",
        "compared": "3", "cells": "4",
    }  # fmt: skip
    assert outputs(compared(comparison_of([cell(Verdict.SUSPECT)])))["failed"] == "false"


def test_outputs_of_a_run_count_every_status() -> None:
    found = outputs(
        RunResults(run=run_of([record(), failed("b", Status.ERROR, "no"), failed("c", Status.UNAVAILABLE, "n")]))
    )
    assert (found["failed"], found["ok"], found["error"], found["unavailable"], found["cells"]) == (
        "true", "1", "1", "1", "3"
    )  # fmt: skip
    assert outputs(RunResults(run=run_of([record(), failed("c", Status.UNSUPPORTED, "n")])))["failed"] == "false"


@pytest.mark.parametrize("name", EVERY_RESULTS)
def test_every_output_is_one_line_of_key_and_value(name: str) -> None:
    results = EVERY_RESULTS[name]
    for key in outputs(results):
        assert re.fullmatch(r"[a-z_]+", key)
    broken = compared(comparison_of([cell(Verdict.ADDED)], suite="a\nfailed=false", device="x\r\ny"))
    assert outputs(broken)["failed"] == "false"
    assert r"a\nfailed=false" in outputs(broken)["summary"]
    assert list(outputs(broken)).count("failed") == 1
