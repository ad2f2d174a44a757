"""A quantity against a field of the sweep, or case by case where nothing is swept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from attnbench.analysis.growth import predicted_exponent
from attnbench.analysis.sweeps import Axis, Series
from attnbench.report.charts.chart import (
    POINTS,
    ROWS,
    Chart,
    Palette,
    Spec,
    band_height,
    layered,
    log_scale,
    points_mark,
    told,
)
from attnbench.results.rows import Row, is_ok

_SIZE_COLUMN = {Axis.RESOLUTION: "map_tokens", Axis.WINDOW: "window_tokens"}
TOLD = (
    told("backend", "backend"),
    told("case", "case"),
    told("latency_ms", "latency ms", ".4g"),
    told("latency_low_ms", "95 % from", ".3g"),
    told("latency_high_ms", "to", ".3g"),
    told("times_best", "times the fastest", ".3g"),
    told("computed", "pattern"),
    told("flags", "flags"),
    told("kernel", "kernel"),
)
"""What a point says of its row."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A quantity to draw."""

    column: str
    title: str
    grows: bool = False
    """Whether the formula's growth is drawn beside it."""
    interval: tuple[str, str] | None = None
    """The columns of its ends."""
    spelled: str = ""
    """The format of its axis, by d3; its own where empty."""

    @property
    def scale(self) -> Spec:
        """A log scale with its axis."""
        return log_scale(self.title, **({"format": self.spelled} if self.spelled else {}))


LATENCY = Metric(column="latency_ms", title="latency, ms", grows=True, interval=("shown_low_ms", "shown_high_ms"))
THROUGHPUT = Metric(column="tokens_per_s", title="tokens of maps per second", spelled="~s")
MEMORY = Metric(column="peak_mib", title="peak memory of a call, MiB")


def charts(
    rows: Sequence[Row], swept: Mapping[Axis, Sequence[Series]], metric: Metric, palette: Palette
) -> dict[str, list[Chart]]:
    """Charts of a metric by the axis they have: one per series; by ``case`` where a run sweeps nothing."""
    numbers = {id(row): number for number, row in enumerate(rows)}
    by_axis = {str(axis): [_along(one, metric, palette, numbers) for one in along] for axis, along in swept.items()}
    return by_axis or {"case": by_case(rows, metric, palette)}


def by_case(rows: Sequence[Row], metric: Metric, palette: Palette) -> list[Chart]:
    """A chart per case: a line for every backend, fastest on top."""
    cases: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        if is_ok(row):
            cases.setdefault(row["case"], []).append(number)
    order = {"op": "min", "field": metric.column, "order": "ascending"}
    y = {"field": "backend", "type": "nominal", "sort": order, "axis": {"title": None}}
    x = {"field": metric.column, **metric.scale}
    found = []
    for case, numbers in cases.items():
        layers = [*_intervals(metric, palette, along="x", other=y), points_mark(palette, x=x, y=y, tooltip=TOLD)]
        found.append(
            Chart(
                title=case,
                summary=f"{metric.title} of {len(numbers)} backends in the case {case}",
                spec=layered(layers, height=band_height(len(numbers))),
                rows=tuple(numbers),
            )
        )
    return found


def _along(along: Series, metric: Metric, palette: Palette, numbers: dict[int, int]) -> Chart:
    exponent = predicted_exponent(along) if metric.grows and along.axis.numeric else None
    return Chart(
        title=along.title or f"against {along.axis.measure}",
        summary=f"{metric.title} of {len(along.backends)} backends against {along.axis.measure}; {along.title}",
        spec=_spec(along.axis, along.ticks, metric, palette, predicted=exponent is not None),
        rows=tuple(numbers[id(row)] for row in along.rows if is_ok(row)),
        points=() if exponent is None else _prediction(along, exponent),
    )


@lru_cache(maxsize=256)
def _spec(
    axis: Axis, ticks: tuple[tuple[float, str], ...], metric: Metric, palette: Palette, *, predicted: bool
) -> Spec:
    """The specification of a chart: one object for all charts that look alike, so that a page holds it once."""
    x = _axis(axis, ticks)
    y = {"field": metric.column, **metric.scale}
    line: Spec = {
        "data": {"name": ROWS},
        "mark": {"type": "line", "strokeWidth": 1.5},
        "encoding": {"x": x, "y": y, "color": palette.color},
    }
    marks = [*_intervals(metric, palette, along="y", other=x), line, points_mark(palette, x=x, y=y, tooltip=TOLD)]
    return layered([*_predicted(x, metric), *marks] if predicted else marks)


def _axis(axis: Axis, ticks: Sequence[tuple[float, str]]) -> Spec:
    if not axis.numeric:
        values = [text for _, text in ticks]
        return {"field": str(axis), "type": "nominal", "sort": values, "axis": {"title": None, "labelAngle": 0}}
    texts: dict[str, str] = {}
    for size, text in ticks:  # 7x14 and 14x7 share a place
        texts[str(int(size))] = ", ".join(filter(None, (texts.get(str(int(size))), text)))
    # The texts are sizes such as 56x56, numbers of the table: nothing that somebody wrote becomes an expression.
    labels = {
        "values": list(dict.fromkeys(size for size, _ in ticks)),
        "labelExpr": f"{json.dumps(texts)}[datum.value]",
    }
    return {"field": _SIZE_COLUMN.get(axis, str(axis)), **log_scale(axis.measure, **labels)}


def _intervals(metric: Metric, palette: Palette, *, along: str, other: Spec) -> list[Spec]:
    if metric.interval is None:
        return []
    low, high = metric.interval
    ends = {along: {"field": low, "type": "quantitative"}, f"{along}2": {"field": high}}
    encoding = {**ends, "y" if along == "x" else "x": other, "color": palette.color}
    return [{"data": {"name": ROWS}, "mark": {"type": "rule", "opacity": 0.6}, "encoding": encoding}]


def _prediction(along: Series, exponent: float) -> tuple[dict[str, Any], ...]:
    """The formula's growth through the fastest latency of the largest size, where fixed costs weigh least."""
    measured = [row for row in along.rows if is_ok(row)]
    largest = max(along.axis.size(row) for row in measured)
    fastest = min(row["latency_ms"] for row in measured if along.axis.size(row) == largest)
    sizes = sorted({along.axis.size(row) for row in measured})
    return tuple(
        {"size": size, "predicted_ms": fastest * (size / largest) ** exponent, "exponent": exponent} for size in sizes
    )


def _predicted(x: Spec, metric: Metric) -> list[Spec]:
    x = {**x, "field": "size"}
    y = {"field": "predicted_ms", "type": "quantitative", "axis": {"title": metric.title}}
    text = {"value": "k1 k2 H W d"}
    return [
        {
            "data": {"name": POINTS},
            "mark": {"type": "line", "strokeDash": [5, 4], "color": "gray", "strokeWidth": 1.5},
            "encoding": {"x": x, "y": y},
        },
        {
            "data": {"name": POINTS},
            "transform": [{"window": [{"op": "row_number", "as": "place"}]}, {"filter": "datum.place === 1"}],
            "mark": {"type": "text", "align": "left", "baseline": "top", "dx": 6, "dy": 4, "color": "gray"},
            "encoding": {"x": x, "y": y, "text": text},
        },
    ]
