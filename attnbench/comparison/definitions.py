"""Results of a comparison, for a cell and for a whole table: plain data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from attnbench.core.record import Status
from attnbench.core.stats import Estimate

MEMORY_LIMIT = "fails where peak memory grows by more than 1 % and 1 MiB"


class Verdict(StrEnum):
    """How a cell changed from base to candidate, the worst first."""

    BROKEN = "broken"
    """It fails in the candidate, and works in the base or was not tried there."""
    REGRESSED = "regressed"
    """Significantly slower and by at least the margin, or it takes more memory."""
    SUSPECT = "suspect"
    """It looks slower, unconfirmed."""
    KERNEL_CHANGED = "kernel_changed"
    """Not slower, but another kernel ran."""
    INCONCLUSIVE = "inconclusive"
    """Too noisy to tell."""
    STILL_FAILING = "still_failing"
    """It fails in both."""
    REMOVED = "removed"
    """Not in the candidate."""
    ADDED = "added"
    """Not in the base."""
    FIXED = "fixed"
    """It does not work in the base and works in the candidate."""
    IMPROVED = "improved"
    """Faster, by the rule that calls cells ``regressed``."""
    STABLE = "stable"
    """Its interval lies within the margin; or neither of the two could measure it."""

    @property
    def fails(self) -> bool:
        """Whether it fails the comparison."""
        return self in (Verdict.BROKEN, Verdict.REGRESSED)

    @property
    def uncertain(self) -> bool:
        """Whether it fails a strict comparison, as a question left open."""
        return self in (Verdict.SUSPECT, Verdict.KERNEL_CHANGED, Verdict.INCONCLUSIVE, Verdict.REMOVED)


class Outcome(StrEnum):
    """How a whole comparison ended."""

    PASS = "PASS"  # noqa: S105
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    """Only where it is strict."""
    NOTHING_COMPARED = "NOTHING COMPARED"


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """The verdict on one cell's latencies."""

    verdict: Verdict
    ratio: Estimate
    p_value: float | None = None
    min_detectable_ratio: float | None = None
    """The smallest ratio confirmed with a power of one half; None if none is."""
    reason: str = ""
    """Why a change is not confirmed, unless noise is the reason."""
    decided: bool = True
    """Whether further rounds would change nothing."""


@dataclass(frozen=True, kw_only=True)
class CellVerdict:
    """One cell in base and candidate."""

    case: str
    """The problem's name in the suite."""
    backend: str
    """The backend's label."""
    verdict: Verdict
    """How the cell changed from base to candidate."""
    reason: str = ""
    """One sentence, where the verdict needs one."""
    ratio: Estimate | None = None
    """Latency of the candidate over that of the base, with its 95 % interval if there is one."""
    p_value: float | None = None
    """Of the one-sided test, adjusted for the number of cells."""
    min_detectable_ratio: float | None = None
    """The smallest ratio confirmed with a power of one half; None if unknown."""
    base_status: Status | None = None
    """How the cell ended in the base; None if it lacks the cell."""
    candidate_status: Status | None = None
    """How the cell ended in the candidate; None if it lacks the cell."""
    base_ms: float | None = None
    """Latency in the base; None if it has none."""
    candidate_ms: float | None = None
    """Latency in the candidate; None if it has none."""
    base_peak_bytes: int | None = None
    """Peak memory of one call in the base; None if unknown."""
    candidate_peak_bytes: int | None = None
    """Peak memory of one call in the candidate; None if unknown."""
    base_kernel: str = ""
    """What ran in the base; empty if unknown."""
    candidate_kernel: str = ""
    """What ran in the candidate; empty if unknown."""
    limit: str = ""
    """Where it fails, or could: what fails a cell by latency or memory."""
    flaky: bool = False
    """Whether it was set aside by name: it is shown and never counted."""

    @property
    def not_measured(self) -> bool:
        """Whether neither of the two could measure it."""
        return self.verdict is Verdict.STABLE and self.ratio is None

    @property
    def by_memory_alone(self) -> bool:
        """Whether it is its memory that regressed, and not its latency."""
        return self.verdict is Verdict.REGRESSED and self.limit == MEMORY_LIMIT

    @property
    def compared(self) -> bool:
        """Whether it was measured in both, or broke."""
        return self.ratio is not None or self.verdict is Verdict.BROKEN


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A whole table compared."""

    suite: str
    """The suite's name."""
    device: str
    """The device's name."""
    base: str
    """What the candidate was compared with: a run, or how many runs."""
    candidate: str
    """The run that was judged."""
    method: str
    """How it was decided, in one sentence."""
    cells: tuple[CellVerdict, ...]
    """A verdict per cell, the worst first."""
    fail_above: float
    """The smallest ratio that counts as a regression."""
    min_detectable_ratio: float | None
    """Median over cells; None if unknown."""
    differences: tuple[str, ...] = ()
    """What differs between the environments."""
    fingerprint_mismatch: tuple[str, ...] = ()
    """Fields of the fingerprint that differ, if it was compared anyway."""
    notes: tuple[str, ...] = ()
    """What else a reader must know, sentence by sentence."""
    not_compared_reason: str = ""
    """Why nothing could be compared; empty if something was."""
    strict: bool = False
    """Whether what is uncertain, or fails in both, fails the comparison."""

    @property
    def counts(self) -> dict[Verdict, int]:
        """Cells by verdict, without those that neither could measure and those set aside."""
        found = Counter(cell.verdict for cell in self.cells if not (cell.not_measured or cell.flaky))
        return {verdict: found[verdict] for verdict in Verdict if found[verdict]}

    @property
    def not_measured(self) -> int:
        """Cells that neither of the two could measure."""
        return sum(cell.not_measured and not cell.flaky for cell in self.cells)

    @property
    def flaky(self) -> int:
        """Cells that are set aside."""
        return sum(cell.flaky for cell in self.cells)

    @property
    def compared(self) -> int:
        """Cells that were measured in both, or broke."""
        return sum(cell.compared for cell in self.cells)

    def fails(self, cell: CellVerdict) -> bool:
        """Whether a cell fails the comparison."""
        fails = cell.verdict.fails or (self.strict and cell.verdict is Verdict.STILL_FAILING)
        return fails and not cell.flaky

    @property
    def failed(self) -> bool:
        """Whether any cell fails the comparison."""
        return self.outcome is Outcome.FAIL

    @property
    def outcome(self) -> Outcome:
        """The one answer that headline and exit code give."""
        if any(map(self.fails, self.cells)):
            return Outcome.FAIL
        if self.not_compared_reason or not self.compared:
            return Outcome.NOTHING_COMPARED
        if self.strict and any(verdict.uncertain for verdict in self.counts):
            return Outcome.INCONCLUSIVE
        return Outcome.PASS
