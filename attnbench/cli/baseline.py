"""``attnbench baseline``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli import options
from attnbench.cli.finish import conclude, errors_exported
from attnbench.cli.output import Format, Rendering
from attnbench.cli.streams import say

Name = Annotated[str, typer.Option("--name", metavar="NAME", help="The baseline's name.")]
Directory = Annotated[
    Path | None, typer.Option("--directory", metavar="DIR", help="Where baselines are kept (default: baselines/).")
]


def save(
    run: options.RunPath,
    *,
    name: Name = "main",
    directory: Directory = None,
    keep: Annotated[
        int, typer.Option(metavar="N", help="Keep the newest N runs of every suite and machine; delete older ones.")
    ] = 30,
) -> None:
    """Add a run to a named baseline, which keeps the runs of every machine apart. Prints where it is."""
    from attnbench.cli.output import write
    from attnbench.core.errors import UsageError
    from attnbench.results import baselines
    from attnbench.results.store import read_run

    if keep < 1:
        raise UsageError(f"--keep {keep}: no run would be left (allowed: 1 or more)")
    entry, exists = baselines.save(read_run(run), directory or baselines.DIRECTORY, name, keep=keep)
    write(f"{entry}\n")
    if exists:
        say(f"{run} was saved before; nothing changed")


def accept(
    run: Annotated[Path, typer.Argument(help="The first run that shows the change.")],
    *,
    cell: Annotated[
        list[str], typer.Option(metavar="CELL", help="CASE/BACKEND, or CASE for all its backends; repeatable.")
    ],
    why: Annotated[str, typer.Option(metavar="TEXT", help="Why it is meant to stay; shown with every comparison.")],
    name: Name = "main",
    directory: Directory = None,
) -> None:
    """Accept a change of some cells: their history begins with this run. Prints the file that records it.

    Other cells keep their history.
    """
    from attnbench.cli.output import write
    from attnbench.results import accepted, baselines
    from attnbench.results.store import read_run

    place = baselines.existing(directory or baselines.DIRECTORY, name)
    known = accepted.read_accepted(place)
    more = accepted.changes(read_run(run), cell, why=why)
    write(f"{known.with_more(more).write(place)}\n")


def list_baselines(*, directory: Directory = None, output_format: Rendering = Format.RICH) -> None:
    """List baselines by name, machine and suite, with their runs; six or more make a history."""
    from dataclasses import asdict

    from attnbench.cli.output import print_rows
    from attnbench.report.baseline_table import baseline_table
    from attnbench.results import baselines

    found = baselines.entries(directory or baselines.DIRECTORY)
    print_rows(baseline_table(found), output_format, name="baselines", rows=[asdict(one) for one in found])


def check(
    run: options.RunPath,
    *,
    name: Name = "main",
    directory: Directory = None,
    noise: options.StoredNoise = None,
    relative: options.Relative = False,
    fail_above: options.FailAbove = [],  # noqa: B006
    flaky: options.Flaky = [],  # noqa: B006
    strict: options.Strict = False,
    everything: options.Everything = False,
    export: options.Exports = [],  # noqa: B006 - typer wants a list
    output_format: Rendering = Format.RICH,
) -> None:
    """Compare a run with the runs of a named baseline on the same machine, as compare does.

    Of cells with an accepted change (baseline accept), runs before it say nothing.
    """
    from attnbench.comparison.noise import usable_noise
    from attnbench.comparison.runs import compare
    from attnbench.comparison.selection import select
    from attnbench.results import baselines
    from attnbench.results.accepted import read_accepted
    from attnbench.results.store import read_run

    limits, exports = options.read_limits(fail_above, flaky), options.read_exports(export)
    with errors_exported(exports):
        candidate = read_run(run)
        place = directory or baselines.DIRECTORY
        kept = baselines.history(place, name)
        selected = select(kept.runs, candidate, of=f"baseline {name} in {place}", relative=relative)
        comparison = compare(
            selected.runs,
            candidate,
            limits=limits,
            noise=None if relative else usable_noise(noise, candidate.environment),
            accepted=read_accepted(place / name).changes,
            relative=relative,
            notes=(*selected.notes, *kept.notes),
        )
    conclude(comparison, candidate, output_format=output_format, everything=everything, exports=exports, strict=strict)
