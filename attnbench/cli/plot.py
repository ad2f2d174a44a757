"""``attnbench plot``."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli import options
from attnbench.cli.output import write
from attnbench.cli.streams import is_plain


class Metric(StrEnum):
    """What is drawn."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    MEMORY = "memory"


_TALL = 22


def plot(
    run: options.RunPath,
    *,
    x: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="resolution, window, heads, head_dim, batch, dtype, or case (default: the "
                     "field with the most values)."),
    ] = None,
    metric: Annotated[Metric, typer.Option(help="What to plot.")] = Metric.LATENCY,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write a picture: FILE.png, .svg or .pdf.")
    ] = None,
) -> None:  # fmt: skip
    """Plot a stored run on the terminal, or into PNG, SVG or PDF with 95 % intervals and the predicted growth."""
    from attnbench.report import plots
    from attnbench.results.store import read_run

    if output is None:
        columns, lines = shutil.get_terminal_size(fallback=(100, _TALL))
        height = min(_TALL, max(lines - 2, 12))
        color = not is_plain(sys.stdout)
        write(plots.terminal_plots(read_run(run), x=x, metric=metric, width=columns, height=height, color=color))
        return
    from attnbench.core.errors import OutputError
    from attnbench.exports.writing import why_not_writable, write_file

    suffix = plots.check_format(output)
    if why := why_not_writable(output):
        raise OutputError(f"--output {output} cannot be written: {why}")
    write_file(output, plots.write_plot(read_run(run), x=x, metric=metric, suffix=suffix))
    write(f"{output}\n")
