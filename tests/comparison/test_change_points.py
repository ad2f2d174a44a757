"""Where a history changed."""

from __future__ import annotations

import random

from attnbench.comparison.change_points import change_points


def test_every_level_but_the_first_begins_with_a_change() -> None:
    draw = random.Random(3)
    levels = [0.0] * 8 + [0.3] * 8 + [0.1] * 8
    assert change_points([level + draw.gauss(0, 0.005) for level in levels], margin=0.05) == [8, 16]


def test_a_quiet_history_or_a_short_one_has_none() -> None:
    draw = random.Random(4)
    assert change_points([draw.gauss(0, 0.005) for _ in range(30)], margin=0.05) == []
    assert change_points([draw.gauss(0, 0.005) for _ in range(100)], margin=0.05) == []
    assert change_points([0.0, 1.0], margin=0.05) == []
    assert change_points([], margin=0.05) == []
