"""The series of a sweep: rows that differ in one field alone, and where the fastest backend changes along them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from attnbench.analysis.functions import Row, is_ok, pattern_of
from attnbench.analysis.ranking import Certainty, Contest, contests
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
        return _SIDES.get(self, (self.value,))

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
        size = 1
        for column in self.columns:
            size *= int(row[column])
        return float(size)

    def text(self, row: Row) -> str:
        """The value of a row as suites spell it."""
        return "x".join(str(row[column]) for column in self.columns)


_SIDES = {Axis.RESOLUTION: ("height", "width"), Axis.WINDOW: ("window_height", "window_width")}
_MEASURES = {
    Axis.RESOLUTION: "tokens of the map, H x W",
    Axis.WINDOW: "tokens of a window, k1 x k2",
    Axis.HEADS: "heads",
    Axis.HEAD_DIM: "channels of a head",
    Axis.BATCH: "images",
}


@dataclass(frozen=True, kw_only=True)
class Series:
    """Rows of one suite that differ in backend and in one field of the problem alone."""

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

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Every size with its text, smallest first; dtypes in the order of the suite."""
        return list(dict.fromkeys((self.axis.size(row), self.axis.text(row)) for row in self.rows))


def varying_axes(rows: Sequence[Row]) -> list[Axis]:
    """The fields that a run sweeps, in the order of ``Axis``."""
    return [axis for axis in Axis if len({axis.text(row) for row in rows}) > 1 and series(rows, axis)]


def series(rows: Sequence[Row], axis: Axis) -> list[Series]:
    """All series along an axis in which some backend was measured at two sizes or more, in the order of the suite."""
    columns = [name for name in PROBLEM if name not in axis.columns]
    found = _grouped(rows, axis, columns, is_global=False)
    if axis is Axis.RESOLUTION:
        one_window = [row for row in rows if Axis.WINDOW.text(row) == axis.text(row)]
        rest = [name for name in columns if name not in Axis.WINDOW.columns]
        found += _grouped(one_window, axis, rest, is_global=True)
    return found


def _grouped(rows: Sequence[Row], axis: Axis, columns: Sequence[str], *, is_global: bool) -> list[Series]:
    varying = {name for name in columns if name != "pattern" and len({row[name] for row in rows}) > 1}
    names = [shown for shown in _FIXED if varying.intersection(_FIXED[shown])]
    if len({pattern_of(row) for row in rows}) > 1:
        names.append("pattern")
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = tuple(pattern_of(row) if name == "pattern" else str(row[name]) for name in columns)
        groups.setdefault(key, []).append(row)
    found = []
    for group in groups.values():
        if not _is_swept(group, axis):
            continue
        ordered = tuple(sorted(group, key=axis.size))
        fixed = tuple((name, _fixed_text(group[0], name)) for name in names)
        found.append(Series(axis=axis, is_global=is_global, fixed=fixed, rows=ordered))
    return found


def _is_swept(rows: Iterable[Row], axis: Axis) -> bool:
    sizes: dict[str, set[str]] = {}
    for row in filter(is_ok, rows):
        sizes.setdefault(row["backend"], set()).add(axis.text(row))
    return any(len(texts) > 1 for texts in sizes.values())


_FIXED: dict[str, tuple[str, ...]] = {
    "batch": ("batch",),
    "resolution": ("height", "width"),
    "window": ("window_height", "window_width"),
    **{name: (name,) for name in ("heads", "head_dim", "dtype", "mode", "padding", "bias", "scope")},
}
"""What a title names, and the columns it stands for; the pattern comes last."""


def _fixed_text(row: Row, name: str) -> str:
    if name == "pattern":
        return pattern_of(row)
    return "x".join(str(row[column]) for column in _FIXED[name])


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


def crossovers(along: Series) -> list[Crossover]:
    """Where the fastest backend surely changes along a series; sizes without a sure winner are passed over."""
    found: list[Crossover] = []
    last: tuple[str, str] | None = None
    for text, contest in by_size(along):
        if contest.certainty is not Certainty.CLEAR:
            continue
        winner = contest.winners[0].backend
        if last is not None and last[1] != winner:
            found.append(Crossover(series=along, below=last[0], above=text, before=last[1], after=winner))
        last = (text, winner)
    return found


def by_size(along: Series) -> list[tuple[str, Contest]]:
    """The contests of a series, smallest first."""
    return [(along.axis.text(rows[0]), contest) for rows, contest in _contests_by_size(along)]


def _contests_by_size(along: Series) -> list[tuple[list[Row], Contest]]:
    groups: dict[str, list[Row]] = {}
    for row in along.rows:
        groups.setdefault(along.axis.text(row), []).append(row)
    return [(rows, contest) for rows in groups.values() for contest in contests(rows)]
