"""What a person or a log sees of a run while it runs, on stderr."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

import typer

from attnbench.core.errors import BusyError
from attnbench.core.record import Record, Status
from attnbench.core.stats import process_statistic
from attnbench.run.events import Cell, Entered, Event, Finished, Planned, Resumed, Skipped, Stage
from attnbench.run.session import Outcome, Session

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def opened(attempt: Callable[..., AbstractContextManager[Session]], *, wait: bool) -> Iterator[Session]:
    """A session; where another run has the device, wait for it, and say so.

    Args:
        attempt: Opens it; takes ``wait``.
        wait: Whether to.
    """
    with ExitStack() as stack:
        try:
            session = stack.enter_context(attempt(wait=False))
        except BusyError as busy:
            if not wait:
                raise
            typer.echo(f"{busy.who}; waiting", err=True)
            session = stack.enter_context(attempt(wait=True))
        yield session


@contextmanager
def progress() -> Iterator[Shown]:
    """A bar on a terminal, one line per case in a log."""
    if not sys.stderr.isatty():
        yield _Log()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(bar)


class Shown(ABC):
    """What a run does, shown to people."""

    @abstractmethod
    def announce(self, what: str) -> None:
        """Say a sentence."""

    @abstractmethod
    def show(self, event: Event) -> None:
        """Show what happened."""


class _Clock:
    """Estimates the time left from the cells measured so far."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._total = self._done = 0

    def plan(self, cells: int) -> None:
        self._began, self._total, self._done = time.monotonic(), cells, 0

    def advance(self) -> None:
        self._done += 1

    @property
    def done(self) -> str:
        return f"{self._done}/{self._total}"

    @property
    def left(self) -> str:
        if not self._done:
            return ""
        seconds = (time.monotonic() - self._began) / self._done * (self._total - self._done)
        return f"{seconds / 60:.0f} min left" if seconds > 100 else f"{seconds:.0f} s left"  # noqa: PLR2004


class _Bar(Shown):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting processes", total=None, left="")
        self._clock = _Clock()

    def announce(self, what: str) -> None:
        self._progress.console.print(what, markup=False, highlight=False, soft_wrap=True)

    def show(self, event: Event) -> None:
        match event:
            case Resumed():
                self.announce(_resuming(event))
            case Planned(cells=cells, directory=directory):
                self.announce(f"writing to {directory}")
                self._clock.plan(len(cells))
                self._progress.update(self._task, total=len(cells), completed=0)
            case Entered(cell=cell, stage=stage):
                number = f" (process {cell.round + 1})" if cell.round else ""
                what = "all in turn" if stage is Stage.SAMPLE else f"{cell.side} {cell.backend}".strip()
                self._progress.update(self._task, description=f"{cell.case.name}, {what}{number}")
            case Finished(cell=cell, record=record):
                self._advance()
                if record.status is not Status.OK:
                    self.announce(f"{_called(cell)}, {record.backend}: {record.status}: {record.reason}")
            case Skipped():
                self._advance()

    def _advance(self) -> None:
        self._clock.advance()
        self._progress.update(self._task, advance=1, left=self._clock.left)


class _Log(Shown):
    """Tells a case when the last of its cells in a round is finished or skipped."""

    def __init__(self) -> None:
        self._clock = _Clock()
        self._finished: list[tuple[Cell, Record]] = []
        self._missing: Counter[tuple[int, str]] = Counter()

    def announce(self, what: str) -> None:
        typer.echo(what, err=True)

    def show(self, event: Event) -> None:
        match event:
            case Resumed():
                self.announce(_resuming(event))
            case Planned(cells=cells, directory=directory):
                self.announce(f"writing to {directory}")
                self._clock.plan(len(cells))
                self._missing = Counter((cell.round, _called(cell)) for cell in cells)
            case Finished(cell=cell, record=record):
                self._finished.append((cell, record))
                self._advance(cell)
            case Skipped(cell=cell):
                self._advance(cell)

    def _advance(self, cell: Cell) -> None:
        self._clock.advance()
        self._missing[cell.round, _called(cell)] -= 1
        mine = [record for known, record in self._finished if _called(known) == _called(cell)]
        if not self._missing[cell.round, _called(cell)] and mine:
            self.announce(f"[{self._clock.done}] {_line(mine, cell)}; {self._clock.left}")
            self._finished = [(known, record) for known, record in self._finished if _called(known) != _called(cell)]


def _called(cell: Cell) -> str:
    """A case, and on which side it is measured where there are two."""
    return f"{cell.side}: {cell.case.name}" if cell.side else cell.case.name


def _resuming(event: Resumed) -> str:
    said = f"resuming {event.directory}: {event.done} records are there and stay"
    return f"{said}; {event.failed} cells failed or could not run, and are not tried again" if event.failed else said


def _line(records: Sequence[Record], cell: Cell) -> str:
    """One case in one round: the fastest backend of its pattern, and how many did not make it."""
    number = f" (process {cell.round + 1})" if cell.round else ""
    pattern = cell.case.problem.pattern
    ok = [record for record in records if record.status is Status.OK]
    parts = [f"{len(ok)} ok"] if ok else []
    measured = [
        (process_statistic(record.samples_ms, record.device.partition(":")[0]), record.backend)
        for record in ok
        if record.problem.pattern is pattern
    ]
    for status in Status:
        count = sum(record.status is status for record in records)
        if count and status is not Status.OK:
            parts.append(f"{count} {status}")
    fastest = "fastest {1} {0:.3g} ms, ".format(*min(measured)) if measured else ""
    return f"{cell.case.name}{number}: {fastest}{', '.join(parts)}"


def summary(outcome: Outcome) -> str:
    """One sentence: what was measured, and where the time went."""
    counts = ", ".join(f"{count} {status}" for status, count in outcome.statuses.items())
    spent, elapsed = outcome.spent, outcome.elapsed_s
    parts = {
        "starting processes": outcome.starting_s,
        "preparing and compiling": spent.prepare_s,
        "checking": spent.check_s,
        "ceilings": spent.ceilings_s,
        "profiling": spent.profile_s,
        "warming up": spent.warm_up_s,
    }
    parts["the rest"] = max(0.0, elapsed - spent.timed_s - sum(parts.values()))
    others = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items())
    cut = "interrupted: " if outcome.interrupted else ""
    return (
        f"{cut}{sum(outcome.statuses.values())} of {outcome.cells} cells ({counts or 'none'}); "
        f"timed {spent.timed_s:.1f} s of {elapsed:.1f} s ({spent.timed_s / elapsed:.0%}); {others}"
    )
