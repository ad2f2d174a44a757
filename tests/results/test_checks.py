"""What is read back is checked: tables edited by hand, records that do not belong, labels that look like numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from attnbench.core.errors import StoredRunError
from attnbench.core.record import Status
from attnbench.results import baselines
from attnbench.results.journal import JOURNAL, Journal
from attnbench.results.places import CSV, PARQUET
from attnbench.results.store import read_run, write_tables
from tests.comparison.test_runs import store
from tests.conftest import Cli
from tests.samples import failed, problem, record

SUITE = """\
name: sample
backends: [naive, sdpa]
cases:
  - {name: one, batch: 2, resolution: 14, window: 7, heads: 2}
  - {name: two, batch: 4, resolution: 14, window: 7, heads: 2}
"""
LABELS = [
    "01",
    "1e5",
    "null",
    "TRUE",
    "nan",
    "NA",
    "-",
    "1_000",
    "0x10",
    "a,b",
    'say "x"',
    "=1+1",
    "a;b",
    "é 漢",
    "a|b",
]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A run of a suite with two cases and two backends."""
    problems = {"one": problem(), "two": problem(batch=4)}
    records = [
        record(backend, case, problem=found) for case, found in problems.items() for backend in ("naive", "sdpa")
    ]
    path = store(tmp_path / "stored", [replace(one, cells=4) for one in records])
    (path / "suite.yaml").write_text(SUITE)
    return path


def test_a_table_edited_by_hand_is_ignored_where_the_journal_is(stored: Path) -> None:
    write_tables(stored)
    true = read_run(stored).table
    for keeps_attributes in (False, True):
        frame = pd.read_parquet(stored / PARQUET)
        attributes = frame.attrs
        frame["latency_ms"] /= 10
        frame.attrs = attributes if keeps_attributes else {}
        frame.to_parquet(stored / PARQUET)
        pd.testing.assert_frame_equal(read_run(stored).table, true)
        pd.testing.assert_frame_equal(read_run(stored / PARQUET).table, true)
        write_tables(stored)
    (stored / CSV).write_text((stored / CSV).read_text().replace("sdpa", "swin"))
    pd.testing.assert_frame_equal(read_run(stored / CSV).table, true)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("latency_ms", 0.2, "latency_ms is 0.2 and the mean of process_latencies_ms 2"),
        ("latency_ms", -2.0, "latency_ms is -2"),
        ("latency_ms", float("inf"), "latency_ms is inf"),
        ("latency_ms", 0.0, "latency_ms is 0"),
        ("latency_ms", None, "latency_ms"),
        ("process_latencies_ms", "0:x", "process_latencies_ms is '0:x'"),
        ("process_latencies_ms", "", "process_latencies_ms is ''"),
        ("processes", 7, "processes is 7 and there are 1"),
        ("images_per_s", 1.0, "images_per_s is 1 and latency_ms 2"),
        ("peak_bytes", -1, "peak_bytes is -1"),
        ("status", "oom", "and the status oom"),
        ("status", "fine", "status 'fine' is not one of ok, unavailable"),
        ("latency_low_ms", 3.0, "outside of its interval"),
        ("batch", "four", "not a table"),
        ("case", "two", "stands twice"),
    ],
)
def test_a_table_by_itself_must_agree_with_itself(stored: Path, column: str, value: Any, said: str) -> None:
    write_tables(stored)
    (stored / JOURNAL).unlink()
    (stored / PARQUET).unlink()
    frame = pd.read_csv(stored / CSV, dtype=str, keep_default_na=False)
    row = 1 if column != "case" else 0
    frame.loc[row, column] = "" if value is None else str(value)
    if column == "case":
        frame.loc[row, "batch"] = "4"
        frame.loc[row, "images_per_s"] = ""
    frame.to_csv(stored / CSV, index=False)
    with pytest.raises(StoredRunError) as caught:
        read_run(stored)
    assert said in str(caught.value)
    assert str(stored / CSV) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"device": "cuda:0"}, "measured on cuda:0, and the run on cpu"),
        ({"case": "three"}, "in the place of sdpa on 'one'"),
        ({"backend": "swin"}, "in the place of sdpa on 'one'"),
        ({"position": 0}, "stands in line 1 already"),
        ({"position": 9}, "its suite has no such cell"),
        ({"problem": {**problem().to_json(), "batch": 8}}, "of another problem than its case"),
        ({"peak_bytes": -1}, "peak_bytes is -1 (allowed: 0 or more, below 2^63)"),
        ({"peak_bytes": 10**30}, "(allowed: 0 or more, below 2^63)"),
        ({"round": 7}, "of process 8, and its suite asks for"),
        ({"samples_ms": [5e-324]}, "samples_ms must be positive"),
        ({"turns": [2, -1]}, "a turn of -1 samples"),
        ({"conditions": {"wall_s": 1.0, "load_before": 0.0, "load_after": 0.0, "cores": 0}}, "0 cores, 1 threads"),
        ({"peak_bytes": True}, "peak_bytes: True is not of type int"),
        ({"samples_ms": [True, 2.0]}, "samples_ms: True is not of type float"),
        ({"samples_ms": [-1.0]}, "samples_ms must be positive"),
        ({"samples_ms": []}, "a latency exists exactly when ok"),
        ({"turns": [1, 1]}, "turns of 2 samples"),
        ({"round": -1}, "round is -1"),
        ({"max_error": -0.5}, "max_error is -0.5"),
        ({"status": "fine"}, "'fine' is not a valid Status"),
        ({"reason": "x"}, "a reason exists exactly when not ok"),
        ({"surprise": 1}, "has no field 'surprise'"),
    ],
)
def test_a_record_that_does_not_belong_is_refused_with_its_line(
    stored: Path, change: dict[str, Any], said: str
) -> None:
    lines = (stored / JOURNAL).read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **change})
    (stored / JOURNAL).write_text("\n".join(lines) + "\n")
    with pytest.raises(StoredRunError) as caught:
        read_run(stored)
    assert str(caught.value).startswith(f"{stored / JOURNAL}:2: ")
    assert said in str(caught.value)


def test_a_backend_that_computes_another_pattern_belongs(stored: Path) -> None:
    lines = [json.loads(line) for line in (stored / JOURNAL).read_text().splitlines()]
    lines[1]["problem"]["pattern"] = "shifted"
    (stored / JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(read_run(stored).table) == 4


@pytest.mark.parametrize("machine", ["../../x", "/tmp/x", "a/b", "", "..", "A b"])
def test_a_machine_that_is_no_name_becomes_no_path(stored: Path, cli: Cli, machine: str) -> None:
    file = stored / "environment.json"
    file.write_text(file.read_text().replace('"test-machine"', json.dumps(machine)))
    write = cli("baseline", "save", str(stored), check=2)
    assert "environment.json: machine " in write.stderr
    assert not Path("baselines").exists()


@pytest.mark.parametrize("label", LABELS)
def test_labels_are_text_in_every_store(tmp_path: Path, cli: Cli, label: str) -> None:
    records = [record("naive", label, round=number) for number in range(2)]
    records = [replace(one, position=0) for one in records] + [replace(failed(label, Status.OOM, label), case=label)]
    path = tmp_path / "run"
    store(path, records, positions={(label, "naive"): 0, (label, label): 1})
    write_tables(path)
    assert read_run(path).table["case"].tolist() == [label, label]
    entry, _ = baselines.save(read_run(path), tmp_path / "kept", "main", keep=3)
    again = read_run(entry).table
    assert (again["case"].tolist(), again["backend"].tolist()) == ([label, label], ["naive", label])
    assert again["reason"].tolist() == ["", label]
    (path / JOURNAL).unlink()
    assert read_run(path).table["backend"].tolist() == ["naive", label]
    shown = json.loads(cli("show", str(path), "--format", "json", check=0).stdout)
    assert [cell["case"] for cell in shown["cells"]] == [label, label]


def test_a_side_of_pairs_that_was_resumed_may_hold_a_cell_again_and_the_last_counts(stored: Path) -> None:
    (stored.parent / "pairs.json").write_text("{}")
    with Journal(stored) as again:
        again.append(replace(record("naive", "one", latency_ms=4.0), position=0))
    assert read_run(stored).table["latency_ms"].iloc[0] == pytest.approx(4.0, rel=0.01)


def test_a_resumed_run_may_have_a_torn_line_and_stays_readable(stored: Path) -> None:
    with (stored / JOURNAL).open("a") as journal:
        journal.write('{"schema_version": 3, "case": "on')
    assert len(read_run(stored).table) == 4
    with Journal(stored) as again:
        again.append(record("naive", "one", round=1))
    assert read_run(stored).table["processes"].tolist() == [2, 1, 1, 1]


def test_half_a_character_in_a_stored_suite_is_damage(stored: Path) -> None:
    (stored / "suite.yaml").write_text(SUITE.replace("name: sample", 'name: sample\ndescription: "\\ud800"'))
    with pytest.raises(StoredRunError, match=r"suite\.yaml:1: not YAML"):
        read_run(stored)
