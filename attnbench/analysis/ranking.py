"""Who is fastest in every case, and how surely: ties are told by the interval of the paired ratio."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from attnbench.core.stats import Estimate, geometric_mean, paired_ratio
from attnbench.results.rows import Function, Row, function_of, is_trusted
from attnbench.results.table import processes_of


class Certainty(StrEnum):
    """How surely the fastest backend of a contest is the fastest."""

    CLEAR = "clear"
    """The 95 % interval of every other backend's ratio to it excludes 1."""
    TIE = "tie"
    """The interval of at least one other contains 1."""
    UNKNOWN = "unknown"
    """One process: there are no intervals."""
    ALONE = "alone"
    """No other backend was measured."""
    NONE = "none"
    """No backend was measured."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One measured backend of a contest."""

    row: Row
    times_best: Estimate
    """Its latency over that of the fastest, paired by process; 1 for the fastest."""
    tied: bool
    """Whether it is the fastest, or its interval contains 1."""

    @property
    def backend(self) -> str:
        """The backend's label."""
        return str(self.row["backend"])


@dataclass(frozen=True, kw_only=True)
class Contest:
    """All backends that computed one function in one case."""

    case: str
    function: Function
    standings: tuple[Standing, ...]
    """Those measured, fastest first."""
    failed: tuple[Row, ...]
    """Those without a latency, or with one that is implausible."""

    @property
    def winners(self) -> tuple[Standing, ...]:
        """The fastest and all that tie with it."""
        return tuple(standing for standing in self.standings if standing.tied)

    @property
    def next(self) -> Standing | None:
        """The fastest of those that are surely slower; without intervals, the second."""
        return next((standing for standing in self.standings[1:] if not standing.tied), None)

    @cached_property
    def certainty(self) -> Certainty:
        """How surely the fastest is the fastest."""
        if len(self.standings) < 2:  # noqa: PLR2004 - nothing to compare with
            return Certainty.ALONE if self.standings else Certainty.NONE
        if any(standing.times_best.low is None for standing in self.standings[1:]):
            return Certainty.UNKNOWN
        return Certainty.TIE if len(self.winners) > 1 else Certainty.CLEAR


def contests(rows: Iterable[Row]) -> list[Contest]:
    """The rows of a run by case and function, in the order of the suite."""
    groups: dict[tuple[str, Function], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["case"], function_of(row)), []).append(row)
    return [_contest(case, function, group) for (case, function), group in groups.items()]


def by_case(found: Iterable[Contest]) -> dict[str, Contest]:
    """The contest of every case with the most backends: whoever computes another function has one of its own."""
    fullest: dict[str, Contest] = {}
    for contest in found:
        known = fullest.get(contest.case)
        if known is None or len(contest.standings) > len(known.standings):
            fullest[contest.case] = contest
    return fullest


def _contest(case: str, function: Function, rows: Sequence[Row]) -> Contest:
    measured = sorted(filter(is_trusted, rows), key=lambda row: (row["latency_ms"], row["backend"]))
    standings = []
    for row in measured:
        ratio = Estimate(value=1.0, low=1.0, high=1.0) if row is measured[0] else ratio_of(row, measured[0])
        tied = row is measured[0] or (ratio.low is not None and ratio.holds(1.0))
        standings.append(Standing(row=row, times_best=ratio, tied=tied))
    failed = tuple(row for row in rows if not is_trusted(row))
    return Contest(case=case, function=function, standings=tuple(standings), failed=failed)


def ratio_of(above: Row, below: Row) -> Estimate:
    """The ratio of two latencies: paired by process where processes are known, else without an interval."""
    paired = paired_ratio(processes_of(above), processes_of(below))
    return paired or Estimate(value=above["latency_ms"] / below["latency_ms"], low=None, high=None)


@dataclass(frozen=True, kw_only=True)
class Overall:
    """How one backend did over all contests with two backends or more."""

    backend: str
    contests: int
    """Contests in which it took part, measured or failed."""
    measured: int
    won: int
    """Contests that it surely won."""
    best: int
    """Contests in which it is the fastest or ties with it."""
    times_best: float | None
    """Geometric mean of its latency over that of the fastest; None if it was measured in none."""
    worst: Standing | None
    """Where it is furthest from the fastest."""
    worst_case: str


def overall(found: Sequence[Contest]) -> list[Overall]:
    """Every backend, best first: by contests in which it was measured, then by its mean distance from the fastest.

    Not by ties: an uncertain backend ties more often.
    """
    decided = [contest for contest in found if len(contest.standings) > 1]
    places: dict[str, list[tuple[Contest, Standing]]] = {}
    failures: dict[str, int] = {}
    for contest in decided:
        for standing in contest.standings:
            places.setdefault(standing.backend, []).append((contest, standing))
        for row in contest.failed:
            failures[row["backend"]] = failures.get(row["backend"], 0) + 1
    result = [_overall(name, places.get(name, []), failures.get(name, 0)) for name in {**places, **failures}]
    return sorted(result, key=lambda one: (-one.measured, one.times_best or 0.0, one.backend))


def _overall(backend: str, places: Sequence[tuple[Contest, Standing]], failures: int) -> Overall:
    worst_contest, worst = max(places, key=lambda place: place[1].times_best.value, default=(None, None))
    return Overall(
        backend=backend,
        contests=len(places) + failures,
        measured=len(places),
        won=sum(contest.certainty is Certainty.CLEAR and standing.tied for contest, standing in places),
        best=sum(standing.tied for _, standing in places),
        times_best=geometric_mean([standing.times_best.value for _, standing in places]) if places else None,
        worst=worst,
        worst_case=worst_contest.case if worst_contest else "",
    )


def share_within(found: Sequence[Contest], backend: str, factor: float) -> float | None:
    """The share of contests in which a backend is at most ``factor`` times as slow as the fastest.

    The performance profile of Dolan and Moré 2002, section 2: what it failed to compute counts as infinitely slow.

    Returns:
        None where it took part in no contest with two measured backends.
    """
    within = took_part = 0
    for contest in found:
        if len(contest.standings) < 2:  # noqa: PLR2004 - nothing to compare with
            continue
        took_part += any(row["backend"] == backend for row in contest.failed)
        for standing in contest.standings:
            if standing.backend == backend:
                took_part += 1
                within += standing.times_best.value <= factor
    return within / took_part if took_part else None
