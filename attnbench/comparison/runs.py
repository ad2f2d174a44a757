"""Stored runs compared: by which rule each cell is judged, and what is said of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from attnbench.comparison import history_rule
from attnbench.comparison.cell_verdict import CellKey, differences, median_detectable, verdict_of, worst_first
from attnbench.comparison.definitions import CellVerdict, Comparison, Judgment, Verdict
from attnbench.comparison.levels import current_level
from attnbench.comparison.limits import Limits
from attnbench.comparison.noise import Noise
from attnbench.comparison.selection import mismatch, suite_of, suites_of
from attnbench.comparison.series import RunCells, Series, series_of
from attnbench.core.errors import NotComparableError, UsageError
from attnbench.core.stats import Estimate
from attnbench.core.text import plural
from attnbench.results.accepted import Accepted
from attnbench.results.store import StoredRun

_NO_ANCHORS = "Some runs lack their copy and matmul anchors, so a slower machine looks like slower cells."


def compare(
    base: Sequence[StoredRun],
    candidate: StoredRun,
    *,
    limits: Limits | None = None,
    anyway: bool = False,
    noise: Noise | None = None,
    accepted: Collection[Accepted] = (),
    relative: bool = False,
    notes: Sequence[str] = (),
) -> Comparison:
    """Compare a run with one or several earlier ones.

    Args:
        base: Cells that six or more have, since their last confirmed change, are judged by their history; a change of
            the others is never confirmed.
        candidate: The newer run.
        limits: What fails.
        anyway: Whether to compare runs of unequal fingerprints, or incomplete ones; the comparison says so.
        noise: An A/A test of this machine, for cells without a history.
        accepted: Changes that were accepted: what was measured before says nothing of those cells.
        relative: Whether to divide latencies by that of the suite's baseline backend in the same run, so that runs of
            other processors count.
        notes: What its reader must know besides.

    Raises:
        UsageError: A run is given twice, or is empty, or a limit names no cell.
        NotComparableError: Fingerprints differ, or a run is incomplete.
    """
    _check_distinct([*base, candidate])
    runs = sorted(base, key=lambda run: run.started_at)
    if not anyway:
        _check_comparable(runs, candidate, relative=relative)
    limits = limits or Limits()
    *past, now = [RunCells(run, relative=relative) for run in (*runs, candidate)]
    keys = list({**past[-1].rows, **now.rows})  # a cell that only older runs have was dropped on purpose
    limits.check((key[0], key[1]) for key in keys)
    margins = {key: limits.of(key[0], key[1], default=history_rule.MARGIN) for key in keys}
    changes = {one.cell: one for one in accepted if one.is_before(candidate.started_at)}
    usable = {key: _since(past, changes.get((key[0], key[1]))) for key in keys}
    found = {key: series_of(key, usable[key], now) for key in keys}
    judged = _judge({key: one for key, one in found.items() if one is not None}, margins, noise, relative=relative)
    if relative:
        judged = replace(judged, judgments=_without_divisor(judged.judgments, candidate.baseline))
    cells = []
    for key in keys:
        one = verdict_of(
            key,
            [run.rows[key] for run in usable[key] if key in run.rows],
            now.rows.get(key),
            judged.judgments.get(key),
            margin=margins[key],
            flaky=limits.sets_aside(key[0], key[1]),
        )
        if key in judged.levels_ms and one.base_ms is not None:
            one = replace(one, base_ms=judged.levels_ms[key])
        change = changes.get((key[0], key[1]))
        cells.append(one if change is None else _explained(one, change))
    cells = list(worst_first(cells))
    known = {(key[0], key[1]) for key in keys}
    return Comparison(
        suite=str(candidate.suite.get("name") or ", ".join(sorted(suites_of(candidate)))),
        device=str(candidate.environment.get("device_name", "")),
        base=str(runs[0].path) if len(runs) == 1 else plural(len(runs), "run"),
        candidate=str(candidate.path),
        method=_method(len(runs), noise, judged, relative=relative),
        cells=tuple(cells),
        fail_above=1 + (history_rule.MARGIN if limits.fail_above is None else limits.fail_above),
        min_detectable_ratio=median_detectable(cells),
        differences=tuple(differences(runs[-1].environment, candidate.environment)),
        fingerprint_mismatch=tuple(
            dict.fromkeys(field for run in runs for field in mismatch(run, candidate, relative=relative))
        ),
        notes=(
            *notes,
            *_notes([*runs, candidate]),
            *(() if all(one.divided for one in found.values() if one) else (_NO_ANCHORS,)),
            *(change.sentence for change in changes.values() if change.cell in known),
        ),
        not_compared_reason="" if known <= changes.keys() else _not_compared(cells, runs[-1], candidate),
    )


@dataclass(frozen=True, kw_only=True)
class _Judged:
    judgments: dict[CellKey, Judgment]
    levels_ms: dict[CellKey, float]
    """The latency of the runs that a cell was compared with."""
    histories: int
    """Cells that were judged by their history."""
    others: int
    """Cells that were not."""


def _judge(
    found: Mapping[CellKey, Series], margins: Mapping[CellKey, float], noise: Noise | None, *, relative: bool
) -> _Judged:
    """Judge every cell by the runs of its current level."""
    levels = {key: current_level(one.base, margin=margins[key]) for key, one in found.items()}
    long = {key for key, level in levels.items() if len(level.indices) >= history_rule.FEWEST_RUNS}
    by_history = history_rule.judge_history(
        {key: [found[key].base[index] for index in levels[key].indices] for key in found if key in long},
        {key: found[key].candidate for key in found if key in long},
        margins=margins,
    )
    divided = relative or noise is not None
    ratios = {key: one.ratio(levels[key].indices, divided=divided) for key, one in found.items() if key not in long}
    spreads = None
    if noise is not None:
        counts = {
            key: (len(found[key].candidate), sum(found[key].processes[index] for index in levels[key].indices))
            for key in ratios
        }
        spreads = noise.errors(counts)
    judgments = {**by_history, **history_rule.judge_single(ratios, spreads=spreads, margins=margins)}
    for key, level in levels.items():
        if level.start:
            began = f"level since {found[key].started_at[level.start][:10]}"
            reason = "; ".join(filter(None, (judgments[key].reason, began)))
            judgments[key] = replace(judgments[key], reason=reason)
    levels_ms = {key: found[key].level_ms(level.indices) for key, level in levels.items()}
    return _Judged(judgments=judgments, levels_ms=levels_ms, histories=len(long), others=len(found) - len(long))


def _since(past: Sequence[RunCells], change: Accepted | None) -> list[RunCells]:
    """The runs that say anything of a cell."""
    return [run for run in past if change is None or change.is_before(run.run.started_at)]


def _explained(cell: CellVerdict, change: Accepted) -> CellVerdict:
    """A cell with the change that was accepted; where that is all there is, its level begins here."""
    reason = f"accepted since {change.since[:10]}: {change.why}"
    if cell.verdict is Verdict.ADDED:
        return replace(cell, reason=reason)
    return replace(cell, reason="; ".join(filter(None, (cell.reason, reason))))


def _without_divisor(judgments: Mapping[CellKey, Judgment], baseline: str | None) -> dict[CellKey, Judgment]:
    """The judgments, where the baseline, which divides all others, is always equal to itself."""
    itself = Judgment(
        verdict=Verdict.STABLE, ratio=Estimate(value=1.0, low=None, high=None), reason="the others are divided by it"
    )
    return {key: itself if key[1] == baseline else judgment for key, judgment in judgments.items()}


def _check_comparable(runs: Sequence[StoredRun], candidate: StoredRun, *, relative: bool) -> None:
    for run in runs:
        if fields := mismatch(run, candidate, relative=relative):
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


def _method(runs: int, noise: Noise | None, judged: _Judged, *, relative: bool) -> str:
    parts = []
    if judged.histories:
        divisor = "the baseline backend of the same run" if relative else "its own copy and matmul anchors"
        parts.append(f"by a history of {plural(runs, 'run')}, each divided by {divisor}")
    if judged.others and noise is not None:
        parts.append(
            f"against {plural(runs, 'run')} by the noise of the A/A test {noise.path}, "
            "which makes a change suspect and never confirms it"
        )
    elif judged.others:
        parts.append(
            f"against {plural(runs, 'run')} without an estimate of the noise, so no change of latency is confirmed "
            f"(give {history_rule.FEWEST_RUNS} or more, run attnbench noise, or use attnbench ab)"
        )
    return "; other cells ".join(parts) or f"against {plural(runs, 'run')}"


def _not_compared(cells: Sequence[CellVerdict], base: StoredRun, candidate: StoredRun) -> str:
    if any(cell.compared for cell in cells):
        return ""
    common = any(cell.verdict not in (Verdict.ADDED, Verdict.REMOVED) for cell in cells)
    why = "have no cell that works in both" if common else "have no cell in common"
    return (
        f"nothing can be compared: {base.path} and {candidate.path} {why} ({suite_of(base)} and {suite_of(candidate)})"
    )
