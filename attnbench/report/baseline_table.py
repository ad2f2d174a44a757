"""Stored baselines as a sheet."""

from __future__ import annotations

from collections.abc import Sequence

from attnbench.comparison.history_rule import FEWEST_RUNS
from attnbench.core.text import plural
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.results.baselines import Baseline


def baseline_table(found: Sequence[Baseline]) -> Sheet:
    """Lay out baselines, a row for every name, machine and suite."""
    if not found:
        return Sheet(heading="No baselines.", grids=(), notes=("attnbench baseline save RUN --name NAME makes one.",))
    columns = {
        "name": [one.name for one in found],
        "machine": [one.place for one in found],
        "suite": [one.suite for one in found],
        "runs": [str(one.runs) for one in found],
        "oldest": [one.oldest[:10] for one in found],
        "newest": [one.newest[:10] for one in found],
        "torch": [one.torch for one in found],
    }
    grid = Grid(
        title="baselines",
        columns=tuple(
            Column(header=header, cells=tuple(cells), numeric=header == "runs") for header, cells in columns.items()
        ),
    )
    few = sum(one.runs < FEWEST_RUNS for one in found)
    note = f"{few} of {len(found)} have fewer than {FEWEST_RUNS} runs, so slowdowns are only suspected."
    return Sheet(heading=plural(len(found), "baseline"), grids=(grid,), notes=(note,) if few else ())
