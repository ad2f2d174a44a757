"""``attnbench noise``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli.finish import read_margin
from attnbench.cli.options import Backends, FailAbove, Overrides, PairsOutput, PairsResume, SuiteName, Wait
from attnbench.cli.output import Format, Rendering
from attnbench.cli.sides import Wanted, open_sides, read_sides

_FEWEST = 5


def noise(
    suite: SuiteName,
    *,
    environment: Annotated[
        str | None, typer.Option("--env", metavar="ENV", help="A virtual environment or an interpreter with torch.")
    ] = None,
    path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put before its Python path: where your kernels lie.")
    ] = None,
    backend: Backends = [],  # noqa: B006 - typer wants a list
    override: Overrides = [],  # noqa: B006
    pairs: Annotated[int, typer.Option(metavar="N", help="Pairs of processes.")] = 10,
    output: PairsOutput = None,
    resume: PairsResume = None,
    wait: Wait = False,
    fail_above: FailAbove = None,
    output_format: Rendering = Format.RICH,
) -> None:
    """Measure a suite beside itself: how far it scatters here, and the smallest slowdown that could be seen.

    Pairs of fresh processes that do the same (an A/A measurement). What it stores is used by ab, and by compare where
    there is no history.
    """
    from attnbench.cli.output import print_sheet, write
    from attnbench.cli.progress import progress
    from attnbench.comparison.noise import NOISE
    from attnbench.comparison.pairs import measured_noise, read_pairs
    from attnbench.core.errors import InterruptedRunError, NotComparableError, UsageError
    from attnbench.report.noise_table import scatter, scatter_csv, scatter_json
    from attnbench.results.pairs import BASE, CANDIDATE
    from attnbench.run.directory import write_json

    if pairs < _FEWEST:
        raise UsageError(f"--pairs {pairs}: too few to tell how far they scatter (allowed: {_FEWEST} or more)")
    if resume is not None and output is not None:
        raise UsageError("--resume goes on in the directory it names; leave out --output")
    margin = read_margin(fail_above)
    same = Wanted(environment=environment, environment_option="--env", path=path, path_option="--path")
    sides = read_sides(suite, {BASE: same, CANDIDATE: same}, backends=backend, overrides=override, pairs=pairs)
    with open_sides(
        sides, kind="noise", pairs=pairs, output=output, resume=resume, wait=wait
    ) as session, progress() as shown:  # fmt: skip
        for event in session.measure(range(pairs)):
            shown.show(event)
    typer.echo(f"{session.elapsed_s:.0f} s; {session.directory}", err=True)
    if session.interrupted:
        raise InterruptedRunError(f"cut short; go on with the same options and --resume {session.directory}")
    found = measured_noise(read_pairs(session.directory))
    if not found.cells:
        raise NotComparableError(f"nothing was measured on both sides ({session.directory})")
    write_json(session.directory / NOISE, found.to_json())
    if output_format is Format.CSV:
        write(scatter_csv(found, fail_above=margin))
    elif output_format is Format.JSON:
        write(scatter_json(found, fail_above=margin))
    else:
        print_sheet(scatter(found, fail_above=margin), output_format)
