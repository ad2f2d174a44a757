"""The series of a sweep: rows that differ in one field alone, and where the fastest backend changes along them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import repeat

from attnbench.analysis.ranking import Certainty, Contest
from attnbench.results.rows import Row, is_ok, pattern_of
from attnbench.results.table import PROBLEM


class Axis(StrEnum):
    """What a sweep varies, as ``--x`` spells it."""

    RESOLUTION = "resolution"
    WINDOW = "window"
    HEADS = "heads"
    HEAD_DIM = "head_dim"
    BATCH = "batch"
    DTYPE = "dtype"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a table that it varies."""
        return _VARIED[self]

    @property
    def numeric(self) -> bool:
        """Whether its values are sizes, so that cost can grow with them."""
        return self is not Axis.DTYPE

    @property
    def measure(self) -> str:
        """What its size is called."""
        return _MEASURES.get(self, self.value)

    def size(self, row: Row) -> float:
        """The size of a row along it: tokens of the map or the window, or a number; 0 for dtypes."""
        if not self.numeric:
            return 0.0
        return float(math.prod(int(row[column]) for column in _VARIED[self]))

    def text(self, row: Row) -> str:
        """The value of a row as suites spell it."""
        return "x".join([str(row[column]) for column in _VARIED[self]])


_SIDES = {Axis.RESOLUTION: ("height", "width"), Axis.WINDOW: ("window_height", "window_width")}
_VARIED = {axis: _SIDES.get(axis, (axis.value,)) for axis in Axis}
_MEASURES = {
    Axis.RESOLUTION: "tokens of the map, H x W",
    Axis.WINDOW: "tokens of a window, k1 x k2",
    Axis.HEADS: "heads",
    Axis.HEAD_DIM: "channels of a head",
    Axis.BATCH: "images",
}


@dataclass(frozen=True, kw_only=True)
class Series:
    """Rows of one suite whose cases differ in one field of the problem alone."""

    axis: Axis
    is_global: bool
    """Whether every map is one window, so that the window grows with it: global attention."""
    fixed: tuple[tuple[str, str], ...]
    """Name and value of the fields that they share but that vary in the run."""
    rows: tuple[Row, ...]
    """By size, failed ones included."""

    @property
    def title(self) -> str:
        """What they share, in words."""
        fixed = [f"{name.replace('_', ' ')} {value}" for name, value in self.fixed]
        return ", ".join([*fixed, "window = map (global attention)"] if self.is_global else fixed)

    @property
    def backends(self) -> list[str]:
        """Every backend, in the order of the suite."""
        return list(dict.fromkeys(row["backend"] for row in self.rows))

    @cached_property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Every size with its text, smallest first; dtypes in the order of the suite."""
        return tuple(dict.fromkeys((self.axis.size(row), self.axis.text(row)) for row in self.rows))


def sweep(rows: Sequence[Row]) -> dict[Axis, list[Series]]:
    """The fields that a run sweeps, those with the most values first, with their series."""
    fields = fields_of(rows)
    found = {axis: (len(set(fields[axis])), _series(rows, fields, axis)) for axis in Axis}
    ordered = sorted(found.items(), key=lambda item: -item[1][0])
    return {axis: along for axis, (_, along) in ordered if along}


def series(rows: Sequence[Row], axis: Axis) -> list[Series]:
    """All series along an axis in which some backend was measured at two sizes or more, in the order of the suite."""
    return _series(rows, fields_of(rows), axis)


Fields = Mapping[str, Sequence[str]]
"""By field of a problem, what every row has there, as suites spell it."""


def fields_of(rows: Sequence[Row]) -> Fields:
    """The fields of a problem as suites spell them.

    A row's pattern is that of most rows of its case, so that a backend that always shifts windows stays beside the
    others; it still takes part in no contest with them.
    """
    patterns = _usual_patterns(rows)
    fields: dict[str, Sequence[str]] = {}
    for name in PROBLEM:
        side = next((axis for axis, sides in _SIDES.items() if name in sides), None)
        if side is not None:
            fields[side] = fields.get(side) or [side.text(row) for row in rows]
        elif name == "pattern":
            fields[name] = [patterns[row["case"]] for row in rows]
        else:
            fields[name] = [str(row[name]) for row in rows]
    return fields


def grouped(
    fields: Fields, but: Collection[str], among: Sequence[int]
) -> list[tuple[tuple[tuple[str, str], ...], list[int]]]:
    """Rows that agree in all fields but some.

    Args:
        fields: Of all rows.
        but: The fields in which they may differ.
        among: The numbers of the rows to look at.

    Returns:
        For every group, name and value of the fields that it shares but that vary among the rows, and its rows.
    """
    left = {name: [texts[number] for number in among] for name, texts in fields.items() if name not in but}
    varying = {name: texts for name, texts in left.items() if len(set(texts)) > 1}
    groups: dict[tuple[str, ...], list[int]] = {}
    # Fields that never vary tell no rows apart.
    for number, key in zip(among, zip(*varying.values(), strict=True) if varying else repeat(()), strict=False):
        groups.setdefault(key, []).append(number)
    return [(tuple(zip(varying, key, strict=True)), numbers) for key, numbers in groups.items()]


def _usual_patterns(rows: Sequence[Row]) -> dict[str, str]:
    patterns: dict[str, list[str]] = {}
    for row in rows:
        patterns.setdefault(row["case"], []).append(pattern_of(row))
    return {case: Counter(found).most_common(1)[0][0] for case, found in patterns.items()}


def _series(rows: Sequence[Row], fields: Fields, axis: Axis) -> list[Series]:
    if len(set(fields[axis])) < 2:  # noqa: PLR2004 - nothing varies
        return []
    found = _along(rows, grouped(fields, (axis,), range(len(rows))), axis, is_global=False)
    if axis is Axis.RESOLUTION:
        windows = zip(fields[axis], fields[Axis.WINDOW], strict=True)
        one_window = [number for number, (resolution, window) in enumerate(windows) if resolution == window]
        found += _along(rows, grouped(fields, (axis, Axis.WINDOW), one_window), axis, is_global=True)
    return found


def _along(
    rows: Sequence[Row],
    groups: Iterable[tuple[tuple[tuple[str, str], ...], list[int]]],
    axis: Axis,
    *,
    is_global: bool,
) -> list[Series]:
    found = []
    for fixed, numbers in groups:
        group = [rows[number] for number in numbers]
        if _is_swept(group, axis):
            by_size = tuple(sorted(group, key=axis.size))
            found.append(Series(axis=axis, is_global=is_global, fixed=fixed, rows=by_size))
    return found


def _is_swept(rows: Iterable[Row], axis: Axis) -> bool:
    sizes: dict[str, set[str]] = {}
    for row in filter(is_ok, rows):
        sizes.setdefault(row["backend"], set()).add(axis.text(row))
    return any(len(texts) > 1 for texts in sizes.values())


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """Two neighbouring sizes of a series with different winners, ties left out."""

    series: Series
    below: str
    """The last value at which ``before`` is fastest."""
    above: str
    """The next value at which ``after`` is."""
    before: str
    after: str


def crossovers(along: Series, by_case: Mapping[str, Contest]) -> list[Crossover]:
    """Where the fastest backend surely changes along a series; sizes without a sure winner are passed over.

    Args:
        along: The series.
        by_case: The contest of every case.
    """
    found: list[Crossover] = []
    last: tuple[str, str] | None = None
    for text, case in dict.fromkeys((along.axis.text(row), row["case"]) for row in along.rows):
        contest = by_case[case]
        if contest.certainty is not Certainty.CLEAR:
            continue
        winner = contest.winners[0].backend
        if last is not None and last[1] != winner:
            found.append(Crossover(series=along, below=last[0], above=text, before=last[1], after=winner))
        last = (text, winner)
    return found
