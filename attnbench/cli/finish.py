"""The end of every command that compares: print the verdicts, write the exports, exit with their code."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from attnbench.cli.output import Format, write
from attnbench.cli.streams import say
from attnbench.core.errors import AttnbenchError

if TYPE_CHECKING:
    from attnbench.comparison.definitions import Comparison
    from attnbench.core.errors import LostOutputError
    from attnbench.exports.results import NoiseResults, Results
    from attnbench.exports.writing import Export
    from attnbench.results.store import StoredRun

FAILED, INCONCLUSIVE = 1, 5


def write_exports(
    exports: Sequence[Export], *, run: StoredRun, comparison: Comparison | None = None, strict: bool = False
) -> None:
    """Write exports; raises LostOutputError if one could not be written, after all others."""
    if exports:
        write_results(exports, results(run, comparison, strict=strict))


def write_results(exports: Sequence[Export], found: Results | NoiseResults) -> None:
    """The same of results that are at hand."""
    if not exports:
        return
    from attnbench.exports.writing import write as write_all

    write_all(exports, found, say=say)


def print_results(found: NoiseResults, output_format: Format) -> None:
    """Print an A/A test: as a table, or as the same text as ``--export`` of that kind."""
    from attnbench.exports import documents

    texts = {Format.CSV: documents.csv_text, Format.JSON: documents.json_text}
    if output_format in texts:
        write(texts[output_format](found))
        return
    from attnbench.cli.output import print_sheet
    from attnbench.report.noise_table import noise_table

    print_sheet(noise_table(found.noise, found.rows, fail_above=found.fail_above), output_format)


@contextmanager
def errors_exported(exports: Sequence[Export]) -> Iterator[None]:
    """Export an error, too: it is why there is nothing else, and no file of yesterday may stand for today's."""
    try:
        yield
    except AttnbenchError as error:
        if exports:
            from attnbench.exports.writing import write_error

            write_error(exports, error, say=say)
        raise


def write_data(output_format: Format, *, run: StoredRun, comparison: Comparison | None = None) -> None:
    """Write a comparison, or else a run, to stdout as CSV or JSON: the same text as ``--export`` of that kind."""
    from attnbench.exports.documents import csv_text, json_text

    write((csv_text if output_format is Format.CSV else json_text)(results(run, comparison)))


def results(run: StoredRun, comparison: Comparison | None = None, *, strict: bool = False) -> Results:
    """What is exported: a comparison, or else a run."""
    from attnbench.exports.results import ComparisonResults, RunResults

    if comparison is not None:
        return ComparisonResults(comparison=comparison, run=run)
    return RunResults(run=run, strict=strict)


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
    from attnbench.comparison.definitions import Outcome
    from attnbench.core.errors import NotComparableError
    from attnbench.report.comparison_table import comparison_table

    comparison = replace(comparison, strict=strict)
    lost: list[LostOutputError] = []
    if comparison.outcome is Outcome.NOTHING_COMPARED:
        with kept(lost):
            write_exports(exports, run=candidate, comparison=comparison)
        raise NotComparableError(comparison.not_compared_reason or "nothing was compared")
    with kept(lost):
        if output_format in (Format.CSV, Format.JSON):
            write_data(output_format, run=candidate, comparison=comparison)
        else:
            print_sheet(comparison_table(comparison, everything=everything), output_format)
    with kept(lost):
        write_exports(exports, run=candidate, comparison=comparison)
    codes = {Outcome.FAIL: FAILED, Outcome.INCONCLUSIVE: INCONCLUSIVE}
    end(lost, codes.get(comparison.outcome, 0))


@contextmanager
def kept(lost: list[LostOutputError]) -> Iterator[None]:
    """Note that something could not be written, and go on: the rest is written, and the verdict stands."""
    from attnbench.core.errors import LostOutputError

    try:
        yield
    except LostOutputError as error:
        lost.append(error)


def end(lost: Sequence[LostOutputError], code: int) -> None:
    """Exit with the code of the verdict; what was lost decides only where the verdict is fine.

    Raises:
        LostOutputError: Something was lost, and nothing failed.
    """
    if code:
        for error in lost:
            say(f"attnbench: {error}")
        sys.exit(code)
    if lost:
        raise lost[0]
