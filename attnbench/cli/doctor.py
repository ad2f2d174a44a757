"""``attnbench doctor``."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    *,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads you mean to measure with.")] = 1,
) -> None:
    """Tell what this machine is, what would make its numbers bad, and what to do about it."""
    from attnbench.cli.page import print_sheet
    from attnbench.report.checkup import checkup
    from attnbench.run.examination import examine

    print_sheet(checkup(examine(device=device, threads=threads)))
