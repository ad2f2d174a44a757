"""What a person or a log sees of a run while it runs, on stderr."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from attnbench.execution.messages import Stage
from attnbench.execution.observer import Cell, Observer
from attnbench.execution.session import Outcome
from attnbench.problem import Pattern
from attnbench.record import Record, Status
from attnbench.stats import block_statistic

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def observer() -> Iterator[Observer]:
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
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bar(progress)


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


class _Bar(Observer):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting a worker", total=None, left="")
        self._clock = _Clock()

    def _say(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def announced(self, what: str) -> None:
        self._say(what)

    def waiting(self, why: str) -> None:
        self._say(why)

    def resuming(self, directory: Path, *, done: int, failed: int) -> None:
        self._say(_resuming(directory, done, failed))

    def planned(self, cells: Sequence[Cell], directory: Path) -> None:
        self._say(f"writing to {directory}")
        self._clock.plan(len(cells))
        self._progress.update(self._task, total=len(cells))

    def entered(self, cell: Cell, stage: Stage) -> None:
        block = f" (block {cell.block + 1})" if cell.block else ""
        what = "all in turn" if stage is Stage.SAMPLE else cell.backend
        self._progress.update(self._task, description=f"{cell.case.name}, {what}{block}")

    def finished(self, record: Record) -> None:
        self._clock.advance()
        self._progress.update(self._task, advance=1, left=self._clock.left)
        if record.status is not Status.OK:
            self._say(f"{record.case}, {record.backend}: {record.status}: {record.reason}")

    def skipped(self, cell: Cell) -> None:
        self._clock.advance()
        self._progress.update(self._task, advance=1)

    def stopping(self) -> None:
        self._say(_STOPPING)


class _Log(Observer):
    """Tells a case when the last of its cells in a block is finished or skipped."""

    def __init__(self) -> None:
        self._clock = _Clock()
        self._records: list[Record] = []
        self._missing: Counter[tuple[int, str]] = Counter()
        self._pattern = Pattern.GROUPED

    def announced(self, what: str) -> None:
        typer.echo(what, err=True)

    def waiting(self, why: str) -> None:
        typer.echo(why, err=True)

    def resuming(self, directory: Path, *, done: int, failed: int) -> None:
        typer.echo(_resuming(directory, done, failed), err=True)

    def planned(self, cells: Sequence[Cell], directory: Path) -> None:
        typer.echo(f"writing to {directory}", err=True)
        self._clock.plan(len(cells))
        self._missing = Counter((cell.block, cell.case.name) for cell in cells)

    def entered(self, cell: Cell, stage: Stage) -> None:
        self._pattern = cell.case.problem.pattern

    def finished(self, record: Record) -> None:
        self._records.append(record)
        self._advance(record.block, record.case)

    def skipped(self, cell: Cell) -> None:
        self._advance(cell.block, cell.case.name)

    def _advance(self, block: int, case: str) -> None:
        self._clock.advance()
        self._missing[block, case] -= 1
        if not self._missing[block, case] and self._records:
            typer.echo(f"[{self._clock.done}] {_line(self._records, self._pattern)}; {self._clock.left}", err=True)
            self._records = []

    def stopping(self) -> None:
        typer.echo(_STOPPING, err=True)


def _resuming(directory: Path, done: int, failed: int) -> str:
    said = f"resuming {directory}: {done} records are there and stay"
    return f"{said}; {failed} cells failed or could not run, and are not tried again" if failed else said


_STOPPING = "stopping after the case at work; once more stops at once"


def _line(records: Sequence[Record], pattern: Pattern) -> str:
    """One case in one block: the fastest backend of its pattern, and how many did not make it."""
    first = records[0]
    block = f" (block {first.block + 1})" if first.block else ""
    ok = [record for record in records if record.status is Status.OK]
    parts = [f"{len(ok)} ok"] if ok else []
    measured = [
        (block_statistic(record.samples_ms, record.device.partition(":")[0]), record.backend)
        for record in ok
        if record.problem.pattern is pattern
    ]
    for status in Status:
        count = sum(record.status is status for record in records)
        if count and status is not Status.OK:
            parts.append(f"{count} {status}")
    fastest = "fastest {1} {0:.3g} ms, ".format(*min(measured)) if measured else ""
    return f"{first.case}{block}: {fastest}{', '.join(parts)}"


def summary(outcome: Outcome) -> str:
    """One sentence: what was measured, and where the time went."""
    counts = ", ".join(f"{count} {status}" for status, count in outcome.statuses.items())
    spent, elapsed = outcome.spent, outcome.elapsed_s
    parts = {
        "starting workers": outcome.starting_s,
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
