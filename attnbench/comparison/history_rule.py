"""The rules for stored runs: a candidate against the current level of a history, or against too few runs for one.

Replicates are runs, never samples. Latencies are analysed as logarithms: noise multiplies a latency rather than adds to
it, and base and candidate can be swapped.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from attnbench.comparison.definitions import Judgment, Verdict
from attnbench.comparison.inference import Prior, fit_prior, holm, quantile, upper_tail, variance
from attnbench.comparison.pairs_rule import ALPHA, NEGLIGIBLE
from attnbench.core.stats import Estimate

Key = TypeVar("Key")
Logs = Mapping[Key, Sequence[float]]
"""By cell: log latencies, one for every run or process."""
FEWEST_RUNS = 6
"""Base runs that make a history."""
FEWEST_PROCESSES = 3
"""Processes of a candidate that must agree before a history confirms a change."""
MARGIN = 0.05
"""The slowdown that fails by default. Days differ by more than two processes sampled in turn."""
SINGLE_MARGIN = 0.10
"""Without any estimate of the noise, a larger slowdown is suspect."""
_LOOKS_SLOWER, _LEAST_SLOWER = 0.05, math.log(1.015)
"""Significance against no change at all, with so large a slowdown, makes a cell suspect."""
_MAX_LOG_RATIO = math.log(1000)
"""Cap of a detectable ratio: the t quantile of few noisy runs of thousands of cells overflows ``exp``."""
_LEAST_AGREEMENT = 0.5
"""Share of the margin that every process of a candidate must show: a single slow process is no regression."""
_DEGREES_FACTOR = 2.0
"""A cell's moderated degrees of freedom are at most this multiple of its own: what slows a run slows many of its cells,
so the other cells are not independent evidence of its variance."""
_UNCONFIRMED = {Verdict.REGRESSED: Verdict.SUSPECT, Verdict.IMPROVED: Verdict.INCONCLUSIVE}
"""Verdicts where a change is significant but the design cannot confirm it."""


@dataclass(frozen=True, kw_only=True)
class _Change:
    """A cell's mean log ratio, with its moderated standard error."""

    mean: float
    error: float
    degrees: float
    margin: float
    """The slowdown that fails."""

    @classmethod
    def from_history(cls, now: float, past: Sequence[float], prior: Prior, margin: float) -> _Change:
        """One further value against the mean of ``past`` ones."""
        own_degrees = len(past) - 1
        moderated, degrees = prior.moderate(variance(past), own_degrees)
        return cls(
            mean=now - statistics.fmean(past),
            error=math.sqrt(moderated * (1 + 1 / len(past))),
            degrees=min(degrees, _DEGREES_FACTOR * own_degrees),
            margin=margin,
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
    def unconfirmed(self) -> Verdict:
        """The verdict on a change that is not significant."""
        ratio, margin = self.ratio, self.margin
        assert ratio.low is not None
        assert ratio.high is not None
        if 1 / (1 + margin) < ratio.low and ratio.high < 1 + margin:
            return Verdict.STABLE
        looks_slower = self.p_above(0.0) < _LOOKS_SLOWER and self.mean >= _LEAST_SLOWER
        return Verdict.SUSPECT if looks_slower else Verdict.INCONCLUSIVE

    def detectable(self, *, cells: int) -> float:
        """The smallest ratio confirmed among so many cells with a power of one half."""
        needed = NEGLIGIBLE + quantile(1 - ALPHA / cells, self.degrees) * self.error
        return math.exp(min(max(needed, math.log1p(self.margin)), _MAX_LOG_RATIO))


def judge_history(
    base: Logs[Key], candidate: Logs[Key], *, margins: Mapping[Key, float] | None = None
) -> dict[Key, Judgment]:
    """A candidate against the current level of a history.

    A change is at most ``suspect`` unless the candidate has ``FEWEST_PROCESSES`` processes, and each of them shows half
    of the margin.

    Args:
        base: By cell, the log latency of every run of the current level; two or more.
        candidate: By cell, the same of every process of the candidate.
        margins: By cell, the slowdown that fails; by default ``MARGIN``.
    """
    prior, margin_of = _prior(base), margins or {}
    changes = {
        cell: _Change.from_history(statistics.fmean(candidate[cell]), past, prior, margin_of.get(cell, MARGIN))
        for cell, past in base.items()
    }
    found = {}
    for cell, plain in _confirm(changes).items():
        change = changes[cell]
        least = _LEAST_AGREEMENT * math.log1p(change.margin)
        shown = [log - statistics.fmean(base[cell]) for log in candidate[cell]]
        enough = len(shown) >= FEWEST_PROCESSES
        verdict, reason = plain.verdict, ""
        if verdict in _UNCONFIRMED and not (enough and (min(shown) >= least or max(shown) <= -least)):
            verdict = _UNCONFIRMED[verdict]
            shortage = f"{len(shown)} of the {FEWEST_PROCESSES} processes that confirm a change"
            reason = "not every process shows it" if enough else shortage
        detectable = change.detectable(cells=len(base)) if enough else None
        found[cell] = replace(plain, verdict=verdict, reason=reason, min_detectable_ratio=detectable)
    return found


def judge_single(
    ratios: Mapping[Key, float],
    *,
    spreads: Mapping[Key, tuple[float, float]] | None = None,
    margins: Mapping[Key, float] | None = None,
) -> dict[Key, Judgment]:
    """A candidate against fewer runs than a history has: nothing is ever confirmed.

    Without an A/A test, more than ``SINGLE_MARGIN`` is suspect. With one, what its noise does not explain is suspect:
    it is the noise within an hour, and days differ by more.

    Args:
        ratios: By cell, log(candidate / base).
        spreads: By cell, the standard error of that by the A/A test, and its degrees of freedom.
        margins: By cell, the slowdown that would fail if it could be confirmed; by default ``MARGIN``.
    """
    spreads, margin_of = spreads or {}, margins or {}
    changes = {
        cell: _Change(mean=mean, error=spreads[cell][0], degrees=spreads[cell][1], margin=margin_of.get(cell, MARGIN))
        for cell, mean in ratios.items()
        if cell in spreads
    }
    found = {}
    for cell, judgment in _confirm(changes).items():
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


def _prior(values: Logs[Key]) -> Prior:
    """Of the cells with the most values: one that failed in some processes, or began anew, says too little."""
    most = max(map(len, values.values()), default=0)
    return fit_prior([variance(logs) for logs in values.values() if len(logs) == most], most - 1)


def _confirm(changes: Mapping[Key, _Change]) -> dict[Key, Judgment]:
    """Which changes are significant and large enough.

    Holm's procedure (1979) keeps the family-wise error rate, and unlike a correction of the false discovery rate it
    does not let many true changes in a table excuse a false one.
    """
    slower = holm([change.p_above(NEGLIGIBLE) for change in changes.values()])
    faster = holm([change.p_below(-NEGLIGIBLE) for change in changes.values()])
    found = {}
    for (cell, change), up, down in zip(changes.items(), slower, faster, strict=True):
        if up < ALPHA and change.mean >= math.log1p(change.margin):
            verdict = Verdict.REGRESSED
        elif down < ALPHA and change.mean <= -math.log1p(change.margin):
            verdict = Verdict.IMPROVED
        else:
            verdict = change.unconfirmed
        found[cell] = Judgment(verdict=verdict, ratio=change.ratio, p_value=min(up, down))
    return found
