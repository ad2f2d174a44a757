"""``attnbench runs``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli.output import Format, Rendering, print_rows
from attnbench.cli.streams import say

Directory = Annotated[
    Path | None, typer.Option("--directory", metavar="DIR", help="Where runs lie (default: results/).")
]


def list_stored(
    context: typer.Context,
    *,
    suite: Annotated[str | None, typer.Option(metavar="NAME", help="Only runs of this suite.")] = None,
    directory: Directory = None,
    output_format: Rendering = Format.RICH,
) -> None:
    """List stored runs and comparisons, newest first; remove old ones.

    `latest` means the newest run wherever a run is asked for: attnbench show latest.
    """
    if context.invoked_subcommand:
        return
    from attnbench.report.lists import run_rows, runs_table
    from attnbench.results.journal import RESULTS
    from attnbench.results.listing import list_runs

    place = directory or RESULTS
    found = [one for one in (list_runs(place) if place.exists() else []) if suite in (None, one.suite)]
    print_rows(runs_table(found, place), output_format, name="runs", rows=run_rows(found))


def remove_stored(
    *,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Remove runs older than this: 12h, 30d, 8w.")
    ] = None,
    keep: Annotated[int | None, typer.Option(metavar="N", help="Keep the newest N of every suite and device.")] = None,
    suite: Annotated[str | None, typer.Option(metavar="NAME", help="Only runs of this suite.")] = None,
    directory: Directory = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove stored runs that are old. Lists them and asks first; baselines are kept elsewhere and stay."""
    from attnbench.core.errors import UsageError
    from attnbench.core.text import plural
    from attnbench.results.journal import RESULTS
    from attnbench.results.listing import list_runs, remove, select_old

    found = [one for one in list_runs(directory or RESULTS) if suite in (None, one.suite)]
    going = select_old(found, older_than=older_than, keep=keep, now=datetime.now(UTC))
    if not going:
        say(f"nothing to remove: {plural(len(found), 'run')} {'stays' if len(found) == 1 else 'stay'}")
        return
    for one in going:
        say(f"{one.started_at[:16].replace('T', ' ')}  {one.path}")
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"{plural(len(going), 'run')} would be removed; say so with --yes")
        if not typer.confirm(f"Remove {plural(len(going), 'run')} of {len(found)}?", err=True):
            say("nothing was removed")
            return
    remove(going)
    say(f"removed {plural(len(going), 'run')}")
