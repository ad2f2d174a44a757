"""Keeps one worker at work: starts it, holds it to its deadlines, replaces it, and turns its end into a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from attnbench.errors import UsageError, WorkerError
from attnbench.execution.messages import (
    Describe,
    Described,
    Entered,
    Explain,
    Explained,
    Finished,
    MeasureCell,
    Message,
    Ready,
    Refused,
    Stage,
)
from attnbench.execution.process import DeadlinePassed, WorkerDied, WorkerProcess
from attnbench.problem import Problem
from attnbench.record import Measure, Record, Status

_START_TIMEOUT_S = 300.0
"""Importing torch, and then every backend's package; a cold disk is slow."""


class Supervisor:
    """The one worker of a device.

    Args:
        threads: CPU threads of every worker.
    """

    def __init__(self, *, threads: int) -> None:
        self._threads = threads
        self._process: WorkerProcess | None = None
        self.starting_s = 0.0
        """Seconds spent until workers were ready and had described their machine."""

    def describe(self, *, device: str, backends: Sequence[str], measure: Measure) -> Described:
        """Ask what the machine and the backends are.

        Raises:
            UsageError: There is no such device.
            WorkerError: The worker does not start or does not answer.
        """
        self._ready()
        began = time.monotonic()
        answer = self._ask(Describe(device=device, backends=tuple(backends), measure=measure))
        self.starting_s += time.monotonic() - began
        if isinstance(answer, Refused):
            raise UsageError(answer.message)
        if not isinstance(answer, Described):
            raise WorkerError(f"the worker answered {type(answer).__name__} when asked to describe itself")
        return answer

    def explain(self, backend: str, problems: Sequence[Problem], *, device_type: str) -> tuple[str, ...]:
        """Why ``backend`` cannot compute each problem; empty where it can.

        Raises:
            WorkerError: The worker does not answer.
        """
        answer = self._ask(Explain(backend=backend, problems=tuple(problems), device_type=device_type))
        if not isinstance(answer, Explained):
            raise WorkerError(f"the worker answered {type(answer).__name__} when asked about {backend}")
        return answer.reasons

    def measure(self, asked: MeasureCell, unmeasured: Record, *, abandon: Callable[[], bool]) -> Record:
        """One cell's record, whatever becomes of the worker.

        Args:
            asked: The cell.
            unmeasured: What the record says where the worker cannot say it.
            abandon: Asked a few times a second whether to give up.

        Raises:
            Abandoned: ``abandon`` said so; there is no record.
            WorkerError: No worker starts.
        """
        process = self._ready()
        stage, limit_s = Stage.REFERENCE, asked.measure.prepare_timeout_s
        deadline = time.monotonic() + limit_s
        try:
            process.send(asked)
            while True:
                answer = process.receive(timeout_s=deadline - time.monotonic(), abandon=abandon)
                if isinstance(answer, Finished):
                    return answer.record
                if isinstance(answer, Entered):
                    stage = answer.stage
                    limit_s = _limit(stage, asked.measure)
                    deadline = time.monotonic() + limit_s
        except DeadlinePassed:
            self.close()
            key = "timeout_s" if stage is Stage.MEASURE else "prepare_timeout_s"
            reason = f"stage {stage} took longer than {limit_s:g} s ({key})"
            return replace(unmeasured, status=Status.TIMEOUT, reason=reason)
        except WorkerDied as death:
            self.close()
            return replace(unmeasured, status=Status.CRASHED, reason=f"in stage {stage}, {death}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the worker, if there is one; the next request starts another."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _ask(self, message: Message) -> Message:
        process = self._ready()
        try:
            process.send(message)
            return process.receive(timeout_s=_START_TIMEOUT_S)
        except WorkerDied as death:
            self.close()
            raise WorkerError(f"while it was asked about its backends, {death}") from None
        except DeadlinePassed:
            self.close()
            raise WorkerError(f"the worker did not answer within {_START_TIMEOUT_S:g} s") from None

    def _ready(self) -> WorkerProcess:
        if self._process is not None:
            return self._process
        began = time.monotonic()
        try:
            process = self._process = WorkerProcess(threads=self._threads)
            answer = process.receive(timeout_s=_START_TIMEOUT_S)
        except (WorkerDied, DeadlinePassed, OSError) as error:
            self.close()
            raise WorkerError(f"no worker starts: {str(error) or 'it did not answer in time'}") from None
        if not isinstance(answer, Ready):
            raise WorkerError(f"the worker's first words were {type(answer).__name__}")
        self.starting_s += time.monotonic() - began
        return process


def _limit(stage: Stage, measure: Measure) -> float:
    return measure.timeout_s if stage is Stage.MEASURE else measure.prepare_timeout_s
