"""Lists of suites and of stored runs, as sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnbench.core.record import Status
from attnbench.core.text import plural
from attnbench.report.layout import Column, Grid, Sheet
from attnbench.report.numbers import NOTHING
from attnbench.results.listing import Listed


def suites_table(rows: Sequence[Mapping[str, str]]) -> Sheet:
    """Lay out suites, each with the question it answers."""
    columns = tuple(
        Column(
            header=header, cells=tuple(row[header] for row in rows), numeric=False, wraps=header == "question", least=30
        )
        for header in ("suite", "question")
    )
    return Sheet(
        heading=plural(len(rows), "suite"),
        grids=(Grid(title="attnbench run SUITE measures one", columns=columns),),
        notes=("attnbench suites init FILE writes one of your own, with --model for a published model.",),
    )


def run_rows(found: Sequence[Listed]) -> list[dict[str, Any]]:
    """Stored runs as data."""
    return [
        {
            "path": str(one.path),
            "kind": one.kind,
            "suite": one.suite,
            "device": one.device,
            "torch": one.torch,
            "started_at": one.started_at,
            "cells": sum(one.statuses.values()),
            "ok": one.statuses.get(Status.OK, 0),
        }
        for one in found
    ]


def runs_table(found: Sequence[Listed], place: Path) -> Sheet:
    """Lay out stored runs, in the order given."""
    if not found:
        return Sheet(heading=f"No runs in {place}.", grids=(), notes=("attnbench run SUITE makes one.",))
    cells = [sum(one.statuses.values()) for one in found]
    several = len({one.kind for one in found}) > 1
    columns = (
        Column(
            header="started, UTC", cells=tuple(one.started_at[:16].replace("T", " ") for one in found), numeric=False
        ),
        Column(header="suite", cells=tuple(one.suite or NOTHING for one in found), numeric=False),
        *([Column(header="kind", cells=tuple(one.kind for one in found), numeric=False)] if several else []),
        Column(
            header="cells ok",
            cells=tuple(
                f"{one.statuses.get(Status.OK, 0)} of {count}" if count else NOTHING
                for one, count in zip(found, cells, strict=True)
            ),
            rank=1,
        ),
        Column(header="torch", cells=tuple(one.torch or NOTHING for one in found), numeric=False, rank=2),
        Column(header="device", cells=tuple(one.device or NOTHING for one in found), numeric=False, rank=3),
        Column(header="run", cells=tuple(str(one.path) for one in found), numeric=False, wraps=True, least=30),
    )
    unread = cells.count(0)
    notes = ["latest means the newest run: attnbench show latest."]
    if unread:
        notes.append(f"{plural(unread, 'run')} without a table: being measured, or stopped before it was written.")
    return Sheet(
        heading=plural(len(found), "run"), grids=(Grid(title=str(place), columns=columns),), notes=tuple(notes)
    )
