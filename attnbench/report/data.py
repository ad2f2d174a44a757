"""Runs and comparisons as CSV: every column, no rounding. A failed cell has no numbers, never zeros."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from attnbench.comparison.verdict import CellVerdict, Comparison
from attnbench.results.store import StoredRun


def render_csv(run: StoredRun) -> str:
    """One line per cell; what a cell does not have is empty."""
    return str(run.table.to_csv(index=False))


def verdicts_csv(comparison: Comparison) -> str:
    """One line per cell; what a cell does not have is empty."""
    return lines([_flat(cell) for cell in comparison.cells])


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV of rows that have the same keys; without a row, nothing."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    if rows:
        writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _flat(cell: CellVerdict) -> dict[str, Any]:
    fields = asdict(cell)
    ratio = fields.pop("ratio") or {"value": None, "low": None, "high": None}
    return {**fields, "ratio": ratio["value"], "ratio_low": ratio["low"], "ratio_high": ratio["high"]}
