"""``attnbench compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli.show import Format

_REGRESSED, _INCONCLUSIVE = 1, 5


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="One or more base runs, or a directory of them; the candidate last.")
    ],
    *,
    fail_above: Annotated[
        float | None, typer.Option(metavar="PERCENT", help="The slowdown that fails; by default 5.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with 5 where a cell is inconclusive or suspect.")
    ] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Compare runs of unlike machines or settings.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="List stable cells, too.")] = False,
    output_format: Annotated[Format, typer.Option("--format", help="How to render it.")] = Format.RICH,
) -> None:
    """Judge a run by earlier ones: a verdict per cell, worst first. Ends with 1 where a cell got worse or broke."""
    from attnbench.cli.show import print_sheet
    from attnbench.comparison.runs import compare as compare_runs
    from attnbench.comparison.runs import gather
    from attnbench.comparison.verdict import Verdict
    from attnbench.errors import UsageError
    from attnbench.report import data
    from attnbench.report.verdicts import verdicts
    from attnbench.store import read_run

    *base, candidate = runs
    if not base:
        raise UsageError("give at least one base run and the candidate: attnbench compare BASE... CANDIDATE")
    if fail_above is not None and fail_above <= 0:
        raise UsageError(f"--fail-above {fail_above:g}: not a slowdown (allowed: more than 0, in percent)")
    now = read_run(candidate)
    gathered = gather(base, now)
    margin = None if fail_above is None else fail_above / 100
    comparison = compare_runs(gathered.runs, now, fail_above=margin, anyway=anyway, remarks=gathered.remarks)
    if output_format in (Format.CSV, Format.JSON):
        from attnbench.cli.boundary import write

        write(data.verdicts_csv(comparison) if output_format is Format.CSV else data.verdicts_json(comparison))
    else:
        print_sheet(verdicts(comparison, everything=everything), output_format)
    if comparison.failed:
        sys.exit(_REGRESSED)
    if strict and not {Verdict.INCONCLUSIVE, Verdict.SUSPECT}.isdisjoint(comparison.counts):
        sys.exit(_INCONCLUSIVE)
