"""From records to one row per cell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from attnbench.core.cost import cost
from attnbench.core.files import read
from attnbench.core.flags import is_unstable, process_flags
from attnbench.core.problem import Problem
from attnbench.core.record import Ceilings, Flag, Record, Status
from attnbench.core.roofline import roofline_fraction
from attnbench.core.stats import estimate, geometric_mean, percentile, process_statistic

_TEXT, _COUNT, _NUMBER = "string", "Int64", "Float64"
_COLUMNS = (
    ("suite", _TEXT, "Name of the suite."),
    ("case", _TEXT, "Name of the problem in the suite."),
    ("backend", _TEXT, "The backend's label."),
    ("device", _TEXT, "As torch spells it, such as cpu or cuda:0."),
    ("batch", _COUNT, "Images."),
    ("height", _COUNT, "Tokens of the map, top to bottom."),
    ("width", _COUNT, "Tokens of the map, left to right."),
    ("window_height", _COUNT, "Tokens of a window, top to bottom."),
    ("window_width", _COUNT, "Tokens of a window, left to right."),
    ("heads", _COUNT, "Attention heads."),
    ("head_dim", _COUNT, "Channels of a head."),
    ("dtype", _TEXT, "Element type of inputs, weights and output."),
    ("mode", _TEXT, "Whether the gradients belong to the call."),
    ("pattern", _TEXT, "Which windows the backend divided the map into: grouped or shifted."),
    ("padding", _TEXT, "Whether tokens added to fill windows take part in the softmax (zero) or not (masked)."),
    ("bias", _TEXT, "What is added to the scores."),
    ("scope", _TEXT, "What is inside the timed call: attention of windows, of a map, or a layer with its projections."),
    ("status", _TEXT, "How the cell ended. Numbers exist exactly where it is ok."),
    ("reason", _TEXT, "Why it is not ok, in one sentence; empty where it is."),
    ("flags", _TEXT, "What qualifies an ok cell, separated by spaces; empty where nothing does."),
    ("latency_ms", _NUMBER, "Of one call: the geometric mean over processes."),
    ("latency_low_ms", _NUMBER, "Lower end of its 95 % interval; null with one process."),
    ("latency_high_ms", _NUMBER, "Upper end of its 95 % interval; null with one process."),
    ("latency_median_ms", _NUMBER, "Median over processes of their median samples."),
    ("latency_min_ms", _NUMBER, "The fastest sample of all."),
    ("latency_mean_ms", _NUMBER, "Of all timed calls: the median over processes of their means."),
    ("host_ms", _NUMBER, "On a GPU, until the call returned to Python."),
    ("images_per_s", _NUMBER, "Batch divided by latency."),
    ("tokens_per_s", _NUMBER, "Tokens of all maps divided by latency."),
    ("tflops", _NUMBER, "Floating-point operations by formula, in units of 1e12, divided by latency."),
    ("gbytes_per_s", _NUMBER, "The fewest bytes that must move, in units of 1e9, divided by latency."),
    (
        "roofline_fraction",
        _NUMBER,
        "The time that the ceilings measured in the run allow, divided by the time it took.",
    ),
    ("peak_bytes", _COUNT, "Allocated at the peak of one call above what was held before."),
    ("max_error", _NUMBER, "Largest absolute difference of the output from the float64 reference."),
    ("kernel", _TEXT, "The operator torch dispatched to, on a GPU with the longest kernel; empty if unknown."),
    ("processes", _COUNT, "Fresh processes that measured the cell."),
    ("samples", _COUNT, "Timed samples of all processes."),
    ("prepare_s", _NUMBER, "Preparing the backend and its first call; the median over processes."),
    ("joules_per_image", _NUMBER, "Energy by the device's own count; null if it counts none."),
    ("process_latencies_ms", _TEXT, "The latency of every process, as number:latency, separated by spaces."),
)
COLUMNS: dict[str, str] = {name: kind for name, kind, _ in _COLUMNS}
"""Columns of a table and their pandas types; units stand in the names."""
DESCRIPTIONS: dict[str, str] = {name: description for name, _, description in _COLUMNS}
"""What the columns hold."""
PROBLEM = tuple(field.name for field in fields(Problem))
"""The columns that together are a problem."""


def processes_of(row: Mapping[Any, Any]) -> dict[int, float]:
    """By process, its latency in milliseconds; empty if the cell is not ok.

    >>> processes_of({"process_latencies_ms": "0:3.25 1:3.5"})
    {0: 3.25, 1: 3.5}
    """
    pairs = (pair.split(":") for pair in row["process_latencies_ms"].split())
    return {int(process): float(latency_ms) for process, latency_ms in pairs}


def problem_of(row: Mapping[Any, Any]) -> Problem:
    """The problem of a row.

    Raises:
        ValueError: Its fields are no problem, as in a table that was edited.
    """
    fields_of = {name: row[name] for name in PROBLEM}
    return read(Problem, {name: value if isinstance(value, str) else int(value) for name, value in fields_of.items()})


def anchor(ceilings: Ceilings) -> float:
    """The log of the geometric mean of the times for one byte and one FLOP: what compared latencies are divided by."""
    return -(math.log(ceilings.bytes_per_s) + math.log(ceilings.flops_per_s)) / 2


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with exactly the columns of ``COLUMNS``; text that is not there is empty, a number is missing."""
    # A table read back has its types already: to change every column anew takes longer than to read it.
    kinds = dict(zip(frame.columns, map(str, frame.dtypes), strict=True))
    same = list(kinds.items()) == list(COLUMNS.items())
    found = frame if same else frame.reindex(columns=list(COLUMNS)).astype(COLUMNS)
    text = {name: "" for name, kind in COLUMNS.items() if kind == _TEXT and found[name].hasnans}
    return found.fillna(text) if text else found


def table(records: Iterable[Record], *, suite: str) -> pd.DataFrame:
    """One row per cell, in the order of the suite.

    A cell is ok if every process was; otherwise the row has the first failure.
    """
    cells = Cells()
    for record in records:
        cells.add(record)
    return cells.table(suite=suite)


class Cells:
    """Collects records into cells; it keeps statistics, so that memory grows with processes and not with samples."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str], _Cell] = {}
        self.expected: int | None = None
        """Cells of the whole suite, as the records say."""

    def add(self, record: Record) -> None:
        """Add a record."""
        key = (record.case, record.backend)
        if key not in self._cells:
            self._cells[key] = _Cell(record)
        self._cells[key].add(record)
        self.expected = record.cells

    def anchors(self) -> dict[tuple[str, str], dict[int, float]]:
        """By case and backend, then by process, the ``anchor`` of its ceilings; 0 if they were not measured."""
        return {key: cell.anchors for key, cell in self._cells.items()}

    def table(self, *, suite: str) -> pd.DataFrame:
        """One row per cell, in the order of the suite."""
        ordered = sorted(self._cells.values(), key=lambda cell: cell.position)
        rows = [cell.row(suite) for cell in ordered]
        # A frame of rows whose columns are changed afterwards takes six times as long.
        return pd.DataFrame({name: _column(rows, name, kind) for name, kind in COLUMNS.items()})


def _column(rows: Sequence[Mapping[str, Any]], name: str, kind: Any) -> Any:
    missing = "" if kind == _TEXT else None
    return pd.array([row.get(name, missing) for row in rows], dtype=kind)


class _Cell:
    """A cell of the table."""

    def __init__(self, first: Record) -> None:
        self._first = first
        self._shown = first
        self._processes: dict[int, _Process] = {}

    @property
    def position(self) -> int:
        """The cell's place in the suite."""
        return self._first.position

    @property
    def anchors(self) -> dict[int, float]:
        """By process."""
        return {number: process.anchor for number, process in self._processes.items()}

    def add(self, record: Record) -> None:
        """Add a process. Of a process that was measured twice the last record counts; a failure is final."""
        if record.status is Status.OK:
            self._processes[record.round] = _Process.of(record)
        elif self._shown.status is Status.OK:
            self._shown = record

    def row(self, suite: str) -> dict[str, Any]:
        """The cell's values by column; those it does not have are left out."""
        shown, problem = self._shown, self._shown.problem
        row: dict[str, Any] = {
            "suite": suite,
            "case": shown.case,
            "backend": shown.backend,
            "device": shown.device,
            **problem.to_json(),
            "status": shown.status,
            "reason": shown.reason,
        }
        if shown.status is Status.OK:
            row.update(self._measured())
        return row

    def _measured(self) -> dict[str, Any]:
        processes, problem = list(self._processes.values()), self._first.problem
        latency = estimate([process.statistic_ms for process in processes])
        seconds, work = latency.value / 1e3, cost(problem)
        fractions = [process.roofline_fraction for process in processes]
        hosts = _known(process.host_ms for process in processes)
        joules = _known(process.joules for process in processes)
        flags = set[Flag]().union(*(process.flags for process in processes))
        # Beyond its ceilings, what it is a fraction of is not known.
        plausible = [] if Flag.IMPLAUSIBLE in flags else _known(fractions)
        if is_unstable(latency, quartiles=processes[0].quartiles_ms):
            flags.add(Flag.UNSTABLE)
        return {
            "flags": " ".join(flag for flag in Flag if flag in flags),
            "latency_ms": latency.value,
            "latency_low_ms": latency.low,
            "latency_high_ms": latency.high,
            "latency_median_ms": percentile([process.median_ms for process in processes], 50),
            "latency_min_ms": min(process.min_ms for process in processes),
            "latency_mean_ms": percentile([process.mean_ms for process in processes], 50),
            "host_ms": percentile(hosts, 50) if hosts else None,
            "images_per_s": problem.batch / seconds,
            "tokens_per_s": problem.batch * problem.height * problem.width / seconds,
            "tflops": work.flops / seconds / 1e12,
            "gbytes_per_s": work.bytes / seconds / 1e9,
            "roofline_fraction": geometric_mean(plausible) if plausible else None,
            "peak_bytes": max(_known(process.peak_bytes for process in processes), default=None),
            "max_error": max(_known(process.max_error for process in processes), default=None),
            "kernel": self._first.kernel,
            "processes": len(processes),
            "samples": sum(process.samples for process in processes),
            "prepare_s": percentile([process.prepare_s for process in processes], 50),
            "joules_per_image": percentile(joules, 50) / problem.batch if joules else None,
            "process_latencies_ms": " ".join(
                f"{number}:{process.statistic_ms!r}" for number, process in self._processes.items()
            ),
        }


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


@dataclass(frozen=True, kw_only=True)
class _Process:
    statistic_ms: float
    median_ms: float
    min_ms: float
    mean_ms: float
    host_ms: float | None
    peak_bytes: int | None
    max_error: float | None
    samples: int
    prepare_s: float
    roofline_fraction: float | None
    anchor: float
    joules: float | None
    quartiles_ms: tuple[float, float]
    flags: frozenset[Flag]

    @classmethod
    def of(cls, record: Record) -> _Process:
        """The statistics of one process."""
        return cls(
            statistic_ms=process_statistic(record.samples_ms, record.device_type),
            median_ms=percentile(record.samples_ms, 50),
            min_ms=min(record.samples_ms),
            mean_ms=record.mean_ms or math.nan,
            host_ms=record.host_ms,
            peak_bytes=record.peak_bytes,
            max_error=record.max_error,
            samples=len(record.samples_ms),
            prepare_s=record.spent.prepare_s,
            roofline_fraction=roofline_fraction(record),
            anchor=anchor(record.ceilings) if record.ceilings else 0.0,
            joules=record.joules,
            quartiles_ms=(percentile(record.samples_ms, 25), percentile(record.samples_ms, 75)),
            flags=frozenset(process_flags(record)),
        )
