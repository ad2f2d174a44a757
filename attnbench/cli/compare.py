"""``attnbench compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli.finish import (
    conclude,
    read_exports,
    read_margin,
    told,
)
from attnbench.cli.options import Everything, Exports, FailAbove, StoredNoise, Strict
from attnbench.cli.output import Format, Rendering


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="BASE... CANDIDATE",
            help="One or more base runs, tables kept of runs, or directories of them; the candidate last. Or what "
            "attnbench ab wrote, alone.",
        ),
    ],
    *,
    noise: StoredNoise = None,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Compare runs of different machines, settings or length."),
    ] = False,
    fail_above: FailAbove = None,
    strict: Strict = False,
    everything: Everything = False,
    export: Exports = [],  # noqa: B006 - typer wants a list
    output_format: Rendering = Format.RICH,
) -> None:
    """Judge a run by earlier ones: a verdict per cell, worst first. Ends with 1 where a cell got worse or broke.

    Six base runs make a history, by which a change of 5 % (--fail-above) can be confirmed; beside fewer, no change of
    latency can.
    """
    from attnbench.comparison.noise import usable_noise
    from attnbench.comparison.runs import compare as compare_runs
    from attnbench.comparison.runs import gather
    from attnbench.core.errors import UsageError
    from attnbench.results.store import read_run

    margin, exports = read_margin(fail_above), read_exports(export)
    with told(exports):
        *base, last = runs
        if not base:
            from attnbench.comparison.pairs import judge, read_pairs
            from attnbench.results.pairs import Pairing

            if not last.exists():
                raise UsageError(f"{last} does not exist; give one base run or more, and the candidate")
            if not (last / Pairing.FILE).exists():
                raise UsageError("give at least one base run and the candidate: attnbench compare BASE... CANDIDATE")
            stored = read_pairs(last)
            candidate = stored.candidate
            known = usable_noise(noise, candidate.environment)
            comparison = judge(stored, fail_above=margin, noise=known, anyway=anyway)
        else:
            candidate = read_run(last)
            gathered = gather(base, candidate)
            comparison = compare_runs(
                gathered.runs,
                candidate,
                fail_above=margin,
                anyway=anyway,
                noise=usable_noise(noise, candidate.environment),
                notes=gathered.notes,
            )
    conclude(comparison, candidate, output_format=output_format, everything=everything, exports=exports, strict=strict)
