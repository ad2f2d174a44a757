"""Two environments on one device, in turn: pairs of fresh processes, so that what slows the machine slows both.

Processes alternate base, candidate, candidate, base, and so on, each measuring every cell once in the same order. A
cell that fails in one of them is tried again in the next. After a first stage, cells that look changed are measured in
fresh pairs.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from attnbench.errors import WorkerError
from attnbench.execution.directory import check_output, run_directory, start, write_json
from attnbench.execution.interruption import Interruption
from attnbench.execution.lock import device_lock
from attnbench.execution.messages import BackendAnswer, Described, Stage
from attnbench.execution.observer import Cell, Observer
from attnbench.execution.process import Abandoned
from attnbench.execution.resumption import Progress
from attnbench.execution.session import Outcome, Session, Stop, plan
from attnbench.execution.sides import (
    Side,
    answers_of,
    check_devices,
    check_pairing,
    check_resumable,
    describe,
    pairing_of,
    progress_of,
)
from attnbench.execution.supervisor import Supervisor
from attnbench.journal import JOURNAL, Journal
from attnbench.pairing import ATTEMPTS, BASE, CANDIDATE, Pairing, Place
from attnbench.record import Case, Environment, Record


@dataclass(frozen=True, kw_only=True)
class SecondStage:
    """What is measured after the first stage."""

    begin: Callable[[Environment], None]
    """Told the machine before anything is measured there."""
    changed: Callable[[Path], Collection[Place]]
    """Given the directory as it lies on disk: which cells look slower or faster. They are measured in fresh pairs."""
    pairs: int
    """How many."""


@dataclass(kw_only=True)
class Alternation:
    """How it went."""

    directory: Path
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """By side."""
    elapsed_s: float = 0.0

    @property
    def interrupted(self) -> bool:
        """Whether it was cut short."""
        return any(outcome.interrupted for outcome in self.outcomes.values())


def alternate(
    sides: dict[str, Side],
    *,
    kind: str,
    pairs: int,
    second_stage: SecondStage | None = None,
    output: Path | None = None,
    resume: Path | None = None,
    wait: bool = False,
    observer: Observer | None = None,
) -> Alternation:
    """Measure a suite in two environments in turn and write a directory with a run of each.

    Args:
        sides: ``base`` and ``candidate``; their suites have the same cases, and as many backends.
        kind: ``ab`` or ``noise``: what it is for.
        pairs: Pairs of the first stage.
        second_stage: What is measured after the first; by default nothing.
        output: The directory; by default a new one under ``results/``.
        resume: A directory to go on with instead: pairs that are whole stay, the others are measured anew.
        wait: Whether to wait where another run has the device.
        observer: Told what happens.

    Raises:
        UsageError: A backend that neither side has, a device that is not there, a directory that cannot be used.
        NotComparableError: The two see unlike devices, or what is resumed was measured otherwise.
        BusyError: Another run has the device.
        LostOutputError: The disk is full or the directory gone; what was journalled stays.
        WorkerError: In one of them no worker starts.
    """
    began = time.monotonic()
    if resume is None:
        check_output(output)
    else:
        check_resumable(resume, sides)
    observer = observer or Observer()
    workers = {
        name: Supervisor(threads=side.suite.measure.threads, interpreter=side.interpreter)
        for name, side in sides.items()
    }
    with Interruption() as interruption:
        stop = Stop(interruption, observer)
        try:
            described = {name: describe(name, side, workers[name], stop) for name, side in sides.items()}
            check_devices(described)
            answers = answers_of(sides, described)
            if second_stage is not None:
                second_stage.begin(described[BASE].environment)
            with device_lock(
                described[BASE].device_id,
                holder=f"{kind} {sides[BASE].suite.name}",
                waiting=observer.waiting if wait else None,
                abandon=stop.soon,
            ):
                pairing = pairing_of(sides, described, kind=kind, pairs=pairs)
                if resume is None:
                    directory = _open(sides, described, pairing, output)
                    progress = {name: Progress(attempts=ATTEMPTS) for name in sides}
                    environments = {name: one.environment for name, one in described.items()}
                else:
                    directory = resume
                    pairing = check_pairing(resume, pairing)
                    progress, environments = progress_of(resume, sides, described)
                with _sessions(sides, workers, environments, answers, directory, progress, observer, stop) as sessions:
                    found = Alternation(directory=directory)
                    found.outcomes = {name: session.outcome for name, session in sessions.items()}
                    _run(sessions, pairs, second_stage, directory, observer)
                if not found.interrupted:
                    write_json(directory / Pairing.FILE, replace(pairing, finished=True).to_json())
        except Abandoned:
            raise WorkerError("interrupted before anything was measured") from None
        finally:
            for one in workers.values():
                one.close()
    found.elapsed_s = time.monotonic() - began
    return found


def _open(sides: dict[str, Side], described: dict[str, Described], pairing: Pairing, output: Path | None) -> Path:
    """A directory with everything that can be gone on with."""
    check_output(output)  # once more: another run may have used it while this one waited
    suite = sides[BASE].suite
    directory = run_directory(output, suite=suite.name, machine=described[BASE].environment.machine)
    for name, side in sides.items():
        start(directory / name, side.suite.text, described[name].environment)
        (directory / name / JOURNAL).touch()
    write_json(directory / Pairing.FILE, pairing.to_json())
    return directory


@contextlib.contextmanager
def _sessions(
    sides: dict[str, Side],
    workers: dict[str, Supervisor],
    environments: dict[str, Environment],
    answers: dict[str, dict[str, BackendAnswer]],
    directory: Path,
    progress: dict[str, Progress],
    observer: Observer,
    stop: Stop,
) -> Iterator[dict[str, Session]]:
    with contextlib.ExitStack() as stack:
        sessions = {}
        for name, side in sides.items():
            environment = environments[name]
            cells = len(side.suite.cases(environment.device)) * len(side.suite.backends)
            sessions[name] = Session(
                suite=side.suite,
                workers=workers[name],
                outcome=Outcome(directory=directory / name, environment=environment, cells=cells),
                observer=_Labelled(observer, name),
                stop=stop,
                answers=answers[name],
                journal=stack.enter_context(Journal(directory / name)),
                # Not shared: another torch may compute another reference from the same seed.
                shelf=stack.enter_context(tempfile.TemporaryDirectory(prefix="attnbench-")),
                progress=progress[name],
            )
        yield sessions


def _run(
    sessions: dict[str, Session],
    pairs: int,
    second_stage: SecondStage | None,
    directory: Path,
    observer: Observer,
) -> None:
    stages = "stage 1 of 2 at most: " if second_stage else ""
    observer.announced(f"{stages}{pairs} pairs of processes, base and candidate in turn")
    with _finished(sessions):
        _alternate(sessions, range(pairs), observer, directory)
    if second_stage is None or _cut_short(sessions):
        return
    changed = second_stage.changed(directory)
    if changed:
        observer.announced(f"stage 2: {second_stage.pairs} fresh pairs for what looks changed ({_cells(changed)})")
        with _finished(sessions):
            _alternate(sessions, range(pairs, pairs + second_stage.pairs), observer, directory, only=changed)
    else:
        observer.announced("no latency looks changed: stage 2 is not needed")


@contextlib.contextmanager
def _finished(sessions: dict[str, Session]) -> Iterator[None]:
    """Tables are written whatever happens meanwhile."""
    try:
        yield
    finally:
        for session in sessions.values():
            session.finish()


def _cells(cells: Collection[object]) -> str:
    return f"{len(cells)} cell{'' if len(cells) == 1 else 's'}"


def _cut_short(sessions: dict[str, Session]) -> bool:
    return any(session.outcome.interrupted for session in sessions.values())


def _alternate(
    sessions: dict[str, Session],
    blocks: range,
    observer: Observer,
    directory: Path,
    *,
    only: Collection[Place] | None = None,
) -> None:
    """Pairs of processes: base, candidate, candidate, base, and so on."""
    cells = {
        (name, block): session.missing(_plan(session, block, only))
        for block in blocks
        for name, session in sessions.items()
    }
    observer.planned([_labelled(cell, name) for (name, _), found in cells.items() for cell in found], directory)
    for block in blocks:
        for name in (BASE, CANDIDATE) if block % 2 == 0 else (CANDIDATE, BASE):
            session = sessions[name]
            wanted = cells[name, block]
            if block > 0:  # in the first pair each side says of every cell whether it can
                lost = set[int]().union(*(one.progress.failed for one in sessions.values()))
                for cell in wanted:
                    if cell.position in lost:
                        session.observer.skipped(cell)
                wanted = [cell for cell in wanted if cell.position not in lost]
            session.run(wanted)
            session.workers.close()
            if session.outcome.interrupted:
                return


def _plan(session: Session, block: int, only: Collection[Place] | None) -> list[Cell]:
    backends = session.suite.backends
    cells = plan(_cases(session), backends, block=block)
    if only is None:
        return cells
    return [cell for cell in cells if (cell.case.name, backends.index(cell.backend)) in only]


def _cases(session: Session) -> list[Case]:
    return session.suite.cases(session.outcome.environment.device)


class _Labelled(Observer):
    """Tells another observer what happens on one side."""

    def __init__(self, observer: Observer, side: str) -> None:
        self._observer = observer
        self._side = side

    def entered(self, cell: Cell, stage: Stage) -> None:
        self._observer.entered(_labelled(cell, self._side), stage)

    def finished(self, record: Record) -> None:
        self._observer.finished(replace(record, case=_label(record.case, self._side)))

    def skipped(self, cell: Cell) -> None:
        self._observer.skipped(_labelled(cell, self._side))


def _labelled(cell: Cell, side: str) -> Cell:
    return replace(cell, case=replace(cell.case, name=_label(cell.case.name, side)))


def _label(case: str, side: str) -> str:
    return f"{side}: {case}"
