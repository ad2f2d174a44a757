"""Options that several commands have, and their checks."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from attnbench.comparison.limits import Limits
    from attnbench.exports.writing import Export


def complete_suite(incomplete: str) -> list[tuple[str, str]]:
    """Names of suites for the shell."""
    from attnbench.suite.expansion import built_in_suites

    return [(name, "") for name in built_in_suites() if name.startswith(incomplete)]


def complete_backend(incomplete: str) -> list[str]:
    """Names of backends and groups for the shell."""
    from attnbench.core.shipped_backends import GROUPS, SHIPPED

    return [name for name in (*GROUPS, *SHIPPED) if name.startswith(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    """``latest`` for the shell, which completes paths itself."""
    return [name for name in ("latest",) if name.startswith(incomplete)]


RunPath = Annotated[
    Path, typer.Argument(help="A run directory, or latest: the newest under results/.", autocompletion=complete_run)
]
SuiteName = Annotated[
    str,
    typer.Argument(
        help="A suite's file, or the name of one that comes with attnbench (attnbench suites).",
        autocompletion=complete_suite,
    ),
]
Backends = Annotated[
    list[str],
    typer.Option(
        "--backend",
        metavar="B",
        autocompletion=complete_backend,
        help="Run this backend instead of the suite's: NAME, a group (all, cpu, fused), package.module:Class, or "
        "LABEL=NAME@ENV; repeatable.",
    ),
]
Cases = Annotated[
    list[str],
    typer.Option(
        "--case", metavar="CASE", help="Measure this case alone, by name or pattern ('stage 1*'); repeatable."
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
    list[str],
    typer.Option(
        metavar="PERCENT",
        help="Fail on slowdowns of at least PERCENT (default: 3 for ab, 5 for compare); CASE=PERCENT or "
        "CASE/BACKEND=PERCENT for some cells; repeatable.",
    ),
]
Relative = Annotated[
    bool,
    typer.Option(
        "--relative",
        help="Compare latencies over that of the suite's baseline backend in the same run: for hosted runners whose "
        "processor changes.",
    ),
]
Flaky = Annotated[
    list[str],
    typer.Option(metavar="CELL", help="Show this cell, CASE or CASE/BACKEND, and never count it; repeatable."),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Exit with 5 if a cell is inconclusive, suspect, removed or kernel_changed, with 1 if one fails in both.",
    ),
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


def read_limits(fail_above: Sequence[str], flaky: Sequence[str] = ()) -> Limits:
    """``--fail-above`` and ``--flaky``.

    Raises:
        UsageError: One is not a slowdown, or is given twice.
    """
    from attnbench.comparison.limits import Limits
    from attnbench.core.errors import UsageError

    margins: dict[str, float] = {}
    for text in fail_above:
        name, _, percent = text.rpartition("=")  # a case's name may hold "="
        if name in margins:
            raise UsageError(f"--fail-above {text!r}: given twice{f' for {name!r}' if name else ''}")
        margins[name] = _read_margin(percent, option=f"--fail-above {text}")
    return Limits(
        fail_above=margins.get(""), own={name: margin for name, margin in margins.items() if name}, flaky=tuple(flaky)
    )


def _read_margin(percent: str, *, option: str) -> float:
    """A slowdown in percent as a fraction."""
    from attnbench.core.errors import UsageError

    try:
        found = float(percent)
    except ValueError:
        found = math.nan
    if not 0 < found <= _LARGEST_MARGIN:
        raise UsageError(f"{option}: not a slowdown in percent (allowed: more than 0, up to {_LARGEST_MARGIN})")
    return found / 100


def read_size(option: str, text: str) -> tuple[int, int]:
    """56, or 200x334: two sides.

    Raises:
        UsageError: Neither.
    """
    from attnbench.core.errors import UsageError

    sides = re.fullmatch(r"([1-9][0-9]{0,8})(?:x([1-9][0-9]{0,8}))?", text)
    if sides is None:
        raise UsageError(f"{option} {text}: not a size (allowed: 1 or more, as 56 or as 200x334)")
    return int(sides[1]), int(sides[2] or sides[1])


def read_exports(given: Sequence[str], *, kinds: Collection[str] | None = None) -> list[Export]:
    """``--export``, checked before anything is measured.

    Args:
        given: As they were typed.
        kinds: Those that the command has; by default all.

    Raises:
        UsageError: One cannot be written.
    """
    if not given:
        return []
    from attnbench.exports.writing import check, parse_export

    exports = [parse_export(text, kinds=kinds) for text in given]
    check(exports)
    return exports


def check_resume(resume: Path | None, output: Path | None) -> Path | None:
    """See that ``--resume`` and ``--output`` are not both given.

    Returns:
        The directory to resume, where ``latest`` is the newest run.

    Raises:
        UsageError: They are.
    """
    from attnbench.core.errors import UsageError

    if resume is not None and output is not None:
        raise UsageError("--resume continues in the directory it names; leave out --output")
    if resume is None:
        return None
    from attnbench.results.listing import named

    return named(resume)
