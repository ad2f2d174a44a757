"""The two files that github-action-benchmark reads: it knows one direction a file, so rates need one of their own."""

from __future__ import annotations

import json
from typing import Any

from attnbench.core.stats import Estimate
from attnbench.exports.cells import Measured
from attnbench.exports.escaping import one_line
from attnbench.exports.results import Subject
from attnbench.report.numbers import significant


def latencies(subject: Subject) -> str:
    """For ``tool: customSmallerIsBetter``: milliseconds. Failed cells are left out."""
    return _document([_entry(cell, cell.latency_ms, "ms") for cell in subject.measured()])


def rates(subject: Subject) -> str:
    """For ``tool: customBiggerIsBetter``: images per second. Failed cells are left out."""
    cells = [(cell, cell.images_per_s) for cell in subject.measured()]
    return _document([_entry(cell, rate, "images/s") for cell, rate in cells if rate is not None])


def _document(entries: list[dict[str, Any]]) -> str:
    return json.dumps(entries, indent=2, allow_nan=False) + "\n"


def _entry(cell: Measured, found: Estimate, unit: str) -> dict[str, Any]:
    entry = {"name": one_line(cell.name), "unit": unit, "value": found.value}
    # Charts of theirs show the range as one number on either side.
    if found.uncertainty is not None:
        entry["range"] = f"± {significant(found.uncertainty)}"
    return {**entry, "extra": _extra(cell, found)}


def _extra(cell: Measured, found: Estimate) -> str:
    lines = {
        "95 % interval": None if found.uncertainty is None else f"{found.low} to {found.high}",
        "device": cell.device,
        "dtype": cell.dtype,
        "mode": cell.mode,
        "pattern": cell.pattern,
        "scope": cell.scope,
        "kernel": cell.kernel,
        "flags": cell.flags,
    }
    return "\n".join(f"{name}: {one_line(value)}" for name, value in lines.items() if value)
