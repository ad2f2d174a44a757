"""Every cell under the ceilings that were measured in its run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from attnbench.analysis.roofline import Roof
from attnbench.report.charts.chart import POINTS, Chart, Palette, layered, log_scale, points_mark, told

_BEYOND = 2.0
"""How far the roof is drawn beyond the cells."""


def rooflines(rows: Sequence[dict[str, Any]], roofs: Mapping[str, Sequence[Roof]], palette: Palette) -> list[Chart]:
    """A roofline for every dtype with ceilings (Williams et al. 2009, section 3).

    Cells whose fraction of the roof is not known are left out: there the ceilings do not hold.

    Args:
        rows: As ``chart_rows`` gives them.
        roofs: By dtype, the lowest and the highest one.
        palette: The backends.
    """
    found = []
    for dtype, ends in roofs.items():
        numbers = tuple(
            number for number, row in enumerate(rows) if row["dtype"] == dtype and row["roofline_fraction"] is not None
        )
        if numbers:
            found.append(_roofline([rows[number]["intensity"] for number in numbers], numbers, ends, palette))
    return found


def _roofline(intensities: list[float], numbers: tuple[int, ...], roofs: Sequence[Roof], palette: Palette) -> Chart:
    shown = [*intensities, *(roof.ridge for roof in roofs)]
    ends = (min(shown) / _BEYOND, max(shown) * _BEYOND)
    points = tuple(
        {"intensity": intensity, "gflops": roof.flops_per_s(intensity) / 1e9, "roof": copy_text(roof)}
        for roof in roofs
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
        "encoding": {"x": x, "y": y, "detail": {"field": "roof"}, "tooltip": [{"field": "roof", "title": "roof"}]},
    }
    rates = rates_text(roofs)
    return Chart(
        title=f"{roofs[0].dtype}: {rates}",
        summary=f"{len(numbers)} cells of {roofs[0].dtype} under the roof of this device: {rates}",
        spec=layered([line, points_mark(palette, x=x, y=y, tooltip=tooltip)]),
        rows=numbers,
        points=points,
    )


def rates_text(roofs: Sequence[Roof]) -> str:
    """The ceilings of a dtype in words."""
    highest = roofs[-1].ceilings
    emulated = " (the dtype is emulated: rate of float32)" if highest.emulated else ""
    product = f"matrix product {_spelled(highest.flops_per_s)}FLOP/s{emulated}"
    return ", ".join([*(copy_text(roof) for roof in roofs), product])


def copy_text(roof: Roof) -> str:
    """The rate of a copy, and how much it moved."""
    size = roof.ceilings.copied_bytes
    return (
        f"copy {'through memory' if size is None else f'of {_spelled(size)}B'} {_spelled(roof.ceilings.bytes_per_s)}B/s"
    )


def _spelled(rate: float) -> str:
    power = min(4, int(math.log10(rate) // 3))
    return f"{rate / 1000**power:.3g} {('', 'k', 'M', 'G', 'T')[power]}"
