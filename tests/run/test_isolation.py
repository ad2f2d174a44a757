"""Backends that cheat or harm: what happens to them, and that nobody beside them notices."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

import attnbench
from attnbench.results.journal import read_journal
from tests.conftest import TESTS, Cli

pytestmark = pytest.mark.slow

MEASURE = "measure: {processes: 1, max_time_s: 0.2, timeout_s: 20}\n"
CASES = (
    "  - {name: windows, batch: 2, resolution: 28, window: 7, heads: 2, scope: windows}\n"
    "  - {name: map, batch: 2, resolution: 28, window: 7, heads: 2}\n"
)


def suite(tmp_path: Path, *backends: str, cases: str = CASES, measure: str = MEASURE) -> None:
    names = ", ".join(f"'{name}'" for name in backends)
    (tmp_path / "s.yaml").write_text(f"name: s\ndevice: cpu\nbackends: [{names}]\ncases:\n{cases}{measure}")


def found(frame: pd.DataFrame) -> dict[tuple[str, str], tuple[str, str]]:
    return {(row["case"], row["backend"]): (row["status"], row["reason"]) for row in frame.to_dict("records")}


CHEATS = {
    "RemembersByAddress": ("wrong_result error", ""),
    "RemembersByAFewValues": ("wrong_result", "it remembers what it gave"),
    "KnowsHowInputsVary": ("wrong_result", "it remembers what it gave"),
    "ComputesLater": ("wrong_result", "output is of type _Lazy (allowed: a plain torch.Tensor)"),
    "ComputesNothingWhenTimed": ("wrong_result", "right when it was checked, but when it was timed output is off by"),
    "SkipsNowAndThen": ("wrong_result", "output is off by"),
    "ComputesOnlyTheLastOfALoop": ("wrong_result", "output is off by"),
    "GivesGarbageOnNewValues": ("wrong_result", "on new values output is off by"),
    "SlowsOurClockForAMoment": ("wrong_result", "in which it did nothing else"),
    "SlowsTheClock": ("wrong_result", "it replaced time.perf_counter_ns, by which it is measured"),
    "SlowsOurClock": ("wrong_result", "it replaced attnbench.worker.timing._now_ns, by which it is measured"),
    "SlowsOurClockUnseen": ("wrong_result timeout", ""),
    "ShortensLoops": ("wrong_result", "it replaced builtins.range, by which it is measured"),
    "LetsItsChildAnswer": ("wrong_result", "its clock is slow"),
    "HasItFilledLater": ("wrong_result", "on new values output is off by"),
    "WaitsBesideItsOwnThreads": ("wrong_result error", ""),
    "WorksInAnotherThread": ("wrong_result error", ""),
    "WritesGarbageToItsParent": ("crashed", "it wrote on the line to attnbench what is no message"),
    "WritesItsOwnAnswer": ("crashed wrong_result", ""),
    "ClosesEverything": ("crashed", ""),
    "KillsItsStarter": ("crashed", "its starter is gone"),
    "ReasonCannotBeTold": ("error", "its text cannot be had"),
    "ReasonIsHuge": ("error", "RuntimeError: first"),
}


@pytest.mark.timeout(400)
def test_no_cheat_is_ok_and_what_was_seen_is_told(cli: Cli, tmp_path: Path) -> None:
    cases = CASES.splitlines(keepends=True)[0]
    suite(tmp_path, "naive", *(f"cheats:{name}" for name in CHEATS), "sdpa", cases=cases)
    cli("run", "s.yaml", "--output", "out", check=1)
    cells = found(attnbench.load(tmp_path / "out"))
    assert cells["windows", "naive"] == cells["windows", "sdpa"] == ("ok", "")
    for name, (statuses, said) in CHEATS.items():
        status, reason = cells["windows", f"cheats:{name}"]
        assert status in statuses.split(), (name, status, reason)
        assert said in reason, (name, reason)
        assert reason.isprintable()
        assert len(reason) <= 2000


def test_what_others_set_replace_or_leave_is_nobody_elses(cli: Cli, tmp_path: Path) -> None:
    harmful = ("ReplacesSdpa", "LeavesAFunctionMode", "SetsTf32", "ClearsItsWorld", "LeavesADaemon")
    measure = MEASURE.replace("processes: 1", "processes: 2")
    suite(tmp_path, *(f"cheats:{name}" for name in harmful), "cheats:Honest", "sdpa", "naive", measure=measure)
    cli("run", "s.yaml", "--output", "out", check=0)
    frame = attnbench.load(tmp_path / "out").set_index(["case", "backend"])
    assert set(frame["status"]) == {"ok"}
    latency_ms = frame["latency_ms"]
    for case in ("windows", "map"):
        assert latency_ms[case, "cheats:ReplacesSdpa"] > 3 * latency_ms[case, "sdpa"], "its own row shows what it does"
        assert latency_ms[case, "cheats:LeavesAFunctionMode"] > 1.5 * latency_ms[case, "cheats:Honest"]
    daemons = (tmp_path / "daemons").read_text().split()
    assert daemons
    assert not any(psutil.pid_exists(int(pid)) for pid in daemons)


def test_threads_that_a_runtime_keeps_spinning_for_a_while_are_no_cheat_where_several_are_allowed(
    cli: Cli, tmp_path: Path
) -> None:
    cases = CASES.splitlines(keepends=True)[0]
    measure = MEASURE.replace("processes: 1", "processes: 1, threads: 2")
    suite(tmp_path, "cheats:SpinsForAWhile", "naive", cases=cases, measure=measure)
    cli("run", "s.yaml", "--output", "out", check=0)
    cells = found(attnbench.load(tmp_path / "out"))
    assert set(cells.values()) == {("ok", "")}, cells


def start(tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "attnbench", "run", "s.yaml", "--output", "out"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(path: Path) -> int:
    deadline = time.monotonic() + 100
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.02)
    return int(path.read_text().split()[-1])


def test_a_process_that_was_stopped_is_flagged_and_its_turn_taken_again(tmp_path: Path) -> None:
    measure = MEASURE.replace("0.2", "3").replace("20}", "60}")
    suite(tmp_path, "cheats:Waits", "naive", cases=CASES.splitlines(keepends=True)[0], measure=measure)
    with start(tmp_path) as process:
        stopped = wait_for(tmp_path / "waiting")
        time.sleep(1.5)
        for _ in range(3):
            os.kill(stopped, signal.SIGSTOP)
            time.sleep(0.7)
            os.kill(stopped, signal.SIGCONT)
            time.sleep(0.2)
        _, stderr = process.communicate(timeout=100)
    assert process.returncode == 0, stderr
    frame = attnbench.load(tmp_path / "out").set_index("backend")
    assert set(frame["status"]) == {"ok"}
    assert "interrupted" in frame["flags"]["cheats:Waits"]
    (record,) = [one for one in read_journal(tmp_path / "out") if one.backend == "cheats:Waits"]
    assert max(record.samples_ms) < 500, "no sample holds the time it was stopped"


def test_one_that_stops_itself_for_good_does_not_stop_the_run(cli: Cli, tmp_path: Path) -> None:
    measure = MEASURE.replace("timeout_s: 20", "timeout_s: 3, prepare_timeout_s: 2")
    suite(tmp_path, "cheats:StopsItself", "naive", cases=CASES.splitlines(keepends=True)[0], measure=measure)
    cli("run", "s.yaml", "--output", "out", check=0)
    cells = found(attnbench.load(tmp_path / "out"))
    assert cells["windows", "naive"] == ("ok", "")
    status, reason = cells["windows", "cheats:StopsItself"]
    assert status == "timeout"
    assert "of which it was stopped" in reason


def test_one_that_hung_in_two_cases_gets_a_short_deadline_in_the_others(cli: Cli, tmp_path: Path) -> None:
    cases = "  - {resolution: 14, window: 7, heads: [1, 2, 3, 4]}\n"
    measure = MEASURE.replace("timeout_s: 20", "timeout_s: 20, prepare_timeout_s: 3, hung_timeout_s: 0.5")
    suite(tmp_path, "cheats:Hangs", "naive", cases=cases, measure=measure)
    cli("run", "s.yaml", "--output", "out", check=0)
    frame = attnbench.load(tmp_path / "out")
    reasons = sorted(frame[frame["backend"] == "cheats:Hangs"]["reason"])
    assert reasons == [
        *2 * ["stage prepare took longer than 0.5 s (hung_timeout_s: it timed out in 2 cases before)"],
        *2 * ["stage prepare took longer than 3 s (prepare_timeout_s)"],
    ]
    assert set(frame[frame["backend"] == "naive"]["status"]) == {"ok"}


def test_where_a_fork_is_not_safe_participants_are_fresh_interpreters(tmp_path: Path) -> None:
    suite(tmp_path, "naive", "cheats:Honest", cases=CASES.splitlines(keepends=True)[0])
    # A second thread, which a fork would not have, and whose locks nobody would ever release there.
    site = tmp_path / "site"
    site.mkdir()
    thread = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    (site / "sitecustomize.py").write_text(thread)
    path = os.pathsep.join(map(str, (site, TESTS.parent, TESTS)))
    done = subprocess.run(
        [sys.executable, "-m", "attnbench", "run", "s.yaml", "--output", "out"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(attnbench.load(tmp_path / "out")["status"]) == {"ok"}
