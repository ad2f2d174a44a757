"""One case in one round: participants prepared one by one and sampled in turn, in companies that fit into memory."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from attnbench.core.protocol import Message, Unwatch, Watch, Watched, Watching
from attnbench.core.record import Case, Ceilings, Record, Status
from attnbench.run.cell import CellRun
from attnbench.run.cell_state import CellEnds, KilledFromOutside, Setting, share_of
from attnbench.run.events import Cell, Entered, Stage
from attnbench.run.process_pool import Participant
from attnbench.run.requests import Reply, ask_judge_if_there

_MOST_MEMORY = 0.8
"""Of what was free before the case."""


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
        self._case, self._setting = case, setting
        self._groups = [[CellRun(*one, setting, ceilings=ceilings) for one in group] for group in groups]
        self._groups[0][0].work.spent["ceilings_s"] = ceilings_s  # the first one pays for what all of them use
        self._room = math.inf
        """Memory that a company may take."""
        self._settled = False
        """Whether the device has reached its steady clock."""

    def records(self) -> Iterator[Entered | tuple[Cell, Record]]:
        """What happens, and a record for every cell.

        Raises:
            Abandoned: There are no further records.
            WorkerError: No judge starts.
        """
        waiting = list(self._groups)
        alone: list[CellRun] = []
        baseline: CellRun | None = None
        while waiting:
            company: list[list[CellRun]] = []
            if baseline is not None:  # it is measured beside everybody, so that speed-ups stay paired
                yield from self._prepared([baseline], company, alone)
            used = largest = 0
            while waiting and (not used or used + largest <= self._room):
                yield from self._prepared(waiting.pop(0), company, alone)
                sizes = [cell.work.bytes for group in company for cell in group]
                used, largest = sum(sizes), max(sizes, default=0)
            if company:
                yield Entered(cell=company[0][0].work.cell, stage=Stage.SAMPLE)
            kept = (
                next((one for one in _flat(company) if one.work.cell.backend == self._setting.baseline), None)
                if waiting
                else None
            )
            yield from self._sampled(company, alone, keep=kept)
            baseline = kept if kept is not None and kept.work.turns else None
            for cell in _flat(company):
                cell.release()
        for cell in alone:
            self._setting.pool.end_others(cell.work.participant)
            self._setting.pool.end(cell.work.participant)
            yield from self._one_alone(cell)

    def _one_alone(self, cell: CellRun) -> Iterator[Entered | tuple[Cell, Record]]:
        """What ran out of memory beside others is tried once more with nobody else's leftovers."""
        cell.work.begin_again()
        company: list[list[CellRun]] = []
        yield from self._prepared([cell], company, None)
        if company:
            yield Entered(cell=cell.work.cell, stage=Stage.SAMPLE)
        yield from self._sampled(company, None)
        cell.release()

    def _prepared(
        self, group: Sequence[CellRun], company: list[list[CellRun]], alone: list[CellRun] | None
    ) -> Iterator[Entered | tuple[Cell, Record]]:
        """Prepare a group and add what can be sampled to the company."""
        ready = []
        for cell in group:
            yield Entered(cell=cell.work.cell, stage=Stage.PREPARE)
            try:
                self._prepare(cell)
                ready.append(cell)
            except CellEnds as end:
                yield from self._ended(cell, end, alone)
        if ready:
            company.append(ready)

    def _sampled(
        self, company: Sequence[Sequence[CellRun]], alone: list[CellRun] | None, keep: CellRun | None = None
    ) -> Iterator[tuple[Cell, Record]]:
        """Sample a company in turn until everybody has spent the budget, and give the records."""
        if not company:
            return
        with self._on_one_core(_flat(company)):
            yield from self._turns(company, alone, keep)

    def _turns(
        self, company: Sequence[Sequence[CellRun]], alone: list[CellRun] | None, keep: CellRun | None
    ) -> Iterator[tuple[Cell, Record]]:
        gone: list[CellRun] = []
        asked = Watch(threads=self._setting.measure.threads, participants=self._setting.pool.pids())
        watching = self._ask_judge(asked, Watching)
        own_s = time.process_time()
        for order in _orders(company):
            hungry = [cell for cell in order if cell not in gone and cell.wants_more()]
            if not hungry:
                break
            for cell in hungry:
                try:
                    cell.take_turn()
                except (CellEnds, KilledFromOutside) as end:
                    gone.append(cell)
                    yield from self._ended(cell, self._once_more(cell, end), alone)
        own_s = time.process_time() - own_s
        watched = self._ask_judge(Unwatch(), Watched) if watching else None
        conditions = watched.conditions if watched else None
        for cell in _flat(company):
            if cell in gone:
                continue
            try:
                cell.check()
            except (CellEnds, KilledFromOutside) as end:
                yield from self._ended(cell, self._once_more(cell, end), alone)
                continue
            cell.work.conditions = share_of(conditions, cell.work, [one.work for one in _flat(company)], own_s)
            cell.work.spent_s = 0.0  # beside the next company it has a budget of its own
            if cell is not keep:
                yield cell.work.cell, cell.record()

    @contextmanager
    def _on_one_core(self, company: Sequence[CellRun]) -> Iterator[None]:
        """Let single threads take their turns on one core: what shares parts of a core slows one and not the next.

        It is the core where the last one warmed up, which the system chose because it was free.
        """
        if self._case.device_type != "cpu" or self._setting.measure.threads > 1:
            yield
            return
        pool = self._setting.pool
        there = [cell.work.participant for cell in company if pool.is_at_work(cell.work.participant)]
        processes = [pool.process(participant) for participant in there]
        core = processes[-1].core() if processes else None
        if core is None:
            yield
            return
        for process in processes:
            process.pin([core])
        try:
            yield
        finally:
            for process in processes:
                process.pin(os.sched_getaffinity(0))

    def _once_more(self, cell: CellRun, end: CellEnds | KilledFromOutside) -> CellEnds | None:
        """Whom somebody killed while others were sampled is measured once more, by itself; None where that worked."""
        if isinstance(end, CellEnds):
            return end
        cell.work.begin_again()
        try:
            cell.prepare_once(settle=False)
            while cell.wants_more():
                cell.take_turn()
            cell.check()
        except CellEnds as found:
            return found
        except KilledFromOutside as killed:
            return CellEnds(Status.CRASHED, str(killed))
        return None

    def _prepare(self, cell: CellRun) -> None:
        cell.prepare(settle=not self._settled)
        self._settled = True
        if math.isinf(self._room) and cell.work.expected is not None:  # as it was before anybody had taken some
            self._room = _MOST_MEMORY * cell.work.expected.free_bytes

    def _ended(self, cell: CellRun, end: CellEnds | None, alone: list[CellRun] | None) -> Iterator[tuple[Cell, Record]]:
        """A cell's record, unless it ran out of memory beside others."""
        if end is None:
            yield cell.work.cell, cell.record()
            return
        if end.spoils:
            self._setting.pool.end(cell.work.participant)
        cell.release()
        if end.status is Status.OOM and alone is not None:
            alone.append(cell)
            return
        yield cell.work.cell, cell.failed(end)

    def _ask_judge(self, message: Message, expected: type[Reply]) -> Reply | None:
        return ask_judge_if_there(self._setting, message, expected, device=self._case.device)


def _flat(company: Sequence[Sequence[CellRun]]) -> list[CellRun]:
    return [cell for group in company for cell in group]


def _orders(company: Sequence[Sequence[CellRun]]) -> Iterator[list[CellRun]]:
    """Orders of sampling, without end: A B C, C A B, ...; inside a group A B, B A, ..."""
    groups, forward = [list(group) for group in company], True
    while True:  # nobody always follows the same one, whose data would be in the caches
        yield [cell for group in groups for cell in (group if forward else reversed(group))]
        groups, forward = [*groups[-1:], *groups[:-1]], not forward
