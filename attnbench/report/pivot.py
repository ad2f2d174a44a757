"""A sweep over two of its fields: one table per backend and combination of the other fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from attnbench.analysis.ranking import by_case, contests
from attnbench.core.errors import UsageError
from attnbench.core.record import Status
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.report.notes import completeness, failures, flagged, other_patterns, ran_math, unavailable_everywhere
from attnbench.report.numbers import relative_error, spelled
from attnbench.report.run_table import heading
from attnbench.results.rows import rows_of
from attnbench.results.store import StoredRun
from attnbench.results.table import COLUMNS, PROBLEM

_SIZES = {"resolution": ("height", "width"), "window": ("window_height", "window_width")}
_CASE = "case of crowded cells"
_FASTEST = ">"
_FIELDS = (
    "case", "backend", "batch", "resolution", "window", "heads", "head_dim", "dtype", "mode", "pattern", "padding",
    "bias", "scope",
)  # fmt: skip
_FROM_LATENCY = ("latency_ms", "images_per_s", "tokens_per_s", "tflops", "gbytes_per_s", "roofline_fraction")
"""Metrics with the relative error of the latency."""
_METRICS = tuple(name for name, kind in COLUMNS.items() if kind != "string" and name not in PROBLEM)


def pivot(run: StoredRun, *, rows: str, columns: str, metric: str) -> Sheet:
    """Lay out a run over two fields.

    Args:
        run: What to show.
        rows: A problem's field, as suites spell it, or ``backend``.
        columns: Another one.
        metric: A numeric column of the table.

    Raises:
        UsageError: There is no such axis or metric.
    """
    for option, axis in (("--rows", rows), ("--columns", columns)):
        if axis not in _FIELDS:
            raise UsageError(f"{option} {axis}: not an axis (allowed: {', '.join(_FIELDS)})")
    if rows == columns:
        raise UsageError(f"--rows and --columns are both {rows}; give two axes")
    if metric not in _METRICS:
        raise UsageError(f"--metric {metric}: not a number of the table (allowed: {', '.join(_METRICS)})")
    absent = unavailable_everywhere(run.rows)
    here = run.table[~run.table["backend"].isin(absent)]
    frame = (run.table if here.empty else here).copy()
    for axis, (height, width) in _SIZES.items():
        frame[axis] = [f"{tall}x{wide}" for tall, wide in zip(frame[height], frame[width], strict=True)]
    varying = [axis for axis in _FIELDS if len(frame[axis].unique()) > 1]
    # Each combination of the other fields is a table; a case has only one, but for the pattern of a backend.
    has_case = "case" in (rows, columns)
    rest = [axis for axis in varying if axis not in (rows, columns, "case") and (not has_case or axis == "backend")]
    frame[_CASE] = _case_of_crowded(frame, [rows, columns, *rest])
    fixed = [axis for axis in _FIELDS if axis not in (rows, columns, *varying)]
    common = {} if frame.empty else {axis: frame[axis].iloc[0] for axis in fixed}
    notes = [f"In every cell: {_spelled(common)}."] if common else []
    marked = _fastest(run) if metric == "latency_ms" and {rows, columns} == {"case", "backend"} else set()
    if marked:
        notes.append(f"{_FASTEST} before a latency: the fastest of its case, or tied with it.")
    groups: Any = frame.groupby([*rest, _CASE], sort=False)
    grids = tuple(
        _grid(cells, rows, columns, metric, marked, dict(zip([*rest, "case"], key, strict=True)))
        for key, cells in groups
        if (cells["status"] == Status.OK).any()
    )
    return Sheet(
        heading=heading(run),
        question=run.question,
        grids=grids,
        notes=(
            *notes,
            *completeness(run),
            *other_patterns(run.table, run.baseline),
            *ran_math(frame),
            *flagged(frame),
            *failures(run.table),
        ),
    )


def _case_of_crowded(frame: pd.DataFrame, keys: list[str]) -> pd.Series[str]:
    """The case of cells that would share a place in a table, else nothing.

    Two cases are one problem for a backend that always computes the same pattern; each gets a table.
    """
    crowded = set(frame.loc[frame.duplicated(keys, keep=False), "backend"])
    return frame["case"].where(frame["backend"].isin(crowded), "")


def _fastest(run: StoredRun) -> set[tuple[str, str]]:
    """Case and backend of every cell that is the fastest of its case, or tied with it."""
    found = by_case(contests(run.rows)).values()
    return {(one.case, winner.backend) for one in found if len(one.standings) > 1 for winner in one.winners}


def _grid(
    cells: pd.DataFrame,
    rows: str,
    columns: str,
    metric: str,
    marked: set[tuple[str, str]],
    fixed: dict[str, Any],
) -> Grid:
    # In the order of the suite, which its author chose.
    row_keys, column_keys = cells[rows].unique(), cells[columns].unique()
    texts = {
        (cell[rows], cell[columns]): (_FASTEST if (cell["case"], cell["backend"]) in marked else "")
        + _text(cell, metric)
        for cell in rows_of(cells)
    }
    first = Column(header=f"{rows} / {columns}", cells=tuple(map(str, row_keys)), numeric=False)
    data = [
        Column(header=str(column), cells=tuple(texts.get((row, column), "") for row in row_keys))
        for column in column_keys
    ]
    named = {name: value for name, value in fixed.items() if value != ""}
    title = f"{metric}: {_spelled(named)}" if named else metric
    return Grid(title=title, columns=(first, *data))


def _text(cell: Mapping[Any, Any], metric: str) -> str:
    if cell["status"] != Status.OK:
        return str(cell["status"])
    return spelled(metric, cell[metric], relative_error(cell) if metric in _FROM_LATENCY else None)


def _spelled(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
