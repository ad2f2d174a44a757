"""The two runs of ``ab`` or ``noise`` as they lie on disk, joined turn by turn and pair by pair."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path

from attnbench.comparison.cell_verdict import CellKey, differences, key_of
from attnbench.core.record import Record, Status
from attnbench.core.stats import geometric_mean
from attnbench.results.journal import read_journal
from attnbench.results.pairs import ATTEMPTS, BASE, CANDIDATE, Pairing, Place, read_pairing
from attnbench.results.rows import Row, is_ok, rows_of
from attnbench.results.store import StoredRun, read_run
from attnbench.results.table import PROBLEM, Cells, processes_of


@dataclass(frozen=True, kw_only=True)
class CellSide:
    """One cell on one side."""

    row: Row
    """Of the processes in which it was ok; if it was in none, of its failure."""
    anchored: tuple[float, ...]
    """The log latency over its own anchors, of every process in which it was ok."""
    turns: Mapping[int, tuple[float, ...]]
    """By round in which it was ok, the latency of every turn in milliseconds."""
    means: Mapping[int, float]
    """By round in which it was ok, the mean of all timed calls in milliseconds."""
    failures: tuple[Record, ...]
    """Of the other processes."""

    @property
    def failed(self) -> str:
        """In how many processes it failed, and how."""
        first, tried = self.failures[0], len(self.anchored) + len(self.failures)
        return f"failed in {len(self.failures)} of {tried} processes ({first.status}: {first.reason})"

    @property
    def given_up(self) -> bool:
        """Whether it failed too often, or in a way that a second attempt does not excuse."""
        return len(self.failures) >= ATTEMPTS or any(not failure.status.excusable for failure in self.failures)


@dataclass(frozen=True, kw_only=True)
class CellPair:
    """One cell on both sides; an interrupted side may lack it."""

    backends: tuple[str, str]
    base: CellSide | None
    candidate: CellSide | None

    @property
    def key(self) -> CellKey:
        """The cell in other comparisons, by the candidate's backend."""
        return key_of(self.sides[-1].row)

    @property
    def sides(self) -> tuple[CellSide, ...]:
        """The sides that have it."""
        return tuple(side for side in (self.base, self.candidate) if side is not None)

    @property
    def label(self) -> str:
        """Its backend, or both where they differ."""
        return label_of(self.backends)

    @property
    def measured(self) -> tuple[CellSide, CellSide] | None:
        """Both sides, if it is ok on both."""
        if self.base is None or self.candidate is None or not (is_ok(self.base.row) and is_ok(self.candidate.row)):
            return None
        return self.base, self.candidate

    @property
    def same_function(self) -> bool:
        """Whether both sides compute the same function."""
        sides = self.measured
        return sides is not None and all(sides[0].row[name] == sides[1].row[name] for name in PROBLEM)

    @cached_property
    def logs(self) -> dict[int, float]:
        """log(candidate / base) by round, of the rounds in which it was ok on both sides.

        The median over turns: each is compared with the turn of the other side beside it, so that what slows the
        machine for a while slows both. Of 67 pairs with a real +3 % on a loaded machine, 15 at a time, the signed-rank
        test sees it in 92 % so, and in 62 % where the two sides are sampled one after the other.
        """
        return {
            number: statistics.median(math.log(now / was) for was, now in zip(base, candidate, strict=False))
            for number, (base, candidate) in self._turns.items()
        }

    @property
    def mean_logs(self) -> dict[int, float]:
        """log(candidate / base) of the mean latencies by round: what is slow now and then shows here alone."""
        if self.measured is None:
            return {}
        base, candidate = self.measured
        return {number: math.log(candidate.means[number] / base.means[number]) for number in self._turns}

    @property
    def latencies_ms(self) -> tuple[float, float]:
        """Of base and candidate, from the turns that the pairs are made of."""
        base, candidate = (
            geometric_mean([statistics.median(turns) for turns in side])
            for side in zip(*self._turns.values(), strict=True)
        )
        return base, candidate

    @property
    def given_up(self) -> bool:
        """Whether no further round is measured, because it failed too often on either side."""
        return any(side.given_up for side in self.sides)

    @property
    def _turns(self) -> dict[int, tuple[tuple[float, ...], tuple[float, ...]]]:
        if self.measured is None or not self.same_function:
            return {}
        base, candidate = self.measured
        return {
            number: (base.turns[number], turns)
            for number, turns in sorted(candidate.turns.items())
            if number in base.turns
        }


def label_of(backends: Sequence[str]) -> str:
    """What a comparison calls the backends of base and candidate: one name where they are one."""
    return " -> ".join(dict.fromkeys(backends))


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Both runs as they lie on disk."""

    path: Path
    pairing: Pairing
    base: StoredRun
    candidate: StoredRun

    @cached_property
    def cells(self) -> dict[Place, CellPair]:
        """Every cell, in the order of the suite."""
        base, candidate = (
            {
                (case, place): side
                for (case, backend), side in _cells_of(run).items()
                for place, backends in enumerate(self.pairing.backends)
                if backends[index] == backend
            }
            for index, run in enumerate((self.base, self.candidate))
        )
        return {
            place: CellPair(
                backends=self.pairing.backends[place[1]], base=base.get(place), candidate=candidate.get(place)
            )
            for place in {**base, **candidate}
        }

    @property
    def rounds(self) -> int:
        """Rounds that were measured."""
        numbers = [number for cell in self.cells.values() for side in cell.sides for number in side.turns]
        return max(numbers, default=-1) + 1

    def differences(self) -> tuple[str, ...]:
        """What differs between the two sides: first what was asked to."""
        backends = [f"backend {was} -> {now}" for was, now in self.pairing.backends if was != now]
        before, after = (self.pairing.parties[name].path for name in (BASE, CANDIDATE))
        paths = [f"path {before or 'none'} -> {after or 'none'}"] if before != after else []
        return (*backends, *paths, *differences(self.base.environment, self.candidate.environment))

    def name_of(self, side: str) -> str:
        """A side by what tells it from the other: backend, environment, and the directory on its path."""
        this = self.pairing.parties[side]
        (other,) = (found for name, found in self.pairing.parties.items() if name != side)
        parts = [backends[side != BASE] for backends in self.pairing.backends if backends[0] != backends[1]]
        parts += [this.environment] if this.environment != other.environment else []
        parts += [this.path] if this.path is not None and this.path != other.path else []
        return " with ".join(parts) or this.environment


def read_pairs(directory: Path) -> Pairs:
    """What ``ab`` or ``noise`` wrote.

    Raises:
        StoredRunError: It is not that, or is damaged.
    """
    return Pairs(
        path=directory,
        pairing=read_pairing(directory),
        base=read_run(directory / BASE),
        candidate=read_run(directory / CANDIDATE),
    )


def _cells_of(run: StoredRun) -> dict[tuple[str, str], CellSide]:
    """One side's cells, by case and backend."""
    ok = Cells()
    failures: dict[tuple[str, str], list[Record]] = {}
    turns: dict[tuple[str, str], dict[int, tuple[float, ...]]] = {}
    means: dict[tuple[str, str], dict[int, float]] = {}
    for record in read_journal(run.path):
        key = (record.case, record.backend)
        if record.status is Status.OK:
            ok.add(record)
            turns.setdefault(key, {})[record.round] = _latencies_of_turns(record)
            means.setdefault(key, {})[record.round] = record.mean_ms or math.nan
        else:
            failures.setdefault(key, []).append(record)
    table = ok.table(suite=str(run.suite.get("name", "")))
    anchors = ok.anchors()
    # A cell that failed in some processes is not ok in the run's table, and is in this one.
    rows = {(row["case"], row["backend"]): row for row in (*run.rows, *rows_of(table))}
    return {
        key: CellSide(
            row=row,
            anchored=tuple(math.log(ms) - anchors[key][process] for process, ms in processes_of(row).items()),
            turns=turns.get(key, {}),
            means=means.get(key, {}),
            failures=tuple(failures.get(key, ())),
        )
        for key, row in rows.items()
    }


def _latencies_of_turns(record: Record) -> tuple[float, ...]:
    """Of every turn the fastest sample on the CPU, where noise only ever adds, and the median on a GPU."""
    statistic = min if record.device_type == "cpu" else statistics.median
    ends = [0, *accumulate(record.turns or (len(record.samples_ms),))]
    return tuple(statistic(record.samples_ms[start:end]) for start, end in pairwise(ends))
