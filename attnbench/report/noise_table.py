"""An A/A measurement as a sheet: how far every cell scatters, and what could be seen in spite of it."""

from __future__ import annotations

import json
import math
import statistics
from typing import Any

from attnbench.comparison.noise import VERSION, Noise
from attnbench.comparison.rules import CONFIRM_PAIRS, PAIRED_MARGIN, SCREEN_PAIRS
from attnbench.report.data import lines
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.report.numbers import significant

_SEEN = (
    f"Seen from: the slowdown that {SCREEN_PAIRS} pairs and {CONFIRM_PAIRS} more confirm every other time, by the "
    "cell's scatter drawn towards the table's; {:.3g} % at least, which is what fails."
)
_BETWEEN = (
    "Between pairs: standard deviation of the ratio of two processes that ran beside one another. Between processes: "
    "that of single ones, each divided by its own copy and matmul anchors."
)


def scatter(noise: Noise, *, fail_above: float | None = None) -> Sheet:
    """Lay out an A/A measurement, the least certain cell first.

    Args:
        noise: What was measured.
        fail_above: The slowdown that would fail.
    """
    rows = _rows(noise, fail_above)

    def column(header: str, name: str, *, numeric: bool = True) -> Column:
        cells = (f"{significant(row[name])} %" if numeric else row[name] for row in rows)
        return Column(header=header, cells=tuple(cells), numeric=numeric)

    least = [row["detectable_percent"] for row in rows]
    return Sheet(
        heading=f"{noise.suite} beside itself, {noise.device}, {noise.started_at[:16].replace('T', ' ')} UTC",
        question=(
            f"Here attnbench ab sees slowdowns from {statistics.median(least):.1f} % on in the median cell, "
            f"and from {max(least):.1f} % on in every cell."
        ),
        grids=(
            Grid(
                title="scatter where nothing changed",
                columns=(
                    column("case", "case", numeric=False),
                    column("backend", "backend", numeric=False),
                    column("seen from", "detectable_percent"),
                    column("between pairs", "pairs_percent"),
                    column("between processes", "processes_percent"),
                ),
            ),
        ),
        notes=(_SEEN.format(100 * _margin(fail_above)), _BETWEEN, *_unmeasured(noise)),
    )


def _unmeasured(noise: Noise) -> list[str]:
    if not noise.unmeasured:
        return []
    return [f"{noise.unmeasured} more cells could not be measured: attnbench show {noise.path}/base says why."]


def scatter_csv(noise: Noise, *, fail_above: float | None = None) -> str:
    """One line per cell."""
    return lines(_rows(noise, fail_above))


def scatter_json(noise: Noise, *, fail_above: float | None = None) -> str:
    """``{"schema_version", "suite", "device", "cells"}``."""
    known = {"schema_version": VERSION, "suite": noise.suite, "device": noise.device}
    return json.dumps({**known, "cells": _rows(noise, fail_above)}, indent=2) + "\n"


def _margin(fail_above: float | None) -> float:
    return PAIRED_MARGIN if fail_above is None else fail_above


def _rows(noise: Noise, fail_above: float | None) -> list[dict[str, Any]]:
    detectable = noise.detectable(fail_above=_margin(fail_above))
    rows = [
        {
            "case": cell[0],
            "backend": cell[1],
            "detectable_percent": 100 * (detectable[cell] - 1),
            "pairs_percent": _percent(found.pairs),
            "processes_percent": _percent(found.processes),
            "pairs": len(found.pairs),
        }
        for cell, found in noise.cells.items()
    ]
    return sorted(rows, key=lambda row: -row["detectable_percent"])


def _percent(logs: tuple[float, ...]) -> float:
    return 100 * math.expm1(statistics.stdev(logs))
