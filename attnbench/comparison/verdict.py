"""Results of a comparison, for a cell and for a whole table: plain data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from attnbench.core.record import Status
from attnbench.core.stats import Estimate


class Verdict(StrEnum):
    """How a cell changed from base to candidate, the worst first."""

    BROKEN = "broken"
    """It works in the base and fails in the candidate."""
    REGRESSED = "regressed"
    """Significantly slower and by at least the margin, or it takes more memory."""
    SUSPECT = "suspect"
    """It looks slower, unconfirmed."""
    KERNEL_CHANGED = "kernel_changed"
    """Not slower, but another kernel ran."""
    INCONCLUSIVE = "inconclusive"
    """Too noisy to tell."""
    REMOVED = "removed"
    """Not in the candidate."""
    ADDED = "added"
    """Not in the base."""
    FIXED = "fixed"
    """It fails in the base and works in the candidate."""
    IMPROVED = "improved"
    """Faster, by the rule that calls cells ``regressed``."""
    STABLE = "stable"
    """Its interval lies within the margin; or it fails in both."""

    @property
    def fails(self) -> bool:
        """Whether it fails the comparison."""
        return self in (Verdict.BROKEN, Verdict.REGRESSED)


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

    @property
    def not_measured(self) -> bool:
        """Whether it fails in both."""
        return self.verdict is Verdict.STABLE and self.ratio is None

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

    @property
    def counts(self) -> dict[Verdict, int]:
        """Cells by verdict, without those that fail in both."""
        found = Counter(cell.verdict for cell in self.cells if not cell.not_measured)
        return {verdict: found[verdict] for verdict in Verdict if found[verdict]}

    @property
    def not_measured(self) -> int:
        """Cells that fail in both."""
        return sum(cell.not_measured for cell in self.cells)

    @property
    def compared(self) -> int:
        """Cells that were measured in both, or broke."""
        return sum(cell.compared for cell in self.cells)

    @property
    def failed(self) -> bool:
        """Whether any cell fails the comparison."""
        return any(cell.verdict.fails for cell in self.cells)
