"""Small tables: cells whose latencies in every process are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnbench.core.record import Record
from attnbench.results.store import StoredRun
from attnbench.results.table import table
from tests.samples import environment, problem, record


def cell(backend: str, latencies_ms: Sequence[float], case: str = "stage 1", **fields: Any) -> list[Record]:
    """A cell with one process per latency; sizes of the problem and fields of the record can be given."""
    sizes = {name: fields.pop(name) for name in list(fields) if name not in ("position", "peak_bytes")}
    return [
        record(backend, case, latency_ms, problem=problem(**sizes), round=number, **fields)
        for number, latency_ms in enumerate(latencies_ms)
    ]


def placed(*cells: Sequence[Record]) -> list[Record]:
    """The records of a suite: every cell has a place of its own."""
    records = [one for found in cells for one in found]
    places = {key: place for place, key in enumerate(dict.fromkeys((one.case, one.backend) for one in records))}
    return [replace(one, position=places[one.case, one.backend]) for one in records]


def rows(*cells: Sequence[Record]) -> list[dict[Any, Any]]:
    """The rows of a table."""
    return table([one for records in cells for one in records], suite="s").to_dict("records")


def stored(*cells: Sequence[Record], path: str = "run", suite: dict[str, Any] | None = None, **facts: Any) -> StoredRun:
    """A run with these cells."""
    frame = table([one for records in cells for one in records], suite="s")
    return StoredRun(
        path=Path(path),
        table=frame,
        environment={**environment().to_json(), **facts},
        suite={"name": "s", **(suite or {})},
        cells=len(frame),
    )
