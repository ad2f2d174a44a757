"""Questions to a participant and to the judge: whatever keeps them from answering ends the cell, with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from attnbench.core.protocol import Failed, Message, unexpected
from attnbench.core.record import Status
from attnbench.run.cell_state import CellEnds, KilledFromOutside, Setting
from attnbench.run.child_process import DeadlinePassed, WorkerDied
from attnbench.run.events import Stage
from attnbench.run.participant_process import ParticipantProcess
from attnbench.run.process_pool import Participant

Reply = TypeVar("Reply", bound=Message)


class Line:
    """The line to a participant's process, whichever that is at the moment."""

    def __init__(self, setting: Setting, participant: Participant) -> None:
        self._setting, self._participant = setting, participant

    def ask(
        self,
        message: Message,
        expected: type[Reply],
        stage: Stage,
        *,
        limit: tuple[float, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> Reply:
        """Ask a participant.

        Raises:
            CellEnds: It failed, died, or did not answer in time.
            KilledFromOutside: Nothing is known of it.
        """
        self.tell(message, stage, descriptors=descriptors)
        return self.hear(expected, stage, limit or (self._setting.measure.timeout_s, "timeout_s"))

    def process(self, stage: Stage) -> ParticipantProcess:
        """Its process.

        Raises:
            KilledFromOutside: It went with its starter.
        """
        try:
            return self._setting.pool.process(self._participant)
        except WorkerDied as death:
            raise self._dead(stage, death) from None

    def tell(self, message: Message, stage: Stage, *, descriptors: Sequence[int] = ()) -> None:
        """Ask without waiting for the answer."""
        process = self.process(stage)
        try:
            process.tell(message, descriptors=descriptors)
        except WorkerDied as death:
            raise self._dead(stage, death) from None

    def hear(self, expected: type[Reply], stage: Stage, limit: tuple[float, str]) -> Reply:
        """Wait for the answer, so many seconds at most; the deadline's name goes into a reason."""
        process, (limit_s, key) = self.process(stage), limit
        try:
            reply, _ = process.hear(timeout_s=limit_s, abandon=self._setting.abandon)
        except DeadlinePassed:
            stopped = f", {process.stopped_s:.3g} s of which it was stopped" if process.stopped_s else ""
            reason = f"stage {stage} took longer than {limit_s:.3g} s ({key}){stopped}"
            raise CellEnds(Status.TIMEOUT, reason) from None
        except WorkerDied as death:
            raise self._dead(stage, death) from None
        if isinstance(reply, expected):
            return reply
        if isinstance(reply, Failed) and reply.status not in (Status.OK, Status.UNAVAILABLE):
            raise CellEnds(reply.status, reply.reason)
        raise CellEnds(Status.CRASHED, f"in stage {stage}, it answered {type(reply).__name__}")

    def _dead(self, stage: Stage, death: WorkerDied) -> Exception:
        self._setting.pool.end(self._participant)
        said = f"in stage {stage}, {death}"
        if death.killed and not death.out_of_memory:
            return KilledFromOutside(said)
        return CellEnds(Status.OOM if death.out_of_memory else Status.CRASHED, said)


def ask_judge(
    setting: Setting, message: Message, expected: type[Reply], *, device: str, descriptors: Sequence[int] = ()
) -> tuple[Reply, list[int]]:
    """Ask the judge.

    Raises:
        CellEnds: It does not know: no backend is to blame.
        WorkerError: None starts.
    """
    limit_s = setting.measure.prepare_timeout_s
    try:
        reply, found = setting.pool.ask_judge(message, device=device, timeout_s=limit_s, descriptors=descriptors)
    except DeadlinePassed:
        raise CellEnds(Status.ERROR, f"the judge took longer than {limit_s:g} s", spoils=False) from None
    except WorkerDied as death:
        status = Status.OOM if death.out_of_memory else Status.ERROR
        raise CellEnds(status, str(death), spoils=False) from None
    if isinstance(reply, expected):
        return reply, found
    status = reply.status if isinstance(reply, Failed) else Status.ERROR
    raise CellEnds(status, unexpected(reply), spoils=False)


def ask_judge_if_there(setting: Setting, message: Message, expected: type[Reply], *, device: str) -> Reply | None:
    """Ask the judge what can be done without."""
    try:
        return ask_judge(setting, message, expected, device=device)[0]
    except CellEnds:
        return None
