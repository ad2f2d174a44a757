"""Numbers as people read them: as many digits as are known, and units that fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from attnbench.results.table import COLUMNS

NOTHING = "-"
"""What stands where there is no number."""
_MOST_DIGITS = 4
_HOPELESS = 10
"""An end this many times away from the value says nothing that its digits would."""


def missing(value: Any) -> bool:
    """Whether a table has no such number."""
    return bool(pd.isna(value))


def significant(value: float, digits: int = 3) -> str:
    """Significant digits, without an exponent.

    >>> [significant(value) for value in (0.0123456, 1.0, 12.345, 1234.5)]
    ['0.0123', '1.00', '12.3', '1234']
    """
    if value == 0:
        return "0"
    return _rounded(value, max(0, digits - 1 - _magnitude(value)))


def known(value: float, uncertainty: float | None) -> str:
    """The digits that are known.

    Args:
        value: What to spell.
        uncertainty: Half of its interval's width, on the wider side; None where nobody knows: three digits then.

    >>> [known(3.3719, error) for error in (0.77, 0.13, 0.021, 1e-6, 8.0, None)]
    ['3.4', '3.37', '3.37', '3.372', '3', '3.37']
    >>> known(1234.5, 300)
    '1200'
    """
    return _rounded(value, _decimals(value, uncertainty))


def interval(value: float, low: float, high: float) -> str:
    """Both ends, to the digits that are known of the value.

    >>> interval(3.3719, 2.751, 4.142)
    '2.8 to 4.1'
    >>> interval(3.0, 0.31, 29.0)
    '0.3 to 29'
    >>> interval(6.0, 1e-7, 2.6e8)
    'wider than 10x'
    """
    if high > _HOPELESS * value or low * _HOPELESS < value:
        return f"wider than {_HOPELESS}x"
    decimals = _decimals(value, max(high - value, value - low))
    lower = _rounded(low, decimals)
    if float(lower) <= 0:  # no latency and no ratio is nothing
        lower = significant(low, 1)
    return f"{lower} to {_rounded(high, decimals)}"


def spelled(name: str, value: float, relative_error: float | None = None) -> str:
    """A value of the table's column ``name``.

    Args:
        name: A column.
        value: What stands there.
        relative_error: How uncertain the latency is that it was computed from.
    """
    if missing(value):
        return NOTHING
    if name == "max_error":
        return f"{value:.1e}"
    if COLUMNS[name] == "Int64":
        return str(int(value))
    if name == "roofline_fraction":
        return known(100 * value, None if relative_error is None else 100 * value * relative_error) + "%"
    return known(value, None if relative_error is None else value * relative_error)


def relative_error(row: Mapping[Any, Any]) -> float | None:
    """How uncertain a row's latency is; None where its interval is not known."""
    value, low, high = (row[name] for name in ("latency_ms", "latency_low_ms", "latency_high_ms"))
    return None if missing(low) or missing(high) else max(high - value, value - low) / value


def _decimals(value: float, uncertainty: float | None) -> int:
    # A first digit of 1 says too little alone: then one more.
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


def _rounded(value: float, decimals: int) -> str:
    return f"{round(value, decimals):.{max(0, decimals)}f}"
