"""What a row of a table computed, and which rows may be compared."""

from __future__ import annotations

from attnbench.core.record import Flag
from attnbench.core.stats import Estimate
from attnbench.results.rows import Function, Row, function_of, is_ok, missing, pattern_of

__all__ = ["Function", "Row", "function_of", "is_ok", "is_trusted", "latency_of", "missing", "pattern_of"]


def is_trusted(row: Row) -> bool:
    """Whether there is a latency that the device could have reached."""
    return is_ok(row) and Flag.IMPLAUSIBLE not in row["flags"].split()


def latency_of(row: Row) -> Estimate:
    """The latency of an ok row in milliseconds, with its interval."""
    low, high = (None if missing(row[name]) else row[name] for name in ("latency_low_ms", "latency_high_ms"))
    return Estimate(value=row["latency_ms"], low=low, high=high)
