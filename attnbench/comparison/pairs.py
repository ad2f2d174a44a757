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
from attnbench.errors import NotComparableError
from attnbench.journal import read_journal
from attnbench.pairing import BASE, CANDIDATE, Pairing, Party, read_pairing
from attnbench.record import Status
from attnbench.stats import block_statistic
from attnbench.store import StoredRun, read_run, recovered
from attnbench.table import PROBLEM, blocks_of

Place = tuple[str, int]
"""A case, and the place of a backend in the suite."""
_FEWEST_PAIRS = 2
"""There is no scatter without two."""
_UNLIKE = "the two sides compute different functions"


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """An A/B comparison as it lies on disk."""

    path: Path
    pairing: Pairing
    base: StoredRun
    candidate: StoredRun

    @cached_property
    def rows(self) -> dict[Place, tuple[Row | None, Row | None]]:
        """Both rows of every cell; a side that was cut short may lack one, and unlike functions are not one cell."""
        places = [
            {backend: place for place, backend in reversed(list(enumerate(column)))}
            for column in zip(*self.pairing.backends, strict=True)
        ]
        base, candidate = (
            {(row["case"], place[row["backend"]]): row for row in run.table.to_dict("records")}
            for run, place in zip((self.base, self.candidate), places, strict=True)
        )
        return {place: (base.get(place), candidate.get(place)) for place in {**base, **candidate}}

    def logs(self) -> dict[Place, dict[int, float]]:
        """By cell that both measured, then by pair: log(candidate / base)."""
        found = {}
        for place, (before, now) in self.rows.items():
            if before is None or now is None or not (is_ok(before) and is_ok(now) and _same(before, now)):
                continue
            ours, theirs = blocks_of(before), blocks_of(now)
            found[place] = {pair: math.log(theirs[pair] / ours[pair]) for pair in sorted(ours.keys() & theirs.keys())}
        return found

    def first(self) -> dict[Place, list[float]]:
        """The pairs of the first stage, of cells that have enough of them."""
        return self._stage(lambda pair: pair < self.pairing.pairs, _FEWEST_PAIRS)

    def second(self) -> dict[Place, list[float]]:
        """The fresh pairs of the cells that were measured again, of those that have all of them."""
        return self._stage(lambda pair: pair >= self.pairing.pairs, rules.CONFIRM_PAIRS)

    def cell(self, place: Place) -> Cell:
        """What a cell is called in other comparisons: by the candidate's backend."""
        row = self.rows[place][1] or self.rows[place][0]
        assert row is not None
        return (row["case"], row["backend"], *(row[name] for name in PROBLEM))

    def floors(self, noise: Noise | None) -> dict[Place, float]:
        """By cell, the variance of a pair by an A/A measurement, where it has the cell."""
        known = noise.floors() if noise else {}
        return {place: known[self.cell(place)] for place in self.rows if self.cell(place) in known}

    def _stage(self, belongs: Callable[[int], bool], least: int) -> dict[Place, list[float]]:
        stages = {place: [log for pair, log in logs.items() if belongs(pair)] for place, logs in self.logs().items()}
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


def broken(pairs: Pairs) -> set[Place]:
    """Cells that the base measured and the candidate did not."""
    return {
        place for place, (before, now) in pairs.rows.items() if is_ok(before) and now is not None and not is_ok(now)
    }


def judge(pairs: Pairs, *, fail_above: float | None = None, noise: Noise | None = None) -> Comparison:
    """The verdicts.

    Args:
        pairs: What was measured.
        fail_above: The slowdown that fails, such as 0.03.
        noise: How far pairs scatter on this machine where nothing changed.

    Raises:
        NotComparableError: No cell was measured on both sides.
    """
    margin = fail_above if fail_above is not None else rules.PAIRED_MARGIN
    judgments = rules.judge_pairs(pairs.first(), pairs.second(), fail_above=margin, floors=pairs.floors(noise))
    again = recovered(pairs.candidate.path)
    cells = []
    for place, (before, now) in pairs.rows.items():
        cell = _verdict(pairs, place, before, now, judgments.get(place))
        if cell.verdict is Verdict.BROKEN and now is not None and (now["case"], now["backend"]) in again:
            reason = f"failed once and ran when it was tried again ({cell.reason})"
            cell = replace(cell, verdict=Verdict.SUSPECT, reason=reason)
        cells.append(cell)
    confirmed = len(pairs.second())
    parties = pairs.pairing.parties
    comparison = Comparison(
        suite=str(pairs.candidate.suite.get("name", "")),
        device=str(pairs.candidate.environment.get("device_name", "")),
        base=_named(parties[BASE], parties[CANDIDATE]),
        candidate=_named(parties[CANDIDATE], parties[BASE]),
        method=f"by {pairs.pairing.pairs} pairs of fresh processes in turn"
        + (f", and {rules.CONFIRM_PAIRS} more of the {confirmed} that looked changed" if confirmed else ""),
        cells=worst_first(cells),
        fail_above=1 + margin,
        detectable=median_detectable(cells),
        differences=_differences(pairs),
        remarks=tuple(_remarks(pairs, noise)),
    )
    if not comparison.compared:
        raise NotComparableError(f"nothing can be compared: {_nothing(pairs)} ({pairs.path})")
    return comparison


def _verdict(pairs: Pairs, place: Place, before: Row | None, now: Row | None, judgment: Judgment | None) -> CellVerdict:
    was, is_now = pairs.pairing.backends[place[1]]
    key = (place[0], is_now if was == is_now else f"{was} -> {is_now}")
    cell = verdict_of(key, [] if before is None else [before], now, judgment)
    if cell.verdict is Verdict.INCONCLUSIVE and not _same(before, now):
        return replace(cell, reason=_UNLIKE)
    return cell


def _same(before: Row | None, now: Row | None) -> bool:
    """Whether both sides have the cell, and compute the same function in it."""
    return before is not None and now is not None and all(before[name] == now[name] for name in PROBLEM)


def _named(party: Party, other: Party) -> str:
    """A side by what tells it from the other: its environment, the directory on its path, or both."""
    if party.path is None:
        return party.environment
    return party.path if party.environment == other.environment else f"{party.environment} with {party.path}"


def _differences(pairs: Pairs) -> tuple[str, ...]:
    """What differs between the two sides; what differs in nothing but a backend says so."""
    found = differences(pairs.base.environment, pairs.candidate.environment)
    swapped = [f"backend {was} -> {now}" for was, now in pairs.pairing.backends if was != now]
    before, after = (pairs.pairing.parties[name].path for name in (BASE, CANDIDATE))
    moved = [f"path {before} -> {after}"] if before != after else []
    return (*swapped, *moved, *found)


def _remarks(pairs: Pairs, noise: Noise | None) -> list[str]:
    said = []
    short = {pairs.pairing.pairs - len(logs) for logs in pairs.first().values()} - {0}
    if short:
        said.append(f"It was cut short: up to {max(short)} of {pairs.pairing.pairs} pairs are missing (--resume).")
    if noise is not None:
        said.append(f"No cell is taken to scatter less than in the A/A measurement {noise.path}.")
    return said


def _nothing(pairs: Pairs) -> str:
    both = [(before, now) for before, now in pairs.rows.values() if is_ok(before) and is_ok(now)]
    if not both:
        return "no cell was measured on both sides"
    return f"{_FEWEST_PAIRS} pairs at least must be whole" if any(_same(*rows) for rows in both) else _UNLIKE


def measured_noise(pairs: Pairs) -> Noise:
    """What pairs of one environment beside itself tell of its scatter."""
    environment = pairs.base.environment
    processes = {BASE: _processes(pairs.base), CANDIDATE: _processes(pairs.candidate)}
    cells = {}
    for place, logs in pairs.first().items():
        cell = pairs.cell(place)
        ours = [processes[side].get(cell[:2], {}) for side in (BASE, CANDIDATE)]
        cells[cell] = Scatter(pairs=tuple(logs), processes=tuple(log for found in ours for log in found.values()))
    return Noise(
        path=str(pairs.path),
        suite=str(pairs.base.suite.get("name", "")),
        device=str(environment.get("device_name", "")),
        started_at=pairs.pairing.started_at,
        fingerprint=dict(environment.get("fingerprint", {})),
        cells=cells,
    )


def _processes(run: StoredRun) -> dict[tuple[str, str], dict[int, float]]:
    """By case and backend, then by block: the logarithm of the latency over the block's own anchors."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for record in read_journal(run.path):
        if record.status is Status.OK:
            log = math.log(block_statistic(record.samples_ms, record.device_type))
            if record.ceilings is not None:
                log += (math.log(record.ceilings.bytes_per_s) + math.log(record.ceilings.flops_per_s)) / 2
            found.setdefault((record.case, record.backend), {})[record.block] = log
    return found
