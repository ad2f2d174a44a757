"""Latency or memory as a power of sizes, and whether that holds for what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attnbench.core.stats import Estimate

_SPARE = 2
"""Points that a fit needs beyond its parameters, so that it can be wrong."""
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """log y = intercept + sum of exponent x log size, by least squares."""

    exponents: tuple[float, ...]
    """One for every size; 0 for one that never changes."""
    error: float
    """The largest factor by which a measured value differs from what the fit predicts without it."""
    _sizes: npt.NDArray[np.float64]
    _logs: npt.NDArray[np.float64]

    def predict(self, sizes: Sequence[float]) -> Estimate:
        """The value at given sizes with its 95 % prediction interval."""
        design, asked = _design(self._sizes), _row(self._sizes, sizes)
        coefficients = np.linalg.lstsq(design, self._logs, rcond=None)[0]
        degrees = len(self._logs) - design.shape[1]
        residuals = self._logs - design @ coefficients
        leverage = float(asked @ np.linalg.pinv(design.T @ design) @ asked)
        from scipy.special import stdtrit

        spread = math.sqrt(float(residuals @ residuals) / degrees * (1 + leverage))
        half, value = float(stdtrit(degrees, 0.975)) * spread, math.exp(float(asked @ coefficients))
        return Estimate(value=value, low=value * math.exp(-half), high=value * math.exp(half))

    def covers(self, sizes: Sequence[float]) -> bool:
        """Whether every size lies between the smallest and the largest measured one."""
        asked, low, high = np.log(sizes), self._sizes.min(axis=0), self._sizes.max(axis=0)
        return bool(np.all((low - _ROUNDING <= asked) & (asked <= high + _ROUNDING)))


def fit(sizes: Sequence[Sequence[float]], values: Sequence[float]) -> PowerLaw | None:
    """Fit a power law.

    Args:
        sizes: The sizes of every point, all positive.
        values: Its value, positive.

    Returns:
        None where there are fewer than two points more than parameters, or sizes that always change together.
    """
    if not values:
        return None
    logs, table = np.log(np.asarray(values, dtype=np.float64)), np.log(np.asarray(sizes, dtype=np.float64))
    design = _design(table)
    if len(logs) < design.shape[1] + _SPARE or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    coefficients = np.linalg.lstsq(design, logs, rcond=None)[0]
    leverages = np.einsum("ij,jk,ik->i", design, np.linalg.pinv(design.T @ design), design)
    if float(leverages.max()) > 1 - _ROUNDING:  # a point that the fit cannot do without cannot test it
        return None
    left_out = (logs - design @ coefficients) / (1 - leverages)
    exponents = np.zeros(table.shape[1])
    exponents[_varying(table)] = coefficients[1:]
    error = math.exp(float(np.abs(left_out).max()))
    return PowerLaw(exponents=tuple(map(float, exponents)), error=error, _sizes=table, _logs=logs)


def _varying(table: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.ptp(table, axis=0) > _ROUNDING)


def _design(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.column_stack([np.ones(len(table)), table[:, _varying(table)]])


def _row(table: npt.NDArray[np.float64], sizes: Sequence[float]) -> npt.NDArray[np.float64]:
    return np.concatenate([[1.0], np.log(np.asarray(sizes, dtype=np.float64))[_varying(table)]])
