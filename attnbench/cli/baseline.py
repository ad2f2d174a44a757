"""``attnbench baseline``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli.finish import (
    conclude,
    read_exports,
    read_margin,
    told,
)
from attnbench.cli.options import Everything, Exports, FailAbove, StoredNoise, Strict
from attnbench.cli.output import Format, Rendering

Run = Annotated[Path, typer.Argument(help="A run directory.")]
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="Which baseline.")]
Directory = Annotated[
    Path | None, typer.Option("--directory", metavar="DIR", help="Where baselines lie; by default baselines/.")
]


def save(
    run: Run,
    *,
    name: Name = "main",
    directory: Directory = None,
    keep: Annotated[int, typer.Option(metavar="N", help="Of one suite and machine, keep so many; the oldest go.")] = 30,
) -> None:
    """Keep a run's table as the newest of a named baseline, for its machine. Prints where."""
    from attnbench.cli.output import write
    from attnbench.core.errors import UsageError
    from attnbench.results import baselines
    from attnbench.results.store import read_run

    if keep < 1:
        raise UsageError(f"--keep {keep}: nothing would be left (allowed: 1 or more)")
    entry, known = baselines.save(read_run(run), directory or baselines.DIRECTORY, name, keep=keep)
    write(f"{entry}\n")
    if known:
        typer.echo(f"{run} was saved before; nothing changed", err=True)


def list_baselines(*, directory: Directory = None, output_format: Rendering = Format.RICH) -> None:
    """List baselines by name, machine and suite, and how many runs each has: six make a history."""
    from attnbench.cli.output import print_sheet, write
    from attnbench.report.baseline_table import inventory, inventory_csv, inventory_json
    from attnbench.results import baselines

    found = baselines.entries(directory or baselines.DIRECTORY)
    if output_format is Format.CSV:
        write(inventory_csv(found))
    elif output_format is Format.JSON:
        write(inventory_json(found))
    else:
        print_sheet(inventory(found), output_format)


def check(
    run: Run,
    *,
    name: Name = "main",
    directory: Directory = None,
    noise: StoredNoise = None,
    fail_above: FailAbove = None,
    strict: Strict = False,
    everything: Everything = False,
    export: Exports = [],  # noqa: B006 - typer wants a list
    output_format: Rendering = Format.RICH,
) -> None:
    """Judge a run by the runs of a named baseline that were measured on a machine like its own, as compare does."""
    from attnbench.comparison.noise import usable_noise
    from attnbench.comparison.runs import compare, select
    from attnbench.results import baselines
    from attnbench.results.store import read_run

    margin, exports = read_margin(fail_above), read_exports(export)
    with told(exports):
        candidate = read_run(run)
        place = directory or baselines.DIRECTORY
        passed_over: list[str] = []
        kept = baselines.history(place, name, passed_over=passed_over)
        fitting = select(kept, candidate, of=f"baseline {name} in {place}")
        comparison = compare(
            fitting.runs,
            candidate,
            fail_above=margin,
            noise=usable_noise(noise, candidate.environment),
            notes=(*fitting.notes, *passed_over),
        )
    conclude(comparison, candidate, output_format=output_format, everything=everything, exports=exports, strict=strict)
