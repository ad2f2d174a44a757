"""``attnbench noise``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli import options
from attnbench.cli.output import Format, Rendering
from attnbench.cli.sides import SideOptions, read_sides
from attnbench.cli.streams import say

_FEWEST = 5
"""Fewer pairs estimate their variance too badly."""


def noise(
    suite: options.SuiteName,
    *,
    environment: Annotated[
        str | None, typer.Option("--env", metavar="ENV", help="A virtual environment or an interpreter with torch.")
    ] = None,
    path: Annotated[Path | None, typer.Option(metavar="DIR", help="Directory prepended to sys.path.")] = None,
    backend: options.Backends = [],  # noqa: B006 - typer wants a list
    case: options.Cases = [],  # noqa: B006
    override: options.Overrides = [],  # noqa: B006
    pairs: Annotated[int, typer.Option(metavar="N", help="Pairs of processes.")] = 10,
    output: options.Output = None,
    resume: options.PairsResume = None,
    wait: options.Wait = False,
    fail_above: Annotated[
        float | None, typer.Option(metavar="PERCENT", help="The slowdown to detect (default: 3).")
    ] = None,
    export: Annotated[
        list[str],
        typer.Option(
            "--export", metavar="KIND=FILE", help="Also write the result to a file: json, csv, markdown; repeatable."
        ),
    ] = [],  # noqa: B006 - typer wants a list
    output_format: Rendering = Format.RICH,
) -> None:
    """Run an A/A test: this machine's noise, and the smallest slowdown `ab` can detect.

    Measures pairs of fresh processes that do the same. `compare` uses the result for cells without a history.
    """
    from attnbench.cli.finish import end, errors_exported, kept, print_results, write_results
    from attnbench.cli.progress import opened, progress, took
    from attnbench.comparison.noise import NOISE, measured_noise
    from attnbench.comparison.pairs import read_pairs
    from attnbench.core.errors import InterruptedRunError, LostOutputError, NotComparableError, UsageError
    from attnbench.core.files import write_json
    from attnbench.exports.results import NoiseResults
    from attnbench.exports.writing import TABLES
    from attnbench.results.pairs import BASE, CANDIDATE
    from attnbench.run.runner import open_pairs

    if pairs < _FEWEST:
        raise UsageError(f"--pairs {pairs}: too few to estimate the noise (allowed: {_FEWEST} or more)")
    options.check_resume(resume, output)
    margin = options.read_limits([] if fail_above is None else [f"{fail_above:g}"]).fail_above
    exports = options.read_exports(export, kinds=TABLES)
    both = SideOptions(environment=environment, path=path)
    with errors_exported(exports):
        sides = read_sides(
            suite, {BASE: both, CANDIDATE: both}, backends=backend, cases=case, overrides=override, rounds=pairs
        )
        opening = partial(open_pairs, sides, kind="noise", max_rounds=pairs, output=output, resume=resume)
        with opened(opening, wait=wait) as session, progress() as shown:
            for event in session.measure(range(pairs)):
                shown.show(event)
        say(took(session))
        if session.interrupted:
            raise InterruptedRunError(f"interrupted; resume with the same options and --resume {session.directory}")
        found = measured_noise(read_pairs(session.directory))
        if not found.cells:
            raise NotComparableError(f"nothing was measured on both sides ({session.directory})")
    write_json(session.directory / NOISE, found.to_json())
    lost: list[LostOutputError] = []
    results = NoiseResults(noise=found, fail_above=margin)
    with kept(lost):
        print_results(results, output_format)
    with kept(lost):
        write_results(exports, results)
    end(lost, 0)
