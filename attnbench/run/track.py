"""What one side of a session has so far, and where it is kept."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from attnbench.core.protocol import LONGEST_REASON
from attnbench.core.record import Case, Environment, Record, Spent, Status
from attnbench.core.text import clean
from attnbench.results.journal import Journal
from attnbench.run.directory import write_environment
from attnbench.run.events import Cell
from attnbench.run.process_pool import Participant
from attnbench.run.resume import Progress
from attnbench.run.sides import Side

if TYPE_CHECKING:
    from attnbench.results.store import StoredRun


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
    """Starting processes: mostly importing torch, and backends' packages."""
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


@dataclass(kw_only=True)
class Track:
    """What one side has so far, and where it is kept."""

    side: Side
    cases: list[Case]
    outcome: Outcome
    journal: Journal
    progress: Progress

    def plan(self, number: int) -> list[list[Cell]]:
        """The cells of one round, case by case: cases shuffled, the backends of a case, too."""
        labels = self.side.suite.backends
        shuffle = random.Random(number).sample  # noqa: S311 - an order, not a secret
        groups = [
            [
                Cell(case=case, backend=label, position=place * len(labels) + index, round=number, side=self.side.name)
                for index, label in enumerate(labels)
            ]
            for place, case in enumerate(self.cases)
        ]
        return [shuffle(group, len(group)) for group in shuffle(groups, len(groups))]

    def keep(self, record: Record) -> Record:
        """Journal a record; what a backend said becomes text that can be stored and shown anywhere."""
        reason = clean(record.reason, longest=LONGEST_REASON) or ("" if record.status is Status.OK else record.status)
        kernel = clean(record.kernel, longest=LONGEST_REASON)
        record = replace(record, reason=reason, kernel=kernel, cells=self.outcome.cells)
        self.journal.append(record)
        self.progress.add(record)
        self.outcome.add(record)
        return record

    def is_done(self, cell: Cell) -> bool:
        """Whether there is nothing left to measure of a cell in its round."""
        return cell.position in self.progress.failed or (cell.position, cell.round) in self.progress.done

    def participant(self, cell: Cell) -> Participant:
        """Who computes a cell."""
        return self.side.participants[cell.position % len(self.side.participants)]

    def finish(self) -> None:
        """Write what follows from the journal: ceilings and tables.

        Raises:
            LostOutputError: It cannot be written; the journal stays.
        """
        from attnbench.results.store import write_tables

        environment = replace(self.outcome.environment, ceilings=self.progress.ceilings)
        write_environment(self.outcome.directory, environment)
        self.outcome.stored = write_tables(self.outcome.directory)
