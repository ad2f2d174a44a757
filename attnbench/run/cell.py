"""One cell in one round: prepared, checked, sampled turn by turn, and checked again.

The parent believes nothing that it can see for itself: it brackets every turn with its own clock, reads the CPU time of
the process from the system, and has the judge look at what was computed in turns drawn at random.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import statistics
import time
from dataclasses import replace

from attnbench.core.channel import memory_file
from attnbench.core.protocol import (
    CallAgain,
    Called,
    CountEnergy,
    EnergyCounted,
    Explain,
    Explained,
    KeepCalling,
    Outcome,
    Prepare,
    Profile,
    Profiled,
    Release,
    Released,
    Shown,
    TakeTurn,
    Turned,
    Variation,
    WarmedUp,
    WarmUp,
)
from attnbench.core.record import Cache, Case, Ceilings, Launch, Record, Spent, Status
from attnbench.run.cell_state import CellEnds, KilledFromOutside, Known, Setting, Work
from attnbench.run.checks import FEWEST_FRESH, check_claims, check_idle, check_leak, check_turn, longest_fresh_ms
from attnbench.run.events import Cell, Stage
from attnbench.run.outputs import Outputs
from attnbench.run.process_pool import Participant
from attnbench.run.requests import Line, ask_judge_if_there

_FEWEST_SAMPLES, _MOST_SAMPLES = 3, 1000
_LEAST_TIMED_S = 0.1
"""Samples are taken until they hold at least this much time, however many they are."""
_PATIENCE, _LEAST_LIMIT_S = 20, 10.0
"""A turn may take this many times what it should, and at least this long: machines stall."""
_CHECKED_EVERY_S = 0.8
"""Of sampling, one turn is checked, besides one in every cell and round."""
_FRESH_SHARE = 1 / 4
"""Of all cells in later rounds try calls on new values."""
_MOST_RETAKEN = 50
_QUIET_S, _QUIET_LIMIT_S = 2e-4, 0.3
"""Threads of a parallel loop spin for a while before they sleep: some for a fifth of a second (KMP_BLOCKTIME)."""
_ENERGY_S = 2.0


class CellRun:
    """A cell at work.

    Args:
        cell: Which.
        participant: Who computes it.
        setting: What all cells of a session have in common.
        ceilings: What the device can do in this round.
    """

    def __init__(self, cell: Cell, participant: Participant, setting: Setting, *, ceilings: Ceilings | None) -> None:
        self._case: Case = cell.case
        self._setting, self._ceilings = setting, ceilings
        self._pool, self._measure = setting.pool, setting.measure
        pattern = setting.introduced[participant].pattern
        problem = self._case.problem if pattern is None else replace(self._case.problem, pattern=pattern)
        self.work = Work(cell=cell, participant=participant, problem=problem)
        self._line = Line(setting, participant)
        self._outputs = Outputs(self.work, self._line, setting)
        self._random = random.SystemRandom()  # nobody shall know which turns are checked

    def prepare(self, *, settle: bool) -> None:
        """Do everything before the first turn, and once more where somebody killed the process meanwhile.

        Args:
            settle: Whether to wait until a device that was idle has reached its steady clock.

        Raises:
            CellEnds: The cell ends here.
        """
        try:
            self.prepare_once(settle=settle)
        except KilledFromOutside:
            try:
                self.prepare_once(settle=settle)
            except KilledFromOutside as killed:
                raise CellEnds(Status.CRASHED, str(killed)) from None

    def prepare_once(self, *, settle: bool) -> None:
        """Do everything before the first turn.

        Raises:
            CellEnds: The cell ends here.
            KilledFromOutside: Nothing is known of it.
        """
        work = self.work
        self.work.left = None  # what it does until its next turn is asked for
        self._introduce()
        explained = self._line.ask(Explain(problems=(work.problem,)), Explained, Stage.REFERENCE)
        if any(explained.reasons):
            raise CellEnds(Status.UNSUPPORTED, explained.reasons[0], spoils=False)
        with work.timed("check_s"):
            inputs = self._outputs.expect()
        assert work.expected is not None
        if work.outputs < 0:
            work.outputs = memory_file()
        known = self._setting.known.get((self._case.name, work.participant))
        is_new = known is None
        is_checked = is_new or self._measure.launch is Launch.GRAPH
        asked = Prepare(
            problem=work.problem,
            launch=self._measure.launch,
            inputs=work.expected.inputs,
            is_checked=is_checked,
        )
        limit, sent = self._setting.hangs.limit(work.cell.backend, self._measure), (inputs, work.outputs)
        try:
            with work.timed("prepare_s"):
                first = self._line.ask(asked, Outcome, Stage.PREPARE, limit=limit, descriptors=sent)
        finally:
            os.close(inputs)
        if is_checked:
            with work.timed("check_s"):
                max_error = self._outputs.verify(first, Variation()).max_error
                work.variation = self._outputs.varied()
                second = self._line.ask(CallAgain(variation=work.variation), Outcome, Stage.MEASURE)
                self._outputs.verify(second, work.variation, prefix="for a second input, ")
        if known is None:
            with work.timed("profile_s"):
                profiled = self._line.ask(Profile(), Profiled, Stage.MEASURE)
                joules = None if self._case.device_type == "cpu" else self._joules()
            known = Known(max_error=max_error, profiled=profiled, joules=joules)
        work.known = known
        with work.timed("warm_up_s"):
            environment = self._setting.environment
            asked_warm = WarmUp(cache=environment.cache, cache_bytes=environment.cache_bytes, settle=settle)
            warm = self._line.ask(asked_warm, WarmedUp, Stage.MEASURE)
        work.calls_per_loop, work.expected_s = max(1, warm.calls_per_loop), warm.expected_s
        # One that remembers does so in every round: the first looks, and the others now and then.
        work.tries_fresh = is_new or self._random.random() < _FRESH_SHARE
        turn_s = max(self._setting.turn_s, warm.expected_s)
        work.drawn = self._random.randrange(max(1, math.ceil(self._measure.max_time_s / turn_s)))

    def _introduce(self) -> None:
        """See that it has a process: its last one may have failed."""
        if self._pool.is_at_work(self.work.participant):
            return
        introduced = self._pool.introduce(self.work.participant, self._case.device)
        reason = introduced.invalid or introduced.unavailable
        if reason:
            raise CellEnds(Status.ERROR, f"it could be loaded before, and not again: {reason}")

    def take_turn(self, *, fresh: bool = False) -> None:
        """Let it sample while everybody else sleeps.

        Args:
            fresh: Whether to see how long a call takes on new values, besides the turn that was drawn for it.

        Raises:
            CellEnds: The cell ends here.
        """
        work, threads = self.work, self._measure.threads
        process = self._line.process(Stage.SAMPLE)
        asked, limit = self._next_turn(fresh=fresh)
        before, began = process.usage(), self._pool.now_s()
        work.end_idleness(before.cpu_s, began)
        turned = self._line.ask(asked, Turned, Stage.SAMPLE, limit=limit)
        wall_s, ended = self._pool.now_s() - began, process.usage()
        # A graph writes to the same memory every time.
        timed = work.variation if self._measure.launch is Launch.GRAPH else asked.variation
        work.see_fastest(turned, timed)
        if process.stopped_s:
            work.retaken += 1
            if work.retaken > _MOST_RETAKEN:
                raise CellEnds(Status.TIMEOUT, f"it was stopped in {_MOST_RETAKEN} turns (SIGSTOP)")
            return
        self._wait_until_quiet()
        check_turn(turned, wall_s)
        number = len(work.turns)
        # Several threads spin for a while when their loop has ended; a single one has nothing to wait for.
        used = (process.usage() if threads == 1 else ended) - before
        work.count(turned, wall_s, used, threads=threads)
        work.timed_variation = timed
        work.resident_bytes.append(process.resident_bytes())
        work.expected_s = max(work.expected_s, wall_s)
        is_checked = number == work.drawn or self._random.random() < self._setting.turn_s / _CHECKED_EVERY_S
        if is_checked:
            self._outputs.check_last_turn()
        if asked.afterwards is not None:  # also where it is tried again: the first time tells nothing of the second
            self._outputs.check(Shown.FRESH, asked.afterwards, "right when it was checked, but on new values ")
        if is_checked or asked.afterwards is not None:
            self._wait_until_quiet()  # handing an output on may have woken threads, which spin for a while
        work.left = process.cpu_s(), self._pool.now_s()

    def _next_turn(self, *, fresh: bool) -> tuple[TakeTurn, tuple[float, str]]:
        """What to ask for, how long it may take, and by which rule."""
        work, turn_s = self.work, self._setting.turn_s
        timed = work.variation = self._outputs.varied()
        afterwards = None
        if fresh or (work.tries_fresh and len(work.turns) == work.drawn):
            afterwards = work.variation = self._outputs.new_values()
        budget_s = min(turn_s, max(0.0, self._measure.max_time_s - work.spent_s))
        limit_s = min(self._measure.timeout_s, max(_LEAST_LIMIT_S, _PATIENCE * (work.expected_s + turn_s)))
        rule = f"{_PATIENCE} x what it took before, {_LEAST_LIMIT_S:g} s at least, timeout_s at most"
        return TakeTurn(variation=timed, budget_s=budget_s, afterwards=afterwards), (limit_s, rule)

    def check(self) -> None:
        """What can be said once a cell has spent its budget.

        Raises:
            CellEnds: Something is wrong with it.
        """
        work = self.work
        if self._case.device_type == "cpu":
            check_claims(work, self._measure.threads, hot=self._setting.environment.cache is Cache.HOT)
            self._outputs.check(
                Shown.FASTEST, work.fastest_variation, "right when it was checked, but where it was fastest "
            )
            if self._measure.threads == 1:  # several spin for a while when their loop has ended
                check_idle(work)
        check_leak(work)
        if not work.checked:
            self._outputs.check_last_turn()
        self._check_fresh()

    def _check_fresh(self) -> None:
        """On new values a call takes no longer than on those it has seen, unless it remembers what they gave.

        Raises:
            CellEnds: It does.
        """
        work = self.work
        counted = len(work.turns)
        while work.tries_fresh:
            fresh = [turn.fresh_ms for turn in work.turns if turn.fresh_ms is not None]
            # Of all turns: in a single one everything may have been slow but the call on new values.
            known_ms = statistics.median(sample for turn in work.turns for sample in turn.samples_ms)
            if fresh and min(fresh) <= longest_fresh_ms(known_ms):
                break
            if len(fresh) >= FEWEST_FRESH:
                said = f"a call takes {min(fresh):.3g} ms on new values and {known_ms:.3g} ms on those it has seen"
                raise CellEnds(Status.WRONG_RESULT, f"{said}: it remembers what it gave")
            self.take_turn(fresh=True)
        del work.turns[counted:]  # they were taken for this alone

    def _wait_until_quiet(self) -> None:
        """Wait until no thread of a participant is at work: the next turn is somebody else's.

        Raises:
            CellEnds: That takes too long.
        """
        process = self._line.process(Stage.SAMPLE)
        if self._case.device_type != "cpu" or process.threads() == 1:  # that one sleeps until it is asked
            return
        deadline = time.monotonic() + _QUIET_LIMIT_S
        before, since = process.cpu_s(), time.monotonic()
        while True:
            time.sleep(_QUIET_S)
            now, moment = process.cpu_s(), time.monotonic()
            if not now - before > (moment - since) / 8:
                return
            if moment > deadline:
                raise CellEnds(
                    Status.ERROR, f"threads of it were still at work {_QUIET_LIMIT_S:g} s after its turn had ended"
                )
            before, since = now, moment

    def wants_more(self) -> bool:
        """Whether the budget leaves room. It is fixed: nothing is decided by what was found."""
        work = self.work
        if work.samples < _FEWEST_SAMPLES:
            return True
        enough = work.samples >= _MOST_SAMPLES and sum(turn.timed_s for turn in work.turns) >= _LEAST_TIMED_S
        return work.spent_s < self._measure.max_time_s and not enough

    def _joules(self) -> float | None:
        """The energy of a call: the participant calls without a pause while the judge reads the device's counter."""
        self._line.tell(KeepCalling(seconds=_ENERGY_S), Stage.MEASURE)
        counted = ask_judge_if_there(self._setting, CountEnergy(), EnergyCounted, device=self._case.device)
        called = self._line.hear(Called, Stage.MEASURE, (self._measure.timeout_s, "timeout_s"))
        if counted is None or counted.joules is None:
            return None
        calls = [_interpolated(called, moment) for moment in (counted.began_s, counted.ended_s)]
        return counted.joules / (calls[1] - calls[0]) if calls[1] > calls[0] else None

    def release(self) -> None:
        """Let a participant give back the memory of the case."""
        work = self.work
        if work.outputs >= 0:
            os.close(work.outputs)
            work.outputs = -1
        if self._pool.is_at_work(work.participant):
            try:
                self._line.ask(Release(), Released, Stage.MEASURE)
            except (CellEnds, KilledFromOutside):  # the next case has another process
                self._pool.end(work.participant)

    def failed(self, end: CellEnds) -> Record:
        """The record of a cell that ended so."""
        return replace(self._unmeasured(), status=end.status, reason=end.reason or end.status)

    def _unmeasured(self) -> Record:
        work = self.work
        return Record(
            case=self._case.name,
            backend=work.cell.backend,
            device=self._case.device,
            problem=work.problem,
            position=work.cell.position,
            round=work.cell.round,
            status=Status.ERROR,
            reason="nothing was measured",
            spent=Spent(**work.spent),
        )

    def record(self) -> Record:
        """The record of a cell that is ok."""
        work = self.work
        assert work.known is not None
        profiled = work.known.profiled
        self._setting.known[self._case.name, work.participant] = work.known
        timed_s = sum(turn.timed_s for turn in work.turns)
        hosts = [turn.host_ms for turn in work.turns if turn.host_ms is not None]
        return replace(
            self._unmeasured(),
            status=Status.OK,
            reason="",
            samples_ms=tuple(sample for turn in work.turns for sample in turn.samples_ms),
            turns=tuple(len(turn.samples_ms) for turn in work.turns),
            calls_per_loop=work.calls_per_loop,
            calls=work.calls,
            mean_ms=1e3 * sum(turn.called_s for turn in work.turns) / work.calls,
            host_ms=min(hosts, default=None),
            peak_bytes=profiled.peak_bytes,
            max_error=work.known.max_error,
            kernel=profiled.kernel,
            joules=work.known.joules,
            ceilings=self._ceilings,
            conditions=work.conditions,
            spent=Spent(**work.spent, timed_s=timed_s),
        )


def _interpolated(called: Called, moment: float) -> float:
    """Calls finished at a moment."""
    known = list(zip(called.times_s, called.calls, strict=False))
    for (before, done), (after, more) in itertools.pairwise(known):
        if before <= moment <= after:
            return done + (more - done) * (moment - before) / max(after - before, 1e-12)
    return 0.0
