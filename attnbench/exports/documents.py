"""The formats that ``--format`` prints, too: CSV, Markdown and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Any

from attnbench.comparison.pairs_rule import MARGIN
from attnbench.core.escaping import encodable
from attnbench.exports.results import ComparisonResults, NoiseResults, Results, RunResults
from attnbench.report import data, markdown
from attnbench.report.comparison_table import comparison_table
from attnbench.report.noise_table import noise_table
from attnbench.report.run_table import run_table
from attnbench.results.store import StoredRun

SCHEMA_VERSION = 3
"""Version of the JSON document; raised by every change that may break a reader."""


def csv_text(results: Results | NoiseResults) -> str:
    """A line per cell; missing values are empty."""
    match results:
        case RunResults(run=run):
            return data.render_csv(run)
        case ComparisonResults(comparison=comparison):
            return data.verdicts_csv(comparison)
        case NoiseResults(rows=rows):
            return data.lines(list(map(asdict, rows)))


def markdown_text(results: Results | NoiseResults) -> str:
    """The tables that a terminal shows, with every cell."""
    match results:
        case RunResults(run=run):
            shown = run_table(run)
        case ComparisonResults(comparison=comparison):
            laid_out = comparison_table(comparison, everything=True)
            # Whoever reads it in a comment sees how it ended before anything else.
            shown = replace(laid_out, heading=f"{results.headline}: {laid_out.heading}")
        case NoiseResults(noise=noise, rows=rows, fail_above=fail_above):
            shown = noise_table(noise, rows, fail_above=fail_above)
    return markdown.render(shown)


def json_text(results: Results | NoiseResults) -> str:
    """The versioned document that ``schema.json_schema`` describes; missing values are null, never zero."""
    match results:
        case RunResults(run=run):
            document = {"kind": "run", **_of_run(run)}
        case ComparisonResults():
            document = {"kind": "comparison", **_of_comparison(results)}
        case NoiseResults():
            document = {"kind": "noise", **_of_noise(results)}
    return json.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=2, allow_nan=False) + "\n"


def _of_run(run: StoredRun) -> dict[str, Any]:
    # By way of text: pandas knows best which of its values are missing.
    return {
        "environment": _writable(run.environment) or None,
        "cells": json.loads(run.table.to_json(orient="records", double_precision=15)),
    }


def _of_comparison(results: ComparisonResults) -> dict[str, Any]:
    comparison = results.comparison
    derived = {
        "summary": results.summary,
        "outcome": comparison.outcome,
        "failed": comparison.failed,
        "compared": comparison.compared,
        "not_measured": comparison.not_measured,
        "counts": results.counts,
    }
    return {name: _writable(value) for name, value in {**derived, **asdict(comparison)}.items()}


def _of_noise(results: NoiseResults) -> dict[str, Any]:
    noise = results.noise
    head = {name: getattr(noise, name) for name in ("suite", "device", "started_at", "fingerprint", "unmeasured")}
    margin = MARGIN if results.fail_above is None else results.fail_above
    return {
        name: _writable(value)
        for name, value in {**head, "fail_above": 1 + margin, "cells": list(map(asdict, results.rows))}.items()
    }


def _writable(value: Any) -> Any:
    """The value with null for infinity and NaN, which JSON cannot hold, and without halves of characters."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
