"""Nothing is lost, and nothing measured twice: runs killed at any moment, full disks, and what may be resumed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from filelock import FileLock

import attnbench
from attnbench.backends import registry
from attnbench.core.protocol import Turned
from attnbench.results.journal import JOURNAL, Journal, read_journal
from attnbench.run import lock
from attnbench.run.child_process import WorkerDied
from attnbench.run.directory import never_started
from attnbench.run.events import Entered, Stage
from attnbench.run.runner import open_run
from attnbench.suite.expansion import load_suite
from tests import stand_in
from tests.conftest import TESTS, Cli
from tests.stand_in import START_WITH

SUITE = """\
name: s
device: cpu
backends: [naive, sdpa, sdpa_math]
sweep: {resolution: [14, 28, 56], window: 7, heads: [1, 2, 3]}
measure: {processes: 3, max_time_s: 0.01, timeout_s: 20}
"""
CELLS, BLOCKS = 27, 3
REAL_SUITE = """\
name: s
device: cpu
backends: [naive, sdpa]
sweep: {resolution: 14, window: 7, heads: [1, 2, 3, 4, 5]}
measure: {processes: 1, max_time_s: 0.1, timeout_s: 60}
"""
BACKENDS, REAL_CELLS = 2, 10
REAL = "from attnbench.cli import main; main()"
Key = tuple[str, str, int]


@pytest.fixture
def run_here(cli_here: Cli, tmp_path: Path) -> Cli:
    """Runs ``attnbench run`` in this process, on the suite."""
    (tmp_path / "s.yaml").write_text(SUITE)

    def run(*options: str, check: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        return cli_here("run", "s.yaml", *options, check=check, **environment)

    return run


def start(
    directory: Path, *options: str, code: str = START_WITH, suite: str = SUITE, turn_s: float = 0.0
) -> subprocess.Popen[str]:
    """A parent that is a process, to be killed, interrupted or limited."""
    (directory / "s.yaml").write_text(suite)
    (directory / "stand_in.json").write_text(json.dumps({"turn_s": turn_s}))
    return subprocess.Popen(
        [sys.executable, "-c", code, "run", "s.yaml", *options],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    return stderr


def keys(out: Path) -> Counter[Key]:
    return Counter((one.case, one.backend, one.round) for one in read_journal(out))


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not found():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def statuses(out: Path) -> set[str]:
    return set(attnbench.load(out)["status"])


# --- killed at random moments


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_parent_killed_at_random_moments_measures_every_cell_once(tmp_path: Path, seed: int) -> None:
    out, moments, finished, kills = tmp_path / "out", random.Random(seed), False, 3
    while kills > 0 or not finished:
        option = "--resume"
        if not (out / JOURNAL).exists():
            option = "--resume" if never_started(out) else "--output"  # killed before there was anything to keep
        process = start(tmp_path, option, "out", turn_s=0.01)
        try:
            stderr = process.communicate(timeout=moments.uniform(0.5, 3.0) if kills else 60)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills, finished = kills - 1, False
            continue
        assert process.returncode == 0, stderr
        assert len(keys(out)) == CELLS * BLOCKS, "none is lost"
        assert set(keys(out).values()) == {1}, "none is measured twice"
        assert statuses(out) == {"ok"}
        assert (out / "table.parquet").exists()
        shutil.rmtree(out)
        finished = True


def processes_of(parent: psutil.Process, role: str) -> list[psutil.Process]:
    """The judge, the starters or the participants of a run: a parent's children are reapers, each with a child."""
    found = [child for reaper in parent.children() for child in reaper.children()]
    if role == "participant":
        return [fork for process in found if "starter" in process.cmdline() for fork in process.children()]
    return [process for process in found if role in process.cmdline()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kills",
    [
        [(Stage.PREPARE, "participant"), (Stage.SAMPLE, "participant"), (Stage.SAMPLE, "judge")],
        pytest.param(
            [(Stage.PREPARE, "starter"), (Stage.SAMPLE, "starter")],
        ),
    ],
    ids=lambda kills: " ".join(dict.fromkeys(role for _, role in kills)),
)
def test_whoever_is_killed_in_whatever_stage_costs_no_cell(tmp_path: Path, kills: list[tuple[Stage, str]]) -> None:
    moments, out, due = random.Random(1), tmp_path / "out", list(kills)
    (tmp_path / "s.yaml").write_text(REAL_SUITE)
    cases = f"sweep.heads={list(range(1, len(kills) + 1))}"  # killed twice, a cell counts as crashed: one kill a case
    suite = load_suite(tmp_path / "s.yaml", known_backends=registry.names(), overrides=[cases])
    with open_run(suite, output=out) as session:
        disturbed = None
        for event in session.measure(session.rounds):
            if not (due and isinstance(event, Entered) and event.stage is due[0][0] and event.cell.case != disturbed):
                continue
            moments.choice(processes_of(psutil.Process(), due.pop(0)[1])).kill()
            disturbed = event.cell.case
    assert not due
    assert set(keys(out).values()) == {1}
    assert len(keys(out)) == len(kills) * BACKENDS
    assert statuses(out) == {"ok"}


@pytest.mark.slow
def test_participants_killed_at_random_moments_cost_no_cell(tmp_path: Path) -> None:
    moments, out, kills, due = random.Random(1), tmp_path / "out", 0, 1
    process = start(tmp_path, "--output", "out", code=REAL, suite=REAL_SUITE)
    wait_for((out / JOURNAL).exists, process)
    while process.poll() is None:
        time.sleep(moments.uniform(0.0, 0.3))
        if len(keys(out)) < due:
            continue
        with contextlib.suppress(psutil.Error):
            if there := processes_of(psutil.Process(process.pid), "participant"):
                moments.choice(there).kill()
                kills += 1
                due = len(keys(out)) + 2 * BACKENDS  # killed twice, a cell counts as crashed
    finish(process)
    assert kills >= 2
    assert set(keys(out).values()) == {1}
    assert len(keys(out)) == REAL_CELLS
    assert statuses(out) == {"ok"}, "a cell whose process was killed is tried once more"


DIES_ONCE = """\
import os
from pathlib import Path
from attnbench.backends.sdpa import Sdpa as Mine
if not Path("died").exists():
    Path("died").touch()
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_a_participant_killed_while_it_loads_its_backend_is_started_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kernels.py").write_text(DIES_ONCE)
    (tmp_path / "s.yaml").write_text(REAL_SUITE)
    overrides = ["sweep.heads=1", "backends=['kernels:Mine']"]
    with open_run(load_suite("s.yaml", known_backends=[], overrides=overrides), output=Path("out")) as session:
        for _ in session.measure(session.rounds):
            pass
    assert statuses(tmp_path / "out") == {"ok"}


@pytest.mark.slow
def test_the_real_processes_killed_with_their_parent_leave_a_run_to_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    suite = REAL_SUITE.replace("[1, 2, 3, 4, 5]", "[1, 2]")
    process = start(tmp_path, "--output", "out", code=REAL, suite=suite)
    wait_for(lambda: (out / JOURNAL).exists() and keys(out), process)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive, "nothing that a run started outlives it"
    assert not list(temporary.iterdir()), "inputs and references lie in memory that goes with their processes"
    done = len(keys(out))
    resumed = finish(start(tmp_path, "--resume", "out", code=REAL, suite=suite))
    assert f"resuming out: {done} records kept" in resumed
    assert len(keys(out)) == 2 * BACKENDS
    assert set(keys(out).values()) == {1}
    assert statuses(out) == {"ok"}


def test_a_cell_that_is_sampled_once_more_leaves_no_file_open(
    run_here: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_turn, kills = stand_in._Participant._turn, [1]

    def killed_once(self: stand_in._Participant, budget_s: float) -> Turned:
        if kills:
            kills.pop()
            raise WorkerDied("its process was killed by SIGKILL", killed=True)
        return take_turn(self, budget_s)

    run_here("--output", "undisturbed", "--quick")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    monkeypatch.setattr(stand_in._Participant, "_turn", killed_once)
    run_here("--output", "out", "--quick")
    assert not kills
    assert statuses(tmp_path / "out") == {"ok"}
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


# --- resumed, or not


def test_resuming_does_what_is_missing_and_says_what_it_skips(run_here: Cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_here("--output", "out")
    lines = (out / JOURNAL).read_bytes().splitlines(keepends=True)
    (out / JOURNAL).write_bytes(b"".join(lines[:30]) + lines[30][:100])
    environment = json.loads((out / "environment.json").read_text()) | {"started_at": "2025-01-01T00:00:00+00:00"}
    (out / "environment.json").write_text(json.dumps(environment))
    stderr = run_here("--resume", "out").stderr
    assert "resuming out: 30 records kept" in stderr
    assert "27 of 27 cells (27 ok)" in stderr
    assert (out / JOURNAL).read_bytes().splitlines(keepends=True)[:30] == lines[:30]
    assert len(keys(out)) == CELLS * BLOCKS
    assert json.loads((out / "environment.json").read_text())["started_at"] == environment["started_at"]
    assert "resuming out: 81 records kept" in run_here("--resume", "out").stderr


def test_a_cell_that_failed_is_not_tried_again(run_here: Cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_here("--output", "out")
    first, *_ = (out / JOURNAL).read_text().splitlines()
    gone = {
        **json.loads(first),
        "status": "crashed",
        "reason": "gone",
        "samples_ms": [],
        "turns": [],
        "calls": 0,
        "mean_ms": None,
    }
    (out / JOURNAL).write_text(json.dumps(gone) + "\n")
    stderr = run_here("--resume", "out", check=1).stderr
    assert "1 failed cell not tried again" in stderr
    assert len(keys(out)) == (CELLS - 1) * BLOCKS + 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "measure.processes=5"), "measure.processes was 3 and is 5"),
        (("--quick",), "measure.processes was 3 and is 1"),
        (("--set", "measure.allocator=system"), "measure.allocator was steady and is system"),
        (("--set", "measure.hung_timeout_s=1"), "measure.hung_timeout_s was 10.0 and is 1"),
        (("--backend", "naive"), "backends was naive, sdpa, sdpa_math and is naive"),
        pytest.param(
            ("--backend", "naive", "--backend", "sdpa", "--backend", "sdpa_math=sdpa"),
            "was naive, sdpa, sdpa_math and is naive, sdpa, sdpa_math=sdpa",
        ),
        (("--set", "name=t"), "name was s and is t"),
        (("--set", "sweep.heads=[1, 2, 4]"), "the case was b1 14x14 w7 h3 float32 and is b1 14x14 w7 h4 float32"),
        (("--set", "sweep.heads=[1, 2]"), "the case was"),
        (("--set", "sweep.padding=masked"), "and is b1 14x14 w7 h1 float32 masked"),
    ],
)
def test_another_suite_is_not_gone_on_with(run_here: Cli, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    out = tmp_path / "out"
    run_here("--output", "out")
    before = (out / JOURNAL).read_bytes()
    stderr = run_here("--resume", "out", *options, check=2).stderr
    assert said in stderr
    assert "give the suite as it was (out/suite.yaml), or measure again" in stderr
    assert (out / JOURNAL).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cores": 64}, "cores was 64 and is 2"),
        ({"torch": "2.12.0"}, "torch was 2.12.0 and is 2.13.0"),
        ({"allocator": "steady"}, "allocator was steady and is system"),
        ({"participants": {"fa2": "flash_attn torch 2.12.0 python 3.12.1"}}, "labels was fa2=flash_attn and is "),
        (
            {"packages": {"torch": "2.13.0", "xformers": "0.0.35"}},
            "packages was xformers 0.0.35 and is xformers absent",
        ),
    ],
)
def test_another_machine_or_another_torch_does_not_go_on(
    run_here: Cli, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    out = tmp_path / "out"
    run_here("--output", "out")
    environment = json.loads((out / "environment.json").read_text())
    (out / "environment.json").write_text(json.dumps(environment | change))
    assert said in run_here("--resume", "out", check=4).stderr


def test_what_is_not_a_run_cannot_be_resumed(run_here: Cli, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    assert "--resume out: there is no journal.jsonl" in run_here("--resume", "out", check=2).stderr
    assert "not a directory that exists" in run_here("--resume", "nowhere", check=2).stderr
    assert "leave out --output" in run_here("--resume", "out", "--output", "other", check=2).stderr
    assert "give one" in run_here("--quick", "--rigorous", check=2).stderr


@pytest.mark.parametrize(("option", "processes"), [("--quick", 1), ("--rigorous", 10)])
def test_quick_and_rigorous_choose_the_blocks(run_here: Cli, tmp_path: Path, option: str, processes: int) -> None:
    run_here("--output", "out", option)
    assert set(attnbench.load(tmp_path / "out")["processes"]) == {processes}


# --- where it is written


def test_a_full_disk_ends_the_run_with_one_sentence_and_what_was_journalled_stays(
    cli_here: Cli, tmp_path: Path
) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000)); " + START_WITH
    stderr = finish(start(tmp_path, "--output", "out", code=limited), code=3)
    last = stderr.splitlines()[-1]
    assert last.startswith("attnbench: out/journal.jsonl cannot be written: File too large; what it holds stays")
    assert last.endswith("resume with --resume out")
    assert 0 < len(attnbench.load(tmp_path / "out")) <= CELLS
    cli_here("run", "s.yaml", "--resume", "out", check=0)
    assert len(keys(tmp_path / "out")) == CELLS * BLOCKS


@pytest.mark.slow
def test_a_full_file_system_is_no_different(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    (tmp_path / "out").mkdir()
    run = f"{sys.executable} -c '{START_WITH.replace(chr(39), chr(34))}' run s.yaml --output out"
    script = f"mount -t tmpfs -o size=32k none out && {{ {run}; echo exit $?; cp out/journal.jsonl kept.jsonl; }}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "exit" not in done.stdout:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr}")
    assert done.stdout.splitlines()[-1] == "exit 3", done.stderr
    assert "attnbench: out/journal.jsonl cannot be written: No space left on device" in done.stderr
    (tmp_path / "out" / JOURNAL).write_bytes((tmp_path / "kept.jsonl").read_bytes())
    assert len(keys(tmp_path / "out")) > 3


def test_one_journal_has_one_writer(run_here: Cli, tmp_path: Path) -> None:
    run_here("--output", "out")
    with Journal(tmp_path / "out"):
        stderr = run_here("--resume", "out", check=2).stderr
    assert "out/journal.jsonl is being written by another run" in stderr


def test_a_directory_that_is_removed_ends_the_run_with_one_sentence(
    run_here: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(_: object) -> None:
        if (tmp_path / "out").exists() and len(keys(tmp_path / "out")) > CELLS:
            shutil.rmtree(tmp_path / "out")

    monkeypatch.setattr(stand_in, "_note", remove)
    stderr = run_here("--output", "out", check=3).stderr
    assert "out/journal.jsonl was removed while the run wrote to it" in stderr


# --- one run at a time on a device

Waiting = Callable[[Callable[[], None]], None]


@pytest.fixture
def while_waiting(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    """Does something as soon as a run waits for a device."""

    def install(do: Callable[[], None]) -> None:
        monkeypatch.setattr(lock, "time", SimpleNamespace(sleep=lambda _: do()))

    return install


@pytest.fixture
def held(tmp_path: Path) -> Iterator[FileLock]:
    """The lock of the CPU, held by somebody."""
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / "cpu.lock") as lock_of_cpu:
        yield lock_of_cpu


def test_whoever_waited_for_a_device_looks_again_where_it_writes(
    run_here: Cli, tmp_path: Path, held: FileLock, while_waiting: Waiting
) -> None:
    def use_it_and_leave() -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "file").touch()
        held.release()

    while_waiting(use_it_and_leave)
    stderr = run_here("--output", "out", "--wait", check=2).stderr
    assert "; waiting\n" in stderr
    assert "out exists and is not empty" in stderr


@pytest.mark.usefixtures("held")
def test_an_interrupt_ends_the_wait_for_a_device(run_here: Cli, while_waiting: Waiting) -> None:
    while_waiting(lambda: os.kill(os.getpid(), signal.SIGINT))
    assert "interrupted before anything was measured" in run_here("--output", "out", "--wait", check=3).stderr


@pytest.mark.usefixtures("held")
def test_the_lock_is_the_systems_own(run_here: Cli) -> None:
    assert "cpu is in use by another run" in run_here("--output", "out", check=3).stderr


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that has the device, and is stopped."""
    (tmp_path / "first").mkdir()
    process = start(tmp_path / "first", "--output", "out", turn_s=0.02)
    wait_for(lambda: list((tmp_path / "locks").glob("*.holder")), process)
    process.send_signal(signal.SIGSTOP)
    with process:
        yield process
        process.kill()


def test_a_second_run_on_a_device_is_refused_by_name_or_waits(
    run_here: Cli, tmp_path: Path, holder: subprocess.Popen[str], while_waiting: Waiting
) -> None:
    stderr = run_here("--output", "refused", check=3).stderr
    assert f"cpu is in use by attnbench run s (process {holder.pid} of " in stderr
    assert "let it finish, or wait for it with --wait" in stderr
    assert not (tmp_path / "refused" / JOURNAL).exists()

    def let_it_finish() -> None:
        holder.send_signal(signal.SIGCONT)
        finish(holder)

    while_waiting(let_it_finish)
    stderr = run_here("--output", "waited", "--wait").stderr
    assert f"cpu is in use by attnbench run s (process {holder.pid} of " in stderr
    assert len(keys(tmp_path / "waited")) == CELLS * BLOCKS


def test_a_lock_whose_holder_was_killed_is_free(run_here: Cli, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    run_here("--output", "out")


def test_without_a_place_for_locks_there_is_one_sentence(
    run_here: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ATTNBENCH_LOCKS", str(tmp_path / "file"))
    stderr = run_here("--output", "out", check=2).stderr
    assert "cannot be locked" in stderr
    assert "name another directory in ATTNBENCH_LOCKS" in stderr
