"""A stored run as a sheet: one grid per case, fastest first, failed cells with their reasons below."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from attnbench.problem import Pattern, Problem
from attnbench.record import Status
from attnbench.report.sheet import Column, Grid, Sheet, enumerate_names
from attnbench.store import StoredRun
from attnbench.table import COLUMNS

PROBLEM = tuple(field.name for field in fields(Problem))
"""The columns that together are a problem."""
_MATH = "_scaled_dot_product_attention_math"
Row = Mapping[Any, Any]
"""One row of a run's table, by column."""
_NUMBERS = (
    ("images/s", 4, "images_per_s"),
    ("of ceiling", 3, "ceiling_fraction"),
    ("GB/s", 5, "gbytes_per_s"),
    ("max error", 8, "max_error"),
    ("min ms", 9, "latency_min_ms"),
    ("samples", 10, "samples"),
    ("prepare s", 11, "prepare_s"),
)
"""Columns shown as they are: header, rank, name."""
_NOTHING = "-"
_MEBIBYTE = 2**20


def sheet(run: StoredRun, *, baseline: str | None = None) -> Sheet:
    """Lay out a run.

    Args:
        run: What to show.
        baseline: The backend that speed-ups refer to; by default the suite's.
    """
    baseline = baseline or run.baseline
    frame = run.table
    several_blocks = bool((frame["blocks"].fillna(0) > 1).any())
    grids = tuple(
        _grid(str(case), cells, baseline, several_blocks=several_blocks, rate=_rate(frame))
        for case, cells in frame.groupby("case", sort=False)
    )
    notes = (*completeness(run), *_notes(frame, baseline))
    return Sheet(heading=heading(run), question=run.question, grids=grids, notes=notes)


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


def completeness(run: StoredRun) -> list[str]:
    """What the table cannot say: cells that were not reached, and blocks too few to tell how sure it is."""
    if run.table.empty:
        return ["Nothing was measured: the run was cut short."]
    notes = []
    if run.cells is not None and len(run.table) < run.cells:
        notes.append(f"{len(run.table)} of {run.cells} cells: the run was cut short.")
    if bool((run.table["blocks"] == 1).any()):
        notes.append("One block: small differences may be noise, and no interval says how large (measure.blocks).")
    return notes


@dataclass(frozen=True, kw_only=True)
class _Rate:
    header: str
    factor: float


def _rate(frame: pd.DataFrame) -> _Rate:
    """Tera for GPUs, giga for CPUs: one unit for a whole sheet."""
    fastest = frame["tflops"].max()
    small = not pd.isna(fastest) and float(fastest) < 1
    return _Rate(header="GFLOP/s", factor=1e3) if small else _Rate(header="TFLOP/s", factor=1)


def _grid(case: str, cells: pd.DataFrame, baseline: str | None, *, several_blocks: bool, rate: _Rate) -> Grid:
    ordered = cells.assign(failed=cells["status"] != Status.OK).sort_values(["failed", "latency_ms", "backend"])
    rows = ordered.to_dict("records")
    references = {_function(row): row["latency_ms"] for row in rows if row["backend"] == baseline and _ok(row)}

    def column(header: str, rank: int, text: Callable[[Row], str], *, numeric: bool = True) -> Column:
        texts = tuple(text(row) if _ok(row) else _NOTHING for row in rows)
        return Column(header=header, cells=texts, numeric=numeric, rank=rank)

    def speed_up(row: Row) -> str:
        reference = references.get(_function(row))
        return _NOTHING if reference is None else f"{reference / row['latency_ms']:.2f}x"

    columns = [
        Column(header="backend", cells=tuple(row["backend"] for row in rows), numeric=False),
        Column(header="latency ms", cells=tuple(_latency(row) for row in rows)),
    ]
    if baseline:
        columns.append(column(f"vs {baseline}", 0, speed_up))
    if len({row["pattern"] for row in rows}) > 1:
        columns.append(Column(header="pattern", cells=tuple(row["pattern"] for row in rows), numeric=False))
    if several_blocks:
        columns.append(column("95 % interval", 2, _interval))
    columns += [
        column("peak MiB", 1, _peak),
        *(column(header, rank, _number(name)) for header, rank, name in _NUMBERS),
        column(rate.header, 6, lambda row: significant(row["tflops"] * rate.factor)),
        column("kernel", 7, lambda row: row["kernel"], numeric=False),
    ]
    return Grid(title=case, subtitle=_describe(rows, baseline), columns=tuple(columns))


def _ok(row: Row) -> bool:
    return bool(row["status"] == Status.OK)


def _function(row: Row) -> tuple[Any, ...]:
    """What a row computes: equal where two rows compute the same."""
    return tuple(_pattern(row) if field == "pattern" else row[field] for field in PROBLEM)


def _pattern(row: Row) -> str:
    # One window covers the map: nothing is shifted, whatever the pattern is called.
    alone = row["height"] == row["window_height"] and row["width"] == row["window_width"]
    return Pattern.GROUPED if alone else str(row["pattern"])


def _latency(row: Row) -> str:
    return significant(row["latency_ms"]) if _ok(row) else str(row["status"])


def _interval(row: Row) -> str:
    if pd.isna(row["latency_low_ms"]):
        return _NOTHING
    return f"{significant(row['latency_low_ms'])} to {significant(row['latency_high_ms'])}"


def _peak(row: Row) -> str:
    return _NOTHING if _missing(row["peak_bytes"]) else significant(row["peak_bytes"] / _MEBIBYTE)


def _missing(value: Any) -> bool:
    return bool(pd.isna(value))


def _number(name: str) -> Callable[[Row], str]:
    return lambda row: spelled(name, row[name])


def spelled(name: str, value: float) -> str:
    """A value of the column ``name`` as people read it."""
    if _missing(value):
        return _NOTHING
    if name == "max_error":
        return f"{value:.1e}"
    if name == "ceiling_fraction":
        return f"{value:.1%}"
    return str(int(value)) if COLUMNS[name] == "Int64" else significant(value)


def significant(value: float, digits: int = 3) -> str:
    """Three significant digits, without an exponent.

    >>> [significant(value) for value in (0.0123456, 1.0, 12.345, 1234.5)]
    ['0.0123', '1.00', '12.3', '1234']
    """
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


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


def _notes(frame: pd.DataFrame, baseline: str | None) -> list[str]:
    return [*_other_patterns(frame, baseline), *ran_math(frame), *_without_baseline(frame, baseline), *failures(frame)]


def failures(frame: pd.DataFrame) -> list[str]:
    """Why cells have no latency, each reason once."""
    failed = frame[frame["status"] != Status.OK]
    cases = frame["case"].nunique()
    return [
        f"{backend}, {_where(list(cells['case']), cases)}: {status}: {reason}"
        for (backend, status, reason), cells in failed.groupby(["backend", "status", "reason"], sort=False)
    ]


def _other_patterns(frame: pd.DataFrame, baseline: str | None) -> list[str]:
    by_pattern: dict[str, list[str]] = {}
    for _, cells in frame.groupby("case", sort=False):
        rows = cells.to_dict("records")
        patterns = [_pattern(row) for row in rows]
        of_baseline = [pattern for row, pattern in zip(rows, patterns, strict=True) if row["backend"] == baseline]
        usual = (of_baseline or [max(patterns, key=patterns.count)])[0]
        for row, pattern in zip(rows, patterns, strict=True):
            if pattern != usual:
                by_pattern.setdefault(pattern, []).append(row["backend"])
    return [
        f"The {pattern} pattern was computed by {enumerate_names(list(dict.fromkeys(backends)))}: "
        "a different function, without a speed-up where the others computed another one."
        for pattern, backends in by_pattern.items()
    ]


def ran_math(frame: pd.DataFrame) -> list[str]:
    """Which cells torch computed with its unfused kernel."""
    math_cells = frame[frame["kernel"].fillna("").str.startswith(_MATH)]
    by_place: dict[str, list[str]] = {}
    for backend, cells in math_cells.groupby("backend", sort=False):
        place = _where(list(cells["case"]), frame["case"].nunique())
        by_place.setdefault(place, []).append(str(backend))
    return [
        f"{enumerate_names(backends)}, {place}: ran torch's unfused math kernel."
        for place, backends in by_place.items()
    ]


def _without_baseline(frame: pd.DataFrame, baseline: str | None) -> list[str]:
    if baseline is None:
        return ["No speed-ups: the suite names no baseline (give --baseline)."]
    measured = frame[(frame["backend"] == baseline) & (frame["status"] == Status.OK)]["case"]
    missing = [case for case in frame["case"].unique() if case not in set(measured)]
    if not missing:
        return []
    return [f"No speed-ups {_where(missing, frame['case'].nunique())}: the baseline {baseline} was not measured there."]


def _where(cases: Sequence[str], total: int) -> str:
    if len(set(cases)) == total:
        return "in every case" if total > 1 else "in the one case"
    if len(cases) > _MOST_NAMED:
        return f"in {len(cases)} of {total} cases"
    return "in " + enumerate_names([f'"{case}"' for case in cases])


_MOST_NAMED = 3
