"""What is read back is checked: records belong to their run and stand once, and a table agrees with itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from attnbench.core.errors import StoredRunError, SuiteError
from attnbench.core.escaping import is_plain
from attnbench.core.problem import Problem
from attnbench.core.record import Record, Status
from attnbench.core.shipped_backends import SHIPPED
from attnbench.core.stats import geometric_mean
from attnbench.core.text import echoed
from attnbench.results.places import processes_asked_for

_TEXTS = ("case", "backend", "device", "reason", "kernel")
_AGREE = 1e-6
"""Relative difference of numbers that follow from one another."""
_DAMAGED = "the file is damaged"


class Belonging:
    """The records of one run: each must be of its suite and device, and stand once.

    Args:
        journal: The file, for messages.
        suite: The run's suite.yaml, and what it holds; without a sweep and cases nothing is known of its cells.
        environment: What environment.json holds.
        again: Whether a cell may stand several times: a resumed ``ab`` measures halves of pairs again.

    Raises:
        StoredRunError: The suite cannot be read.
    """

    def __init__(
        self,
        journal: Path,
        suite: tuple[Path, Mapping[str, Any]],
        environment: Mapping[str, Any],
        *,
        again: bool = False,
    ) -> None:
        self._journal = journal
        self._again = again
        self._device = environment.get("device")
        self._seen: dict[tuple[int, int], int] = {}
        self._cells: dict[int, tuple[str, str, Problem]] = {}
        self._is_known = bool(suite[1].get("sweep") or suite[1].get("cases"))
        self._rounds = processes_asked_for(suite[1]) if self._is_known and not again else None
        if self._is_known and self._device:
            self._cells = _cells_of(*suite, device=str(self._device))

    def check(self, record: Record, line: int) -> None:
        """See that a record belongs to the run.

        Raises:
            StoredRunError: It does not: with the line.
        """
        hidden = _hidden({name: getattr(record, name) for name in _TEXTS})
        if why := hidden or self._why_not(record, line) or self._beyond(record):
            cell = f"{echoed(record.backend)[1:-1]} on {echoed(record.case)}"
            raise StoredRunError(f"{self._journal}:{line}: {cell}: {why}; {_DAMAGED}")

    def _beyond(self, record: Record) -> str:
        if self._rounds is None or record.round < self._rounds:
            return ""
        return f"of process {record.round + 1}, and its suite asks for {self._rounds}"

    def _why_not(self, record: Record, line: int) -> str:
        if self._device is not None and record.device != self._device:
            return f"measured on {record.device}, and the run on {self._device}"
        here = (record.position, record.round)
        if here in self._seen and not self._again:
            return f"stands in line {self._seen[here]} already"
        self._seen[here] = line
        known = (record.case, record.backend, record.problem)
        if not self._is_known or self._device is None:
            known = self._cells.setdefault(record.position, known)
        elif record.position not in self._cells:
            return "its suite has no such cell"
        else:
            known = self._cells[record.position]
        if known[:2] != (record.case, record.backend):
            return f"in the place of {known[1]} on {known[0]!r}"
        if known[2] != record.problem and replace(known[2], pattern=record.problem.pattern) != record.problem:
            return "of another problem than its case"
        return ""


def _cells_of(file: Path, content: Mapping[str, Any], *, device: str) -> dict[int, tuple[str, str, Problem]]:
    """By position, the cells that a suite asks for."""
    # The schema takes a seventh of a second to import, and most runs have their table.
    from attnbench.suite.expansion import load_suite

    given = content.get("backends") or []
    entries = given if isinstance(given, list) else [given]
    named = [str(entry.get("name") if isinstance(entry, dict) else entry) for entry in entries]
    try:
        suite = load_suite(file, known_backends=[*SHIPPED, *named])
        cases = suite.cases(device)
    except SuiteError as error:
        raise StoredRunError(f"{error}; {_DAMAGED}") from None
    both = [(case, backend) for case in cases for backend in suite.backends]
    return {position: (case.name, backend, case.problem) for position, (case, backend) in enumerate(both)}


def check_row(row: Mapping[Any, Any], *, numbers: tuple[str, ...]) -> str:
    """Why the numbers of a table's row contradict its status or one another; empty where they do not.

    Args:
        row: The row.
        numbers: The columns that hold numbers exactly where the cell is ok, or may be missing there.
    """
    if why := _hidden(row):
        return why
    if row["status"] not in set(Status):
        return f"status {echoed(row['status'])} is not one of {', '.join(Status)}"
    known = {name: row[name] for name in numbers if pd.notna(row[name])}
    if row["status"] != Status.OK:
        named = next(iter(known), None)
        return "" if named is None else f"{named} is {known[named]!r} and the status {row['status']}"
    for name, value in known.items():
        if not 0 <= value < math.inf:
            return f"{name} is {value:g}"
    latency_ms = known.get("latency_ms", 0.0)
    if not latency_ms > 0:
        return f"latency_ms is {latency_ms:g}"
    return next(_disagreements(row, known), "")


def _hidden(values: Mapping[Any, Any]) -> str:
    """Which text holds what no text has that attnbench stores; empty where none does."""
    for name, value in values.items():
        if isinstance(value, str) and not is_plain(value):
            return f"{name} holds characters that nobody sees"
    return ""


def _disagreements(row: Mapping[Any, Any], known: Mapping[str, float]) -> Iterator[str]:
    """What numbers that follow from one another say of one another."""
    try:
        numbered = dict(pair.split(":") for pair in row["process_latencies_ms"].split())
        processes = [float(ms) for ms in numbered.values()]
    except ValueError:
        processes = []
    if not processes or not all(0 < one < math.inf for one in processes):
        yield f"process_latencies_ms is {row['process_latencies_ms']!r:.80}"
        return
    latency_ms = known["latency_ms"]
    if not math.isclose(geometric_mean(processes), latency_ms, rel_tol=_AGREE):
        yield f"latency_ms is {latency_ms:g} and the mean of process_latencies_ms {geometric_mean(processes):g}"
    if known.get("processes") != len(processes):
        yield f"processes is {known.get('processes')} and there are {len(processes)} process_latencies_ms"
    low, high = known.get("latency_low_ms", latency_ms), known.get("latency_high_ms", latency_ms)
    if low > latency_ms * (1 + _AGREE) or high < latency_ms * (1 - _AGREE):
        yield f"latency_ms is {latency_ms:g}, outside of its interval from {low:g} to {high:g}"
    images_per_s = known.get("images_per_s")
    if images_per_s is not None and not math.isclose(images_per_s, 1e3 * row["batch"] / latency_ms, rel_tol=_AGREE):
        yield f"images_per_s is {images_per_s:g} and latency_ms {latency_ms:g}"
