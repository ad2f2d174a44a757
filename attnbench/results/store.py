"""From a run directory to one row per cell, and back to disk."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import pandas as pd

from attnbench.core.errors import StoredRunError
from attnbench.core.files import content, opened, written_whole
from attnbench.core.text import clean
from attnbench.results.checks import Belonging, check_row
from attnbench.results.journal import ENVIRONMENT, JOURNAL, SUITE, read_environment, read_journal
from attnbench.results.listing import named
from attnbench.results.pairs import Pairing
from attnbench.results.places import CSV, PARQUET, UNFINISHED, processes_asked_for, read_suite
from attnbench.results.rows import Row, rows_of
from attnbench.results.spreadsheet import csv_text, read_csv
from attnbench.results.table import COLUMNS, PROBLEM, Cells, typed

_RUN_FILES = (JOURNAL, PARQUET, CSV)
_NUMBERS = tuple(name for name, kind in COLUMNS.items() if kind != "string" and name not in PROBLEM)


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

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the table as plain values."""
        return rows_of(self.table)

    @property
    def started_at(self) -> str:
        """UTC, ISO 8601; empty where nothing says."""
        return str(self.environment.get("started_at", ""))

    @property
    def identity(self) -> tuple[str, int]:
        """Equal for copies of one run, wherever they lie."""
        numbers = pd.util.hash_pandas_object(self.table[["case", "backend", "latency_ms"]], index=False)
        return self.started_at, int(numbers.sum())

    @property
    def processes(self) -> int:
        """Processes that the suite asked for."""
        return processes_asked_for(self.suite)

    @property
    def unreached(self) -> int:
        """Cells of the suite that were not measured, because the run was interrupted."""
        return 0 if self.cells is None else max(0, self.cells - len(self.table))

    @property
    def unfinished(self) -> int:
        """Cells that were measured in fewer processes than the suite asked for, because the run was interrupted."""
        return 0 if self.cells is None else int((self.table["processes"] < self.processes).sum())

    @property
    def incomplete(self) -> str:
        """What it lacks, in words; empty where it is whole."""
        lacks = []
        if self.unreached:
            lacks.append(f"it has {len(self.table)} of {self.cells} cells")
        if self.unfinished:
            lacks.append(f"{self.unfinished} of its cells have fewer than {self.processes} processes")
        return " and ".join(lacks)

    @property
    def question(self) -> str:
        """What the suite asks, in one line, however many its file has."""
        asked = str(self.suite.get("description", ""))
        return clean(asked, longest=len(asked))

    @property
    def baseline(self) -> str | None:
        """The backend that speed-ups refer to: the suite's baseline, or the first backend that it lists."""
        backends = self.suite.get("backends") or [None]
        first = backends[0] if isinstance(backends, list) else backends
        if isinstance(first, dict):
            first = first.get("label") or first.get("name")
        baseline = self.suite.get("baseline", first)
        return None if baseline is None else str(baseline)


def read_run(directory: str | Path) -> StoredRun:
    """A stored run with what is known of it.

    Args:
        directory: A run directory, one that holds at least ``table.csv``, a table's file, or ``latest``.

    Raises:
        StoredRunError: It is not a run, is damaged, or was written by another version.
    """
    path = named(directory)
    if not path.exists():
        raise StoredRunError(f"{path} does not exist; give a run directory such as results/SUITE/MACHINE/TIME-ID")
    if path.suffix in (".parquet", ".csv") and path.is_file():
        if (path.parent / JOURNAL).exists():
            return replace(read_run(path.parent), path=path)  # the journal is the truth, wherever it is
        return _read_kept_table(path)
    if not path.is_dir():
        raise StoredRunError(f"{path} is a file; give the run directory that holds {JOURNAL}, or a table kept of one")
    environment = _environment(path)
    suite = read_suite(path)
    if (path / JOURNAL).exists():
        # The journal is the truth; a table made from exactly this one says the same sooner.
        frame, expected = _read_made_table(path) or _read_from_journal(path, suite, environment)
    else:
        frame, expected = _read_table(path), None
    return StoredRun(path=path, table=frame, environment=environment, suite=suite, cells=expected)


def is_run(path: str | Path) -> bool:
    """Whether a path is a run itself, or a table kept of one, and not a directory of runs."""
    found = Path(path)
    return not found.is_dir() or any((found / name).exists() for name in _RUN_FILES)


@dataclass(frozen=True, kw_only=True)
class FoundRuns:
    """The runs below a directory."""

    runs: tuple[StoredRun, ...]
    """Oldest first."""
    errors: tuple[StoredRunError, ...] = ()
    """Why others were left out: they are damaged."""

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for every run that was left out."""
        return tuple(f"Left out, because it cannot be read: {error}." for error in self.errors)


def find_runs(directory: str | Path, *, but: str | Path | None = None) -> FoundRuns:
    """A run, or every run below a directory.

    The two sides of an A/B comparison are not among them: the candidate may be a build that was rejected.

    Args:
        directory: A run directory, or one that holds some.
        but: A run to leave out: the candidate often lies beside its base.

    Raises:
        StoredRunError: There is none that can be read.
    """
    path = named(directory)
    if is_run(path):
        return FoundRuns(runs=(read_run(path),))
    left_out = None if but is None else Path(but).resolve()
    runs, errors = [], []
    for place in run_places(path):
        if place.resolve() == left_out:
            continue
        try:
            runs.append(read_run(place))
        except StoredRunError as error:
            if place.exists():  # else another job removed it meanwhile
                errors.append(error)
    if not runs:
        raise (errors[0] if errors else StoredRunError(f"{path} holds no run; {_instead(path)}"))
    runs.sort(key=lambda run: run.started_at)
    return FoundRuns(runs=tuple(runs), errors=tuple(errors))


def _instead(path: Path) -> str:
    if (path / Pairing.FILE).exists():
        return f"attnbench ab or noise wrote it (attnbench compare {path} judges an ab again)"
    return "give run directories, or a directory of them"


def run_places(directory: Path) -> list[Path]:
    """Where runs lie below a directory, without those still being made, and the two sides of A/B comparisons."""
    places = [Path(place) for place, _, names in os.walk(directory) if not set(_RUN_FILES).isdisjoint(names)]
    return sorted(
        place for place in places if not place.name.endswith(UNFINISHED) and not (place.parent / Pairing.FILE).exists()
    )


def _read_from_journal(
    path: Path, suite: Mapping[str, Any], environment: Mapping[str, Any]
) -> tuple[pd.DataFrame, int | None]:
    cells = Cells()
    is_side = (path.parent / Pairing.FILE).exists()
    belonging = Belonging(path / JOURNAL, (path / SUITE, suite), environment, again=is_side)
    for record in read_journal(path, check=belonging.check):
        cells.add(record)
    return cells.table(suite=str(suite.get("name", ""))), cells.expected


def _read_made_table(path: Path) -> tuple[pd.DataFrame, int | None] | None:
    """The Parquet table and the cells of the whole suite, where this version made it from the journal beside it."""
    try:
        frame = pd.read_parquet(io.BytesIO(content(path / PARQUET)))
    except (OSError, ValueError, TypeError):  # none, or damaged: there is the journal
        return None
    made_from, frame.attrs = frame.attrs, {}
    if any(made_from.get(name) != value for name, value in _made_from(path).items()):
        return None
    try:
        table = typed(frame)
    except (ValueError, TypeError):
        return None
    if made_from.get("table_crc32") != _checksum(table):  # edited by hand
        return None
    return table, made_from["cells"]


def _checksum(table: pd.DataFrame) -> int:
    return crc32(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())


def _made_from(path: Path) -> dict[Any, Any]:
    """What a table says of its origin, so that it is known to be up to date."""
    from attnbench import __version__

    checksum = 0
    try:
        with opened(path / JOURNAL) as file:
            while chunk := file.read(2**22):
                checksum = crc32(chunk, checksum)
    except OSError as error:
        raise StoredRunError(f"{path / JOURNAL} cannot be read: {error.strerror}") from None
    return {"attnbench": __version__, "journal_crc32": checksum}


def _environment(path: Path) -> dict[str, Any]:
    return read_environment(path).to_json() if (path / ENVIRONMENT).exists() else {}


def _read_table(path: Path) -> pd.DataFrame:
    for name in (PARQUET, CSV):
        if (path / name).is_file():
            return _read_table_file(path / name)
    if (path / Pairing.FILE).is_file():
        raise StoredRunError(f"{path} is not a run: attnbench ab wrote it (attnbench compare {path} judges it again)")
    newest = max(path.glob(f"**/{JOURNAL}"), default=None, key=lambda found: found.stat().st_mtime)
    hint = f"; did you mean {newest.parent}?" if newest else ""
    raise StoredRunError(f"{path} is not a run: it holds neither {JOURNAL} nor {CSV}{hint}")


def _read_kept_table(file: Path) -> StoredRun:
    """A table's file by itself, with the environment that lies beside it, if one does."""
    frame = _read_table_file(file)
    return StoredRun(
        path=file, table=frame, environment=_environment(file.parent), suite=read_suite(file.parent), cells=None
    )


def _read_table_file(file: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(file) if file.suffix == ".parquet" else read_csv(file)
        return _checked(frame, file)
    except (ValueError, TypeError, OSError) as error:
        raise StoredRunError(f"{file}: not a table: {' '.join(str(error).split())}") from None


def _checked(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise StoredRunError(f"{path}: not a run's table: there is no column {missing[0]}")
    checked = typed(frame)
    seen: set[tuple[str, ...]] = set()
    for line, row in enumerate(rows_of(checked), start=2):
        why = check_row(row, numbers=_NUMBERS)
        cell = tuple(str(row[name]) for name in ("suite", "case", "backend", "device", *PROBLEM))
        if not why and cell in seen:
            why = f"{row['backend']} on {row['case']!r} stands twice"
        if why:
            raise StoredRunError(f"{path}:{line}: {why}; the file is damaged")
        seen.add(cell)
    return checked


def write_tables(directory: Path) -> StoredRun:
    """Write ``table.parquet`` and ``table.csv`` from the journal.

    Returns:
        The run as it lies there now.

    Raises:
        LostOutputError: They cannot be written; the journal stays.
    """
    run = read_run(directory)
    table = run.table.copy()
    table.attrs = {**_made_from(directory), "table_crc32": _checksum(table), "cells": run.cells}
    note = "the journal stays"
    with written_whole(directory / PARQUET, note=note) as unfinished:
        table.to_parquet(unfinished, index=False)
    with written_whole(directory / CSV, note=note) as unfinished:
        unfinished.write_text(csv_text(table), encoding="utf-8")
    return run
