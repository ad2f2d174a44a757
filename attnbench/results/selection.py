"""Some cells of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attnbench.core.errors import UsageError
from attnbench.core.record import Status
from attnbench.core.text import chosen
from attnbench.results.store import StoredRun


def select(
    run: StoredRun,
    *,
    backends: Sequence[str] = (),
    cases: Sequence[str] = (),
    statuses: Sequence[str] = (),
    baseline: str | None = None,
) -> StoredRun:
    """The run with the cells that were asked for alone; nothing given means all.

    Args:
        run: The whole run.
        backends: Labels; the baseline stays with them, for speed-ups.
        cases: Names, or patterns such as ``stage 1*``.
        statuses: How cells ended.
        baseline: The backend that speed-ups refer to; by default the suite's.

    Raises:
        UsageError: Something that is asked for is not in the run.
    """
    if not (backends or cases or statuses):
        return run
    _check("--backend", backends, list(run.table["backend"].unique()))
    _check("--status", statuses, list(Status))
    _check("--case", cases, names := list(run.table["case"].unique()))
    table = run.table
    if backends:
        table = table[table["backend"].isin([*backends, baseline or run.baseline or ""])]
    if cases:
        table = table[table["case"].isin({name for asked in cases for name in chosen(names, asked)})]
    if statuses:
        table = table[table["status"].isin(statuses)]
    if table.empty:
        raise UsageError("no cell matches all of these filters; give fewer")
    return replace(run, table=table.reset_index(drop=True), cells=None)


def _check(option: str, asked: Sequence[str], known: Sequence[str]) -> None:
    for one in asked:
        if not (chosen(known, one) if option == "--case" else one in known):
            raise UsageError(f"{option} {one}: not in this run (allowed: {', '.join(known)})")
