"""A chart as data, and what all charts share: colors, shapes, axes, tooltips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from attnbench.core.shipped_backends import SHIPPED

Spec = dict[str, Any]
"""Vega-Lite, without data."""
ROWS, POINTS = "rows", "points"
"""The two data sets of a chart: rows of the run's table, and what was computed from them."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
_TALL = 260


@dataclass(frozen=True, kw_only=True)
class Theme:
    """The colors of charts."""

    ink: str
    faint: str
    grid: str
    background: str
    series: tuple[str, ...]
    """Colors of backends; used again from the start where there are more backends."""


PAGE = Theme(
    ink="var(--ink)",
    faint="var(--faint)",
    grid="var(--grid)",
    background="transparent",
    series=tuple(f"var(--series-{number})" for number in range(12)),
)
"""Names of the page's own colors, so that charts follow light, dark and print."""
PAPER = Theme(
    ink="#1c1917",
    faint="#78716c",
    grid="#e7e5e4",
    background="white",
    series=(
        "#1d6fb8", "#d9580b", "#0f8a5f", "#b83280", "#6b46c1", "#a16207", "#0e7490", "#be123c", "#4d7c0f", "#57534e",
        "#1e3a8a", "#86198f",
    ),
)  # fmt: skip
"""For files."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart."""

    title: str
    """What it is of; text from suites, to be escaped by whoever writes HTML."""
    summary: str
    """What is drawn, in one sentence, for those who do not see it."""
    spec: Spec
    """Vega-Lite whose data sets are named ``rows`` and ``points``."""
    rows: tuple[int, ...] = ()
    """Numbers of the table's rows that it draws."""
    points: tuple[dict[str, Any], ...] = field(default=())
    """What else it draws; an entry named like a filter is filtered by it."""


def config(theme: Theme) -> Spec:
    """The looks of a chart."""
    quiet = {"labelColor": theme.ink, "titleColor": theme.ink, "titleFontWeight": "normal"}
    return {
        "background": theme.background,
        "font": "system-ui, sans-serif",
        "axis": {
            **quiet,
            "gridColor": theme.grid,
            "domainColor": theme.faint,
            "tickColor": theme.faint,
            "labelOverlap": "greedy",
            "labelSeparation": 5,
            "labelLimit": 150,
            "labelFontSize": 11,
            "titleFontSize": 11,
        },
        "legend": {**quiet, "labelLimit": 200},
        "title": {"color": theme.ink, "fontSize": 12, "anchor": "start", "fontWeight": "bold"},
        "view": {"stroke": theme.grid},
        "text": {"color": theme.ink},
        "rule": {"color": theme.faint},
    }


@dataclass(frozen=True, kw_only=True)
class Palette:
    """How the backends of a page are told apart: by color and by shape."""

    backends: tuple[str, ...]
    theme: Theme = PAGE

    @property
    def places(self) -> tuple[int, ...]:
        """The place of every backend among colors and shapes: those that come with attnbench always have the same."""
        return tuple(
            map([*SHIPPED, *(backend for backend in self.backends if backend not in SHIPPED)].index, self.backends)
        )

    @property
    def color(self) -> Spec:
        """The encoding of a mark's color."""
        colors = [self.theme.series[place % len(self.theme.series)] for place in self.places]
        scale = {"domain": list(self.backends), "range": colors}
        return {"field": "backend", "type": "nominal", "scale": scale, "title": None}

    @property
    def shape(self) -> Spec:
        """The encoding of a point's shape."""
        shapes = [SHAPES[place % len(SHAPES)] for place in self.places]
        scale = {"domain": list(self.backends), "range": shapes}
        return {"field": "backend", "type": "nominal", "scale": scale, "title": None}


def points_mark(palette: Palette, *, x: Spec, y: Spec, tooltip: Sequence[Spec], data: str = ROWS) -> Spec:
    """A layer of points, one shape and color a backend."""
    return {
        "data": {"name": data},
        "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
        "encoding": {"x": x, "y": y, "color": palette.color, "shape": palette.shape, "tooltip": list(tooltip)},
    }


def band_height(bands: int, each: int = 22) -> int:
    """Pixels of a plot with so many lines or bands below each other."""
    return each * bands + 4


def layered(layers: Sequence[Spec], *, height: int = _TALL) -> Spec:
    """Layers in one plot as wide as there is room."""
    return {"width": "container", "height": height, "layer": list(layers)}


def log_scale(title: str, **axis: Any) -> Spec:
    """A quantity on a log scale; its axis with a title."""
    scale = {"type": "log", "nice": False, "padding": 14}
    return {"type": "quantitative", "scale": scale, "axis": {"title": title, **axis}}


def told(name: str, title: str, spelled: str = "") -> Spec:
    """A line of a tooltip."""
    kind = {"type": "quantitative", "format": spelled} if spelled else {"type": "nominal"}
    return {"field": name, "title": title, **kind}
