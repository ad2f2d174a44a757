"""A starter: it has imported torch, and forks participants."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

from attnbench.core.channel import Channel, ClosedError, GarbledError
from attnbench.core.errors import WorkerError
from attnbench.core.protocol import Begin, Continued, Ended, Fork, Forked, Message, Started, Stopped
from attnbench.core.record import Allocator
from attnbench.run.child_process import POLL_S, Abandoned, Output
from attnbench.run.interpreter import Interpreter
from attnbench.run.participant_process import ParticipantProcess
from attnbench.run.worker_process import SEND_TIMEOUT_S, START_TIMEOUT_S, Worker

_ANSWER_TIMEOUT_S = 20.0
"""For a starter that has imported torch: it has nothing to do but fork."""


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
        ours.settimeout(SEND_TIMEOUT_S)
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
