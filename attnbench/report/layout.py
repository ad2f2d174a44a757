"""What every renderer takes: tables of text with a title, notes below, and columns with a rank for narrow terminals."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from rich.cells import cell_len

_NARROWEST = 2
"""Characters of a column, however narrow the terminal: one of a wide script."""
GAP = 3
"""Characters between two columns."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a grid."""

    header: str
    cells: tuple[str, ...]
    numeric: bool = True
    rank: int = 0
    """On a narrow terminal, columns of the highest rank are dropped first; those of rank 0 never."""
    wraps: bool = False
    """Whether its cells may be wrapped."""
    least: int = 16
    """Fewest characters of a column that wraps."""
    marks: bool = False
    """Whether it says which rows stand out; a terminal with colours shows those rows bold."""
    footnoted: bool = False
    """Whether, in a table that does not fit, its texts become numbered notes."""

    @property
    def width(self) -> int:
        """Characters of its widest cell; if cells wrap, the fewest it can have."""
        return max(cell_len(self.header), min(self.widest, self.least)) if self.wraps else self.widest

    @cached_property
    def widest(self) -> int:
        """Characters of its widest cell."""
        return max(map(cell_len, (self.header, *self.cells)))

    @property
    def aligned(self) -> Column:
        """The same with its numbers under one another, by their decimal points."""
        return replace(self, cells=tuple(by_decimal_point(self.cells))) if self.numeric else self


_NUMBER = re.compile(r"(?P<whole>~?[<>]?\d+)(?P<rest>(?:\.\d+)?(?:x|%|e[+-]\d+)?)")
_INTERVAL = re.compile(rf"{_NUMBER.pattern} to (?P<upper>\d+)(?P<remainder>(?:\.\d+)?)")


def by_decimal_point(texts: Sequence[str]) -> list[str]:
    """Numbers, and intervals, padded so that decimal points stand under one another; other texts stay.

    >>> by_decimal_point(["0.80", "12", "~1.5x", "oom", "-"])
    ['0.80', '12   ', '~1.5x', 'oom', '-']
    >>> by_decimal_point(["0.76 to 0.85", "1.5 to 12"])
    ['0.76 to  0.85', '1.5  to 12   ']
    """
    numbers = [_NUMBER.fullmatch(text) for text in texts]
    intervals = [_INTERVAL.fullmatch(text) for text in texts]
    longest = max((len(found["rest"]) for found in numbers if found), default=0)
    widest = {
        name: max((len(found[name]) for found in intervals if found), default=0)
        for name in ("rest", "upper", "remainder")
    }
    padded = []
    for text, number, interval in zip(texts, numbers, intervals, strict=True):
        if number:
            padded.append(f"{number['whole']}{number['rest']:<{longest}}")
        elif interval:
            lower = f"{interval['whole']}{interval['rest']:<{widest['rest']}}"
            upper = f"{interval['upper']:>{widest['upper']}}{interval['remainder']:<{widest['remainder']}}"
            padded.append(f"{lower} to {upper}")
        else:
            padded.append(text)
    return padded


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of text."""

    title: str
    subtitle: str = ""
    columns: tuple[Column, ...]

    @property
    def width(self) -> int:
        """Characters of a row."""
        return sum(column.width + GAP for column in self.columns) - GAP

    def widths(self, width: int) -> list[int]:
        """The width of every column in a line of ``width`` characters: spare room goes to columns that wrap.

        Where there is too little even so, the widest columns are made narrower.
        """
        left = max(0, width - self.width)
        wanted = [column.widest - column.width for column in self.columns]
        share = min(1.0, left / sum(wanted)) if any(wanted) else 0.0
        found = [column.width + int(share * more) for column, more in zip(self.columns, wanted, strict=True)]
        while sum(found) + GAP * (len(found) - 1) > width and max(found) > _NARROWEST:
            found[found.index(max(found))] -= 1
        return found

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The cells row by row."""
        return list(zip(*(column.cells for column in self.columns), strict=True))


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A whole report: a heading, tables, and notes."""

    heading: str
    question: str = ""
    """The suite's description, or the summary of a comparison."""
    grids: tuple[Grid, ...]
    notes: tuple[str, ...]


def respelled(sheet: Sheet, spell: Callable[[str], str]) -> Sheet:
    """The sheet with every text passed through ``spell``."""

    def grid(raw: Grid) -> Grid:
        columns = tuple(
            replace(column, header=spell(column.header), cells=tuple(map(spell, column.cells)))
            for column in raw.columns
        )
        return replace(raw, title=spell(raw.title), subtitle=spell(raw.subtitle), columns=columns)

    return replace(
        sheet,
        heading=spell(sheet.heading),
        question=spell(sheet.question),
        grids=tuple(map(grid, sheet.grids)),
        notes=tuple(map(spell, sheet.notes)),
    )


def fit(sheet: Sheet, width: int) -> Sheet:
    """Drop columns until every table fits, the same ones in each of a kind, and name them in a note.

    A table that still does not fit is split into several.
    """
    if any(grid.width > width for grid in sheet.grids):
        grids, numbered = _footnoted(sheet.grids)
        sheet = replace(sheet, grids=grids, notes=(*numbered, *sheet.notes))
    dropped: list[str] = []
    fitted: dict[int, Grid] = {}
    for kind in dict.fromkeys(grid.columns[0].header for grid in sheet.grids):
        alike = {number: grid for number, grid in enumerate(sheet.grids) if grid.columns[0].header == kind}
        fitted |= _without_least(alike, width, dropped)
    grids = tuple(part for _, grid in sorted(fitted.items()) for part in _split(_wrap_names(grid, width), width))
    if not dropped:
        return replace(sheet, grids=grids)
    note = f"Not shown at {width} columns: {', '.join(dict.fromkeys(dropped))} (use a wider terminal, csv or json)."
    return replace(sheet, grids=grids, notes=(*sheet.notes, note))


def _without_least(grids: dict[int, Grid], width: int, dropped: list[str]) -> dict[int, Grid]:
    """Tables of one kind without the columns that matter least, the same ones in each."""
    while any(grid.width > width for grid in grids.values()):
        candidates = {column.rank: column.header for grid in grids.values() for column in grid.columns if column.rank}
        if not candidates:
            break
        header = candidates[max(candidates)]
        dropped.insert(0, header)
        grids = {
            number: replace(grid, columns=tuple(column for column in grid.columns if column.header != header))
            for number, grid in grids.items()
        }
    return grids


def _footnoted(grids: Sequence[Grid]) -> tuple[tuple[Grid, ...], list[str]]:
    """The texts of columns that may be footnoted as numbered notes, each text once."""
    numbers: dict[str, int] = {}

    def footnoted(column: Column) -> Column:
        for text in filter(None, column.cells):
            numbers.setdefault(text, len(numbers) + 1)
        cells = tuple(f"({numbers[text]})" if text else "" for text in column.cells)
        return replace(column, cells=cells, wraps=False)

    shown = tuple(
        replace(grid, columns=tuple(footnoted(column) if column.footnoted else column for column in grid.columns))
        for grid in grids
    )
    return shown, [f"({number}) {text}." for text, number in numbers.items()]


def _wrap_names(grid: Grid, width: int) -> Grid:
    """Wrap the first column if it leaves no room for another one."""
    first, *rest = grid.columns
    needed = max((column.width for column in rest), default=0) + first.width + GAP
    if needed <= width:
        return grid
    return replace(grid, columns=(replace(first, wraps=True), *rest))


def _split(grid: Grid, width: int) -> list[Grid]:
    """Split a table into several that fit, each with the first column."""
    if grid.width <= width:
        return [grid]
    first, *rest = grid.columns
    parts: list[list[Column]] = [[]]
    for column in rest:
        if parts[-1] and replace(grid, columns=(first, *parts[-1], column)).width > width:
            parts.append([])
        parts[-1].append(column)
    return [replace(grid, columns=(first, *part)) for part in parts]


def enumerate_names(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
