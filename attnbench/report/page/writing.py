"""A page as HTML: template and data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from attnbench.report.charts.chart import PAGE, Chart, Palette, Spec, config
from attnbench.report.page.content import FILTERS, Chapter
from attnbench.report.page.embedding import columns, script_json
from attnbench.report.page.figures import Figures
from attnbench.report.page.shell import Shell, one_file, template
from attnbench.results.table import COLUMNS, DESCRIPTIONS

_SHOWN = (
    ("case", "case"), ("backend", "backend"), ("status", "status"), ("latency_ms", "latency ms"),
    ("latency_low_ms", "95 % from"), ("latency_high_ms", "to"), ("times_best", "times the fastest"),
    ("peak_mib", "peak MiB"), ("roofline_fraction", "of roofline"), ("images_per_s", "images/s"), ("dtype", "dtype"),
    ("mode", "mode"), ("computed", "pattern"), ("scope", "scope"), ("flags", "flags"),
)  # fmt: skip
"""Columns of the table of all cells, and their headings; a row opens on the others."""


def write_page(found: Sequence[Chapter], shell: Shell | None = None) -> str:
    """The page as text.

    Args:
        found: What stands on it.
        shell: Its style and scripts; by default it holds them itself.
    """
    return template("page.html").render(
        chapters=found, shell=shell or one_file(), data=script_json(_data(found)), filters=FILTERS
    )


def _data(found: Sequence[Chapter]) -> dict[str, Any]:
    specs = _Specs()
    return {
        "filters": list(FILTERS),
        "columns": list(COLUMNS),
        "descriptions": DESCRIPTIONS,
        "shown": [list(pair) for pair in _SHOWN],
        "config": config(PAGE),
        "series": len(PAGE.series),
        "chapters": [_chapter(chapter, specs) for chapter in found],
        "specs": specs.found,  # filled by then
    }


class _Specs:
    """Specifications that several charts share, each once."""

    def __init__(self) -> None:
        self.found: list[Spec] = []
        self._numbers: dict[int, int] = {}

    def number(self, spec: Spec) -> int:
        """The place of a specification, which is the same object for charts that look alike."""
        if id(spec) not in self._numbers:
            self._numbers[id(spec)] = len(self.found)
            self.found.append(spec)
        return self._numbers[id(spec)]


def _chapter(chapter: Chapter, specs: _Specs) -> dict[str, Any]:
    return {
        "ident": chapter.ident,
        "backends": list(chapter.backends),
        "places": list(Palette(backends=chapter.backends).places),
        "rows": columns(chapter.rows),
        "count": len(chapter.rows),
        "figures": {figures.ident: _groups(figures, specs) for figures in chapter.figures},
        "rerun": asdict(chapter.rerun) if chapter.rerun else None,
    }


def _groups(figures: Figures, specs: _Specs) -> list[dict[str, Any]]:
    return [
        {"name": name, "charts": [_chart(chart, specs) for chart in charts]}
        for name, charts in figures.groups.items()
        if charts
    ]


def _chart(chart: Chart, specs: _Specs) -> dict[str, Any]:
    return {
        "title": chart.title,
        "summary": chart.summary,
        "spec": specs.number(chart.spec),
        "rows": list(chart.rows),
        "points": columns(chart.points),
        "count": len(chart.points),
    }
