"""Runs for programs: every column, no rounding. A failed cell has no numbers, never zeros."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from attnbench.comparison.verdict import CellVerdict, Comparison
from attnbench.record import SCHEMA_VERSION
from attnbench.store import StoredRun


def render_csv(run: StoredRun) -> str:
    """One line per cell; what a cell does not have is empty."""
    return str(run.table.to_csv(index=False))


def render_json(run: StoredRun) -> str:
    """``{"schema_version", "environment", "cells"}``; what a cell does not have is null."""
    cells = json.loads(run.table.to_json(orient="records", double_precision=15))
    document = {"schema_version": SCHEMA_VERSION, "environment": run.environment, "cells": cells}
    return json.dumps(document, indent=2) + "\n"


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


def verdicts_json(comparison: Comparison) -> str:
    """Everything a comparison holds; what a cell does not have is null."""
    document = {"schema_version": SCHEMA_VERSION, **asdict(comparison), "failed": comparison.failed}
    return json.dumps(document, indent=2) + "\n"


def _flat(cell: CellVerdict) -> dict[str, Any]:
    fields = asdict(cell)
    ratio = fields.pop("ratio") or {"value": None, "low": None, "high": None}
    return {**fields, "ratio": ratio["value"], "ratio_low": ratio["low"], "ratio_high": ratio["high"]}
