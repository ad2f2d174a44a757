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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

import attnbench
from attnbench.journal import JOURNAL, Journal, read_journal
from tests.conftest import TESTS
from tests.worker_stand_in import START_WITH

SUITE = """\
name: s
device: cpu
backends: [naive, sdpa, sdpa_math]
sweep: {resolution: [14, 28, 56], window: 7, heads: [1, 2, 3]}
measure: {blocks: 3, max_time_s: 0.01, timeout_s: 20}
"""
CELLS, BLOCKS = 27, 3
Key = tuple[str, str, int]


def start(tmp_path: Path, *options: str, code: str = START_WITH, **environment: str) -> subprocess.Popen[str]:
    (tmp_path / "s.yaml").write_text(SUITE)
    return subprocess.Popen(
        [sys.executable, "-c", code, "run", "s.yaml", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    return stderr


def go_on(out: Path, *, code: str = START_WITH) -> subprocess.Popen[str]:
    """Start a run, or go on with what an earlier one left."""
    option = "--resume"
    if not (out / JOURNAL).exists():
        shutil.rmtree(out, ignore_errors=True)  # killed before there was anything to keep
        option = "--output"
    return start(out.parent, option, "out", code=code, ATTNBENCH_LOCKS=str(out.parent / "locks"))


def keys(out: Path) -> Counter[Key]:
    return Counter((one.case, one.backend, one.block) for one in read_journal(out))


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [child for child in process.children() if "tests.worker_stand_in" in " ".join(child.cmdline())]
    return []


@pytest.mark.timeout(900)
def test_a_parent_killed_at_random_moments_measures_every_cell_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:  # a process a core
        list(pool.map(lambda seed: _kill_parents(tmp_path / str(seed), seed=seed, kills=30), range(2)))


def _kill_parents(directory: Path, *, seed: int, kills: int) -> None:
    out, moments = directory / "out", random.Random(seed)
    directory.mkdir()
    began = time.monotonic()
    finish(go_on(out))
    whole_s, undisturbed = time.monotonic() - began, set(keys(out))
    shutil.rmtree(out)
    finished = False
    while kills > 0 or not finished:
        process = go_on(out)
        try:
            stderr = process.communicate(timeout=moments.uniform(0.1, 1.1) * whole_s if kills > 0 else 60)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills, finished = kills - 1, False
            continue
        assert process.returncode == 0, stderr
        found, finished = keys(out), True
        assert set(found) == undisturbed, "none is lost"
        assert set(found.values()) == {1}, "none is measured twice"
        assert set(attnbench.load(out)["status"]) == {"ok"}
        assert (out / "table.parquet").exists()
        shutil.rmtree(out)


def test_a_worker_killed_at_random_moments_costs_no_cell(tmp_path: Path) -> None:
    moments, kills, out = random.Random(1), 0, tmp_path / "out"
    while kills < 40:
        shutil.rmtree(out, ignore_errors=True)
        process = start(tmp_path, "--output", "out")
        parent = psutil.Process(process.pid)
        seen = 0
        while process.poll() is None:
            time.sleep(moments.uniform(0.02, 0.4))
            size = (out / JOURNAL).stat().st_size if (out / JOURNAL).exists() else 0
            for worker in workers_of(parent) if size > seen else []:  # never three times in a row while it starts
                worker.kill()
                kills += 1
            seen = size
        stderr = finish(process)
        found = keys(out)
        assert set(found.values()) == {1}
        assert len(found) == CELLS * BLOCKS, stderr
        assert set(attnbench.load(out)["status"]) == {"ok"}, "a cell whose worker was killed is tried once more"


@pytest.mark.timeout(600)
def test_the_real_worker_killed_with_its_parent_leaves_a_run_to_be_resumed(tmp_path: Path) -> None:
    moments, out = random.Random(2), tmp_path / "out"
    code = "from attnbench.cli import main; main()"
    for _ in range(6):
        process = go_on(out, code=code)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=moments.uniform(2, 6))
        process.kill()
        process.communicate()
    finish(go_on(out, code=code))
    found = keys(out)
    assert len(found) == CELLS * BLOCKS
    assert set(found.values()) == {1}
    assert set(attnbench.load(out)["status"]) == {"ok"}


def test_resuming_does_what_is_missing_and_says_what_it_skips(tmp_path: Path) -> None:
    out = tmp_path / "out"
    finish(start(tmp_path, "--output", "out"))
    lines = (out / JOURNAL).read_bytes().splitlines(keepends=True)
    (out / JOURNAL).write_bytes(b"".join(lines[:30]) + lines[30][:100])
    environment = json.loads((out / "environment.json").read_text()) | {"started_at": "2025-01-01T00:00:00+00:00"}
    (out / "environment.json").write_text(json.dumps(environment))
    stderr = finish(start(tmp_path, "--resume", "out"))
    assert "resuming out: 30 records are there and stay" in stderr
    assert "27 of 27 cells (27 ok)" in stderr
    assert (out / JOURNAL).read_bytes().splitlines(keepends=True)[:30] == lines[:30]
    assert len(keys(out)) == CELLS * BLOCKS
    assert json.loads((out / "environment.json").read_text())["started_at"] == environment["started_at"]
    stderr = finish(start(tmp_path, "--resume", "out"))
    assert "resuming out: 81 records are there and stay" in stderr


def test_a_cell_that_failed_is_not_tried_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    finish(start(tmp_path, "--output", "out"))
    first, *_ = (out / JOURNAL).read_text().splitlines()
    gone = {**json.loads(first), "status": "crashed", "reason": "gone", "samples_ms": []}
    (out / JOURNAL).write_text(json.dumps(gone) + "\n")
    stderr = finish(start(tmp_path, "--resume", "out"))
    assert "1 cells failed or could not run, and are not tried again" in stderr
    assert len(keys(out)) == (CELLS - 1) * BLOCKS + 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "measure.blocks=5"), "measure.blocks was 3 and is 5"),
        (("--quick",), "measure.blocks was 3 and is 1"),
        (("--backend", "naive"), "backends was naive, sdpa, sdpa_math and is naive"),
        (("--set", "name=t"), "name was s and is t"),
        (("--set", "sweep.heads=[1, 2, 4]"), "the case was b1 14x14 w7 h3 float32 and is b1 14x14 w7 h4 float32"),
        (("--set", "sweep.heads=[1, 2]"), "the case was"),
        (("--set", "sweep.padding=masked"), "and is b1 14x14 w7 h1 float32 masked"),
    ],
)
def test_another_suite_is_not_gone_on_with(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    out = tmp_path / "out"
    finish(start(tmp_path, "--output", "out"))
    before = (out / JOURNAL).read_bytes()
    stderr = finish(start(tmp_path, "--resume", "out", *options), code=2)
    assert said in stderr
    assert "give the suite as it was (out/suite.yaml), or run anew" in stderr
    assert (out / JOURNAL).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cores": 64}, "cores was 64 and is 2"),
        ({"torch": "2.12.0"}, "torch was 2.12.0 and is 2.13.0"),
        (
            {"packages": {"torch": "2.13.0", "xformers": "0.0.35"}},
            "packages was xformers 0.0.35 and is xformers absent",
        ),
    ],
)
def test_another_machine_or_another_torch_does_not_go_on(tmp_path: Path, change: dict[str, object], said: str) -> None:
    out = tmp_path / "out"
    finish(start(tmp_path, "--output", "out"))
    environment = json.loads((out / "environment.json").read_text())
    (out / "environment.json").write_text(json.dumps(environment | change))
    assert said in finish(start(tmp_path, "--resume", "out"), code=4)


def test_what_is_not_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert "--resume out: there is no journal.jsonl" in finish(start(tmp_path, "--resume", "out"), code=2)
    assert "not a directory that exists" in finish(start(tmp_path, "--resume", "nowhere"), code=2)
    stderr = finish(start(tmp_path, "--resume", "out", "--output", "other"), code=2)
    assert "leave out --output" in stderr
    assert "give one" in finish(start(tmp_path, "--quick", "--rigorous"), code=2)


@pytest.mark.parametrize(("option", "blocks"), [("--quick", 1), ("--rigorous", 10)])
def test_quick_and_rigorous_choose_the_blocks(tmp_path: Path, option: str, blocks: int) -> None:
    finish(start(tmp_path, "--output", "out", option))
    assert set(attnbench.load(tmp_path / "out")["blocks"]) == {blocks}


def test_a_full_disk_ends_the_run_with_one_sentence_and_what_was_journalled_stays(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000)); " + START_WITH
    stderr = finish(start(tmp_path, "--output", "out", code=limited), code=3)
    last = stderr.splitlines()[-1]
    assert last.startswith("attnbench: out/journal.jsonl cannot be written: File too large; what it holds stays")
    assert last.endswith("go on with --resume out")
    assert 0 < len(attnbench.load(tmp_path / "out")) <= CELLS
    finish(start(tmp_path, "--resume", "out"))
    assert len(keys(tmp_path / "out")) == CELLS * BLOCKS


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


def test_one_journal_has_one_writer(tmp_path: Path) -> None:
    finish(start(tmp_path, "--output", "out"))
    with Journal(tmp_path / "out"):
        stderr = finish(start(tmp_path, "--resume", "out"), code=2)
    assert "out/journal.jsonl is being written by another run" in stderr


def test_whoever_waited_for_a_device_looks_again_where_it_writes(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / "cpu.lock"):
        waiting = start(tmp_path, "--output", "out", "--wait")
        while not (tmp_path / "out").exists():
            time.sleep(0.01)
        time.sleep(0.5)
        (tmp_path / "out" / "file").touch()
    assert "out exists and is not empty" in finish(waiting, code=2)


def test_an_interrupt_ends_the_wait_for_a_device(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / "cpu.lock"):
        process = start(tmp_path, "--output", "out", "--wait")
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        assert "interrupted before anything was measured" in finish(process, code=3)


def test_a_directory_that_is_removed_ends_the_run_with_one_sentence(tmp_path: Path) -> None:
    process = start(tmp_path, "--output", "out")
    while not (tmp_path / "out" / JOURNAL).exists():
        time.sleep(0.01)
    shutil.rmtree(tmp_path / "out")
    stderr = finish(process, code=3)
    assert "out/journal.jsonl was removed while the run wrote to it" in stderr


def test_a_second_run_on_a_device_is_refused_by_name_or_waits(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    with start(tmp_path / "first", "--output", "out") as first:
        while not list((tmp_path / "locks").glob("*.holder")):
            time.sleep(0.01)
        refused = start(tmp_path, "--output", "refused")
        waiting = start(tmp_path, "--output", "waited", "--wait")
        stderr = finish(refused, code=3)
        assert f"cpu is in use by attnbench run s (process {first.pid} of " in stderr
        assert "let it finish, or wait for it with --wait" in stderr
        assert not (tmp_path / "refused" / JOURNAL).exists()
        finish(first)
        assert f"cpu is in use by attnbench run s (process {first.pid} of " in finish(waiting)
    assert len(keys(tmp_path / "waited")) == CELLS * BLOCKS


def test_a_lock_whose_holder_was_killed_is_free(tmp_path: Path) -> None:
    holder = start(tmp_path, "--output", "killed")
    while not list((tmp_path / "locks").glob("*.holder")):
        time.sleep(0.01)
    holder.kill()
    holder.communicate()
    finish(start(tmp_path, "--output", "out"))


def test_without_a_place_for_locks_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ATTNBENCH_LOCKS", str(tmp_path / "file"))
    stderr = finish(start(tmp_path, "--output", "out"), code=2)
    assert "cannot be locked" in stderr
    assert "name another directory in ATTNBENCH_LOCKS" in stderr


def test_the_lock_is_the_systems_own(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / "cpu.lock"):
        stderr = finish(start(tmp_path, "--output", "out"), code=3)
    assert "cpu is in use by another run" in stderr
