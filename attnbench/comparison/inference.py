"""Statistics of a table of cells that were all measured in the same processes: numbers in, numbers out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import ndtr, ndtri, polygamma, psi, stdtr, stdtrit

_ENOUGH = 1e-8
_MOST_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What a table says about the variance of any of its cells (Smyth 2004, section 6.2)."""

    variance: float
    degrees: float
    """How many observations it is worth; infinite where all cells scatter alike."""
    most: float = math.inf
    """Degrees of freedom of all cells together: no single one can be worth more."""

    def moderate(self, variance: float, degrees: int) -> tuple[float, float]:
        """A cell's own variance drawn towards the table's, and the degrees of freedom of both (section 4)."""
        if math.isinf(self.degrees):
            return self.variance, self.most
        total = self.degrees + degrees
        return (self.degrees * self.variance + degrees * variance) / total, min(total, max(self.most, degrees))


def fit_prior(variances: Sequence[float], degrees: int) -> Prior:
    """Estimate the prior from the cells' variances by the moments of their logarithms (Smyth 2004, section 6.2).

    Args:
        variances: One for every cell; zeros, as identical values give, are left out.
        degrees: Of each of them.
    """
    logs = [math.log(variance) for variance in variances if variance > 0]
    most = float(len(logs) * degrees)
    if not logs:
        return Prior(variance=0.0, degrees=math.inf)
    offset = float(psi(degrees / 2)) - math.log(degrees / 2)
    mean = statistics.fmean(logs) - offset
    if len(logs) < 2:  # noqa: PLR2004 - a single cell says nothing about others
        return Prior(variance=math.exp(mean), degrees=0.0, most=most)
    excess = statistics.variance(logs) - float(polygamma(1, degrees / 2))
    if excess <= 0:
        return Prior(variance=math.exp(mean), degrees=math.inf, most=most)
    prior_degrees = 2 * _inverse_trigamma(excess)
    shift = float(psi(prior_degrees / 2)) - math.log(prior_degrees / 2)
    return Prior(variance=math.exp(mean + shift), degrees=prior_degrees, most=most)


def _inverse_trigamma(value: float) -> float:
    """By Newton's method on the reciprocal, which is nearly linear (Smyth 2004, appendix)."""
    if value > 1e7:  # noqa: PLR2004
        return 1 / math.sqrt(value)
    if value < 1e-6:  # noqa: PLR2004
        return 1 / value
    found = 0.5 + 1 / value
    for _ in range(_MOST_STEPS):
        trigamma = float(polygamma(1, found))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, found))
        found += step
        if -step / found < _ENOUGH:
            break
    return found


def upper_tail(t: float, degrees: float) -> float:
    """The chance of a value above ``t``; Student's t, or the normal distribution for infinite degrees."""
    return float(ndtr(-t) if math.isinf(degrees) else stdtr(degrees, -t))


def quantile(probability: float, degrees: float) -> float:
    """The value below which Student's t lies with that probability."""
    return float(ndtri(probability) if math.isinf(degrees) else stdtrit(degrees, probability))


def holm(chances: Sequence[float]) -> list[float]:
    """Adjust p-values so that the chance of any false one among them is what it says (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(chances), 0.0
    for rank, index in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[index]))
        adjusted[index] = highest
    return adjusted
