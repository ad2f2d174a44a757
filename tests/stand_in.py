"""A pool inside the test's own process: participants and a judge that answer at once and as real ones do.

``use(monkeypatch)`` puts it in the place of real processes; ``python -c START_WITH`` is ``attnbench`` with it, for
tests in which the parent is a process. ``stand_in.json``, in the directory on a participant's Python path or else in
the working directory, says what it pretends:

* ``scatter``: relative standard deviation between processes, drawn anew for every directory, case, backend and round.
* ``slower``, ``peak_bytes``, ``kernel``, ``pattern``: by case or backend, what differs there.
* ``fails``: by case or backend, the rounds in which it fails; ``status``: how.
* ``lacks``: backends that lead nowhere.
* ``environment``: fields of the machine.
* ``turn_s``: how long a turn really takes, for tests that kill or interrupt the parent meanwhile.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnbench.core.channel import memory_file
from attnbench.core.problem import Pattern
from attnbench.core.protocol import (
    CallAgain,
    Describe,
    Described,
    Expect,
    Expected,
    Explain,
    Explained,
    Failed,
    Introduce,
    Introduced,
    MeasureCopy,
    MeasureProduct,
    Message,
    Outcome,
    Prepare,
    Profile,
    Profiled,
    RateMeasured,
    Release,
    Released,
    Show,
    TakeTurn,
    Tensors,
    Turned,
    Unwatch,
    Verdict,
    Verify,
    WarmedUp,
    WarmUp,
    Watch,
    Watched,
    Watching,
)
from attnbench.core.record import Measure, Rate, Status
from attnbench.run import runner
from attnbench.run.cell import CellRun
from attnbench.run.child_process import Abandoned
from attnbench.run.events import Cell
from attnbench.run.interruption import Interruption
from attnbench.run.participant_process import Usage
from attnbench.run.process_pool import Participant, ProcessPool
from attnbench.suite.expansion import Suite
from tests.samples import conditions, environment

START_WITH = (
    "import pytest; from tests import stand_in; stand_in.use(pytest.MonkeyPatch()); "
    "from attnbench.cli import main; main()"
)


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put stand-ins in the place of processes."""
    monkeypatch.setattr(runner, "open_pool", open_pool)
    monkeypatch.setattr(ProcessPool, "judge", property(_Judge))  # a dry run asks nobody else
    prepare = CellRun.prepare_once

    def prepare_known(self: Any, *, settle: bool) -> None:
        self._pool.cell = self.work.cell  # which cell is at work, no real process is told
        prepare(self, settle=settle)

    monkeypatch.setattr(CellRun, "prepare_once", prepare_known)


def open_pool(suite: Suite, interruption: Interruption) -> ProcessPool:
    return StandInPool(suite.measure, abandon=lambda: interruption.at_once)


class _Answering:
    """What answers at once."""

    stopped_s = 0.0
    stopped_since = None
    is_gone = False
    pid = 0

    def __init__(self, pool: ProcessPool) -> None:
        self._reply: tuple[Message, list[int]] | None = None

    def tell(self, message: Message, *, descriptors: Sequence[int] = ()) -> None:
        self._reply = self.answer(message)

    def hear(self, *, timeout_s: float, abandon: Callable[[], bool] = lambda: False) -> tuple[Message, list[int]]:
        if abandon():
            raise Abandoned
        assert self._reply is not None
        return self._reply

    def ask(self, message: Message, *, timeout_s: float, abandon: Callable[[], bool] = lambda: False,
            descriptors: Sequence[int] = ()) -> tuple[Message, list[int]]:  # fmt: skip
        self.tell(message)
        return self.hear(timeout_s=timeout_s, abandon=abandon)

    def answer(self, message: Message) -> tuple[Message, list[int]]:
        raise NotImplementedError

    def close(self) -> None: ...


class _Judge(_Answering):
    def answer(self, message: Message) -> tuple[Message, list[int]]:
        match message:
            case Describe():
                return described(Path()), []
            case Expect():
                return Expected(inputs=Tensors(), rolls=2, free_bytes=2**34), [memory_file()]
            case Verify():
                return Verdict(max_error=1e-6, reason=""), []
            case MeasureCopy() | MeasureProduct():
                rate = 1e11 if isinstance(message, MeasureProduct) else 1e10
                return RateMeasured(rate=Rate(per_s=rate, spread=0.0)), []
            case Watch():
                return Watching(), []
            case Unwatch():
                return Watched(conditions=conditions()), []
        raise AssertionError(message)


class _Participant(_Answering):
    def __init__(self, pool: StandInPool, participant: Participant) -> None:
        super().__init__(pool)
        self._pool = pool
        self._participant = participant
        self._pretended = pretended(participant.interpreter.path)
        self._cell: Cell | None = None
        self._cpu_s = 0.0

    def cpu_s(self) -> float:
        return self._cpu_s

    def usage(self) -> Usage:
        return Usage(cpu_s=self._cpu_s, main_thread_s=self._cpu_s, queued_s=0.0)

    def threads(self) -> int:
        return 1

    def core(self) -> int | None:
        return None

    def pin(self, cores: Iterable[int]) -> None:
        pass

    def resident_bytes(self) -> int:
        return 0

    def answer(self, message: Message) -> tuple[Message, list[int]]:
        return self._answer(message), []

    def _answer(self, message: Message) -> Message:  # noqa: C901, PLR0911 - one return per kind of message
        name = self._participant.choice.name
        match message:
            case Describe():
                return described(self._participant.interpreter.path)
            case Introduce():
                lacks = name in self._pretended["lacks"]
                pattern = self._pretended["pattern"].get(name)
                return Introduced(
                    invalid=f"{name} leads nowhere" if lacks else None, pattern=Pattern(pattern) if pattern else None
                )
            case Explain(problems=problems):
                return Explained(reasons=("",) * len(problems))
            case Prepare():
                assert self._pool.cell is not None
                self._cell = self._pool.cell
                self._cpu_s += 1.0  # preparing takes CPU time, too
                _note(self._cell)
                if self._cell.round in self._of("fails", []):
                    return Failed(status=Status(self._pretended["status"]), reason="the stand-in was told to")
                return Outcome(tensors=Tensors())
            case CallAgain() | Show():
                return Outcome(tensors=Tensors())
            case Profile():
                kernel = "_scaled_dot_product_flash_attention_for_cpu"
                peak_bytes = self._of("peak_bytes", 2**24)
                return Profiled(peak_bytes=peak_bytes, held_bytes=0, kernel=self._of("kernel", kernel))
            case WarmUp():
                return WarmedUp(calls_per_loop=10, expected_s=0.01)
            case TakeTurn(budget_s=budget_s):
                return self._turn(budget_s)
            case Release():
                return Released()
        raise AssertionError(message)

    def _turn(self, budget_s: float) -> Turned:
        if self._pretended["turn_s"]:
            time.sleep(self._pretended["turn_s"])
        assert self._cell is not None
        path = self._participant.interpreter.path or self._participant.side
        drawn = random.Random(f"{path} {self._cell.case.name} {self._participant.label} {self._cell.round}")
        latency_ms = (1.0 + self._cell.position) * math.exp(drawn.gauss(0, self._pretended["scatter"]))
        latency_ms *= self._of("slower", 1.0)
        samples = max(20, int(budget_s * 1e3 / (10 * latency_ms)))
        timed_s = samples * 10 * latency_ms / 1e3
        self._pool.pass_time(timed_s)
        self._cpu_s += timed_s
        return Turned(
            samples_ms=(latency_ms,) * samples, calls=10 * samples, called_s=timed_s, timed_s=timed_s,
            fresh_ms=latency_ms, whole_s=timed_s, page_faults=0, involuntary_switches=0,
        )  # fmt: skip

    def _of(self, name: str, otherwise: Any) -> Any:
        assert self._cell is not None
        known = self._pretended[name]
        return known.get(self._cell.case.name, known.get(self._participant.choice.name, otherwise))


class StandInPool(ProcessPool):
    """Makes processes of nothing; its clock goes as they say."""

    def __init__(self, measure: Measure, *, abandon: Callable[[], bool] = lambda: False) -> None:
        super().__init__(measure, abandon=abandon)
        self._now_s = 0.0
        self.cell: Cell | None = None

    def now_s(self) -> float:
        return self._now_s

    def pass_time(self, seconds: float) -> None:
        self._now_s += seconds

    @property
    def judge(self) -> Any:
        return _Judge(self)

    def describe_environment(self, participant: Participant, device: str) -> Described:
        return described(participant.interpreter.path)

    def begin_round(self, participants: Sequence[Participant] = (), *, rounds: int = 1) -> None:
        self._participants.clear()

    def _fork(self, participant: Participant) -> Any:
        self._participants[participant] = process = _Participant(self, participant)  # type: ignore[assignment]
        return process


def described(path: Path | None) -> Described:
    return Described(environment=replace(environment(), **pretended(path)["environment"]), device_id="cpu")


def pretended(path: Path | None) -> dict[str, Any]:
    nothing: dict[str, Any] = {
        name: {} for name in ("slower", "peak_bytes", "kernel", "pattern", "fails", "environment")
    }
    file = (path or Path()) / "stand_in.json"
    given = json.loads(file.read_text()) if file.is_file() else {}
    return {**nothing, "lacks": [], "scatter": 0.0, "status": "crashed", "turn_s": 0.0, **given}


def _note(cell: Cell) -> None:
    """Where the working directory has a file ``turns``, whose turn it is."""
    if Path("turns").is_file():
        with Path("turns").open("a") as turns:
            turns.write(f"{cell.side} {cell.round} {cell.case.name}\n")
