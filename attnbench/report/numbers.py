"""Numbers as text. Digits beyond the confidence interval are not printed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from attnbench.core.stats import Estimate
from attnbench.core.text import MEBIBYTE
from attnbench.results.rows import missing
from attnbench.results.table import COLUMNS

NOTHING = "-"
"""A missing number."""
_MOST_DIGITS = 4
_WIDEST = 10
"""The digits of an end that is further from the value than this factor would mean nothing."""


def significant(value: float, digits: int = 3) -> str:
    """Significant digits, without an exponent.

    >>> [significant(value) for value in (0.0123456, 1.0, 12.345, 1234.5)]
    ['0.0123', '1.00', '12.3', '1234']
    """
    if value == 0:
        return "0"
    return _fixed(value, max(0, digits - 1 - _magnitude(value)))


def optional(value: float | None) -> str:
    """Three significant digits of a value that may be missing."""
    return NOTHING if value is None or missing(value) else significant(value)


def mebibytes(count: int | None) -> str:
    """Bytes in MiB; they may be missing."""
    return NOTHING if count is None or missing(count) else significant(count / MEBIBYTE)


def rounded(value: float, uncertainty: float | None) -> str:
    """A value without the digits that are uncertain.

    Args:
        value: The value.
        uncertainty: From it to the further end of its interval; if None, three digits are printed.

    >>> [rounded(3.3719, error) for error in (0.77, 0.13, 0.021, 1e-6, 8.0, None)]
    ['3.4', '3.37', '3.37', '3.372', '3', '3.37']
    >>> rounded(1234.5, 300)
    '1200'
    """
    return _fixed(value, _decimals(value, uncertainty))


def interval(value: float, low: float, high: float, *, apart: float | None = None) -> str:
    """Both ends, to as many decimals as the value.

    Args:
        value: The value.
        low: The lower end.
        high: The upper end.
        apart: No end is printed like this number unless it is equal to it: of a ratio, which side of 1 it lies on.

    >>> interval(3.3719, 2.751, 4.142)
    '2.8 to 4.1'
    >>> interval(3.0, 0.31, 29.0)
    '0.3 to 29'
    >>> interval(6.0, 1e-7, 2.6e8)
    'wider than 10x'
    >>> interval(1.3, 1.02, 1.6), interval(1.3, 1.02, 1.6, apart=1.0)
    ('1.0 to 1.6', '1.02 to 1.6')
    """
    if high > _WIDEST * value or low * _WIDEST < value:
        return f"wider than {_WIDEST}x"
    decimals = _decimals(value, max(high - value, value - low))
    lower, upper = (_fixed(end, _decimals_apart(end, apart, decimals)) for end in (low, high))
    if float(lower) <= 0:  # latencies and ratios are positive
        lower = significant(low, 1)
    return f"{lower} to {upper}"


def _decimals_apart(value: float, apart: float | None, decimals: int) -> int:
    while round(value, decimals) == apart != value and decimals < _MOST_DIGITS:
        decimals += 1
    return decimals


def interval_of(estimate: Estimate | None, *, apart: float | None = None) -> str:
    """The interval of an estimate, if it has one, as ``interval`` spells it."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return NOTHING
    return interval(estimate.value, estimate.low, estimate.high, apart=apart)


def ratio_interval(ratio: Estimate | None) -> str:
    """The interval of a ratio: one that excludes 1 is seen to."""
    return interval_of(ratio, apart=1.0)


def ratio_of_times(ratio: Estimate, name: str = "") -> str:
    """How many times as slow something is, with its interval.

    >>> ratio_of_times(Estimate(value=1.36, low=0.95, high=1.9), "naive")
    'naive 1.4x (0.9 to 1.9)'
    """
    told = f"{name} {rounded(ratio.value, ratio.uncertainty)}x".lstrip()
    return told if ratio.low is None else f"{told} ({ratio_interval(ratio)})"


def spelled(name: str, value: float, relative_error: float | None = None) -> str:
    """A value of a table's column ``name``; with the relative error of the latency that it was computed from."""
    if missing(value):
        return NOTHING
    if name == "max_error":
        return f"{value:.1e}"
    if COLUMNS[name] == "Int64":
        return str(int(value))
    if name == "roofline_fraction":
        return rounded(100 * value, None if relative_error is None else 100 * value * relative_error) + "%"
    return rounded(value, None if relative_error is None else value * relative_error)


def relative_error(row: Mapping[Any, Any]) -> float | None:
    """Of a row's latency; None without an interval."""
    value, low, high = (row[name] for name in ("latency_ms", "latency_low_ms", "latency_high_ms"))
    return None if missing(low) or missing(high) else max(high - value, value - low) / value


def _decimals(value: float, uncertainty: float | None) -> int:
    # An uncertainty of 0.10 to 0.19 spans a factor of two: one digit more.
    if uncertainty is None or value == 0:
        return max(0, 2 - _magnitude(value or 1.0))
    most = _MOST_DIGITS - 1 - _magnitude(value)
    if uncertainty <= 0:
        return most
    leading = uncertainty / 10 ** _magnitude(uncertainty)
    decimals = (1 if leading < 2 else 0) - _magnitude(uncertainty)  # noqa: PLR2004
    return max(-_magnitude(value), min(most, decimals))


def _magnitude(value: float) -> int:
    return math.floor(math.log10(abs(value)))


def _fixed(value: float, decimals: int) -> str:
    return f"{round(value, decimals):.{max(0, decimals)}f}"
