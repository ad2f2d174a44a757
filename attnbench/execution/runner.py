"""The parent's side of a run: blocks of cells through worker processes into a journal, then tables."""

from __future__ import annotations

import itertools
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from attnbench.backends import registry
from attnbench.errors import OutputError, SuiteError, UsageError, WorkerError
from attnbench.execution.directory import check_output, create, run_directory
from attnbench.execution.interruption import Interruption
from attnbench.execution.messages import BackendAnswer, Described, MeasureCase
from attnbench.execution.observer import Cell, Observer
from attnbench.execution.process import Abandoned
from attnbench.execution.supervisor import Supervisor
from attnbench.journal import ENVIRONMENT, SUITE, Journal
from attnbench.record import Case, Ceilings, Environment, Record, Spent, Status
from attnbench.suite import Suite, load_suite

if TYPE_CHECKING:
    import pandas as pd

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


def run(suite: str | Path, output: str | Path | None = None) -> pd.DataFrame:
    """Run a suite and return its table, one row per cell (columns: ``attnbench.table.COLUMNS``).

    Args:
        suite: A suite's file, or the name of one that comes with attnbench.
        output: The run directory; by default a new one under ``results/``.

    Raises:
        AttnbenchError: One sentence saying what is wrong. A cell that fails is a row, not an error.
        KeyboardInterrupt: The run was interrupted; its directory holds what was measured.
    """
    from attnbench.store import load

    outcome = run_suite(load_suite(suite, known_backends=registry.names()), output=Path(output) if output else None)
    if outcome.interrupted:
        raise KeyboardInterrupt(f"the run was cut short; what was measured is in {outcome.directory}")
    return load(outcome.directory)


def run_suite(suite: Suite, *, output: Path | None = None, observer: Observer | None = None) -> Outcome:
    """Measure every cell of a suite and write its run directory.

    Raises:
        UsageError: A backend or device that is not there, or an output that cannot be used.
        WorkerError: No worker starts.
    """
    from attnbench.store import write_tables

    began = time.monotonic()
    check_output(output)
    observer = observer or Observer()
    workers = Supervisor(threads=suite.measure.threads)
    with Interruption() as interruption:
        stop = _Stop(interruption, observer)
        try:
            described = describe_suite(workers, suite, abandon=stop.now)
            cases = suite.cases(described.environment.device)
            directory = run_directory(output, suite=suite.name, machine=described.environment.machine)
            outcome = _start(suite, directory, described.environment, cells=len(cases) * len(suite.backends))
            with Journal(directory) as journal, tempfile.TemporaryDirectory(prefix="attnbench-") as shelf:
                session = _Session(
                    suite=suite,
                    workers=workers,
                    outcome=outcome,
                    observer=observer,
                    stop=stop,
                    answers={answer.name: answer for answer in described.backends},
                    journal=journal,
                    shelf=shelf,
                )
                try:
                    session.run(cases)
                finally:
                    _write_environment(directory, replace(described.environment, ceilings=session.ceilings))
                    outcome.stored = write_tables(directory)
        except Abandoned:
            raise WorkerError("interrupted before anything was measured") from None
        finally:
            workers.close()
    outcome.elapsed_s = time.monotonic() - began
    outcome.starting_s = workers.starting_s
    return outcome


class _Stop:
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


def describe_suite(workers: Supervisor, suite: Suite, *, abandon: Callable[[], bool] = lambda: False) -> Described:
    """Ask what the machine and a suite's backends are.

    Raises:
        SuiteError: There is no such device, or a name leads to no backend: with the file and line at fault.
        WorkerError: No worker starts.
    """
    try:
        described = workers.describe(
            device=suite.device, backends=suite.backends, measure=suite.measure, abandon=abandon
        )
    except UsageError as error:
        raise SuiteError(f"{suite.where('device')}: {error}") from None
    for index, backend in enumerate(described.backends):
        if backend.invalid:
            raise SuiteError(f"{suite.where('backends', index)}: {backend.invalid}")
    return described


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


def _start(suite: Suite, directory: Path, environment: Environment, *, cells: int) -> Outcome:
    create(directory)
    try:
        (directory / SUITE).write_text(suite.text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{directory} cannot be written: {error.strerror}; give another --output") from None
    _write_environment(directory, environment)
    return Outcome(directory=directory, environment=environment, cells=cells)


def _write_environment(directory: Path, environment: Environment) -> None:
    unfinished = directory / f".{ENVIRONMENT}.unfinished"
    try:
        unfinished.write_text(json.dumps(environment.to_json(), indent=2) + "\n", encoding="utf-8")
        unfinished.replace(directory / ENVIRONMENT)
    except OSError as error:
        raise OutputError(f"{directory / ENVIRONMENT} cannot be written: {error.strerror}") from None


@dataclass(kw_only=True)
class _Session:
    suite: Suite
    workers: Supervisor
    outcome: Outcome
    observer: Observer
    stop: _Stop
    answers: dict[str, BackendAnswer]
    journal: Journal
    shelf: str
    block: int = 0
    ceilings: dict[str, Ceilings] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    """Positions of cells that failed: they are not tried again."""

    def run(self, cases: Sequence[Case]) -> None:
        """Every block, a fresh worker each."""
        blocks = [plan(cases, self.suite.backends, block=block) for block in range(self.suite.measure.blocks)]
        unavailable = [cell for cell in blocks[0] if self.answers[cell.backend].unavailable]
        for cell in unavailable:
            self._keep(cell, self._unmeasured(cell))
        waiting = [cell for block in blocks for cell in block if cell.position not in self.failed]
        self.observer.planned(waiting, self.outcome.directory)
        for _, cells in itertools.groupby(waiting, key=lambda cell: (cell.block, cell.case)):
            wanted = [cell for cell in cells if not self._skip(cell)]
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

    def _skip(self, cell: Cell) -> bool:
        if cell.position in self.failed:
            self.observer.skipped(cell)
        return cell.position in self.failed

    def _keep(self, cell: Cell, record: Record) -> None:
        self.journal.append(replace(record, cells=self.outcome.cells))
        if record.status is not Status.OK:
            self.failed.add(cell.position)
        if record.ceilings is not None:
            self._raise_ceilings(record.problem.dtype, record.ceilings)
        self.outcome.add(record)

    def _raise_ceilings(self, dtype: str, found: Ceilings) -> None:
        known = self.ceilings.get(dtype, found)
        self.ceilings[dtype] = Ceilings(
            bytes_per_s=max(known.bytes_per_s, found.bytes_per_s), flops_per_s=max(known.flops_per_s, found.flops_per_s)
        )

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
            self._keep(cells[record.backend], record)
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
