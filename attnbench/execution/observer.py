"""What a run tells whoever watches it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnbench.execution.messages import Stage
from attnbench.record import Case, Record


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A case on a backend, in one block."""

    case: Case
    backend: str
    position: int
    """Its place in the suite."""
    block: int


class Observer:
    """Is told what a run does. This one does not care; override what is of interest."""

    def announced(self, what: str) -> None:
        """A part of the work begins: one sentence for people."""

    def waiting(self, why: str) -> None:
        """Another run has the device; it is waited for."""

    def resuming(self, directory: Path, *, done: int, failed: int) -> None:
        """An earlier run is gone on with: it has ``done`` records, and ``failed`` cells that are not tried again."""

    def planned(self, cells: Sequence[Cell], directory: Path) -> None:
        """The run will measure these cells, in this order; those of unavailable backends are not among them."""

    def entered(self, cell: Cell, stage: Stage) -> None:
        """A cell is at work; while they are sampled, the backends of a case take turns."""

    def finished(self, record: Record) -> None:
        """A record is in the journal."""

    def skipped(self, cell: Cell) -> None:
        """A cell is not measured in this block, because it failed in an earlier one."""

    def stopping(self) -> None:
        """The run will stop after the case at work."""
