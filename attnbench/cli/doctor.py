"""``attnbench doctor``."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer


def doctor(
    *,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads to measure with.")] = 1,
) -> None:
    """Check this machine for benchmarking problems and suggest fixes."""
    from attnbench.cli.output import print_sheet
    from attnbench.core.record import Measure
    from attnbench.doctor.facts import examine
    from attnbench.report.doctor_table import doctor_table
    from attnbench.run.lock import holder_of
    from attnbench.run.process_pool import ProcessPool

    with closing(ProcessPool(Measure(threads=threads))) as pool:
        described = pool.describe(device)
    facts = examine(described, threads=threads, holder=holder_of(described.device_id))
    print_sheet(doctor_table(facts))
