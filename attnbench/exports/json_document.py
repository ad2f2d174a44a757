"""The versioned JSON document of a run or a comparison. What is not known is null, never zero."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from attnbench.comparison.verdict import Comparison
from attnbench.core.record import Environment
from attnbench.exports.results import Subject
from attnbench.results.store import StoredRun

SCHEMA_VERSION = 3
"""Raised by every change that a reader might stumble over. Before 3 a document was of a run, and named no kind."""
RUN, COMPARISON = "run", "comparison"


def render(subject: Subject) -> str:
    """The document as text: of the comparison, or of a run alone."""
    return json.dumps(document(subject), indent=2, allow_nan=False) + "\n"


def document(subject: Subject) -> dict[str, Any]:
    """The document as JSON values; ``schema.json_schema`` describes every field."""
    if subject.comparison is not None:
        found = {"kind": COMPARISON, "summary": subject.summary, **_of_comparison(subject.comparison, subject.counts)}
    else:
        assert subject.run is not None
        found = {"kind": RUN, **_of_run(subject.run)}
    return {"schema_version": SCHEMA_VERSION, **found}


def _of_comparison(comparison: Comparison, counts: dict[str, int]) -> dict[str, Any]:
    fields = asdict(comparison)
    cells = fields.pop("cells")
    derived = {
        "failed": comparison.failed,
        "compared": comparison.compared,
        "not_measured": comparison.not_measured,
        "counts": counts,
    }
    known: dict[str, Any] = _finite({**derived, **fields, "cells": cells})
    return known


def _of_run(run: StoredRun) -> dict[str, Any]:
    environment = Environment.from_json(run.environment).to_json() if run.environment else None
    # Through text, because pandas knows best what of its own is missing.
    cells = json.loads(run.table.to_json(orient="records", double_precision=15))
    return {"environment": environment, "cells": cells}


def _finite(value: Any) -> Any:
    """JSON has no word for infinity, the end of an interval that has none."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
