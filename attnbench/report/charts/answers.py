"""Who wins: the share of cases near the fastest, the map of winners, and exponents beside the formula's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attnbench.analysis.growth import Growth
from attnbench.analysis.maps import WinnerMap
from attnbench.analysis.ranking import Certainty, Contest, Standing
from attnbench.report.charts.chart import POINTS, ROWS, Chart, Palette, Spec, band_height, layered, points_mark, told
from attnbench.report.layout import enumerate_names
from attnbench.report.numbers import ratio_of_times, rounded

_TIE = "tie"
_FURTHEST = 10
"""The right end of the profile: how much slower than that matters little."""
_NEAREST = 1.5
"""The right end of a profile of backends that are all near."""
_MOST_STEPS = 60
"""Cases whose points can be told apart."""


def profile(rows: Sequence[dict[str, Any]], palette: Palette) -> Chart | None:
    """The share of cases in which a backend is at most p times as slow as the fastest (Dolan and Moré 2002, section 2).

    Cases with one measured backend are left out; what a backend failed to compute counts as infinitely slow.

    Args:
        rows: As ``chart_rows`` gives them.
        palette: The backends.
    """
    contested = tuple(number for number, row in enumerate(rows) if row["contested"])
    if not contested:
        return None
    end = min(_FURTHEST, max(_NEAREST, *(1.1 * (rows[number]["times_best"] or 1) for number in contested)))
    ticks = [tick for tick in (1, 1.1, 1.25, 1.5, 2, 3, 5, 10) if tick <= end]
    x = {
        "field": "times_best",
        "type": "quantitative",
        "scale": {"type": "log", "domain": [1, end], "clamp": True, "nice": False},
        "axis": {"title": "p: times the latency of the fastest", "values": ticks},
    }
    y = {
        "field": "share",
        "type": "quantitative",
        "scale": {"domain": [0, 1]},
        "axis": {"title": "share of cases", "format": ".0%"},
    }
    tooltip = (
        told("backend", "backend"), told("times_best", "p", ".3g"), told("share", "share of cases", ".0%"),
        told("case", "case"),
    )  # fmt: skip
    line = {
        "data": {"name": ROWS},
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
        "encoding": {"x": x, "y": y, "color": palette.color},
    }
    point = points_mark(palette, x=x, y=y, tooltip=tooltip)
    if len({rows[number]["case"] for number in contested}) > _MOST_STEPS:
        point["mark"] = {**point["mark"], "size": 8}
    marks = [{**mark, "transform": _SHARES} for mark in (line, point)]
    # From the axis up to its first case, and from its last one on: what it failed to compute is missing for good.
    for ends in (
        {"x": {**x, "field": "first"}, "y2": {"datum": 0}},
        {"x": {**x, "field": "last"}, "x2": {"datum": end}},
    ):
        y_end = {**y, "field": "least" if "y2" in ends else "most"}
        encoding = {**ends, "y": y_end, "color": palette.color}
        rule = {"data": {"name": ROWS}, "mark": {"type": "rule", "strokeWidth": 2}, "encoding": encoding}
        marks.append({**rule, "transform": [*_SHARES, _ENDS]})
    return Chart(
        title="Share of cases within p of the fastest",
        summary="for every backend, the share of cases in which it is at most p times as slow as the fastest",
        spec=layered(marks),
        rows=contested,
    )


_SHARES: list[Spec] = [
    {"joinaggregate": [{"op": "count", "as": "took_part"}], "groupby": ["backend"]},
    {"filter": "isValid(datum.times_best)"},
    {"window": [{"op": "row_number", "as": "nearer"}], "sort": [{"field": "times_best"}], "groupby": ["backend"]},
    {"calculate": "datum.nearer / datum.took_part", "as": "share"},
]
_ENDS: Spec = {
    "aggregate": [
        {"op": "min", "field": "times_best", "as": "first"},
        {"op": "max", "field": "times_best", "as": "last"},
        {"op": "min", "field": "share", "as": "least"},
        {"op": "max", "field": "share", "as": "most"},
    ],
    "groupby": ["backend"],
}


def maps(found: Sequence[WinnerMap], palette: Palette) -> list[Chart]:
    """Maps of winners as charts."""
    return [_map(one, palette) for one in found]


def _map(found: WinnerMap, palette: Palette) -> Chart:
    points = tuple(_place(across, down, contest) for across, down, contest in found.places)
    across, down = (list(dict.fromkeys(values)) for values in found.values)
    x = {"field": "across", "type": "nominal", "sort": across, "axis": {"title": str(found.across), "labelAngle": 0}}
    y = {"field": "down", "type": "nominal", "sort": down, "axis": {"title": str(found.down)}}
    tooltip = [told("across", str(found.across)), told("down", str(found.down)), told("told", "fastest")]
    rect = {
        "data": {"name": POINTS},
        "mark": {"type": "rect", "opacity": 0.3, "stroke": palette.theme.ink, "strokeWidth": 0.5},
        "encoding": {"x": x, "y": y, "color": _winner_color(palette), "tooltip": tooltip},
    }
    room = {"expr": f"width / {max(1, len(across))} - 4"}
    texts = [
        {
            "data": {"name": POINTS},
            "mark": {"type": "text", "dy": dy, "fontSize": size, "color": palette.theme.ink, "limit": room},
            "encoding": {"x": x, "y": y, "text": {"field": name}},
        }
        for name, dy, size in (("winner", -7, 11), ("lead", 7, 10))
    ]
    title = found.title or f"{found.across} and {found.down}"
    return Chart(
        title=title,
        summary=f"the fastest backend over {found.across} and {found.down}; {found.title}",
        spec=layered([rect, *texts], height=band_height(len(down), 44)),
        points=points,
    )


def _winner_color(palette: Palette) -> Spec:
    color = palette.color
    scale = color["scale"]
    domain, colors = [*scale["domain"], _TIE, ""], [*scale["range"], palette.theme.faint, palette.theme.grid]
    return {**color, "field": "hue", "scale": {"domain": domain, "range": colors}, "legend": None}


def _place(across: str, down: str, contest: Contest) -> dict[str, Any]:
    winners = [standing.backend for standing in contest.winners]
    tie = contest.certainty is Certainty.TIE
    place: dict[str, Any] = {"across": across, "down": down, "hue": _TIE if tie else winners[0] if winners else ""}
    place["told"] = f"{enumerate_names(winners)}{' (tie)' if tie else ''}" if winners else "none measured"
    place["winner"] = winners[0] if winners else "none measured"
    beside = contest.winners[1] if tie else contest.next
    place["lead"] = "" if beside is None else f"{'tie' if tie else 'next'}: {beside.backend} {_times(beside)}"
    return place


def _times(standing: Standing) -> str:
    return f"{rounded(standing.times_best.value, None)}x"


def exponents(found: Sequence[Growth], palette: Palette) -> dict[str, list[Chart]]:
    """By axis a chart per series, with the predicted exponent as a line."""
    by_series: dict[int, list[Growth]] = {}
    for growth in found:
        by_series.setdefault(id(growth.series), []).append(growth)
    charts: dict[str, list[Chart]] = {}
    for group in by_series.values():
        charts.setdefault(str(group[0].series.axis), []).append(_exponents(group, palette))
    return charts


def _exponents(found: Sequence[Growth], palette: Palette) -> Chart:
    along, predicted = found[0].series, found[0].predicted
    points = tuple(
        {
            "backend": growth.backend,
            "exponent": growth.exponent.value,
            "low": growth.exponent.low,
            "high": growth.exponent.high,
            "sizes": f"{growth.smallest} to {growth.largest}",
        }
        for growth in found
    )
    y = {"field": "backend", "type": "nominal", "sort": None, "axis": {"title": None}}
    shown = {"type": "quantitative", "scale": {"zero": False, "padding": 12, "nice": False}}
    x = {
        "field": "exponent",
        **shown,
        "axis": {"title": f"exponent in {along.axis.measure}", "tickCount": 5},
    }
    tooltip = [
        told("backend", "backend"), told("exponent", "exponent", ".2f"), told("low", "95 % from", ".2f"),
        told("high", "to", ".2f"), told("sizes", "sizes"),
    ]  # fmt: skip
    rule = {
        "data": {"name": POINTS},
        "mark": {"type": "rule"},
        "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y, "color": palette.color},
    }
    line = {
        "data": {"values": [{"predicted": predicted}]},
        "mark": {"type": "rule", "strokeDash": [5, 4], "color": "gray"},
        "encoding": {"x": {**x, "field": "predicted"}},
    }
    marks = [rule, points_mark(palette, x=x, y=y, tooltip=tooltip, data=POINTS)]
    told_of = f"predicted {predicted:g}" if predicted is not None else "no prediction: a layer has projections, too"
    title = f"{along.title or along.axis} ({told_of})"
    texts = ", ".join(f"{growth.backend} {exponent_text(growth)}" for growth in found)
    return Chart(
        title=title,
        summary=f"exponents of latency in {along.axis.measure}: {texts}; {told_of}",
        spec=layered(marks if predicted is None else [line, *marks], height=band_height(len(points))),
        points=points,
    )


def exponent_text(growth: Growth) -> str:
    """An exponent with its interval in words."""
    exponent = growth.exponent
    if exponent.low is None or exponent.high is None:
        return f"{exponent.value:.2f}"
    return f"{exponent.value:.2f} ({exponent.low:.2f} to {exponent.high:.2f})"


def lead_text(contest: Contest) -> str:
    """By how much the fastest leads the first that is surely slower, with the interval."""
    following = contest.next
    return "" if following is None else ratio_of_times(following.times_best, following.backend)
