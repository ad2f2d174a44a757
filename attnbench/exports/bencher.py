"""Bencher Metric Format: by benchmark, then by measure."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from attnbench.core.stats import Estimate
from attnbench.exports.cells import Measured
from attnbench.exports.escaping import one_line
from attnbench.exports.results import Subject

_NANOSECONDS = 1e6
"""Of a millisecond: the unit of Bencher's built-in measure ``latency``."""
_LONGEST_NAME_BYTES = 1024
_MARK_CHARACTERS = 12


def render(subject: Subject) -> str:
    """The document; failed cells are left out."""
    document = {_name(cell): _measures(cell) for cell in subject.measured()}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _measures(cell: Measured) -> dict[str, Any]:
    found = {"latency": _metric(cell.latency_ms, _NANOSECONDS)}
    if cell.images_per_s is not None:
        found["throughput"] = _metric(cell.images_per_s, 1.0)
    if cell.peak_bytes is not None:
        found["peak-memory"] = {"value": float(cell.peak_bytes)}
    return found


def _metric(found: Estimate, factor: float) -> dict[str, float]:
    metric = {"value": factor * found.value}
    if found.low is not None and found.high is not None:
        metric |= {"lower_value": factor * found.low, "upper_value": factor * found.high}
    return metric


def _name(cell: Measured) -> str:
    """Bencher turns a whole report down where one name is too long, so the rest of a long one becomes a digest."""
    name = one_line(cell.name)
    raw = name.encode()
    if len(raw) <= _LONGEST_NAME_BYTES:
        return name
    kept = raw[: _LONGEST_NAME_BYTES - _MARK_CHARACTERS - 1].decode(errors="ignore")
    return f"{kept}~{hashlib.sha256(raw).hexdigest()[:_MARK_CHARACTERS]}"
