"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SuiteName = Annotated[str, typer.Argument(help="A suite's file, or the name of one that comes with attnbench.")]
Backends = Annotated[
    list[str],
    typer.Option(
        "--backend",
        metavar="B",
        help="Run this backend instead of the suite's: NAME, package.module:Class, or LABEL=NAME@ENV; repeatable.",
    ),
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change the suite: measure.max_time_s=1; repeatable.")
]
PairsOutput = Annotated[
    Path | None, typer.Option("--output", metavar="DIR", help="Its directory; by default a new one under results/.")
]
PairsResume = Annotated[
    Path | None,
    typer.Option("--resume", metavar="DIR", help="Go on with one that was cut short, given the same options."),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait where another run has the device.")]
StoredNoise = Annotated[
    Path | None,
    typer.Option("--noise", metavar="DIR", help="An A/A measurement; by default the newest under results/."),
]
FailAbove = Annotated[
    float | None,
    typer.Option(metavar="PERCENT", help="The slowdown that fails; by default 3 by pairs, 5 beside stored runs."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="End with 5 where a cell is inconclusive, suspect, removed or kernel_changed.")
]
Everything = Annotated[bool, typer.Option("--all", help="List stable cells, too.")]
Exports = Annotated[
    list[str],
    typer.Option(
        "--export",
        metavar="KIND=FILE",
        help="Write it for a CI job, too: junit, github (without a file), github-action-benchmark, bencher, "
        "openmetrics, json, csv, markdown; repeatable.",
    ),
]
