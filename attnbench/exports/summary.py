"""The summary of a GitHub job: Markdown that explains a red build, no larger than GitHub takes."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

import pandas as pd

from attnbench.core.escaping import one_line, shortened
from attnbench.core.record import Status
from attnbench.exports.results import ComparisonResults, Results, RunResults
from attnbench.report import markdown
from attnbench.report.comparison_table import comparison_table
from attnbench.report.layout import Column, Grid, Sheet, respelled
from attnbench.report.notes import failures
from attnbench.report.run_table import run_table

CAP_BYTES = 2**20
"""GitHub drops the whole summary of a step that is larger."""
_LEAST_ROW_BYTES = 20
_LONGEST_TEXT, _MOST_NOTES = 1000, 50
_MOST_CELLS = 300
"""Of a run by itself: nobody reads more, and laying it out takes long."""


def render(results: Results, *, room_bytes: int = CAP_BYTES) -> str:
    """The summary, the worst cells first; rows for which there is no room are counted.

    Args:
        results: What to summarize.
        room_bytes: How large the text may be.

    Returns:
        Empty text where there is not even room for the first sentences.
    """
    match results:
        case RunResults():
            whole = _tidy(_of_run(results))
        case ComparisonResults():
            whole = _tidy(_of_comparison(results))
    rows = sum(len(grid.rows) for grid in whole.grids)
    if _size_bytes(text := markdown.render(whole)) <= room_bytes:
        return text

    def size_bytes(kept: int) -> int:
        return _size_bytes(markdown.render(_cut(whole, kept, rows)))

    most = min(rows, room_bytes // _LEAST_ROW_BYTES)
    fitting = bisect_right(range(most), room_bytes, key=size_bytes)
    return markdown.render(_cut(whole, fitting - 1, rows)) if fitting else ""


def _of_comparison(results: ComparisonResults) -> Sheet:
    comparison = results.comparison
    laid_out = comparison_table(comparison)
    unchanged = () if comparison.differences else ("What changed in the environment: nothing known.",)
    return replace(
        laid_out,
        heading=results.headline,
        question=f"{comparison.candidate} against {comparison.base}. {results.summary}",
        notes=(*laid_out.notes, *unchanged),
    )


def _of_run(results: RunResults) -> Sheet:
    run = results.run
    first = run.table.head(_MOST_CELLS)
    shown = run_table(replace(run, table=first))
    repeated = failures(first)
    notes = [note for note in shown.notes if note not in repeated]
    if len(run.table) > _MOST_CELLS:
        notes.insert(0, f"Below the failures, only the first {_MOST_CELLS} of {len(run.table)} cells are shown.")
    return replace(shown, heading=results.headline, grids=(*_failed_cells(run.table), *shown.grids), notes=tuple(notes))


def _failed_cells(table: pd.DataFrame) -> list[Grid]:
    failed = table[table["status"] != Status.OK]
    if failed.empty:
        return []
    tried = failed["status"].map(lambda status: Status(status).tried).astype(bool)
    ordered = pd.concat([failed[tried], failed[~tried]])
    headers = {"status": "status", "case": "case", "backend": "backend", "reason": "why"}
    columns = tuple(
        Column(header=header, cells=tuple(map(str, ordered[name])), numeric=False) for name, header in headers.items()
    )
    return [Grid(title="not measured", columns=columns)]


def _tidy(whole: Sheet) -> Sheet:
    """The sheet with texts of one line, and no text or list of notes that takes the room of everything else."""
    more = len(whole.notes) - _MOST_NOTES
    notes = (*whole.notes[:_MOST_NOTES], *([f"And {more} more notes."] if more > 0 else []))
    return respelled(replace(whole, notes=notes), lambda text: shortened(one_line(text), _LONGEST_TEXT))


def _cut(whole: Sheet, kept: int, rows: int) -> Sheet:
    """The first rows alone, and how many are left out."""
    grids, left = [], kept
    for grid in whole.grids:
        if left <= 0:
            break
        columns = tuple(replace(column, cells=column.cells[:left]) for column in grid.columns)
        grids.append(replace(grid, columns=columns))
        left -= len(grid.rows)
    omitted = f"{rows - kept} of {rows} rows are left out for lack of room: the worst are shown."
    return replace(whole, question=f"{whole.question} {omitted}", grids=tuple(grids))


def _size_bytes(text: str) -> int:
    return len(text.encode())
