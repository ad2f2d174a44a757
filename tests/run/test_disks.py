"""Disks that have no locks, rename nothing or are read-only: measured all the same, or one sentence and no trace."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from attnbench.core.errors import RefusedError
from attnbench.run.directory import appearing, check_output, never_started, reserved
from tests import stand_in
from tests.conftest import PYTHONPATH, TESTS, Cli
from tests.run.test_resume import CELLS, SUITE
from tests.warm import Warm

NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
Disk = dict[str, str]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands before the C library's flock and rename."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    built = tmp_path_factory.mktemp("disk") / "disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", built, TESTS / "disk.c", "-ldl"], check=True)
    return built


@pytest.fixture(scope="session")
def preloaded(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Forks processes that have the library."""
    with closing(Warm(tmp_path_factory.mktemp("preloaded"), LD_PRELOAD=str(library))) as started:
        yield started


def run(directory: Path, program: Sequence[str], *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (directory / "s.yaml").write_text(SUITE)
    (directory / "stand_in.json").write_text('{"turn_s": 0}')
    return subprocess.run(
        [*program, "run", "s.yaml", *options],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("number", NO_LOCKS)
def test_results_on_a_disk_without_locks_are_kept_there(tmp_path: Path, preloaded: Warm, number: int) -> None:
    disk = {"DISK": "/lustre", "DISK_FLOCK": str(number)}
    (tmp_path / "lustre").mkdir()
    done = run(
        tmp_path, preloaded.command(stand_ins=True), "--output", "lustre/out", "--set", "measure.processes=1", **disk
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "lustre" / "out" / "table.csv").exists()


@pytest.mark.parametrize("number", NO_LOCKS)
def test_locks_on_a_disk_without_locks_are_others_or_refused_in_one_sentence(
    tmp_path: Path, preloaded: Warm, number: int
) -> None:
    (tmp_path / "lustre").mkdir()
    disk = {"DISK": "/lustre", "DISK_FLOCK": str(number)}
    disk["ATTNBENCH_LOCKS"] = str(tmp_path / "lustre" / "l")
    done = run(tmp_path, preloaded.command(stand_ins=True), "--output", "out", "--set", "measure.processes=1", **disk)
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    if done.returncode:
        (said,) = [line for line in done.stderr.splitlines() if line.startswith("attnbench: ")]
        assert "cannot be locked" in said
        assert "name another directory in ATTNBENCH_LOCKS" in said
        assert done.returncode == 2
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM])
def test_results_on_a_disk_that_renames_nothing_are_kept_there(tmp_path: Path, preloaded: Warm, number: int) -> None:
    (tmp_path / "bucket").mkdir()
    disk = {"DISK": "/bucket", "DISK_RENAME": str(number)}
    exports = ("--export", "csv=bucket/run.csv", "--export", "junit=bucket/run.xml")
    program = preloaded.command(stand_ins=True)
    done = run(tmp_path, program, "--output", "bucket/out", "--set", "measure.processes=1", *exports, **disk)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "bucket" / "out" / "table.csv").read_text().splitlines()) == CELLS + 1
    assert sorted(path.name for path in (tmp_path / "bucket").iterdir()) == ["out", "run.csv", "run.xml"]
    save = (*preloaded.command(), "baseline", "save", "bucket/out", "--directory", "bucket/kept")
    saved = subprocess.run(
        save, cwd=tmp_path, env={**os.environ, **disk}, capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    assert (tmp_path / saved.strip() / "table.csv").exists()
    assert not list((tmp_path / "bucket").glob("**/*unfinished"))


def test_a_run_that_fails_before_it_begins_leaves_no_directory(
    cli_here: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise RefusedError("there is no such device", ("device",))

    monkeypatch.setattr(stand_in, "described", refuse)
    (tmp_path / "s.yaml").write_text(SUITE)
    refused = cli_here("run", "s.yaml", "--output", "a/b/out", "--set", "device=cuda:99", check=2).stderr
    assert refused.splitlines()[-1].endswith("there is no such device")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "locks") == ["s.yaml"]


def test_a_run_that_was_killed_before_it_began_is_started_by_resume(cli_here: Cli, tmp_path: Path) -> None:
    killed = (
        "import os, signal, attnbench.run.runner as r\nr.open_pool = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    code = killed + "from attnbench.cli import main; main()"
    done = run(tmp_path, [sys.executable, "-c", code], "--output", "out")
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    cli_here("run", "s.yaml", "--resume", "out", "--set", "measure.processes=1", check=0)
    assert (tmp_path / "out" / "table.csv").exists()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_was_killed_while_it_began_in_a_directory_that_was_there_is_started_by_resume(
    cli_here: Cli, tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "suite.yaml").write_text("name: s\n")
    cli_here("run", "s.yaml", "--resume", "out", "--set", "measure.processes=1", check=0)
    assert (tmp_path / "out" / "table.csv").exists()


def test_a_directory_that_holds_something_else_is_neither_used_nor_resumed(cli_here: Cli, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    assert "exists and is not empty" in cli_here("run", "s.yaml", "--output", "out", check=2).stderr
    assert "there is no journal.jsonl" in cli_here("run", "s.yaml", "--resume", "out", check=2).stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_while_a_directory_is_reserved_and_not_after_a_resume_would_start_it(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    assert not never_started(out)
    with reserved(out):
        assert never_started(out)
    assert not never_started(out)
    assert list(tmp_path.iterdir()) == []
    with reserved(out):
        with appearing(out) as place:
            (place / "journal.jsonl").touch()
            assert not out.exists()
        assert not never_started(out)
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_looking_whether_a_directory_can_be_written_makes_none(tmp_path: Path) -> None:
    check_output(tmp_path / "x" / "y" / "z")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_a_read_only_disk_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    inner = f"{sys.executable} -c 'from attnbench.cli import main; main()' run quick --output disk/out"
    script = f"mount -t tmpfs -o ro none disk && {{ {inner}; echo exit $?; }}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if "exit" not in done.stdout:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr}")
    assert done.stdout.splitlines()[-1] == "exit 2", done.stderr
    assert done.stderr == "attnbench: disk/out cannot be made: Read-only file system; give another --output\n"
