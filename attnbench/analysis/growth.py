"""How fast a backend's latency grows along a series: measured exponents beside those that the paper's formula predicts.

LSA costs O(k1 k2 H W d) (Chu et al. 2021, section 3.2): with a fixed window latency should grow with H W to the power
of 1, and to the power of 2 where one window covers the whole map, because k1 k2 is H W then.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from attnbench.analysis.sweeps import Axis, Series
from attnbench.core.problem import Scope
from attnbench.core.stats import Estimate
from attnbench.results.rows import Row, is_ok
from attnbench.results.table import processes_of

_LEAST_SPAN = 2.0
"""The largest size over the smallest: an exponent of sizes nearer than that is noise."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The exponent of one backend in one series."""

    backend: str
    series: Series
    sizes: int
    smallest: str
    largest: str
    exponent: Estimate
    """The slope of log latency over log size by least squares: the mean over processes, with its interval by t."""
    predicted: float | None
    """By the formula; None where other work is inside the call, too."""
    bend: float
    """The largest factor by which a latency lies off the line; 1 with two sizes."""

    @property
    def agrees(self) -> bool | None:
        """Whether the interval holds the prediction; None where one of them is missing."""
        if self.predicted is None or self.exponent.low is None:
            return None
        return self.exponent.holds(self.predicted)


def growths(along: Series) -> list[Growth]:
    """The exponents of every backend that was measured at sizes a factor of two apart; none along dtypes."""
    if not along.axis.numeric:
        return []
    found = []
    for backend in along.backends:
        rows = [row for row in along.rows if row["backend"] == backend and is_ok(row)]
        if rows and along.axis.size(rows[-1]) >= _LEAST_SPAN * along.axis.size(rows[0]):
            found.append(_growth(backend, along, rows))
    return found


def _growth(backend: str, along: Series, rows: Sequence[Row]) -> Growth:
    sizes = [math.log(along.axis.size(row)) for row in rows]
    logs = [math.log(row["latency_ms"]) for row in rows]
    slope, intercept = _line(sizes, logs)
    off = [log - slope * size - intercept for size, log in zip(sizes, logs, strict=True)]
    return Growth(
        backend=backend,
        series=along,
        sizes=len(set(sizes)),
        smallest=along.axis.text(rows[0]),
        largest=along.axis.text(rows[-1]),
        exponent=_exponent(sizes, rows, slope),
        predicted=predicted_exponent(along),
        bend=math.exp(max(map(abs, off))),
    )


def predicted_exponent(along: Series) -> float | None:
    """The power with which k1 k2 H W d grows along a series.

    A layer has projections, too, which do not depend on the window and grow with the square of the channels.
    """
    if along.axis is Axis.RESOLUTION and not along.is_global:
        return 1.0
    if not along.axis.numeric or any(row["scope"] == Scope.LAYER for row in along.rows):
        return 1.0 if along.axis is Axis.BATCH else None
    return 2.0 if along.is_global else 1.0


def _exponent(sizes: Sequence[float], rows: Sequence[Row], slope: float) -> Estimate:
    """The slope of every process that measured all sizes; their mean, and its 95 % interval by Student's t."""
    by_process = [processes_of(row) for row in rows]
    shared = sorted(set.intersection(*map(set, by_process)))
    if len(shared) < 2:  # noqa: PLR2004 - no spread without two
        return Estimate(value=slope, low=None, high=None)
    slopes = [_line(sizes, [math.log(latencies[process]) for latencies in by_process])[0] for process in shared]
    from scipy.special import stdtrit

    mean = statistics.fmean(slopes)
    half = float(stdtrit(len(slopes) - 1, 0.975)) * statistics.stdev(slopes) / math.sqrt(len(slopes))
    return Estimate(value=mean, low=mean - half, high=mean + half)


def _line(sizes: Sequence[float], logs: Sequence[float]) -> tuple[float, float]:
    """Slope and intercept by least squares; ``statistics`` is ten times as slow, and a large sweep has thousands."""
    size, log = math.fsum(sizes) / len(sizes), math.fsum(logs) / len(logs)
    spread = math.fsum((one - size) ** 2 for one in sizes)
    slope = math.fsum((one - size) * (other - log) for one, other in zip(sizes, logs, strict=True)) / spread
    return slope, log - slope * size
