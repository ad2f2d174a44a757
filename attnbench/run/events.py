"""What a run tells while it goes on: events to iterate over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from attnbench.core.record import Case, Record


class Stage(StrEnum):
    """What is done for a cell, in this order; each stage, and each turn of sampling, has its own deadline."""

    REFERENCE = "reference"
    PREPARE = "prepare"
    MEASURE = "measure"
    SAMPLE = "sample"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A case on a participant, in one round."""

    case: Case
    backend: str
    """The participant's label."""
    position: int
    """Its place in the suite."""
    round: int
    side: str = ""
    """``base`` or ``candidate`` where two environments are compared."""


@dataclass(frozen=True, kw_only=True)
class Announced:
    """A part of the work begins: one sentence for people."""

    what: str


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """An earlier run is resumed."""

    directory: Path
    done: int
    """Records that it has."""
    failed: int
    """Cells that are not tried again."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """These cells will be measured, in this order; those of unavailable backends are not among them."""

    cells: Sequence[Cell]
    directory: Path


@dataclass(frozen=True, kw_only=True)
class Entered:
    """A cell is at work; while they are sampled, the participants of a case take turns."""

    cell: Cell
    stage: Stage


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A record is in the journal."""

    cell: Cell
    record: Record


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A cell is not measured in this round, because it failed in an earlier one."""

    cell: Cell


Event = Announced | Resumed | Planned | Entered | Finished | Skipped
