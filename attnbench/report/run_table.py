"""A stored run as a sheet: one grid per case, fastest first, failed cells with their reasons below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from attnbench.core.record import Status
from attnbench.core.stats import Estimate, paired_ratio
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.report.notes import notes, pattern_of
from attnbench.report.numbers import NOTHING, interval, known, missing, relative_error, significant, spelled
from attnbench.results.store import StoredRun
from attnbench.results.table import ADDED, PROBLEM, processes_of

Row = Mapping[Any, Any]
"""One row of a run's table, by column."""
_NUMBERS = (
    ("of ceiling", 4, "roofline_fraction", True),
    ("images/s", 6, "images_per_s", True),
    ("J/image", 7, "joules_per_image", False),
    ("GB/s", 8, "gbytes_per_s", True),
    ("max error", 11, "max_error", False),
    ("min ms", 12, "latency_min_ms", False),
    ("samples", 13, "samples", False),
    ("prepare s", 14, "prepare_s", False),
)
"""Columns shown where any cell has a value: header, rank, name, whether they are as uncertain as the latency."""
_MEBIBYTE = 2**20
_UNSURE = "~"


def sheet(run: StoredRun, *, baseline: str | None = None) -> Sheet:
    """Lay out a run.

    Args:
        run: What to show.
        baseline: The backend that speed-ups refer to; by default the suite's.
    """
    baseline = baseline or run.baseline
    frame = run.table
    layout = _Layout.of(run, baseline)
    grids = tuple(_grid(str(case), cells, layout) for case, cells in frame.groupby("case", sort=False))
    unsure = any(text.startswith(_UNSURE) for grid in grids for column in grid.columns for text in column.cells)
    legend = [f"{_UNSURE} before a speed-up: its 95 % interval, paired by process, holds 1x."] if unsure else []
    said = (*legend, *notes(run, baseline=baseline))
    return Sheet(heading=heading(run), question=run.question, grids=grids, notes=said)


def heading(run: StoredRun) -> str:
    """The suite, the machine and the settings all cells share."""
    environment = run.environment
    suites = [name for name in (*run.table["suite"].unique(), run.suite.get("name"), run.path.name) if name]
    parts = [str(suites[0])]
    if environment:
        parts += [
            environment["device_name"],
            environment["device"],
            f"{environment['threads']} CPU thread{'s' if environment['threads'] != 1 else ''}",
            f"torch {environment['torch']}",
            f"{environment['cache']} cache",
            environment["started_at"][:16].replace("T", " ") + " UTC",
        ]
    return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """What all grids of a sheet share."""

    baseline: str | None
    paired: bool
    """Whether the latencies of processes are known."""
    intervals: bool
    flags: bool
    giga: bool
    """Rates in giga for CPUs, in tera for GPUs."""
    numbers: tuple[tuple[str, int, str, bool], ...]

    @classmethod
    def of(cls, run: StoredRun, baseline: str | None) -> _Layout:
        frame = run.table
        fastest = frame["tflops"].max()
        return cls(
            baseline=baseline,
            paired=bool((frame["process_latencies_ms"] != "").any()),
            intervals=bool((frame["processes"].fillna(0) > 1).any()),
            flags=bool((frame["flags"] != "").any()),
            giga=not missing(fastest) and float(fastest) < 1,
            numbers=tuple(number for number in _NUMBERS if number[2] not in ADDED or frame[number[2]].notna().any()),
        )

    def speed_up(self, row: Row, reference: Row | None) -> Estimate | None:
        """How many times as fast as the baseline, paired by process where processes are known."""
        if reference is None or reference["backend"] == row["backend"]:
            return None
        plain = Estimate(value=reference["latency_ms"] / row["latency_ms"], low=None, high=None)
        return paired_ratio(processes_of(reference), processes_of(row)) or plain


def _grid(case: str, cells: pd.DataFrame, layout: _Layout) -> Grid:
    ordered = cells.assign(failed=cells["status"] != Status.OK).sort_values(["failed", "latency_ms", "backend"])
    rows = ordered.to_dict("records")
    references = {_function(row): row for row in rows if row["backend"] == layout.baseline and _ok(row)}

    def column(header: str, rank: int, text: Callable[[Row], str], *, numeric: bool = True) -> Column:
        texts = tuple(text(row) if _ok(row) else NOTHING for row in rows)
        return Column(header=header, cells=texts, numeric=numeric, rank=rank)

    def speed_up(row: Row) -> Estimate | None:
        return layout.speed_up(row, references.get(_function(row)))

    def described(name: str) -> Column:
        return Column(header=name, cells=tuple(row[name] for row in rows), numeric=False)

    columns = [described("backend"), Column(header="latency ms", cells=tuple(map(_latency, rows)))]
    if layout.baseline:
        columns.append(column(f"vs {layout.baseline}", 0, lambda row: _times(row, layout.baseline, speed_up(row))))
    if len({row["pattern"] for row in rows}) > 1:
        columns.append(described("pattern"))
    if layout.intervals:
        columns.append(column("95 % interval", 2, lambda row: _interval(_estimate(row))))
        if layout.baseline and layout.paired:
            columns.append(column(f"95 % of vs {layout.baseline}", 5, lambda row: _interval(speed_up(row))))
    if layout.flags:
        columns.append(column("flags", 3, lambda row: row["flags"], numeric=False))
    rate, factor = ("GFLOP/s", 1e3) if layout.giga else ("TFLOP/s", 1)
    columns += [
        column("peak MiB", 1, _peak),
        *(column(header, rank, _number(name, derived=derived)) for header, rank, name, derived in layout.numbers),
        column(rate, 9, lambda row: spelled("tflops", row["tflops"] * factor, relative_error(row))),
        column("kernel", 10, lambda row: row["kernel"], numeric=False),
    ]
    return Grid(title=case, subtitle=_describe(rows, layout.baseline), columns=tuple(columns))


def _ok(row: Row) -> bool:
    return bool(row["status"] == Status.OK)


def _function(row: Row) -> tuple[Any, ...]:
    """What a row computes: equal where two rows compute the same."""
    return tuple(pattern_of(row) if field == "pattern" else row[field] for field in PROBLEM)


def _estimate(row: Row) -> Estimate:
    low, high = (None if missing(row[name]) else row[name] for name in ("latency_low_ms", "latency_high_ms"))
    return Estimate(value=row["latency_ms"], low=low, high=high)


def _times(row: Row, baseline: str | None, speed_up: Estimate | None) -> str:
    if row["backend"] == baseline:
        return "1x"
    if speed_up is None:
        return NOTHING
    unsure = speed_up.uncertainty is not None and speed_up.holds(1.0)
    return f"{_UNSURE if unsure else ''}{known(speed_up.value, speed_up.uncertainty)}x"


def _interval(found: Estimate | None) -> str:
    if found is None or found.low is None or found.high is None:
        return NOTHING
    return interval(found.value, found.low, found.high)


def _latency(row: Row) -> str:
    if not _ok(row):
        return str(row["status"])
    found = _estimate(row)
    return known(found.value, found.uncertainty)


def _peak(row: Row) -> str:
    return NOTHING if missing(row["peak_bytes"]) else significant(row["peak_bytes"] / _MEBIBYTE)


def _number(name: str, *, derived: bool) -> Callable[[Row], str]:
    return lambda row: spelled(name, row[name], relative_error(row) if derived else None)


def _describe(rows: Sequence[Row], baseline: str | None) -> str:
    """The problem of a case; its pattern is that of the baseline or of most rows."""
    patterns = [row["pattern"] for row in rows]
    of_baseline = [row["pattern"] for row in rows if row["backend"] == baseline]
    row = rows[0]
    parts = [
        f"batch {row['batch']}",
        f"map {row['height']}x{row['width']}",
        f"window {row['window_height']}x{row['window_width']}",
        f"{row['heads']} heads of {row['head_dim']}",
        row["dtype"],
        row["mode"].replace("_", " and "),
        (of_baseline or [max(patterns, key=patterns.count)])[0],
        f"{row['padding']} padding",
        f"bias {row['bias']}",
        f"scope {row['scope']}",
    ]
    return ", ".join(parts)
