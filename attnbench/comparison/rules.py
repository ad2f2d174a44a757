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
from attnbench.stats import Estimate

Key = TypeVar("Key")
SCREEN_PAIRS, CONFIRM_PAIRS = 5, 10
FEWEST_RUNS = 6
"""Base runs that make a history."""
PAIRED_MARGIN, HISTORY_MARGIN = 0.03, 0.05
"""Slowdowns that fail by default."""
SINGLE_MARGIN = 0.10
_SCREEN_CHANCE, _SCREEN_MARGIN = 0.05, 0.015
_CHANCE = 0.01
"""Of any false alarm in a whole table."""
_NULL = math.log(1.01)
"""A change that nobody minds: what a regression must be larger than beyond doubt."""


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """What the numbers of one cell say."""

    verdict: Verdict
    ratio: Estimate
    chance: float | None = None


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
    def of(cls, values: Sequence[float], prior: Prior, *, more: float = 0.0) -> _Scatter:
        """Of the mean of ``values``; ``more`` adds that many times the variance, for a single further observation."""
        degrees = len(values) - 1
        variance, total = prior.moderate(statistics.variance(values), degrees)
        return cls(mean=statistics.fmean(values), error=math.sqrt(variance * (1 / len(values) + more)), degrees=total)

    def chance_above(self, null: float) -> float:
        """P of the one-sided test that the mean is above ``null``."""
        if self.error == 0:
            return 0.0 if self.mean > null else 1.0
        return upper_tail((self.mean - null) / self.error, self.degrees)

    def chance_below(self, null: float) -> float:
        return _Scatter(mean=-self.mean, error=self.error, degrees=self.degrees).chance_above(-null)

    def ratio(self) -> Estimate:
        half_width = self.half_width
        return Estimate(
            value=math.exp(self.mean), low=math.exp(self.mean - half_width), high=math.exp(self.mean + half_width)
        )

    @property
    def half_width(self) -> float:
        return quantile(0.975, self.degrees) * self.error


def screen(pairs: Mapping[Key, Sequence[float]]) -> Screening[Key]:
    """The first stage of alternated pairs: which cells look changed.

    Args:
        pairs: By cell, log(candidate / base) of every pair.
    """
    prior = _prior(pairs)
    suspects = [
        cell
        for cell, values in pairs.items()
        if _looks_changed(_Scatter.of(values, prior), _SCREEN_CHANCE, _SCREEN_MARGIN)
    ]
    return Screening(suspects=tuple(suspects), prior=prior)


def judge_pairs(
    first: Mapping[Key, Sequence[float]],
    second: Mapping[Key, Sequence[float]],
    *,
    fail_above: float = PAIRED_MARGIN,
) -> dict[Key, Judgment]:
    """Both stages of alternated pairs.

    Args:
        first: By cell, log(candidate / base) of every pair of the first stage.
        second: The same of the fresh pairs of the cells that the first stage left open.
        fail_above: The slowdown that fails.
    """
    prior = screen(first).prior
    confirmed = _confirm({cell: _Scatter.of(values, prior) for cell, values in second.items()}, fail_above)
    found = {}
    for cell, values in first.items():
        if cell in confirmed:
            found[cell] = confirmed[cell]
            continue
        scatter = _Scatter.of(values, prior)
        suspect = _looks_changed(scatter, _SCREEN_CHANCE, _SCREEN_MARGIN) and scatter.mean > 0
        found[cell] = Judgment(
            verdict=Verdict.SUSPECT if suspect else _calm(scatter.ratio(), PAIRED_MARGIN), ratio=scatter.ratio()
        )
    return found


def judge_history(
    base: Mapping[Key, Sequence[float]], candidate: Mapping[Key, float], *, fail_above: float = HISTORY_MARGIN
) -> dict[Key, Judgment]:
    """A candidate beside runs of the past.

    Args:
        base: By cell, the logarithm of its value over the run's own anchors, of every base run.
        candidate: The same of the candidate.
        fail_above: The slowdown that fails.
    """
    prior = _prior(base)
    scatters = {}
    for cell, values in base.items():
        past = _Scatter.of(values, prior, more=1.0)
        scatters[cell] = _Scatter(mean=candidate[cell] - past.mean, error=past.error, degrees=past.degrees)
    return _confirm(scatters, fail_above)


def judge_single(ratio: Estimate) -> Judgment:
    """A candidate beside a single stored base: how far runs scatter is not known, so nothing is ever confirmed."""
    suspect = ratio.value > 1 + SINGLE_MARGIN
    return Judgment(verdict=Verdict.SUSPECT if suspect else Verdict.INCONCLUSIVE, ratio=ratio)


def detectable_in_history(base: Mapping[Key, Sequence[float]], *, fail_above: float = HISTORY_MARGIN) -> float:
    """The smallest ratio that ``judge_history`` would call a regression, in every other case, of the median cell."""
    prior = _prior(base)
    return _detectable([_Scatter.of(values, prior, more=1.0) for values in base.values()], fail_above)


def detectable_in_pairs(pairs: Mapping[Key, Sequence[float]], *, fail_above: float = PAIRED_MARGIN) -> float:
    """The smallest ratio that both stages would confirm, in every other case, of the median cell."""
    prior = _prior(pairs)
    scatters = [_Scatter.of(values, prior) for values in pairs.values()]
    narrower = math.sqrt(SCREEN_PAIRS / CONFIRM_PAIRS)
    return _detectable([replace(scatter, error=scatter.error * narrower) for scatter in scatters], fail_above)


def _detectable(scatters: Sequence[_Scatter], fail_above: float) -> float:
    needed = [_NULL + quantile(1 - _CHANCE / len(scatters), scatter.degrees) * scatter.error for scatter in scatters]
    return math.exp(max(statistics.median(needed), math.log1p(fail_above)))


def _prior(values: Mapping[Key, Sequence[float]]) -> Prior:
    return fit_prior([statistics.variance(one) for one in values.values()], len(next(iter(values.values()))) - 1)


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
        elif _looks_changed(scatter, _SCREEN_CHANCE, _SCREEN_MARGIN) and scatter.mean > 0:
            verdict = Verdict.SUSPECT
        else:
            verdict = _calm(scatter.ratio(), fail_above)
        found[cell] = Judgment(verdict=verdict, ratio=scatter.ratio(), chance=chance)
    return found


def _calm(ratio: Estimate, margin: float) -> Verdict:
    inside = (
        ratio.low is not None and ratio.high is not None and ratio.low > 1 / (1 + margin) and ratio.high < 1 + margin
    )
    return Verdict.STABLE if inside else Verdict.INCONCLUSIVE
