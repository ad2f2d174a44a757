"""Who wins where, over two fields of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attnbench.analysis.functions import Row
from attnbench.analysis.ranking import Contest
from attnbench.analysis.sweeps import Axis, fields_of, grouped


@dataclass(frozen=True, kw_only=True)
class WinnerMap:
    """The contests of cases that differ in two fields alone."""

    across: Axis
    down: Axis
    fixed: tuple[tuple[str, str], ...]
    """Name and value of the fields that they share but that vary in the run."""
    places: tuple[tuple[str, str, Contest], ...]
    """The value of ``across``, that of ``down``, and the contest there."""

    @property
    def title(self) -> str:
        """What they share, in words."""
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.fixed)


def winner_maps(rows: Sequence[Row], by_case: Mapping[str, Contest], across: Axis, down: Axis) -> list[WinnerMap]:
    """A map for every combination of the other fields in which two backends or more were measured somewhere.

    Args:
        rows: Of a run.
        by_case: The contest of every case.
        across: The field from left to right.
        down: The field from top to bottom.
    """
    fields = fields_of(rows)
    maps = []
    for fixed, numbers in grouped(fields, (across, down), range(len(rows))):
        cases = {rows[number]["case"]: rows[number] for number in numbers}
        if any(len(by_case[case].standings) > 1 for case in cases):
            places = tuple((across.text(row), down.text(row), by_case[case]) for case, row in cases.items())
            maps.append(WinnerMap(across=across, down=down, fixed=fixed, places=places))
    return maps
