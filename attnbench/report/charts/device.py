"""Every cell under the ceilings that were measured in its run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from attnbench.analysis.roofline import Roof
from attnbench.report.charts.chart import POINTS, Chart, Palette, layered, log_scale, points_mark, told

_BEYOND = 2.0
"""How far the roof is drawn beyond the cells."""


def rooflines(rows: Sequence[dict[str, Any]], roofs: dict[str, Roof], palette: Palette) -> list[Chart]:
    """A roofline for every dtype with ceilings (Williams et al. 2009, section 3).

    Cells whose fraction of the roof is not known are left out: there the ceilings do not hold.

    Args:
        rows: As ``chart_rows`` gives them.
        roofs: By dtype.
        palette: The backends.
    """
    found = []
    for dtype, roof in roofs.items():
        numbers = tuple(
            number for number, row in enumerate(rows) if row["dtype"] == dtype and row["roofline_fraction"] is not None
        )
        if numbers:
            found.append(_roofline([rows[number]["intensity"] for number in numbers], numbers, roof, palette))
    return found


def _roofline(intensities: Sequence[float], numbers: tuple[int, ...], roof: Roof, palette: Palette) -> Chart:
    ends = (min(*intensities, roof.ridge) / _BEYOND, max(*intensities, roof.ridge) * _BEYOND)
    points = tuple(
        {"intensity": intensity, "gflops": roof.flops_per_s(intensity) / 1e9}
        for intensity in (ends[0], roof.ridge, ends[1])
    )
    x = {"field": "intensity", **log_scale("FLOPs per byte that the problem asks for")}
    y = {"field": "gflops", **log_scale("GFLOP/s")}
    tooltip = (
        told("backend", "backend"), told("case", "case"), told("gflops", "GFLOP/s", ".4g"),
        told("intensity", "FLOPs per byte", ".3g"), told("roofline_fraction", "of the roof", ".0%"),
        told("flags", "flags"),
    )  # fmt: skip
    line = {
        "data": {"name": POINTS},
        "mark": {"type": "line", "color": palette.theme.ink, "strokeWidth": 1.5},
        "encoding": {"x": x, "y": y},
    }
    rates = rates_text(roof)
    return Chart(
        title=f"{roof.dtype}: {rates}",
        summary=f"{len(numbers)} cells of {roof.dtype} under the roof of this device: {rates}",
        spec=layered([line, points_mark(palette, x=x, y=y, tooltip=tooltip)]),
        rows=numbers,
        points=points,
    )


def rates_text(roof: Roof) -> str:
    """The two ceilings in words."""
    ceilings = roof.ceilings
    return f"copy {_spelled(ceilings.bytes_per_s)}B/s, matrix product {_spelled(ceilings.flops_per_s)}FLOP/s"


def _spelled(rate: float) -> str:
    power = min(4, int(math.log10(rate) // 3))
    return f"{rate / 1000**power:.3g} {('', 'k', 'M', 'G', 'T')[power]}"
