"""The latencies of one cell in base runs and candidate, on a scale on which they can be compared."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attnbench.comparison.cell_verdict import CellKey, key_of
from attnbench.core.record import Ceilings
from attnbench.core.roofline import ceilings_for
from attnbench.core.stats import geometric_mean
from attnbench.results.rows import Row, is_ok
from attnbench.results.store import StoredRun
from attnbench.results.table import anchor, problem_of, processes_of

_WHOLE = -1
"""Beside processes: the cell as a whole."""
_Logs = Mapping[int, float]
"""By process, the log of its latency."""


class RunCells:
    """The cells of a run.

    Args:
        run: The run.
        relative: Whether latencies are divided by those of the suite's baseline backend, rather than by the anchors.
    """

    def __init__(self, run: StoredRun, *, relative: bool) -> None:
        self.run = run
        self.rows = {key_of(row): row for row in run.rows}
        self._relative = relative
        self._baseline = {key[0]: row for key, row in self.rows.items() if key[1] == run.baseline}
        self._ceilings = {
            dtype: [Ceilings(**one) for one in ceilings]
            for dtype, ceilings in run.environment.get("ceilings", {}).items()
        }

    def latencies(self, key: CellKey) -> tuple[_Logs, _Logs | None] | None:
        """A cell's latencies, and what they are divided by; the latter is None if the run does not know.

        None where it has no latency, or none that can be compared: those of other processors cannot, undivided.
        """
        row = self.rows.get(key)
        if row is None or not is_ok(row):
            return None
        logs, divisor = _logs(row), self._divisor(row)
        return None if self._relative and divisor is None else (logs, divisor)

    def _divisor(self, row: Row) -> _Logs | None:
        if self._relative:
            other = self._baseline.get(row["case"])
            return _logs(other) if other is not None and is_ok(other) else None
        known = self._ceilings.get(row["dtype"])
        found = ceilings_for(problem_of(row), known) if known else None
        return {_WHOLE: anchor(found)} if found else None


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


def series_of(key: CellKey, base: Sequence[RunCells], candidate: RunCells) -> Series | None:
    """A cell's latencies; None where it has none on one of the two sides."""
    known = [(run, one) for run in base if (one := run.latencies(key))]
    newer = candidate.latencies(key)
    if not known or newer is None:
        return None
    found = [*(one for _, one in known), newer]
    divided = all(divisor is not None for _, divisor in found)
    *past, now = [_divided(logs, (divisor or {}) if divided else {}) for logs, divisor in found]
    return Series(
        base=tuple(logs[_WHOLE] for logs in past),
        started_at=tuple(run.run.started_at for run, _ in known),
        candidate=tuple(log for process, log in now.items() if process != _WHOLE) or (now[_WHOLE],),
        divided=divided,
        processes=tuple(max(1, len(logs) - 1) for logs in past),
        base_ms=tuple(run.rows[key]["latency_ms"] for run, _ in known),
        candidate_ms=candidate.rows[key]["latency_ms"],
    )


def _logs(row: Row) -> _Logs:
    """The log latency of the cell as a whole and of its processes, which older tables do not have."""
    return {process: math.log(ms) for process, ms in {_WHOLE: row["latency_ms"], **processes_of(row)}.items()}


def _divided(logs: _Logs, divisor: _Logs) -> _Logs:
    return {process: log - divisor.get(process, divisor.get(_WHOLE, 0.0)) for process, log in logs.items()}
