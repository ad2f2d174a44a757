"""The starters of a run: two of every interpreter take rounds in turn, and each serves several."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from attnbench.core.errors import WorkerError
from attnbench.core.record import Measure
from attnbench.run.interpreter import Interpreter
from attnbench.run.participant_process import ParticipantProcess
from attnbench.run.starter_process import Starter, StarterHangs
from attnbench.run.worker_process import START_TIMEOUT_S

STARTS = 3
"""Attempts to start a process before it is given up: the system may have killed the first one by chance."""
_LAYOUTS = 2
"""Starters of an interpreter that take rounds in turn. Forks share the address layout of their starter, and a run shall
not hang on one."""
_ROUNDS_EACH = 5
"""Rounds that a starter serves: importing torch takes as long as measuring two cases. Forks of one starter have nothing
in common that tests/benchmarks/starters.py could find."""


class Starters:
    """Starts participants.

    Args:
        measure: How they measure.
        modules: What each will need of torch.
        abandon: Asked a few times a second whether to give up waiting.
    """

    def __init__(self, measure: Measure, *, modules: tuple[str, ...], abandon: Callable[[], bool]) -> None:
        self._measure, self._modules, self._abandon = measure, modules, abandon
        self._layouts: deque[dict[Interpreter, Starter]] = deque([{}])
        """By host: starters of the round, and those of the next ones."""
        self._rounds_left = 0
        self._broken: dict[Interpreter, str] = {}
        """Why a host starts nothing."""

    def begin_round(self, interpreters: Iterable[Interpreter], *, rounds: int) -> None:
        """See that participants are forks of starters that have not served too often.

        Args:
            interpreters: Of those who will be at work.
            rounds: How many there are to come: starters of some of them are started together.
        """
        if not self._rounds_left:
            self.close()
            hosts = list(dict.fromkeys(map(self._host, interpreters)))
            self._layouts = deque(self._started(hosts) for _ in range(min(rounds, _LAYOUTS)))
            self._rounds_left = _ROUNDS_EACH * len(self._layouts)
        self._rounds_left -= 1
        self._layouts.rotate()

    def _started(self, hosts: Iterable[Interpreter]) -> dict[Interpreter, Starter]:
        found: dict[Interpreter, Starter] = {}
        for host in hosts:
            if host not in self._broken:
                with contextlib.suppress(OSError):  # told when a participant is wanted from it
                    found[host] = self._start(host)
        return found

    def wait_until_ready(self) -> None:
        """Wait until every starter has imported torch: meanwhile nothing can be measured.

        Raises:
            Abandoned: ``abandon`` said so.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        for starters in self._layouts:
            for host, starter in list(starters.items()):
                try:
                    starter.wait_until_ready(deadline=deadline, abandon=self._abandon)
                except StarterHangs as error:
                    self._give_up(host, error)
                except WorkerError:  # told when a participant is wanted from it
                    continue

    def fork(self, interpreter: Interpreter, *, attempts: int = STARTS) -> ParticipantProcess:
        """Start a participant.

        Args:
            interpreter: Its interpreter.
            attempts: How often to try, each time with another starter.

        Raises:
            WorkerError: None starts.
            OSError: The interpreter cannot be run, and this was the only attempt.
            Abandoned: ``abandon`` said so.
        """
        host = self._host(interpreter)
        for left in reversed(range(attempts)):
            if host in self._broken:
                raise WorkerError(self._broken[host])
            try:
                if host not in self._layouts[0]:
                    self._layouts[0][host] = self._start(host)
                return self._layouts[0][host].fork(interpreter.path, abandon=self._abandon)
            except StarterHangs as error:
                self._give_up(host, error)
            except (WorkerError, OSError) as error:
                self._end(host)
                if attempts == 1:
                    raise
                if not left:
                    self._broken[host] = f"no process starts: {error}"
        raise WorkerError(self._broken[host])

    def close(self) -> None:
        """End all of them, with every participant."""
        for starters in self._layouts:
            for starter in starters.values():
                starter.close()
        self._layouts, self._rounds_left = deque([{}]), 0

    def _start(self, host: Interpreter) -> Starter:
        measure = self._measure
        return Starter(interpreter=host, threads=measure.threads, allocator=measure.allocator, modules=self._modules)

    def _give_up(self, host: Interpreter, error: WorkerError) -> None:
        """Start nothing in an interpreter any more: whoever waited for it once shall not wait again."""
        self._broken[host] = f"no process starts: {error}"
        for starters in self._layouts:
            if host in starters:
                starters.pop(host).close()

    def _end(self, host: Interpreter) -> None:
        """End a starter that cannot be relied on, and all its participants with it."""
        if host in self._layouts[0]:
            self._layouts[0].pop(host).close()

    @staticmethod
    def _host(interpreter: Interpreter) -> Interpreter:
        """Whose forks a participant is among, whatever its own path.

        Forks share an address layout, so two sides of one interpreter differ in one thing less.
        """
        return replace(interpreter, path=None, backends=())
