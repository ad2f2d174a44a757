"""Whole runs through real worker processes: what works, and what survives backends that do not."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

import attnbench
from attnbench.results.journal import read_journal
from attnbench.results.store import read_run
from tests import stand_in
from tests.conftest import TESTS, Cli

CASE = "{name: one, batch: 1, resolution: 14, window: 7, heads: 2}"
QUICK = "measure: {processes: 1, max_time_s: 0.01, timeout_s: 20}\n"


@pytest.fixture
def run(cli: Cli, tmp_path: Path) -> object:
    def run_suite(
        *backends: str, cases: str = CASE, measure: str = QUICK, check: int | None = None, **environment: str
    ) -> pd.DataFrame:
        names = ", ".join(f"'{backend}'" for backend in backends)
        (tmp_path / "s.yaml").write_text(f"name: s\ndevice: cpu\nbackends: [{names}]\ncases:\n  - {cases}\n{measure}")
        done = cli("run", "s.yaml", "--output", "out", check=check, **environment)
        run_suite.stdout, run_suite.stderr = done.stdout, done.stderr  # type: ignore[attr-defined]
        frame = attnbench.load(tmp_path / "out")
        if check is None:
            defective = bool(set(frame["status"]) & {"wrong_result", "error", "crashed"})
            assert done.returncode == (1 if defective else 0 if "ok" in set(frame["status"]) else 3), done.stderr
        return frame

    return run_suite


def by_backend(frame: pd.DataFrame) -> dict[str, tuple[str, str]]:
    return {row["backend"].removeprefix("faults:"): (row["status"], row["reason"]) for row in frame.to_dict("records")}


# Each fault with the status it must get and a part of its reason.
FAULTS = {
    "Raises": ("error", "RuntimeError: no kernel for (4, 49, 3, 2, 32) (faults.py:"),
    "RaisesUnpicklable": ("error", "LocalError: local"),
    "RaisesInPrepare": ("error", "ValueError: cannot be prepared"),
    "Segfaults": ("crashed", "in stage prepare, its process was killed by SIGSEGV: Fatal Python error: Segmentation"),
    "Aborts": ("crashed", "in stage prepare, its process was killed by SIGABRT: Fatal Python error: Aborted"),
    "Exits": ("crashed", "in stage prepare, its process exited with code 7"),
    "Leaves": ("crashed", "in stage prepare, its process exited with code 1: I leave"),
    "DiesWhenAskedAboutAProblem": ("crashed", "in stage reference, its process exited with code 4"),
    "ForksAndDies": ("crashed", "in stage prepare, its process exited with code 3"),
    "Allocates": ("oom", "RuntimeError: [enforce fail at alloc_cpu.cpp"),
    "AllocatesWithoutEnd": ("oom", "RuntimeError: [enforce fail at alloc_cpu.cpp"),
    "Poisons": ("error", "RuntimeError: CUDA error: an illegal memory access was encountered (faults.py:"),
    "PoisonsLater": ("error", "RuntimeError: CUDA error"),
    "GivesItsInput": ("wrong_result", "output is off by"),
    "WrongResult": ("wrong_result", "output is off by"),
    "WrongShape": ("wrong_result", "output of shape (4, 49, 64) (allowed: (4, 49, 2, 32))"),
    "LosesAWindow": ("wrong_result", "output of shape (3, 49, 2, 32) (allowed: (4, 49, 2, 32))"),
    "TakesThreads": ("error", "it set torch's CPU threads to 2 (allowed: 1, measure.threads)"),
    "WrongDtype": ("wrong_result", "output of dtype torch.float64 (allowed: float32)"),
    "NotANumber": ("wrong_result", "output holds NaN, which the float64 reference does not"),
    "NotATensor": ("wrong_result", "output is of type NoneType (allowed: a plain torch.Tensor)"),
    "WrongLater": ("wrong_result", "right when it was checked, but when it was timed output is off by"),
    "RemembersFirst": ("wrong_result", "for a second input, output is off by"),
    "ReusesOutput": ("wrong_result", "the first output changed when the function was called again"),
    "ModifiesInputLater": ("wrong_result", "the input was modified in place"),
    "GivesText": ("error", "TypeError: GivesText.unsupported gave 'masks', not a list of reasons"),
    "ModifiesInput": ("wrong_result", "the input was modified in place"),
    "Unavailable": ("unavailable", "faults are not installed: pip install [faults]"),
    "AvailabilityRaises": ("unavailable", "raised OSError: libcudart.so.99: cannot open shared object file"),
    "LeavesWhenAsked": ("unavailable", "while it was asked, its process exited with code 9"),
    "Unsupported": ("unsupported", "heads 2 (allowed: 0); never"),
    "GivesNoReason": ("unsupported", "it gave no reason"),
}


def test_every_fault_costs_its_own_cell_and_no_other_and_nothing_is_left_running(run: object, tmp_path: Path) -> None:
    names = [f"faults:{name}" for name in (*FAULTS, "LeavesAProcess")]
    frame = run(
        "naive", *names, "faults:Prints", "faults:Right", cases=CASE.replace("heads: 2", "heads: 2, scope: windows")
    )  # type: ignore[operator]
    found = by_backend(frame)
    for name, (status, reason) in FAULTS.items():
        assert found[name][0] == status, (name, found[name])
        assert reason in found[name][1], (name, found[name])
        assert "\n" not in found[name][1]
    assert {found[name] for name in ("naive", "Prints", "Right", "LeavesAProcess")} == {("ok", "")}
    left = (tmp_path / "left").read_text().split()
    assert left
    assert not any(map(_alive, left))
    assert frame.loc[frame["status"] != "ok", "latency_ms"].isna().all()
    assert "yyy" not in " ".join(reason for _, reason in found.values()), "what another cell printed"
    assert "xxx" not in run.stdout + run.stderr  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_backends_of_a_case_are_sampled_in_turn(run: object, tmp_path: Path) -> None:
    names = ("faults:NotesTurn", "tests.faults:NotesTurn", "faults:DiesInThirdSample", "naive")
    measure = QUICK.replace("0.01", "0.8")
    frame = run(*names, measure=measure)  # type: ignore[operator]
    assert dict(zip(frame["backend"], frame["status"], strict=True)) == {
        "faults:NotesTurn": "ok",
        "tests.faults:NotesTurn": "ok",
        "faults:DiesInThirdSample": "crashed",
        "naive": "ok",
    }
    turns_taken = [turn for turn, _ in itertools.groupby((tmp_path / "turns").read_text().split())]
    # Preparing and checking come first; from then on the two alternate.
    assert len(turns_taken) > 20


@pytest.mark.slow
def test_a_leak_costs_the_leaking_cell_alone(run: object) -> None:
    two = f"{CASE}\n  - {CASE.replace('one', 'two').replace('heads: 2', 'heads: 3')}"
    measure = QUICK.replace("0.01", "0.3")
    frame = run("naive", "faults:LeaksMemory", "sdpa", cases=two, measure=measure)  # type: ignore[operator]
    assert dict(frame.groupby("backend")["status"].unique().map(list)) == {
        "naive": ["ok"], "faults:LeaksMemory": ["oom"], "sdpa": ["ok"],
    }  # fmt: skip


@pytest.mark.slow
def test_whom_the_system_kills_for_memory_ran_out_of_memory(run: object) -> None:
    group = Path(f"/sys/fs/cgroup/memory/attnbench-test-{os.getpid()}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(2**28))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        frame = run("naive", "faults:MeetsTheKillersLimit", FAULTS_CONTROL_GROUP=str(group))  # type: ignore[operator]
    finally:
        group.rmdir()
    found = by_backend(frame)
    assert found["naive"][0] == "ok"
    status, reason = found["MeetsTheKillersLimit"]
    assert status == "oom"
    assert reason == "in stage prepare, the system killed its process, because memory ran out"


@pytest.mark.slow
def test_a_sample_that_never_ends_is_given_up_long_before_the_cells_deadline(run: object) -> None:
    measure = "measure: {processes: 1, max_time_s: 1, timeout_s: 200}\n"
    found = by_backend(run("naive", "faults:HangsInSample", measure=measure))  # type: ignore[operator]
    assert found["naive"][0] == "ok"
    assert found["HangsInSample"][0] == "timeout"
    assert found["HangsInSample"][1].startswith("stage sample took longer than 10 s (20 x what it took before")


@pytest.mark.slow
def test_graphs_on_a_cpu_are_a_mistake_in_the_suite_with_its_line(cli: Cli, tmp_path: Path) -> None:
    graphs = QUICK.replace("processes: 1", "launch: graph")
    (tmp_path / "s.yaml").write_text(f"name: s\ndevice: cpu\nbackends: [naive]\ncases:\n  - {CASE}\n{graphs}")
    stderr = cli("run", "s.yaml", check=2).stderr
    assert stderr == "attnbench: s.yaml:6: measure.launch graph: there are no CUDA graphs on cpu (allowed: eager)\n"


@pytest.mark.slow
def test_switches_that_a_backend_sets_are_its_own(run: object, tmp_path: Path) -> None:
    names = ("naive", "faults:SwitchesKernels", "faults:NotesSwitches", "sdpa")
    frame = run(*names, measure=QUICK.replace("processes: 1", "processes: 2"))  # type: ignore[operator]
    assert set(frame["status"]) == {"ok"}
    assert set((tmp_path / "switches").read_text().splitlines()) == {"(True, torch.float32, 1)"}


@pytest.mark.slow
def test_a_thread_left_at_work_costs_its_own_cell(run: object) -> None:
    found = by_backend(run("naive", "faults:LeavesAThread", measure=QUICK.replace("0.01", "0.3")))  # type: ignore[operator]
    assert found["naive"] == ("ok", "")
    # Where the thread is descheduled while it is looked for, the CPU time in or between the turns gives it away.
    status, reason = found["LeavesAThread"]
    assert status in ("error", "wrong_result")
    assert "still at work" in reason or "of CPU time in turns" in reason


@pytest.mark.slow
def test_a_wrong_gradient_is_found_in_training(run: object) -> None:
    case = CASE.replace("heads: 2", "heads: 2, mode: forward_backward")
    found = by_backend(run("naive", "faults:WrongGradient", cases=case))  # type: ignore[operator]
    assert found["WrongGradient"][0] == "wrong_result"
    assert found["WrongGradient"][1].startswith("gradient of input is off by")


@pytest.mark.slow
def test_hanging_ends_at_the_deadline_of_its_stage(run: object) -> None:
    measure = "measure: {processes: 1, max_time_s: 0.01, timeout_s: 3, prepare_timeout_s: 3}\n"
    names = ("faults:Hangs", "faults:HangsInPrepare", "faults:HangsLater", "faults:HangsInC", "naive")
    found = by_backend(run(*names, measure=measure))  # type: ignore[operator]
    assert found["Hangs"] == ("timeout", "stage prepare took longer than 3 s (prepare_timeout_s)")
    assert found["HangsInC"] == ("timeout", "stage prepare took longer than 3 s (prepare_timeout_s)")
    assert found["HangsInPrepare"] == ("timeout", "stage prepare took longer than 3 s (prepare_timeout_s)")
    assert found["HangsLater"] == ("timeout", "stage measure took longer than 3 s (timeout_s)")
    assert found["naive"][0] == "ok"


@pytest.mark.slow
def test_a_cell_that_fails_in_a_later_round_is_told_and_the_counting_goes_on(run: object) -> None:
    measure = QUICK.replace("processes: 1", "processes: 3")
    frame = run("naive", "faults:RaisesLater", measure=measure)  # type: ignore[operator]
    assert dict(zip(frame["backend"], frame["status"], strict=True)) == {"naive": "ok", "faults:RaisesLater": "error"}
    lines = run.stderr.splitlines()  # type: ignore[attr-defined]
    assert [line.partition("]")[0] for line in lines[1:4]] == ["[2/6", "[4/6", "[6/6"]
    assert "one (round 2): fastest naive" in lines[2]
    assert lines[2].partition(" ms, ")[2].startswith("1 ok, 1 error")
    assert lines[3].partition(" ms, ")[2].startswith("1 ok; ")


@pytest.mark.slow
def test_a_run_where_nothing_could_be_measured_ends_with_3(run: object) -> None:
    frame = run("faults:Raises", "faults:Unavailable", check=3)  # type: ignore[operator]
    assert set(frame["status"]) == {"error", "unavailable"}


def test_a_run_leaves_everything_that_was_measured(run: object, tmp_path: Path) -> None:
    began = time.monotonic()
    frame = run("naive", "swin", measure=QUICK.replace("processes: 1", "processes: 2"))  # type: ignore[operator]
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "journal.jsonl", "environment.json", "suite.yaml", "table.parquet", "table.csv",
    }  # fmt: skip
    records = list(read_journal(out))
    assert Counter((record.backend, record.round) for record in records) == {
        (backend, process): 1 for backend in ("naive", "swin") for process in (0, 1)
    }
    assert all(len(record.samples_ms) >= 3 and record.peak_bytes and record.kernel for record in records)
    assert set(frame["processes"]) == {2}
    assert dict(zip(frame["backend"], frame["pattern"], strict=True)) == {"naive": "grouped", "swin": "shifted"}
    described = json.loads((out / "environment.json").read_text())
    assert described["threads"] == 1
    assert described["packages"]["torch"]
    assert described["fingerprint"]["cores"] == described["cores"]
    assert set(described["ceilings"]) == {"float32"}
    assert all(one["bytes_per_s"] > 1e8 for one in described["ceilings"]["float32"])
    assert (frame["roofline_fraction"] > 0).all()
    assert "processes: 2" in (out / "suite.yaml").read_text()
    spent = sum(sum(vars(record.spent).values()) for record in records)
    assert 0 < spent < time.monotonic() - began, "no second is counted twice"
    assert sum(record.spent.ceilings_s > 0.01 for record in records) == 2, "once in every process"
    assert read_run(out).baseline == "naive"


def test_stdout_is_the_table_and_stderr_the_rest(cli_here: Cli, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"name: s\ndevice: cpu\nbackends: [naive, sdpa]\ncases:\n  - {CASE}\n{QUICK}")
    done = cli_here("run", "s.yaml", "--output", "out", check=0)
    assert done.stdout.startswith("s, ")
    assert "vs naive" in done.stdout
    lines = done.stderr.splitlines()
    assert lines[0] == "writing to out"
    assert lines[1].startswith("[2/2] one: fastest ")
    assert lines[2].startswith("2 of 2 cells (2 ok); timed ")
    assert "starting processes" in lines[2]
    assert lines[3].startswith("Use ")
    assert lines[4] == "out"


def test_without_an_output_the_directory_names_suite_and_machine(cli_here: Cli, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"name: named\ndevice: cpu\nbackends: [naive]\ncases:\n  - {CASE}\n{QUICK}")
    directory = Path(cli_here("run", "s.yaml", check=0).stderr.splitlines()[-1])
    results, suite, machine, time_and_id = directory.parts
    assert (results, suite) == ("results", "named")
    assert machine == json.loads((tmp_path / directory / "environment.json").read_text())["machine"]
    assert time_and_id[8:9] == "T"


@pytest.mark.slow
def test_a_module_in_the_working_directory_is_a_backend(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from faults import Right as Mine\n")
    (tmp_path / "s.yaml").write_text(f"name: s\ndevice: cpu\nbackends: [naive]\ncases:\n  - {CASE}\n{QUICK}")
    done = cli("run", "s.yaml", "--backend", "naive", "--backend", "mine:Mine", "--output", "out", check=0)
    assert "mine:Mine" in done.stdout


@pytest.mark.slow
def test_a_backend_of_the_whole_map_runs_at_map_and_layer(run: object) -> None:
    cases = "{resolution: 14, window: 7, heads: 2, scope: [map, windows, layer]}"
    frame = run("naive", "faults:OnMap", cases=cases)  # type: ignore[operator]
    on_map = frame[frame["backend"] == "faults:OnMap"]
    assert dict(zip(on_map["scope"], on_map["status"], strict=True)) == {
        "map": "ok", "windows": "unsupported", "layer": "ok",
    }  # fmt: skip


def test_python_gets_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stand_in.use(monkeypatch)
    Path("s.yaml").write_text(f"name: s\ndevice: cpu\nbackends: [naive]\ncases:\n  - {CASE}\n{QUICK}")
    frame = attnbench.run("s.yaml", output="out")
    pd.testing.assert_frame_equal(frame, attnbench.load("out"))
    assert list(frame["status"]) == ["ok"]


@pytest.mark.slow
def test_an_interrupted_run_is_no_table_in_python(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        f"name: s\ndevice: cpu\nbackends: ['faults:Slow', naive]\ncases:\n  - {CASE}\n{QUICK}"
    )
    code = (
        "import attnbench, os, signal, threading, time\n"
        "def interrupt():\n"
        "    while not os.path.exists('started'): time.sleep(0.02)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Thread(target=interrupt, daemon=True).start()\n"
        "try: attnbench.run('s.yaml', output='out'); print('finished')\n"
        "except KeyboardInterrupt as error: print(error)\n"
    )
    slow = (tmp_path / "s.yaml").read_text().replace("max_time_s: 0.01", "max_time_s: 10")
    (tmp_path / "s.yaml").write_text(slow)
    environment = {
        **os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "FAULTS_STARTED": str(tmp_path / "started"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "the run was interrupted; what was measured is in out\n", done.stderr


@pytest.mark.slow
def test_interrupts_are_heard_while_a_worker_starts(tmp_path: Path) -> None:
    (tmp_path / "slow_import.py").write_text(
        "import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(3600)\n"
    )
    with _start(tmp_path, "'slow_import:Mine'") as process:
        _wait_for(tmp_path / "importing")
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3
    assert stderr.splitlines() == [
        "stopping after the case at work; once more stops at once",
        "attnbench: interrupted before anything was measured",
    ]


@pytest.mark.slow
def test_the_workers_attnbench_is_the_parents(tmp_path: Path) -> None:
    other = tmp_path / "other" / "attnbench"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise ImportError('the wrong attnbench')\n")
    code = f"import sys; sys.path.insert(0, {str(TESTS.parent)!r}); from attnbench.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "backends", "--device", "cpu"],
        cwd=tmp_path / "other",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "other")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _start(tmp_path: Path, backends: str, cases: str = CASE) -> subprocess.Popen[str]:
    (tmp_path / "s.yaml").write_text(
        f"name: s\ndevice: cpu\nbackends: [{backends}]\ncases:\n  - {cases}\n"
        "measure: {processes: 1, max_time_s: 2, timeout_s: 60}\n"
    )
    environment = {
        **os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "FAULTS_STARTED": str(tmp_path / "started"),
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "attnbench", "run", "s.yaml", "--output", "out"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.02)


@pytest.mark.slow
def test_one_interrupt_finishes_the_case_and_writes_the_tables(tmp_path: Path) -> None:
    two = f"{CASE}\n  - {CASE.replace('one', 'two').replace('heads: 2', 'heads: 3')}"
    with _start(tmp_path, "'faults:Slow', naive, 'faults:Unavailable'", cases=two) as process:
        _wait_for(tmp_path / "started")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 3, stderr
    assert "stopping after the case at work; once more stops at once" in stderr
    assert "interrupted: 4 of 6 cells" in stderr
    assert "4 of 6 cells: the run was interrupted (--resume continues it)." in stdout
    frame = attnbench.load(tmp_path / "out")
    assert sorted(frame["status"]) == ["ok", "ok", "unavailable", "unavailable"]
    assert (tmp_path / "out" / "table.parquet").exists()


@pytest.mark.slow
def test_a_second_interrupt_gives_up_the_cell_at_work(tmp_path: Path) -> None:
    with _start(tmp_path, "'faults:Slow', 'faults:Unavailable'") as process:
        _wait_for(tmp_path / "started")
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3, stderr
    assert "interrupted: 1 of 2 cells (1 unavailable)" in stderr
    assert "Traceback" not in stderr
    assert list(attnbench.load(tmp_path / "out")["status"]) == ["unavailable"]


@pytest.mark.slow
def test_a_killed_parent_takes_its_worker_along_and_leaves_a_readable_run(tmp_path: Path) -> None:
    with _start(tmp_path, "'faults:LeavesAProcess', 'faults:Slow', 'faults:Unavailable'") as process:
        _wait_for(tmp_path / "started")
        _wait_for(tmp_path / "left")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2, "the reapers of the judge and of the starter"
        children += (tmp_path / "left").read_text().split()
        process.kill()
        process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while any(_alive(child) for child in children):
        assert time.monotonic() < deadline, "something outlived the parent"
        time.sleep(0.05)
    assert list(attnbench.load(tmp_path / "out")["status"]) == ["unavailable"]


def _alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_terminal_sees_a_bar_with_the_cell_at_work_and_the_time_left(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        f"name: s\ndevice: cpu\nbackends: [naive, 'faults:Raises', sdpa]\ncases:\n  - {CASE}\n{QUICK}"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "attnbench", "run", "s.yaml", "--output", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes any more
            while chunk := os.read(ours, 4096):
                seen += chunk
    os.close(ours)
    text = seen.decode()
    assert process.returncode == 1, text
    assert "3/3" in text
    assert "one, " in text
    assert " s left" in text
    assert "one, faults:Raises: error: RuntimeError: no kernel for (4," in text
