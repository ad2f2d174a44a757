"""The rule of ``ab``: from log ratios of pairs sampled in turn to judgments, round by round until a cell is decided.

A group-sequential test: the error of the whole table, ``ALPHA``, is spent over the looks in proportion to the rounds
seen (Lan and DeMets 1983; Kim and DeMets 1987), and shared evenly by the cells. Neither needs an assumption on how
looks or cells depend on one another, so the family-wise error rate holds for every table.

Slower and faster are two tests. Each ends where it is decided, and what is measured afterwards changes nothing.

What is judged is a robust latency of every turn, which a slowdown of some calls may leave as it was. So the means of
both sides are judged, too, by a third test with a small part of the error: they scatter more, and show what is slow now
and then.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np

from attnbench.comparison import signed_rank
from attnbench.comparison.definitions import Judgment, Verdict
from attnbench.core.stats import Estimate
from attnbench.core.text import plural

LOOK_EVERY = 5
"""Rounds between two looks: fewer than five pairs exclude nothing."""
MAX_ROUNDS = 40
"""Rounds that a cell gets at most. With 24 cells whose pairs scatter by 1.5 %, +3 % is then seen in 98 % of tables, and
with every tenth pair off by 20 % in 91 % (docs/figures.md)."""
MARGIN = 0.03
"""The slowdown that fails by default."""
ALPHA = 0.01
"""Family-wise error rate: at most one table in a hundred without a change raises any alarm."""
NEGLIGIBLE = math.log(1.01)
"""The null hypothesis is a change of up to 1 %: significance alone would fail changes too small to act on."""
_FEWEST_PAIRS = 2
_DECIDED = (Verdict.REGRESSED, Verdict.IMPROVED, Verdict.STABLE)
_LOOKS_SLOWER = 0.05
"""Significance against no change at all, with at least half of the margin, makes a cell suspect."""
MEANS_SHARE = 0.1
"""Of the error, for the test of means."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How often a table is looked at, and how sure each look must be.

    Args:
        cells: Cells of the table.
        max_rounds: Rounds that a cell gets at most.
    """

    cells: int
    max_rounds: int = MAX_ROUNDS
    share: float = 1 - MEANS_SHARE
    """Of the error."""

    @property
    def tests(self) -> float:
        """By how many tests the error is shared, if each had the same."""
        return self.cells / self.share

    @property
    def of_means(self) -> Budget:
        """That of the test of means."""
        return replace(self, share=MEANS_SHARE)

    def looks(self, rounds: int) -> list[int]:
        """After which of ``rounds`` rounds the table is looked at; the last may be one that an interruption chose."""
        last = min(rounds, self.max_rounds)
        return [*range(LOOK_EVERY, last, LOOK_EVERY), last] if last else []

    def shares(self, looks: Sequence[int]) -> Iterator[tuple[int, float]]:
        """Every look, with its share of the error; those too early to confirm anything leave theirs to later ones."""
        spent = 0.0
        for look in looks:
            due = look / self.max_rounds
            if signed_rank.smallest_p_value(look) * self.tests > ALPHA * (due - spent):
                yield look, 0.0
            else:
                yield look, due - spent
                spent = due

    @property
    def can_confirm(self) -> bool:
        """Whether there are rounds enough to confirm anything."""
        return signed_rank.smallest_p_value(self.max_rounds) * self.tests <= ALPHA

    @property
    def fewest_rounds(self) -> int:
        """Rounds without which nothing is ever confirmed."""
        return math.ceil(math.log2(self.tests / ALPHA))


def next_look(rounds: int, max_rounds: int) -> int:
    """The number of rounds at the first look after ``rounds`` of them."""
    return min(rounds // LOOK_EVERY * LOOK_EVERY + LOOK_EVERY, max_rounds)


class _End(Enum):
    """How the test for a slowdown ended."""

    SHOWN = auto()
    """It is certain, and at least as large as fails."""
    EXCLUDED = auto()
    """One as large as fails is excluded."""
    OPEN = auto()


@dataclass(frozen=True)
class _Test:
    end: _End
    p_value: float
    """Adjusted for cells and looks."""


def judge_cell(
    pairs: Mapping[int, float],
    budget: Budget,
    *,
    rounds: int,
    margin: float = MARGIN,
    means: Mapping[int, float] | None = None,
) -> Judgment | None:
    """Judge a cell by its pairs so far.

    Args:
        pairs: log(candidate / base) by round, of the rounds in which both sides were measured.
        budget: Of the table.
        rounds: Rounds that were measured.
        margin: The slowdown that fails, such as 0.03.
        means: log(candidate / base) of mean latencies, by the same rounds; None where they are not known.

    Returns:
        None where there are too few pairs to say anything.
    """
    if len(pairs) < _FEWEST_PAIRS:
        return None
    least = math.log1p(margin)
    slower = _test(pairs, budget, rounds, least)
    faster = _test({number: -log for number, log in pairs.items()}, budget, rounds, least)
    logs = np.array([pairs[number] for number in sorted(pairs)])
    middle, (low, high) = signed_rank.center(logs), signed_rank.interval(logs)
    p_value = min(slower.p_value, faster.p_value)
    verdict, reason = Verdict.INCONCLUSIVE, ""
    on_average = _OnAverage.of(means, budget, rounds, least) if means else None
    if slower.end is _End.SHOWN:
        verdict = Verdict.REGRESSED
    elif on_average and on_average.shown:
        verdict, reason = Verdict.REGRESSED, f"on average: its fastest calls change by {_percent(middle)}"
        middle, (low, high), p_value = on_average.middle, on_average.interval, on_average.p_value
    elif on_average and on_average.looks_slower:
        verdict, reason = Verdict.SUSPECT, f"its mean looks slower, by {_percent(on_average.middle)}"
    elif faster.end is _End.SHOWN and on_average and on_average.middle > middle / 2:
        reason = f"only at times: its mean changes by {_percent(on_average.middle)}"
    elif faster.end is _End.SHOWN:
        verdict = Verdict.IMPROVED
    elif slower.end is faster.end is _End.EXCLUDED and not (on_average and on_average.middle >= least):
        verdict = Verdict.STABLE
    elif slower.p_value <= ALPHA:
        verdict, reason = Verdict.SUSPECT, f"slower, but not certainly by {100 * margin:.3g} %"
    elif middle >= least / 2 and signed_rank.p_above(logs, 0.0) <= _LOOKS_SLOWER:
        verdict, reason = Verdict.SUSPECT, f"{plural(len(pairs), 'pair')} do not confirm that it is slower"
    return Judgment(
        verdict=verdict,
        ratio=Estimate(value=math.exp(middle), low=math.exp(low), high=math.exp(high)),
        p_value=p_value,
        min_detectable_ratio=detectable(logs, budget, margin),
        reason=reason,
        decided=verdict in _DECIDED,
    )


@dataclass(frozen=True, kw_only=True)
class _OnAverage:
    """What means say."""

    shown: bool
    """Whether they are slower for certain."""
    looks_slower: bool
    """Whether the whole interval says so."""
    middle: float
    interval: tuple[float, float]
    p_value: float

    @classmethod
    def of(cls, means: Mapping[int, float], budget: Budget, rounds: int, least: float) -> _OnAverage:
        test = _test(means, budget.of_means, rounds, least)
        logs = np.array([means[number] for number in sorted(means)])
        return cls(
            shown=test.end is _End.SHOWN,
            looks_slower=signed_rank.p_above(logs, least) <= _LOOKS_SLOWER,
            middle=signed_rank.center(logs),
            interval=signed_rank.interval(logs),
            p_value=test.p_value,
        )


def _percent(log: float) -> str:
    return f"{100 * math.expm1(log):+.1f} %"


def _test(pairs: Mapping[int, float], budget: Budget, rounds: int, least: float) -> _Test:
    """The test for a slowdown of at least ``least``."""
    p_value = 1.0
    for look, share in budget.shares(budget.looks(rounds)):
        logs = [log for number, log in pairs.items() if number < look]
        if len(logs) < _FEWEST_PAIRS:
            continue
        if share:
            p_value = min(p_value, signed_rank.p_above(logs, NEGLIGIBLE) * budget.tests / share)
            if p_value <= ALPHA and signed_rank.center(logs) >= least:
                return _Test(_End.SHOWN, p_value)
        if signed_rank.lies_below(logs, least):
            return _Test(_End.EXCLUDED, p_value)
    return _Test(_End.OPEN, p_value)


def detectable(pairs: Sequence[float] | signed_rank.Values, budget: Budget, margin: float) -> float | None:
    """The smallest ratio that pairs scattered like these confirm in all rounds there are, with a power of one half.

    Args:
        pairs: Log ratios; two or more.
        budget: Of the table.
        margin: The slowdown that fails.

    Returns:
        None where no change is ever confirmed.
    """
    *_, (_, share) = budget.shares(budget.looks(budget.max_rounds))
    deviations = np.asarray(pairs) - signed_rank.center(pairs)
    both = np.concatenate([deviations, -deviations])
    drawn = np.quantile(both, (np.arange(budget.max_rounds) + 0.5) / budget.max_rounds)
    needed = NEGLIGIBLE - signed_rank.lower_bound(drawn, ALPHA * share / budget.tests)
    return math.exp(max(needed, math.log1p(margin))) if math.isfinite(needed) else None
