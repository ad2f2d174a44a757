"""The parent's side of a run: blocks of cells through worker processes into a journal, then tables."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from attnbench.backends import registry
from attnbench.errors import LostOutputError, RefusedError, SuiteError, WorkerError
from attnbench.execution import resumption
from attnbench.execution.directory import check_output, run_directory, start
from attnbench.execution.interruption import Interruption
from attnbench.execution.lock import device_lock
from attnbench.execution.messages import Described
from attnbench.execution.observer import Observer
from attnbench.execution.process import Abandoned
from attnbench.execution.resumption import Progress
from attnbench.execution.session import Outcome, Session, Stop
from attnbench.execution.supervisor import Supervisor
from attnbench.journal import Journal
from attnbench.suite import Suite, load_suite

if TYPE_CHECKING:
    import pandas as pd


def run(suite: str | Path, output: str | Path | None = None) -> pd.DataFrame:
    """Run a suite and return its table, one row per cell (columns: ``attnbench.table.COLUMNS``).

    Args:
        suite: A suite's file, or the name of one that comes with attnbench.
        output: The run directory; by default a new one under ``results/``.

    Raises:
        AttnbenchError: One sentence saying what is wrong. A cell that fails is a row, not an error.
        KeyboardInterrupt: The run was interrupted; its directory holds what was measured.
    """
    outcome = run_suite(load_suite(suite, known_backends=registry.names()), output=Path(output) if output else None)
    if outcome.interrupted or outcome.stored is None:
        raise KeyboardInterrupt(f"the run was cut short; what was measured is in {outcome.directory}")
    return outcome.stored.table


def run_suite(
    suite: Suite,
    *,
    output: Path | None = None,
    resume: Path | None = None,
    wait: bool = False,
    observer: Observer | None = None,
) -> Outcome:
    """Measure every cell of a suite and write its run directory.

    Args:
        suite: What to measure.
        output: The run directory; by default a new one under ``results/``.
        resume: A run directory to go on with instead: what is missing there is measured.
        wait: Whether to wait where another run has the device.
        observer: Told what happens.

    Raises:
        UsageError: A backend or device that is not there, an output that cannot be used, a suite that is not the one
            to be resumed.
        NotComparableError: The run to be resumed was measured in another environment.
        BusyError: Another run has the device.
        LostOutputError: The disk is full or the directory gone; what was journalled stays.
        WorkerError: No worker starts.
    """
    began = time.monotonic()
    if resume is None:
        check_output(output)
    else:
        resumption.check_suite(resume, suite, registry.names())
        resumption.check_writable(resume)
    observer = observer or Observer()
    workers = Supervisor(threads=suite.measure.threads)
    with Interruption() as interruption:
        stop = Stop(interruption, observer)
        try:
            described = describe_suite(workers, suite, abandon=stop.now)

            def waiting(why: str) -> None:
                workers.close()  # an idle one would still have the device open
                observer.waiting(why)

            with device_lock(
                described.device_id, holder=f"run {suite.name}", waiting=waiting if wait else None, abandon=stop.soon
            ):
                outcome = _run(suite, described, workers, observer, stop, output=output, resume=resume)
        except Abandoned:
            raise WorkerError("interrupted before anything was measured") from None
        finally:
            workers.close()
    outcome.elapsed_s = time.monotonic() - began
    outcome.starting_s = workers.starting_s
    return outcome


def _run(
    suite: Suite,
    described: Described,
    workers: Supervisor,
    observer: Observer,
    stop: Stop,
    *,
    output: Path | None,
    resume: Path | None,
) -> Outcome:
    environment = described.environment
    cases = suite.cases(environment.device)
    cells = len(cases) * len(suite.backends)
    progress = Progress()
    if resume is None:
        check_output(output)  # once more: another run may have used it while this one waited
        directory = run_directory(output, suite=suite.name, machine=environment.machine)
        start(directory, suite.text, environment)
    else:
        directory = resume
        resumption.check_cases(directory, cases, environment.device, registry.names())
        environment = resumption.check_environment(directory, environment)
        progress = resumption.read_progress(directory, cases, suite.backends)
        observer.resuming(directory, done=len(progress.done), failed=len(progress.failed))
    outcome = Outcome(directory=directory, environment=environment, cells=cells)
    with Journal(directory) as journal, tempfile.TemporaryDirectory(prefix="attnbench-") as shelf:
        session = Session(
            suite=suite,
            workers=workers,
            outcome=outcome,
            observer=observer,
            stop=stop,
            answers={answer.name: answer for answer in described.backends},
            journal=journal,
            shelf=shelf,
            progress=progress,
        )
        waiting = session.missing(session.plan(cases))
        observer.planned(waiting, directory)
        try:
            session.run(waiting)
        except LostOutputError:
            raise  # neither could the tables be written
        except BaseException:
            session.finish()
            raise
    session.finish()
    return outcome


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
    except RefusedError as error:
        raise SuiteError(f"{suite.where(*error.key)}: {error}") from None
    for index, backend in enumerate(described.backends):
        if backend.invalid:
            raise SuiteError(f"{suite.where('backends', index)}: {backend.invalid}")
    return described
