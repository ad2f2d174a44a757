"""The backend to use for a problem, from stored runs: as measured, or between measured sizes by a power law."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from attnbench.analysis.power_law import fit
from attnbench.analysis.ranking import contests
from attnbench.core.errors import NotComparableError, StoredRunError
from attnbench.core.problem import Axis, Problem
from attnbench.core.stats import Estimate
from attnbench.core.text import MEBIBYTE
from attnbench.results.journal import RESULTS
from attnbench.results.rows import Row, function_of, is_ok, is_trusted, latency_of, missing
from attnbench.results.store import StoredRun, find_runs
from attnbench.results.table import problem_of

LARGEST_ERROR = 1.15
"""A power law holds where it predicts every measured latency within this factor without having seen it."""
_LARGEST_MEMORY_ERROR = 1.05
"""Peak memory repeats to the byte."""


class NotCoveredError(NotComparableError):
    """Stored runs say nothing about a problem: exit code 4.

    Args:
        message: Why.
        near: Backends whose power law covers the problem: the nearest reason is the one to tell.
    """

    def __init__(self, message: str, near: int = 0) -> None:
        super().__init__(message)
        self.near = near


class Basis(StrEnum):
    """What a recommendation rests on."""

    MEASURED = "measured"
    """The very problem was measured."""
    MODEL = "model"
    """It lies between measured sizes, and a power law through them holds."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A backend that could be used."""

    backend: str
    """Its label in the run."""
    name: str
    """What ``attnbench.backends.registry.load`` takes: a backend's name, or its path."""
    latency_ms: Estimate
    times_best: Estimate
    """Its latency over the recommended backend's, with its 95 % interval if there is one."""
    peak_bytes: int | None
    """Peak memory of one call; None if unknown."""
    tied: bool
    """Whether the interval of ``times_best`` contains 1."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What to use, and how sure that is."""

    problem: Problem
    basis: Basis
    candidates: tuple[Candidate, ...]
    """Fastest first: the recommended one, then the others."""
    excluded: tuple[str, ...]
    """Why other backends are not among them, a sentence each."""
    run: str
    """The directory of the run that it rests on."""
    device: str
    torch: str
    points: int
    """Measured cases that it rests on."""
    error: float | None
    """With a model: the largest factor by which it missed a measured latency that it had not seen."""

    @property
    def backend(self) -> str:
        """The backend to use."""
        return self.candidates[0].backend

    @property
    def name(self) -> str:
        """The same as ``LocallyGroupedAttention(backend=...)`` takes it."""
        return self.candidates[0].name

    @property
    def runner_up(self) -> Candidate | None:
        """The next one."""
        return self.candidates[1] if len(self.candidates) > 1 else None

    @property
    def sure(self) -> bool | None:
        """Whether no other backend ties with it; None where one process, or no other backend, cannot tell."""
        others = self.candidates[1:]
        if not others or any(other.times_best.low is None for other in others):
            return None
        return not any(other.tied for other in others)


def best(
    problem: Problem,
    runs: str | Path | Sequence[str | Path] = RESULTS,
    *,
    device_type: str | None = None,
    memory_limit: int | None = None,
) -> Recommendation:
    """The fastest backend for a problem, from stored runs.

    Args:
        problem: What is to be computed.
        runs: Run directories, or directories of runs; the newest run that covers the problem decides.
        device_type: Take runs of such devices alone: ``cpu`` or ``cuda``.
        memory_limit: The most bytes that one call may allocate at its peak.

    Raises:
        StoredRunError: There is no run.
        NotCoveredError: The runs are of several devices, or none of them covers the problem.
    """
    return recommend(read_runs(runs, device_type=device_type), problem, memory_limit=memory_limit)


def read_runs(
    runs: str | Path | Sequence[str | Path],
    *,
    device_type: str | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> list[StoredRun]:
    """All runs at some paths, newest first.

    Args:
        runs: Run directories, or directories of runs.
        device_type: Of such devices alone; None for all.
        say: Takes a sentence for every run that cannot be read.

    Raises:
        StoredRunError: There is none.
    """
    paths = [Path(runs)] if isinstance(runs, str | Path) else list(map(Path, runs))
    for path in paths:
        if not path.exists():
            raise StoredRunError(f"{path} does not exist; name a directory of runs (attnbench run SUITE makes one)")
    found: list[StoredRun] = []
    for path in paths:
        below = find_runs(path)
        found += below.runs
        for note in below.notes:
            say(note)
    if device_type is not None:
        found = [run for run in found if str(run.environment.get("device", "")).partition(":")[0] == device_type]
    return sorted(found, key=lambda run: str(run.environment.get("started_at", "")), reverse=True)


def recommend(runs: Sequence[StoredRun], problem: Problem, *, memory_limit: int | None = None) -> Recommendation:
    """The fastest backend for a problem, from runs, newest first.

    Raises:
        NotCoveredError: They are of several devices, or none covers the problem.
    """
    devices = list(dict.fromkeys(str(run.environment.get("device_name", "an unknown device")) for run in runs))
    if len(devices) > 1:
        raise NotCoveredError(f"the runs are of several devices ({', '.join(devices)}); name those of one (--from)")
    tried: list[NotCoveredError] = []
    near: list[NotCoveredError] = []
    for attempt, reasons in ((_measured, tried), (_modelled, near)):
        for run in runs:
            try:
                return attempt(run, problem, memory_limit)
            except NotCoveredError as reason:
                reasons.append(reason)
    told = f"no backend can be recommended for {problem.label}"
    if why := next(filter(None, map(str, tried)), ""):
        raise NotCoveredError(f"{told}: {why}")
    nearest = max(filter(str, near), key=lambda reason: reason.near, default="no run measured anything like it")
    raise NotCoveredError(f"{told}: {nearest}; measure it")


def _measured(run: StoredRun, problem: Problem, memory_limit: int | None) -> Recommendation:
    wanted = function_of(_as_row(problem))
    found = [row for row in run.rows if function_of(row) == wanted]
    # A case of grouped windows holds the one backend that always shifts them; a shifted case holds them all.
    fullest = Counter(row["case"] for row in found if is_ok(row)).most_common(1)
    rows = [row for row in found if row["case"] == fullest[0][0]] if fullest else found
    fitting, excluded = _within_memory(rows, memory_limit)
    standings = [standing for contest in contests(fitting) for standing in contest.standings]
    if not standings:
        raise NotCoveredError("; ".join(excluded), near=len(excluded))
    candidates = tuple(
        Candidate(
            backend=standing.backend,
            name=_names(run).get(standing.backend, standing.backend),
            latency_ms=latency_of(standing.row),
            times_best=standing.times_best,
            peak_bytes=_peak(standing.row),
            tied=standing.tied,
        )
        for standing in standings
    )
    return _recommendation(run, problem, Basis.MEASURED, candidates, excluded, points=1, error=None)


def _within_memory(rows: Iterable[Row], limit: int | None) -> tuple[list[Row], list[str]]:
    fitting, excluded = [], []
    for row in rows:
        if not is_ok(row):
            excluded.append(f"{row['backend']}: {row['status']}: {row['reason']}")
        elif not is_trusted(row):
            excluded.append(f"{row['backend']}: implausible: faster than the device's ceilings allow")
        elif why := _too_large(_peak(row), limit):
            excluded.append(f"{row['backend']}: {why}")
        else:
            fitting.append(row)
    return fitting, excluded


def _too_large(peak: int | None, limit: int | None) -> str:
    if limit is None or (peak is not None and peak <= limit):
        return ""
    if peak is None:
        return "its peak memory is not known"
    return f"its peak memory of {peak / MEBIBYTE:.3g} MiB is above the limit of {limit / MEBIBYTE:.3g} MiB"


def _modelled(run: StoredRun, problem: Problem, memory_limit: int | None) -> Recommendation:
    alike = [row for row in run.rows if is_trusted(row) and _alike(row, problem)]
    if not alike:
        raise NotCoveredError("")
    asked = _sizes(problem)
    candidates, excluded, errors = [], [], []
    too_large: set[str] = set()
    near, names = 0, _names(run)
    for backend in dict.fromkeys(row["backend"] for row in alike):
        rows = [row for row in alike if row["backend"] == backend]
        law = fit(*_points(rows, lambda row: float(row["latency_ms"])))
        if law is None:
            excluded.append(f"{backend}: {len(rows)} measured cases are too few for a model")
        elif not law.covers(asked):
            excluded.append(f"{backend}: the problem lies outside of what was measured")
        elif law.error > LARGEST_ERROR:
            near += 1
            off = 100 * (law.error - 1)
            excluded.append(f"{backend}: no power law holds: it misses measured latencies by up to {off:.0f} %")
        elif why := _too_large(peak := _peak_between(rows, asked), memory_limit):
            excluded.append(f"{backend}: {why}")
            too_large.add(backend)
        else:
            unknown = Estimate(value=1.0, low=1.0, high=1.0)
            latency = law.predict(asked)
            errors.append(law.error)
            candidates.append(
                Candidate(
                    backend=backend,
                    name=names.get(backend, backend),
                    latency_ms=latency,
                    times_best=unknown,
                    peak_bytes=peak,
                    tied=True,
                )
            )
    could_win = {standing.backend for contest in contests(alike) for standing in contest.winners}
    if unpredictable := could_win - {one.backend for one in candidates} - too_large:
        raise NotCoveredError("; ".join(one for one in excluded if one.partition(": ")[0] in unpredictable), near)
    if not candidates:
        raise NotCoveredError("; ".join(excluded), near)
    candidates.sort(key=lambda one: (one.latency_ms.value, one.backend))
    against = [row for row in alike if row["backend"] == candidates[0].backend]
    ranked = [candidates[0], *(_compared(one, candidates[0], alike, against, asked) for one in candidates[1:])]
    points = len(against)
    return _recommendation(
        run, problem, Basis.MODEL, tuple(ranked), excluded, points=points, error=max(errors, default=None)
    )


def _compared(
    other: Candidate, winner: Candidate, rows: Sequence[Row], against: Sequence[Row], asked: Sequence[float]
) -> Candidate:
    """A candidate with its ratio to the winner: by a power law through the ratios of the cases that both have."""
    theirs = {row["case"]: row["latency_ms"] for row in against}
    shared = [row for row in rows if row["backend"] == other.backend and row["case"] in theirs]
    law = fit(*_points(shared, lambda row: float(row["latency_ms"]) / float(theirs[row["case"]])))
    plain = Estimate(value=other.latency_ms.value / winner.latency_ms.value, low=None, high=None)
    ratio = plain if law is None or not law.covers(asked) else law.predict(asked)
    return replace(other, times_best=ratio, tied=ratio.low is not None and ratio.holds(1.0))


def _peak_between(rows: Sequence[Row], asked: Sequence[float]) -> int | None:
    known = [row for row in rows if _peak(row)]
    law = fit(*_points(known, lambda row: float(row["peak_bytes"])))
    if law is None or not law.covers(asked) or law.error > _LARGEST_MEMORY_ERROR:
        return None
    return round(law.predict(asked).value)


def _points(rows: Sequence[Row], value: Callable[[Row], float]) -> tuple[list[tuple[float, ...]], list[float]]:
    return [_sizes(problem_of(row)) for row in rows], [value(row) for row in rows]


def _sizes(problem: Problem) -> tuple[float, ...]:
    """What latency and memory are taken to be powers of: padded tokens of all images, tokens of a window, heads."""
    return (float(problem.batch * problem.windows * problem.tokens), float(problem.tokens), float(problem.heads))


def _alike(row: Row, problem: Problem) -> bool:
    """Whether a row differs from the problem in sizes alone; padding is of one kind with padding."""
    other = problem_of(row)
    same = ("head_dim", "dtype", "mode", "padding", "bias", "scope")
    return (
        all(getattr(other, name) == getattr(problem, name) for name in same)
        and other.shifted == problem.shifted
        and other.padded == problem.padded
        and _is_one_window(other) == _is_one_window(problem)
    )


def _is_one_window(problem: Problem) -> bool:
    sides: tuple[Axis, Axis] = (problem.rows, problem.columns)
    return all(side.windows == 1 for side in sides)


def _names(run: StoredRun) -> dict[str, str]:
    """By label, the names of backends that the suite gave a label of their own."""
    listed = run.suite.get("backends")
    entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return {str(one["label"]): str(one["name"]) for one in entries if "label" in one and "name" in one}


def _as_row(problem: Problem) -> Row:
    return problem.to_json()


def _peak(row: Row) -> int | None:
    return None if missing(row["peak_bytes"]) else int(row["peak_bytes"])


def _recommendation(
    run: StoredRun,
    problem: Problem,
    basis: Basis,
    candidates: tuple[Candidate, ...],
    excluded: Sequence[str],
    *,
    points: int,
    error: float | None,
) -> Recommendation:
    return Recommendation(
        problem=problem,
        basis=basis,
        candidates=candidates,
        excluded=tuple(dict.fromkeys(excluded)),
        run=str(run.path),
        device=str(run.environment.get("device_name", "")),
        torch=str(run.environment.get("torch", "")),
        points=points,
        error=error,
    )
