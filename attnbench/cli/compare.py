"""``attnbench compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnbench.cli import options
from attnbench.cli.finish import conclude, errors_exported
from attnbench.cli.output import Format, Rendering


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="BASE... CANDIDATE",
            help="One or more base runs, their tables, or directories of runs; the candidate last. Or, alone, what "
            "attnbench ab wrote.",
        ),
    ],
    *,
    noise: options.StoredNoise = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare runs of different machines or settings, and incomplete ones.")
    ] = False,
    relative: options.Relative = False,
    fail_above: options.FailAbove = [],  # noqa: B006
    flaky: options.Flaky = [],  # noqa: B006
    strict: options.Strict = False,
    everything: options.Everything = False,
    export: options.Exports = [],  # noqa: B006 - typer wants a list
    output_format: Rendering = Format.RICH,
) -> None:
    """Compare a run with earlier ones: a verdict per cell, worst first. Exits with 1 if a cell regressed or broke.

    With six or more base runs since a cell's last confirmed change, slowdowns of at least 5 % (--fail-above) can be
    confirmed; with fewer they are only suspected.
    """
    from attnbench.comparison import ab, pairs, selection
    from attnbench.comparison import runs as stored_runs
    from attnbench.comparison.noise import usable_noise
    from attnbench.core.errors import UsageError
    from attnbench.results.pairs import Pairing
    from attnbench.results.store import read_run

    limits, exports = options.read_limits(fail_above, flaky), options.read_exports(export)
    *base, last = runs
    with errors_exported(exports):
        if base:
            candidate = read_run(last)
            selected = selection.gather(base, candidate, relative=relative)
            comparison = stored_runs.compare(
                selected.runs,
                candidate,
                limits=limits,
                anyway=anyway,
                noise=None if relative else usable_noise(noise, candidate.environment),
                relative=relative,
                notes=selected.notes,
            )
        else:
            if not last.exists():
                what = "is one run" if str(last) == "latest" else "does not exist"
                raise UsageError(f"{last} {what}; give one base run or more, and the candidate")
            if not (last / Pairing.FILE).exists():
                raise UsageError(
                    f"{last} is nothing that attnbench ab wrote; give at least one base run and the candidate: "
                    "attnbench compare BASE... CANDIDATE"
                )
            measured = pairs.read_pairs(last)
            candidate = measured.candidate
            comparison = ab.judge(measured, limits, anyway=anyway)
    conclude(comparison, candidate, output_format=output_format, everything=everything, exports=exports, strict=strict)
