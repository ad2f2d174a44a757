"""The two runs of ``ab`` or ``noise``, joined pair by pair."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from attnbench.comparison import rules
from attnbench.comparison.cells import (
    CellKey,
    Row,
    differences,
    is_ok,
    key_of,
    median_detectable,
    verdict_of,
    worst_first,
)
from attnbench.comparison.noise import CellNoise, Noise
from attnbench.comparison.rules import Judgment
from attnbench.comparison.verdict import CellVerdict, Comparison, Verdict
from attnbench.core.errors import NotComparableError, UsageError
from attnbench.core.files import read
from attnbench.core.problem import Problem
from attnbench.core.record import Record, Status
from attnbench.results.journal import read_journal
from attnbench.results.pairs import ATTEMPTS, BASE, CANDIDATE, Pairing, Place, read_pairing
from attnbench.results.store import StoredRun, read_run
from attnbench.results.table import PROBLEM, Cells, processes_of

_FEWEST_PAIRS = 2
"""One pair has no variance."""
_OTHER_FUNCTION = "the two sides compute different functions"


@dataclass(frozen=True, kw_only=True)
class CellSide:
    """One cell on one side."""

    row: Row
    """Of the processes in which it was ok; if it was in none, of its failure."""
    anchored: tuple[float, ...]
    """The log latency over its own anchors, of every process in which it was ok."""
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
        side = self.candidate or self.base
        assert side is not None
        return key_of(side.row)

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
        """log(candidate / base) of every pair in which it was ok on both sides."""
        if self.measured is None or not self.same_function:
            return {}
        base, candidate = (processes_of(side.row) for side in self.measured)
        return {pair: math.log(candidate[pair] / base[pair]) for pair in sorted(base.keys() & candidate.keys())}

    def verdict(self, judgment: Judgment | None) -> CellVerdict:
        """The verdict, given that on its latencies if there is one."""
        was, now = self.backends
        key = (self.key[0], now if was == now else f"{was} -> {now}")
        past = [self.base.row] if self.base else []
        row = self.candidate.row if self.candidate else None
        if self.measured and not self.same_function:
            cell = verdict_of(key, past, row, None, kernels=False)
            return replace(cell, verdict=Verdict.INCONCLUSIVE, reason=_OTHER_FUNCTION)
        cell = verdict_of(key, past, row, judgment, kernels=was == now)
        if self.measured is None:
            return cell
        base, candidate = self.measured
        if candidate.failures and candidate.given_up:
            return replace(
                cell, verdict=Verdict.BROKEN, reason=candidate.failed, candidate_status=candidate.failures[0].status,
                candidate_ms=None, ratio=None, p_value=None, candidate_peak_bytes=None, candidate_kernel="",
            )  # fmt: skip
        if candidate.failures:
            verdict = cell.verdict if cell.verdict.fails else Verdict.SUSPECT
            return replace(cell, verdict=verdict, reason="; ".join(filter(None, (candidate.failed, cell.reason))))
        if base.failures and not cell.verdict.fails:
            return replace(cell, reason="; ".join(filter(None, (f"the base {base.failed}", cell.reason))))
        return cell


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

    def first(self) -> dict[Place, list[float]]:
        """log(candidate / base) of the pairs of the first stage, of cells that have enough of them."""
        return self._logs(range(self.pairing.pairs), least=_FEWEST_PAIRS)

    def second(self) -> dict[Place, list[float]]:
        """The same of the second stage; a cell that a process of either side failed in still has enough."""
        fresh = range(self.pairing.pairs, self.pairing.pairs + rules.CONFIRM_PAIRS)
        return self._logs(fresh, least=rules.CONFIRM_PAIRS - 2 * (ATTEMPTS - 1))

    def floors(self, noise: Noise | None) -> dict[Place, float]:
        """By cell, the variance of a pair in an A/A test that has the cell."""
        found = noise.floors() if noise else {}
        return {place: found[cell.key] for place, cell in self.cells.items() if cell.key in found}

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

    def _logs(self, pairs: Collection[int], *, least: int) -> dict[Place, list[float]]:
        found = {place: [log for pair, log in cell.logs.items() if pair in pairs] for place, cell in self.cells.items()}
        return {place: logs for place, logs in found.items() if len(logs) >= least}


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


def changed(pairs: Pairs, *, noise: Noise | None = None) -> set[Place]:
    """Cells that look slower or faster after the first stage."""
    return set(rules.screen(pairs.first(), floors=pairs.floors(noise)))


def judge(
    pairs: Pairs, *, fail_above: float | None = None, noise: Noise | None = None, anyway: bool = False
) -> Comparison:
    """Compare the two sides.

    Args:
        pairs: What was measured.
        fail_above: The slowdown that fails, such as 0.03.
        noise: An A/A test of this machine.
        anyway: Whether to judge an interrupted measurement, too.

    Raises:
        UsageError: It is an A/A test.
        NotComparableError: It was interrupted.
    """
    if pairs.pairing.kind != "ab":
        raise UsageError(f"{pairs.path} is an A/A test: both sides are the same; give what attnbench ab wrote")
    if not (pairs.pairing.finished or anyway):
        raise NotComparableError(
            f"{pairs.path} was interrupted; resume it (attnbench ab, the same options, --resume {pairs.path}), "
            "or add --anyway"
        )
    margin = rules.PAIRED_MARGIN if fail_above is None else fail_above
    second = pairs.second()
    judgments = rules.judge_pairs(pairs.first(), second, fail_above=margin, floors=pairs.floors(noise))
    cells = worst_first(cell.verdict(judgments.get(place)) for place, cell in pairs.cells.items())
    confirmed = f", and {rules.CONFIRM_PAIRS} more of the {len(second)} that looked changed" if second else ""
    return Comparison(
        suite=str(pairs.candidate.suite.get("name", "")),
        device=str(pairs.candidate.environment.get("device_name", "")),
        base=pairs.name_of(BASE),
        candidate=pairs.name_of(CANDIDATE),
        method=f"by {pairs.pairing.pairs} pairs of fresh processes in turn{confirmed}",
        cells=cells,
        fail_above=1 + margin,
        min_detectable_ratio=median_detectable(cells),
        differences=pairs.differences(),
        notes=tuple(_notes(pairs, noise)),
        not_compared_reason="" if any(cell.compared for cell in cells) else _not_compared(pairs),
    )


def measured_noise(pairs: Pairs) -> Noise:
    """The A/A test that pairs of one environment with itself are."""
    environment = pairs.base.environment
    cells = []
    for place, logs in pairs.first().items():
        cell = pairs.cells[place]
        assert cell.measured is not None
        row = cell.measured[1].row
        cells.append(
            CellNoise(
                case=row["case"],
                backend=row["backend"],
                problem=read(Problem, {name: row[name] for name in PROBLEM}),
                pairs=tuple(logs),
                processes=tuple(log for side in cell.measured for log in side.anchored),
            )
        )
    return Noise(
        path=str(pairs.path),
        suite=str(pairs.base.suite.get("name", "")),
        device=str(environment.get("device_name", "")),
        started_at=pairs.pairing.started_at,
        fingerprint=dict(environment.get("fingerprint", {})),
        cells=tuple(cells),
        unmeasured=len(pairs.cells) - len(cells),
    )


def _cells_of(run: StoredRun) -> dict[tuple[str, str], CellSide]:
    """One side's cells, by case and backend."""
    ok = Cells()
    failures: dict[tuple[str, str], list[Record]] = {}
    for record in read_journal(run.path):
        if record.status is Status.OK:
            ok.add(record)
        else:
            failures.setdefault((record.case, record.backend), []).append(record)
    table = ok.table(suite=str(run.suite.get("name", "")))
    anchors = ok.anchors()
    # A cell that failed in some processes is not ok in the run's table, and is in this one.
    rows = {(row["case"], row["backend"]): row for row in (*run.table.to_dict("records"), *table.to_dict("records"))}
    return {
        key: CellSide(
            row=row,
            anchored=tuple(math.log(ms) - anchors[key][process] for process, ms in processes_of(row).items()),
            failures=tuple(failures.get(key, ())),
        )
        for key, row in rows.items()
    }


def _notes(pairs: Pairs, noise: Noise | None) -> list[str]:
    notes = []
    if not pairs.pairing.finished:
        notes.append("The measurement was interrupted, and is judged by what there is.")
    if not pairs.differences():
        notes.append("The two sides do not differ in anything that is recorded.")
    unavailable = [
        cell.base.row["reason"]
        for cell in pairs.cells.values()
        if cell.base and cell.base.row["status"] == Status.UNAVAILABLE and cell.candidate and is_ok(cell.candidate.row)
    ]
    if unavailable:
        notes.append(
            f"The base cannot run {len(unavailable)} of the cells, so they are not compared: {unavailable[0]}."
        )
    if noise is not None:
        notes.append(f"Noise floor taken from {noise.path}.")
    return notes


def _not_compared(pairs: Pairs) -> str:
    measured = [cell for cell in pairs.cells.values() if cell.measured]
    if not measured:
        why = "no cell was measured on both sides"
    elif any(cell.same_function for cell in measured):
        why = f"fewer than {_FEWEST_PAIRS} pairs are complete"
    else:
        why = _OTHER_FUNCTION
    return f"nothing can be compared: {why} ({pairs.path})"
