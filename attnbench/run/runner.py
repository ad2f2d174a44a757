"""Opens what is to be measured: a suite, or a suite in two environments. What follows is the session's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnbench.backends import registry
from attnbench.core.errors import BusyError, SuiteError, WorkerError
from attnbench.core.files import write_json
from attnbench.core.protocol import Introduced
from attnbench.core.record import Environment
from attnbench.results.journal import Journal
from attnbench.results.pairs import ATTEMPTS, BASE, Pairing
from attnbench.run import pairs as two
from attnbench.run import resume as resuming
from attnbench.run.child_process import Abandoned
from attnbench.run.directory import appearing, begin_again, check_output, fill, never_started, reserved, run_directory
from attnbench.run.events import Event, Finished, Resumed
from attnbench.run.interruption import Interruption
from attnbench.run.lock import device_lock
from attnbench.run.process_pool import Participant, ProcessPool
from attnbench.run.resume import Progress
from attnbench.run.session import Session
from attnbench.run.sides import Side, describe_suite, described_sides, introduce
from attnbench.run.track import Outcome, Track
from attnbench.suite.expansion import Suite, load_suite

if TYPE_CHECKING:
    import pandas as pd


def run(
    suite: str | Path | Mapping[str, Any],
    output: str | Path | None = None,
    *,
    wait: bool = False,
    progress: bool | Callable[[Event], None] = False,
    **overrides: Any,
) -> pd.DataFrame:
    """``attnbench.run``: run a suite and return its table."""
    from attnbench.results.frames import frame_of

    show = (_print_event if progress else _ignore) if isinstance(progress, bool) else progress
    loaded = load_suite(suite, known_backends=registry.names(), values=overrides)
    with open_run(loaded, output=Path(output) if output else None, wait=wait) as session:
        for event in session.measure(session.rounds):
            show(event)
    (outcome,) = session.outcomes.values()
    if outcome.interrupted or outcome.stored is None:
        raise KeyboardInterrupt(f"the run was interrupted; what was measured is in {outcome.directory}")
    return frame_of([outcome.stored])


def _ignore(event: Event) -> None:
    """Show nothing."""


def _print_event(event: Event) -> None:
    """A line for every finished cell."""
    if isinstance(event, Finished):
        record = event.record
        ended = f"{min(record.samples_ms):.3g} ms" if record.samples_ms else f"{record.status}: {record.reason}"
        sys.stderr.write(f"{record.case}, {record.backend}, round {record.round + 1}: {ended}\n")


@contextmanager
def open_run(
    suite: Suite, *, output: Path | None = None, resume: Path | None = None, wait: bool = False
) -> Iterator[Session]:
    """Get ready to measure every cell of a suite; the tables are written at the end, whatever happened.

    Args:
        suite: What to measure.
        output: The run directory; by default a new one under ``results/``.
        resume: A run directory to resume: what is missing there is measured.
        wait: Whether to wait where another run has the device.

    Raises:
        UsageError: A backend or device that is not there, an output that cannot be used, a suite that is not the one
            to be resumed.
        NotComparableError: The run to be resumed was measured in another environment.
        BusyError: Another run has the device.
        LostOutputError: The disk is full or the directory gone; what was journalled stays.
        WorkerError: No process starts.
    """
    output, resume = _begun_or_not(output, resume)
    if resume is not None:
        resuming.check_suite(resume, suite, registry.names())
        resuming.check_writable(resume)
    side = Side(suite=suite)
    with (
        _reserved(output, resume),
        _opened({side.name: side}, holder=f"run {suite.name}", wait=wait) as opened,
    ):
        for index, participant in enumerate(side.participants):
            if reason := opened.introduced[participant].invalid:
                raise SuiteError(f"{suite.where('backends', index)}: {reason}")
        environment = opened.environments[side.name]
        cases = suite.cases(environment.device)
        progress = Progress()
        resumed = None
        if resume is None:
            check_output(output)  # once more: another run may have used it while this one waited
            directory = run_directory(output, suite=suite.name, machine=environment.machine)
            with appearing(directory) as place:
                fill(place, suite.text, environment)
        else:
            directory = resume
            resuming.check_cases(directory, cases, environment.device, registry.names())
            environment = resuming.check_environment(directory, environment)
            progress = resuming.read_progress(directory, cases, suite.backends)
            resumed = Resumed(directory=directory, done=len(progress.done), failed=len(progress.failed))
        outcome = Outcome(directory=directory, environment=environment, cells=len(cases) * len(suite.backends))
        track = Track(side=side, cases=cases, outcome=outcome, journal=Journal(directory), progress=progress)
        with Session(
            {side.name: track},
            pool=opened.pool,
            introduced=opened.introduced,
            interruption=opened.interruption,
            directory=directory,
            ceilings=True,
            resumed=resumed,
        ) as session:
            yield session


@contextmanager
def open_pairs(
    sides: Mapping[str, Side],
    *,
    kind: str,
    max_rounds: int,
    output: Path | None = None,
    resume: Path | None = None,
    wait: bool = False,
) -> Iterator[Session]:
    """Get ready to measure a suite in two environments that are alive together, a run of each in one directory.

    Args:
        sides: ``base`` and ``candidate``; their suites have the same cases, and as many backends.
        kind: ``ab`` or ``noise``: what it is for.
        max_rounds: Rounds that a cell gets at most.
        output: The directory; by default a new one under ``results/``.
        resume: A directory to resume: whole pairs stay, the others are measured again.
        wait: Whether to wait where another run has the device.

    Raises:
        UsageError: A backend that neither side has, a device that is not there, a directory that cannot be used.
        NotComparableError: The two see different devices, or what is resumed was measured otherwise.
        BusyError: Another run has the device.
        LostOutputError: The disk is full or the directory gone; what was journalled stays.
        WorkerError: In one of them no process starts.
    """
    output, resume = _begun_or_not(output, resume)
    if resume is not None:
        two.check_resumable(resume, sides)
    suite = sides[BASE].suite
    with _reserved(output, resume), _opened(sides, holder=f"{kind} {suite.name}", wait=wait) as opened:
        environments = opened.environments
        two.check_devices(environments)
        introduced = two.checked_introductions(sides, opened.introduced)
        pairing = two.pairing_of(sides, environments, introduced, kind=kind, max_rounds=max_rounds)
        if resume is None:
            check_output(output)
            directory = run_directory(output, suite=suite.name, machine=environments[BASE].machine)
            with appearing(directory) as place:
                for name, side in sides.items():
                    fill(place / name, side.suite.text, environments[name])
                write_json(place / Pairing.FILE, pairing.to_json())
            progress = {name: Progress(attempts=ATTEMPTS) for name in sides}
        else:
            directory = resume
            pairing = two.check_pairing(resume, pairing)
            progress, environments = two.progress_of(resume, sides, environments)
        tracks = {}
        for name, side in sides.items():
            cases = side.suite.cases(environments[name].device)
            cells = len(cases) * len(side.suite.backends)
            outcome = Outcome(directory=directory / name, environment=environments[name], cells=cells)
            journal = Journal(directory / name)
            tracks[name] = Track(side=side, cases=cases, outcome=outcome, journal=journal, progress=progress[name])
        with Session(
            tracks,
            pool=opened.pool,
            introduced=introduced,
            interruption=opened.interruption,
            directory=directory,
            # What the device can do anchors the processes of one day to those of another; pairs need no anchor.
            ceilings=kind == "noise",
        ) as session:
            yield session
        if not session.interrupted:
            write_json(directory / Pairing.FILE, replace(pairing, finished=True).to_json())


def _begun_or_not(output: Path | None, resume: Path | None) -> tuple[Path | None, Path | None]:
    """Output and resume; what was killed before it began is started, not resumed."""
    if resume is None or not never_started(resume):
        return output, resume
    begin_again(resume)
    return resume, None


def _reserved(output: Path | None, resume: Path | None) -> AbstractContextManager[None]:
    return reserved(output) if resume is None else nullcontext()


@dataclass(frozen=True, kw_only=True)
class _Opened:
    pool: ProcessPool
    interruption: Interruption
    environments: dict[str, Environment]
    introduced: dict[Participant, Introduced]


@contextmanager
def _opened(sides: Mapping[str, Side], *, holder: str, wait: bool) -> Iterator[_Opened]:
    """Processes that are ready, on a device that nobody else uses."""
    first = next(iter(sides.values())).suite
    with ExitStack() as stack:
        interruption = stack.enter_context(Interruption())
        pool = open_pool(first, interruption)
        stack.callback(pool.close)
        try:
            # They import torch at once, while the judge does.
            everybody = [one for side in sides.values() for one in side.participants if one.label not in side.missing]
            pool.begin_round(everybody, rounds=first.measure.processes)
            described = describe_suite(pool, first)
            try:
                stack.enter_context(device_lock(described.device_id, holder=holder))
            except BusyError:
                if not wait:
                    raise
                pool.close()  # idle processes would still have the device open
                stack.enter_context(
                    device_lock(described.device_id, holder=holder, wait=True, abandon=lambda: interruption.requested)
                )
                pool.begin_round(everybody, rounds=first.measure.processes)
            environments = described_sides(pool, sides, described)
            introduced: dict[Participant, Introduced] = {}
            for side in sides.values():
                introduced |= introduce(pool, side, described.environment.device)
        except Abandoned:
            raise WorkerError("interrupted before anything was measured") from None
        yield _Opened(pool=pool, interruption=interruption, environments=environments, introduced=introduced)


def open_pool(suite: Suite, interruption: Interruption) -> ProcessPool:
    """The processes of a run. Tests put others in their place here."""
    return ProcessPool(suite.measure, trains=suite.trains, abandon=lambda: interruption.at_once)
