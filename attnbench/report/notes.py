"""What a reader of a table must know besides its numbers: the notes below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from attnbench.core.problem import Pattern
from attnbench.core.record import Flag, Status
from attnbench.report.layout import enumerate_names
from attnbench.results.store import StoredRun

_MATH = "_scaled_dot_product_attention_math"
_MOST_NAMED = 3
_MEANING = {
    Flag.UNSTABLE: "processes (of one process: samples) differ so much that the value is known to no better than 10 %",
    Flag.LAUNCH_BOUND: "launching takes longer than running; batch more, or use CUDA graphs (measure.launch: graph)",
    Flag.THROTTLED: "the device lowered its clocks, or a quota stopped the process (attnbench doctor)",
    Flag.CONTENDED: "other programs or machines used the device, too (attnbench doctor)",
    Flag.FEW_SAMPLES: "fewer than 20 samples, or less than 100 ms of them, in a process (raise measure.max_time_s)",
}


def notes(run: StoredRun, *, baseline: str | None) -> list[str]:
    """Everything to be said below the tables of a run, the most important first."""
    frame = run.table
    return [
        *completeness(run),
        *_other_patterns(frame, baseline),
        *ran_math(frame),
        *flagged(frame),
        *_without_baseline(frame, baseline),
        *failures(frame),
    ]


def completeness(run: StoredRun) -> list[str]:
    """What the table cannot say: cells that were not reached, and processes too few to tell how sure it is."""
    if run.table.empty:
        return ["Nothing was measured: the run was cut short."]
    said = []
    if run.unreached:
        said.append(f"{len(run.table)} of {run.cells} cells: the run was cut short (go on with --resume).")
    threads, cores = (run.environment.get(name, 1) for name in ("threads", "cores"))
    if threads > cores:
        said.append(f"{threads} CPU threads on {cores} cores wait for one another (measure.threads).")
    if run.unfinished:
        said.append(
            f"{run.unfinished} cells have fewer than the suite's {run.processes} processes: the run was cut short "
            "(go on with --resume)."
        )
    if bool((run.table["processes"] == 1).any()):
        said.append("One process: small differences may be noise, and no interval says how large (measure.processes).")
    return said


def pattern_of(row: Mapping[Any, Any]) -> str:
    """The pattern that a row really computed: where one window covers the map, nothing is shifted."""
    alone = row["height"] == row["window_height"] and row["width"] == row["window_width"]
    return Pattern.GROUPED if alone else str(row["pattern"])


def failures(frame: pd.DataFrame) -> list[str]:
    """Why cells have no latency, each reason once."""
    failed = frame[frame["status"] != Status.OK]
    cases = frame["case"].nunique()
    return [
        f"{backend}, {_where(list(cells['case']), cases)}: {status}: {reason}"
        for (backend, status, reason), cells in failed.groupby(["backend", "status", "reason"], sort=False)
    ]


def ran_math(frame: pd.DataFrame) -> list[str]:
    """Which cells torch computed with its unfused kernel."""
    math_cells = frame[frame["kernel"].fillna("").str.startswith(_MATH)]
    return [f"{who}: ran torch's unfused math kernel." for who in _who(math_cells, frame)]


def flagged(frame: pd.DataFrame) -> list[str]:
    """What each flag means, and which cells have it."""
    said = []
    ok = frame[frame["status"] == Status.OK]
    for flag, meaning in _MEANING.items():
        cells = ok[[flag in flags.split() for flags in ok["flags"]]]
        if len(cells) == len(ok) > 1:
            said.append(f"{flag}, every cell: {meaning}.")
        elif len(cells):
            who = "; ".join(_who(cells, ok)) if len(cells) <= _MOST_NAMED else f"{len(cells)} of {len(ok)} cells"
            said.append(f"{flag}, {who}: {meaning}.")
    return said


def _other_patterns(frame: pd.DataFrame, baseline: str | None) -> list[str]:
    by_pattern: dict[str, list[str]] = {}
    for _, cells in frame.groupby("case", sort=False):
        rows = cells.to_dict("records")
        patterns = [pattern_of(row) for row in rows]
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


def _without_baseline(frame: pd.DataFrame, baseline: str | None) -> list[str]:
    if baseline is None:
        return ["No speed-ups: the suite names no baseline (give --baseline)."]
    measured = frame[(frame["backend"] == baseline) & (frame["status"] == Status.OK)]["case"]
    lacking = [case for case in frame["case"].unique() if case not in set(measured)]
    if not lacking:
        return []
    return [f"No speed-ups {_where(lacking, frame['case'].nunique())}: the baseline {baseline} was not measured there."]


def _who(cells: pd.DataFrame, frame: pd.DataFrame) -> list[str]:
    """Backends and where: those of the same cases together."""
    by_place: dict[str, list[str]] = {}
    for backend, rows in cells.groupby("backend", sort=False):
        place = _where(list(rows["case"]), frame["case"].nunique())
        by_place.setdefault(place, []).append(str(backend))
    return [f"{enumerate_names(backends)}, {place}" for place, backends in by_place.items()]


def _where(cases: Sequence[str], total: int) -> str:
    if len(set(cases)) == total:
        return "in every case" if total > 1 else "in the one case"
    if len(cases) > _MOST_NAMED:
        return f"in {len(cases)} of {total} cases"
    return "in " + enumerate_names([f'"{case}"' for case in cases])
