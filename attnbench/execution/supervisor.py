"""Keeps one worker at work: starts it, holds it to its deadlines, replaces it, and turns its end into a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from attnbench.errors import RefusedError, WorkerError
from attnbench.execution.interpreter import Interpreter
from attnbench.execution.messages import (
    BackendAnswer,
    Describe,
    Described,
    Entered,
    Explain,
    Explained,
    Finished,
    MeasureCase,
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
_PATIENCE = 20
_LEAST_TURN_S = 10.0
"""A turn of sampling may take this many times what it took before, and at least this long: machines stall."""
_STARTS = 3
"""Attempts to start a worker before the run is given up: the system may have killed the first one by chance."""


class Supervisor:
    """The one worker of a device.

    Args:
        threads: CPU threads of every worker.
        interpreter: The Python that workers run in, by default this one.
    """

    def __init__(self, *, threads: int, interpreter: Interpreter | None = None) -> None:
        self._threads = threads
        self._interpreter = interpreter
        self._process: WorkerProcess | None = None
        self.starting_s = 0.0
        """Seconds spent until workers were ready and had described their machine."""

    def describe(
        self, *, device: str, backends: Sequence[str], measure: Measure, abandon: Callable[[], bool] = lambda: False
    ) -> Described:
        """Ask what the machine and the backends are.

        A backend whose package takes the worker down while it is asked is unavailable, and the others are not.

        Args:
            device: ``auto``, or as torch spells it.
            backends: Names or module paths.
            measure: How it will be measured.
            abandon: Asked a few times a second whether to give up.

        Raises:
            RefusedError: There is no such device, or it cannot do what is asked.
            Abandoned: ``abandon`` said so.
            WorkerError: The worker does not start or does not answer.
        """
        self._ready(abandon)
        began = time.monotonic()
        try:
            return self._describe(Describe(device=device, backends=tuple(backends), measure=measure), abandon)
        except _Unanswered:
            described = self._describe(Describe(device=device, backends=(), measure=measure), abandon)
        finally:
            self.starting_s += time.monotonic() - began
        answers: list[BackendAnswer] = []
        for backend in backends:
            try:
                alone = self._describe(Describe(device=device, backends=(backend,), measure=measure), abandon)
                answers += alone.backends
            except _Unanswered as error:
                answers.append(BackendAnswer(name=backend, unavailable=str(error)))
        return replace(described, backends=tuple(answers))

    def _describe(self, asked: Describe, abandon: Callable[[], bool]) -> Described:
        answer = self._ask(asked, abandon)
        if isinstance(answer, Refused):
            raise RefusedError(answer.message, answer.key)
        if not isinstance(answer, Described):
            raise WorkerError(f"the worker answered {type(answer).__name__} when asked to describe itself")
        return answer

    def explain(self, backend: str, problems: Sequence[Problem], *, device_type: str) -> tuple[str, ...]:
        """Why ``backend`` cannot compute each problem; empty where it can.

        A backend that takes the worker down while it is asked cannot compute any.

        Raises:
            WorkerError: No worker starts.
        """
        try:
            answer = self._ask(Explain(backend=backend, problems=tuple(problems), device_type=device_type))
        except _Unanswered as error:
            return (str(error),) * len(problems)
        if not isinstance(answer, Explained):
            raise WorkerError(f"the worker answered {type(answer).__name__} when asked about {backend}")
        return answer.reasons

    def measure(
        self,
        asked: MeasureCase,
        unmeasured: Callable[[str], Record],
        *,
        entered: Callable[[Entered], None],
        abandon: Callable[[], bool],
    ) -> Iterator[Record]:
        """The record of every backend of a case, whatever becomes of the worker.

        Where the worker dies, hangs or can no longer be trusted, the backend at work then is blamed and the others are
        asked for again. Where memory ran out, the backend is tried once more with a worker to itself; where somebody
        killed the worker, once more.

        Args:
            asked: The case.
            unmeasured: What a backend's record says where the worker cannot say it.
            entered: Told what the worker is at.
            abandon: Asked a few times a second whether to give up.

        Raises:
            Abandoned: ``abandon`` said so; there are no further records.
            WorkerError: No worker starts.
        """
        together = dict(zip(asked.backends, asked.positions, strict=True))
        alone: dict[str, int] = {}
        excused: set[str] = set()
        while together or alone:
            if not together:
                self.close()  # with nobody else's leftovers
            waiting = together or dict([next(iter(alone.items()))])
            again = replace(asked, backends=tuple(waiting), positions=tuple(waiting.values()))
            had_company = len(waiting) > 1 or self._process is not None
            for record in self._attempt(again, unmeasured, entered, abandon, excused):
                position = waiting.pop(record.backend)
                if record.status is Status.OOM and had_company:
                    alone[record.backend] = position  # others, or earlier cases, may have taken the memory
                    continue
                alone.pop(record.backend, None)
                yield record

    def _attempt(
        self,
        asked: MeasureCase,
        unmeasured: Callable[[str], Record],
        entered: Callable[[Entered], None],
        abandon: Callable[[], bool],
        excused: set[str],
    ) -> Iterator[Record]:
        """Records until all are there or the worker had to be replaced."""
        process = self._ready(abandon)
        now = Entered(backend=asked.backends[0], stage=Stage.REFERENCE)
        deadline = time.monotonic() + _limit(now, asked.measure)
        missing = list(asked.backends)
        heard = False
        try:
            process.send(asked)
            while missing:
                answer = process.receive(timeout_s=deadline - time.monotonic(), abandon=abandon)
                heard = True
                if isinstance(answer, Finished):
                    missing.remove(answer.record.backend)
                    yield answer.record
                    if answer.spoiled:
                        self.close()
                        return
                elif isinstance(answer, Entered):
                    if answer.backend != now.backend:
                        process.listen(answer.spoken_bytes)
                    now = answer
                    entered(now)
                deadline = time.monotonic() + _limit(now, asked.measure)
        except (DeadlinePassed, WorkerDied) as end:
            self.close()
            guilty = _guilty(now, missing)
            if _is_excused(end, heard=heard, guilty=guilty, excused=excused):
                return
            if isinstance(end, DeadlinePassed):
                reason = f"stage {now.stage} took longer than {_limit(now, asked.measure):.3g} s ({_key(now)})"
                yield replace(unmeasured(guilty), status=Status.TIMEOUT, reason=reason)
            else:
                status = Status.OOM if end.out_of_memory else Status.CRASHED
                yield replace(unmeasured(guilty), status=status, reason=f"in stage {now.stage}, {end}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the worker, if there is one; the next request starts another."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _ask(self, message: Message, abandon: Callable[[], bool] = lambda: False) -> Message:
        process = self._ready(abandon)
        try:
            process.send(message)
            return process.receive(timeout_s=_START_TIMEOUT_S, abandon=abandon)
        except WorkerDied as death:
            self.close()
            raise _Unanswered(f"while it was asked, {death}") from None
        except DeadlinePassed:
            self.close()
            raise _Unanswered(f"the worker did not answer within {_START_TIMEOUT_S:g} s") from None
        except BaseException:
            self.close()
            raise

    def _ready(self, abandon: Callable[[], bool]) -> WorkerProcess:
        if self._process is not None:
            return self._process
        began = time.monotonic()
        for attempts_left in reversed(range(_STARTS)):
            try:
                process = self._process = WorkerProcess(threads=self._threads, interpreter=self._interpreter)
                answer = process.receive(timeout_s=_START_TIMEOUT_S, abandon=abandon)
                break
            except (WorkerDied, DeadlinePassed, OSError) as error:
                self.close()
                if not attempts_left:
                    raise WorkerError(f"no worker starts: {str(error) or 'it did not answer in time'}") from None
            except BaseException:
                self.close()
                raise
        if not isinstance(answer, Ready):
            raise WorkerError(f"the worker's first words were {type(answer).__name__}")
        self.starting_s += time.monotonic() - began
        return process


class _Unanswered(WorkerError):
    """A worker died or hung over a question."""


def _guilty(now: Entered, missing: Sequence[str]) -> str:
    """Whom to blame: the backend at work, or the next one where that has its record already."""
    return now.backend if now.backend in missing else missing[0]


def _is_excused(end: DeadlinePassed | WorkerDied, *, heard: bool, guilty: str, excused: set[str]) -> bool:
    """Whether nobody is to blame yet: once each, what was at work is asked for again.

    A worker that never began died of what earlier cases left. One that was killed was killed by somebody else.
    """
    if not heard:
        reprieve = ""
    elif isinstance(end, WorkerDied) and end.killed and not end.out_of_memory:
        reprieve = guilty
    else:
        return False
    known = reprieve in excused
    excused.add(reprieve)
    return not known


def _limit(now: Entered, measure: Measure) -> float:
    if now.stage in (Stage.REFERENCE, Stage.PREPARE):
        return measure.prepare_timeout_s
    if now.expected_s is None:
        return measure.timeout_s
    return min(measure.timeout_s, max(_LEAST_TURN_S, _PATIENCE * now.expected_s))


def _key(now: Entered) -> str:
    if now.expected_s is not None:
        return f"{_PATIENCE} x what it took before, {_LEAST_TURN_S:g} s at least, timeout_s at most"
    return "prepare_timeout_s" if now.stage in (Stage.REFERENCE, Stage.PREPARE) else "timeout_s"
