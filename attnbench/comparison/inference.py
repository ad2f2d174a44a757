"""Statistics of a table of cells measured in the same processes: moderated variances, t tests, Holm's procedure.

scipy.special is imported where it is needed: it takes a fifth of a second, and most commands judge nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_TOLERANCE, _MAX_STEPS = 1e-8, 50


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The distribution of variances over a table's cells (Smyth 2004, section 6.2).

    Five pairs estimate a variance badly. A table has many cells, so each borrows from the others.
    """

    variance: float
    degrees: float
    """How many observations it is worth; infinite if all cells are equally noisy."""
    max_degrees: float = math.inf
    """Degrees of freedom of all cells together: no single one can have more."""

    def moderate(self, variance: float, degrees: int) -> tuple[float, float]:
        """A cell's own variance drawn towards the table's, and the degrees of freedom of both (section 4)."""
        if math.isinf(self.degrees):
            return self.variance, self.max_degrees
        total = self.degrees + degrees
        return (self.degrees * self.variance + degrees * variance) / total, min(total, max(self.max_degrees, degrees))


def fit_prior(variances: Sequence[float], degrees: int) -> Prior:
    """Estimate the prior from the cells' variances by the moments of their logarithms (Smyth 2004, section 6.2).

    Args:
        variances: One for every cell; zeros, as of identical values, are ignored.
        degrees: Degrees of freedom of each.
    """
    from scipy.special import polygamma, psi

    logs = [math.log(variance) for variance in variances if variance > 0]
    total = float(len(logs) * degrees)
    if not logs:
        return Prior(variance=0.0, degrees=math.inf)
    offset = float(psi(degrees / 2)) - math.log(degrees / 2)
    mean = statistics.fmean(logs) - offset
    if len(logs) < 2:  # noqa: PLR2004 - a single cell says nothing about others
        return Prior(variance=math.exp(mean), degrees=0.0, max_degrees=total)
    excess = statistics.variance(logs) - float(polygamma(1, degrees / 2))
    if excess <= 0:
        return Prior(variance=math.exp(mean), degrees=math.inf, max_degrees=total)
    prior_degrees = 2 * _inverse_trigamma(excess)
    shift = float(psi(prior_degrees / 2)) - math.log(prior_degrees / 2)
    return Prior(variance=math.exp(mean + shift), degrees=prior_degrees, max_degrees=total)


def _inverse_trigamma(value: float) -> float:
    """By Newton's method on the reciprocal, which is nearly linear (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    if value > 1e7:  # noqa: PLR2004
        return 1 / math.sqrt(value)
    if value < 1e-6:  # noqa: PLR2004
        return 1 / value
    found = 0.5 + 1 / value
    for _ in range(_MAX_STEPS):
        trigamma = float(polygamma(1, found))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, found))
        found += step
        if -step / found < _TOLERANCE:
            break
    return found


def variance(values: Sequence[float]) -> float:
    """The sample variance. ``statistics.variance`` is exact, and takes ten times as long.

    >>> variance([1.0, 2.0, 3.0]), variance([0.1] * 7)
    (1.0, 0.0)
    """
    if min(values) == max(values):
        return 0.0  # and not what rounding the mean leaves
    mean = statistics.fmean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def upper_tail(t: float, degrees: float) -> float:
    """The probability of a value above ``t``; Student's t, or the normal distribution for infinite degrees."""
    from scipy.special import ndtr, stdtr

    return float(ndtr(-t) if math.isinf(degrees) else stdtr(degrees, -t))


def quantile(probability: float, degrees: float) -> float:
    """The quantile of the same distribution."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(probability) if math.isinf(degrees) else stdtrit(degrees, probability))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for the family-wise error rate (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
