"""The processes of a run as their parent sees them: started, measured from outside, ended with all they started."""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from attnbench.core.channel import Channel, ClosedError, GarbledError
from attnbench.core.errors import WorkerError
from attnbench.core.protocol import Begin, Continued, End, Ended, Fork, Forked, Message, Started, Stopped
from attnbench.core.record import Allocator
from attnbench.run.child_process import POLL_S, Abandoned, ChildProcess, Output, WorkerDied
from attnbench.run.interpreter import Interpreter
from attnbench.worker import reaper
from attnbench.worker.boot import command

START_TIMEOUT_S = 300.0
"""Importing torch, and then a backend's package; a cold disk is slow."""
_ANSWER_TIMEOUT_S = 20.0
"""For a starter that has imported torch: it has nothing to do but fork."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROCESSOR = 36
"""Its place in ``/proc/PID/stat`` after the program's name, from 0 (proc_pid_stat(5), field 39)."""
_SEND_TIMEOUT_S = 30.0
_STEADY = {
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""glibc gives freed memory back to the system and takes it again page by page, or does not, depending on where the heap
of a process happens to end: the same kernel then has two speeds. With these it keeps what it has (mallopt(3))."""


@final
class Worker(ChildProcess):
    """A process with torch in a session of its own, so that Ctrl-C reaches the parent alone.

    Between it and the parent stands a reaper, which ends it and all it started when either is gone.

    Args:
        role: ``starter`` or ``judge``.
        interpreter: The Python it runs in.
        threads: CPU threads; set before torch loads.
        allocator: How the C library keeps freed memory; set before the interpreter starts.
    """

    def __init__(self, role: str, *, interpreter: Interpreter, threads: int, allocator: Allocator) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(_SEND_TIMEOUT_S)
        super().__init__(Channel(ours))
        self._role = role
        self._output = Output()
        environment = {
            **interpreter.environment(), "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
            # numpy's library starts a thread of its own otherwise, and a process with one thread can be forked.
            "OPENBLAS_NUM_THREADS": "1",
            **(_STEADY if allocator is Allocator.STEADY else {}),
        }  # fmt: skip
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    interpreter.executable, "-I", "-S", reaper.__file__,
                    *command(str(interpreter.executable), role, theirs.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._output.file,
                stderr=self._output.file,
                pass_fds=(theirs.fileno(),),
                env=environment,
                start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        """End it and everything it started; safe to call twice."""
        self.channel.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        self._process.wait()
        self._output.close()

    def _wait(self, wait_s: float) -> bool:
        if select.select([self.channel], [], [], wait_s)[0]:
            self._read(self.channel.fetch)
            return True
        if self._process.poll() is not None:
            raise self.death()
        return False

    def death(self) -> WorkerDied:
        """How it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        return self._output.death(f"the {self._role}", self._process.returncode)


class StarterHangs(WorkerError):
    """A starter does not answer; another one of that interpreter would not, either."""


class Starter:
    """A starter of an interpreter, with its participants.

    Args:
        interpreter: The interpreter; participants may have a path of their own.
        threads: CPU threads of every participant.
        allocator: How the C library keeps freed memory.
        modules: What every participant will need of torch.
    """

    def __init__(
        self, *, interpreter: Interpreter, threads: int, allocator: Allocator, modules: tuple[str, ...] = ()
    ) -> None:
        self.worker = Worker("starter", interpreter=interpreter, threads=threads, allocator=allocator)
        self.channel = self.worker.channel
        with contextlib.suppress(ClosedError):  # told when a participant is wanted from it
            self.channel.send(Begin(modules=modules))
        self.participants: dict[int, ParticipantProcess] = {}
        self._forked: dict[int, int] = {}
        self._ready = False
        self._lost = ""
        """Why it was given up."""
        self._count = 0

    def wait_until_ready(self, *, deadline: float | None = None, abandon: Callable[[], bool] = lambda: False) -> None:
        """Wait until torch is imported there.

        Args:
            deadline: On the monotonic clock; by default ``START_TIMEOUT_S`` from now.
            abandon: Asked a few times a second whether to give up.

        Raises:
            StarterHangs: It does not answer.
            WorkerError: It does not start: with its last words.
            Abandoned: ``abandon`` said so.
        """
        self.wait(lambda: self._ready, abandon, deadline=deadline)

    def fork(self, path: Path | None, *, abandon: Callable[[], bool] = lambda: False) -> ParticipantProcess:
        """Start a participant.

        Args:
            path: A directory that comes first on its Python path.
            abandon: Asked a few times a second whether to give up.

        Raises:
            StarterHangs: The starter does not answer.
            WorkerError: It is gone.
            Abandoned: ``abandon`` said so.
        """
        self.wait_until_ready(abandon=abandon)
        self._count += 1
        number = self._count
        ours, theirs = socket.socketpair()
        ours.settimeout(_SEND_TIMEOUT_S)
        output = Output()
        try:
            with theirs:
                asked = Fork(number=number, path=str(path.resolve()) if path else "")
                self.channel.send(asked, descriptors=(theirs.fileno(), output.file.fileno()))
            self.wait(lambda: number in self._forked, abandon)
        except BaseException as error:
            ours.close()
            output.close()
            if isinstance(error, ClosedError):
                raise self._gone() from None
            raise
        participant = ParticipantProcess(self, number, self._forked.pop(number), Channel(ours, trusted=False), output)
        self.participants[number] = participant
        return participant

    def receive(self) -> None:
        """Take in what it has to say of participants.

        Raises:
            WorkerError: It is gone.
        """
        try:
            self.channel.fetch()
            while (found := self.channel.take()) is not None:
                self._heed(found[0])
        except (ClosedError, GarbledError):  # a participant may have reached its socket
            raise self._gone() from None

    def close(self) -> None:
        """End it with all its participants."""
        for participant in list(self.participants.values()):
            participant.forget()
        self.worker.close()

    def _heed(self, message: Message) -> None:
        match message:
            case Started():
                self._ready = True
            case Forked(number=number, pid=pid) if number == self._count:
                self._forked[number] = pid
            case Ended(number=number, code=code) if number in self.participants:
                self.participants[number].code = code
            case Stopped(number=number) if number in self.participants:
                self.participants[number].stopped_since = time.monotonic()
            case Continued(number=number) if number in self.participants:
                self.participants[number].go_on()

    def wait(
        self,
        done: Callable[[], bool],
        abandon: Callable[[], bool] = lambda: False,
        *,
        deadline: float | None = None,
    ) -> None:
        """Listen until something is so.

        Raises:
            StarterHangs: The starter does not answer.
            WorkerError: It is gone.
            Abandoned: ``abandon`` said so.
        """
        was_ready = self._ready
        deadline = deadline or time.monotonic() + (_ANSWER_TIMEOUT_S if was_ready else START_TIMEOUT_S)
        while not done():
            if abandon():
                raise Abandoned
            if select.select([self.channel], [], [], POLL_S)[0]:  # what came while this process was stopped counts
                self.receive()
            elif time.monotonic() > deadline:
                if was_ready:  # somebody stopped it; another one may do
                    self._lost = f"the starter did not answer within {_ANSWER_TIMEOUT_S:g} s"
                    self.worker.close()
                    raise self._gone()
                raise StarterHangs(f"the starter did not answer within {START_TIMEOUT_S:g} s")

    def _gone(self) -> WorkerError:
        return WorkerError(self._lost or str(self.worker.death()))


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

    def close(self) -> None:
        """End it and everything it started; safe to call twice.

        Raises:
            WorkerError: Its starter is gone, and it with it.
        """
        if self.code is None and self._number_there in self._starter.participants:
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
