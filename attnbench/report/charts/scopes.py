"""Where the time goes: bars of the parts of a call."""

from __future__ import annotations

from collections.abc import Sequence

from attnbench.analysis.scopes import Parts
from attnbench.report.charts.chart import POINTS, Chart, Palette, Spec, band_height, layered, told


def breakdowns(found: Sequence[Parts], palette: Palette) -> list[Chart]:
    """A chart for every problem, a bar for every backend."""
    by_problem: dict[str, list[Parts]] = {}
    for parts in found:
        by_problem.setdefault(parts.title, []).append(parts)
    return [_breakdown(title, group, palette) for title, group in by_problem.items()]


def _breakdown(title: str, found: Sequence[Parts], palette: Palette) -> Chart:
    points = tuple(
        {"backend": parts.backend, "part": part, "latency_ms": latency_ms, "place": place}
        for parts in found
        for place, (part, latency_ms) in enumerate(parts.latencies_ms)
    )
    names = list(dict.fromkeys(point["part"] for point in points))
    theme = palette.theme
    shades = {"domain": names, "range": [theme.ink, theme.faint, theme.grid][: len(names)]}
    bar: Spec = {
        "data": {"name": POINTS},
        "mark": {"type": "bar", "stroke": theme.ink, "strokeWidth": 0.5},
        "encoding": {
            "x": {"field": "latency_ms", "type": "quantitative", "axis": {"title": "latency, ms"}},
            "y": {"field": "backend", "type": "nominal", "sort": None, "axis": {"title": None}},
            "color": {
                "field": "part",
                "type": "nominal",
                "sort": names,
                "scale": shades,
                "legend": {"title": None, "orient": "bottom", "symbolType": "square", "symbolStrokeColor": theme.ink},
            },
            "order": {"field": "place", "type": "quantitative"},
            "tooltip": [told("backend", "backend"), told("part", "part"), told("latency_ms", "ms", ".3g")],
        },
    }
    told_of = "; ".join(
        f"{parts.backend} " + ", ".join(f"{part} {latency_ms:.3g} ms" for part, latency_ms in parts.latencies_ms)
        for parts in found
    )
    return Chart(
        title=title or "all cells",
        summary=f"parts of a call: {told_of}",
        spec=layered([bar], height=band_height(len(found))),
        points=points,
    )
