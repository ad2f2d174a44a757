"""The page as one HTML file: template, style, script, data and the plotting library, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from attnbench.report.charts.chart import PAGE, Chart, config
from attnbench.report.page.bundle import javascript
from attnbench.report.page.content import FILTERS, Chapter
from attnbench.report.page.embedding import columns, script_json, visible
from attnbench.report.page.figures import Figures
from attnbench.results.table import COLUMNS, DESCRIPTIONS

if TYPE_CHECKING:
    from jinja2 import Template

_SHOWN = (
    ("case", "case"), ("backend", "backend"), ("status", "status"), ("latency_ms", "latency ms"),
    ("latency_low_ms", "95 % from"), ("latency_high_ms", "to"), ("times_best", "times the fastest"),
    ("peak_mib", "peak MiB"), ("roofline_fraction", "of roofline"), ("images_per_s", "images/s"), ("dtype", "dtype"),
    ("mode", "mode"), ("computed", "pattern"), ("scope", "scope"), ("flags", "flags"),
)  # fmt: skip
"""Columns of the table of all cells, and their headings; a row opens on the others."""


def write_page(found: Sequence[Chapter]) -> str:
    """The page as text.

    The content security policy lets only the scripts run that stand here, and nothing be loaded: a name that got
    past every escape would still do nothing.
    """
    place = files("attnbench.report.page")
    library, script = javascript(), (place / "page.js").read_text(encoding="utf-8")
    return _template("page.html").render(
        chapters=found,
        colors=_colors(),
        style=(place / "page.css").read_text(encoding="utf-8"),
        library=library,
        script=script,
        hashes=[_hash(library), _hash(script)],
        data=script_json(_data(found)),
        filters=FILTERS,
    )


@cache
def _template(name: str) -> Template:
    """A template of the page; to compile it takes longer than to fill it in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("attnbench.report", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters["visible"] = visible
    return templates.get_template(name)


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _colors() -> Mapping[str, Sequence[str]]:
    light = (
        "#1d6fb8", "#d9580b", "#0f8a5f", "#b83280", "#6b46c1", "#a16207", "#0e7490", "#be123c", "#4d7c0f", "#57534e",
        "#1e3a8a", "#86198f",
    )  # fmt: skip
    dark = (
        "#63b3ed", "#fb923c", "#34d399", "#f687b3", "#b794f4", "#facc15", "#22d3ee", "#fb7185", "#a3e635", "#a8a29e",
        "#93c5fd", "#e879f9",
    )  # fmt: skip
    return {"light": light, "dark": dark}


def _data(found: Sequence[Chapter]) -> dict[str, Any]:
    return {
        "filters": list(FILTERS),
        "columns": list(COLUMNS),
        "descriptions": DESCRIPTIONS,
        "shown": [list(pair) for pair in _SHOWN],
        "config": config(PAGE),
        "series": len(PAGE.series),
        "chapters": [_chapter(chapter) for chapter in found],
    }


def _chapter(chapter: Chapter) -> dict[str, Any]:
    return {
        "ident": chapter.ident,
        "backends": list(dict.fromkeys(row["backend"] for row in chapter.rows)),
        "rows": columns(chapter.rows),
        "count": len(chapter.rows),
        "figures": {figures.ident: _groups(figures) for figures in chapter.figures},
        "rerun": asdict(chapter.rerun),
    }


def _groups(figures: Figures) -> list[dict[str, Any]]:
    return [
        {"name": name, "charts": [_chart(chart) for chart in charts]}
        for name, charts in figures.groups.items()
        if charts
    ]


def _chart(chart: Chart) -> dict[str, Any]:
    return {
        "title": chart.title,
        "summary": chart.summary,
        "spec": chart.spec,
        "rows": list(chart.rows),
        "points": columns(chart.points),
        "count": len(chart.points),
    }
