"""``attnbench show``."""

from __future__ import annotations

from typing import Annotated

import typer

from attnbench.cli import options
from attnbench.cli.finish import write_data, write_exports
from attnbench.cli.output import Format, Rendering, print_sheet


def show(
    run: options.RunPath,
    *,
    backend: Annotated[
        list[str],
        typer.Option(
            metavar="B",
            autocompletion=options.complete_backend,
            help="Show this backend, and the baseline; repeatable.",
        ),
    ] = [],  # noqa: B006 - typer wants a list
    case: Annotated[
        list[str], typer.Option(metavar="CASE", help="Show this case, or those that match 'stage 1*'; repeatable.")
    ] = [],  # noqa: B006
    status: Annotated[
        list[str], typer.Option(metavar="STATUS", help="Show cells of this status: ok, oom, ...; repeatable.")
    ] = [],  # noqa: B006
    output_format: Rendering = Format.RICH,
    baseline: Annotated[
        str | None, typer.Option(metavar="B", help="The backend that speed-ups refer to (default: the suite's).")
    ] = None,
    rows: Annotated[
        str | None, typer.Option(metavar="FIELD", help="One table: the field of its rows, such as case or resolution.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="FIELD", help="One table: the field of its columns, such as backend.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="One table: the number it shows (default: latency_ms).")
    ] = None,
    winners: Annotated[
        bool, typer.Option("--winners", help="Show which backend to use, and how sure that is.")
    ] = False,
    export: options.Exports = [],  # noqa: B006 - typer wants a list
) -> None:
    """Print a stored run: the answer first, then every case. --rows and --columns make one table over two fields."""
    from attnbench.core.errors import UsageError
    from attnbench.results.selection import select
    from attnbench.results.store import read_run

    exports = options.read_exports(export)
    stored = read_run(run)
    if (rows is None) != (columns is None):
        raise UsageError("--rows and --columns go together; give both")
    if metric is not None and rows is None:
        raise UsageError("--metric goes with --rows and --columns; give all three")
    if output_format in (Format.CSV, Format.JSON) and rows is not None:
        raise UsageError(f"--format {output_format} prints every cell; pivot as rich or markdown")
    if winners and (rows is not None or baseline is not None or output_format in (Format.CSV, Format.JSON)):
        raise UsageError("--winners goes with rich or markdown, without --rows, --columns and --baseline")
    if baseline is not None and baseline not in set(stored.table["backend"]):
        known = ", ".join(stored.table["backend"].unique())
        raise UsageError(f"--baseline {baseline}: not in this run (allowed: {known})")
    write_exports(exports, run=stored)
    stored = select(stored, backends=backend, cases=case, statuses=status, baseline=baseline)
    if winners:
        from attnbench.report.winners_table import winners_table

        print_sheet(winners_table(stored), output_format)
        return
    if output_format in (Format.CSV, Format.JSON):
        write_data(output_format, run=stored)
        return
    if rows is not None and columns is not None:
        from attnbench.report.pivot import pivot

        print_sheet(pivot(stored, rows=rows, columns=columns, metric=metric or "latency_ms"), output_format)
        return
    from attnbench.report.run_table import run_table

    print_sheet(run_table(stored, baseline=baseline), output_format)
