"""What is exported, whatever the format: a run, a comparison, or both."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from attnbench.comparison.verdict import Comparison, Verdict
from attnbench.core.record import Status
from attnbench.exports.cells import Measured, of_candidate, of_run, told_apart
from attnbench.report.comparison_table import summary
from attnbench.results.store import StoredRun

UNFIT = (Status.UNAVAILABLE, Status.UNSUPPORTED)
"""Statuses in which nothing went wrong: the cell was never tried."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is exported. At least one of both is given."""

    run: StoredRun | None = None
    """The run that was measured: the candidate, where there is a comparison."""
    comparison: Comparison | None = None

    def __post_init__(self) -> None:
        if self.run is None and self.comparison is None:
            raise ValueError("there is nothing to export: neither a run nor a comparison")

    @property
    def suite(self) -> str:
        """The suite's name; the directory's, where a run was kept without one."""
        if self.comparison is not None:
            return self.comparison.suite
        assert self.run is not None
        names = [*self.run.table["suite"].unique(), self.run.suite.get("name"), self.run.path.name]
        return str(next(filter(None, names), ""))

    @property
    def device(self) -> str:
        """The device's name; empty where nobody knows."""
        if self.comparison is not None:
            return self.comparison.device
        assert self.run is not None
        return str(self.run.environment.get("device_name", ""))

    @property
    def counts(self) -> dict[str, int]:
        """Cells by verdict; for a run alone, by status. What no cell has is 0."""
        if self.comparison is not None:
            found = self.comparison.counts
            return {verdict: found.get(verdict, 0) for verdict in Verdict}
        assert self.run is not None
        statuses = Counter(self.run.table["status"])
        return {status: statuses[status] for status in Status}

    @property
    def unreached(self) -> int:
        """Cells of the suite that the run was cut short of."""
        return 0 if self.run is None else self.run.unreached

    @property
    def failed(self) -> bool:
        """Whether it is a reason to stop.

        A comparison says so itself. A run alone is one where a cell went wrong, none was measured, or some were not
        reached.
        """
        if self.comparison is not None:
            return self.comparison.failed
        counts = self.counts
        wrong = any(count for status, count in counts.items() if status not in (Status.OK, *UNFIT))
        return wrong or not counts[Status.OK] or bool(self.unreached)

    @property
    def headline(self) -> str:
        """Whether all is well, in one sentence."""
        where = ", ".join(filter(None, (self.suite, self.device)))
        return f"{self._judgment} ({where})" if where else self._judgment

    @property
    def _judgment(self) -> str:
        word = "FAIL" if self.failed else "PASS"
        if self.comparison is None:
            return f"{word}: {self.summary}"
        of_all = f"of {cells(len(self.comparison.cells))}"
        if self.failed:
            bad = ", ".join(f"{self.counts[verdict]} {verdict}" for verdict in Verdict if verdict.fails)
            return f"{word}: {bad} {of_all}"
        if self.comparison.not_compared_reason or not self.comparison.compared:
            return f"NOTHING COMPARED: {self.comparison.not_compared_reason or f'{of_all} none was measured in both'}"
        unsure = self.counts[Verdict.INCONCLUSIVE] + self.counts[Verdict.SUSPECT]
        blind = f", {unsure} are not certain" if unsure else ""
        return f"{word}: {of_all} none broke or regressed{blind}"

    @property
    def summary(self) -> str:
        """What was found, in one sentence."""
        if self.comparison is not None:
            return summary(self.comparison)
        found = ", ".join(f"{count} {status}" for status, count in self.counts.items() if count)
        unreached = f"; {self.unreached} more were not reached: the run was cut short" if self.unreached else ""
        total = sum(self.counts.values())
        return f"{cells(total)}: {found}{unreached}" if total else f"nothing was measured{unreached}"

    def measured(self) -> list[Measured]:
        """Every cell that has numbers, in the order of the suite; no two of them have one name."""
        if self.run is not None:
            return told_apart(of_run(self.run, suite=self.suite))
        assert self.comparison is not None
        return told_apart(of_candidate(self.comparison))


def cells(count: int) -> str:
    """So many cells, in words.

    >>> cells(1), cells(2)
    ('1 cell', '2 cells')
    """
    return f"{count} cell{'' if count == 1 else 's'}"
