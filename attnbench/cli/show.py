"""``attnbench show``."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnbench.cli.boundary import write

if TYPE_CHECKING:
    from attnbench.report.sheet import Sheet

_WIDTH_OF_A_PIPE = 120


class Format(StrEnum):
    """How to render."""

    RICH = "rich"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"


def show(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    *,
    output_format: Annotated[Format, typer.Option("--format", help="How to render it.")] = Format.RICH,
    baseline: Annotated[
        str | None, typer.Option(metavar="B", help="The backend speed-ups refer to; by default the suite's.")
    ] = None,
    rows: Annotated[str | None, typer.Option(metavar="FIELD", help="Pivot: the field down the side.")] = None,
    columns: Annotated[str | None, typer.Option(metavar="FIELD", help="Pivot: the field along the top.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Pivot: the table's column to show; by default latency_ms.")
    ] = None,
) -> None:
    """Render a stored run, or pivot it over two axes of its sweep (--rows resolution --columns window)."""
    from attnbench.errors import UsageError
    from attnbench.store import read_run

    stored = read_run(run)
    if (rows is None) != (columns is None):
        raise UsageError("--rows and --columns go together; give both")
    if metric is not None and rows is None:
        raise UsageError("--metric goes with --rows and --columns; give all three")
    if output_format in (Format.CSV, Format.JSON):
        if rows is not None:
            raise UsageError(f"--format {output_format} holds every cell already; pivot as rich or markdown")
        from attnbench.report import data

        render = data.render_csv if output_format is Format.CSV else data.render_json
        write(render(stored))
        return
    if rows is not None and columns is not None:
        from attnbench.report.pivot import pivot

        print_sheet(pivot(stored, rows=rows, columns=columns, metric=metric or "latency_ms"), output_format)
        return
    from attnbench.report.tables import sheet

    if baseline is not None and baseline not in set(stored.table["backend"]):
        known = ", ".join(stored.table["backend"].unique())
        raise UsageError(f"--baseline {baseline}: not in this run (allowed: {known})")
    print_sheet(sheet(stored, baseline=baseline), output_format)


def print_sheet(sheet: Sheet, output_format: Format = Format.RICH) -> None:
    """Write a sheet to stdout, as wide as the terminal is, or as COLUMNS says."""
    from attnbench.report import markdown, terminal

    if output_format is Format.MARKDOWN:
        write(markdown.render(sheet))
        return
    width = shutil.get_terminal_size(fallback=(_WIDTH_OF_A_PIPE, 24)).columns
    write(terminal.render(sheet, width=width, color=sys.stdout.isatty()))
