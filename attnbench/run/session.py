"""A suite at work in one environment or in two: participants times cases, round by round, into journals.

``run`` has one side, ``ab`` and ``noise`` have two, which are alive together and sampled in turn.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from attnbench.core.errors import LostOutputError
from attnbench.core.protocol import Introduced
from attnbench.core.record import Record, Status
from attnbench.results.pairs import Place
from attnbench.run.case import CaseRun
from attnbench.run.ceilings import RoundCeilings
from attnbench.run.cell_state import Setting
from attnbench.run.child_process import Abandoned
from attnbench.run.events import Cell, Event, Finished, Planned, Resumed, Skipped
from attnbench.run.interruption import Interruption
from attnbench.run.process_pool import Participant, ProcessPool
from attnbench.run.track import Outcome, Track

_TURN_S = 0.05
"""Long enough that handing over does not show, short enough that all share the machine's moods."""
_PAIRED_TURN_S = 0.02
"""A core that shares its parts with another changes its speed within a tenth of a second, and the two sides of a pair
shall meet the same: with turns of 20 ms on one core their ratio scatters half as much as with 50 ms on any
(docs/figures.md)."""


class Session:
    """Participants times cases, for one side or two.

    Args:
        tracks: By side.
        pool: The processes.
        introduced: What the backends said of themselves.
        interruption: Whether to stop.
        directory: Where it is all kept, for people.
        ceilings: Whether to measure what the device can do, in every round.
        resumed: What there was before.
    """

    def __init__(
        self,
        tracks: Mapping[str, Track],
        *,
        pool: ProcessPool,
        introduced: dict[Participant, Introduced],
        interruption: Interruption,
        directory: Path,
        ceilings: bool,
        resumed: Resumed | None = None,
    ) -> None:
        self.directory = directory
        self._resumed = resumed
        self._tracks = dict(tracks)
        self._pool = pool
        self._introduced = introduced
        self._interruption = interruption
        self._wants_ceilings = ceilings
        first = next(iter(self._tracks.values()))
        self._setting = Setting(
            pool=pool,
            environment=first.outcome.environment,
            measure=first.side.suite.measure,
            introduced=introduced,
            baseline=first.side.suite.baseline,
            turn_s=_TURN_S if len(self._tracks) == 1 else _PAIRED_TURN_S,
            abandon=lambda: interruption.at_once,
        )
        for track in self._tracks.values():
            for record in track.progress.timeouts:
                self._setting.hangs.add(record)
        self._round = -1
        self._ceilings = RoundCeilings(self._setting)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for track in self._tracks.values():
            self._stack.enter_context(track.journal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the tables whatever happened, unless that is what cannot be done."""
        try:
            if not isinstance(error, LostOutputError):
                self.finish()
        finally:
            self._stack.close()

    @property
    def rounds(self) -> range:
        """As many as the suite asks for."""
        return range(next(iter(self._tracks.values())).side.suite.measure.processes)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """How it went, by side."""
        return {name: track.outcome for name, track in self._tracks.items()}

    @property
    def interrupted(self) -> bool:
        """Whether it was interrupted."""
        return any(track.outcome.interrupted for track in self._tracks.values())

    @property
    def elapsed_s(self) -> float:
        """Since the first process was started."""
        return time.monotonic() - self._pool.began

    def finish(self) -> None:
        """Write the tables as they are now.

        Raises:
            LostOutputError: They cannot be written; the journals stay.
        """
        for track in self._tracks.values():
            track.finish()
            track.outcome.elapsed_s = self.elapsed_s
            track.outcome.starting_s = self._pool.starting_s

    def measure(self, rounds: Sequence[int], *, only: Collection[Place] | None = None) -> Iterator[Event]:
        """Measure rounds, and tell what happens. Only the first one tries what failed before.

        Args:
            rounds: Their numbers.
            only: The cells to measure, by case and place in the suite; by default all.

        Raises:
            WorkerError: No process starts.
            LostOutputError: The disk is full or the directory gone; what was journalled stays.
        """
        if self._resumed is not None:
            yield self._resumed
            self._resumed = None
        cells = {number: self._cells(number, only) for number in rounds}
        flat = [cell for groups in cells.values() for group in groups for cell in group]
        yield Planned(cells=flat, directory=self.directory)
        for index, number in enumerate(rounds):
            for group in cells[number]:
                wanted = []
                for cell in group:
                    if self._is_lost(cell):
                        yield Skipped(cell=cell)
                    else:
                        wanted.append(cell)
                if not wanted:
                    continue
                if self._interruption.requested:
                    self._interrupt()
                    return
                try:
                    self._begin_round(number, left=len(rounds) - index)
                    yield from self._measure(wanted)
                except Abandoned:
                    self._interrupt()
                    return

    def _cells(self, number: int, only: Collection[Place] | None) -> list[list[Cell]]:
        """What there is to measure in a round, case by case; what is unavailable is journalled as that."""
        groups: list[list[Cell]] = []
        plans = [track.plan(number) for track in self._tracks.values()]
        for parts in zip(*plans, strict=True):  # both sides shuffle alike
            group = []
            for pair in zip(*parts, strict=True):
                for cell in pair:
                    track = self._tracks[cell.side]
                    place = (cell.case.name, cell.position % len(track.side.participants))
                    if (only is not None and place not in only) or track.is_done(cell):
                        continue
                    reason = self._introduced[track.participant(cell)].unavailable
                    if reason:
                        track.keep(self._unavailable(cell, reason))
                    else:
                        group.append(cell)
            if group:
                groups.append(group)
        return groups

    def _is_lost(self, cell: Cell) -> bool:
        """Whether a cell failed on either side: alone it would say nothing. In the first round each side is asked."""
        tracks = self._tracks.values() if cell.round > 0 else [self._tracks[cell.side]]
        return any(cell.position in track.progress.failed for track in tracks)

    def _begin_round(self, number: int, *, left: int) -> None:
        """Fresh processes for everybody; what introduced itself a moment ago is fresh."""
        if number == self._round:
            return
        if self._round >= 0:
            self._pool.begin_round(list(self._usable()), rounds=left)
        self._pool.wait_until_ready()
        self._round = number
        self._ceilings = RoundCeilings(self._setting)

    def _usable(self) -> Iterator[Participant]:
        for track in self._tracks.values():
            yield from (one for one in track.side.participants if not self._introduced[one].unavailable)

    def _measure(self, cells: Sequence[Cell]) -> Iterator[Event]:
        """One case in one round."""
        case = cells[0].case
        by_place = itertools.groupby(cells, key=lambda cell: cell.position)
        groups = [[(cell, self._tracks[cell.side].participant(cell)) for cell in group] for _, group in by_place]
        if cells[0].round % 2:  # A B B A, from round to round
            groups = [list(reversed(group)) for group in groups]
        began = time.monotonic()
        ceilings = self._ceilings.of(case) if self._wants_ceilings else None
        at_work = CaseRun(case, groups, self._setting, ceilings=ceilings, ceilings_s=time.monotonic() - began)
        for found in at_work.records():
            if isinstance(found, tuple):
                cell, record = found
                record = self._tracks[cell.side].keep(self._ceilings.judged(record))
                self._setting.hangs.add(record)
                yield Finished(cell=cell, record=record)
            else:
                yield found

    def _unavailable(self, cell: Cell, reason: str) -> Record:
        pattern = self._introduced[self._tracks[cell.side].participant(cell)].pattern
        problem = cell.case.problem
        return Record(
            case=cell.case.name,
            backend=cell.backend,
            device=cell.case.device,
            problem=replace(problem, pattern=pattern or problem.pattern),
            position=cell.position,
            round=cell.round,
            status=Status.UNAVAILABLE,
            reason=reason,
        )

    def _interrupt(self) -> None:
        for track in self._tracks.values():
            track.outcome.interrupted = True
