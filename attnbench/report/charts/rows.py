"""The rows of a run as charts and the page take them: the table's columns, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attnbench.analysis.ranking import Contest, Standing
from attnbench.analysis.roofline import intensity_of
from attnbench.analysis.sweeps import Axis
from attnbench.core.text import MEBIBYTE
from attnbench.results.rows import Row, is_ok, latency_of, missing, pattern_of
from attnbench.results.table import COLUMNS

CUT = 3.0
"""Intervals are drawn up to this factor from the value: a wild one would squeeze all others."""
DERIVED = (
    "computed", "resolution", "window", "map_tokens", "window_tokens", "shown_low_ms", "shown_high_ms", "peak_mib",
    "gflops", "intensity", "times_best", "times_best_low", "times_best_high", "place", "contested",
)  # fmt: skip
"""What is added to the columns of a table."""


def chart_rows(rows: Sequence[Row], found: Sequence[Contest]) -> list[dict[str, Any]]:
    """One mapping per row: the table's columns and ``DERIVED``; None where something is missing."""
    places = {id(standing.row): (contest, standing) for contest in found for standing in contest.standings}
    losers = {id(row): contest for contest in found for row in contest.failed}
    return [_chart_row(row, *places.get(id(row), (losers.get(id(row)), None))) for row in rows]


def _chart_row(row: Row, contest: Contest | None, standing: Standing | None) -> dict[str, Any]:
    values = {name: None if missing(row[name]) else row[name] for name in COLUMNS}
    measured = _measured(row, contest, standing) if is_ok(row) else {}
    return {
        **values,
        **dict.fromkeys(DERIVED),
        "computed": pattern_of(row),
        "resolution": Axis.RESOLUTION.text(row),
        "window": Axis.WINDOW.text(row),
        "map_tokens": Axis.RESOLUTION.size(row),
        "window_tokens": Axis.WINDOW.size(row),
        "contested": contest is not None and len(contest.standings) > 1,
        **measured,
    }


def _measured(row: Row, contest: Contest | None, standing: Standing | None) -> Mapping[str, Any]:
    latency = latency_of(row)
    found: dict[str, Any] = {
        "shown_low_ms": None if latency.low is None else max(latency.low, latency.value / CUT),
        "shown_high_ms": None if latency.high is None else min(latency.high, latency.value * CUT),
        "peak_mib": None if missing(row["peak_bytes"]) else row["peak_bytes"] / MEBIBYTE,
        "gflops": None if missing(row["tflops"]) else 1e3 * row["tflops"],
        "intensity": intensity_of(row),
    }
    if contest is not None and standing is not None and len(contest.standings) > 1:
        ratio = standing.times_best
        found |= {"times_best": ratio.value, "times_best_low": ratio.low, "times_best_high": ratio.high}
        found["place"] = "fastest" if ratio.value == ratio.low == ratio.high == 1 else "tied" if standing.tied else ""
    return found
