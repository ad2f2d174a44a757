"""One row of a run's table: its latency, whether that can be trusted, and what it computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from attnbench.core.problem import Pattern
from attnbench.core.record import Flag, Status
from attnbench.core.stats import Estimate
from attnbench.results.table import PROBLEM

Row = Mapping[Any, Any]
"""One row of a run's table, by column."""
Function = tuple[Any, ...]
"""The values of a problem's fields, in the order of ``PROBLEM``."""


def rows_of(table: pd.DataFrame) -> list[Row]:
    """The rows of a run's table as plain values; ``to_dict`` takes five times as long."""
    names = table.columns.tolist()
    values = zip(*(table[name].tolist() for name in names), strict=True)
    return [dict(zip(names, row, strict=True)) for row in values]


def missing(value: Any) -> bool:
    """Whether a table's value is missing."""
    return value is pd.NA or value is None or value != value  # noqa: PLR0124 - NaN is not itself


def is_ok(row: Row) -> bool:
    """Whether there is a latency."""
    return bool(row["status"] == Status.OK)


def is_trusted(row: Row) -> bool:
    """Whether there is a latency that the device could have reached."""
    return is_ok(row) and Flag.IMPLAUSIBLE not in row["flags"].split()


def latency_of(row: Row) -> Estimate:
    """The latency of an ok row in milliseconds, with its interval."""
    low, high = (None if missing(row[name]) else row[name] for name in ("latency_low_ms", "latency_high_ms"))
    return Estimate(value=row["latency_ms"], low=low, high=high)


def pattern_of(row: Row) -> str:
    """The pattern that a row computed: a single window that covers the map is never shifted."""
    alone = row["height"] == row["window_height"] and row["width"] == row["window_width"]
    return Pattern.GROUPED if alone else str(row["pattern"])


def function_of(row: Row) -> Function:
    """What a row computes: equal for two rows that compute the same."""
    return tuple(pattern_of(row) if field == "pattern" else row[field] for field in PROBLEM)
