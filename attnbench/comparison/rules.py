"""When is it a regression: from logarithms of ratios to judgments, nothing else known.

Replicates are processes, never samples. Three situations: pairs of processes that alternated (the rule to gate by), a
candidate beside a history of runs, and a candidate beside a single base, where nothing can be confirmed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from attnbench.comparison.inference import Prior, fit_prior, holm, quantile, upper_tail
from attnbench.comparison.verdict import Verdict
from attnbench.core.stats import Estimate

Key = TypeVar("Key")
SCREEN_PAIRS, CONFIRM_PAIRS = 5, 10
FEWEST_RUNS = 6
"""Base runs that make a history."""
FEWEST_PROCESSES = 3
"""Fresh processes of a candidate that must agree before a history calls it changed."""
PAIRED_MARGIN, HISTORY_MARGIN = 0.03, 0.05
"""Slowdowns that fail by default."""
SINGLE_MARGIN = 0.10
_SCREEN_CHANCE, _SCREEN_MARGIN = 0.05, 0.015
_CHANCE = 0.01
"""Of any false alarm in a whole table."""
_NULL = math.log(1.01)
"""A change that nobody minds: what a regression must be larger than beyond doubt."""
_HOPELESS = math.log(1000)
"""A larger change is one that nobody waits for a benchmark to tell."""
_AGREEMENT = 0.5
"""Part of the margin that every single process of a candidate must show: one slow process is no regression."""
_BORROWED = 1.0
"""Degrees of freedom that a cell may borrow from the others of its runs, over its own: what slows a run slows many of
its cells, so they are not worth their number."""


_MOST_TIMES, _FEWEST_TIMES = 2.0, 3.0
"""How far a later variance may lie above and below what was expected and still be drawn towards it."""
_NO_PRIOR = Prior(variance=0.0, degrees=0.0)


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """What the numbers of one cell say."""

    verdict: Verdict
    ratio: Estimate
    p_value: float | None = None
    min_detectable_ratio: float | None = None
    """The smallest ratio that would have been called a regression in every other case; None where none would."""
    reason: str = ""
    """What keeps it from being confirmed, where that is not the scatter."""


@dataclass(frozen=True, kw_only=True)
class Screening(Generic[Key]):
    """What a first stage of pairs left open."""

    suspects: tuple[Key, ...]
    """Cells that look slower or faster: they alone are measured again."""
    prior: Prior


@dataclass(frozen=True, kw_only=True)
class _Scatter:
    """A cell's mean with its moderated standard error."""

    mean: float
    error: float
    degrees: float

    @classmethod
    def of(cls, values: Sequence[float], prior: Prior, *, floor: float = 0.0) -> _Scatter:
        """Of the mean of ``values``, whose variance is at least ``floor``."""
        variance, total = prior.moderate(statistics.variance(values), len(values) - 1)
        error = math.sqrt(max(variance, floor) / len(values))
        return cls(mean=statistics.fmean(values), error=error, degrees=total)

    @classmethod
    def of_later(cls, values: Sequence[float], prior: Prior, *, floor: float = 0.0) -> _Scatter:
        """The same of values that were measured later than those of the prior.

        A machine that was quiet then may not be any more, or the other way round: where the cell's own variance is not
        like that, it counts alone.
        """
        own, degrees = statistics.variance(values), len(values) - 1
        moderated, _ = prior.moderate(own, degrees)
        alike = own <= _MOST_TIMES * moderated and moderated <= _FEWEST_TIMES * own
        return cls.of(values, prior if alike else _NO_PRIOR, floor=floor)

    @classmethod
    def beside(cls, now: float, past: Sequence[float], prior: Prior) -> _Scatter:
        """Of one further value above the mean of ``past`` ones."""
        degrees = len(past) - 1
        variance, total = prior.moderate(statistics.variance(past), degrees)
        return cls(
            mean=now - statistics.fmean(past),
            error=math.sqrt(variance * (1 + 1 / len(past))),
            degrees=min(total, (1 + _BORROWED) * degrees),
        )

    def chance_above(self, null: float) -> float:
        """P of the one-sided test that the mean is above ``null``."""
        if self.error == 0:
            return 0.0 if self.mean > null else 1.0
        return upper_tail((self.mean - null) / self.error, self.degrees)

    def chance_below(self, null: float) -> float:
        return _Scatter(mean=-self.mean, error=self.error, degrees=self.degrees).chance_above(-null)

    def ratio(self) -> Estimate:
        half_width = quantile(0.975, self.degrees) * self.error
        return Estimate(
            value=math.exp(self.mean), low=math.exp(self.mean - half_width), high=math.exp(self.mean + half_width)
        )

    def detectable(self, *, cells: int, fail_above: float) -> float:
        """The smallest ratio that is confirmed among so many cells in every other case."""
        needed = _NULL + quantile(1 - _CHANCE / cells, self.degrees) * self.error
        return math.exp(min(max(needed, math.log1p(fail_above)), _HOPELESS))

    def of_fresh_pairs(self, pairs: int) -> _Scatter:
        """The same with as many pairs as the second stage has, instead of so many."""
        return replace(self, error=self.error * math.sqrt(pairs / CONFIRM_PAIRS))


def screen(pairs: Mapping[Key, Sequence[float]], *, floors: Mapping[Key, float] | None = None) -> Screening[Key]:
    """The first stage of alternated pairs: which cells look changed.

    Args:
        pairs: By cell, log(candidate / base) of every pair; two or more.
        floors: By cell, the variance of a pair where nothing changed, as far as it is known: no cell is taken to
            scatter less.
    """
    prior = _prior(pairs)
    suspects = [
        cell
        for cell, values in pairs.items()
        if _looks_changed(_Scatter.of(values, prior, floor=_floor(floors, cell)), _SCREEN_CHANCE, _SCREEN_MARGIN)
    ]
    return Screening(suspects=tuple(suspects), prior=prior)


def judge_pairs(
    first: Mapping[Key, Sequence[float]],
    second: Mapping[Key, Sequence[float]],
    *,
    fail_above: float = PAIRED_MARGIN,
    floors: Mapping[Key, float] | None = None,
) -> dict[Key, Judgment]:
    """Both stages of alternated pairs.

    Args:
        first: By cell, log(candidate / base) of every pair of the first stage.
        second: The same of the fresh pairs of the cells that the first stage left open.
        fail_above: The slowdown that fails.
        floors: As for ``screen``.
    """
    if not first:
        return {}
    prior = _prior(first)
    confirmed = _confirm(
        {cell: _Scatter.of_later(values, prior, floor=_floor(floors, cell)) for cell, values in second.items()},
        fail_above,
    )
    found = {}
    for cell, values in first.items():
        scatter = _Scatter.of(values, prior, floor=_floor(floors, cell))
        judgment = confirmed.get(cell)
        if judgment is None:
            judgment = Judgment(verdict=_unconfirmed(scatter, fail_above), ratio=scatter.ratio())
        elif judgment.verdict is Verdict.SUSPECT:
            judgment = replace(judgment, reason="fresh pairs do not confirm it")
        fresh = scatter.of_fresh_pairs(len(values))
        found[cell] = replace(judgment, min_detectable_ratio=fresh.detectable(cells=len(first), fail_above=fail_above))
    return found


def judge_history(
    base: Mapping[Key, Sequence[float]],
    candidate: Mapping[Key, Sequence[float]],
    *,
    fail_above: float = HISTORY_MARGIN,
) -> dict[Key, Judgment]:
    """A candidate beside runs of the past.

    Nothing is confirmed beyond ``suspect`` where the candidate has fewer than ``FEWEST_PROCESSES`` processes, or where
    one of them does not show half of ``fail_above``.

    Args:
        base: By cell, the logarithm of its value over the run's own anchors, of every base run.
        candidate: By cell, the same of every process of the candidate.
        fail_above: The slowdown that fails.
    """
    if not base:
        return {}
    prior = _prior(base)
    scatters = {cell: _Scatter.beside(statistics.fmean(candidate[cell]), past, prior) for cell, past in base.items()}
    least = _AGREEMENT * math.log1p(fail_above)
    found = {}
    for cell, plain in _confirm(scatters, fail_above).items():
        above = [value - statistics.fmean(base[cell]) for value in candidate[cell]]
        enough = len(above) >= FEWEST_PROCESSES
        seen = scatters[cell].detectable(cells=len(base), fail_above=fail_above) if enough else None
        found[cell] = replace(plain, min_detectable_ratio=seen)
        if plain.verdict in _UNCONFIRMED and not (enough and (min(above) >= least or max(above) <= -least)):
            shortage = f"{len(above)} of the {FEWEST_PROCESSES} processes that confirm a change"
            reason = "not every process shows it" if enough else shortage
            found[cell] = replace(found[cell], verdict=_UNCONFIRMED[plain.verdict], reason=reason)
    return found


def judge_single(
    ratios: Mapping[Key, float],
    *,
    spreads: Mapping[Key, tuple[float, float]] | None = None,
    fail_above: float = HISTORY_MARGIN,
) -> dict[Key, Judgment]:
    """A candidate beside too few base runs to know how far runs scatter: nothing is ever confirmed.

    Where nobody knows at all, more than ``SINGLE_MARGIN`` is suspect. Where an A/A measurement tells how far processes
    scatter within an hour, what that does not explain is suspect: days scatter further.

    Args:
        ratios: By cell, log(candidate / base).
        spreads: By cell, the standard error of that by the A/A measurement, and its degrees of freedom.
        fail_above: The slowdown that would fail if it could be confirmed.
    """
    known = {cell: spread for cell, spread in (spreads or {}).items() if cell in ratios}
    found = {
        cell: Judgment(
            verdict=Verdict.SUSPECT if mean > math.log1p(SINGLE_MARGIN) else Verdict.INCONCLUSIVE,
            ratio=Estimate(value=math.exp(mean), low=None, high=None),
        )
        for cell, mean in ratios.items()
        if cell not in known
    }
    scatters = {
        cell: _Scatter(mean=ratios[cell], error=error, degrees=degrees) for cell, (error, degrees) in known.items()
    }
    for cell, judgment in _confirm(scatters, fail_above).items():
        found[cell] = replace(judgment, verdict=_UNCONFIRMED.get(judgment.verdict, judgment.verdict))
    return found


def spread_of(values: Mapping[Key, Sequence[float]]) -> dict[Key, tuple[float, float]]:
    """By cell, the variance of its values drawn towards the table's, and the degrees of freedom it is worth."""
    if not values:
        return {}
    prior = _prior(values)
    found = {}
    for cell, logs in values.items():
        variance, degrees = prior.moderate(statistics.variance(logs), len(logs) - 1)
        found[cell] = variance, min(degrees, (1 + _BORROWED) * (len(logs) - 1))
    return found


def detectable_in_pairs(pairs: Mapping[Key, Sequence[float]], *, fail_above: float = PAIRED_MARGIN) -> dict[Key, float]:
    """By cell, the smallest ratio that both stages would confirm in every other case."""
    if not pairs:
        return {}
    prior = _prior(pairs)
    found = {}
    for cell, values in pairs.items():
        fresh = _Scatter.of(values, prior).of_fresh_pairs(len(values))
        found[cell] = fresh.detectable(cells=len(pairs), fail_above=fail_above)
    return found


_UNCONFIRMED = {Verdict.REGRESSED: Verdict.SUSPECT, Verdict.IMPROVED: Verdict.INCONCLUSIVE}


def _floor(floors: Mapping[Key, float] | None, cell: Key) -> float:
    return (floors or {}).get(cell, 0.0)


def _prior(values: Mapping[Key, Sequence[float]]) -> Prior:
    """Of the cells that have as many values as any: one that was cut short says too little."""
    most = max(map(len, values.values()))
    return fit_prior([statistics.variance(one) for one in values.values() if len(one) == most], most - 1)


def _looks_changed(scatter: _Scatter, chance: float, margin: float) -> bool:
    slower = scatter.chance_above(0.0) < chance and scatter.mean >= math.log1p(margin)
    faster = scatter.chance_below(0.0) < chance and scatter.mean <= -math.log1p(margin)
    return slower or faster


def _confirm(scatters: Mapping[Key, _Scatter], fail_above: float) -> dict[Key, Judgment]:
    """Which changes are beyond doubt; the chance of any false one among all cells is kept (Holm 1979)."""
    cells = list(scatters)
    slower = holm([scatters[cell].chance_above(_NULL) for cell in cells])
    faster = holm([scatters[cell].chance_below(-_NULL) for cell in cells])
    found = {}
    for cell, up, down in zip(cells, slower, faster, strict=True):
        scatter, chance = scatters[cell], min(up, down)
        if up < _CHANCE and scatter.mean >= math.log1p(fail_above):
            verdict = Verdict.REGRESSED
        elif down < _CHANCE and scatter.mean <= -math.log1p(fail_above):
            verdict = Verdict.IMPROVED
        else:
            verdict = _unconfirmed(scatter, fail_above)
        found[cell] = Judgment(verdict=verdict, ratio=scatter.ratio(), p_value=chance)
    return found


def _unconfirmed(scatter: _Scatter, margin: float) -> Verdict:
    """What a cell is that has not changed by as much as matters, as far as is known."""
    ratio = scatter.ratio()
    assert ratio.low is not None
    assert ratio.high is not None
    if ratio.low > 1 / (1 + margin) and ratio.high < 1 + margin:
        return Verdict.STABLE
    looks_slower = scatter.mean > 0 and _looks_changed(scatter, _SCREEN_CHANCE, _SCREEN_MARGIN)
    return Verdict.SUSPECT if looks_slower else Verdict.INCONCLUSIVE
