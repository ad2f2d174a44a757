"""``attnbench report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli.output import write
from attnbench.cli.streams import say


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories, or directories of runs.")],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page; one that is there is replaced.")
    ] = Path("report.html"),
    accepted: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A baseline whose accepted changes are marked in the history.")
    ] = None,
) -> None:
    """Write runs as one HTML page: which backend to use, charts, tables and every cell.

    One file that needs no network. Of several runs of a suite on one machine the newest is shown, with its history.
    """
    from attnbench.core.errors import OutputError
    from attnbench.exports.writing import why_not_writable, write_file
    from attnbench.report.page.content import chapters
    from attnbench.report.page.writing import write_page
    from attnbench.results.accepted import read_accepted
    from attnbench.results.store import find_runs

    if why := why_not_writable(output):
        raise OutputError(f"--output {output} cannot be written: {why}")
    changes = read_accepted(accepted).changes if accepted is not None else ()
    found = [find_runs(path) for path in runs]
    for note in (note for one in found for note in one.notes):
        say(note)
    write_file(output, write_page(chapters([run for one in found for run in one.runs], changes)))
    write(f"{output}\n")
