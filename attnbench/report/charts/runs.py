"""Several runs: the ratio of every cell, cells over time, machines side by side."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from attnbench.comparison.change_points import change_points
from attnbench.comparison.definitions import CellVerdict, Comparison, Verdict
from attnbench.comparison.history_rule import MARGIN
from attnbench.comparison.levels import NEWEST
from attnbench.report.charts.chart import (
    POINTS,
    Chart,
    Palette,
    Spec,
    band_height,
    layered,
    log_scale,
    points_mark,
    told,
)
from attnbench.report.charts.rows import CUT
from attnbench.results.accepted import Accepted
from attnbench.results.rows import is_ok, latency_of
from attnbench.results.store import StoredRun

_MOST_RATIOS = 40
"""Ratios in the chart; the table below it has them all."""
_CHANGED, _ACCEPTED = "changed", "accepted"
_TELLING = (Verdict.REGRESSED, Verdict.SUSPECT, Verdict.IMPROVED)
_OVERLAP, _SAME = 10, 2
"""Values that two looks at a history share, and how far they may differ about where a level begins."""
_CROWDED = 60
"""Runs whose points and intervals would cover each other."""
_FURTHEST = 5.0
"""Ratios and their intervals are drawn up to this factor from 1."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A run as a history shows it."""

    started_at: str
    torch: str
    commit: str
    latencies: Mapping[str, Mapping[str, tuple[float, ...]]]
    """Of measured cells, by case, then by backend, in milliseconds: the latency, and both ends of its 95 % interval
    where they are known."""


def moment_of(run: StoredRun) -> Moment:
    """A run as a history shows it."""
    latencies: dict[str, dict[str, tuple[float, ...]]] = {}
    for row in filter(is_ok, run.rows):
        latency = latency_of(row)
        known = tuple(value for value in (latency.value, latency.low, latency.high) if value is not None)
        latencies.setdefault(row["case"], {})[row["backend"]] = known
    environment = run.environment
    return Moment(
        started_at=run.started_at,
        torch=str(environment.get("torch", "")),
        commit=str(environment.get("commit") or ""),
        latencies=latencies,
    )


def ratios(comparison: Comparison, palette: Palette) -> Chart | None:
    """The ratio of every cell to earlier runs with its interval, worst first; None where nothing was compared."""
    known = [cell for cell in comparison.cells if cell.ratio is not None]
    shown = sorted(known, key=lambda cell: -_ratio(cell))[:_MOST_RATIOS]
    if not shown:
        return None
    points = tuple(_point(cell) for cell in shown)
    y = {
        "field": "cell",
        "type": "nominal",
        "sort": [point["cell"] for point in points],
        "axis": {"title": None},
    }
    x = {"field": "shown", **log_scale("latency over that of earlier runs")}
    rule = {
        "data": {"name": POINTS},
        "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.6},
        "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y, "color": palette.color},
    }
    one = {
        "data": {"values": [{"one": 1}]},
        "mark": {"type": "rule", "strokeDash": [5, 4]},
        "encoding": {"x": {**x, "field": "one"}},
    }
    tooltip = [
        told("cell", "cell"), told("ratio", "ratio", ".3g"), told("low", "95 % from", ".3g"),
        told("high", "to", ".3g"), told("verdict", "verdict"),
    ]  # fmt: skip
    marks = [one, rule, points_mark(palette, x=x, y=y, tooltip=tooltip, data=POINTS)]
    left_out = f", the first {len(shown)} of {len(known)}" if len(known) > len(shown) else ""
    return Chart(
        title=f"Latency over that of earlier runs, worst first{left_out}",
        summary=f"ratios of {len(shown)} cells to earlier runs, {_ratio(shown[0]):.3g} to {_ratio(shown[-1]):.3g}",
        spec=layered(marks, height=band_height(len(points))),
        points=points,
    )


def _ratio(cell: CellVerdict) -> float:
    assert cell.ratio is not None
    return cell.ratio.value


def _point(cell: CellVerdict) -> dict[str, Any]:
    assert cell.ratio is not None
    low, high = (cell.ratio.value if end is None else end for end in (cell.ratio.low, cell.ratio.high))
    return {
        "backend": cell.backend,
        "cell": f"{cell.case}, {cell.backend}",
        "ratio": cell.ratio.value,
        "shown": _within(cell.ratio.value),
        "low": _within(low),
        "high": _within(high),
        "verdict": str(cell.verdict),
    }


def _within(ratio: float) -> float:
    return min(max(ratio, 1 / _FURTHEST), _FURTHEST)


def history(
    moments: Sequence[Moment], comparison: Comparison | None, accepted: Collection[Accepted], palette: Palette
) -> list[Chart]:
    """Latency over time, a chart per case, the case that changed most first.

    Args:
        moments: The runs of one suite and one machine, oldest first.
        comparison: Of the newest with the others.
        accepted: Changes that are meant to stay.
        palette: The backends.
    """
    verdicts = {(cell.case, cell.backend): cell for cell in comparison.cells} if comparison else {}
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for moment in moments:
        for case, backends in moment.latencies.items():
            for backend, latency in backends.items():
                cells.setdefault((case, backend), []).append(_point_in_time(moment, backend, latency))
    meant = {one.cell: one for one in accepted}
    by_case: dict[str, list[dict[str, Any]]] = {}
    for cell_key, points in cells.items():
        _mark(points, verdicts.get(cell_key), meant.get(cell_key), newest=moments[-1].started_at[:19])
        by_case.setdefault(cell_key[0], []).extend(points)
    moved: dict[str, float] = {}
    for cell in verdicts.values():
        if cell.ratio is not None:
            moved[cell.case] = max(moved.get(cell.case, 0.0), cell.ratio.value)
    ordered = sorted(by_case.items(), key=lambda item: -moved.get(item[0], 0.0))
    return [_over_time(case, points, palette) for case, points in ordered]


def _point_in_time(moment: Moment, backend: str, latency: tuple[float, ...]) -> dict[str, Any]:
    value, low, high = latency if len(latency) > 1 else (*latency, *latency, *latency)
    return {
        "backend": backend,
        "time": moment.started_at[:19],
        "latency_ms": value,
        "low": max(low, value / CUT),
        "high": min(high, value * CUT),
        "torch": moment.torch,
        "commit": moment.commit,
        "mark": "",
        "told": "",
    }


def _mark(moments: Sequence[dict[str, Any]], cell: CellVerdict | None, meant: Accepted | None, *, newest: str) -> None:
    """Mark where a cell changed, what the newest run says of it, and from when on a change is accepted."""
    logs = [math.log(moment["latency_ms"]) for moment in moments]
    for index in _changes(logs):
        moments[index].update(mark=_CHANGED, told="first after a change")
    if cell is not None and cell.verdict in _TELLING and moments[-1]["time"] == newest:
        moments[-1].update(mark=_CHANGED, told=str(cell.verdict))
    since = next((moment for moment in moments if meant is not None and moment["time"] >= meant.since[:19]), None)
    if since is not None and meant is not None:
        since.update(mark=_ACCEPTED, told=f"accepted: {meant.why}")


def _changes(logs: Sequence[float]) -> list[int]:
    """The first value of every level but the first; what judges histories looks no further back than ``NEWEST``."""
    found: list[int] = []
    for end in range(len(logs), 0, -(NEWEST - _OVERLAP)):
        for index in reversed(change_points(logs[:end], margin=MARGIN)):
            if all(abs(index - known) > _SAME for known in found):
                found.append(index)
    return sorted(found)


def _dates(points: Sequence[dict[str, Any]]) -> Spec:
    """How an axis spells times: as finely as they lie apart."""
    known = []
    for point in points:
        with suppress(ValueError):  # a stored run may say anything
            known.append(datetime.fromisoformat(point["time"]))
    days = (max(known) - min(known)).days if known else 0
    finest = next((spelled for most, spelled in ((2, "%d %b %H:%M"), (90, "%d %b")) if days <= most), "%b %Y")
    return {"format": finest, "tickCount": 5}


def _over_time(case: str, points: Sequence[dict[str, Any]], palette: Palette) -> Chart:
    x = {"field": "time", "type": "temporal", "axis": {"title": "measured at (UTC)", **_dates(points)}}
    y = {"field": "latency_ms", **log_scale("latency, ms")}
    ends = {"y": {**y, "field": "low"}, "y2": {"field": "high"}}
    tooltip = [
        told("backend", "backend"), told("latency_ms", "latency ms", ".4g"), told("time", "measured at"),
        told("told", "change"), told("torch", "torch"), told("commit", "commit"),
    ]  # fmt: skip
    rule: Spec = {
        "data": {"name": POINTS},
        "mark": {"type": "rule", "opacity": 0.5},
        "encoding": {"x": x, **ends, "color": palette.color},
    }
    line: Spec = {
        "data": {"name": POINTS},
        "mark": {"type": "line", "strokeWidth": 1.5},
        "encoding": {"x": x, "y": y, "color": palette.color},
    }
    shapes = {"domain": [_CHANGED, _ACCEPTED], "range": ["circle", "square"]}
    ring: Spec = {
        "data": {"name": POINTS},
        "transform": [{"filter": "datum.mark !== ''"}],
        "mark": {"type": "point", "size": 260, "strokeWidth": 2, "color": palette.theme.ink, "filled": False},
        "encoding": {
            "x": x,
            "y": y,
            "tooltip": tooltip,
            "shape": {"field": "mark", "type": "nominal", "scale": shapes, "legend": None},
        },
    }
    point = points_mark(palette, x=x, y=y, tooltip=tooltip, data=POINTS)
    marks = [rule, line, point, ring]
    if len({one["time"] for one in points}) > _CROWDED:
        point["mark"] = {**point["mark"], "size": 10}
        marks = [line, point, ring]
    spec = {**layered(marks), "resolve": {"scale": {"shape": "independent"}}}
    changed = [f"{point['backend']} ({point['told']})" for point in points if point["mark"]]
    return Chart(
        title=case,
        summary=f"latency over time in the case {case}; changes: {', '.join(changed) or 'none'}",
        spec=spec,
        points=tuple(points),
    )


def machines(runs: Mapping[str, Moment], palette: Palette) -> list[Chart]:
    """Machines side by side, a chart per case that several of them measured.

    Args:
        runs: The newest run of every machine, by its name.
        palette: The backends.
    """
    by_case: dict[str, list[dict[str, Any]]] = {}
    for name, moment in runs.items():
        for case, backends in moment.latencies.items():
            for backend, (latency_ms, *_) in backends.items():
                point = {"backend": backend, "machine": name, "latency_ms": latency_ms}
                by_case.setdefault(case, []).append(point)
    y = {"field": "machine", "type": "nominal", "sort": list(runs), "axis": {"title": None}}
    x = {"field": "latency_ms", **log_scale("latency, ms")}
    tooltip = [told("machine", "machine"), told("backend", "backend"), told("latency_ms", "latency ms", ".4g")]
    mark = points_mark(palette, x=x, y=y, tooltip=tooltip, data=POINTS)
    return [
        Chart(
            title=case,
            summary=f"latencies of the case {case} on {len(runs)} machines",
            spec=layered([mark], height=band_height(len(runs), 28)),
            points=tuple(points),
        )
        for case, points in by_case.items()
        if len({point["machine"] for point in points}) > 1
    ]
