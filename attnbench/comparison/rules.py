"""The rule on numbers: from log ratios of latencies to judgments.

Replicates are processes, never samples. Ratios are analysed as logarithms: noise multiplies a latency rather than adds
to it, and base and candidate can be swapped. There are three designs: alternated pairs (``ab``), a candidate against a
history of runs, and a candidate against too few runs for a history, where nothing is ever confirmed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from attnbench.comparison.inference import Prior, fit_prior, holm, quantile, upper_tail, variance
from attnbench.comparison.verdict import Verdict
from attnbench.core.stats import Estimate

Key = TypeVar("Key")
Logs = Mapping[Key, Sequence[float]]
"""By cell: log ratios, or log latencies, one for every pair, run or process."""
SCREEN_PAIRS, CONFIRM_PAIRS = 5, 10
FEWEST_RUNS = 6
"""Base runs that make a history."""
FEWEST_PROCESSES = 3
"""Processes of a candidate that must agree before a history confirms a change."""
PAIRED_MARGIN, HISTORY_MARGIN = 0.03, 0.05
"""Slowdowns that fail by default. Days differ by more than two processes that alternate."""
SINGLE_MARGIN = 0.10
"""Without any estimate of the noise, a larger slowdown is suspect."""
_SCREEN_ALPHA, _SCREEN_MARGIN = 0.05, 0.015
"""Lenient, since a false suspect only costs the second stage; half of ``PAIRED_MARGIN``, so that few slowdowns of that
size are missed."""
_ALPHA = 0.01
"""Family-wise error rate: at most one table in a hundred without a change raises any alarm."""
_NEGLIGIBLE = math.log(1.01)
"""The null hypothesis is a change of up to 1 %: significance alone would fail changes too small to act on."""
_MAX_LOG_RATIO = math.log(1000)
"""Cap of a detectable ratio: the t quantile of few noisy pairs of thousands of cells overflows ``exp``."""
_LEAST_AGREEMENT = 0.5
"""Share of the margin that every process of a candidate must show: a single slow process is no regression."""
_DEGREES_FACTOR = 2.0
"""A cell's moderated degrees of freedom are at most this multiple of its own: what slows a run slows many of its cells,
so the other cells are not independent evidence of its variance."""
_MAX_EXCESS, _MAX_SHORTFALL = 2.0, 3.0
"""Factors by which the variance in the second stage may exceed or fall short of the moderated one and still be drawn
towards it. Beyond them, the machine became noisier or quieter between the stages."""
_NO_PRIOR = Prior(variance=0.0, degrees=0.0)
_UNCONFIRMED = {Verdict.REGRESSED: Verdict.SUSPECT, Verdict.IMPROVED: Verdict.INCONCLUSIVE}
"""Verdicts where a change is significant but the design cannot confirm it."""


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """The verdict on one cell's latencies."""

    verdict: Verdict
    ratio: Estimate
    p_value: float | None = None
    min_detectable_ratio: float | None = None
    """The smallest ratio confirmed with a power of one half; None if none is."""
    reason: str = ""
    """Why a change is not confirmed, unless noise is the reason."""


@dataclass(frozen=True, kw_only=True)
class _Change:
    """A cell's mean log ratio, with its moderated standard error."""

    mean: float
    error: float
    degrees: float

    @classmethod
    def of(cls, logs: Sequence[float], prior: Prior, *, floor: float = 0.0) -> _Change:
        """The mean of log ratios whose variance is at least ``floor``."""
        moderated, degrees = prior.moderate(variance(logs), len(logs) - 1)
        return cls(mean=statistics.fmean(logs), error=math.sqrt(max(moderated, floor) / len(logs)), degrees=degrees)

    @classmethod
    def of_second_stage(cls, logs: Sequence[float], prior: Prior, *, floor: float = 0.0) -> _Change:
        """The same of pairs measured after those of the prior: a variance unlike the prior's counts alone."""
        own = variance(logs)
        moderated, _ = prior.moderate(own, len(logs) - 1)
        alike = moderated / _MAX_SHORTFALL <= own <= _MAX_EXCESS * moderated
        return cls.of(logs, prior if alike else _NO_PRIOR, floor=floor)

    @classmethod
    def from_history(cls, now: float, past: Sequence[float], prior: Prior) -> _Change:
        """One further value against the mean of ``past`` ones."""
        own_degrees = len(past) - 1
        moderated, degrees = prior.moderate(variance(past), own_degrees)
        return cls(
            mean=now - statistics.fmean(past),
            error=math.sqrt(moderated * (1 + 1 / len(past))),
            degrees=min(degrees, _DEGREES_FACTOR * own_degrees),
        )

    @property
    def ratio(self) -> Estimate:
        """The ratio with its 95 % interval."""
        half_width = quantile(0.975, self.degrees) * self.error
        return Estimate(
            value=math.exp(self.mean), low=math.exp(self.mean - half_width), high=math.exp(self.mean + half_width)
        )

    def p_above(self, null: float) -> float:
        """The p-value of the one-sided test that the mean is above ``null``."""
        if self.error == 0:
            return 0.0 if self.mean > null else 1.0
        return upper_tail((self.mean - null) / self.error, self.degrees)

    def p_below(self, null: float) -> float:
        """The p-value of the one-sided test that the mean is below ``null``."""
        return replace(self, mean=-self.mean).p_above(-null)

    @property
    def looks_slower(self) -> bool:
        """Whether it passes the screen."""
        return self.p_above(0.0) < _SCREEN_ALPHA and self.mean >= math.log1p(_SCREEN_MARGIN)

    @property
    def looks_faster(self) -> bool:
        """The same in the other direction."""
        return replace(self, mean=-self.mean).looks_slower

    def unconfirmed(self, margin: float) -> Verdict:
        """The verdict on a change that is not significant."""
        ratio = self.ratio
        if (
            ratio.low is not None
            and ratio.high is not None
            and 1 / (1 + margin) < ratio.low
            and ratio.high < 1 + margin
        ):
            return Verdict.STABLE
        return Verdict.SUSPECT if self.looks_slower else Verdict.INCONCLUSIVE

    def detectable(self, *, cells: int, fail_above: float) -> float:
        """The smallest ratio confirmed among so many cells with a power of one half."""
        needed = _NEGLIGIBLE + quantile(1 - _ALPHA / cells, self.degrees) * self.error
        return math.exp(min(max(needed, math.log1p(fail_above)), _MAX_LOG_RATIO))

    def detectable_in_pairs(self, pairs: int, *, cells: int, fail_above: float) -> float:
        """The same with the pairs of the second stage instead of ``pairs``."""
        second = replace(self, error=self.error * math.sqrt(pairs / CONFIRM_PAIRS))
        return second.detectable(cells=cells, fail_above=fail_above)


def screen(pairs: Logs[Key], *, floors: Mapping[Key, float] | None = None) -> tuple[Key, ...]:
    """The first stage of alternated pairs: cells that look changed, and alone are measured again.

    Args:
        pairs: By cell, log(candidate / base) of every pair; two or more.
        floors: By cell, the variance of a pair in an A/A test: no smaller one is believed.
    """
    changes = _changes(pairs, floors)
    return tuple(cell for cell, change in changes.items() if change.looks_slower or change.looks_faster)


def judge_pairs(
    first: Logs[Key],
    second: Logs[Key],
    *,
    fail_above: float = PAIRED_MARGIN,
    floors: Mapping[Key, float] | None = None,
) -> dict[Key, Judgment]:
    """Both stages of alternated pairs.

    Only the second stage confirms: its pairs were not chosen for looking changed.

    Args:
        first: By cell, log(candidate / base) of every pair of the first stage.
        second: The same of the second stage, of the cells that the screen left.
        fail_above: The slowdown that fails.
        floors: As for ``screen``.
    """
    prior = _prior(first)
    floor = floors or {}
    again = {cell: _Change.of_second_stage(logs, prior, floor=floor.get(cell, 0.0)) for cell, logs in second.items()}
    confirmed = _confirm(again, fail_above)
    found = {}
    for cell, change in _changes(first, floors).items():
        judgment = confirmed.get(cell) or Judgment(verdict=change.unconfirmed(fail_above), ratio=change.ratio)
        unconfirmed = cell in confirmed and judgment.verdict is Verdict.SUSPECT
        found[cell] = replace(
            judgment,
            reason="the second stage does not confirm it" if unconfirmed else "",
            min_detectable_ratio=change.detectable_in_pairs(len(first[cell]), cells=len(first), fail_above=fail_above),
        )
    return found


def judge_history(base: Logs[Key], candidate: Logs[Key], *, fail_above: float = HISTORY_MARGIN) -> dict[Key, Judgment]:
    """A candidate against a history of runs.

    A change is at most ``suspect`` unless the candidate has ``FEWEST_PROCESSES`` processes, and each of them shows half
    of ``fail_above``.

    Args:
        base: By cell, the log latency over the run's own anchors, of every base run.
        candidate: By cell, the same of every process of the candidate.
        fail_above: The slowdown that fails.
    """
    prior = _prior(base)
    changes = {
        cell: _Change.from_history(statistics.fmean(candidate[cell]), past, prior) for cell, past in base.items()
    }
    least = _LEAST_AGREEMENT * math.log1p(fail_above)
    found = {}
    for cell, plain in _confirm(changes, fail_above).items():
        shown = [log - statistics.fmean(base[cell]) for log in candidate[cell]]
        enough = len(shown) >= FEWEST_PROCESSES
        verdict, reason = plain.verdict, ""
        if verdict in _UNCONFIRMED and not (enough and (min(shown) >= least or max(shown) <= -least)):
            verdict = _UNCONFIRMED[verdict]
            shortage = f"{len(shown)} of the {FEWEST_PROCESSES} processes that confirm a change"
            reason = "not every process shows it" if enough else shortage
        detectable = changes[cell].detectable(cells=len(base), fail_above=fail_above) if enough else None
        found[cell] = replace(plain, verdict=verdict, reason=reason, min_detectable_ratio=detectable)
    return found


def judge_single(
    ratios: Mapping[Key, float],
    *,
    spreads: Mapping[Key, tuple[float, float]] | None = None,
    fail_above: float = HISTORY_MARGIN,
) -> dict[Key, Judgment]:
    """A candidate against fewer runs than a history has: nothing is ever confirmed.

    Without an A/A test, more than ``SINGLE_MARGIN`` is suspect. With one, what its noise does not explain is suspect:
    it is the noise within an hour, and days differ by more.

    Args:
        ratios: By cell, log(candidate / base).
        spreads: By cell, the standard error of that by the A/A test, and its degrees of freedom.
        fail_above: The slowdown that would fail if it could be confirmed.
    """
    spreads = spreads or {}
    changes = {
        cell: _Change(mean=mean, error=spreads[cell][0], degrees=spreads[cell][1])
        for cell, mean in ratios.items()
        if cell in spreads
    }
    found = {}
    for cell, judgment in _confirm(changes, fail_above).items():
        found[cell] = replace(judgment, verdict=_UNCONFIRMED.get(judgment.verdict, judgment.verdict))
    for cell, mean in ratios.items():
        if cell not in changes:
            verdict = Verdict.SUSPECT if mean > math.log1p(SINGLE_MARGIN) else Verdict.INCONCLUSIVE
            found[cell] = Judgment(verdict=verdict, ratio=Estimate(value=math.exp(mean), low=None, high=None))
    return found


def spread_of(values: Logs[Key]) -> dict[Key, tuple[float, float]]:
    """By cell, the moderated variance of its values, and its degrees of freedom."""
    prior = _prior(values)
    found = {}
    for cell, logs in values.items():
        moderated, degrees = prior.moderate(variance(logs), len(logs) - 1)
        found[cell] = moderated, min(degrees, _DEGREES_FACTOR * (len(logs) - 1))
    return found


def detectable_in_pairs(pairs: Logs[Key], *, fail_above: float = PAIRED_MARGIN) -> dict[Key, float]:
    """By cell, the smallest ratio that ``ab`` confirms with a power of one half."""
    return {
        cell: change.detectable_in_pairs(len(pairs[cell]), cells=len(pairs), fail_above=fail_above)
        for cell, change in _changes(pairs).items()
    }


def _changes(pairs: Logs[Key], floors: Mapping[Key, float] | None = None) -> dict[Key, _Change]:
    prior = _prior(pairs)
    return {cell: _Change.of(logs, prior, floor=(floors or {}).get(cell, 0.0)) for cell, logs in pairs.items()}


def _prior(values: Logs[Key]) -> Prior:
    """Of the cells with the most values: one that failed in some processes says too little."""
    most = max(map(len, values.values()), default=0)
    return fit_prior([variance(logs) for logs in values.values() if len(logs) == most], most - 1)


def _confirm(changes: Mapping[Key, _Change], fail_above: float) -> dict[Key, Judgment]:
    """Which changes are significant and large enough.

    Holm's procedure (1979) keeps the family-wise error rate, and unlike a correction of the false discovery rate it
    does not let many true changes in a table excuse a false one.
    """
    slower = holm([change.p_above(_NEGLIGIBLE) for change in changes.values()])
    faster = holm([change.p_below(-_NEGLIGIBLE) for change in changes.values()])
    found = {}
    for (cell, change), up, down in zip(changes.items(), slower, faster, strict=True):
        if up < _ALPHA and change.mean >= math.log1p(fail_above):
            verdict = Verdict.REGRESSED
        elif down < _ALPHA and change.mean <= -math.log1p(fail_above):
            verdict = Verdict.IMPROVED
        else:
            verdict = change.unconfirmed(fail_above)
        found[cell] = Judgment(verdict=verdict, ratio=change.ratio, p_value=min(up, down))
    return found
