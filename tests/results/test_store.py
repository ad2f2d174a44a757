"""Run directories: what they say, and what is said of those that are damaged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest

import attnbench
from attnbench.core.errors import LostOutputError, StoredRunError
from attnbench.core.record import Ceilings, Record, Status
from attnbench.results import store
from attnbench.results.journal import ENVIRONMENT, JOURNAL, SUITE, Journal, read_journal
from attnbench.results.listing import list_runs
from attnbench.results.places import CSV, PARQUET
from attnbench.results.store import read_run, write_tables
from attnbench.results.table import COLUMNS, DESCRIPTIONS, table
from tests.conftest import TESTS
from tests.samples import failed, problem, record, sample_records

Store = Callable[[Sequence[Record]], Path]


def test_a_table_has_one_row_per_cell_and_the_fixed_columns(stored: Path) -> None:
    frame = read_run(stored).table
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == len(sample_records())
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == COLUMNS
    assert set(frame["suite"]) == {"sample"}
    assert list(DESCRIPTIONS) == list(COLUMNS)


def test_rates_follow_from_latency_and_problem() -> None:
    row = table([record(latency_ms=2.0, samples_ms=(2.0,))], suite="s").iloc[0]
    assert row["latency_ms"] == pytest.approx(2.0)
    assert row["images_per_s"] == pytest.approx(1000)
    assert row["tokens_per_s"] == pytest.approx(196_000)
    # 4 windows of 49 tokens and 2 images: 4 x 2 x 4 x 49 x 49 x 64 operations.
    assert row["tflops"] == pytest.approx(4 * 2 * 4 * 49 * 49 * 64 / 2e-3 / 1e12)
    assert row["gbytes_per_s"] == pytest.approx(4 * 2 * 196 * 64 * 4 / 2e-3 / 1e9)


def test_the_ceiling_that_is_met_first_counts() -> None:
    def fraction(*, bytes_per_s: float, flops_per_s: float) -> float:
        ceilings = Ceilings(bytes_per_s=bytes_per_s, flops_per_s=flops_per_s)
        one = record(samples_ms=(2.0,), ceilings=ceilings)
        return float(table([one], suite="s").iloc[0]["roofline_fraction"])

    megabytes, megaflops = 4 * 2 * 196 * 64 * 4 / 1e6, 4 * 2 * 4 * 49 * 49 * 64 / 1e6
    assert fraction(bytes_per_s=1e9, flops_per_s=1e15) == pytest.approx(megabytes / 1e3 / 2e-3)
    assert fraction(bytes_per_s=1e15, flops_per_s=1e10) == pytest.approx(megaflops / 1e4 / 2e-3)


def test_blocks_become_one_row_with_an_interval() -> None:
    processes = [record(latency_ms=latency, round=number) for number, latency in enumerate((2.0, 2.2, 1.9))]
    row = table(processes, suite="s").iloc[0]
    assert (row["processes"], row["samples"]) == (3, 60)
    assert row["latency_low_ms"] < row["latency_ms"] < row["latency_high_ms"]
    assert row["latency_min_ms"] == pytest.approx(1.9)


def test_a_failed_cell_is_a_row_with_its_reason_and_no_number() -> None:
    row = table([failed("sdpa", Status.OOM, "too much")], suite="s").iloc[0]
    assert (row["status"], row["reason"]) == ("oom", "too much")
    numbers = [name for name, kind in COLUMNS.items() if kind != "string" and name not in problem().to_json()]
    assert row[numbers].isna().all()


def test_a_cell_that_failed_in_one_block_is_not_ok() -> None:
    row = table([record(round=0), failed("naive", Status.CRASHED, "died", round=1)], suite="s").iloc[0]
    assert (row["status"], row["reason"]) == ("crashed", "died")
    assert pd.isna(row["latency_ms"])


def test_rows_stand_in_the_order_of_the_suite_not_of_measuring() -> None:
    frame = table(reversed(sample_records()), suite="s")
    assert list(frame["backend"][:5]) == ["naive", "sdpa", "sdpa_5d", "flash_attn", "swin"]


def test_tables_are_rebuilt_from_the_journal_to_the_last_digit(stored: Path) -> None:
    frame = write_tables(stored).table
    assert not list(stored.glob(".*"))
    pd.testing.assert_frame_equal(frame, read_run(stored).table)
    (stored / JOURNAL).unlink()
    pd.testing.assert_frame_equal(frame, read_run(stored).table)
    (stored / PARQUET).unlink()
    pd.testing.assert_frame_equal(frame, read_run(stored).table)


def test_a_table_made_from_the_journal_is_read_instead_of_it(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_tables(stored)

    def forbidden(_: Path) -> Iterator[Record]:
        raise AssertionError("the journal was read")

    with monkeypatch.context() as patched:
        patched.setattr(store, "read_journal", forbidden)
        again = read_run(stored)
    pd.testing.assert_frame_equal(again.table, made.table)
    assert again.cells == made.cells
    assert not again.table.attrs


@pytest.mark.parametrize("change", ["journal", "version", "table"])
def test_a_table_that_is_not_of_this_journal_and_version_is_passed_over(
    stored: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    write_tables(stored)
    late = record("late", position=99)
    with Journal(stored) as journal:
        journal.append(late)
    if change != "journal":
        write_tables(stored)
        lines = (stored / JOURNAL).read_text().splitlines()
        assert (stored / JOURNAL).stat().st_size
        assert "late" in lines[-1]
    if change == "version":
        monkeypatch.setattr(attnbench, "__version__", "99.0")
        monkeypatch.setattr(store, "typed", lambda _: pytest.fail("another version's table was taken"))
    if change == "table":
        (stored / PARQUET).write_bytes(b"PAR1 damaged")
    assert "late" in set(read_run(stored).table["backend"])


def test_a_table_by_itself_is_read_with_the_environment_beside_it(stored: Path, tmp_path: Path) -> None:
    write_tables(stored)
    for name in (PARQUET, CSV):
        run = read_run(stored / name)
        assert len(run.table) == len(sample_records())
        assert run.environment["device_name"] == "Test Machine"
    (tmp_path / CSV).write_bytes((stored / CSV).read_bytes())
    assert read_run(tmp_path / CSV).environment == {}


def test_a_torn_last_line_is_passed_over(stored: Path) -> None:
    journal = stored / JOURNAL
    whole = journal.read_bytes()
    for cut in (1, 10, 200):
        journal.write_bytes(whole[:-cut])
        assert len(attnbench.load(stored)) == len(sample_records()) - 1


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("samples_ms", [1.0, 0.0], "samples_ms must be positive and finite"),
        ("samples_ms", [1.0, float("inf")], "samples_ms must be positive and finite"),
        ("samples_ms", [1.0, float("nan")], "samples_ms: not a number"),
        ("samples_ms", [1.0, "2"], "samples_ms: '2' is not of type float"),
        ("samples_ms", [], "a latency exists exactly when ok: ok with 0 samples"),
        ("reason", "because", "a reason exists exactly when not ok"),
        ("round", True, "round: True is not of type int"),
        ("ceilings", {"bytes_per_s": 0.0, "flops_per_s": 1.0}, "ceilings: ceilings must be positive and finite"),
        ("spent", {"timed_s": "long"}, "spent: timed_s: 'long' is not of type float"),
        ("colour", "red", "Record has no field 'colour'"),
        ("problem", None, "problem: None is not of type dict"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_line(stored: Path, field: str, value: object, said: str) -> None:
    first, *others = (stored / JOURNAL).read_text().splitlines(keepends=True)
    line = json.dumps({**json.loads(first), field: value}) + "\n"
    (stored / JOURNAL).write_text("".join([first, line, *others]))
    with pytest.raises(StoredRunError, match=rf"journal.jsonl:2: not a record: {re.escape(said)}") as caught:
        attnbench.load(stored)
    assert str(caught.value).endswith("; remove the line, and the rest can be read (--resume measures its cell again)")


@pytest.mark.parametrize("measure", ["[1]", "{processes: grouped}", "{processes: 0}", "{processes: true}"])
def test_a_suite_whose_number_of_processes_is_none_is_damaged(stored: Path, measure: str) -> None:
    (stored / "suite.yaml").write_text(f"name: sample\nmeasure: {measure}\n")
    with pytest.raises(StoredRunError, match=r"suite.yaml: measure.processes: .* is no number; the file is damaged"):
        read_run(stored)


def test_a_run_that_started_at_no_time_is_damaged(stored: Path) -> None:
    file = stored / "environment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"started_at": "yesterday"}))
    with pytest.raises(StoredRunError, match=r"environment.json:1: .*'yesterday' is not a time \(allowed: ISO"):
        read_run(stored)


def test_a_field_that_is_missing_is_named(stored: Path) -> None:
    data = json.loads((stored / "environment.json").read_text())
    del data["torch"]
    (stored / "environment.json").write_text(json.dumps(data))
    with pytest.raises(StoredRunError, match=r"environment.json:1: not an environment: Environment lacks torch; the"):
        attnbench.load(stored)


def test_the_fingerprint_is_made_of_the_environment_when_it_is_read(stored: Path) -> None:
    data = json.loads((stored / "environment.json").read_text())
    data["fingerprint"]["cores"] = 64
    (stored / "environment.json").write_text(json.dumps(data))
    assert read_run(stored).environment["fingerprint"]["cores"] == 2


def test_a_torn_middle_line_is_named(stored: Path) -> None:
    journal = stored / JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    lines[2] = lines[2][:50] + "\n"
    journal.write_text("".join(lines))
    with pytest.raises(
        StoredRunError, match=r"journal.jsonl:3: not a record; remove the line, and the rest can be read"
    ):
        attnbench.load(stored)


def test_a_journal_of_another_version_is_refused(stored: Path) -> None:
    journal = stored / JOURNAL
    journal.write_text(journal.read_text().replace('"schema_version":3', '"schema_version":4'))
    with pytest.raises(StoredRunError, match=r"journal.jsonl:1: written by a newer attnbench \(schema 4, this one"):
        attnbench.load(stored)
    journal.write_text(journal.read_text().replace('"schema_version":4', '"schema_version":1'))
    with pytest.raises(StoredRunError, match=r"journal.jsonl:1: written by an older attnbench \(schema 1, this one"):
        attnbench.load(stored)


def test_a_journal_line_that_contradicts_itself_is_named(stored: Path) -> None:
    journal = stored / JOURNAL
    journal.write_text(journal.read_text().replace('"status":"ok"', '"status":"fine"', 1))
    with pytest.raises(StoredRunError, match=r"journal.jsonl:1: not a record: status: 'fine' is not a valid Status"):
        attnbench.load(stored)


def test_a_newer_environment_is_refused(stored: Path) -> None:
    path = stored / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 9}))
    with pytest.raises(StoredRunError, match=r"environment.json:1: written by a newer attnbench \(schema 9"):
        attnbench.load(stored)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": null}', '{"schema_version": 3}', '{"a":\n[}'])
def test_a_damaged_environment_is_named(stored: Path, content: str) -> None:
    (stored / "environment.json").write_text(content)
    with pytest.raises(StoredRunError, match=r"environment.json:[12]: not an environment"):
        attnbench.load(stored)


def test_what_is_not_a_run_says_what_is_missing_and_what_is_near(stored: Path) -> None:
    with pytest.raises(
        StoredRunError, match=r"is not a run: it holds neither journal.jsonl nor table.csv; did you mean"
    ):
        read_run(stored.parent)
    empty = stored.parent / "empty"
    empty.mkdir()
    with pytest.raises(StoredRunError, match=r"empty is not a run: it holds neither journal.jsonl nor table.csv$"):
        read_run(empty)
    with pytest.raises(StoredRunError, match=r"empty holds no run; give run directories"):
        attnbench.load(empty)
    with pytest.raises(StoredRunError, match="does not exist"):
        attnbench.load(empty / "nothing")
    with pytest.raises(StoredRunError, match="is a file; give the run directory"):
        attnbench.load(stored / JOURNAL)


@pytest.mark.parametrize(("name", "content"), [(CSV, "a,b\n1,2\n"), (CSV, ""), (PARQUET, "not parquet")])
def test_a_table_that_is_none_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(StoredRunError, match="not a"):
        attnbench.load(tmp_path)


def test_a_table_cut_in_half_is_named_with_its_line(stored: Path) -> None:
    write_tables(stored)
    (stored / JOURNAL).unlink()
    (stored / PARQUET).unlink()
    text = (stored / CSV).read_text()
    (stored / CSV).write_text(text[: text.index("stage 1,sdpa,") + 60])
    with pytest.raises(StoredRunError, match=r"table.csv:3: status '' is not one of"):
        attnbench.load(stored)


def test_a_suite_of_a_run_that_is_not_text_is_named(stored: Path) -> None:
    (stored / "suite.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(StoredRunError, match=r"suite.yaml:1: not YAML"):
        attnbench.load(stored)


def test_an_impossible_problem_in_a_journal_is_named_with_its_line(stored: Path) -> None:
    journal = stored / JOURNAL
    journal.write_text(journal.read_text().replace('"window_height":7', '"window_height":700', 1))
    with pytest.raises(StoredRunError, match=r"journal.jsonl:1: not a record: window: 700x7 is larger than the map"):
        attnbench.load(stored)


def test_a_disk_that_takes_a_part_of_a_line_keeps_what_stood_before(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from attnbench.core.errors import LostOutputError; from attnbench.results.journal import Journal\n"
        "from tests.samples import record\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "with Journal(Path(sys.argv[1])) as journal:\n"
        "    journal.append(record()); size = journal._path.stat().st_size\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))\n"
        "    try: journal.append(record(round=1)); print('written')\n"
        "    except LostOutputError as error: print(error)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "    journal.append(record(round=2))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=True)
    assert "cannot be written: File too large; what it holds stays" in done.stdout
    assert [one.round for one in read_journal(tmp_path)] == [0, 2]


def test_an_empty_run_is_an_empty_table(store_run: Store) -> None:
    assert attnbench.load(store_run([])).empty


def test_every_line_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for number in range(3):
            journal.append(record(round=number))
            assert [one.round for one in read_journal(tmp_path)] == list(range(number + 1))


def test_a_full_disk_stops_with_one_sentence_and_leaves_what_was_written(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(record())
        kept = journal._file
        with (
            Path("/dev/full").open("wb", buffering=0) as journal._file,
            pytest.raises(LostOutputError, match="No space left on device; what it holds stays"),
        ):
            journal.append(record(round=1))
        journal._file = kept
    assert len(list(read_journal(tmp_path))) == 1


def test_the_baseline_is_the_suites(stored: Path) -> None:
    assert read_run(stored).baseline == "naive"
    (stored / "suite.yaml").write_text("backends: [sdpa]")
    assert read_run(stored).baseline == "sdpa"
    (stored / "suite.yaml").write_text("backends: [{name: sdpa, python: ../other, label: other}, naive]")
    assert read_run(stored).baseline == "other"
    (stored / "suite.yaml").write_text("backends: [{name: sdpa, python: ../other}, naive]")
    assert read_run(stored).baseline == "sdpa"
    (stored / "suite.yaml").unlink()
    assert read_run(stored).baseline is None


@pytest.mark.parametrize("name", [JOURNAL, ENVIRONMENT, SUITE, PARQUET])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(stored: Path, name: str) -> None:
    (stored / name).unlink(missing_ok=True)
    os.mkfifo(stored / name)
    if name == PARQUET:
        assert not read_run(stored).table.empty
    else:
        with pytest.raises(StoredRunError, match=rf"{name} cannot be read: it is no ordinary file"):
            read_run(stored)
    assert list_runs(stored.parent)


@pytest.mark.parametrize("backends", ["5", "{a: 1}", "[[sdpa]]"])
def test_a_suite_whose_backends_are_no_names_is_damaged(stored: Path, backends: str) -> None:
    (stored / SUITE).write_text(f"name: s\nbackends: {backends}\n")
    with pytest.raises(StoredRunError, match="is no name; the file is damaged"):
        read_run(stored)


@pytest.mark.parametrize("started", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-05:00", "soon"])
def test_a_run_that_started_beyond_the_calendar_is_listed_all_the_same(stored: Path, started: str) -> None:
    environment = json.loads((stored / ENVIRONMENT).read_text())
    (stored / ENVIRONMENT).write_text(json.dumps({**environment, "started_at": started}))
    assert [one.path for one in list_runs(stored.parent)] == [stored]
    (stored / ENVIRONMENT).write_text("[" * 100_000)
    assert [one.path for one in list_runs(stored.parent)] == [stored]
