"""Baselines as files: kept by name and fingerprint, read as a history, safe where several jobs save at once."""

from __future__ import annotations

import csv
import io
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from attnbench.comparison.selection import select
from attnbench.core.errors import NotComparableError, OutputError, StoredRunError, UsageError
from attnbench.core.record import Status
from attnbench.results import baselines
from attnbench.results.store import StoredRun, find_runs, read_run
from tests.comparison.test_runs import candidate, history, store
from tests.conftest import Cli
from tests.samples import failed, record


def saved(tmp_path: Path, run: Path, *, name: str = "main", keep: int = 30) -> Path:
    return baselines.save(read_run(run), tmp_path / "kept", name, keep=keep)[0]


def started(day: int) -> dict[str, Any]:
    return {"started_at": f"2026-01-{day:02}T00:00:00+00:00"}


def test_what_is_saved_reads_as_the_run_it_was(tmp_path: Path) -> None:
    run = store(tmp_path / "run", [record(), record("sdpa", latency_ms=1.0, round=0)], **started(1))
    entry = saved(tmp_path, run)
    assert entry.relative_to(tmp_path / "kept").parts[0] == "main"
    assert entry.relative_to(tmp_path / "kept").parts[1].startswith("test-machine-")
    assert sorted(path.name for path in entry.iterdir()) == ["environment.json", "suite.yaml", "table.csv"]
    kept = read_run(entry)
    assert kept.table.to_csv() == read_run(run).table.to_csv()
    assert kept.environment == read_run(run).environment


def test_saving_a_run_twice_changes_nothing(tmp_path: Path) -> None:
    run = store(tmp_path / "run", [record()], **started(1))
    entry = saved(tmp_path, run)
    assert baselines.save(read_run(run), tmp_path / "kept", "main", keep=1) == (entry, True)
    assert len(find_runs(tmp_path / "kept").runs) == 1


def test_of_one_suite_and_machine_the_newest_stay(tmp_path: Path) -> None:
    for day in range(1, 6):
        saved(tmp_path, store(tmp_path / f"run {day}", [record()], **started(day)), keep=3)
    other = store(tmp_path / "elsewhere", [record()], cores=64, **started(1))
    saved(tmp_path, other, keep=3)
    found = baselines.entries(tmp_path / "kept")
    assert [(one.runs, one.oldest[:10], one.newest[:10]) for one in found if one.runs > 1] == [
        (3, "2026-01-03", "2026-01-05")
    ]
    assert len(found) == 2


def found(tmp_path: Path, candidate_run: Path, name: str = "main") -> list[StoredRun]:
    runs = baselines.history(tmp_path / "kept", name)
    return list(select(runs.runs, read_run(candidate_run), of=f"baseline {name}").runs)


def test_an_older_run_that_is_saved_late_stays(tmp_path: Path) -> None:
    saved(tmp_path, store(tmp_path / "new", [record()], **started(9)))
    late = saved(tmp_path, store(tmp_path / "old", [record()], **started(1)), keep=1)
    assert late.is_dir()
    assert len(find_runs(tmp_path / "kept").runs) == 1


def test_a_history_is_of_machines_like_the_candidates_and_never_of_itself(tmp_path: Path) -> None:
    for day in range(1, 4):
        saved(tmp_path, store(tmp_path / f"run {day}", [record()], **started(day)))
    saved(tmp_path, store(tmp_path / "elsewhere", [record()], cores=64, **started(9)))
    now = store(tmp_path / "now", [record()])
    days = [run.environment["started_at"][:10] for run in found(tmp_path, now)]
    assert days == ["2026-01-01", "2026-01-02", "2026-01-03"]
    saved(tmp_path, now)
    assert len(found(tmp_path, now)) == 3
    fingerprint_mismatch = store(tmp_path / "fingerprint_mismatch", [record()], threads=2)
    with pytest.raises(NotComparableError, match=r"the newest was not measured alike: .*threads 1 -> 2"):
        found(tmp_path, fingerprint_mismatch)
    other = store(tmp_path / "other", [record()])
    (other / "suite.yaml").write_text("name: other\n")
    with pytest.raises(NotComparableError, match="the newest is of suite sample, not suite other"):
        found(tmp_path, other)
    with pytest.raises(
        NotComparableError, match=r"there is no baseline nightly in .*kept .there: main.; attnbench baseline"
    ):
        found(tmp_path, now, name="nightly")


def test_many_jobs_save_into_one_directory_at_once_and_nothing_is_lost_or_half_written(tmp_path: Path) -> None:
    runs = [read_run(store(tmp_path / f"run {day}", [record()], **started(day))) for day in range(1, 17)]
    stop = threading.Event()
    broken: list[BaseException] = []

    def watch() -> None:
        while not stop.is_set():
            try:
                for entry in (tmp_path / "kept").glob("*/*/*"):
                    if not entry.name.endswith(".unfinished"):
                        assert len(list(entry.iterdir())) == 3 or not entry.exists()
            except FileNotFoundError:
                continue
            except BaseException as error:
                broken.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda run: baselines.save(run, tmp_path / "kept", "main", keep=99), [*runs, *runs]))
        list(pool.map(lambda run: baselines.save(run, tmp_path / "few", "main", keep=4), [*runs, *runs]))
    stop.set()
    watcher.join()
    assert not broken
    assert len(find_runs(tmp_path / "kept").runs) == len(runs)
    assert not list(tmp_path.glob("kept/**/*.unfinished"))
    assert 1 <= len(find_runs(tmp_path / "few").runs) <= 8  # each saw the others come and go


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run: (run / "environment.json").unlink(), "has no environment.json"),
        (lambda run: (run / "suite.yaml").unlink(), "has no suite.yaml"),
    ],
)
def test_a_run_that_nobody_could_compare_with_is_refused(tmp_path: Path, spoil: Any, said: str) -> None:
    run = store(tmp_path / "run", [record()])
    spoil(run)
    with pytest.raises(UsageError, match=said):
        saved(tmp_path, run)
    assert not (tmp_path / "kept").exists()


def test_a_run_without_a_latency_or_cut_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no latency"):
        saved(tmp_path, store(tmp_path / "a", [failed("naive", Status.OOM, "no room")]))
    with pytest.raises(UsageError, match="is incomplete: it has 1 of 2 cells"):
        saved(tmp_path, store(tmp_path / "b", [record(cells=2)]))
    with pytest.raises(UsageError, match=r"--name '\.\./up': not a name"):
        saved(tmp_path, store(tmp_path / "c", [record()]), name="../up")


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(OutputError, match="kept cannot be written: Not a directory; give another --directory"):
        saved(tmp_path, store(tmp_path / "run", [record()]))


def test_save_list_and_check_as_commands(tmp_path: Path, cli_here: Cli) -> None:
    for run in history(tmp_path, runs=6):
        assert cli_here("baseline", "save", str(run), "--name", "nightly", check=0).stdout.startswith(
            "baselines/nightly/"
        )
    listed = cli_here("baseline", "list", check=0).stdout
    assert "nightly" in listed
    rows = list(csv.DictReader(io.StringIO(cli_here("baseline", "list", "--format", "csv", check=0).stdout)))
    assert [(row["name"], row["runs"], row["suite"]) for row in rows] == [("nightly", "6", "sample")]
    assert json.loads(cli_here("baseline", "list", "--format", "json", check=0).stdout)["baselines"][0]["runs"] == 6
    candidate(tmp_path, slower=1.2)
    candidate(tmp_path, name="same")
    slow = cli_here("baseline", "check", "candidate", "--name", "nightly", "--export", "junit=j.xml", check=1)
    assert "case 3" in slow.stdout
    assert "<failure" in (tmp_path / "j.xml").read_text()
    cli_here("baseline", "check", "same", "--name", "nightly", check=0)
    # The directory is a directory of runs, too.
    assert "case 3" in cli_here("compare", "baselines/nightly", "candidate", check=1).stdout
    again = cli_here("baseline", "save", "base/0", "--name", "nightly", check=0)
    assert again.stderr == "base/0 was saved before; nothing changed\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("save", "nowhere"), 2, "nowhere does not exist"),
        (("save", "only", "--keep", "0"), 2, "--keep 0: no run would be left"),
        (("list", "--directory", "nowhere"), 2, "nowhere is not a directory that exists"),
        (("check", "only", "--name", "none"), 4, "there is no baseline none in baselines (there: main)"),
        (("check", "only"), 4, "holds no run that only can be compared with: it holds only this run"),
        (("check", "fingerprint_mismatch"), 4, "cores 2 -> 64"),
    ],
)
def test_mistakes_get_one_sentence(
    tmp_path: Path, cli_here: Cli, arguments: tuple[str, ...], code: int, said: str
) -> None:
    store(tmp_path / "only", [record()])
    store(tmp_path / "fingerprint_mismatch", [record()], cores=64)
    cli_here("baseline", "save", "only", check=0)
    stderr = cli_here("baseline", *arguments, check=code).stderr
    assert said in stderr
    assert len(stderr.splitlines()) == 1


def test_a_damaged_entry_is_named_and_one_that_another_job_removed_is_none(tmp_path: Path, cli_here: Cli) -> None:
    entry = saved(tmp_path, store(tmp_path / "run", [record()], **started(1)))
    store(tmp_path / "now", [record()])
    (entry / "table.csv").write_text("no table\n")
    done = cli_here("baseline", "check", "now", "--directory", "kept", check=2)
    assert done.stderr.count("\n") == 1
    assert f"{entry.relative_to(tmp_path)}/table.csv: not a run's table" in done.stderr
    other = store(tmp_path / "other", [record(latency_ms=2.1)], **started(2))
    saved(tmp_path, other)
    kept = baselines.history(tmp_path / "kept", "main")
    assert [run.path.parent for run in kept.runs] == [entry.parent]
    assert [note.partition(": ")[0] for note in kept.notes] == ["Left out, because it cannot be read"]
    with pytest.raises(StoredRunError, match="not a run's table"):
        baselines.entries(tmp_path / "kept")
    shutil.rmtree(saved(tmp_path, other))
    shutil.rmtree(entry)
    with pytest.raises(NotComparableError, match="it is empty"):
        found(tmp_path, tmp_path / "now")


def test_a_baseline_whose_environment_is_gone_is_listed_all_the_same(tmp_path: Path) -> None:
    entry = saved(tmp_path, store(tmp_path / "run", [record()], **started(1)))
    (entry / "environment.json").unlink()
    (found,) = baselines.entries(tmp_path / "kept")
    assert (found.runs, found.oldest, found.torch) == (1, "", "")
