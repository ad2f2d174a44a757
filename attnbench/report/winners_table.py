"""Who wins, as a sheet: the answer in words, a line per backend and a line per case."""

from __future__ import annotations

from collections.abc import Sequence

from attnbench.analysis.ranking import by_case, contests
from attnbench.analysis.sweeps import crossovers, sweep
from attnbench.report.answer import BACKENDS, Line, answer
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.report.notes import completeness, failures, unavailable_everywhere
from attnbench.report.run_table import heading
from attnbench.results.store import StoredRun

_WRAPPED = ("case", "problem", "how sure", "next, surely slower", "kernel")
_TEXTS = ("backend", "case", "problem", "use", "how sure", "flags", "kernel")
_RANKS = {"kernel": 3, "flags": 2, "problem": 1}
"""What a narrow terminal goes without, the highest first."""


def winners_table(run: StoredRun) -> Sheet:
    """Lay out who wins where in a run."""
    rows = run.rows
    found = contests(rows)
    fullest = by_case(found)
    crossings = [one for lines in sweep(rows).values() for along in lines for one in crossovers(along, fullest)]
    answered = answer(found, crossings)
    absent = unavailable_everywhere(rows)
    backends = tuple(line for line in answered.backends if line.texts[0] not in absent)
    tables = (("backends", BACKENDS, backends), ("cases", answered.case_headers, answered.cases))
    return Sheet(
        heading=heading(run),
        question=" ".join((f"{answered.headline}.", *answered.sentences)),
        grids=tuple(_grid(title, headers, lines) for title, headers, lines in tables if lines),
        notes=(*completeness(run), *failures(run.table)),
    )


def _grid(title: str, headers: Sequence[str], lines: Sequence[Line]) -> Grid:
    cells = zip(*(line.texts for line in lines), strict=True)
    columns = (
        Column(
            header=header,
            cells=texts,
            numeric=header not in _TEXTS,
            wraps=header in _WRAPPED,
            rank=_RANKS.get(header, 0),
        )
        for header, texts in zip(headers, cells, strict=True)
    )
    return Grid(title=title, columns=tuple(columns))
