"""What every command that compares does at its end: print the verdicts, write the exports, end as they say."""

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
    from attnbench.exports.writing import Export
    from attnbench.results.store import StoredRun

REGRESSED, INCONCLUSIVE = 1, 5
_LARGEST_MARGIN = 1000


def read_margin(percent: float | None) -> float | None:
    """``--fail-above`` as a fraction.

    Raises:
        UsageError: It is not a slowdown.
    """
    from attnbench.core.errors import UsageError

    if percent is not None and not 0 < percent <= _LARGEST_MARGIN:
        raise UsageError(
            f"--fail-above {percent:g}: not a slowdown in percent (allowed: more than 0, up to {_LARGEST_MARGIN})"
        )
    return None if percent is None else percent / 100


def read_exports(given: Sequence[str]) -> list[Export]:
    """``--export``, checked before anything is measured.

    Raises:
        UsageError: One cannot be written.
    """
    if not given:
        return []
    from attnbench.exports.writing import check, parse_export

    exports = [parse_export(text) for text in given]
    check(exports)
    return exports


def write_exports(
    exports: Sequence[Export], *, run: StoredRun | None = None, comparison: Comparison | None = None
) -> None:
    """Write what was asked for.

    Raises:
        LostOutputError: Something could not be written; everything else was.
    """
    if not exports:
        return
    from attnbench.exports.results import Subject
    from attnbench.exports.writing import write as write_all

    write_all(exports, Subject(run=run, comparison=comparison), say=lambda line: typer.echo(line, err=True))


@contextmanager
def told(exports: Sequence[Export]) -> Iterator[None]:
    """Let a job on GitHub know in its summary why there are no verdicts, where there are none."""
    try:
        yield
    except AttnbenchError as error:
        if any(export.path is None for export in exports):
            from attnbench.exports.github_job import Job

            Job.current().tell(str(error), say=lambda line: typer.echo(line, err=True))
        raise


def write_data(output_format: Format, *, run: StoredRun | None = None, comparison: Comparison | None = None) -> None:
    """Write a comparison, or else a run, to stdout as CSV or JSON: what ``--export`` of that kind holds, too."""
    from attnbench.exports import json_document as document
    from attnbench.exports import tables
    from attnbench.exports.results import Subject

    render = tables.csv if output_format is Format.CSV else document.render
    write(render(Subject(run=run, comparison=comparison)))


def conclude(
    comparison: Comparison,
    candidate: StoredRun,
    *,
    output_format: Format,
    everything: bool,
    exports: Sequence[Export],
    strict: bool,
) -> None:
    """Print a comparison, write its exports, and end as its verdicts say.

    Raises:
        NotComparableError: Nothing was compared; the exports say so, too.
    """
    from attnbench.cli.output import print_sheet
    from attnbench.comparison.verdict import Verdict
    from attnbench.core.errors import LostOutputError, NotComparableError
    from attnbench.report.comparison_table import verdicts

    if comparison.not_compared_reason:
        write_exports(exports, run=candidate, comparison=comparison)
        raise NotComparableError(comparison.not_compared_reason)
    if output_format in (Format.CSV, Format.JSON):
        write_data(output_format, run=candidate, comparison=comparison)
    else:
        print_sheet(verdicts(comparison, everything=everything), output_format)
    try:
        write_exports(exports, run=candidate, comparison=comparison)
    except LostOutputError as error:
        if not comparison.failed:
            raise
        typer.echo(f"attnbench: {error}", err=True)  # what was found weighs more
    if comparison.failed:
        sys.exit(REGRESSED)
    unsure = {Verdict.INCONCLUSIVE, Verdict.SUSPECT, Verdict.REMOVED, Verdict.KERNEL_CHANGED}
    if strict and not unsure.isdisjoint(comparison.counts):
        sys.exit(INCONCLUSIVE)
