"""A participant's process as its parent sees it: asked, measured from outside, ended with all it started."""

from __future__ import annotations

import contextlib
import math
import os
import select
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from attnbench.core.channel import Channel, ClosedError
from attnbench.core.errors import WorkerError
from attnbench.core.protocol import End
from attnbench.run.child_process import POLL_S, ChildProcess, Output, WorkerDied

if TYPE_CHECKING:
    from attnbench.run.starter_process import Starter

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROCESSOR = 36
"""Its place in ``/proc/PID/stat`` after the program's name, from 0 (proc_pid_stat(5), field 39)."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Time that a process has had cores, or waited for one; NaN where the system does not tell."""

    cpu_s: float
    """Of all its threads together."""
    main_thread_s: float = math.nan
    """Of its main thread."""
    queued_s: float = math.nan
    """How long that one was ready and had none."""

    def __sub__(self, before: Usage) -> Usage:
        return Usage(
            cpu_s=self.cpu_s - before.cpu_s,
            main_thread_s=self.main_thread_s - before.main_thread_s,
            queued_s=self.queued_s - before.queued_s,
        )


@final
class ParticipantProcess(ChildProcess):
    """A participant: a fork of its starter that has loaded one backend."""

    def __init__(self, starter: Starter, number: int, pid: int, channel: Channel, output: Output) -> None:
        super().__init__(channel)
        self._starter, self._number_there, self.pid, self._output = starter, number, pid, output
        self.code: int | None = None
        """Its exit code, once it has ended; the signal that killed it where negative."""
        self.stopped_since: float | None = None

    def go_on(self) -> None:
        """It was stopped and is no longer."""
        if self.stopped_since is None:
            self.stopped_s = max(self.stopped_s, 1e-9)  # the two were told at once
        else:
            self.stopped_s += time.monotonic() - self.stopped_since
        self.stopped_since = None

    def cpu_s(self) -> float:
        """CPU time it has taken so far, all threads together, as the system tells (clock_getcpuclockid(3))."""
        try:
            return time.clock_gettime(((~self.pid) << 3) | 2)
        except OSError:  # it is gone, as the next question to it will tell
            return math.nan

    def usage(self) -> Usage:
        """What it has used of the machine's cores so far."""
        try:
            # Time on a core, and on a run queue, in nanoseconds (kernel documentation, sched-stats).
            with open(f"/proc/{self.pid}/schedstat", "rb") as file:  # noqa: PTH123 - asked around every turn
                computed, queued, *_ = map(int, file.read().split())
        except (OSError, ValueError):
            return Usage(cpu_s=self.cpu_s())
        return Usage(cpu_s=self.cpu_s(), main_thread_s=computed / 1e9, queued_s=queued / 1e9)

    def resident_bytes(self) -> int:
        """Memory that it has."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:  # noqa: PTH123 - asked after every turn
                return int(file.read().split()[1]) * _PAGE_BYTES
        except (OSError, IndexError):
            return 0

    def core(self) -> int | None:
        """Where it ran last; None where the system does not tell (proc_pid_stat(5))."""
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:  # noqa: PTH123 - as above
                return int(file.read().rpartition(b")")[2].split()[_PROCESSOR])
        except (OSError, IndexError, ValueError):
            return None

    def pin(self, cores: Iterable[int]) -> None:
        """Let its main thread, and what that starts from now on, run on these cores alone, where the system can."""
        if self.code is not None:  # its number may be somebody else's by now
            return
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setaffinity(self.pid, cores)

    def threads(self) -> int:
        """How many it has."""
        try:
            return len(os.listdir(f"/proc/{self.pid}/task"))  # noqa: PTH208 - asked after every turn
        except OSError:
            return 1

    @property
    def is_gone(self) -> bool:
        """Whether it was ended, or its starter was."""
        return self._number_there not in self._starter.participants

    def close(self) -> None:
        """End it and everything it started; safe to call twice.

        Raises:
            WorkerError: Its starter is gone, and it with it.
        """
        if self.code is None and not self.is_gone:
            try:
                self._starter.channel.send(End(number=self._number_there))
            except ClosedError:
                self.forget()
                return
            with contextlib.suppress(WorkerError):
                self._starter.wait(lambda: self.code is not None)
        self.forget()

    def forget(self) -> None:
        """Let go of our ends."""
        self._starter.participants.pop(self._number_there, None)
        self.channel.close()
        self._output.close()

    def _wait(self, wait_s: float) -> bool:
        ready, _, _ = select.select([self.channel, self._starter.channel], [], [], wait_s)
        if self._starter.channel in ready:
            try:
                self._starter.receive()
            except WorkerError as error:
                raise WorkerDied(f"its starter is gone: {error}", killed=True) from None
        if self.channel in ready:
            self._read(self.channel.fetch)
            return True
        if self.code is not None:
            raise self.death()
        return False

    def _forget_stops(self) -> None:
        super()._forget_stops()
        if self.stopped_since is not None:
            self.stopped_since = time.monotonic()

    def _count_stop(self, took_s: float, wait_s: float) -> None:
        super()._count_stop(took_s, wait_s)
        if self.stopped_since is not None:
            now = time.monotonic()
            self.stopped_s += now - self.stopped_since
            self.stopped_since = now

    def death(self) -> WorkerDied:
        """How it ended."""
        with contextlib.suppress(WorkerError):
            deadline = time.monotonic() + 1.0
            while self.code is None and time.monotonic() < deadline:
                if select.select([self._starter.channel], [], [], POLL_S)[0]:
                    self._starter.receive()
        return self._output.death("its process", self.code)
