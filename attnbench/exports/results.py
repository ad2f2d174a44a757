"""What is exported, whatever the format: the results of a run, or of a comparison."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from attnbench.comparison.definitions import Comparison, Outcome, Verdict
from attnbench.comparison.noise import Noise
from attnbench.core.escaping import label, one_line
from attnbench.core.record import Status
from attnbench.core.stats import Estimate
from attnbench.core.text import plural
from attnbench.report.comparison_table import summary
from attnbench.report.noise_table import NoiseRow, noise_rows
from attnbench.results.rows import missing, rows_of
from attnbench.results.store import StoredRun

_COPIED = ("case", "backend", "kernel", "flags", "device", "dtype", "mode", "pattern", "scope")


@dataclass(frozen=True, kw_only=True)
class MeasuredCell:
    """The numbers of an ok cell."""

    suite: str
    case: str
    backend: str
    latency_ms: Estimate
    images_per_s: Estimate | None
    peak_bytes: int | None
    kernel: str
    flags: str
    device: str
    dtype: str
    mode: str
    pattern: str
    scope: str

    @property
    def name(self) -> str:
        """Suite, case and backend."""
        return f"{self.suite}/{self.case}/{self.backend}"


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """A run by itself."""

    run: StoredRun
    strict: bool = False
    """Whether a cell that ran out of memory or time fails the run; in a sweep that is an answer."""

    @property
    def suite(self) -> str:
        """The suite's name; the directory's where the run was stored without one."""
        names = [*self.run.table["suite"].unique(), self.run.suite.get("name"), self.run.path.name]
        return str(next(filter(None, names), ""))

    @property
    def counts(self) -> dict[str, int]:
        """Cells by status, zeros included."""
        statuses = Counter(self.run.table["status"])
        return {status: statuses[status] for status in Status}

    @property
    def failed(self) -> bool:
        """Whether a cell is defective, none was measured, or the run was interrupted."""
        return bool(self.defects) or not self.counts[Status.OK] or bool(self.run.unreached)

    @property
    def defects(self) -> dict[str, int]:
        """Cells that fail the run, by status."""
        return {
            status: count
            for status, count in self.counts.items()
            if count and (Status(status).defective or (self.strict and status in (Status.OOM, Status.TIMEOUT)))
        }

    @property
    def headline(self) -> str:
        """Whether all is well, in one sentence."""
        word, device = "FAIL" if self.failed else "PASS", str(self.run.environment.get("device_name", ""))
        return f"{word}: {self.summary}{_place(self.suite, device)}"

    @property
    def summary(self) -> str:
        """What was found, in one sentence."""
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items() if count)
        found = f"{plural(len(self.run.table), 'cell')}: {counts}" if counts else "nothing was measured"
        more = self.run.unreached
        return found + (f"; {more} more were not reached: the run was interrupted" if more else "")

    def measured(self) -> list[MeasuredCell]:
        """Every ok cell, in the order of the suite; no two of them have the same name."""
        return _measured(self.run, suite=self.suite)


@dataclass(frozen=True, kw_only=True)
class ComparisonResults:
    """A comparison, and the candidate's run."""

    comparison: Comparison
    run: StoredRun

    @property
    def suite(self) -> str:
        """The suite's name."""
        return self.comparison.suite

    @property
    def counts(self) -> dict[str, int]:
        """Cells by verdict, zeros included."""
        found = self.comparison.counts
        return {verdict: found.get(verdict, 0) for verdict in Verdict}

    @property
    def failed(self) -> bool:
        """Whether a cell broke or regressed, or where it is strict fails in both."""
        return self.comparison.failed

    @property
    def headline(self) -> str:
        """Whether all is well, in one sentence."""
        return f"{self._judgment}{_place(self.suite, self.comparison.device)}"

    @property
    def summary(self) -> str:
        """What was found, in one sentence."""
        return summary(self.comparison)

    @property
    def _judgment(self) -> str:
        comparison, outcome = self.comparison, self.comparison.outcome
        cells, counts = plural(len(comparison.cells), "cell"), comparison.counts
        failing = [verdict for verdict in counts if verdict.fails or verdict is Verdict.STILL_FAILING]
        uncertain = sum(counts.get(verdict, 0) for verdict in (Verdict.INCONCLUSIVE, Verdict.SUSPECT))
        match outcome:
            case Outcome.FAIL:
                said = f"{', '.join(f'{counts[verdict]} {verdict}' for verdict in failing)} of {cells}"
            case Outcome.NOTHING_COMPARED:
                said = comparison.not_compared_reason or f"of {cells} none was measured in both"
            case Outcome.INCONCLUSIVE:
                open_ones = ", ".join(f"{counts[verdict]} {verdict}" for verdict in counts if verdict.uncertain)
                said = f"{open_ones} of {cells}, which --strict does not pass"
            case Outcome.PASS:
                said = f"of {cells} none broke or regressed"
                said += f", {uncertain} are not certain" if uncertain else ""
                said += (
                    f", {(still := counts[failing[0]])} {'fails' if still == 1 else 'fail'} in both" if failing else ""
                )
        return f"{outcome}: {said}"

    def measured(self) -> list[MeasuredCell]:
        """Every ok cell of the candidate, in the order of the suite; no two of them have the same name."""
        return _measured(self.run, suite=self.suite)


Results = RunResults | ComparisonResults


@dataclass(frozen=True, kw_only=True)
class NoiseResults:
    """An A/A test, for the formats that hold tables of any kind."""

    noise: Noise
    fail_above: float | None
    """The slowdown that fails; None for the default."""

    @property
    def rows(self) -> list[NoiseRow]:
        """A row per cell, the noisiest first."""
        return noise_rows(self.noise, fail_above=self.fail_above)


def _place(suite: str, device: str) -> str:
    where = ", ".join(filter(None, (suite, device)))
    return f" ({where})" if where else ""


def _measured(run: StoredRun, *, suite: str) -> list[MeasuredCell]:
    """Ok cells; a name that comes again once it is escaped, as in tables put together by hand, gets a number.

    Formats that tell cells apart by name would keep one of them and drop the others.
    """
    found: dict[str, MeasuredCell] = {}
    for cell in _ok_cells(run, suite=suite):
        numbered, times = cell, 1
        while (name := label(one_line(numbered.name))) in found:
            times += 1
            numbered = replace(cell, case=f"{cell.case} [{times}]")
        found[name] = numbered
    return list(found.values())


def _ok_cells(run: StoredRun, *, suite: str) -> Iterator[MeasuredCell]:
    for row in rows_of(run.table[run.table["status"] == Status.OK]):
        low, high = (None if missing(row[name]) else row[name] for name in ("latency_low_ms", "latency_high_ms"))
        latency_ms = _estimate(row["latency_ms"], low, high)
        yield MeasuredCell(
            suite=row["suite"] or suite,
            latency_ms=latency_ms,
            images_per_s=None if missing(row["images_per_s"]) else _rate(row["images_per_s"], latency_ms),
            peak_bytes=None if missing(row["peak_bytes"]) else int(row["peak_bytes"]),
            **{name: row[name] for name in _COPIED},
        )


def _rate(images_per_s: float, latency_ms: Estimate) -> Estimate:
    """A rate with the latency's interval, turned round."""
    low, high = (end and images_per_s * latency_ms.value / end for end in (latency_ms.high, latency_ms.low))
    return _estimate(images_per_s, low or None, high or None)


def _estimate(value: float, low: float | None, high: float | None) -> Estimate:
    """A value with its interval; without one where an end is infinite, which few formats can write."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return Estimate(value=value, low=None, high=None)
    return Estimate(value=value, low=low, high=high)
