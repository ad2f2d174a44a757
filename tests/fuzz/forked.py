"""Commands in forks of this process, one after another: cheap, and what hangs, leaks or dies does so alone."""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

LONGEST_S, MOST_BYTES = 5, 2**30
CODES = (0, 1, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    """Negative: the signal that killed it."""
    stdout: str
    stderr: str
    peak_bytes: int

    @property
    def complaint(self) -> str:
        """What no input may lead to; empty where there is nothing."""
        if self.code == -signal.SIGALRM:
            return f"took more than {LONGEST_S} s"
        if "Traceback" in self.stderr:
            return self.stderr.strip().splitlines()[-1]
        if self.code not in CODES:
            return f"exit code {self.code}"
        if self.peak_bytes > MOST_BYTES:
            return f"took {self.peak_bytes / 2**20:.0f} MiB"
        return ""


def forked(body: Callable[[], None]) -> Ended:
    """What becomes of a function in a process of its own, whose CPU time is limited."""
    with TemporaryDirectory() as place:
        files = [Path(place, name) for name in ("stdout", "stderr")]
        process = os.fork()
        if not process:
            _run(body, files)
        _, status, used = os.wait4(process, 0)
        stdout, stderr = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    code = os.waitstatus_to_exitcode(status)
    return Ended(code=code, stdout=stdout, stderr=stderr, peak_bytes=1024 * used.ru_maxrss)


def command(*arguments: str) -> Callable[[], None]:
    """``attnbench`` with arguments, to be run in a fork."""

    def run() -> None:
        from attnbench.cli import main

        sys.argv = ["attnbench", *arguments]
        main()

    return run


def warm(*arguments: str) -> None:
    """Run a command here once, so that no fork need import what it imports."""
    import contextlib
    import io

    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), contextlib.suppress(SystemExit):
        command(*arguments)()
    gc.freeze()  # collecting garbage would copy what forks share


def _run(body: Callable[[], None], files: list[Path]) -> None:
    """Never returns."""
    code = 99
    try:
        for descriptor, file in enumerate(files, start=1):
            opened = os.open(file, os.O_CREAT | os.O_WRONLY)
            os.dup2(opened, descriptor)
        sys.stdout, sys.stderr = _stream(1), _stream(2)
        # Of CPU time, because the machine may be busy: a sleep that never ends is caught by the other one.
        signal.signal(signal.SIGVTALRM, lambda *_: os.kill(os.getpid(), signal.SIGALRM))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_S)
        signal.alarm(20 * LONGEST_S)
        body()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _stream(descriptor: int) -> IO[str]:
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def spread(count: int, seconds: float | None) -> Iterator[int]:
    """Numbers up to a count, or for a time."""
    import itertools
    import time

    began = time.monotonic()
    for number in itertools.count() if seconds is not None else range(count):
        if seconds is not None and time.monotonic() - began > seconds:
            return
        yield number
