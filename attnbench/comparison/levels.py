"""The current level of a history: where the latest confirmed change begins, and which values since are stray."""

from __future__ import annotations

import math
import statistics
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_FEWEST = 3
"""Values in a row that make a level: one slow night is none, nor are two."""
_PENALTY = 8.0
"""What a further level must save, in units of the noise: three values 5 % off make one where the noise is below 2 %."""
_LEAST_NOISE = 0.005
_STRAY = 4.0
"""Values off by so many times the noise, and by the margin, are left out of their level."""
NEWEST = 60
"""Older values say nothing of today's level."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """The values that a newer one is compared with."""

    start: int
    """Index of its first value."""
    indices: tuple[int, ...]
    """Of its values, without stray ones."""


def current_level(values: Sequence[float], *, margin: float, since: int = 0) -> Level:
    """The level that the newest values belong to.

    Levels are those of the piecewise constant function with the smallest sum of absolute deviations, where every
    further level costs a penalty (Storath, Weinmann and Unser 2017, section 2) and has three values or more. Absolute
    deviations do not follow stray values. Steps of less than half of the margin are none.

    Args:
        values: Log latencies, oldest first.
        margin: The slowdown that fails, such as 0.05.
        since: Index of the first value after a change that was accepted.
    """
    least = math.log1p(margin)
    first = max(since, len(values) - NEWEST)
    recent = values[first:]
    noise = _noise(recent)
    start = first + _last_step(recent, noise, least / 2)
    middle = statistics.median(values[start:]) if values[start:] else 0.0
    allowed = max(least, _STRAY * noise)
    indices = range(start, len(values))
    kept = tuple(index for index in indices if abs(values[index] - middle) < allowed)
    return Level(start=start, indices=kept or tuple(indices))


def _noise(values: Sequence[float]) -> float:
    """The standard deviation of a value about its level, from successive differences, which few steps hardly touch."""
    differences = [abs(after - before) for before, after in pairwise(values)]
    return max(_LEAST_NOISE, statistics.median(differences) / (0.6745 * math.sqrt(2)) if differences else 0.0)


def _last_step(values: Sequence[float], noise: float, least: float) -> int:
    """The index at which the last level begins."""
    starts = _starts(values, noise)
    levels = []
    for start, end in zip(starts, [*starts[1:], len(values)], strict=True):
        middle = statistics.median(values[start:end])
        if sum(abs(value - middle) < _STRAY * noise for value in values[start:end]) >= _FEWEST:
            levels.append((start, middle))  # else it is one value of the level before, and two stray ones
    for (_, before), (start, middle) in reversed(list(pairwise(levels))):
        if abs(middle - before) >= least:
            return start
    return 0


def _starts(values: Sequence[float], noise: float) -> list[int]:
    """Where the levels of the best function begin, by dynamic programming over their ends."""
    count = len(values)
    if count < 2 * _FEWEST:
        return [0] if values else []
    best, begins = [0.0] + [math.inf] * count, [0] * (count + 1)
    for start in range(count - _FEWEST + 1):
        if math.isinf(best[start]):
            continue
        ordered: list[float] = []
        for end in range(start + 1, count + 1):
            insort(ordered, values[end - 1])
            if end - start < _FEWEST:
                continue
            half = len(ordered) // 2
            deviation = sum(ordered[-half:]) - sum(ordered[:half])
            cost = best[start] + deviation / noise + (_PENALTY if start else 0.0)
            if cost < best[end]:
                best[end], begins[end] = cost, start
    starts, end = [], count
    while end > 0:
        end = begins[end]
        starts.append(end)
    return starts[::-1]
