"""What a comparison says of a cell, and of a whole table: plain data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from attnbench.core.record import Status
from attnbench.core.stats import Estimate


class Verdict(StrEnum):
    """What became of a cell from base to candidate: exactly one of these, the worst first."""

    BROKEN = "broken"
    """It was measured in the base and cannot be in the candidate."""
    REGRESSED = "regressed"
    """Slower, beyond doubt and beyond what is tolerated; or it takes more memory."""
    SUSPECT = "suspect"
    """It looks slower, and is not confirmed."""
    KERNEL_CHANGED = "kernel_changed"
    """No slower, but another kernel ran."""
    INCONCLUSIVE = "inconclusive"
    """Too scattered to tell."""
    REMOVED = "removed"
    """Not in the candidate at all."""
    ADDED = "added"
    """Not in the base at all."""
    FIXED = "fixed"
    """It could not be measured in the base and can be in the candidate."""
    IMPROVED = "improved"
    """Faster, as surely as ``regressed`` is slower."""
    STABLE = "stable"
    """Its interval lies within what is tolerated; or it could be measured in neither."""

    @property
    def fails(self) -> bool:
        """Whether it is a reason to stop."""
        return self in (Verdict.BROKEN, Verdict.REGRESSED)


@dataclass(frozen=True, kw_only=True)
class CellVerdict:
    """One cell in both."""

    case: str
    backend: str
    verdict: Verdict
    reason: str = ""
    """One sentence, where the verdict does not speak for itself."""
    ratio: Estimate | None = None
    """Latency of the candidate over that of the base, with its 95 % interval where there is one."""
    p_value: float | None = None
    """Of so large a change where nothing changed: p, adjusted for the number of cells."""
    min_detectable_ratio: float | None = None
    """The smallest ratio that would have been called a regression in every other case; None where it is not known."""
    base_status: Status | None = None
    """How the cell ended there; None where it is not in it."""
    candidate_status: Status | None = None
    base_ms: float | None = None
    candidate_ms: float | None = None
    base_peak_bytes: int | None = None
    candidate_peak_bytes: int | None = None
    base_kernel: str = ""
    candidate_kernel: str = ""

    @property
    def not_measured(self) -> bool:
        """Whether it is in both and could be measured in neither."""
        return self.verdict is Verdict.STABLE and self.ratio is None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A whole table compared."""

    suite: str
    device: str
    """The device's name."""
    base: str
    candidate: str
    method: str
    """How it was decided, in one sentence."""
    cells: tuple[CellVerdict, ...]
    fail_above: float
    """The smallest ratio that counts as a regression."""
    min_detectable_ratio: float | None
    """``detectable`` of the median cell; None where it is not known."""
    differences: tuple[str, ...] = ()
    """What differs between the environments."""
    fingerprint_mismatch: tuple[str, ...] = field(default=())
    """Fields of the fingerprint that differ, where it was compared anyway."""
    notes: tuple[str, ...] = ()
    """What else a reader must know, sentence by sentence."""
    not_compared_reason: str = ""
    """Why nothing could be compared; empty where something was."""

    @property
    def counts(self) -> dict[Verdict, int]:
        """Cells by verdict, without those that could be measured in neither."""
        found = Counter(cell.verdict for cell in self.cells if not cell.not_measured)
        return {verdict: found[verdict] for verdict in Verdict if found[verdict]}

    @property
    def not_measured(self) -> int:
        """Cells that could be measured in neither."""
        return sum(cell.not_measured for cell in self.cells)

    @property
    def compared(self) -> int:
        """Cells that were measured in both, or broke."""
        return sum(cell.ratio is not None or cell.verdict is Verdict.BROKEN for cell in self.cells)

    @property
    def failed(self) -> bool:
        """Whether any cell is a reason to stop."""
        return any(cell.verdict.fails for cell in self.cells)
