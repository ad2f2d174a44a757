"""Which starters there are, and what an interpreter that hangs costs; with starters that are no processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnbench.core.record import BackendChoice, Measure
from attnbench.run import starters as starting
from attnbench.run.interpreter import Interpreter
from attnbench.run.participant_process import ParticipantProcess
from attnbench.run.process_pool import Participant, ProcessPool
from attnbench.run.starter_process import StarterHangs
from attnbench.run.worker_process import START_TIMEOUT_S

HANGS = Path("/hangs/bin/python")


class Starters:
    """Stand in for ``Starter``, and note what is asked of each."""

    def __init__(self) -> None:
        self.started: list[Interpreter] = []
        self.waited: list[float] = []
        self.closed: list[Interpreter] = []
        self.forked: list[Path | None] = []

    def __call__(self, *, interpreter: Interpreter, **_: Any) -> Any:
        self.started.append(interpreter)
        everything = self

        class One:
            def wait_until_ready(self, *, deadline: float, abandon: Callable[[], bool]) -> None:
                if interpreter.executable == HANGS:
                    everything.waited.append(deadline)
                    raise StarterHangs("the starter did not answer")

            def fork(self, path: Path | None, *, abandon: Callable[[], bool]) -> Any:
                self.wait_until_ready(deadline=0.0, abandon=abandon)
                everything.forked.append(path)
                raise AssertionError("never answered")

            def close(self) -> None:
                everything.closed.append(interpreter)

        return One()


@pytest.fixture
def starters(monkeypatch: pytest.MonkeyPatch) -> Starters:
    found = Starters()
    monkeypatch.setattr(starting, "Starter", found)
    return found


def participant(executable: str, *, path: str | None = None, side: str = "") -> Participant:
    interpreter = Interpreter(executable=Path(executable), path=Path(path) if path else None, backends=("x",))
    return Participant(choice=BackendChoice(label="a", name="a"), interpreter=interpreter, side=side)


def test_an_interpreter_that_hangs_is_waited_for_once_whatever_it_would_start(starters: Starters) -> None:
    pool = ProcessPool(Measure())
    company = [participant(str(HANGS)), participant("/fine/bin/python")]
    pool.begin_round(company, rounds=2)
    pool.wait_until_ready()
    assert len(starters.waited) == 1
    assert starters.waited[0] - pool.began == pytest.approx(START_TIMEOUT_S, abs=60)
    assert [one.executable for one in starters.closed] == [HANGS] * 2, "that of later rounds, too"
    introduced = pool.introduce(company[0], "cpu")
    assert introduced.unavailable == "no process starts: the starter did not answer"
    assert len(starters.waited) == 1
    for _ in range(20):
        pool.begin_round(company)
    assert [one.executable for one in starters.started].count(HANGS) == 2
    pool.close()


def test_two_sides_of_one_interpreter_are_forks_of_one_starter(starters: Starters) -> None:
    pool = ProcessPool(Measure())
    sides = [participant("/fine/bin/python", path=side, side=side) for side in ("base", "candidate")]
    pool.begin_round([*sides, participant("/other/bin/python")])
    assert [one.executable for one in starters.started] == [Path("/fine/bin/python"), Path("/other/bin/python")]
    assert starters.started[0].path is None, "a starter finds no module of either side"
    for side in sides:
        with pytest.raises(AssertionError, match="never answered"):
            pool.introduce(side, "cpu")
    assert starters.forked == [Path("base"), Path("candidate")]
    pool.close()


def test_rounds_take_turns_with_two_starters_which_serve_five_rounds_each(starters: Starters) -> None:
    pool = ProcessPool(Measure())
    one = participant("/fine/bin/python")
    served = []
    for left in reversed(range(1, 13)):
        pool.begin_round([one], rounds=left)
        served.append(pool._starters._layouts[0][replace(one.interpreter, backends=())])
    assert len(starters.started) == 4
    assert [served.index(starter) for starter in served] == [0, 1] * 5 + [10, 11]
    assert len(starters.closed) == 2
    pool.close()
    assert len(starters.closed) == 4


def test_one_round_needs_one_starter(starters: Starters) -> None:
    pool = ProcessPool(Measure())
    pool.begin_round([participant("/fine/bin/python")], rounds=1)
    assert len(starters.started) == 1
    pool.close()
    assert len(starters.closed) == 1


def test_what_was_started_outside_of_rounds_is_ended_too(starters: Starters) -> None:
    pool = ProcessPool(Measure())
    with pytest.raises(AssertionError, match="never answered"):
        pool.introduce(participant("/fine/bin/python"), "cpu")
    pool.close()
    assert len(starters.closed) == len(starters.started) == 1


@pytest.mark.parametrize(("code", "pinned"), [(None, [(7, [0])]), (-9, [])])
def test_a_process_that_has_ended_is_not_pinned_for_its_number_may_be_anothers(
    code: int | None, pinned: list[tuple[int, list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, list[int]]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: seen.append((pid, cores)), raising=False)
    process = object.__new__(ParticipantProcess)
    process.pid, process.code = 7, code
    process.pin([0])
    assert seen == pinned
