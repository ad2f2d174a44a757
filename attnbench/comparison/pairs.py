"""The two runs of an A/B comparison brought together, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from attnbench.comparison import rules
from attnbench.comparison.cells import Cell, Row, is_ok, median_detectable, verdict_of, worst_first
from attnbench.comparison.environments import differences
from attnbench.comparison.noise import Noise, Scatter
from attnbench.comparison.rules import Judgment
from attnbench.comparison.verdict import CellVerdict, Comparison, Verdict
from attnbench.core.errors import NotComparableError, UsageError
from attnbench.core.record import Record, Status
from attnbench.results.journal import read_journal
from attnbench.results.pairs import ATTEMPTS, BASE, CANDIDATE, Pairing, Place, read_pairing
from attnbench.results.store import StoredRun, read_run
from attnbench.results.table import PROBLEM, Cells, processes_of

_FEWEST_PAIRS = 2
"""There is no scatter without two."""
_UNLIKE = "the two sides compute different functions"


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One cell on one side."""

    row: Row
    """Of the processes in which it was ok; where it was in none, how it ended."""
    anchored: tuple[float, ...] = ()
    """The logarithm of every process's latency over its own anchors."""
    failures: tuple[Record, ...] = ()
    """Of the processes in which it was not."""

    @property
    def processes(self) -> int:
        """In how many it was tried."""
        return len(self.anchored) + len(self.failures)

    @property
    def failed(self) -> str:
        """In how many it failed, and how."""
        first = self.failures[0]
        return f"failed in {len(self.failures)} of {self.processes} processes ({first.status}: {first.reason})"

    @property
    def given_up(self) -> bool:
        """Whether it failed so often, or so, that no other process excuses it."""
        return len(self.failures) >= ATTEMPTS or any(not failure.status.excusable for failure in self.failures)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """An A/B comparison as it lies on disk."""

    path: Path
    pairing: Pairing
    base: StoredRun
    candidate: StoredRun

    @cached_property
    def cells(self) -> dict[Place, tuple[Sight | None, Sight | None]]:
        """Every cell on both sides, in the order of the suite; a side that was cut short may lack one."""
        places = [
            {backend: place for place, backend in reversed(list(enumerate(column)))}
            for column in zip(*self.pairing.backends, strict=True)
        ]
        base, candidate = (
            {(case, place[backend]): sight for (case, backend), sight in _sights(run).items()}
            for run, place in zip((self.base, self.candidate), places, strict=True)
        )
        return {place: (base.get(place), candidate.get(place)) for place in {**base, **candidate}}

    def first(self) -> dict[Place, list[float]]:
        """log(candidate / base) of the pairs of the first stage, of cells that have enough of them."""
        return self._stage(lambda pair: pair < self.pairing.pairs, _FEWEST_PAIRS)

    def second(self) -> dict[Place, list[float]]:
        """The same of the fresh pairs; of those, a process of each side may have failed."""
        return self._stage(lambda pair: pair >= self.pairing.pairs, rules.CONFIRM_PAIRS - 2 * (ATTEMPTS - 1))

    def cell(self, place: Place) -> Cell:
        """What a cell is called in other comparisons: by the candidate's backend."""
        before, now = self.cells[place]
        row = _row(now) or _row(before)
        assert row is not None
        return (row["case"], row["backend"], *(row[name] for name in PROBLEM))

    def floors(self, noise: Noise | None) -> dict[Place, float]:
        """By cell, the variance of a pair by an A/A measurement, where it has the cell."""
        known = noise.floors() if noise else {}
        return {place: known[self.cell(place)] for place in self.cells if self.cell(place) in known}

    @cached_property
    def _logs(self) -> dict[Place, dict[int, float]]:
        found = {}
        for place, (before, now) in self.cells.items():
            if before is None or now is None or not _same(before, now):
                continue
            ours, theirs = processes_of(before.row), processes_of(now.row)
            found[place] = {pair: math.log(theirs[pair] / ours[pair]) for pair in sorted(ours.keys() & theirs.keys())}
        return found

    def _stage(self, belongs: Callable[[int], bool], least: int) -> dict[Place, list[float]]:
        stages = {place: [log for pair, log in logs.items() if belongs(pair)] for place, logs in self._logs.items()}
        return {place: logs for place, logs in stages.items() if len(logs) >= least}


def read_pairs(directory: Path) -> Pairs:
    """An A/B comparison.

    Raises:
        StoredRunError: It is none, or is damaged.
    """
    return Pairs(
        path=directory,
        pairing=read_pairing(directory),
        base=read_run(directory / BASE),
        candidate=read_run(directory / CANDIDATE),
    )


def changed(pairs: Pairs, *, noise: Noise | None = None) -> set[Place]:
    """Cells that look slower or faster after the first stage."""
    first = pairs.first()
    return set(rules.screen(first, floors=pairs.floors(noise)).suspects) if first else set()


def judge(
    pairs: Pairs, *, fail_above: float | None = None, noise: Noise | None = None, anyway: bool = False
) -> Comparison:
    """The verdicts.

    Args:
        pairs: What was measured.
        fail_above: The slowdown that fails, such as 0.03.
        noise: How far pairs scatter on this machine where nothing changed.
        anyway: Whether to judge what was cut short, too.

    Raises:
        UsageError: It is an A/A measurement.
        NotComparableError: It was cut short.
    """
    if pairs.pairing.kind != "ab":
        raise UsageError(
            f"{pairs.path} is what attnbench noise wrote: both sides are the same (attnbench ab compares two)"
        )
    if not (pairs.pairing.finished or anyway):
        raise NotComparableError(
            f"{pairs.path} was cut short; go on with attnbench ab and its options and --resume {pairs.path}, "
            "or add --anyway"
        )
    margin = fail_above if fail_above is not None else rules.PAIRED_MARGIN
    judgments = rules.judge_pairs(pairs.first(), pairs.second(), fail_above=margin, floors=pairs.floors(noise))
    cells = [_verdict(pairs, place, judgments.get(place)) for place in pairs.cells]
    confirmed = len(pairs.second())
    comparison = Comparison(
        suite=str(pairs.candidate.suite.get("name", "")),
        device=str(pairs.candidate.environment.get("device_name", "")),
        base=_named(pairs, BASE),
        candidate=_named(pairs, CANDIDATE),
        method=f"by {pairs.pairing.pairs} pairs of fresh processes in turn"
        + (f", and {rules.CONFIRM_PAIRS} more of the {confirmed} that looked changed" if confirmed else ""),
        cells=worst_first(cells),
        fail_above=1 + margin,
        min_detectable_ratio=median_detectable(cells),
        differences=_differences(pairs),
        notes=tuple(_notes(pairs, noise)),
    )
    if comparison.compared:
        return comparison
    return replace(comparison, not_compared_reason=f"nothing can be compared: {_nothing(pairs)} ({pairs.path})")


def measured_noise(pairs: Pairs) -> Noise:
    """What pairs of one environment beside itself tell of its scatter."""
    environment = pairs.base.environment
    cells = {}
    for place, logs in pairs.first().items():
        before, now = pairs.cells[place]
        assert before is not None
        assert now is not None
        cells[pairs.cell(place)] = Scatter(pairs=tuple(logs), processes=(*before.anchored, *now.anchored))
    return Noise(
        path=str(pairs.path),
        suite=str(pairs.base.suite.get("name", "")),
        device=str(environment.get("device_name", "")),
        started_at=pairs.pairing.started_at,
        fingerprint=dict(environment.get("fingerprint", {})),
        cells=cells,
        unmeasured=len(pairs.cells) - len(cells),
    )


def _sights(run: StoredRun) -> dict[tuple[str, str], Sight]:
    """By case and backend."""
    good = Cells()
    anchored: dict[tuple[str, str], list[float]] = {}
    failures: dict[tuple[str, str], list[Record]] = {}
    for record in read_journal(run.path):
        key = record.case, record.backend
        if record.status is Status.OK:
            good.add(record)
        else:
            failures.setdefault(key, []).append(record)
    table = good.table(suite=str(run.suite.get("name", "")))
    rows = {(row["case"], row["backend"]): row for row in (*run.table.to_dict("records"), *table.to_dict("records"))}
    anchors = good.anchors()
    for key, row in rows.items():
        anchored[key] = [
            math.log(latency_ms) - anchors[key][process] for process, latency_ms in processes_of(row).items()
        ]
    return {
        key: Sight(row=row, anchored=tuple(anchored[key]), failures=tuple(failures.get(key, ())))
        for key, row in rows.items()
    }


def _verdict(pairs: Pairs, place: Place, judgment: Judgment | None) -> CellVerdict:
    before, now = pairs.cells[place]
    was, is_now = pairs.pairing.backends[place[1]]
    key = (place[0], is_now if was == is_now else f"{was} -> {is_now}")
    past, row = [before.row] if before else [], _row(now)
    if before and now and is_ok(before.row) and is_ok(now.row) and not _same(before, now):
        cell = verdict_of(key, past, row, None, kernels=False)
        return replace(cell, verdict=Verdict.INCONCLUSIVE, reason=_UNLIKE)
    cell = verdict_of(key, past, row, judgment, kernels=was == is_now)
    if now and now.failures and is_ok(row) and cell.base_ms is not None:
        return _with_failures(cell, now)
    if before and before.failures and is_ok(before.row) and not cell.verdict.fails:
        reason = "; ".join(filter(None, (f"the base {before.failed}", cell.reason)))
        return replace(cell, reason=reason)
    return cell


def _with_failures(cell: CellVerdict, now: Sight) -> CellVerdict:
    """What a cell is that failed in some of the candidate's processes."""
    if now.given_up:
        status = now.failures[0].status
        return replace(
            cell, verdict=Verdict.BROKEN, reason=now.failed, candidate_status=status, candidate_ms=None, ratio=None,
            p_value=None, candidate_peak_bytes=None, candidate_kernel="",
        )  # fmt: skip
    verdict = cell.verdict if cell.verdict.fails else Verdict.SUSPECT
    return replace(cell, verdict=verdict, reason="; ".join(filter(None, (now.failed, cell.reason))))


def _row(sight: Sight | None) -> Row | None:
    return None if sight is None else sight.row


def _same(before: Sight, now: Sight) -> bool:
    """Whether both sides compute the same function."""
    return all(before.row[name] == now.row[name] for name in PROBLEM)


def _named(pairs: Pairs, side: str) -> str:
    """A side by what tells it from the other: its backend, its environment, the directory on its path."""
    party = pairs.pairing.parties[side]
    (other,) = (found for name, found in pairs.pairing.parties.items() if name != side)
    backends = [names[side != BASE] for names in pairs.pairing.backends if names[0] != names[1]]
    parts = [*backends, *([party.environment] if party.environment != other.environment else [])]
    parts += [party.path] if party.path is not None and party.path != other.path else []
    return " with ".join(parts) or party.environment


def _differences(pairs: Pairs) -> tuple[str, ...]:
    """What differs between the two sides, what was meant to differ first."""
    found = differences(pairs.base.environment, pairs.candidate.environment)
    swapped = [f"backend {was} -> {now}" for was, now in pairs.pairing.backends if was != now]
    before, after = (pairs.pairing.parties[name].path for name in (BASE, CANDIDATE))
    moved = [f"path {before or 'none'} -> {after or 'none'}"] if before != after else []
    return (*swapped, *moved, *found)


def _notes(pairs: Pairs, noise: Noise | None) -> list[str]:
    said = []
    if not pairs.pairing.finished:
        said.append("It was cut short, and judged anyway by what there is.")
    if not _differences(pairs):
        said.append("Nothing is known to differ between the two sides.")
    lacking = [
        before.row["reason"]
        for before, now in pairs.cells.values()
        if before and now and before.row["status"] == Status.UNAVAILABLE and is_ok(now.row)
    ]
    if lacking:
        said.append(
            f"The base cannot run {len(lacking)} of the cells at all, so nothing is known of them ({lacking[0]})."
        )
    if noise is not None:
        said.append(f"No cell is taken to scatter less than in the A/A measurement {noise.path}.")
    return said


def _nothing(pairs: Pairs) -> str:
    both = [
        (before, now) for before, now in pairs.cells.values() if before and now and is_ok(before.row) and is_ok(now.row)
    ]
    if not both:
        return "no cell was measured on both sides"
    return f"{_FEWEST_PAIRS} pairs at least must be whole" if any(_same(*sides) for sides in both) else _UNLIKE
