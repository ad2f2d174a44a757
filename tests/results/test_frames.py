"""Runs as data frames: provenance, speed-ups, samples, and what a notebook shows."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

import attnbench
from attnbench.core.errors import StoredRunError, UsageError
from attnbench.core.record import Record
from attnbench.results.frames import PROVENANCE, SPEED_UP
from attnbench.results.store import write_tables
from attnbench.results.table import COLUMNS
from tests import stand_in
from tests.samples import problem, record

Store = Callable[[Sequence[Record]], Path]


@pytest.fixture
def other(stored: Path) -> Path:
    """A later run of the same suite."""
    copy = stored.parent / "other"
    shutil.copytree(stored, copy)
    environment = json.loads((copy / "environment.json").read_text())
    (copy / "environment.json").write_text(json.dumps({**environment, "started_at": "2026-02-02T03:04:05+00:00"}))
    return copy


def test_completion_in_a_notebook_offers_what_the_package_has() -> None:
    assert {"load", "run", "samples", "best"} <= set(dir(attnbench))
    for name in dir(attnbench):
        assert getattr(attnbench, name)


def test_looking_at_the_package_imports_nothing_heavy() -> None:
    code = "import sys, attnbench; dir(attnbench); print({'torch', 'pandas'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_rows_say_where_they_come_from(stored: Path, other: Path) -> None:
    frame = attnbench.load([stored, str(other)])
    assert list(frame.columns) == [*COLUMNS, *SPEED_UP, *PROVENANCE]
    assert set(frame["run"]) == {str(stored), str(other)}
    assert set(frame["machine"]) == {"test-machine"}
    assert set(frame["device_name"]) == {"Test Machine"}
    assert set(frame["torch"]) == {"2.13.0"}
    assert len(set(frame["started_at"])) == 2


def test_a_directory_of_runs_is_loaded_oldest_first(stored: Path, other: Path) -> None:
    frame = attnbench.load(stored.parent)
    assert list(dict.fromkeys(frame["run"])) == [str(stored), str(other)]


def test_a_run_that_is_damaged_is_left_out_with_a_warning(stored: Path, other: Path) -> None:
    (other / "environment.json").write_text("{")
    with pytest.warns(UserWarning, match="Left out, because it cannot be read"):
        frame = attnbench.load(stored.parent)
    assert set(frame["run"]) == {str(stored)}


def test_no_path_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="there is no path"):
        attnbench.load([])


def test_speed_ups_are_columns_inside_one_function(store_run: Store) -> None:
    records = [
        one
        for number, factor in enumerate((1.0, 2.0, 1.1))
        for one in (
            record("naive", latency_ms=2.0 * factor, position=0, round=number),
            record("sdpa", latency_ms=1.0 * factor, position=1, round=number),
            record("swin", latency_ms=1.0 * factor, position=2, round=number, problem=problem(pattern="shifted")),
        )
    ]
    frame = attnbench.load(store_run(records)).set_index("backend")
    assert set(frame["baseline"]) == {"naive"}
    assert frame["speed_up"]["sdpa"] == pytest.approx(2.0)
    assert frame["speed_up_low"]["sdpa"] == pytest.approx(2.0)
    assert frame["speed_up"]["naive"] == 1.0
    assert pd.isna(frame["speed_up_low"]["naive"])
    assert pd.isna(frame["speed_up"]["swin"])


def test_samples_are_a_row_each(stored: Path) -> None:
    frame = attnbench.samples(stored)
    assert list(frame.columns) == ["run", "case", "backend", "round", "turn", "sample", "ms"]
    one = frame[(frame["case"] == "stage 1") & (frame["backend"] == "naive")]
    assert len(one) == 20
    assert one["ms"].min() == 2.0
    assert "flash_attn" not in set(frame["backend"])


def test_a_table_alone_has_no_samples_and_says_so(stored: Path) -> None:
    write_tables(stored)
    (stored / "journal.jsonl").unlink()
    with pytest.raises(StoredRunError, match=r"has no samples: they are in journal\.jsonl"):
        attnbench.samples(stored)


def test_a_notebook_shows_a_short_table_and_what_is_made_of_it_is_a_plain_frame(stored: Path) -> None:
    frame = attnbench.load(stored)
    html = frame._repr_html_()  # type: ignore[operator]
    for name in ("case", "backend", "latency_ms", "speed_up", "flags", "peak MiB"):
        assert f"<th>{name}</th>" in html
    assert "<th>tokens_per_s</th>" not in html
    assert "NA" not in html
    assert type(frame.head()) is pd.DataFrame
    assert type(frame[frame["status"] == "ok"]) is pd.DataFrame
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(frame)), frame)
    frame["case"] = "<script>"
    assert "<script>" not in frame._repr_html_()  # type: ignore[operator]


def test_latest_is_the_newest_run_below_results(
    stored: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoredRunError, match="latest: there is no run below results"):
        attnbench.load("latest")
    for place in (stored, other):
        (tmp_path / "results" / "s" / "m").mkdir(parents=True, exist_ok=True)
        place.rename(tmp_path / "results" / "s" / "m" / place.name)
    assert set(attnbench.load("latest")["run"]) == {"results/s/m/other"}


def test_a_suite_may_be_a_dict_with_other_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stand_in.use(monkeypatch)
    suite = {
        "name": "mine",
        "backends": ["naive", "sdpa"],
        "cases": [{"resolution": 14, "window": 7, "heads": 1}],
        "measure": {"processes": 3, "max_time_s": 0.01},
    }
    seen: list[object] = []
    frame = attnbench.run(suite, device="cpu", measure={"processes": 2}, progress=seen.append)
    assert set(frame["processes"]) == {2}
    assert seen
    assert Path(frame["run"][0]).is_dir()
    stored = (Path(frame["run"][0]) / "suite.yaml").read_text()
    assert "max_time_s: 0.01" in stored
    changed = attnbench.run(suite, tmp_path / "out", backends=["sdpa"], measure={"processes": 1})
    assert set(changed["backend"]) == {"sdpa"}


def test_progress_prints_a_line_per_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    stand_in.use(monkeypatch)
    suite = {"name": "mine", "backends": ["naive"], "cases": [{"resolution": 14, "window": 7, "heads": 1}]}
    attnbench.run(suite, progress=True, measure={"processes": 1})
    assert "naive, round 1: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"measure": {"processes": 0}}, "dict:[0-9]+: measure.processes: 0"),
        ({"colour": "red"}, "colour"),
        ({"name": object()}, "not plain data"),
    ],
)
def test_a_mistake_in_python_is_one_sentence(overrides: dict[str, object], sentence: str) -> None:
    suite: dict[str, object] = {"name": "mine", "cases": [{"resolution": 14, "window": 7, "heads": 1}]}
    with pytest.raises(UsageError, match=sentence):
        attnbench.run({**suite, **overrides})


def test_an_override_in_python_is_checked_as_a_suite_is() -> None:
    suite = {"name": "mine", "cases": [{"resolution": 14, "window": 7, "heads": 1}]}
    with pytest.raises(UsageError, match=r"measure\.processes: 0 is not allowed|measure\.processes"):
        attnbench.run(suite, measure={"processes": 0})
