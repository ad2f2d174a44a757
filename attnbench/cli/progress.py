"""A run's progress for a person or a log, on stderr."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnbench.cli.streams import is_plain, say
from attnbench.core.errors import BusyError
from attnbench.core.record import Record, Status
from attnbench.core.stats import process_statistic
from attnbench.core.text import plural
from attnbench.run.events import Announced, Cell, Entered, Event, Finished, Planned, Resumed, Skipped, Stage
from attnbench.run.session import Session
from attnbench.run.track import Outcome

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def opened(opening: Callable[..., AbstractContextManager[Session]], *, wait: bool) -> Iterator[Session]:
    """A session; if another run uses the device, print that, and wait for it.

    Args:
        opening: ``open_run`` or ``open_pairs`` with every argument but ``wait``.
        wait: Whether to wait.
    """
    with ExitStack() as stack:
        try:
            session = stack.enter_context(opening(wait=False))
        except BusyError as busy:
            if not wait:
                raise
            say(f"{busy.who}; waiting")
            session = stack.enter_context(opening(wait=True))
        yield session


@contextmanager
def progress() -> Iterator[Shown]:
    """A bar on a terminal, one line per case in a log."""
    if is_plain(sys.stderr):
        yield Shown(None)
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
        yield Shown(bar)


class Shown:
    """Shows events, and estimates the time left from the cells measured so far."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task = None if bar is None else bar.add_task("starting processes", total=None, left="")
        self._began, self._total, self._done = time.monotonic(), 0, 0
        self._directory: Path | None = None
        self._missing: Counter[tuple[int, str]] = Counter()
        self._records: defaultdict[tuple[int, str], list[Record]] = defaultdict(list)

    def show(self, event: Event) -> None:
        """Show what happened."""
        match event:
            case Announced(what=what):
                self._print(what)
            case Resumed(directory=directory, done=done, failed=failed):
                given_up = f"; {plural(failed, 'failed cell')} not tried again" if failed else ""
                self._print(f"resuming {directory}: {plural(done, 'record')} kept{given_up}")
            case Planned(cells=cells, directory=directory):
                if directory != self._directory:  # ab plans anew after every look
                    self._directory = directory
                    self._print(f"writing to {directory}")
                self._began, self._total, self._done = time.monotonic(), len(cells), 0
                self._missing = Counter((cell.round, _name(cell)) for cell in cells)
                self._update(total=len(cells), completed=0)
            case Entered(cell=cell, stage=stage):
                what = "all in turn" if stage is Stage.SAMPLE else f"{cell.side} {cell.backend}".strip()
                self._update(description=f"{cell.case.name}, {what}{_process(cell)}")
            case Finished(cell=cell, record=record):
                self._end(cell, record)
            case Skipped(cell=cell):
                self._end(cell, None)

    def _end(self, cell: Cell, record: Record | None) -> None:
        """A cell has ended; without a record it was skipped. A case is printed with the last of its cells."""
        key = cell.round, _name(cell)
        self._done += 1
        self._missing[key] -= 1
        if record is not None:
            self._records[key].append(record)
        if self._bar is not None:
            self._update(advance=1, left=self._left)
            if record is not None and record.status is not Status.OK:
                self._print(f"{_name(cell)}, {record.backend}: {record.status}: {record.reason}")
        elif not self._missing[key] and (records := self._records.pop(key, None)):
            self._print(f"[{self._done}/{self._total}] {_line(records, cell)}; {self._left}")

    @property
    def _left(self) -> str:
        seconds = (time.monotonic() - self._began) / self._done * (self._total - self._done)
        return f"{seconds / 60:.0f} min left" if seconds > 100 else f"{seconds:.0f} s left"  # noqa: PLR2004

    def _print(self, line: str) -> None:
        if self._bar is None:
            say(line)
        else:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _update(self, **fields: Any) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, **fields)


def _process(cell: Cell) -> str:
    return f" (round {cell.round + 1})" if cell.round else ""


def _name(cell: Cell) -> str:
    """A case, with its side if there are two."""
    return f"{cell.side}: {cell.case.name}" if cell.side else cell.case.name


def _line(records: Sequence[Record], cell: Cell) -> str:
    """One case in one round: the fastest backend of its pattern, and cells by status."""
    latencies = [
        (process_statistic(record.samples_ms, record.device_type), record.backend)
        for record in records
        if record.status is Status.OK and record.problem.pattern is cell.case.problem.pattern
    ]
    counts = Counter(record.status for record in records)
    parts = [f"fastest {name} {latency_ms:.3g} ms" for latency_ms, name in sorted(latencies)[:1]]
    parts += [f"{counts[status]} {status}" for status in Status if counts[status]]
    return f"{_name(cell)}{_process(cell)}: {', '.join(parts)}"


def summary(outcome: Outcome) -> str:
    """One sentence: cells by status, and where the time went."""
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
    parts["other"] = max(0.0, elapsed - spent.timed_s - sum(parts.values()))
    others = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items())
    cut = "interrupted: " if outcome.interrupted else ""
    return (
        f"{cut}{sum(outcome.statuses.values())} of {outcome.cells} cells ({counts or 'none'}); "
        f"timed {spent.timed_s:.1f} s of {elapsed:.1f} s ({spent.timed_s / elapsed:.0%}); {others}"
    )


def took(session: Session) -> str:
    """How long two sides took, how much of that was timed, and where they lie."""
    timed_s = sum(outcome.spent.timed_s for outcome in session.outcomes.values())
    share = timed_s / max(session.elapsed_s, timed_s, 1e-9)
    return f"{session.elapsed_s:.0f} s, {share:.0%} of it timed; {session.directory}"
