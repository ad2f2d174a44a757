"""Statistics: of the samples of a process, and of the processes of a cell."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A cell's value and its 95 % interval; None where one process cannot tell."""

    value: float
    """The value."""
    low: float | None
    """Lower end of its 95 % interval; None if unknown."""
    high: float | None
    """Upper end of its 95 % interval; None if unknown."""

    @property
    def uncertainty(self) -> float | None:
        """The distance from the value to the further end of the interval."""
        if self.low is None or self.high is None:
            return None
        return max(self.high - self.value, self.value - self.low)

    def holds(self, value: float) -> bool:
        """Whether the interval does not exclude ``value``."""
        return self.low is None or self.high is None or self.low <= value <= self.high


def percentile(samples: Sequence[float], percent: float) -> float:
    """The ``percent``-th percentile by linear interpolation (Hyndman and Fan 1996, definition 7).

    >>> percentile([1.0, 2.0, 3.0, 4.0, 5.0], 10)
    1.4
    """
    ordered = sorted(samples)
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def process_statistic(samples_ms: Sequence[float], device_type: str) -> float:
    """A process's latency: the median on a GPU, the 10th percentile on the CPU, where noise only ever adds."""
    return percentile(samples_ms, 10) if device_type == "cpu" else statistics.median(samples_ms)


def geometric_mean(processes: Sequence[float]) -> float:
    """The mean on the log scale.

    >>> round(geometric_mean([1.0, 4.0]), 6)
    2.0
    """
    return math.exp(statistics.fmean(map(math.log, processes)))


def estimate(processes: Sequence[float]) -> Estimate:
    """Geometric mean over processes, with its 95 % interval by Student's t on the log scale (processes - 1 degrees)."""
    value = geometric_mean(processes)
    if len(processes) < 2:  # noqa: PLR2004 - no spread without two
        return Estimate(value=value, low=None, high=None)
    # Not statistics.stdev: its exact fractions take ten times as long, which tables of 10,000 cells feel.
    logs = [math.log(process) for process in processes]
    mean = math.fsum(logs) / len(logs)
    variance = math.fsum((log - mean) ** 2 for log in logs) / (len(logs) - 1)
    half_width = _t_quantile(len(logs) - 1) * math.sqrt(variance / len(logs))
    return Estimate(value=value, low=value * math.exp(-half_width), high=value * math.exp(half_width))


@cache
def _t_quantile(degrees: int) -> float:
    """The 97.5th percentile of Student's t."""
    from scipy.special import stdtrit  # scipy.special alone: scipy.stats takes half a second to import

    return float(stdtrit(degrees, 0.975))


def paired_ratio(above: Mapping[int, float], below: Mapping[int, float]) -> Estimate | None:
    """The ratio of two cells with its 95 % interval, paired by process, because what slows a process slows both cells.

    Args:
        above: A statistic of every process, by process.
        below: The same of the other cell.

    Returns:
        None where the cells share no process.

    >>> paired_ratio({0: 2.0, 1: 4.0, 2: 6.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    Estimate(value=2.0, low=2.0, high=2.0)
    """
    shared = sorted(above.keys() & below.keys())
    return estimate([above[process] / below[process] for process in shared]) if shared else None
