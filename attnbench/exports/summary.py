"""The summary of a GitHub job: Markdown from which a person understands a red build, as large as GitHub takes it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from attnbench.comparison.cells import worst_first
from attnbench.comparison.verdict import Comparison
from attnbench.core.record import Status
from attnbench.exports.escaping import one_line, shortened
from attnbench.exports.results import UNFIT, Subject
from attnbench.exports.tables import respelled
from attnbench.report import markdown
from attnbench.report.comparison_table import verdicts
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.report.notes import failures
from attnbench.report.run_table import sheet
from attnbench.results.store import StoredRun

CAP_BYTES = 2**20
"""GitHub drops the whole summary of a step that is larger."""
_LEAST_ROW_BYTES = 20
_LONGEST_TEXT, _MOST_NOTES = 1000, 50
_MOST_CELLS = 300
"""Of a run alone: laying out more takes longer than anybody reads."""


def render(subject: Subject, *, room_bytes: int = CAP_BYTES) -> str:
    """The summary, the worst first; rows that find no room are counted.

    Args:
        subject: What to summarize.
        room_bytes: How large it may become.

    Returns:
        Nothing where there is not even room for the first sentences.
    """
    whole = _tidy(_of_comparison(subject) if subject.comparison is not None else _of_run(subject))
    rows = sum(len(grid.rows) for grid in whole.grids)
    if _size(text := markdown.render(whole)) <= room_bytes:
        return text
    most = min(rows, room_bytes // _LEAST_ROW_BYTES)
    fitting = bisect_right(range(most), room_bytes, key=lambda kept: _size(markdown.render(_cut(whole, kept, rows))))
    return markdown.render(_cut(whole, fitting - 1, rows)) if fitting else ""


def _of_comparison(subject: Subject) -> Sheet:
    comparison = subject.comparison
    assert comparison is not None
    laid_out = verdicts(replace(comparison, cells=worst_first(comparison.cells)))
    where = f"{comparison.candidate} against {comparison.base}."
    return replace(
        laid_out,
        heading=subject.headline,
        question=f"{where} {subject.summary}",
        notes=(*laid_out.notes, *_unsaid(comparison, laid_out.notes)),
    )


def _unsaid(comparison: Comparison, said: tuple[str, ...]) -> Iterator[str]:
    yield from (note for note in comparison.notes if note not in said)
    if not comparison.differences:
        yield "What changed in the environment: nothing that is known."


def _of_run(subject: Subject) -> Sheet:
    run = subject.run
    assert run is not None
    first = run.table.head(_MOST_CELLS)
    shown = sheet(replace(run, table=first))
    said_above = failures(first)
    notes = [note for note in shown.notes if note not in said_above]
    if len(run.table) > _MOST_CELLS:
        notes.insert(0, f"Below the failures, the first {_MOST_CELLS} of {len(run.table)} cells alone are laid out.")
    return replace(shown, heading=subject.headline, grids=(*_failures(run), *shown.grids), notes=tuple(notes))


def _failures(run: StoredRun) -> list[Grid]:
    failed = run.table[run.table["status"] != Status.OK]
    if failed.empty:
        return []
    ordered = pd.concat([failed[~failed["status"].isin(UNFIT)], failed[failed["status"].isin(UNFIT)]])
    headers = {"status": "status", "case": "case", "backend": "backend", "reason": "why"}
    columns = tuple(
        Column(header=header, cells=tuple(map(str, ordered[name])), numeric=False) for name, header in headers.items()
    )
    return [Grid(title="not measured", columns=columns)]


def _tidy(found: Sheet) -> Sheet:
    """Nothing in it breaks a table's row, and no single text takes the room of all others."""
    more = len(found.notes) - _MOST_NOTES
    notes = (*found.notes[:_MOST_NOTES], *([f"And {more} more notes."] if more > 0 else []))
    return respelled(replace(found, notes=notes), lambda text: shortened(one_line(text), _LONGEST_TEXT))


def _cut(whole: Sheet, kept: int, rows: int) -> Sheet:
    """The first rows alone, and how many are left out."""
    grids, left = [], kept
    for grid in whole.grids:
        if left <= 0:
            break
        columns = tuple(replace(column, cells=column.cells[:left]) for column in grid.columns)
        grids.append(replace(grid, columns=columns))
        left -= len(grid.rows)
    said = f"{rows - kept} of {rows} rows found no room here: the worst are shown."
    return replace(whole, question=f"{whole.question} {said}", grids=tuple(grids))


def _size(text: str) -> int:
    return len(text.encode())
