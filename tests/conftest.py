"""What several tests share: a small stored run, and the command line, as a process or in this one."""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import hypothesis
import pytest
import torch
import typer.main

from attnbench.core.record import Record
from attnbench.results.journal import Journal
from tests import stand_in
from tests.samples import environment, sample_records
from tests.warm import Warm

TESTS = Path(__file__).parent
PYTHONPATH = f"{TESTS.parent}{os.pathsep}{TESTS}"

# Tests compute small things, and a second thread that waits for a busy core makes them ten times slower.
torch.set_num_threads(1)

# No example fails by wall clock.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

# All commands and their options, made once: that takes longer than most commands.
_commands_of = functools.cache(typer.main.get_command)


@pytest.fixture(autouse=True)
def _locks_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever runs attnbench beside the tests shall neither wait for them nor be waited for.
    monkeypatch.setenv("ATTNBENCH_LOCKS", str(tmp_path / "locks"))


@pytest.fixture(autouse=True)
def _disks_need_not_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a test reads again was written by a machine that has not lost its power since.
    monkeypatch.setattr(os, "fsync", os.fstat)


class Cli(Protocol):
    def __call__(
        self, *arguments: str, check: int | None = ..., **environment: str
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def cli_process(tmp_path: Path) -> Cli:
    """Runs ``attnbench`` as a process of its own, in an empty directory; the tests' modules are on the Python path."""

    def run(*arguments: str, check: int | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "attnbench", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": PYTHONPATH, "COLUMNS": "120", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if check is not None:
            assert done.returncode == check, done.stderr
        return done

    return run


@pytest.fixture
def cli_here(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs ``attnbench`` in this process, in an empty directory, with stand-ins for whoever would import torch."""
    stand_in.use(monkeypatch)
    return cli


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs ``attnbench`` in this process, in an empty directory; judge, starters and participants are real ones."""
    from attnbench.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str, check: int | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        stdout, stderr = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch, contextlib.ExitStack() as stack:
            patch.setattr(sys, "argv", ["attnbench", *arguments])
            patch.setattr(typer.main, "get_command", _commands_of)
            for name, value in environment.items():
                patch.setenv(name, value)
            stack.enter_context(contextlib.redirect_stdout(stdout))
            stack.enter_context(contextlib.redirect_stderr(stderr))
            ended = stack.enter_context(pytest.raises(SystemExit))
            main()
        code = ended.value.code or 0
        assert isinstance(code, int)
        done = subprocess.CompletedProcess(list(arguments), code, stdout.getvalue(), stderr.getvalue())
        assert "Traceback" not in done.stderr, done.stderr
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Processes of ``attnbench`` that need not import anything first."""
    with contextlib.closing(Warm(tmp_path_factory.mktemp("warm"))) as started:
        yield started


@pytest.fixture
def store_run(tmp_path: Path) -> Callable[[Sequence[Record]], Path]:
    """Writes records as a run directory."""

    def write(records: Sequence[Record]) -> Path:
        directory = tmp_path / "stored"
        directory.mkdir()
        with Journal(directory) as journal:
            for one in records:
                journal.append(one)
        (directory / "environment.json").write_text(json.dumps(environment().to_json()))
        suite = "name: sample\ndescription: Which one is fast?\nbaseline: naive\nbackends: [naive, sdpa]\n"
        (directory / "suite.yaml").write_text(suite)
        return directory

    return write


@pytest.fixture
def stored(store_run: Callable[[Sequence[Record]], Path]) -> Path:
    return store_run(sample_records())


def pytest_collection_finish() -> None:
    # Collecting garbage in every release of a case would go through all modules and all tests again and again.
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
