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
from datetime import UTC, datetime
from pathlib import Path

from attnbench.errors import NotComparableError, RefusedError, SuiteError, UsageError, WorkerError
from attnbench.execution import resumption
from attnbench.execution.directory import check_output, run_directory, start, write_json
from attnbench.execution.interpreter import Interpreter
from attnbench.execution.interruption import Interruption
from attnbench.execution.lock import device_lock
from attnbench.execution.messages import BackendAnswer, Described, Stage
from attnbench.execution.observer import Cell, Observer
from attnbench.execution.process import Abandoned
from attnbench.execution.resumption import Progress
from attnbench.execution.session import Outcome, Session, Stop, plan
from attnbench.execution.supervisor import Supervisor
from attnbench.journal import JOURNAL, Journal
from attnbench.pairing import ATTEMPTS, BASE, CANDIDATE, Pairing, Party, read_pairing
from attnbench.record import Case, Environment, Record, unlike
from attnbench.revision import commit_of
from attnbench.suite import Suite


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two environments."""

    suite: Suite
    interpreter: Interpreter
    named: str
    """As the user named it."""
    known_backends: tuple[str, ...]
    """Names that mean a backend in one of the two environments."""


Place = tuple[str, int]
"""A cell, by its case and the place of its backend in the suite."""


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
        _check_resumable(resume, sides)
    observer = observer or Observer()
    workers = {
        name: Supervisor(threads=side.suite.measure.threads, interpreter=side.interpreter)
        for name, side in sides.items()
    }
    with Interruption() as interruption:
        stop = Stop(interruption, observer)
        try:
            described = {name: _describe(name, side, workers[name], stop) for name, side in sides.items()}
            _check_devices(described)
            answers = _answers(sides, described)
            if second_stage is not None:
                second_stage.begin(described[BASE].environment)
            with device_lock(
                described[BASE].device_id,
                holder=f"{kind} {sides[BASE].suite.name}",
                waiting=observer.waiting if wait else None,
                abandon=stop.soon,
            ):
                pairing = _pairing(sides, described, kind=kind, pairs=pairs)
                if resume is None:
                    directory = _open(sides, described, pairing, output)
                    progress = {name: Progress(attempts=ATTEMPTS) for name in sides}
                    environments = {name: one.environment for name, one in described.items()}
                else:
                    directory = resume
                    pairing = _check_pairing(resume, pairing)
                    progress, environments = _progress(resume, sides, described)
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
    for name, outcome in found.outcomes.items():
        outcome.starting_s = workers[name].starting_s
    return found


def _describe(name: str, side: Side, workers: Supervisor, stop: Stop) -> Described:
    suite = side.suite
    try:
        described = workers.describe(
            device=suite.device, backends=suite.backends, measure=suite.measure, abandon=stop.now
        )
    except RefusedError as error:
        raise SuiteError(f"{suite.where(*error.key)}: in the {name} environment ({side.named}), {error}") from None
    except WorkerError as error:
        raise WorkerError(f"in the {name} environment ({side.named}), {error}") from None
    finally:
        workers.close()  # one worker at a time has the device
    environment = described.environment
    if side.interpreter.path is not None:
        environment = replace(environment, commit=commit_of(side.interpreter.path))
    return replace(described, environment=environment)


def _check_devices(described: dict[str, Described]) -> None:
    base, candidate = (described[name].environment for name in (BASE, CANDIDATE))
    fields = unlike(base.fingerprint, candidate.fingerprint)
    if base.device != candidate.device:
        fields.insert(0, f"device {base.device} -> {candidate.device}")
    if fields:
        raise NotComparableError(
            f"the two environments see unlike devices: {'; '.join(fields)}; name the device in the suite, "
            "and see that both have a torch for it (attnbench doctor)"
        )


def _answers(sides: dict[str, Side], described: dict[str, Described]) -> dict[str, dict[str, BackendAnswer]]:
    """What each side says of its backends.

    A backend of both that leads nowhere on one side cannot run there: that is what is to be found out. Elsewhere it is
    a mistake, and so are two paths that both sides pass by.
    """
    paths = {side.interpreter.path for side in sides.values()}
    both = zip(described[BASE].backends, described[CANDIDATE].backends, strict=True)
    for index, (ours, theirs) in enumerate(both):
        where = sides[BASE].suite.where("backends", index)
        lost = [(name, one.invalid) for name, one in ((BASE, ours), (CANDIDATE, theirs)) if one.invalid]
        if len(lost) == len(sides) or (lost and ours.name != theirs.name):
            raise SuiteError(f"{sides[lost[0][0]].suite.where('backends', index)}: {lost[0][1]}")
        if len(paths) > 1 and ":" in ours.name and ours.name == theirs.name and ours.file and ours.file == theirs.file:
            raise SuiteError(
                f"{where}: backend {ours.name} is {ours.file} on both sides; give --base-path and --candidate-path "
                "directories that hold its module"
            )
    return {
        name: {
            answer.name: replace(answer, unavailable=answer.invalid or answer.unavailable) for answer in one.backends
        }
        for name, one in described.items()
    }


def _pairing(sides: dict[str, Side], described: dict[str, Described], *, kind: str, pairs: int) -> Pairing:
    return Pairing(
        kind=kind,
        pairs=pairs,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        backends=tuple(zip(sides[BASE].suite.backends, sides[CANDIDATE].suite.backends, strict=True)),
        parties={
            name: Party(
                environment=side.named,
                python=described[name].environment.python,
                path=None if side.interpreter.path is None else str(side.interpreter.path),
            )
            for name, side in sides.items()
        },
    )


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


def _check_resumable(directory: Path, sides: dict[str, Side]) -> None:
    """See that a directory holds an A/B comparison of this suite, before anything is started."""
    read_pairing(directory)
    for name, side in sides.items():
        resumption.check_suite(directory / name, side.suite, side.known_backends)
        resumption.check_writable(directory / name)


def _check_pairing(directory: Path, now: Pairing) -> Pairing:
    """See that it is the same two sides as before."""
    before = read_pairing(directory)
    was, is_now = _sides(before), _sides(now)
    for name, value in was.items():
        if value != is_now[name]:
            raise UsageError(
                f"--resume {directory}: {name} was {value} and is {is_now[name]}; give the same options, or run anew"
            )
    return before


def _sides(pairing: Pairing) -> dict[str, object]:
    """What must stay as it was, by how people call it."""
    found: dict[str, object] = {"kind": pairing.kind, "pairs": pairing.pairs, "backends": pairing.backends}
    for name, party in pairing.parties.items():
        found |= {f"--{name}": party.environment, f"the Python of {name}": party.python, f"--{name}-path": party.path}
    return found


def _progress(
    directory: Path, sides: dict[str, Side], described: dict[str, Described]
) -> tuple[dict[str, Progress], dict[str, Environment]]:
    """What a directory holds; of a pair that is not whole, nothing: its halves would lie hours apart."""
    progress, environments = {}, {}
    for name, side in sides.items():
        place, environment = directory / name, described[name].environment
        cases = side.suite.cases(environment.device)
        resumption.check_cases(place, cases, environment.device, side.known_backends)
        environments[name] = resumption.check_environment(place, environment, commit=side.interpreter.path is not None)
        progress[name] = resumption.read_progress(place, cases, side.suite.backends, attempts=ATTEMPTS)
    whole = progress[BASE].done & progress[CANDIDATE].done
    for one in progress.values():
        one.done = {key for key in one.done if key in whole or key[0] in one.failed}
    return progress, environments


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
