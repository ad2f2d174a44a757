"""Stored runs compared: which runs may be, and by which rule each cell is judged."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnbench.comparison import rules
from attnbench.comparison.cells import (
    CellKey,
    Row,
    differences,
    is_ok,
    median_detectable,
    rows_of,
    verdict_of,
    worst_first,
)
from attnbench.comparison.noise import Noise
from attnbench.comparison.rules import Judgment
from attnbench.comparison.verdict import CellVerdict, Comparison, Verdict
from attnbench.core.errors import NotComparableError, UsageError
from attnbench.core.record import Ceilings, fingerprint_mismatch
from attnbench.core.text import plural
from attnbench.results.store import StoredRun, find_runs, is_run
from attnbench.results.table import anchor, processes_of

_NO_ANCHORS = "Some runs lack their copy and matmul anchors, so a slower machine looks like slower cells."


@dataclass(frozen=True, kw_only=True)
class BaseRuns:
    """Base runs, and notes on those left out."""

    runs: tuple[StoredRun, ...]
    notes: tuple[str, ...] = ()


def gather(paths: Sequence[Path], candidate: StoredRun) -> BaseRuns:
    """The base runs at some paths. Of a directory of runs, those the candidate can be compared with.

    Raises:
        StoredRunError: There is no run, or one is damaged.
        NotComparableError: A directory holds runs, but none that can be compared.
    """
    runs: list[StoredRun] = []
    notes: list[str] = []
    for path in paths:
        found = find_runs(path, but=candidate.path)
        selected = BaseRuns(runs=found.runs) if is_run(path) else select(found.runs, candidate, of=str(path))
        runs += selected.runs
        notes += [*found.notes, *selected.notes]
    return BaseRuns(runs=tuple(runs), notes=tuple(notes))


def select(found: Sequence[StoredRun], candidate: StoredRun, *, of: str) -> BaseRuns:
    """Complete runs of the candidate's suite and fingerprint, each once, without the candidate itself.

    Args:
        found: Oldest first.
        candidate: What is to be compared with them.
        of: What holds them, for messages.

    Raises:
        NotComparableError: There is none.
    """
    same_suite = [run for run in found if _suites(run) & _suites(candidate)]
    comparable = [run for run in same_suite if not _mismatch(run, candidate)]
    others = {run.identity: run for run in comparable if run.identity != candidate.identity}
    complete = [
        run for run in others.values() if not run.table.empty and not run.incomplete and _has_anchors(run, candidate)
    ]
    if not complete:
        if not found:
            why = "it is empty"
        elif not same_suite:
            why = f"the newest is of {_suite(found[-1])}, not {_suite(candidate)}"
        elif not comparable:
            why = f"the newest was not measured alike: {'; '.join(_mismatch(same_suite[-1], candidate))}"
        else:
            why = "it holds only this run" if not others else "every other run is incomplete"
        raise NotComparableError(f"{of} holds no run that {candidate.path} can be compared with: {why}")
    notes = []
    if left := len(found) - len(comparable):
        notes.append(f"Left out {plural(left, 'run')} of other suites or machines in {of}.")
    if left := len(others) - len(complete):
        notes.append(f"Left out {plural(left, 'incomplete run')} in {of}.")
    return BaseRuns(runs=tuple(complete), notes=tuple(notes))


def compare(
    base: Sequence[StoredRun],
    candidate: StoredRun,
    *,
    fail_above: float | None = None,
    anyway: bool = False,
    noise: Noise | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    """Compare a run with one or several earlier ones.

    Args:
        base: Cells that six or more have are judged by their history; a change of the others is never confirmed.
        candidate: The newer run.
        fail_above: The slowdown that fails, such as 0.05.
        anyway: Whether to compare runs of unequal fingerprints, or incomplete ones; the comparison says so.
        noise: An A/A test of this machine, for cells without a history.
        notes: What its reader must know besides.

    Raises:
        UsageError: A run is given twice, or is empty.
        NotComparableError: Fingerprints differ, or a run is incomplete.
    """
    _check_distinct([*base, candidate])
    runs = sorted(base, key=lambda run: str(run.environment.get("started_at", "")))
    if not anyway:
        _check_comparable(runs, candidate)
    margin = rules.HISTORY_MARGIN if fail_above is None else fail_above
    tables, now = [rows_of(run.table) for run in runs], rows_of(candidate.table)
    latencies = _latencies(runs, tables, candidate, now)
    anchored = all(cell.anchored for cell in latencies.values())
    histories = {key: cell for key, cell in latencies.items() if len(cell.base) >= rules.FEWEST_RUNS}
    others = {key: cell for key, cell in latencies.items() if key not in histories}
    judgments = {**_judge_histories(histories, margin), **_judge_others(others, margin, noise)}
    cells = worst_first(
        verdict_of(key, [table[key] for table in tables if key in table], now.get(key), judgments.get(key))
        for key in {**tables[-1], **now}  # a cell that only older runs have was dropped on purpose
    )
    return Comparison(
        suite=str(candidate.suite.get("name") or ", ".join(sorted(_suites(candidate)))),
        device=str(candidate.environment.get("device_name", "")),
        base=str(runs[0].path) if len(runs) == 1 else plural(len(runs), "run"),
        candidate=str(candidate.path),
        method=_method(len(runs), noise, histories=bool(histories), others=bool(others)),
        cells=cells,
        fail_above=1 + margin,
        min_detectable_ratio=median_detectable(cells),
        differences=tuple(differences(runs[-1].environment, candidate.environment)),
        fingerprint_mismatch=tuple(dict.fromkeys(field for run in runs for field in _mismatch(run, candidate))),
        notes=(*notes, *_notes([*runs, candidate]), *(() if anchored else (_NO_ANCHORS,))),
        not_compared_reason=_not_compared(cells, runs[-1], candidate),
    )


@dataclass(frozen=True, kw_only=True)
class _Latencies:
    """One cell that is ok in the candidate and in base runs."""

    base: list[float]
    """The log latency over the run's own anchors, of every base run."""
    candidate: list[float]
    """The same of every process of the candidate."""
    anchored: bool
    """Whether every run has anchors; otherwise none is used."""
    log_ratio: float
    """log(candidate / base) without anchors."""
    processes: tuple[int, int]
    """In candidate and base."""


def _latencies(
    runs: Sequence[StoredRun],
    tables: Sequence[Mapping[CellKey, Row]],
    candidate: StoredRun,
    now: Mapping[CellKey, Row],
) -> dict[CellKey, _Latencies]:
    found = {}
    for key, row in now.items():
        past = [(run, table[key]) for run, table in zip(runs, tables, strict=True) if is_ok(table.get(key))]
        if not (past and is_ok(row)):
            continue
        ceilings = [
            run.environment.get("ceilings", {}).get(row["dtype"]) for run in (candidate, *(run for run, _ in past))
        ]
        anchored = all(ceilings)
        anchors = [anchor(Ceilings(**one)) if anchored else 0.0 for one in ceilings]
        base = [math.log(before["latency_ms"]) for _, before in past]
        found[key] = _Latencies(
            base=[log - its_anchor for log, its_anchor in zip(base, anchors[1:], strict=True)],
            candidate=[math.log(latency_ms) - anchors[0] for latency_ms in _processes(row)],
            anchored=anchored,
            log_ratio=math.log(row["latency_ms"]) - statistics.fmean(base),
            processes=(len(_processes(row)), sum(len(_processes(before)) for _, before in past)),
        )
    return found


def _judge_histories(cells: Mapping[CellKey, _Latencies], margin: float) -> dict[CellKey, Judgment]:
    base = {key: cell.base for key, cell in cells.items()}
    return rules.judge_history(base, {key: cell.candidate for key, cell in cells.items()}, fail_above=margin)


def _judge_others(cells: Mapping[CellKey, _Latencies], margin: float, noise: Noise | None) -> dict[CellKey, Judgment]:
    if noise is None:
        return rules.judge_single({key: cell.log_ratio for key, cell in cells.items()}, fail_above=margin)
    ratios = {key: statistics.fmean(cell.candidate) - statistics.fmean(cell.base) for key, cell in cells.items()}
    spreads = noise.errors({key: cell.processes for key, cell in cells.items()})
    return rules.judge_single(ratios, spreads=spreads, fail_above=margin)


def _has_anchors(run: StoredRun, candidate: StoredRun) -> bool:
    """Whether a run that was killed in its last moments lacks what the candidate has."""
    return bool(run.environment.get("ceilings")) or not candidate.environment.get("ceilings")


def _processes(row: Row) -> list[float]:
    """The latencies of a cell's processes; older tables have the cell's alone."""
    return list(processes_of(row).values()) or [row["latency_ms"]]


def _mismatch(before: StoredRun, after: StoredRun) -> list[str]:
    """Fields of the fingerprint that differ; tables kept without an environment have none."""
    return fingerprint_mismatch(*(run.environment.get("fingerprint", {}) for run in (before, after)))


def _check_comparable(runs: Sequence[StoredRun], candidate: StoredRun) -> None:
    for run in runs:
        if fields := _mismatch(run, candidate):
            raise NotComparableError(
                f"{run.path} and {candidate.path} were not measured alike: {'; '.join(fields)}; "
                "measure both on one machine, or add --anyway"
            )
    for run in (*runs, candidate):
        if run.incomplete:
            raise NotComparableError(
                f"{run.path} is incomplete: {run.incomplete}; "
                f"resume it with attnbench run SUITE --resume {run.path}, or add --anyway"
            )


def _check_distinct(runs: Sequence[StoredRun]) -> None:
    seen: dict[object, StoredRun] = {}
    for run in runs:
        if run.table.empty:
            raise UsageError(f"{run.path} holds no cells: it was interrupted before anything was measured")
        for key in (run.path.resolve(), *([run.identity] if run.environment else [])):
            if key in seen:
                copied = "" if seen[key].path == run.path else f" ({seen[key].path} is a copy of it)"
                raise UsageError(f"{run.path} is given twice{copied}; compare different runs")
            seen[key] = run


def _notes(runs: Sequence[StoredRun]) -> list[str]:
    incomplete = [f"{run.path} is incomplete: {run.incomplete}." for run in runs if run.incomplete]
    unknown = [
        f"{run.path} has no environment.json, so it may be of another machine." for run in runs if not run.environment
    ]
    return incomplete + unknown


def _method(runs: int, noise: Noise | None, *, histories: bool, others: bool) -> str:
    parts = []
    if histories:
        parts.append(f"by a history of {plural(runs, 'run')}, each divided by its own copy and matmul anchors")
    if others and noise is not None:
        parts.append(
            f"against {plural(runs, 'run')} by the noise of the A/A test {noise.path}, "
            "which makes a change suspect and never confirms it"
        )
    elif others:
        parts.append(
            f"against {plural(runs, 'run')} without an estimate of the noise, so no change of latency is confirmed "
            f"(give {rules.FEWEST_RUNS} or more, run attnbench noise, or use attnbench ab)"
        )
    return "; other cells ".join(parts) or f"against {plural(runs, 'run')}"


def _not_compared(cells: Sequence[CellVerdict], base: StoredRun, candidate: StoredRun) -> str:
    if any(cell.compared for cell in cells):
        return ""
    common = any(cell.verdict not in (Verdict.ADDED, Verdict.REMOVED) for cell in cells)
    why = "have no cell that works in both" if common else "have no cell in common"
    return f"nothing can be compared: {base.path} and {candidate.path} {why} ({_suite(base)} and {_suite(candidate)})"


def _suites(run: StoredRun) -> set[str]:
    return set(map(str, run.table["suite"].unique()))


def _suite(run: StoredRun) -> str:
    return f"suite {', '.join(sorted(_suites(run)))}"
