"""What baselines there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from attnbench.comparison.rules import FEWEST_RUNS
from attnbench.report.data import lines
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.results.baselines import Baseline

VERSION = 1


def inventory(found: Sequence[Baseline]) -> Sheet:
    """Lay out baselines, a row for every name, machine and suite."""

    def column(header: str, cells: list[str], *, numeric: bool = False) -> Column:
        return Column(header=header, cells=tuple(cells), numeric=numeric)

    grid = Grid(
        title="baselines",
        columns=(
            column("name", [one.name for one in found]),
            column("machine", [one.place for one in found]),
            column("suite", [one.suite for one in found]),
            column("runs", [str(one.runs) for one in found], numeric=True),
            column("oldest", [one.oldest[:10] for one in found]),
            column("newest", [one.newest[:10] for one in found]),
            column("torch", [one.torch for one in found]),
        ),
    )
    if not found:
        return Sheet(heading="No baselines.", grids=(), notes=("attnbench baseline save RUN --name NAME makes one.",))
    few = sum(one.runs < FEWEST_RUNS for one in found)
    note = f"{few} of {len(found)} have fewer than {FEWEST_RUNS} runs: beside them no change of latency is confirmed."
    return Sheet(
        heading=f"{len(found)} baseline{'' if len(found) == 1 else 's'}", grids=(grid,), notes=(note,) if few else ()
    )


def inventory_csv(found: Sequence[Baseline]) -> str:
    """One line per baseline."""
    return lines([asdict(one) for one in found])


def inventory_json(found: Sequence[Baseline]) -> str:
    """``{"schema_version", "baselines"}``."""
    return json.dumps({"schema_version": VERSION, "baselines": [asdict(one) for one in found]}, indent=2) + "\n"
