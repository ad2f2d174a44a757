"""The answer as a table: the fastest backend of every case, and above it one sentence over all of them."""

from __future__ import annotations

from collections.abc import Sequence

from attnbench.analysis.ranking import Certainty, Contest, Overall, by_case, contests, overall, ratio_of
from attnbench.core.problem import Mode
from attnbench.core.record import Status
from attnbench.core.stats import Estimate, geometric_mean
from attnbench.report.charts.answers import lead_text
from attnbench.report.layout import Column, Grid, enumerate_names
from attnbench.report.notes import unavailable_everywhere, where
from attnbench.report.numbers import NOTHING, ratio_interval, relative_error, rounded, significant, spelled
from attnbench.results.rows import Row, is_ok, latency_of
from attnbench.results.store import StoredRun
from attnbench.results.table import PROBLEM

UNSURE = "~"
"""Before a speed-up whose interval contains 1x."""
_MODE = PROBLEM.index("mode")
_PURPOSE = {Mode.FORWARD: "inference", Mode.FORWARD_BACKWARD: "training"}
_MOST_TIED = 3
_BOTH = 2
_UNCERTAIN = {Certainty.TIE: " (tie)", Certainty.ALONE: " (alone)"}
_LEAST_CASE = 24


def answer_grid(run: StoredRun, *, baseline: str | None) -> Grid | None:
    """One line per case: the fastest backend, by how much over the baseline, how near the limit, and who follows.

    Args:
        run: The run.
        baseline: The backend that speed-ups refer to.

    Returns:
        None where no two backends can be compared.
    """
    found = contests(run.rows)
    lines = [_Line(contest, baseline) for contest in by_case(found).values()]
    if not any(len(line.contest.standings) > 1 for line in lines):
        return None
    speed_ups = [line.speed_up for line in lines]
    columns = [
        Column(
            header="case",
            cells=tuple(line.contest.case for line in lines),
            numeric=False,
            wraps=True,
            least=_LEAST_CASE,
        ),
        Column(header="fastest", cells=tuple(line.fastest for line in lines), numeric=False, wraps=True),
        Column(header="latency ms", cells=tuple(line.latency for line in lines)),
    ]
    if any(speed_ups):
        columns.append(Column(header=f"vs {baseline}", cells=tuple(line.times for line in lines)))
        intervals = tuple(map(ratio_interval, speed_ups))
        if set(intervals) != {NOTHING}:
            columns.append(Column(header=f"95 % of vs {baseline}", cells=intervals, rank=2))
    columns += [
        Column(header="of roofline", cells=tuple(line.roofline for line in lines), rank=1),
        Column(
            header="next slower",
            cells=tuple(line.following for line in lines),
            numeric=False,
            rank=3,
        ),
    ]
    if not any(line.following != NOTHING for line in lines):
        columns.pop()
    absent = _not_measured(run.rows)
    return Grid(title=headline(found, baseline), subtitle=absent, columns=tuple(columns))


def headline(found: Sequence[Contest], baseline: str | None) -> str:
    """What to use and what that gains: one sentence over all cases, or one for inference and one for training.

    Args:
        found: Some of them have two backends to compare.
        baseline: The backend that speed-ups refer to.
    """
    decided = [contest for contest in found if len(contest.standings) > 1]
    modes = list(dict.fromkeys(contest.function[_MODE] for contest in decided))
    if len(modes) == 1:
        told = [_sentence("Use", decided, baseline)]
    else:
        told = [
            _sentence(f"For {_PURPOSE[mode]} use", [one for one in decided if one.function[_MODE] == mode], baseline)
            for mode in modes
        ]
    if any(contest.certainty is Certainty.UNKNOWN for contest in decided):
        told.append("How sure that is cannot be told from one process.")
    return " ".join(told)


def _sentence(use: str, found: Sequence[Contest], baseline: str | None) -> str:
    best, *others = overall(found)
    equal = [one.backend for one in others if best.best == best.contests == one.best == one.contests]
    sure = not any(contest.certainty is Certainty.UNKNOWN for contest in found)
    told = f"{use} {best.backend}: {_standing(best, sure=sure)}{_gain(best.backend, found, baseline)}."
    return f"{told} {enumerate_names(equal)} cannot be told from it." if equal else told


def _standing(best: Overall, *, sure: bool) -> str:
    fastest = "the fastest, or tied with it," if sure and best.won < best.best else "the fastest"
    if best.contests == 1:
        return fastest.rstrip(",") if best.best else "measured"
    if best.best == best.contests:
        where_best = "in both cases" if best.contests == _BOTH else f"in all {best.contests} cases"
    else:
        where_best = f"in {best.best or 'none'} of {best.contests} cases"
    told = f"{fastest} {where_best}"
    if best.worst is not None and not best.worst.tied:
        told += f', at worst {significant(best.worst.times_best.value)}x the time of the fastest ("{best.worst_case}")'
    if best.measured < best.contests:
        told += f", not measured in {best.contests - best.measured}"
    return told


def _gain(backend: str, found: Sequence[Contest], baseline: str | None) -> str:
    """By how much a backend is faster than the baseline, on the geometric mean over cases."""
    ratios = []
    for contest in found:
        times = {standing.backend: standing.times_best.value for standing in contest.standings}
        if baseline in times and backend in times and backend != baseline:
            ratios.append(times[baseline] / times[backend])
    if not ratios:
        return ""
    average = " on average" if len(ratios) > 1 else ""
    mean = geometric_mean(ratios)
    return f"; {significant(mean)}x as fast as {baseline}{average}"


class _Line:
    """One case."""

    def __init__(self, contest: Contest, baseline: str | None) -> None:
        self.contest = contest
        self._best: Row | None = contest.standings[0].row if contest.standings else None
        self._baseline: Row | None = next(
            (standing.row for standing in contest.standings if standing.backend == baseline), None
        )

    @property
    def fastest(self) -> str:
        """The fastest backend and those that tie with it."""
        names = [standing.backend for standing in self.contest.winners]
        more = len(names) - _MOST_TIED
        told = [*names[:_MOST_TIED], f"{more} more"] if more > 0 else names
        return f"{enumerate_names(told)}{_UNCERTAIN.get(self.contest.certainty, '')}" if names else "not measured"

    @property
    def latency(self) -> str:
        """Of the fastest."""
        if self._best is None:
            return NOTHING
        latency = latency_of(self._best)
        return rounded(latency.value, latency.uncertainty)

    @property
    def speed_up(self) -> Estimate | None:
        """Of the fastest, over the baseline."""
        if self._best is None or self._baseline is None or self._best is self._baseline:
            return None
        return ratio_of(self._baseline, self._best)

    @property
    def times(self) -> str:
        """The speed-up as text."""
        if self._best is not None and self._best is self._baseline:
            return "1x"
        return speed_up_text(self.speed_up)

    @property
    def roofline(self) -> str:
        """How near the fastest is to what the device allows."""
        if self._best is None:
            return NOTHING
        return spelled("roofline_fraction", self._best["roofline_fraction"], relative_error(self._best))

    @property
    def following(self) -> str:
        """The next that is surely slower, and by how much."""
        return lead_text(self.contest) or NOTHING


def speed_up_text(speed_up: Estimate | None) -> str:
    """A speed-up, marked where it may be none."""
    if speed_up is None:
        return NOTHING
    unsure = speed_up.uncertainty is not None and speed_up.holds(1.0)
    return f"{UNSURE if unsure else ''}{rounded(speed_up.value, speed_up.uncertainty)}x"


def _not_measured(rows: Sequence[Row]) -> str:
    """Which backends have no latency where, in one sentence; notes have the reasons."""
    cases = len({row["case"] for row in rows})
    absent = unavailable_everywhere(rows)
    parts = [f"{enumerate_names(absent)} ({Status.UNAVAILABLE})"] if absent else []
    failed: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if not is_ok(row) and row["backend"] not in absent:
            failed.setdefault((row["backend"], row["status"]), []).append(row["case"])
    parts += [f"{backend} {where(names, cases)} ({status})" for (backend, status), names in failed.items()]
    return f"Not measured, for the reasons below: {', '.join(parts)}." if parts else ""
