"""Charts outside of the page: on a terminal, and in files for papers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnbench.analysis.growth import predicted_exponent
from attnbench.analysis.ranking import contests
from attnbench.analysis.sweeps import Axis, Series, sweep
from attnbench.core.errors import UsageError
from attnbench.report.charts.chart import PAPER, POINTS, ROWS, Chart, Palette, Spec, config
from attnbench.report.charts.rows import chart_rows
from attnbench.report.charts.sizes import LATENCY, MEMORY, THROUGHPUT, Metric, charts
from attnbench.report.page.embedding import visible
from attnbench.results.rows import Row, is_ok, missing
from attnbench.results.store import StoredRun

FORMATS = (".png", ".svg", ".pdf")
METRICS: Mapping[str, Metric] = {"latency": LATENCY, "throughput": THROUGHPUT, "memory": MEMORY}
_CASE = "case"
_COLUMNS = 2
_WIDTH, _SCALE = 380, 2.0
_MARKERS = ("dot", "sd", "braille", "hd", "x", "+", "o", "*")


def swept_along(run: StoredRun, x: str | None) -> tuple[Sequence[Row], Mapping[Axis, Sequence[Series]]]:
    """The rows of a run, and its series along the field that is asked for; by case there are none.

    Args:
        run: What to draw.
        x: A field of the sweep, or ``case``; by default the field with the most values, where the run sweeps any.

    Raises:
        UsageError: Nothing was measured, or the run does not sweep that field.
    """
    rows = run.rows
    if not any(map(is_ok, rows)):
        raise UsageError(f"{run.path} has no measured cell, so there is nothing to draw")
    swept = sweep(rows)
    asked = x or next(iter(swept), _CASE)
    if asked == _CASE:
        return rows, {}
    if asked not in swept:
        raise UsageError(f"--x {asked}: this run does not sweep it (allowed: {', '.join([*swept, _CASE])})")
    axis = Axis(asked)
    return rows, {axis: swept[axis]}


def write_plot(run: StoredRun, *, x: str | None, metric: str, suffix: str) -> bytes:
    """A picture of a run, a plot for every combination of the other fields.

    Args:
        run: What to draw.
        x: As ``swept_along`` takes it.
        metric: One of ``METRICS``.
        suffix: One of ``FORMATS``.

    Raises:
        UsageError: There is nothing to draw.
    """
    import vl_convert

    rows, swept = swept_along(run, x)
    palette = Palette(
        backends=tuple(visible(name) for name in dict.fromkeys(row["backend"] for row in rows if is_ok(row))),
        theme=PAPER,
    )
    (drawn,) = charts(rows, swept, METRICS[metric], palette).values()
    spec = figure(drawn, chart_rows(rows, contests(rows)))
    if suffix == ".svg":
        return str(vl_convert.vegalite_to_svg(spec)).encode()
    if suffix == ".pdf":
        return bytes(vl_convert.vegalite_to_pdf(spec))
    return bytes(vl_convert.vegalite_to_png(spec, scale=_SCALE))


def figure(drawn: Sequence[Chart], rows: Sequence[dict[str, Any]]) -> Spec:
    """Charts side by side as one Vega-Lite specification that holds its data.

    Args:
        drawn: The charts.
        rows: As ``chart_rows`` gives them.
    """
    datasets: dict[str, list[Any]] = {}
    plots = []
    for number, chart in enumerate(drawn):
        names = {ROWS: f"{ROWS}-{number}", POINTS: f"{POINTS}-{number}"}
        datasets[names[ROWS]] = [_visible(rows[index]) for index in chart.rows]
        datasets[names[POINTS]] = list(chart.points)
        plots.append({**_renamed(chart.spec, names), "title": visible(chart.title), "width": _WIDTH})
    return {"concat": plots, "columns": _COLUMNS, "datasets": datasets, "config": config(PAPER)}


def _renamed(spec: Any, names: Mapping[str, str]) -> Any:
    """A specification whose data sets have other names."""
    if isinstance(spec, dict):
        return {
            key: {"name": names[value["name"]]} if key == "data" and "name" in value else _renamed(value, names)
            for key, value in spec.items()
        }
    return [_renamed(one, names) for one in spec] if isinstance(spec, list) else spec


def _visible(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: visible(value) if isinstance(value, str) else value for name, value in row.items()}


def terminal_plots(run: StoredRun, *, x: str | None, metric: str, width: int, height: int, color: bool) -> str:
    """The same as text, a plot below the other.

    Raises:
        UsageError: There is nothing to draw.
    """
    import plotext

    rows, swept = swept_along(run, x)
    chosen = METRICS[metric]
    records = {id(row): record for row, record in zip(rows, chart_rows(rows, contests(rows)), strict=True)}
    texts = []
    for along in next(iter(swept.values()), ()):
        plotext.clear_figure()
        plotext.plot_size(width, height)
        _draw(plotext, along, [records[id(row)] for row in along.rows if is_ok(row)], chosen)
        plotext.title(visible(f"{chosen.title}: {along.title}" if along.title else chosen.title))
        texts.append(plotext.build())
    if not swept:
        texts = [_bars(plotext, case, found, chosen, width) for case, found in _cases(records.values()).items()]
    text = "\n\n".join(texts) + "\n"
    return text if color else str(plotext.uncolorize(text))


def _draw(plotext: Any, along: Series, records: Sequence[Mapping[str, Any]], metric: Metric) -> None:
    ticks = along.ticks
    places = {text: float(number) for number, (_, text) in enumerate(ticks)}
    for size, text in ticks if along.axis.numeric else ():
        places[text] = math.log(size)
    for number, backend in enumerate(dict.fromkeys(record["backend"] for record in records)):
        found = [one for one in records if one["backend"] == backend and not missing(one[metric.column])]
        xs = [places[along.axis.text(one)] for one in found]
        ys = [one[metric.column] for one in found]
        marker = _MARKERS[number % len(_MARKERS)]
        draw = plotext.plot if along.axis.numeric else plotext.scatter
        draw(xs, ys, marker=marker, label=visible(backend))
    plotext.yscale("log")
    plotext.xticks(list(places.values()), list(places))
    exponent = predicted_exponent(along) if metric.grows else None
    predicted = f"; predicted slope {exponent:g}" if exponent is not None else ""
    plotext.xlabel(f"{along.axis.measure} (log){predicted}" if along.axis.numeric else str(along.axis))


def _cases(records: Any) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if record["status"] == "ok":
            found.setdefault(record["case"], []).append(record)
    return found


def _bars(plotext: Any, case: str, records: Sequence[Mapping[str, Any]], metric: Metric, width: int) -> str:
    known = sorted((one for one in records if not missing(one[metric.column])), key=lambda one: one[metric.column])
    plotext.clear_figure()
    plotext.simple_bar(
        [visible(one["backend"]) for one in known],
        [one[metric.column] for one in known],
        width=width,
        title=visible(f"{case}: {metric.title}"),
    )
    return str(plotext.build())


def check_format(output: Path) -> str:
    """The suffix of a picture's file.

    Raises:
        UsageError: Nothing is drawn in that format.
    """
    suffix = output.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"--output {output}: not a picture's name (allowed: it ends in {', '.join(FORMATS)})")
    return suffix
