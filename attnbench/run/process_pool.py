"""The processes of a run: one judge, and in every round fresh participants, forked from their interpreter's starter."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from attnbench.core.errors import RefusedError, WorkerError
from attnbench.core.problem import Problem
from attnbench.core.protocol import (
    LONGEST_REASON,
    Describe,
    Described,
    Explain,
    Explained,
    Introduce,
    Introduced,
    Message,
    Refused,
    unexpected,
)
from attnbench.core.record import BackendChoice, Measure
from attnbench.core.text import clean
from attnbench.run.child_process import DeadlinePassed, WorkerDied
from attnbench.run.interpreter import Interpreter, this_interpreter
from attnbench.run.participant_process import ParticipantProcess
from attnbench.run.starters import STARTS, Starters
from attnbench.run.worker_process import START_TIMEOUT_S, Worker

_ASKED_AT_ONCE = 200
"""Problems."""
_AUTOGRAD = ("torch.fx.experimental.symbolic_shapes",)
"""What the first gradient imports: half a second, once in a starter instead of once in every participant."""


@dataclass(frozen=True, kw_only=True)
class Participant:
    """A backend in its own process and environment."""

    choice: BackendChoice
    interpreter: Interpreter
    side: str = ""
    """``base`` or ``candidate`` where two environments are compared."""

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.choice.label


class Asked(Protocol):
    """Whatever can be asked: a judge, a participant, or what stands for one."""

    def ask(
        self,
        message: Message,
        *,
        timeout_s: float,
        abandon: Callable[[], bool] = ...,
        descriptors: Sequence[int] = ...,
    ) -> tuple[Message, list[int]]:
        """Send a message and wait for the reply."""
        ...


class ProcessPool:
    """Starts processes when they are needed and ends them when they are not.

    Args:
        measure: How they measure.
        trains: Whether gradients will be asked for.
        abandon: Asked a few times a second whether to give up waiting.
    """

    def __init__(self, measure: Measure, *, trains: bool = False, abandon: Callable[[], bool] = lambda: False) -> None:
        self._measure = measure
        self._abandon = abandon
        self._judge: Worker | None = None
        self._starters = Starters(measure, modules=_AUTOGRAD if trains else (), abandon=abandon)
        self._participants: dict[Participant, ParticipantProcess] = {}
        self.began = time.monotonic()
        self.starting_s = 0.0
        """Seconds spent until processes were ready and had loaded their backends."""

    def now_s(self) -> float:
        """The parent's clock, which no participant can reach."""
        return time.monotonic()

    @property
    def judge(self) -> Worker:
        """The judge, started if there is none."""
        if self._judge is None:
            self._judge = Worker(
                "judge",
                interpreter=this_interpreter(),
                threads=self._measure.threads,
                allocator=self._measure.allocator,
            )
        return self._judge

    def describe(self, device: str) -> Described:
        """Ask the judge what the machine is.

        Raises:
            RefusedError: There is no such device, or it cannot do what is asked.
            WorkerError: No judge starts.
            Abandoned: ``abandon`` said so.
        """
        began = time.monotonic()
        for left in reversed(range(STARTS)):
            try:
                return _described(self.judge, device, self._measure, self._abandon)
            except (WorkerDied, DeadlinePassed) as error:
                self.end_judge()
                if not left:
                    raise WorkerError(f"no judge starts: {str(error) or 'it did not answer in time'}") from None
            finally:
                self.starting_s += time.monotonic() - began
        raise AssertionError

    def ask_judge(
        self, message: Message, *, device: str, timeout_s: float, descriptors: Sequence[int] = ()
    ) -> tuple[Message, list[int]]:
        """Ask the judge, and another one where the first died.

        Args:
            message: The question.
            device: What another judge shall look at.
            timeout_s: How long to wait.
            descriptors: What goes with it.

        Raises:
            WorkerDied: Both died, the second one so.
            DeadlinePassed: The second one did not answer in time.
            WorkerError: None starts.
            Abandoned: ``abandon`` said so.
        """
        for left in (1, 0):
            try:
                return self.judge.ask(message, timeout_s=timeout_s, abandon=self._abandon, descriptors=descriptors)
            except (WorkerDied, DeadlinePassed):
                self.end_judge()
                self.describe(device)
                if not left:
                    raise
        raise AssertionError

    def describe_environment(self, participant: Participant, device: str) -> Described:
        """Ask a process of a participant's environment what that is.

        Raises:
            RefusedError: It has no such device.
            WorkerError: Nothing starts there.
            Abandoned: ``abandon`` said so.
        """
        try:
            process = self._starters.fork(participant.interpreter, attempts=1)
        except OSError as error:
            raise WorkerError(f"{participant.interpreter.executable} cannot be run: {error.strerror}") from None
        try:
            return _described(process, device, self._measure, self._abandon)
        except (WorkerDied, DeadlinePassed) as error:
            raise WorkerError(str(error) or "it did not answer in time") from None
        finally:
            process.close()

    def begin_round(self, participants: Sequence[Participant] = (), *, rounds: int = 1) -> None:
        """End all participants; the next ones are forks of starters that have not served too often.

        Args:
            participants: Who will be at work.
            rounds: How many there are to come: starters of some of them are started together.
        """
        for participant in list(self._participants):
            self.end(participant)
        self._starters.begin_round([one.interpreter for one in participants], rounds=rounds)

    def wait_until_ready(self) -> None:
        """Wait until every starter has imported torch: meanwhile nothing can be measured.

        Raises:
            Abandoned: ``abandon`` said so.
        """
        began = time.monotonic()
        self._starters.wait_until_ready()
        self.starting_s += time.monotonic() - began

    def introduce(self, participant: Participant, device: str) -> Introduced:
        """Start a participant's process and let it load its backend. What keeps it from that is told, not raised.

        Raises:
            Abandoned: ``abandon`` said so.
        """
        began = time.monotonic()
        try:
            found = self._introduce(participant, device)
            if isinstance(found, WorkerDied) and found.killed and not found.out_of_memory:
                found = self._introduce(participant, device)  # by somebody else: nothing is known of it
        finally:
            self.starting_s += time.monotonic() - began
        if isinstance(found, WorkerDied):
            found = Introduced(unavailable=f"while it was asked, {found}")
        found = replace(found, unavailable=_shown(found.unavailable), invalid=_shown(found.invalid))
        if found.unavailable or found.invalid:
            self.end(participant)
        return found

    def _introduce(self, participant: Participant, device: str) -> Introduced | WorkerDied:
        asked = Introduce(backend=participant.choice.name, device=device, threads=self._measure.threads)
        try:
            process = self._fork(participant)
            reply, _ = process.ask(asked, timeout_s=START_TIMEOUT_S, abandon=self._abandon)
        except WorkerError as error:
            return Introduced(unavailable=str(error))
        except WorkerDied as death:
            return death
        except DeadlinePassed:
            return Introduced(unavailable=f"it did not answer within {START_TIMEOUT_S:g} s")
        if isinstance(reply, Introduced):
            return reply
        return Introduced(unavailable=unexpected(reply))

    def explain(self, participant: Participant, problems: Sequence[Problem]) -> tuple[str, ...]:
        """Why an introduced participant cannot compute each problem; empty where it can.

        One that dies or hangs over the question cannot compute any.
        """
        reasons: list[str] = []
        try:
            process = self.process(participant)
            for first in range(0, len(problems), _ASKED_AT_ONCE):
                some = tuple(problems[first : first + _ASKED_AT_ONCE])
                reply, _ = process.ask(Explain(problems=some), timeout_s=START_TIMEOUT_S, abandon=self._abandon)
                if isinstance(reply, Explained) and len(reply.reasons) == len(some):
                    reasons += reply.reasons
                else:
                    return (unexpected(reply),) * len(problems)
        except (WorkerDied, DeadlinePassed) as error:
            self.end(participant)
            return (f"while it was asked, {str(error) or 'it did not answer in time'}",) * len(problems)
        return tuple(reasons)

    def process(self, participant: Participant) -> ParticipantProcess:
        """The process of an introduced participant.

        Raises:
            WorkerDied: It went with its starter.
        """
        if not self.is_at_work(participant):
            raise WorkerDied("its starter is gone", killed=True)
        return self._participants[participant]

    def pids(self) -> tuple[int, ...]:
        """Of all participants' processes."""
        return tuple(process.pid for process in self._participants.values() if not process.is_gone)

    def is_at_work(self, participant: Participant) -> bool:
        """Whether a participant has a process that was introduced."""
        return participant in self._participants and not self._participants[participant].is_gone

    def end(self, participant: Participant) -> None:
        """End a participant's process, if it has one, with everything it started."""
        process = self._participants.pop(participant, None)
        if process is not None:
            process.close()

    def end_others(self, participant: Participant) -> None:
        """End every process but one's: it shall have the memory to itself."""
        for other in [other for other in self._participants if other != participant]:
            self.end(other)

    def end_judge(self) -> None:
        """End the judge; the next question to it starts another."""
        if self._judge is not None:
            self._judge.close()
            self._judge = None

    def close(self) -> None:
        """End everything."""
        self._participants.clear()
        self._starters.close()
        self.end_judge()

    def _fork(self, participant: Participant) -> ParticipantProcess:
        self.end(participant)
        self._participants[participant] = self._starters.fork(participant.interpreter)
        return self._participants[participant]


def _shown(reason: str | None) -> str | None:
    return reason and (clean(reason, longest=LONGEST_REASON) or "it gave no reason")


def _described(asked: Asked, device: str, measure: Measure, abandon: Callable[[], bool]) -> Described:
    reply, _ = asked.ask(Describe(device=device, measure=measure), timeout_s=START_TIMEOUT_S, abandon=abandon)
    if isinstance(reply, Refused):
        raise RefusedError(clean(reply.message, longest=LONGEST_REASON), reply.key)
    if not isinstance(reply, Described):
        raise WorkerError(f"asked to describe itself, {unexpected(reply)}")
    return replace(reply, environment=reply.environment.plain())
