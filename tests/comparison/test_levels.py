"""The current level of a history: what begins one, and what does not."""

from __future__ import annotations

import math
import random

import pytest

from attnbench.comparison.levels import current_level

MARGIN = 0.05


def nights(*levels: tuple[int, float], seed: int = 0, noise: float = 0.01) -> list[float]:
    """Log latencies: so many nights at each level, in milliseconds."""
    scattered = random.Random(seed)
    return [math.log(ms) + scattered.gauss(0, noise) for count, ms in levels for _ in range(count)]


@pytest.mark.parametrize("seed", range(30))
def test_where_nothing_changed_every_night_counts(seed: int) -> None:
    found = current_level(nights((20, 2.0), seed=seed), margin=MARGIN)
    assert (found.start, len(found.indices)) == (0, 20)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize(
    ("levels", "start"),
    [
        ([(8, 2.0), (10, 1.6)], 8),
        ([(8, 2.0), (3, 1.6)], 8),
        ([(8, 1.6), (3, 1.76)], 8),
        ([(3, 2.0), (3, 1.6), (6, 1.4)], 6),
        ([(6, 2.0), (6, 1.6), (6, 2.0)], 12),
        ([(10, 2.0), (1, 2.6), (5, 2.0)], 0),
        ([(10, 2.0), (2, 2.6), (5, 2.0)], 0),
        ([(10, 2.0), (1, 2.6)], 0),
        ([(10, 2.0), (2, 1.6)], 0),
    ],
)
def test_three_nights_at_another_level_begin_it_and_fewer_do_not(
    levels: list[tuple[int, float]], start: int, seed: int
) -> None:
    assert current_level(nights(*levels, seed=seed), margin=MARGIN).start == start


def test_a_stray_night_is_left_out() -> None:
    values = nights((6, 2.0), (1, 2.6), (4, 2.0))
    assert 6 not in current_level(values, margin=MARGIN).indices
    assert len(current_level(values, margin=MARGIN).indices) == 10


def test_an_accepted_change_begins_a_level_at_once() -> None:
    found = current_level(nights((8, 2.0), (1, 2.2)), margin=MARGIN, since=8)
    assert (found.start, found.indices) == (8, (8,))


def test_drift_of_less_than_half_the_margin_begins_none() -> None:
    assert current_level(nights((10, 2.0), (10, 2.03), noise=0.002), margin=MARGIN).start == 0


@pytest.mark.parametrize("count", [1, 2, 5, 200])
def test_any_number_of_nights_has_a_level(count: int) -> None:
    assert current_level(nights((count, 2.0)), margin=MARGIN).indices
