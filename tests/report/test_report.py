"""Every rendering of one run, and that nothing is cut where there is little room."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from attnbench.core.errors import UsageError
from attnbench.core.record import Flag, Record, Status
from attnbench.exports.documents import json_text
from attnbench.exports.results import RunResults
from attnbench.report import data, markdown, terminal
from attnbench.report.layout import Column, Grid, Sheet, enumerate_names, fit
from attnbench.report.numbers import rounded, significant
from attnbench.report.pivot import pivot
from attnbench.report.run_table import run_table
from attnbench.results.store import StoredRun, read_run, write_tables
from tests.samples import failed, problem, record, sample_records

Store = Callable[[Sequence[Record]], Path]


def case_grids(run: StoredRun, baseline: str | None = None) -> list[Grid]:
    """The tables of cases, without the answer above them."""
    return [grid for grid in run_table(run, baseline=baseline).grids if grid.columns[0].header == "backend"]


def speed_ups_of(grid: Grid, baseline: str = "naive") -> dict[str, str]:
    """The speed-up that a table of a case shows for every backend."""
    columns = {column.header: column.cells for column in grid.columns}
    return dict(zip(columns["backend"], columns[f"vs {baseline}"], strict=True))


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_run_on_a_terminal(stored: Path, snapshot: SnapshotAssertion, width: int) -> None:
    assert terminal.render(run_table(read_run(stored)), width=width) == snapshot


def test_a_run_as_markdown(stored: Path, snapshot: SnapshotAssertion) -> None:
    assert markdown.render(run_table(read_run(stored))) == snapshot


def test_a_run_as_csv(stored: Path, snapshot: SnapshotAssertion) -> None:
    assert data.render_csv(read_run(stored)) == snapshot


def test_a_run_as_json(stored: Path, snapshot: SnapshotAssertion) -> None:
    assert json_text(RunResults(run=read_run(stored))) == snapshot


@pytest.mark.parametrize("width", [80, 100, 120, 160, 200])
def test_no_line_is_wider_than_the_terminal_and_no_cell_is_cut(stored: Path, width: int) -> None:
    text = terminal.render(run_table(read_run(stored)), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for backend in ("naive", "sdpa_5d", "flash_attn", "swin"):
        assert backend in text


def test_columns_without_room_are_named(stored: Path) -> None:
    run = read_run(stored)
    narrow, wide = (terminal.render(run_table(run), width=width) for width in (80, 220))
    assert "Not shown at 80 columns:" in narrow
    assert "Not shown" not in wide
    headers = (
        narrow.partition("Not shown at 80 columns: ")[2].partition(" (use a wider")[0].replace("\n", " ").split(", ")
    )
    assert len(headers) > 3
    for header in headers:
        assert " ".join(header.split()) in wide


def test_brackets_in_names_survive_the_renderer(stored: Path) -> None:
    assert "stage 1 shifted [layer]" in terminal.render(run_table(read_run(stored)), width=120)


def test_the_fastest_stands_first_and_failures_last(stored: Path) -> None:
    first, second = case_grids(read_run(stored))
    assert [row[0] for row in first.rows] == ["sdpa", "naive", "swin", "sdpa_5d"]
    assert second.rows[-1][0] == "sdpa_5d"


def test_speed_ups_stay_inside_one_problem(stored: Path) -> None:
    speed_ups = [speed_ups_of(grid) for grid in case_grids(read_run(stored))]
    assert speed_ups[0] == {"sdpa": "2.00x", "naive": "1x", "swin": "-", "sdpa_5d": "0.500x"}
    # Where the case itself is shifted, swin computes the same function as the others.
    assert speed_ups[1]["swin"] == "0.909x"


def test_another_baseline_can_be_asked_for(stored: Path) -> None:
    first, _ = case_grids(read_run(stored), baseline="sdpa")
    assert speed_ups_of(first, "sdpa")["naive"] == "0.500x"


def test_what_the_reader_must_know_stands_below(stored: Path) -> None:
    notes = "\n".join(run_table(read_run(stored)).notes)
    other = "another function than the others', so it has no speed-up there."
    assert f'swin computes shifted windows in "stage 1": {other}' in notes
    assert 'sdpa_5d, in "stage 1": ran torch\'s unfused math kernel.' in notes
    assert "Unavailable here: flash_attn: flash_attn has no kernels for cpu (allowed: cuda)." in notes
    assert 'sdpa_5d, in "stage 1 shifted [layer]": wrong_result: output is off by 0.5 (allowed: 1e-06)' in notes


def test_the_baseline_says_which_pattern_is_the_usual_one(store_run: Store) -> None:
    records = [record("swin", problem=problem(pattern="shifted")), record("naive", position=1)]
    notes = run_table(read_run(store_run(records))).notes
    (note,) = [note for note in notes if "another function" in note]
    other = "another function than the others', so it has no speed-up there."
    assert note == f"swin computes shifted windows in the one case: {other}"


def test_a_baseline_that_was_not_measured_is_said(store_run: Store) -> None:
    records = [failed("naive", Status.ERROR, "no"), record("sdpa", position=1)]
    run = run_table(read_run(store_run(records)))
    assert "No speed-ups in the one case: the baseline naive was not measured there." in run.notes
    assert all(row[2] == "-" for row in run.grids[0].rows)


def test_an_empty_run_renders(store_run: Store, tmp_path: Path) -> None:
    empty = pivot(read_run(store_run([])), rows="resolution", columns="window", metric="latency_ms")
    assert empty.notes == ("Nothing was measured: the run was interrupted.",)
    shown = run_table(read_run(tmp_path / "stored"))
    assert "sample" not in terminal.render(shown, width=80).splitlines()[3:]


def test_intervals_appear_with_several_processes(store_run: Store) -> None:
    run = read_run(store_run([record(latency_ms=latency, round=index) for index, latency in enumerate((2.0, 2.1))]))
    assert "95 % interval" in [column.header for column in case_grids(run)[0].columns]


def test_failed_cells_are_null_in_json_and_empty_in_csv(stored: Path) -> None:
    run = read_run(stored)
    cells = json.loads(json_text(RunResults(run=run)))["cells"]
    failures = [cell for cell in cells if cell["status"] != "ok"]
    assert failures
    assert all(cell["latency_ms"] is None and cell["peak_bytes"] is None for cell in failures)
    assert ",unavailable,flash_attn has no kernels for cpu (allowed: cuda),,,,,," in data.render_csv(run)


def sweep() -> list[Record]:
    records = []
    for position, (side, window, backend) in enumerate(
        (side, window, backend) for side in (14, 28) for window in (2, 7) for backend in ("naive", "sdpa")
    ):
        asked = problem(height=side, width=side, window_height=window, window_width=window)
        latency = side * window / (10 if backend == "naive" else 20)
        case = f"{side}/{window}"
        if (side, window, backend) == (28, 7, "sdpa"):
            records.append(failed(backend, Status.OOM, "too much", case, problem=asked, position=position))
        else:
            records.append(record(backend, case, latency, problem=asked, position=position))
    return records


def test_a_pivot_over_two_axes(store_run: Store, snapshot: SnapshotAssertion) -> None:
    run = read_run(store_run(sweep()))
    grids = pivot(run, rows="resolution", columns="window", metric="latency_ms")
    assert terminal.render(grids, width=80) == snapshot
    assert markdown.render(pivot(run, rows="window", columns="backend", metric="peak_bytes")) == snapshot


def test_a_pivot_names_failed_cells(store_run: Store) -> None:
    grids = pivot(read_run(store_run(sweep())), rows="resolution", columns="window", metric="latency_ms").grids
    assert [grid.title for grid in grids] == ["latency_ms: backend naive", "latency_ms: backend sdpa"]
    assert grids[1].rows[1] == ("28x28", "2.81", "oom")


def test_a_pivot_never_lets_one_cell_hide_another(store_run: Store) -> None:
    shifted = problem(pattern="shifted")
    records = [
        record("swin", "grouped case", 1.0, problem=shifted, position=0),
        record("swin", "shifted case", 2.0, problem=shifted, position=1),
    ]
    run = read_run(store_run(records))
    grids = pivot(run, rows="heads", columns="pattern", metric="latency_min_ms").grids
    assert [(grid.title.partition("case ")[2], grid.rows[0][1]) for grid in grids] == [
        ("grouped case", "1.00"),
        ("shifted case", "2.00"),
    ]
    by_case = pivot(run, rows="case", columns="backend", metric="max_error").grids[0]
    assert by_case.rows == [("grouped case", "1.3e-06"), ("shifted case", "1.3e-06")]


def test_a_pivot_leaves_out_what_holds_no_number_and_says_why(store_run: Store) -> None:
    run = read_run(store_run([record(), failed("flash_attn", Status.UNAVAILABLE, "no kernels", position=1)]))
    found = pivot(run, rows="heads", columns="window", metric="latency_ms")
    assert len(found.grids) == 1
    assert "Unavailable here: flash_attn: no kernels." in found.notes


def test_where_one_window_covers_the_map_shifted_is_grouped(store_run: Store) -> None:
    alone = problem(height=7, width=7)
    shifted = problem(height=7, width=7, pattern="shifted")
    run = read_run(store_run([record(problem=alone), record("swin", latency_ms=1.0, problem=shifted, position=1)]))
    found = run_table(run)
    assert speed_ups_of(found.grids[-1]) == {"swin": "2.00x", "naive": "1x"}
    assert not [note for note in found.notes if "another function" in note]


def test_a_pivot_wider_than_the_terminal_goes_on_below(store_run: Store) -> None:
    records = [
        record(case=str(heads), problem=problem(heads=heads), position=heads) for heads in range(1, 30)
    ]  # fmt: skip
    sheet_of_heads = pivot(read_run(store_run(records)), rows="batch", columns="heads", metric="latency_ms")
    text = terminal.render(sheet_of_heads, width=80)
    assert max(map(len, text.splitlines())) <= 80
    for heads in range(1, 30):
        assert f" {heads} " in text.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"rows": "hight"}, "--rows hight: not an axis (allowed: case, backend, batch, resolution"),
        ({"columns": "latency_ms"}, "--columns latency_ms: not an axis"),
        ({"columns": "resolution"}, "--rows and --columns are both resolution; give two axes"),
        ({"metric": "latency"}, "--metric latency: not a number of the table (allowed: latency_ms"),
    ],
)
def test_a_wrong_pivot_says_what_is_allowed(stored: Path, arguments: dict[str, str], sentence: str) -> None:
    asked = {"rows": "resolution", "columns": "window", "metric": "latency_ms", **arguments}
    with pytest.raises(UsageError) as caught:
        pivot(read_run(stored), **asked)
    assert str(caught.value).startswith(sentence)


@given(st.floats(1e-6, 1e6))
def test_three_significant_digits_are_right_to_half_a_unit(value: float) -> None:
    assert float(significant(value)) == pytest.approx(value, rel=5.0001e-3)
    assert "e" not in significant(value)


def test_names_are_enumerated_as_in_a_sentence() -> None:
    assert [enumerate_names(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_markdown_escapes_what_would_break_a_table() -> None:
    grid = Grid(title="a|b", columns=(Column(header="x", cells=("1|2",)),))
    assert r"| 1\|2 |" in markdown.render(Sheet(heading="", grids=(grid,), notes=()))


def test_sample_records_cover_every_kind_of_row() -> None:
    assert {one.status for one in sample_records()} == {Status.OK, Status.UNAVAILABLE, Status.WRONG_RESULT}


def test_speed_ups_are_paired_by_process_and_unsure_ones_marked(store_run: Store) -> None:
    # A whole process twice as slow says nothing about the ratio; noise of single cells does.
    slowness = (1.0, 2.0, 1.1)
    records = [
        one
        for process, factor in enumerate(slowness)
        for one in (
            record("naive", latency_ms=2.0 * factor, position=0, round=process),
            record("sdpa", latency_ms=1.0 * factor, position=1, round=process),
            record("sdpa_5d", latency_ms=(1.5, 2.5, 2.0)[process] * factor, position=2, round=process),
        )
    ]
    text = terminal.render(run_table(read_run(store_run(records))), width=200)
    shown = text.splitlines()
    rows = {
        line.split()[0]: line.replace("fastest", " ").split() for line in shown if line.startswith(("naive", "sdpa"))
    }
    assert [rows[name][2] for name in ("naive", "sdpa", "sdpa_5d")] == ["1x", "2.000x", "~1.0x"]
    assert " ".join(rows["sdpa"]).count("2.000 to 2.000") == 1
    assert "~ before a speed-up: its 95 % interval, paired by process, contains 1x." in text


def test_without_a_journal_speed_ups_are_ratios_of_the_table(stored: Path) -> None:
    write_tables(stored)
    (stored / "journal.jsonl").unlink()
    text = terminal.render(run_table(read_run(stored)), width=120)
    assert "2.00x" in text
    assert "paired" not in text


@given(st.floats(1e-3, 1e5), st.floats(1e-6, 0.9))
def test_spelling_a_number_changes_it_by_less_than_its_uncertainty(value: float, relative: float) -> None:
    uncertainty = relative * value
    spelled = float(rounded(value, uncertainty))
    assert abs(spelled - value) <= max(0.5 * uncertainty, 5.1e-4 * value)


def test_flags_are_explained_below_the_table(stored: Path) -> None:
    text = " ".join(terminal.render(run_table(read_run(stored)), width=200).split())
    assert 'contended, sdpa_5d, in "stage 1": other programs or virtual machines used the device' in text
    assert 'throttled, swin, in "stage 1 shifted [layer]": the device lowered its clocks' in text


def test_flags_stand_beside_the_numbers_they_doubt_however_many_there_are(stored: Path) -> None:
    run = read_run(stored)
    table = run.table.assign(flags=" ".join(Flag))
    text = terminal.render(run_table(replace(run, table=table)), width=80)
    assert "flags" in text
    assert "flags" not in text.partition("Not shown at 80 columns:")[2]


@pytest.mark.parametrize("width", range(44, 130, 3))
def test_no_cell_is_cut_however_wide_the_terminal_is(width: int) -> None:
    columns = (
        Column(header="verdict", cells=("inconclusive",), numeric=False),
        Column(header="case", cells=("swin_t stage 1 shifted",), numeric=False, wraps=True),
        Column(header="ratio", cells=("1.25",)),
        Column(header="95 % interval", cells=("1.20 to 1.30",), rank=1),
        Column(header="base ms", cells=("0.478",), rank=2),
        Column(header="why", cells=("contended, few_samples",), numeric=False, wraps=True, least=26),
    )
    text = terminal.render(Sheet(heading="h", grids=(Grid(title="t", columns=columns),), notes=()), width=width)
    assert max(map(len, text.splitlines())) <= width
    for word in ("inconclusive", "swin_t", "shifted", "1.25", "contended,", "few_samples"):
        assert word in text, text


def in_processes(backend: str, latencies_ms: Sequence[float], position: int) -> list[Record]:
    return [
        record(backend, latency_ms=latency, round=number, position=position)
        for number, latency in enumerate(latencies_ms)
    ]


def test_the_answer_stands_first_with_a_line_per_case(stored: Path) -> None:
    answered = run_table(read_run(stored)).grids[0]
    inference, training = answered.title.split(" For training ")
    assert inference == "For inference use sdpa: the fastest; 2.00x as fast as naive."
    assert training == (
        "use sdpa: the fastest; 1.62x as fast as naive. How sure that is cannot be told from one process."
    )
    assert "flash_attn (unavailable)" in answered.subtitle
    assert 'sdpa_5d in "stage 1 shifted [layer]" (wrong_result)' in answered.subtitle
    columns = {column.header: column.cells for column in answered.columns}
    assert columns["case"] == ("stage 1", "stage 1 shifted [layer]")
    assert columns["fastest"] == ("sdpa", "sdpa")
    assert columns["vs naive"] == ("2.00x", "1.62x")
    assert columns["of roofline"][0].endswith("%")


def test_ties_are_called_ties_in_the_answer_and_in_the_table(store_run: Store) -> None:
    run = read_run(
        store_run(
            [
                *in_processes("naive", (3.0, 3.1, 3.05), 0),
                *in_processes("sdpa", (1.0, 1.1, 1.05), 1),
                *in_processes("sdpa_flash", (1.1, 1.0, 1.06), 2),
            ]
        )
    )
    sheet_of_run = run_table(run)
    answered, case = sheet_of_run.grids
    assert answered.rows[0][1] == "sdpa and sdpa_flash (tie)"
    assert answered.title.endswith("sdpa_flash cannot be told from it.")
    assert [row[:2] for row in case.rows] == [("sdpa", "fastest"), ("sdpa_flash", "tie"), ("naive", "")]
    assert any(note.startswith("tie: ") for note in sheet_of_run.notes)


def test_a_backend_that_wins_on_average_is_named_with_the_case_where_it_loses_most(store_run: Store) -> None:
    run = read_run(
        store_run(
            [
                one
                for position, (case, slow) in enumerate((("a", 1.0), ("b", 1.0), ("c", 3.0)))
                for number in range(3)
                for one in (
                    record("naive", case, 2.0, position=2 * position, round=number),
                    record("sdpa", case, 1.0 * slow, position=2 * position + 1, round=number),
                )
            ]
        )
    )
    title = run_table(run).grids[0].title
    assert title == (
        'Use sdpa: the fastest in 2 of 3 cases, at worst 1.50x the time of the fastest ("c"); '
        "1.39x as fast as naive on average."
    )


def test_a_backend_that_can_be_measured_somewhere_keeps_its_rows(store_run: Store) -> None:
    records = [
        record(position=0), failed("fa", Status.UNAVAILABLE, "no", position=1),
        record(case="b", position=2), record("fa", "b", position=3),
    ]  # fmt: skip
    first, _ = case_grids(read_run(store_run(records)))
    assert [row[0] for row in first.rows] == ["naive", "fa"]


def test_the_answer_is_absent_where_nothing_can_be_compared(store_run: Store) -> None:
    assert len(run_table(read_run(store_run([record()]))).grids) == 1


def test_cases_by_backends_are_one_table_with_the_fastest_marked(store_run: Store) -> None:
    swin = problem(pattern="shifted")
    records = [
        one
        for number, case in enumerate(("a", "b"))
        for one in (
            record("naive", case, 2.0, position=10 * number, problem=problem(heads=number + 1)),
            record("sdpa", case, 1.0, position=10 * number + 1, problem=problem(heads=number + 1)),
            record("swin", case, 0.5, position=10 * number + 2, problem=swin),
            failed("fa", Status.UNAVAILABLE, "no", case, position=10 * number + 3),
        )
    ]
    found = pivot(read_run(store_run(records)), rows="case", columns="backend", metric="latency_ms")
    (grid,) = found.grids
    assert [column.header for column in grid.columns] == ["case / backend", "naive", "sdpa", "swin"]
    assert grid.rows == [("a", "2.00", ">1.00", "0.501"), ("b", "2.00", ">1.00", "0.501")]
    assert any(note.startswith("> before a latency") for note in found.notes)
    assert any(note.startswith("swin computes shifted windows") for note in found.notes)


def test_decimal_points_stand_under_one_another(stored: Path) -> None:
    text = terminal.render(run_table(read_run(stored)), width=120)
    lines = text[text.index("backend") :].splitlines()
    ends = lines[0].index("latency ms") + len("latency ms")
    first = [line[ends - 10 : ends] for line in lines[2:6]]
    assert len({line.index(".") for line in first}) == 1


def test_texts_that_do_not_fit_become_numbered_notes() -> None:
    columns = (
        Column(header="verdict", cells=("regressed", "stable", "suspect"), numeric=False),
        Column(
            header="why", cells=("slower " * 9, "", "slower " * 9), numeric=False, wraps=True, footnoted=True, least=40
        ),
    )
    whole = Sheet(heading="h", grids=(Grid(title="t", columns=columns),), notes=("last",))
    assert fit(whole, 80) == whole
    narrow = fit(whole, 30)
    assert narrow.grids[0].rows == [("regressed", "(1)"), ("stable", ""), ("suspect", "(1)")]
    assert narrow.notes == (f"(1) {'slower ' * 9}.", "last")
