"""``attnbench publish``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli.output import write
from attnbench.cli.streams import say


def publish(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A directory of runs, at any depth.")],
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="SITE", help="The site's directory; one that is there is renewed."),
    ],
    accepted: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A baseline whose accepted changes are marked in histories.")
    ] = None,
) -> None:
    """Write a directory of runs as a static site: an index, a page for every run, histories, machines side by side.

    Only what changed is read and written again; pages of runs that are gone go, too. Any static host will do.
    """
    from attnbench.core.text import plural
    from attnbench.report.site.publishing import publish as make
    from attnbench.results.accepted import read_accepted

    changes = read_accepted(accepted) if accepted is not None else None
    done = make(directory, output, changes)
    for place, why in done.left_out:
        say(f"Left out: {place}: {why}.")
    say(f"{plural(done.runs, 'run')}, {done.read} of them read now")
    write(f"{output / 'index.html'}\n")
