"""The latencies of one cell in base runs and candidate, on a scale on which they can be compared."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attnbench.comparison.cell_verdict import CellKey, Row, is_ok, rows_of
from attnbench.core.record import Ceilings
from attnbench.core.roofline import ceilings_for
from attnbench.core.stats import geometric_mean
from attnbench.results.store import StoredRun
from attnbench.results.table import anchor, problem_of, processes_of

_WHOLE = -1
"""Beside processes: the cell as a whole."""
_Divisor = Mapping[int, float]
"""By process, the log of what its latency is divided by."""


class RunCells:
    """The cells of a run.

    Args:
        run: The run.
        relative: Whether latencies are divided by those of the suite's baseline backend, rather than by the anchors.
    """

    def __init__(self, run: StoredRun, *, relative: bool) -> None:
        self.run = run
        self.rows = rows_of(run.table)
        self._relative = relative
        self._baseline = {key[0]: row for key, row in self.rows.items() if key[1] == run.baseline}

    def works(self, key: CellKey) -> bool:
        """Whether it has a latency of a cell."""
        return is_ok(self.rows.get(key))

    def divisor(self, key: CellKey) -> _Divisor | None:
        """What a cell's latencies are divided by; None if the run does not know."""
        row = self.rows[key]
        if self._relative:
            other = self._baseline.get(key[0])
            return _logs(other) if other is not None and is_ok(other) else None
        known = [Ceilings(**one) for one in self.run.environment.get("ceilings", {}).get(row["dtype"], ())]
        found = ceilings_for(problem_of(row), known)
        return dict.fromkeys(_logs(row), anchor(found)) if found else None


@dataclass(frozen=True, kw_only=True)
class Series:
    """A cell that has a latency in the candidate and in base runs."""

    base: tuple[float, ...]
    """The log latency of every base run, over its divisor; oldest first."""
    started_at: tuple[str, ...]
    """When those runs started."""
    candidate: tuple[float, ...]
    """The same of every process of the candidate."""
    divided: bool
    """Whether all runs know their divisor; otherwise nothing is divided."""
    processes: tuple[int, ...]
    """Of every base run."""
    base_ms: tuple[float, ...]
    """The latency of every base run."""
    candidate_ms: float
    """The latency of the candidate."""

    def ratio(self, runs: Sequence[int], *, divided: bool) -> float:
        """log(candidate / base), with the base runs of some indices."""
        if not divided:
            return math.log(self.candidate_ms / self.level_ms(runs))
        return statistics.fmean(self.candidate) - statistics.fmean(self.base[index] for index in runs)

    def level_ms(self, runs: Sequence[int]) -> float:
        """The latency of the base runs of some indices: their geometric mean."""
        return geometric_mean([self.base_ms[index] for index in runs])


def series_of(key: CellKey, base: Sequence[RunCells], candidate: RunCells, *, relative: bool) -> Series | None:
    """A cell's latencies; None where it has none on one of the two sides.

    Latencies of other processors cannot be compared undivided: where they are relative, runs that lack their divisor
    are left out.
    """
    runs = [run for run in base if run.works(key)]
    if relative:
        runs = [run for run in runs if run.divisor(key)]
    if not runs or not candidate.works(key) or (relative and not candidate.divisor(key)):
        return None
    divisors = [run.divisor(key) for run in (*runs, candidate)]
    divided = all(divisors)
    *past, now = [
        _divided(_logs(run.rows[key]), (divisor or {}) if divided else {})
        for run, divisor in zip((*runs, candidate), divisors, strict=True)
    ]
    return Series(
        base=tuple(logs[_WHOLE] for logs in past),
        started_at=tuple(one.run.started_at for one in runs),
        candidate=tuple(log for process, log in now.items() if process != _WHOLE) or (now[_WHOLE],),
        divided=divided,
        processes=tuple(max(1, len(logs) - 1) for logs in past),
        base_ms=tuple(run.rows[key]["latency_ms"] for run in runs),
        candidate_ms=candidate.rows[key]["latency_ms"],
    )


def _logs(row: Row) -> dict[int, float]:
    """The log latency of the cell as a whole and of its processes, which older tables do not have."""
    return {process: math.log(ms) for process, ms in {_WHOLE: row["latency_ms"], **processes_of(row)}.items()}


def _divided(logs: Mapping[int, float], divisor: _Divisor) -> dict[int, float]:
    return {process: log - divisor.get(process, divisor.get(_WHOLE, 0.0)) for process, log in logs.items()}
