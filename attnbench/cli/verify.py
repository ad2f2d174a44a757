"""``attnbench verify``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli.output import print_sheet
from attnbench.cli.streams import say


def verify(
    *,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1")] = "auto",
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the A/B of a backend that is 5 % slower: most of the time.")
    ] = False,
    export: Annotated[
        list[str],
        typer.Option("--export", metavar="KIND=FILE", help="Also write the figures: json or junit; repeatable."),
    ] = [],  # noqa: B006 - typer wants a list
) -> None:
    """Check attnbench's own numbers on this machine: clocks, caches, ceilings, memory, reference, faults, the gate.

    Measures backends whose behaviour is known and compares with other instruments. Exits with 1 if a figure is outside
    its limits.
    """
    from attnbench.exports.verification import parse_export
    from attnbench.exports.writing import write_file
    from attnbench.report.verify_table import verify_table
    from attnbench.verify.verification import verify as verified

    exports = [parse_export(text) for text in export]
    with tempfile.TemporaryDirectory(prefix="attnbench-verify-") as directory:
        found = verified(device, Path(directory), quick=quick, shown=lambda what: say(f"checking: {what}"))
    print_sheet(verify_table(found))
    for path, render in exports:
        write_file(path, render(found))
    sys.exit(1 if found.failed else 0)
