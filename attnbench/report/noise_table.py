"""An A/A test as a sheet: the noise of every cell, and the smallest slowdown that can be detected in it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from attnbench.comparison.noise import Noise
from attnbench.comparison.pairs_rule import MARGIN, MAX_ROUNDS
from attnbench.core.text import plural
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.report.numbers import significant

_COLUMNS = {
    "detectable": "detectable_percent",
    "between pairs": "pairs_percent",
    "between processes": "processes_percent",
}
"""Headers of numbers, and their keys in a row."""
_DETECTABLE = (
    f"Detectable: the slowdown that attnbench ab confirms in {MAX_ROUNDS} rounds with a power of one half; at least "
    "{:.3g} %, which is the margin."
)
_BETWEEN = (
    "Between pairs: standard deviation of the ratio of two processes sampled in turn. Between processes: that of "
    "single processes, each divided by its own copy and matmul anchors."
)


@dataclass(frozen=True, kw_only=True)
class NoiseRow:
    """One cell of an A/A test, in numbers."""

    case: str
    """Name of the problem in the suite."""
    backend: str
    """The backend's label."""
    detectable_percent: float | None
    """The smallest slowdown that attnbench ab confirms here with a power of one half; None if it confirms none."""
    pairs_percent: float
    """Standard deviation of the ratio of two processes sampled in turn."""
    processes_percent: float
    """Standard deviation of single processes, each divided by its own copy and matmul anchors."""
    pairs: int
    """Pairs of processes that measured the cell."""


def noise_rows(noise: Noise, *, fail_above: float | None) -> list[NoiseRow]:
    """A row per cell, the noisiest first."""
    found = noise.detectable(fail_above=MARGIN if fail_above is None else fail_above)
    rows = [
        NoiseRow(
            case=cell.case,
            backend=cell.backend,
            detectable_percent=100 * (found[cell.key] - 1) if cell.key in found else None,
            pairs_percent=100 * math.expm1(statistics.stdev(cell.pairs)),
            processes_percent=100 * math.expm1(statistics.stdev(cell.processes)),
            pairs=len(cell.pairs),
        )
        for cell in noise.cells
    ]
    return sorted(rows, key=lambda row: -_percent(row))


def _percent(row: NoiseRow) -> float:
    return math.inf if row.detectable_percent is None else row.detectable_percent


def noise_table(noise: Noise, rows: Sequence[NoiseRow], *, fail_above: float | None) -> Sheet:
    """Lay out an A/A test.

    Args:
        noise: What was measured.
        rows: Its cells as ``noise_rows`` gives them.
        fail_above: The slowdown that fails.
    """
    names = [
        Column(header=name, cells=tuple(getattr(row, name) for row in rows), numeric=False)
        for name in ("case", "backend")
    ]
    numbers = [
        Column(header=header, cells=tuple(_shown(getattr(row, key)) for row in rows))
        for header, key in _COLUMNS.items()
    ]
    detectable = list(map(_percent, rows))
    notes = [_DETECTABLE.format(100 * (MARGIN if fail_above is None else fail_above)), _BETWEEN]
    if noise.unmeasured:
        notes.append(f"{plural(noise.unmeasured, 'cell')} not measured: attnbench show {noise.path}/base says why.")
    return Sheet(
        heading=f"A/A test of {noise.suite}, {noise.device}, {noise.started_at[:16].replace('T', ' ')} UTC",
        question=(
            f"Smallest slowdown that attnbench ab can detect here: {_shown(statistics.median(detectable), 1)} in the "
            f"median cell, {_shown(max(detectable), 1)} in every cell."
        ),
        grids=(Grid(title="noise", columns=(*names, *numbers)),),
        notes=tuple(notes),
    )


def _shown(percent: float | None, decimals: int | None = None) -> str:
    if percent is None or not math.isfinite(percent):
        return "none"
    return f"{significant(percent)} %" if decimals is None else f"{percent:.{decimals}f} %"
