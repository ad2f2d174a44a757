"""One case in one round: its participants prepared and checked one by one, sampled in turn, their outputs checked.

The parent gives the turns and believes nothing that it can see for itself: it brackets every turn with its own clock,
reads the CPU time of the process from the system, and has the judge look at what was computed in turns drawn at random.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from attnbench.core.protocol import (
    CallAgain,
    Called,
    CountEnergy,
    EnergyCounted,
    Expect,
    Expected,
    Explain,
    Explained,
    Failed,
    KeepCalling,
    Message,
    Outcome,
    Prepare,
    Profile,
    Profiled,
    Release,
    Released,
    Show,
    TakeTurn,
    Turned,
    Unwatch,
    Variation,
    Verdict,
    Verify,
    WarmedUp,
    WarmUp,
    Watch,
    Watched,
    Watching,
    memory_file,
    unexpected,
)
from attnbench.core.record import Case, Ceilings, Launch, Record, Spent, Status
from attnbench.run.checks import FEWEST_FRESH, check_claims, check_leak, check_turn, excess_ms
from attnbench.run.crew import Participant
from attnbench.run.events import Cell, Entered, Stage
from attnbench.run.processes import DeadlinePassed, ParticipantProcess, WorkerDied
from attnbench.run.work import CellEnds, KilledFromOutside, Known, Setting, Work, clean, share_of

_TURN_S = 0.05
"""Long enough that handing over does not show, short enough that all share the machine's moods."""
_FEWEST_SAMPLES, _MOST_SAMPLES = 3, 1000
_LEAST_TIMED_S = 0.1
"""Samples are taken until they hold at least this much time, however many they are."""
_PATIENCE, _LEAST_LIMIT_S = 20, 10.0
"""A turn may take this many times what it should, and at least this long: machines stall."""
_CHECKED_SHARE = 1 / 16
"""Of all turns, besides one in every cell and round, are checked."""
_FRESH_SHARE = 1 / 4
"""Of all cells in later rounds try calls on new values."""
_MOST_RETAKEN = 50
_QUIET_S, _QUIET_LIMIT_S = 2e-4, 0.3
"""Threads of a parallel loop spin for a while before they sleep: some for a fifth of a second (KMP_BLOCKTIME)."""
_MOST_MEMORY = 0.8
"""Of what was free before the case."""
_ENERGY_S = 2.0
Reply = TypeVar("Reply", bound=Message)


class CaseRun:
    """A case at work in one round.

    Args:
        case: The case.
        groups: Its cells with their participants, in the order they are prepared; a group is never parted.
        setting: What all cases have in common.
        ceilings: What the device can do in this round.
        ceilings_s: How long it took to find that out.
    """

    def __init__(
        self,
        case: Case,
        groups: Sequence[Sequence[tuple[Cell, Participant]]],
        setting: Setting,
        *,
        ceilings: Ceilings | None,
        ceilings_s: float,
    ) -> None:
        self._case, self._setting, self._ceilings = case, setting, ceilings
        self._crew, self._measure, self._abandon = setting.crew, setting.measure, setting.abandon
        self._groups = [[self._work(*one) for one in group] for group in groups]
        self._groups[0][0].spent["ceilings_s"] = ceilings_s  # the first one pays for what all of them use
        self._random = random.SystemRandom()  # nobody shall know which turns are checked
        self._room = math.inf
        self._settled = False

    def _work(self, cell: Cell, participant: Participant) -> Work:
        pattern = self._setting.introduced[participant].pattern
        problem = self._case.problem if pattern is None else replace(self._case.problem, pattern=pattern)
        return Work(cell=cell, participant=participant, problem=problem)

    def records(self) -> Iterator[Entered | tuple[Cell, Record]]:
        """What happens, and a record for every cell.

        Raises:
            Abandoned: There are no further records.
            WorkerError: No judge starts.
        """
        waiting = list(self._groups)
        alone: list[Work] = []
        baseline: Work | None = None
        while waiting:
            company: list[list[Work]] = []
            if baseline is not None:  # it is measured beside everybody, so that speed-ups stay paired
                yield from self._prepared([baseline], company, alone)
            used = largest = 0
            while waiting and (not used or used + largest <= self._room):
                yield from self._prepared(waiting.pop(0), company, alone)
                sizes = [work.bytes for group in company for work in group]
                used, largest = sum(sizes), max(sizes, default=0)
            if company:
                yield Entered(cell=company[0][0].cell, stage=Stage.SAMPLE)
            kept = (
                next((one for one in _flat(company) if one.cell.backend == self._setting.baseline), None)
                if waiting
                else None
            )
            yield from self._sampled(company, alone, keep=kept)
            baseline = kept if kept is not None and kept.turns else None
            for work in _flat(company):
                self._release(work)
        for work in alone:
            self._crew.end_others(work.participant)
            self._crew.end(work.participant)
            yield from self._one_alone(work)

    def _one_alone(self, work: Work) -> Iterator[Entered | tuple[Cell, Record]]:
        """What ran out of memory beside others is tried once more with nobody else's leftovers."""
        work.begin_again()
        company: list[list[Work]] = []
        yield from self._prepared([work], company, None)
        if company:
            yield Entered(cell=work.cell, stage=Stage.SAMPLE)
        yield from self._sampled(company, None)
        self._release(work)

    def _prepared(
        self, group: Sequence[Work], company: list[list[Work]], alone: list[Work] | None
    ) -> Iterator[Entered | tuple[Cell, Record]]:
        """Prepare a group and add what can be sampled to the company."""
        ready = []
        for work in group:
            yield Entered(cell=work.cell, stage=Stage.PREPARE)
            try:
                self._prepare_at_last(work)
                ready.append(work)
            except CellEnds as end:
                yield from self._ended(work, end, alone)
        if ready:
            company.append(ready)

    def _sampled(
        self, company: Sequence[Sequence[Work]], alone: list[Work] | None, keep: Work | None = None
    ) -> Iterator[tuple[Cell, Record]]:
        """Sample a company in turn until everybody has spent the budget, and give the records."""
        if not company:
            return
        gone: list[Work] = []
        watching = self._ask_judge_if_there(Watch(threads=self._measure.threads), Watching)
        own_s = time.process_time()
        for order in _orders(company):
            hungry = [work for work in order if work not in gone and self._wants_more(work)]
            if not hungry:
                break
            for work in hungry:
                try:
                    self._take_turn(work)
                except (CellEnds, KilledFromOutside) as end:
                    gone.append(work)
                    yield from self._ended(work, self._once_more(work, end), alone)
        own_s = time.process_time() - own_s
        watched = self._ask_judge_if_there(Unwatch(), Watched) if watching else None
        conditions = watched.conditions if watched else None
        for work in _flat(company):
            if work in gone:
                continue
            try:
                self._check_cell(work)
            except (CellEnds, KilledFromOutside) as end:
                yield from self._ended(work, self._once_more(work, end), alone)
                continue
            work.conditions = share_of(conditions, work, _flat(company), own_s)
            work.spent_s = 0.0  # beside the next company it has a budget of its own
            if work is not keep:
                yield work.cell, self._record(work)

    def _once_more(self, work: Work, end: CellEnds | KilledFromOutside) -> CellEnds | None:
        """Whom somebody killed while others were sampled is measured once more, by itself; None where that worked."""
        if isinstance(end, CellEnds):
            return end
        work.begin_again()
        try:
            self._prepare(work)
            while self._wants_more(work):
                self._take_turn(work)
            self._check_cell(work)
        except CellEnds as found:
            return found
        except KilledFromOutside as killed:
            return CellEnds(Status.CRASHED, str(killed))
        return None

    def _ended(self, work: Work, end: CellEnds | None, alone: list[Work] | None) -> Iterator[tuple[Cell, Record]]:
        """A cell's record, unless it ran out of memory beside others."""
        if end is None:
            yield work.cell, self._record(work)
            return
        if end.spoils:
            self._crew.end(work.participant)
        self._release(work)
        if end.status is Status.OOM and alone is not None:
            alone.append(work)
            return
        yield work.cell, replace(self._unmeasured(work), status=end.status, reason=clean(end.reason) or end.status)

    def _prepare_at_last(self, work: Work) -> None:
        """Prepare, and once more where somebody killed the process meanwhile.

        Raises:
            CellEnds: The cell ends here.
        """
        try:
            self._prepare(work)
        except KilledFromOutside:
            try:
                self._prepare(work)
            except KilledFromOutside as killed:
                raise CellEnds(Status.CRASHED, str(killed)) from None

    def _prepare(self, work: Work) -> None:
        """Everything before the first sample.

        Raises:
            CellEnds: The cell ends here.
        """
        self._introduce(work)
        explained = self._ask(work, Explain(problems=(work.problem,)), Explained, Stage.REFERENCE)
        if any(explained.reasons):
            raise CellEnds(Status.UNSUPPORTED, explained.reasons[0], spoils=False)
        with work.timed("check_s"):
            inputs = self._expect(work)
        assert work.expected is not None
        if work.outputs < 0:
            work.outputs = memory_file()
        limit_s, key = self._setting.hangs.limit(work.cell.backend, self._measure)
        try:
            with work.timed("prepare_s"):
                asked = Prepare(problem=work.problem, launch=self._measure.launch, inputs=work.expected.inputs)
                sent = (inputs, work.outputs)
                first = self._ask(work, asked, Outcome, Stage.PREPARE, limit=(limit_s, key), descriptors=sent)
        finally:
            os.close(inputs)
        known = self._setting.known.get((self._case.name, work.participant))
        is_new = known is None
        with work.timed("check_s"):
            if known is None or self._measure.launch is Launch.GRAPH:
                max_error = self._verify(work, first, Variation()).max_error
                work.variation = self._varied(work)
                second = self._ask(work, CallAgain(variation=work.variation), Outcome, Stage.MEASURE)
                self._verify(work, second, work.variation, prefix="for a second input, ")
        if known is None:
            with work.timed("profile_s"):
                profiled = self._ask(work, Profile(), Profiled, Stage.MEASURE)
                joules = None if self._case.device_type == "cpu" else self._joules(work)
            known = Known(max_error=max_error, profiled=profiled, joules=joules)
        work.known = known
        with work.timed("warm_up_s"):
            environment, is_first = self._setting.environment, not self._settled
            asked_warm = WarmUp(cache=environment.cache, cache_bytes=environment.cache_bytes, settle=is_first)
            warm = self._ask(work, asked_warm, WarmedUp, Stage.MEASURE)
            self._settled = True
        work.calls_per_sample, work.expected_s = max(1, warm.calls_per_sample), warm.expected_s
        # One that remembers does so in every round: the first looks, and the others now and then.
        work.tries_fresh = is_new or self._random.random() < _FRESH_SHARE
        work.drawn = self._random.randrange(max(1, math.ceil(self._measure.max_time_s / max(_TURN_S, warm.expected_s))))

    def _introduce(self, work: Work) -> None:
        """See that it has a process: its last one may have failed."""
        if self._crew.is_at_work(work.participant):
            return
        introduced = self._crew.introduce(work.participant, self._case.device)
        reason = introduced.invalid or introduced.unavailable
        if reason:
            raise CellEnds(Status.ERROR, f"it could be loaded before, and not again: {reason}")

    def _expect(self, work: Work) -> int:
        """Have the judge make inputs; the file they lie in."""
        try:
            expected, descriptors = self._ask_judge(Expect(problem=work.problem), Expected)
        except CellEnds as end:
            raise CellEnds(end.status, f"the reference cannot be computed here: {end.reason}", spoils=False) from None
        work.expected = expected
        if math.isinf(self._room):  # before anybody has taken some
            self._room = _MOST_MEMORY * expected.free_bytes
        return descriptors[0]

    def _take_turn(self, work: Work, *, fresh: bool = False) -> None:
        """Let a cell be sampled while everybody else sleeps.

        Args:
            work: The cell.
            fresh: Whether to see how long a call takes on new values, besides the turn that was drawn for it.

        Raises:
            CellEnds: The cell ends here.
        """
        process = self._process(work, Stage.SAMPLE)
        work.variation = self._varied(work)
        budget_s = min(_TURN_S, max(0.0, self._measure.max_time_s - work.spent_s))
        limit_s = min(self._measure.timeout_s, max(_LEAST_LIMIT_S, _PATIENCE * (work.expected_s + _TURN_S)))
        key = f"{_PATIENCE} x what it took before, {_LEAST_LIMIT_S:g} s at least, timeout_s at most"
        cpu_s, began = process.cpu_s(), self._crew.now_s()
        number = len(work.turns)
        timed, afterwards = work.variation, None
        if fresh or (work.tries_fresh and number == work.drawn):
            afterwards = work.variation = self._varied(work)
        asked = TakeTurn(variation=timed, budget_s=budget_s, afterwards=afterwards)
        if self._measure.launch is Launch.GRAPH:
            timed = work.variation  # a graph writes to the same memory every time
        turned = self._ask(work, asked, Turned, Stage.SAMPLE, limit=(limit_s, key))
        wall_s = self._crew.now_s() - began
        if process.stopped_s:
            work.retaken += 1
            if work.retaken > _MOST_RETAKEN:
                raise CellEnds(Status.TIMEOUT, f"it was stopped in {_MOST_RETAKEN} turns (SIGSTOP)")
            return
        self._wait_until_quiet(work)
        check_turn(turned, wall_s, work.calls_per_sample)
        work.turns.append(turned)
        work.timed_variation = timed
        work.spent_s += turned.timed_s
        work.wall_s += wall_s
        work.cpu_s += process.cpu_s() - cpu_s
        work.resident_bytes.append(process.resident_bytes())
        work.expected_s = max(work.expected_s, wall_s)
        if number == work.drawn or self._random.random() < _CHECKED_SHARE:
            self._check_last_turn(work)

    def _check_cell(self, work: Work) -> None:
        """What can be said once a cell has spent its budget.

        Raises:
            CellEnds: Something is wrong with it.
        """
        if self._case.device_type == "cpu":
            check_claims(work, self._measure.threads)
        check_leak(work)
        if not work.checked:
            self._check_last_turn(work)
        self._check_fresh(work)

    def _check_fresh(self, work: Work) -> None:
        """On new values a call takes no longer than on those it has seen, unless it remembers what they gave.

        Raises:
            CellEnds: It does.
        """
        known = len(work.turns)
        while work.tries_fresh:
            fresh = [turn for turn in work.turns if turn.fresh_ms is not None]
            turn = min(fresh, key=excess_ms, default=None)
            if turn is not None and excess_ms(turn) <= 0:
                break
            if turn is not None and len(fresh) >= FEWEST_FRESH:
                known_ms = statistics.median(turn.samples_ms)
                said = f"a call takes {turn.fresh_ms:.3g} ms on new values and {known_ms:.3g} ms on those it has seen"
                raise CellEnds(Status.WRONG_RESULT, f"{said}: it remembers what it gave")
            self._take_turn(work, fresh=True)
        del work.turns[known:]  # they were taken for this alone

    def _wait_until_quiet(self, work: Work) -> None:
        """Wait until no thread of a participant is at work: the next turn is somebody else's.

        Raises:
            CellEnds: That takes too long.
        """
        process = self._process(work, Stage.SAMPLE)
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

    def _check_last_turn(self, work: Work) -> None:
        """Have the judge look at what the last timed call gave.

        Raises:
            CellEnds: It is wrong.
        """
        with work.timed("check_s"):
            shown = self._ask(work, Show(), Outcome, Stage.MEASURE)
            prefix = "right when it was checked, but when it was timed "
            self._verify(work, shown, work.timed_variation, prefix=prefix, timed=True)
        work.checked = True

    def _verify(
        self, work: Work, outcome: Outcome, variation: Variation, *, prefix: str = "", timed: bool = False
    ) -> Verdict:
        if outcome.modified:
            raise CellEnds(Status.WRONG_RESULT, "the input was modified in place")
        asked = Verify(problem=work.problem, variation=variation, tensors=outcome.tensors, timed=timed)
        verdict, _ = self._ask_judge(asked, Verdict, descriptors=(work.outputs,))
        if verdict.reason:
            # That one tells by itself when it was.
            said = verdict.reason if verdict.reason.startswith("the first output") else prefix + verdict.reason
            raise CellEnds(Status.WRONG_RESULT, said)
        return verdict

    def _varied(self, work: Work) -> Variation:
        """Other inputs than there are now, so that nothing remembered is right."""
        assert work.expected is not None
        roll, rolls = work.variation.roll, work.expected.rolls
        if rolls > 1:
            roll = (roll + self._random.randrange(1, rolls)) % rolls
        return Variation(signs=self._random.randrange(1, 2**31), roll=roll)

    def _wants_more(self, work: Work) -> bool:
        """Whether the budget leaves room. It is fixed: nothing is decided by what was found."""
        if work.samples < _FEWEST_SAMPLES:
            return True
        enough = work.samples >= _MOST_SAMPLES and sum(turn.timed_s for turn in work.turns) >= _LEAST_TIMED_S
        return work.spent_s < self._measure.max_time_s and not enough

    def _joules(self, work: Work) -> float | None:
        """The energy of a call: the participant calls without a pause while the judge reads the device's counter."""
        self._tell(work, KeepCalling(seconds=_ENERGY_S), Stage.MEASURE)
        counted = self._ask_judge_if_there(CountEnergy(), EnergyCounted)
        called = self._heard(work, Called, Stage.MEASURE, (self._measure.timeout_s, "timeout_s"))
        if counted is None or counted.joules is None:
            return None
        calls = [_interpolated(called, moment) for moment in (counted.began_s, counted.ended_s)]
        return counted.joules / (calls[1] - calls[0]) if calls[1] > calls[0] else None

    def _ask(
        self,
        work: Work,
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
        self._tell(work, message, stage, descriptors=descriptors)
        return self._heard(work, expected, stage, limit or (self._measure.timeout_s, "timeout_s"))

    def _process(self, work: Work, stage: Stage) -> ParticipantProcess:
        """Its process.

        Raises:
            KilledFromOutside: It went with its starter.
        """
        try:
            return self._crew.process(work.participant)
        except WorkerDied as death:
            raise self._dead(work, stage, death) from None

    def _tell(self, work: Work, message: Message, stage: Stage, *, descriptors: Sequence[int] = ()) -> None:
        process = self._process(work, stage)
        try:
            process.tell(message, descriptors=descriptors)
        except WorkerDied as death:
            raise self._dead(work, stage, death) from None

    def _heard(self, work: Work, expected: type[Reply], stage: Stage, limit: tuple[float, str]) -> Reply:
        process, (limit_s, key) = self._process(work, stage), limit
        try:
            reply, _ = process.hear(timeout_s=limit_s, abandon=self._abandon)
        except DeadlinePassed:
            stopped = f", {process.stopped_s:.3g} s of which it was stopped" if process.stopped_s else ""
            reason = f"stage {stage} took longer than {limit_s:.3g} s ({key}){stopped}"
            raise CellEnds(Status.TIMEOUT, reason) from None
        except WorkerDied as death:
            raise self._dead(work, stage, death) from None
        if isinstance(reply, expected):
            return reply
        if isinstance(reply, Failed) and reply.status not in (Status.OK, Status.UNAVAILABLE):
            raise CellEnds(reply.status, reply.reason)
        raise CellEnds(Status.CRASHED, f"in stage {stage}, it answered {type(reply).__name__}")

    def _dead(self, work: Work, stage: Stage, death: WorkerDied) -> Exception:
        self._crew.end(work.participant)
        said = f"in stage {stage}, {death}"
        if death.killed and not death.out_of_memory:
            return KilledFromOutside(said)
        return CellEnds(Status.OOM if death.out_of_memory else Status.CRASHED, said)

    def _ask_judge(
        self, message: Message, expected: type[Reply], *, descriptors: Sequence[int] = ()
    ) -> tuple[Reply, list[int]]:
        """Ask the judge.

        Raises:
            CellEnds: It does not know: no backend is to blame.
            WorkerError: None starts.
        """
        limit_s = self._measure.prepare_timeout_s
        try:
            reply, found = self._crew.ask_judge(
                message, device=self._case.device, timeout_s=limit_s, descriptors=descriptors
            )
        except DeadlinePassed:
            raise CellEnds(Status.ERROR, f"the judge took longer than {limit_s:g} s", spoils=False) from None
        except WorkerDied as death:
            status = Status.OOM if death.out_of_memory else Status.ERROR
            raise CellEnds(status, str(death), spoils=False) from None
        if isinstance(reply, expected):
            return reply, found
        status = reply.status if isinstance(reply, Failed) else Status.ERROR
        raise CellEnds(status, unexpected(reply), spoils=False)

    def _ask_judge_if_there(self, message: Message, expected: type[Reply]) -> Reply | None:
        """Ask the judge what can be done without."""
        try:
            return self._ask_judge(message, expected)[0]
        except CellEnds:
            return None

    def _release(self, work: Work) -> None:
        """Let a participant give back the memory of the case."""
        if work.outputs >= 0:
            os.close(work.outputs)
            work.outputs = -1
        if self._crew.is_at_work(work.participant):
            try:
                self._ask(work, Release(), Released, Stage.MEASURE)
            except (CellEnds, KilledFromOutside):  # the next case has another process
                self._crew.end(work.participant)

    def _unmeasured(self, work: Work) -> Record:
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

    def _record(self, work: Work) -> Record:
        assert work.known is not None
        profiled = work.known.profiled
        self._setting.known[self._case.name, work.participant] = work.known
        timed_s = sum(turn.timed_s for turn in work.turns)
        hosts = [turn.host_ms for turn in work.turns if turn.host_ms is not None]
        return replace(
            self._unmeasured(work),
            status=Status.OK,
            reason="",
            samples_ms=tuple(sample for turn in work.turns for sample in turn.samples_ms),
            turns=tuple(len(turn.samples_ms) for turn in work.turns),
            calls_per_sample=work.calls_per_sample,
            host_ms=min(hosts, default=None),
            peak_bytes=profiled.peak_bytes,
            max_error=work.known.max_error,
            kernel=clean(profiled.kernel),
            joules=work.known.joules,
            ceilings=self._ceilings,
            conditions=work.conditions,
            spent=Spent(**work.spent, timed_s=timed_s),
        )


def _flat(company: Sequence[Sequence[Work]]) -> list[Work]:
    return [work for group in company for work in group]


def _orders(company: Sequence[Sequence[Work]]) -> Iterator[list[Work]]:
    """Orders of sampling, without end: A B C, C A B, ...; inside a group A B, B A, ..."""
    groups, forward = [list(group) for group in company], True
    while True:
        yield [work for group in groups for work in (group if forward else reversed(group))]
        groups, forward = [*groups[-1:], *groups[:-1]], not forward


def _interpolated(called: Called, moment: float) -> float:
    """Calls finished at a moment."""
    known = list(zip(called.times_s, called.calls, strict=False))
    for (before, done), (after, more) in itertools.pairwise(known):
        if before <= moment <= after:
            return done + (more - done) * (moment - before) / max(after - before, 1e-12)
    return 0.0
