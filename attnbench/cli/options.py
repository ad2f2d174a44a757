"""Options that several commands have, and their checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from attnbench.exports.writing import Export

SuiteName = Annotated[str, typer.Argument(help="A suite's file, or the name of one that comes with attnbench.")]
Backends = Annotated[
    list[str],
    typer.Option(
        "--backend",
        metavar="B",
        help="Run this backend instead of the suite's: NAME, a group (all, cpu, fused), package.module:Class, or "
        "LABEL=NAME@ENV; repeatable.",
    ),
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change the suite: measure.max_time_s=1; repeatable.")
]
Output = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The run directory (default: a new one under results/).")
]
PairsResume = Annotated[
    Path | None,
    typer.Option("--resume", metavar="DIR", help="Resume an interrupted measurement; give the same options."),
]
Environment = Annotated[
    str | None,
    typer.Option(metavar="ENV", help="A virtual environment or an interpreter with torch (default: this one)."),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait if another run uses the device.")]
StoredNoise = Annotated[
    Path | None,
    typer.Option("--noise", metavar="DIR", help="An A/A test (default: this machine's newest under results/)."),
]
FailAbove = Annotated[
    float | None,
    typer.Option(metavar="PERCENT", help="Fail on slowdowns of at least PERCENT (default: 3 for ab, 5 for compare)."),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Exit with 5 if a cell is inconclusive, suspect, removed or kernel_changed."),
]
Everything = Annotated[bool, typer.Option("--all", help="List stable cells, too.")]
Exports = Annotated[
    list[str],
    typer.Option(
        "--export",
        metavar="KIND=FILE",
        help="Also write the results for a CI job: junit, github (without a file), github-action-benchmark, bencher, "
        "openmetrics, json, csv, markdown; repeatable.",
    ),
]
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


def check_resume(resume: Path | None, output: Path | None) -> None:
    """See that ``--resume`` and ``--output`` are not both given.

    Raises:
        UsageError: They are.
    """
    from attnbench.core.errors import UsageError

    if resume is not None and output is not None:
        raise UsageError("--resume continues in the directory it names; leave out --output")
