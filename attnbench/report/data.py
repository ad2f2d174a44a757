"""Runs for programs: every column, no rounding. A failed cell has no numbers, never zeros."""

from __future__ import annotations

import json

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
