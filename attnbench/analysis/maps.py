"""Who wins where, over two fields of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attnbench.analysis.ranking import Contest
from attnbench.analysis.sweeps import Axis, fields_of, grouped
from attnbench.results.rows import Row


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
    def values(self) -> tuple[list[str], list[str]]:
        """All values of ``across`` and of ``down``, smallest first."""
        sizes: tuple[dict[str, float], dict[str, float]] = ({}, {})
        for across, down, contest in self.places:
            row = (*(standing.row for standing in contest.standings), *contest.failed)[0]
            sizes[0][across], sizes[1][down] = self.across.size(row), self.down.size(row)
        first, second = (sorted(one, key=lambda text: one[text]) for one in sizes)
        return first, second

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
    maps = []
    for fixed, numbers in grouped(fields_of(rows), (across, down), range(len(rows))):
        by_size = sorted((rows[number] for number in numbers), key=lambda row: (down.size(row), across.size(row)))
        places: dict[tuple[str, str], Contest] = {}
        for row in by_size:  # of cases that ask for the same the first counts
            places.setdefault((across.text(row), down.text(row)), by_case[row["case"]])
        if len(places) > 1 and any(len(contest.standings) > 1 for contest in places.values()):
            listed = tuple((*place, contest) for place, contest in places.items())
            maps.append(WinnerMap(across=across, down=down, fixed=fixed, places=listed))
    return maps
