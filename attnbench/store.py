"""From a run directory to one row per cell, and back to disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from attnbench.cost import cost
from attnbench.errors import OutputError, StoredRunError
from attnbench.journal import ENVIRONMENT, JOURNAL, SUITE, read_journal
from attnbench.record import SCHEMA_VERSION, Environment, Record, Status
from attnbench.stats import block_statistic, estimate, percentile

PARQUET = "table.parquet"
CSV = "table.csv"

_TEXT, _COUNT, _NUMBER = "string", "Int64", "Float64"
COLUMNS: dict[str, str] = {
    **dict.fromkeys(("suite", "case", "backend", "device"), _TEXT),
    **dict.fromkeys(
        ("batch", "height", "width", "window_height", "window_width", "heads", "head_dim"),
        _COUNT,
    ),
    **dict.fromkeys(("dtype", "mode", "pattern", "padding", "bias", "scope", "status", "reason", "flags"), _TEXT),
    **dict.fromkeys(
        (
            "latency_ms",
            "latency_low_ms",
            "latency_high_ms",
            "latency_median_ms",
            "latency_min_ms",
            "host_ms",
            "images_per_s",
            "tokens_per_s",
            "tflops",
            "gbytes_per_s",
            "ceiling_fraction",
        ),
        _NUMBER,
    ),
    "peak_bytes": _COUNT,
    "max_error": _NUMBER,
    "kernel": _TEXT,
    "blocks": _COUNT,
    "samples": _COUNT,
    "prepare_s": _NUMBER,
}
"""Columns of a table and their pandas types; units stand in the names."""


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run as it lies on disk."""

    path: Path
    table: pd.DataFrame
    environment: dict[str, Any]
    """The content of environment.json; empty where there is none."""
    suite: dict[str, Any]
    """The content of suite.yaml; empty where there is none."""
    cells: int | None
    """Cells the suite asked for; None where only a table was kept."""

    @property
    def question(self) -> str:
        """What the suite asks."""
        return str(self.suite.get("description", ""))

    @property
    def baseline(self) -> str | None:
        """The backend that speed-ups refer to: the suite's baseline, or the first backend that it lists."""
        backends = self.suite.get("backends") or [None]
        baseline = self.suite.get("baseline", backends[0])
        return None if baseline is None else str(baseline)


def load(directory: str | Path) -> pd.DataFrame:
    """One row per cell of a stored run, with the columns of ``COLUMNS``.

    Args:
        directory: A run directory, or one that holds at least ``table.csv``.

    Raises:
        StoredRunError: It is not a run, is damaged, or was written by a newer version.
    """
    return read_run(directory).table


def read_run(directory: str | Path) -> StoredRun:
    """A stored run with what is known of it.

    Raises:
        StoredRunError: It is not a run, is damaged, or was written by a newer version.
    """
    path = Path(directory)
    if not path.exists():
        raise StoredRunError(f"{path} does not exist; give a run directory such as results/SUITE/MACHINE/TIME-ID")
    if not path.is_dir():
        raise StoredRunError(f"{path} is a file; give the run directory that holds {JOURNAL}")
    environment = _read_environment(path)
    suite = _read_suite(path)
    table, cells = _read_table(path, suite)
    return StoredRun(path=path, table=table, environment=environment, suite=suite, cells=cells)


def _read_environment(path: Path) -> dict[str, Any]:
    file = path / ENVIRONMENT
    if not file.exists():
        return {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        version = int(data["schema_version"])
    except (ValueError, KeyError, TypeError):
        raise StoredRunError(f"{file}:1: not an environment; the file is damaged") from None
    if version > SCHEMA_VERSION:
        raise StoredRunError(
            f"{file}: written by a newer attnbench (schema {version}, this one reads up to {SCHEMA_VERSION}); upgrade"
        )
    try:
        Environment.from_json(data)
    except (ValueError, KeyError, TypeError) as error:
        raise StoredRunError(f"{file}:1: not an environment: {error}; the file is damaged") from None
    return dict(data)


def _read_suite(path: Path) -> dict[str, Any]:
    file = path / SUITE
    if not file.exists():
        return {}
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError):
        raise StoredRunError(f"{file}:1: not YAML; the file is damaged") from None
    return dict(data) if isinstance(data, dict) else {}


def _read_table(path: Path, suite: Mapping[str, Any]) -> tuple[pd.DataFrame, int | None]:
    # The journal is the truth; tables are for other readers, and for runs kept without one.
    if (path / JOURNAL).exists():
        cells = _Cells()
        return table(cells.count(read_journal(path)), suite=str(suite.get("name", ""))), cells.expected
    for name, read in ((PARQUET, pd.read_parquet), (CSV, pd.read_csv)):
        if (path / name).exists():
            try:
                return _checked(read(path / name), path / name), None
            except (ValueError, TypeError, OSError) as error:
                raise StoredRunError(f"{path / name}: not a table: {' '.join(str(error).split())}") from None
    newest = max(path.glob(f"**/{JOURNAL}"), default=None, key=lambda found: found.stat().st_mtime)
    hint = f"; did you mean {newest.parent}?" if newest else ""
    raise StoredRunError(f"{path} is not a run: it holds neither {JOURNAL} nor {CSV}{hint}")


def _checked(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise StoredRunError(f"{path}: not a run's table: there is no column {missing[0]}")
    typed = _typed(frame)
    for line, row in enumerate(typed.to_dict("records"), start=2):
        if row["status"] not in set(Status) or (row["status"] == Status.OK) != pd.notna(row["latency_ms"]):
            raise StoredRunError(
                f"{path}:{line}: status {row['status']!r} and latency do not agree; the file is damaged"
            )
    return typed


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with exactly the columns of ``COLUMNS``; text that is not there is empty, a number is missing."""
    text = {name: "" for name, kind in COLUMNS.items() if kind == _TEXT}
    return frame.reindex(columns=list(COLUMNS)).astype(COLUMNS).fillna(text)


def table(records: Iterable[Record], *, suite: str) -> pd.DataFrame:
    """One row per cell, in the order of the suite.

    A cell is ok where every block was; otherwise the row tells the first failure.
    """
    cells: dict[tuple[str, str], _Cell] = {}
    for record in records:
        key = (record.case, record.backend)
        if key not in cells:
            cells[key] = _Cell(record)
        cells[key].add(record)
    ordered = sorted(cells.values(), key=lambda cell: cell.position)
    return _typed(pd.DataFrame([cell.row(suite) for cell in ordered]))


class _Cells:
    """Notes in passing how many cells a journal's run asked for."""

    expected: int | None = None

    def count(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records as they are."""
        for record in records:
            self.expected = record.cells
            yield record


class _Cell:
    """What becomes of a cell's records: statistics alone are kept, so that memory does not grow with samples."""

    def __init__(self, first: Record) -> None:
        self._first = first
        self._shown = first
        self._blocks: dict[int, _Block] = {}

    @property
    def position(self) -> int:
        """The cell's place in the suite."""
        return self._first.position

    def add(self, record: Record) -> None:
        """Take in one more block. A block measured twice counts as it was measured last; a failure is final."""
        if record.status is Status.OK:
            self._blocks[record.block] = _Block.of(record)
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
            "flags": " ".join(shown.flags),
        }
        if shown.status is Status.OK:
            row.update(self._measured())
        return row

    def _measured(self) -> dict[str, Any]:
        blocks, problem = list(self._blocks.values()), self._first.problem
        latency = estimate([block.statistic_ms for block in blocks])
        seconds, work = latency.value / 1e3, cost(problem)
        errors = [block.max_error for block in blocks if block.max_error is not None]
        peaks = [block.peak_bytes for block in blocks if block.peak_bytes is not None]
        hosts = [block.host_ms for block in blocks if block.host_ms is not None]
        return {
            "latency_ms": latency.value,
            "latency_low_ms": latency.low,
            "latency_high_ms": latency.high,
            "latency_median_ms": percentile([block.median_ms for block in blocks], 50),
            "latency_min_ms": min(block.min_ms for block in blocks),
            "host_ms": percentile(hosts, 50) if hosts else None,
            "images_per_s": problem.batch / seconds,
            "tokens_per_s": problem.batch * problem.height * problem.width / seconds,
            "tflops": work.flops / seconds / 1e12,
            "gbytes_per_s": work.bytes / seconds / 1e9,
            "peak_bytes": max(peaks, default=None),
            "max_error": max(errors, default=None),
            "kernel": self._first.kernel,
            "blocks": len(blocks),
            "samples": sum(block.samples for block in blocks),
            "prepare_s": percentile([block.prepare_s for block in blocks], 50),
        }


@dataclass(frozen=True, kw_only=True)
class _Block:
    statistic_ms: float
    median_ms: float
    min_ms: float
    host_ms: float | None
    peak_bytes: int | None
    max_error: float | None
    samples: int
    prepare_s: float

    @classmethod
    def of(cls, record: Record) -> _Block:
        """The statistics of one block."""
        return cls(
            statistic_ms=block_statistic(record.samples_ms, record.device.partition(":")[0]),
            median_ms=percentile(record.samples_ms, 50),
            min_ms=min(record.samples_ms),
            host_ms=record.host_ms,
            peak_bytes=record.peak_bytes,
            max_error=record.max_error,
            samples=len(record.samples_ms),
            prepare_s=record.spent.prepare_s,
        )


def write_tables(directory: Path) -> pd.DataFrame:
    """Write ``table.parquet`` and ``table.csv`` from the journal: beside their place, then renamed into it.

    Raises:
        OutputError: They cannot be written; the journal stays.
    """
    frame = read_run(directory).table
    try:
        for name, write in ((PARQUET, frame.to_parquet), (CSV, frame.to_csv)):
            unfinished = directory / f".{name}.unfinished"
            write(unfinished, index=False)
            unfinished.replace(directory / name)
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise OutputError(f"the tables of {directory} cannot be written: {reason}; the journal stays") from None
    return frame
