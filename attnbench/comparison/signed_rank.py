"""An exact signed-rank test of pairs, with bounded scores, and the estimate and bounds that follow from it.

If base and candidate do the same, each pair's log ratio is as likely positive as negative, whatever its size. So the
distribution of the sum of the scores of positive values is known exactly (Wilcoxon 1945), with no variance to estimate.
A score is the rank of a value's size, up to a bound: a few wild pairs weigh no more than ordinary ones. The sum never
falls when a value rises, so more slowdown is never less evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
_BOUND = 0.4
"""Ranks above this share of the number of pairs score alike. Without wild pairs nothing is lost; with one pair in ten
off by 20 %, the rule of ``ab`` sees +5 % in 98 % of tables instead of 85 % (pairs that scatter by 2.2 %, simulated)."""


def smallest_p_value(pairs: int) -> float:
    """The p-value where every pair is slower.

    >>> smallest_p_value(5)
    0.03125
    """
    return math.ldexp(1.0, -pairs)


def p_above(values: Sequence[float] | Values, null: float) -> float:
    """The exact p-value of the one-sided test that the values lie above ``null``.

    Values equal to ``null`` count as below, and ties in size against the positive one.
    """
    shifted = np.asarray(values) - null
    order = np.lexsort((shifted <= 0, np.abs(shifted)))
    return float(_upper_tail(len(shifted))[_scores(len(shifted))[shifted[order] > 0].sum()])


def lower_bound(values: Sequence[float] | Values, level: float) -> float:
    """The smallest value that the test at ``level`` does not exclude; minus infinity where it excludes none."""
    values = np.asarray(values, dtype=np.float64)
    if smallest_p_value(len(values)) > level:
        return -math.inf
    # The p-value changes at means of two values alone (Hodges and Lehmann 1963), so it is taken between them.
    first, second = _pairs(len(values))
    means = np.sort((values[first] + values[second]) / 2)
    between = np.append((means[:-1] + means[1:]) / 2, means[-1] + 1.0)
    return float(means[_first(len(means), lambda index: p_above(values, between[index]) > level)])


def upper_bound(values: Sequence[float] | Values, level: float) -> float:
    """The largest value that the test at ``level`` does not exclude."""
    return -lower_bound(-np.asarray(values), level)


def center(values: Sequence[float] | Values) -> float:
    """The value that the test finds neither too high nor too low.

    >>> center([0.0, 0.1, 0.2])
    0.1
    """
    low, high = lower_bound(values, 0.5), upper_bound(values, 0.5)
    return (low + high) / 2


def interval(values: Sequence[float] | Values) -> tuple[float, float]:
    """The 95 % interval; of five pairs, which cannot tell so much, the 94 % interval, and so on."""
    level = _level(len(values))
    return lower_bound(values, level), upper_bound(values, level)


def lies_below(values: Sequence[float] | Values, bound: float) -> bool:
    """Whether the whole interval lies below ``bound``."""
    return p_above(-np.asarray(values), -bound) <= _level(len(values))


def _level(pairs: int) -> float:
    return max(0.025, smallest_p_value(pairs))


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """The first of ``count`` indices for which something holds that, once it does, holds for all that follow."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


@cache
def _pairs(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of all pairs of values, each with itself, too."""
    return np.triu_indices(count)


@cache
def _scores(pairs: int) -> NDArray[np.int64]:
    return np.minimum(np.arange(1, pairs + 1), math.ceil(_BOUND * pairs))


@cache
def _upper_tail(pairs: int) -> Values:
    """The probability of every sum of scores, or a larger one, if signs are tossed."""
    scores = _scores(pairs)
    ways = np.zeros(int(scores.sum()) + 1)
    ways[0] = 1.0
    for score in scores:
        ways[score:] += ways[:-score].copy()
    return np.ldexp(ways[::-1].cumsum()[::-1], -pairs)
