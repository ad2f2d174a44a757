"""One suite at work: blocks of cells through worker processes into a journal."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from attnbench.execution.directory import write_environment
from attnbench.execution.interruption import Interruption
from attnbench.execution.messages import BackendAnswer, MeasureCase
from attnbench.execution.observer import Cell, Observer
from attnbench.execution.process import Abandoned
from attnbench.execution.resumption import Progress
from attnbench.execution.supervisor import Supervisor
from attnbench.journal import Journal
from attnbench.record import Case, Environment, Record, Spent, Status
from attnbench.suite import Suite

if TYPE_CHECKING:
    from attnbench.store import StoredRun


@dataclass(kw_only=True)
class Outcome:
    """How a run went."""

    directory: Path
    environment: Environment
    cells: int
    """Cells the suite asks for."""
    stored: StoredRun | None = None
    """The run as it lies on disk, once its tables are written."""
    interrupted: bool = False
    elapsed_s: float = 0.0
    starting_s: float = 0.0
    """Starting workers: mostly importing torch."""
    spent: Spent = field(default_factory=Spent)

    def add(self, record: Record) -> None:
        """Add up where the time went."""
        summed = {name: seconds + getattr(record.spent, name) for name, seconds in vars(self.spent).items()}
        self.spent = Spent(**summed)

    @property
    def statuses(self) -> dict[str, int]:
        """Cells by status; those an interrupted run did not reach are not among them."""
        return dict(Counter(self.stored.table["status"])) if self.stored else {}

    @property
    def measured(self) -> bool:
        """Whether there is any latency."""
        return Status.OK in self.statuses


class Stop:
    """Whether to stop, telling the observer as soon as it is asked for."""

    def __init__(self, interruption: Interruption, observer: Observer) -> None:
        self._interruption = interruption
        self._observer = observer
        self._told = False

    def soon(self) -> bool:
        """Whether to stop after the case at work."""
        return self._interruption.requested

    def now(self) -> bool:
        """Whether to give up the case at work, too."""
        if self.soon() and not self._told and not self._interruption.at_once:
            self._told = True
            self._observer.stopping()
        return self._interruption.at_once


def plan(cases: Sequence[Case], backends: Sequence[str], *, block: int) -> list[Cell]:
    """The cells of one block: cases shuffled, the backends of a case together and shuffled, too."""
    shuffle = random.Random(block).sample  # noqa: S311 - an order, not a secret
    groups = [
        [
            Cell(case=case, backend=backend, position=place * len(backends) + index, block=block)
            for index, backend in enumerate(backends)
        ]
        for place, case in enumerate(cases)
    ]
    return [cell for group in shuffle(groups, len(groups)) for cell in shuffle(group, len(group))]


@dataclass(kw_only=True)
class Session:
    """One suite at work, cell by cell into its journal."""

    suite: Suite
    workers: Supervisor
    outcome: Outcome
    observer: Observer
    stop: Stop
    answers: dict[str, BackendAnswer]
    journal: Journal
    shelf: str
    progress: Progress
    block: int = 0

    def plan(self, cases: Sequence[Case]) -> list[Cell]:
        """Every cell of every block, in the order they are measured."""
        return [
            cell for block in range(self.suite.measure.blocks) for cell in plan(cases, self.suite.backends, block=block)
        ]

    def missing(self, cells: Sequence[Cell]) -> list[Cell]:
        """Those of some cells that are to be measured; those of unavailable backends are journalled as that."""
        for cell in cells:
            if self.answers[cell.backend].unavailable and not self._is_done(cell):
                self._keep(self._unmeasured(cell))
        return [cell for cell in cells if not self._is_done(cell)]

    def run(self, cells: Sequence[Cell]) -> None:
        """Measure cells in this order, with a fresh worker for every block."""
        for _, group in itertools.groupby(cells, key=lambda cell: (cell.block, cell.case)):
            wanted = [cell for cell in group if not self._skip(cell)]
            if not wanted:
                continue
            if self.stop.soon():
                self.outcome.interrupted = True
                return
            try:
                self._measure(wanted)
            except Abandoned:
                self.outcome.interrupted = True
                return

    def finish(self) -> None:
        """Write what follows from the journal: ceilings and tables.

        Raises:
            LostOutputError: It cannot be written; the journal stays.
        """
        from attnbench.store import write_tables

        environment = replace(self.outcome.environment, ceilings=self.progress.ceilings)
        write_environment(self.outcome.directory, environment)
        self.outcome.stored = write_tables(self.outcome.directory)

    def _is_done(self, cell: Cell) -> bool:
        return cell.position in self.progress.failed or (cell.position, cell.block) in self.progress.done

    def _skip(self, cell: Cell) -> bool:
        if cell.position in self.progress.failed:
            self.observer.skipped(cell)
        return cell.position in self.progress.failed

    def _keep(self, record: Record) -> None:
        self.journal.append(replace(record, cells=self.outcome.cells))
        self.progress.add(record)
        self.outcome.add(record)

    def _measure(self, wanted: Sequence[Cell]) -> None:
        """One case in one block, its backends sampled in turn."""
        case, block, environment = wanted[0].case, wanted[0].block, self.outcome.environment
        if block != self.block:
            self.workers.close()
            self.block = block
        cells = {cell.backend: cell for cell in wanted}
        asked = MeasureCase(
            case=case,
            backends=tuple(cells),
            positions=tuple(cell.position for cell in wanted),
            block=block,
            measure=self.suite.measure,
            cache=environment.cache,
            cache_bytes=environment.cache_bytes,
            seed=0,  # the same inputs in every block, so that they share a reference
            shelf=self.shelf,
        )
        records = self.workers.measure(
            asked,
            lambda backend: self._unmeasured(cells[backend]),
            entered=lambda now: self.observer.entered(cells[now.backend], now.stage),
            abandon=self.stop.now,
        )
        for record in records:
            self._keep(record)
            self.observer.finished(record)

    def _unmeasured(self, cell: Cell) -> Record:
        answer, problem = self.answers[cell.backend], cell.case.problem
        return Record(
            case=cell.case.name,
            backend=cell.backend,
            device=cell.case.device,
            problem=replace(problem, pattern=answer.pattern or problem.pattern),
            position=cell.position,
            block=cell.block,
            status=Status.UNAVAILABLE,
            reason=answer.unavailable or "nothing was measured",
        )
