"""Files of services that chart every cell over time: github-action-benchmark and Bencher. They hold ok cells alone."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from attnbench.core.escaping import one_line
from attnbench.core.stats import Estimate
from attnbench.exports.results import MeasuredCell, Results
from attnbench.report.numbers import significant

_NS_PER_MS = 1e6
_LONGEST_NAME_BYTES = 1024
"""Bencher rejects a report in which one name is longer."""
_DIGEST_CHARACTERS = 12


def action_benchmark_latencies(results: Results) -> str:
    """Milliseconds, for github-action-benchmark's ``tool: customSmallerIsBetter``."""
    return _json([_entry(cell, cell.latency_ms, "ms") for cell in results.measured()])


def action_benchmark_rates(results: Results) -> str:
    """Images per second, for ``tool: customBiggerIsBetter``: a file of its own, as each file has one direction."""
    rates = ((cell, cell.images_per_s) for cell in results.measured())
    entries = [(cell, _entry(cell, rate, "images/s")) for cell, rate in rates if rate is not None]
    # Names of their own: without one for the action's run, both files would land in one chart.
    return _json([{**entry, "name": f"{entry['name']} [images/s]"} for _, entry in entries])


def bencher(results: Results) -> str:
    """Bencher Metric Format: by cell, then by measure; latency in Bencher's unit, nanoseconds."""
    return _json({_bencher_name(cell): _measures(cell) for cell in results.measured()})


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _entry(cell: MeasuredCell, found: Estimate, unit: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": one_line(cell.name), "unit": unit, "value": found.value}
    facts = {name: getattr(cell, name) for name in ("device", "dtype", "mode", "pattern", "scope", "kernel", "flags")}
    if found.uncertainty is not None:
        entry["range"] = f"± {significant(found.uncertainty)}"  # the format has one number for both sides
        facts = {"95 % interval": f"{found.low} to {found.high}", **facts}
    return {**entry, "extra": "\n".join(f"{name}: {one_line(value)}" for name, value in facts.items() if value)}


def _measures(cell: MeasuredCell) -> dict[str, dict[str, float]]:
    measures = {"latency": _metric(cell.latency_ms, _NS_PER_MS)}
    if cell.images_per_s is not None:
        measures["images-per-second"] = _metric(cell.images_per_s, 1.0)
    if cell.peak_bytes is not None:
        measures["peak-memory-bytes"] = {"value": float(cell.peak_bytes)}
    return measures


def _metric(found: Estimate, factor: float) -> dict[str, float]:
    metric = {"value": factor * found.value}
    if found.low is not None and found.high is not None:
        metric |= {"lower_value": factor * found.low, "upper_value": factor * found.high}
    return metric


def _bencher_name(cell: MeasuredCell) -> str:
    """The cell's name; the end of a long one is replaced by a digest."""
    name = one_line(cell.name)
    raw = name.encode()
    if len(raw) <= _LONGEST_NAME_BYTES:
        return name
    kept = raw[: _LONGEST_NAME_BYTES - _DIGEST_CHARACTERS - 1].decode(errors="ignore")
    return f"{kept}~{hashlib.sha256(raw).hexdigest()[:_DIGEST_CHARACTERS]}"
