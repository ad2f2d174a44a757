"""What a row of a table computed, and which rows may be compared."""

from __future__ import annotations

from typing import Any

from attnbench.core.files import read
from attnbench.core.problem import Problem
from attnbench.core.stats import Estimate
from attnbench.results.rows import Function, Row, function_of, is_ok, missing, pattern_of
from attnbench.results.table import PROBLEM

__all__ = ["Function", "Row", "function_of", "is_ok", "latency_of", "missing", "pattern_of", "problem_of"]


def problem_of(row: Row) -> Problem:
    """The problem of a row.

    Raises:
        ValueError: Its fields are no problem, as in a table that was edited.
    """
    return read(Problem, {field: _plain(row[field]) for field in PROBLEM})


def latency_of(row: Row) -> Estimate:
    """The latency of an ok row in milliseconds, with its interval."""
    low, high = (None if missing(row[name]) else row[name] for name in ("latency_low_ms", "latency_high_ms"))
    return Estimate(value=row["latency_ms"], low=low, high=high)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else int(value)
