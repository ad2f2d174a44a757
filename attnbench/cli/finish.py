"""The end of every command that compares: print the verdicts, write the exports, exit with their code."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from attnbench.cli.output import Format, write
from attnbench.core.errors import AttnbenchError

if TYPE_CHECKING:
    from attnbench.comparison.verdict import Comparison
    from attnbench.exports.results import Results
    from attnbench.exports.writing import Export
    from attnbench.results.store import StoredRun

REGRESSED, INCONCLUSIVE = 1, 5


def write_exports(exports: Sequence[Export], *, run: StoredRun, comparison: Comparison | None = None) -> None:
    """Write exports; raises LostOutputError if one could not be written, after all others."""
    if not exports:
        return
    from attnbench.exports.writing import write as write_all

    write_all(exports, _results(run, comparison), say=lambda line: typer.echo(line, err=True))


@contextmanager
def errors_in_summary(exports: Sequence[Export]) -> Iterator[None]:
    """Report an error in the summary of a GitHub job, too: it is why there are no verdicts."""
    try:
        yield
    except AttnbenchError as error:
        if any(export.path is None for export in exports):
            from attnbench.exports.github import Job

            Job.current().report_error(str(error), say=lambda line: typer.echo(line, err=True))
        raise


def write_data(output_format: Format, *, run: StoredRun, comparison: Comparison | None = None) -> None:
    """Write a comparison, or else a run, to stdout as CSV or JSON: the same text as ``--export`` of that kind."""
    from attnbench.exports.documents import csv_text, json_text

    write((csv_text if output_format is Format.CSV else json_text)(_results(run, comparison)))


def _results(run: StoredRun, comparison: Comparison | None) -> Results:
    from attnbench.exports.results import ComparisonResults, RunResults

    return RunResults(run=run) if comparison is None else ComparisonResults(comparison=comparison, run=run)


def conclude(
    comparison: Comparison,
    candidate: StoredRun,
    *,
    output_format: Format,
    everything: bool,
    exports: Sequence[Export],
    strict: bool,
) -> None:
    """Print a comparison, write its exports, and exit with the code of its verdicts.

    Raises:
        NotComparableError: Nothing was compared; the exports say so, too.
    """
    from attnbench.cli.output import print_sheet
    from attnbench.comparison.verdict import Verdict
    from attnbench.core.errors import LostOutputError, NotComparableError
    from attnbench.report.comparison_table import comparison_table

    if comparison.not_compared_reason:
        write_exports(exports, run=candidate, comparison=comparison)
        raise NotComparableError(comparison.not_compared_reason)
    if output_format in (Format.CSV, Format.JSON):
        write_data(output_format, run=candidate, comparison=comparison)
    else:
        print_sheet(comparison_table(comparison, everything=everything), output_format)
    try:
        write_exports(exports, run=candidate, comparison=comparison)
    except LostOutputError as error:
        if not comparison.failed:
            raise
        typer.echo(f"attnbench: {error}", err=True)  # a regression matters more
    if comparison.failed:
        sys.exit(REGRESSED)
    unsure = {Verdict.INCONCLUSIVE, Verdict.SUSPECT, Verdict.REMOVED, Verdict.KERNEL_CHANGED}
    if strict and not unsure.isdisjoint(comparison.counts):
        sys.exit(INCONCLUSIVE)
