"""Stored runs as data frames for notebooks: where every row came from, speed-ups, and single samples."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from attnbench.core.errors import StoredRunError, UsageError
from attnbench.core.escaping import legal
from attnbench.core.record import Status
from attnbench.core.stats import Estimate, paired_ratio
from attnbench.core.text import MEBIBYTE
from attnbench.results.journal import JOURNAL, read_journal
from attnbench.results.listing import named
from attnbench.results.rows import Row, function_of, is_ok, rows_of
from attnbench.results.store import StoredRun, find_runs, is_run, read_run
from attnbench.results.table import COLUMNS, processes_of

Paths = str | Path | Iterable[str | Path]
"""A run, a table kept of one, a directory of runs, ``latest``, or several of these."""
SPEED_UP = ("baseline", "speed_up", "speed_up_low", "speed_up_high")
"""How many times as fast as the suite's baseline, with the 95 % interval; empty where the two are not comparable."""
PROVENANCE = ("run", "machine", "device_name", "torch", "commit", "started_at")
"""Where a row came from: the run directory, and what its ``environment.json`` says."""
_SHOWN = ("case", "backend", "status", "latency_ms", "speed_up", "95 % interval", "flags", "peak MiB")


class Frame(pd.DataFrame):
    """A data frame with a row per cell that a notebook shows as a short table; what is made of it is a plain one."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str | None:
        """The columns that matter, rounded; ``print(frame)`` and ``frame.head()`` show all of them."""
        shown = pd.DataFrame(self).copy()
        if not {*COLUMNS, *SPEED_UP} <= set(shown.columns):
            return pd.DataFrame(shown)._repr_html_()  # type: ignore[operator]
        bounds = zip(shown["speed_up_low"], shown["speed_up_high"], strict=True)
        shown["95 % interval"] = ["" if pd.isna(low) else f"{low:.3g} to {high:.3g}" for low, high in bounds]
        shown["peak MiB"] = shown["peak_bytes"] / MEBIBYTE
        columns = [*(["run"] if len(set(shown["run"])) > 1 else []), *_SHOWN]
        for name in ("latency_ms", "speed_up", "peak MiB"):
            shown[name] = list(map(_rounded, shown[name]))
        table = shown[columns].to_html(index=False, border=0)
        return f"{table}<p>{len(shown)} cells; {shown.shape[1] - 2} columns: see <code>frame.columns</code></p>"


def load(paths: Paths) -> pd.DataFrame:
    """Stored runs as one data frame, a row per cell.

    It has the columns of ``attnbench.results.table.COLUMNS``, the speed-up over the suite's baseline with its 95 %
    interval (``SPEED_UP``), and where every row came from (``PROVENANCE``). A plot in one line:
    ``load("latest").query("status == 'ok'").plot.bar(x="backend", y="latency_ms")``.

    Args:
        paths: A run directory, a table kept of one, a directory of runs, ``latest``, or several of these.

    Raises:
        StoredRunError: One of them is no run, is damaged, or was written by another version.
    """
    return frame_of([run for path in _listed(paths) for run in _runs(path)])


def frame_of(runs: Sequence[StoredRun]) -> pd.DataFrame:
    """Runs that were read already, as ``load`` returns them."""
    frames = [_frame(run) for run in runs]
    return Frame(pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0])


def _frame(run: StoredRun) -> pd.DataFrame:
    """A run's table with the columns that only loaded frames have."""
    frame = run.table.copy()
    ratios = _speed_ups(rows_of(frame), run.baseline)
    frame["baseline"] = _texts(run.baseline, len(frame))
    for name, part in (("speed_up", "value"), ("speed_up_low", "low"), ("speed_up_high", "high")):
        values = [None if ratio is None else getattr(ratio, part) for ratio in ratios]
        frame[name] = pd.array(values, dtype="Float64")
    for name in PROVENANCE:
        frame[name] = _texts(run.path if name == "run" else run.environment.get(name), len(frame))
    return frame


def _rounded(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.3g}"


def _texts(value: object, count: int) -> Any:
    return pd.array(["" if value is None else legal(str(value))] * count, dtype="string")


def samples(paths: Paths) -> pd.DataFrame:
    """Every sample of some runs, a row each, in milliseconds (``ms``), with its round, turn and number.

    A plot in one line: ``samples("latest").boxplot(column="ms", by="backend")``.

    Args:
        paths: Run directories as for ``load``; tables alone have no samples.

    Raises:
        StoredRunError: One of them is no run, or has no journal.
    """
    rows: list[tuple[Any, ...]] = []
    for run in [run for path in _listed(paths) for run in _runs(path)]:
        if not (run.path / JOURNAL).exists():
            raise StoredRunError(f"{run.path} has no samples: they are in {JOURNAL}, which is not there")
        for record in read_journal(run.path):
            turns = record.turns or (len(record.samples_ms),)
            turn_of = [turn for turn, count in enumerate(turns) for _ in range(count)]
            rows += [
                (str(run.path), record.case, record.backend, record.round, turn, number, ms)
                for number, (turn, ms) in enumerate(zip(turn_of, record.samples_ms, strict=False))
            ]
    return pd.DataFrame(rows, columns=["run", "case", "backend", "round", "turn", "sample", "ms"])


def _listed(paths: Paths) -> list[Path]:
    found = [paths] if isinstance(paths, str | Path) else list(paths)
    if not found:
        raise UsageError("there is no path; give a run directory, or a list of them")
    return [named(path) for path in found]


def _runs(path: Path) -> tuple[StoredRun, ...]:
    if is_run(path):
        return (read_run(path),)
    found = find_runs(path)
    for note in found.notes:
        warnings.warn(note, stacklevel=4)
    return found.runs


def _speed_ups(rows: Sequence[Row], baseline: str | None) -> list[Estimate | None]:
    """By row, the latency of the baseline that computed the same over its own, paired by process."""
    references = {(row["case"], function_of(row)): row for row in rows if row["backend"] == baseline and is_ok(row)}
    return [_speed_up(row, references.get((row["case"], function_of(row)))) for row in rows]


def _speed_up(row: Row, reference: Row | None) -> Estimate | None:
    if reference is None or row["status"] != Status.OK:
        return None
    if row is reference:
        return Estimate(value=1.0, low=None, high=None)
    plain = Estimate(value=reference["latency_ms"] / row["latency_ms"], low=None, high=None)
    return paired_ratio(processes_of(reference), processes_of(row)) or plain
