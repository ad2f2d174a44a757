"""``attnbench run``."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnbench.cli.finish import read_exports, write_exports
from attnbench.cli.options import Backends, Exports, Overrides, SuiteName, Wait
from attnbench.cli.output import write

if TYPE_CHECKING:
    from attnbench.run.session import Outcome, Session
    from attnbench.suite import Suite


def run(
    suite: SuiteName,
    *,
    backend: Backends = [],  # noqa: B006 - typer wants a list
    override: Overrides = [],  # noqa: B006
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run directory; by default a new one under results/.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with a run that was cut short: measure what is missing.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One process: fast, and no interval.")] = False,
    rigorous: Annotated[bool, typer.Option("--rigorous", help="Ten processes: narrow intervals.")] = False,
    wait: Wait = False,
    export: Exports = [],  # noqa: B006
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the cases and stop.")] = False,
) -> None:
    """Measure every case of a suite on every backend. The table goes to stdout, everything else to stderr."""
    from attnbench.backends import registry
    from attnbench.core.errors import UsageError
    from attnbench.suite import load_suite

    if quick and rigorous:
        raise UsageError("--quick and --rigorous exclude one another; give one")
    if resume is not None and output is not None:
        raise UsageError("--resume goes on in the directory it names; leave out --output")
    processes = ["measure.processes=1"] if quick else ["measure.processes=10"] if rigorous else []
    loaded = load_suite(suite, known_backends=registry.names(), backends=backend, overrides=[*processes, *override])
    if dry_run:
        _print_plan(loaded)
        return
    from attnbench.cli.progress import opened, progress, summary
    from attnbench.run.runner import open_run

    exports = read_exports(export)

    def attempt(*, wait: bool) -> AbstractContextManager[Session]:
        return open_run(loaded, output=output, resume=resume, wait=wait)

    with opened(attempt, wait=wait) as session, progress() as shown:
        for event in session.measure(session.rounds):
            shown.show(event)
    (outcome,) = session.outcomes.values()
    _print_table(outcome)
    typer.echo(summary(outcome), err=True)
    typer.echo(outcome.directory, err=True)
    if outcome.interrupted:
        typer.echo(f"go on with: attnbench run {suite} --resume {outcome.directory}", err=True)
    if outcome.stored is not None:
        write_exports(exports, run=outcome.stored)
    if outcome.interrupted or not outcome.measured:
        sys.exit(3)


def _print_table(outcome: Outcome) -> None:
    from attnbench.cli.output import print_sheet
    from attnbench.report.run_table import sheet

    if outcome.stored is not None:
        print_sheet(sheet(outcome.stored))


def _print_plan(suite: Suite) -> None:
    import time

    device = suite.device
    if suite.needs_device():
        from attnbench.run.crew import Crew
        from attnbench.run.session import describe_suite

        crew = Crew(suite.measure)
        try:
            device = describe_suite(crew, suite).environment.device
        finally:
            crew.close()
    began = time.perf_counter()
    cases = suite.cases(device)
    seconds = time.perf_counter() - began
    labels = {case.name: case.problem.label for case in cases}
    write("".join(f"{name}\n" if name == label else f"{name}: {label}\n" for name, label in labels.items()))
    typer.echo(
        f"cases: {len(cases)}, backends: {len(suite.backends)}, cells: {len(cases) * len(suite.backends)}, "
        f"processes: {suite.measure.processes}, device: {device}; expanded in {seconds:.2f} s",
        err=True,
    )
