"""Tables as CSV and JSON: every column, unrounded. A failed cell has no numbers, never zeros."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from attnbench.comparison.definitions import CellVerdict, Comparison
from attnbench.core.escaping import spreadsheet
from attnbench.results.spreadsheet import csv_text
from attnbench.results.store import StoredRun

VERSION = 1
"""Version of the JSON of baselines and of A/A tests."""


def render_csv(run: StoredRun) -> str:
    """One line per cell; missing values are empty."""
    return csv_text(run.table)


def verdicts_csv(comparison: Comparison) -> str:
    """One line per cell; missing values are empty."""
    return lines([_flat(cell) for cell in comparison.cells])


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV of rows with the same keys; without a row, nothing."""
    if not rows:
        return ""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _shown(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue()


def document(fields: Mapping[str, Any]) -> str:
    """A JSON document with its schema's version."""
    return json.dumps({"schema_version": VERSION, **fields}, indent=2) + "\n"


def _shown(value: Any) -> Any:
    return spreadsheet(value) if isinstance(value, str) else value


def _flat(cell: CellVerdict) -> dict[str, Any]:
    fields = {name: value for name, value in vars(cell).items() if name != "ratio"}
    ratio = (None, None, None) if cell.ratio is None else (cell.ratio.value, cell.ratio.low, cell.ratio.high)
    return {**fields, **dict(zip(("ratio", "ratio_low", "ratio_high"), ratio, strict=True))}
